//! The way of an answer to its client. The client's connection draws it from the upstream piece by piece, so that no piece waits
//! in between and none wakes a second task; the call's task only watches the time, and gets the answer back when it has ended or
//! the client has left.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

use crate::answer::Answer;
use crate::books::End;
use crate::refusal::Refusal;
use crate::{SILENCE_TIMEOUT, UNREAD_TIMEOUT};

/// What a client gets of an answer.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: ClientBody,
}

/// The body as the client's connection reads it. It ends cleanly only where the answer did: an upstream that was cut, a client
/// that did not read, a task that died all end it with an error, so that nobody takes half an answer for a whole one.
pub(crate) struct ClientBody {
    shared: Shared,
    /// Dropped when there is no more to draw, or with the body.
    drawing: Option<oneshot::Sender<()>>,
    is_whole: bool,
    /// Whether what was passed on has had its chance to reach the socket.
    flushed: bool,
}

/// The answer broke off.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(crate) struct BrokenOff;

/// The call's end of the passage.
pub(crate) struct Passage {
    shared: Shared,
    drawn: oneshot::Receiver<()>,
}

/// An answer under way; `None` once the call's task has taken it back.
type Shared = Arc<Mutex<Option<UnderWay>>>;

struct UnderWay {
    answer: Box<Answer>,
    /// Goes before what is still to come.
    held: VecDeque<Bytes>,
    ended: Option<End>,
    waits_for: Side,
    /// Since when.
    since: Instant,
    /// Who draws.
    client: Waker,
}

/// Whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Upstream,
    Client,
}

impl Passage {
    /// Sends the head; the body is what was held back and, unless it has `ended`, what comes of the answer.
    pub(crate) fn begin(
        to_client: oneshot::Sender<Result<Head, Refusal>>,
        (status, headers): (StatusCode, HeaderMap),
        mut answer: Box<Answer>,
        held: Vec<Bytes>,
        ended: Option<End>,
    ) -> Self {
        if held.is_empty() {
            answer.let_go();
        }
        let shared = Arc::new(Mutex::new(Some(UnderWay {
            answer,
            held: held.into(),
            ended,
            waits_for: Side::Client,
            since: Instant::now(),
            client: Waker::noop().clone(),
        })));
        let (drawing, drawn) = oneshot::channel();
        let body =
            ClientBody { shared: shared.clone(), drawing: Some(drawing), is_whole: false, flushed: false };
        // Where the client has left, this drops the body.
        drop(to_client.send(Ok(Head { status, headers, body })));
        Self { shared, drawn }
    }

    /// Waits for the end, and answers with what has come by then. A client that leaves or does not read ends it; so does a
    /// limit, or the end of the program.
    pub(crate) async fn end(mut self, given_up: impl Future<Output = ()>) -> (Box<Answer>, End) {
        let mut given_up = pin!(given_up);
        loop {
            let due = lock(&self.shared).as_ref().map_or_else(Instant::now, UnderWay::due);
            let end = tokio::select! {
                _ = &mut self.drawn => Some(End::ClientLeft),
                () = &mut given_up => Some(End::GivenUp),
                () = sleep_until(due) => lock(&self.shared).as_ref().and_then(UnderWay::overdue),
            };
            let Some(end) = end else { continue };
            // Nobody else takes it.
            if let Some(UnderWay { answer, ended, client, .. }) = lock(&self.shared).take() {
                client.wake();
                return (answer, ended.unwrap_or(end));
            }
        }
    }
}

impl UnderWay {
    fn poll_pass(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        if let Some(piece) = self.held.pop_front() {
            if self.held.is_empty() {
                self.answer.let_go();
            }
            self.turn_to(Side::Client);
            return Poll::Ready(Ok(piece));
        }
        if let Some(end) = self.ended {
            return Poll::Ready(Err(end));
        }
        let Poll::Ready(passed) = self.answer.poll_pass(context) else {
            if self.waits_for == Side::Client {
                self.turn_to(Side::Upstream);
            }
            self.client.clone_from(context.waker());
            return Poll::Pending;
        };
        self.turn_to(Side::Client);
        self.ended = passed.as_ref().err().copied();
        Poll::Ready(passed)
    }

    fn turn_to(&mut self, side: Side) {
        (self.waits_for, self.since) = (side, Instant::now());
    }

    /// When to look whether it takes too long.
    fn due(&self) -> Instant {
        self.patience_ends().min(self.answer.deadline)
    }

    /// How it ends where it takes too long.
    fn overdue(&self) -> Option<End> {
        let now = Instant::now();
        if now >= self.answer.deadline {
            return Some(End::TooLong);
        }
        let end = if self.waits_for == Side::Client { End::ClientLeft } else { End::Silent };
        (now >= self.patience_ends()).then_some(end)
    }

    fn patience_ends(&self) -> Instant {
        self.since + if self.waits_for == Side::Client { UNREAD_TIMEOUT } else { SILENCE_TIMEOUT }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, Option<UnderWay>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl http_body::Body for ClientBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.drawing.is_some() {
            let passed = lock(&self.shared).as_mut().map(|under_way| under_way.poll_pass(context));
            match passed {
                Some(Poll::Pending) => return Poll::Pending,
                Some(Poll::Ready(Ok(piece))) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Some(Poll::Ready(Err(end))) => self.is_whole = end == End::Complete,
                // The call's task has taken it back.
                None => {}
            }
            self.drawing = None;
        }
        if self.is_whole {
            return Poll::Ready(None);
        }
        // An error makes hyper drop what it holds; a body that is pending makes it write that out first.
        if !self.flushed {
            self.flushed = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Some(Err(BrokenOff)))
    }
}

/// Refusing cannot fail; where the client has left, nobody hears it.
pub(crate) fn refuse(to_client: oneshot::Sender<Result<Head, Refusal>>, refusal: Refusal) {
    let _: Result<(), Result<Head, Refusal>> = to_client.send(Err(refusal));
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use http_body_util::BodyExt as _;
    use tokio::time::timeout;

    use super::*;
    use crate::answer::tests::{Ends, ends};

    /// A head, the body of a client, and the call's end.
    async fn begin(held: &[&'static [u8]], ended: Option<End>) -> (Ends, ClientBody, Passage) {
        let (upstream, answer) = ends();
        let (to_client, answer_begins) = oneshot::channel();
        let held = held.iter().map(|piece| Bytes::from_static(piece)).collect();
        let passage = Passage::begin(to_client, (StatusCode::OK, HeaderMap::new()), answer, held, ended);
        let Ok(Ok(Head { body, .. })) = answer_begins.await else { panic!("no head") };
        (upstream, body, passage)
    }

    async fn all(body: ClientBody) -> Result<Bytes, BrokenOff> {
        body.collect().await.map(http_body_util::Collected::to_bytes)
    }

    #[tokio::test]
    async fn what_was_held_back_goes_first_and_a_whole_answer_ends_cleanly() {
        let (upstream, body, passage) = begin(&[b"one ", b"two "], None).await;
        upstream.send(b"three");
        drop(upstream);
        assert_eq!(all(body).await.unwrap(), "one two three");
        assert_eq!(passage.end(pending()).await.1, End::Complete);
        let (_upstream, body, passage) = begin(&[b"all"], Some(End::Complete)).await;
        assert_eq!(all(body).await.unwrap(), "all");
        assert_eq!(passage.end(pending()).await.1, End::Complete);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_ends_broken() {
        let (upstream, body, passage) = begin(&[], None).await;
        upstream.send(b"half");
        upstream.cut();
        assert!(all(body).await.is_err());
        assert_eq!(passage.end(pending()).await.1, End::UpstreamCut);
    }

    #[tokio::test]
    async fn a_client_that_leaves_gives_the_answer_back() {
        let (_upstream, body, passage) = begin(&[b"unread"], None).await;
        drop(body);
        assert_eq!(passage.end(pending()).await.1, End::ClientLeft);
    }

    /// A client that comes back to reading too late finds its answer broken, not short.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_gets_a_broken_answer() {
        let (upstream, mut body, passage) = begin(&[], None).await;
        upstream.send(b"one");
        upstream.send(b"two");
        assert!(body.frame().await.unwrap().is_ok());
        let before = Instant::now();
        assert_eq!(passage.end(pending()).await.1, End::ClientLeft);
        assert_eq!(before.elapsed().as_secs(), UNREAD_TIMEOUT.as_secs());
        drop(upstream);
        assert!(all(body).await.is_err());
    }

    /// The client waits all the time; its connection is told.
    #[tokio::test(start_paused = true)]
    async fn an_upstream_that_says_nothing_breaks_the_answer_off() {
        let (upstream, body, passage) = begin(&[], None).await;
        upstream.send(b"one");
        let before = Instant::now();
        let (read, (_, end)) = tokio::join!(all(body), passage.end(pending()));
        assert_eq!((read.is_err(), end), (true, End::Silent));
        assert_eq!(before.elapsed().as_secs(), SILENCE_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_ends_at_its_deadline_and_with_the_program() {
        let (upstream, mut body, passage) = begin(&[], None).await;
        let drip = async {
            while upstream.send(b".") {
                let _ = body.frame().await;
                tokio::time::sleep(UNREAD_TIMEOUT / 2).await;
            }
        };
        tokio::select! {
            (_, end) = passage.end(pending()) => assert_eq!(end, End::TooLong),
            () = drip => panic!("the answer was let go"),
        }
        let (_upstream, _body, passage) = begin(&[], None).await;
        let given_up = timeout(UNREAD_TIMEOUT / 2, passage.end(std::future::ready(()))).await;
        assert_eq!(given_up.unwrap().1, End::GivenUp);
    }
}
