//! Reading a request's body within its limits.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::REQUEST_PIECE_TIMEOUT;
use crate::refusal::Refusal;

/// Largest body of a request, in MiB.
const LARGEST_MIB: usize = 32;

const LARGEST_BYTES: usize = LARGEST_MIB * 1024 * 1024;

/// Most of a refused body that is read away.
const DISCARDED_BYTES: usize = 2 * LARGEST_BYTES;

/// How long a refused body is read away.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// A body in memory, and its share of the memory that all bodies may take.
pub(crate) struct RequestBody {
    pub(crate) bytes: Bytes,
    pub(crate) memory: Option<OwnedSemaphorePermit>,
}

/// Reads the whole body; `memory` counts KiB.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: &mut Body,
    memory: &Arc<Semaphore>,
) -> Result<RequestBody, Refusal> {
    let told =
        headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if told.is_some_and(|length: usize| length > LARGEST_BYTES) {
        return Err(Refusal::TooLarge(LARGEST_MIB));
    }
    let mut taken = None;
    let mut bytes = BytesMut::new();
    loop {
        let frame = tokio::time::timeout(REQUEST_PIECE_TIMEOUT, body.frame()).await;
        let Some(frame) = frame.map_err(|_| Refusal::TooSlow)? else { break };
        let Ok(piece) = frame.map_err(|_| Refusal::BrokenBody)?.into_data() else { continue };
        if bytes.len() + piece.len() > LARGEST_BYTES {
            return Err(Refusal::TooLarge(LARGEST_MIB));
        }
        take_memory(memory, &mut taken, bytes.len() + piece.len())?;
        bytes.extend_from_slice(&piece);
    }
    Ok(RequestBody { bytes: bytes.freeze(), memory: taken })
}

/// Reads the rest of a refused request and forgets it: a client that is still sending would otherwise find the
/// connection reset before it reads why.
pub(crate) async fn discard(body: &mut Body) {
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
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, rest).await;
}

/// Grows `taken` to what `bytes` need.
fn take_memory(
    memory: &Arc<Semaphore>,
    taken: &mut Option<OwnedSemaphorePermit>,
    bytes: usize,
) -> Result<(), Refusal> {
    let needed_kib = bytes.div_ceil(1024);
    let missing_kib = needed_kib.saturating_sub(taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
    if missing_kib == 0 {
        return Ok(());
    }
    let more = u32::try_from(missing_kib)
        .ok()
        .and_then(|kib| memory.clone().try_acquire_many_owned(kib).ok())
        .ok_or(Refusal::Busy)?;
    match taken {
        Some(taken) => taken.merge(more),
        None => *taken = Some(more),
    }
    Ok(())
}
