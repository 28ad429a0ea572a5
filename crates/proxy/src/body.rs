//! Reading a request's body within its limits.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;

use crate::REQUEST_PIECE_TIMEOUT;
use crate::memory::Share;
use crate::refusal::Refusal;

/// Largest body of a request, in MiB.
const LARGEST_MIB: usize = 32;

const LARGEST_BYTES: usize = LARGEST_MIB * 1024 * 1024;

/// Most that is reserved for a body before it comes: one as long as it is told to be never moves, and memory that nobody
/// writes to is not taken.
const RESERVED_BYTES: usize = 8 * 1024 * 1024;

/// Most of a refused body that is read away.
const DISCARDED_BYTES: usize = 2 * LARGEST_BYTES;

/// How long a refused body is read away.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// The same for whoever showed no valid key: a crowd of strangers must not take the places of those who have one.
const STRANGERS_DISCARD_TIMEOUT: Duration = Duration::from_millis(500);

/// A body in memory, and its share of the memory that all bodies may take.
pub(crate) struct RequestBody {
    pub(crate) bytes: Bytes,
    pub(crate) memory: Share,
}

/// Reads the whole body.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: &mut Body,
    mut memory: Share,
) -> Result<RequestBody, Refusal> {
    let told =
        headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if told.is_some_and(|length: usize| length > LARGEST_BYTES) {
        return Err(Refusal::TooLarge(LARGEST_MIB));
    }
    let mut bytes = BytesMut::with_capacity(told.unwrap_or_default().min(RESERVED_BYTES));
    loop {
        let frame = tokio::time::timeout(REQUEST_PIECE_TIMEOUT, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Refusal::TooSlow)? else { break };
        let Ok(piece) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
        if bytes.len() + piece.len() > LARGEST_BYTES {
            return Err(Refusal::TooLarge(LARGEST_MIB));
        }
        if !memory.grow(piece.len()) {
            return Err(Refusal::Busy);
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(RequestBody { bytes: bytes.freeze(), memory })
}

/// Reads the rest of a refused request and forgets it: a client that is still sending would otherwise find the
/// connection reset before it reads why.
pub(crate) async fn discard(body: &mut Body, from_a_stranger: bool) {
    let rest = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > DISCARDED_BYTES {
                break;
            }
        }
    };
    // Longer than that, and it was told often enough.
    let patience = if from_a_stranger { STRANGERS_DISCARD_TIMEOUT } else { DISCARD_TIMEOUT };
    let _ = tokio::time::timeout(patience, rest).await;
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_LENGTH;

    use super::*;
    use crate::memory::Memory;

    /// Beside the buffer nothing is kept of what was read.
    #[tokio::test]
    async fn a_body_is_kept_once() {
        const PIECES: usize = 100;
        static PIECE: [u8; 50_000] = [b'x'; 50_000];
        let pieces = (0..PIECES).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(&PIECE)));
        let mut body = Body::from_stream(futures_util::stream::iter(pieces));
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, (PIECES * PIECE.len()).into())]);
        let share = Memory::default().for_request();
        let (mut read_body, mut reading) = (None, Box::pin(read(&headers, &mut body, share)));
        let used = allocation_counter::measure(|| {
            read_body = futures_util::FutureExt::now_or_never(&mut reading);
        });
        let bytes = read_body.unwrap().unwrap_or_else(|refusal| panic!("{refusal}")).bytes;
        assert_eq!(bytes.len(), PIECES * PIECE.len());
        assert!(used.bytes_total < bytes.len() as u64 + 64 * 1024, "{used:?}");
    }
}
