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
    let mut bytes = BytesMut::new();
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
