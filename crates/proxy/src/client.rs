//! The client's end of an answer, and ours.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use crate::UNREAD_TIMEOUT;
use crate::refusal::Refusal;

/// Pieces of an answer that wait for the client.
const WAITING_PIECES: usize = 16;

/// Bytes of an answer that wait for the client; a piece that is longer waits alone.
const WAITING_BYTES: usize = 32 * 1024;

/// What a client gets of an answer.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ClientBody,
}

/// The body as the client's connection reads it. It ends cleanly only where [`ToClient::finish`] was called: an
/// upstream that was cut, a client that did not read, a task that died all end it with an error, so that nobody
/// takes half an answer for a whole one.
pub(crate) struct ClientBody {
    pieces: mpsc::Receiver<Waiting>,
    whole: Arc<AtomicBool>,
    /// Whether what was passed on has had its chance to reach the socket.
    flushed: bool,
}

/// The answer broke off.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(crate) struct BrokenOff;

/// Our end of the body; without pieces once the client has left.
pub(crate) struct ToClient {
    pieces: Option<mpsc::Sender<Waiting>>,
    room: Arc<Semaphore>,
    whole: Arc<AtomicBool>,
}

/// A piece and its part of the room.
type Waiting = (Bytes, Option<OwnedSemaphorePermit>);

impl ToClient {
    /// Sends the head.
    pub(crate) fn begin(
        to_client: oneshot::Sender<Result<Head, Refusal>>,
        status: StatusCode,
        headers: HeaderMap,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(WAITING_PIECES);
        let whole = Arc::new(AtomicBool::new(false));
        let body = ClientBody { pieces, whole: whole.clone(), flushed: false };
        let there = to_client.send(Ok(Head { status, headers, body })).is_ok();
        let room = Arc::new(Semaphore::new(WAITING_BYTES));
        Self { pieces: there.then_some(sender), room, whole }
    }

    /// Passes a piece on, unless the client has left or does not read.
    pub(crate) async fn pass(&mut self, piece: Bytes) {
        let Some(pieces) = &self.pieces else { return };
        let bytes = u32::try_from(piece.len().min(WAITING_BYTES)).unwrap_or(0);
        let sending = async {
            let room = self.room.clone().acquire_many_owned(bytes).await.ok();
            pieces.send((piece, room)).await.is_ok()
        };
        if !matches!(timeout(UNREAD_TIMEOUT, sending).await, Ok(true)) {
            self.pieces = None;
        }
    }

    /// Resolves when the client has left.
    pub(crate) async fn left(&self) {
        if let Some(pieces) = &self.pieces {
            pieces.closed().await;
        }
    }

    /// The answer is whole, if every piece of it was passed on.
    pub(crate) fn finish(self) {
        if self.pieces.is_some() {
            self.whole.store(true, Ordering::Release);
        }
    }
}

impl http_body::Body for ClientBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match ready!(self.pieces.poll_recv(context)) {
            Some((piece, _)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.whole.load(Ordering::Acquire) => Poll::Ready(None),
            // An error makes hyper drop what it holds; a body that is pending makes it write that out first.
            None if !self.flushed => {
                self.flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            None => Poll::Ready(Some(Err(BrokenOff))),
        }
    }
}

/// Refusing cannot fail; where the client has left, nobody hears it.
pub(crate) fn refuse(to_client: oneshot::Sender<Result<Head, Refusal>>, refusal: Refusal) {
    let _: Result<(), Result<Head, Refusal>> = to_client.send(Err(refusal));
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn read(finish: bool) -> Result<Bytes, BrokenOff> {
        let (to_client, head) = oneshot::channel();
        let mut ours = ToClient::begin(to_client, StatusCode::OK, HeaderMap::new());
        let Ok(Ok(head)) = head.await else { panic!("no head") };
        ours.pass(Bytes::from_static(b"half")).await;
        if finish {
            ours.finish();
        } else {
            drop(ours);
        }
        head.body.collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn only_a_finished_answer_ends_cleanly() {
        assert_eq!(read(true).await.unwrap(), "half");
        assert!(read(false).await.is_err());
    }

    /// A client that comes back to reading too late finds its answer broken, not short.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_did_not_read_gets_a_broken_answer() {
        let (to_client, head) = oneshot::channel();
        let mut ours = ToClient::begin(to_client, StatusCode::OK, HeaderMap::new());
        let Ok(Ok(head)) = head.await else { panic!("no head") };
        for _ in 0..=WAITING_PIECES {
            ours.pass(Bytes::from_static(b"x")).await;
        }
        ours.finish();
        assert!(head.body.collect().await.is_err());
    }
}
