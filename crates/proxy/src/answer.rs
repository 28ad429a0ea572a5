//! The upstream's answer: read piece by piece, read along, and how it ends.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{header, response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use openrouter::{AnswerBody, AnswerReader};
use tokio::time::{Instant, timeout, timeout_at};

use crate::books::{Books, End};
use crate::memory::AnswerShare;
use crate::{CALL_TIMEOUT, SILENCE_TIMEOUT};

/// Most of an answer that is held back while its generation id is not known. An answer without one that is
/// longer passes on; its call becomes an orphan unless its end tells the cost.
const HELD_BYTES: usize = 16 * 1024 * 1024;

/// Most of a plain answer that is held back because it is there already; an ordinary one is a few KiB.
const HELD_AT_ONCE_BYTES: usize = 64 * 1024;

/// An answer, as far as it has come.
pub(crate) struct Answer {
    body: AnswerBody,
    pub(crate) reader: AnswerReader,
    /// What is kept of it: by the reader, and what is held back.
    memory: AnswerShare,
    pub(crate) deadline: Instant,
}

impl Answer {
    /// Boxed, as it goes from hand to hand and would take its place in each.
    pub(crate) fn new(
        head: &response::Parts,
        body: AnswerBody,
        memory: AnswerShare,
        deadline: Instant,
    ) -> Box<Self> {
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        Box::new(Self { body, reader: AnswerReader::new(content_type), memory, deadline })
    }

    /// One of which nothing is to come any more.
    pub(crate) fn over(head: &response::Parts, memory: AnswerShare) -> Box<Self> {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Self::new(head, body, memory, Instant::now() + CALL_TIMEOUT)
    }

    /// Reads into `held` until the generation id is known; answers the end if that comes first.
    pub(crate) async fn hold_until_id_known(&mut self, held: &mut Vec<Bytes>, books: &Books) -> Option<End> {
        let mut bytes = 0;
        while self.reader.told().generation_id.is_none() && self.reader.may_tell_id() && bytes <= HELD_BYTES {
            match self.next(books).await {
                Ok(piece) => {
                    bytes += piece.len();
                    if let Err(end) = self.keep(2 * piece.len(), books).await {
                        return Some(end);
                    }
                    self.reader.feed(&piece);
                    // A copy, as a piece that waits would keep the whole buffer that it was read into.
                    held.push(Bytes::copy_from_slice(&piece));
                }
                Err(end) => {
                    self.reader.finish();
                    return Some(end);
                }
            }
        }
        None
    }

    /// Reads into `held` what has come already and waits for nothing; answers the end if that has come too.
    pub(crate) async fn hold_what_is_there(&mut self, held: &mut Vec<Bytes>) -> Option<End> {
        let mut bytes = 0;
        while bytes <= HELD_AT_ONCE_BYTES {
            match poll_fn(|context| Poll::Ready(self.poll_next(context))).await {
                Poll::Ready(Ok(piece)) => {
                    bytes += piece.len();
                    self.read_along(&piece);
                    held.push(Bytes::copy_from_slice(&piece));
                    if !self.memory.grow(piece.len()) {
                        return None;
                    }
                }
                Poll::Ready(Err(end)) => {
                    self.reader.finish();
                    return Some(end);
                }
                Poll::Pending => return None,
            }
        }
        None
    }

    /// Waits for memory to hold back `bytes` more; the upstream waits as well.
    async fn keep(&mut self, bytes: usize, books: &Books) -> Result<(), End> {
        tokio::select! {
            kept = timeout(SILENCE_TIMEOUT, self.memory.grow_or_wait(bytes)) => kept.map_err(|_| End::Silent),
            () = books.given_up() => Err(End::GivenUp),
        }
    }

    /// Nothing is held back any more.
    pub(crate) fn let_go(&mut self) {
        if !self.reader.keeps_body() {
            self.memory.release();
        }
    }

    /// The next piece, read along, or how the answer ended.
    pub(crate) fn poll_pass(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        let piece = ready!(self.poll_next(context));
        if let Ok(piece) = &piece {
            self.read_along(piece);
        }
        Poll::Ready(piece)
    }

    /// Reads an answer to its end that nobody waits for.
    pub(crate) async fn read_on(&mut self, books: &Books) -> End {
        loop {
            match self.next(books).await {
                Ok(piece) => self.read_along(&piece),
                Err(end) => return end,
            }
        }
    }

    /// Reads along, as long as there is memory for a body that is read as a whole; else `/generation` will be asked.
    fn read_along(&mut self, piece: &[u8]) {
        if self.reader.keeps_body() && !self.memory.grow(piece.len()) {
            self.reader.give_up();
            self.memory.release();
        }
        self.reader.feed(piece);
    }

    /// The next piece, or how the answer ended.
    async fn next(&mut self, books: &Books) -> Result<Bytes, End> {
        tokio::select! {
            next = self.next_in_time() => next,
            () = books.given_up() => Err(End::GivenUp),
        }
    }

    async fn next_in_time(&mut self) -> Result<Bytes, End> {
        let now = Instant::now();
        // A time-out alone never comes where there is always a next piece.
        if now >= self.deadline {
            return Err(End::TooLong);
        }
        let (deadline, silent_at) = (self.deadline, now + SILENCE_TIMEOUT);
        match timeout_at(silent_at.min(deadline), poll_fn(|context| self.poll_next(context))).await {
            Ok(next) => next,
            Err(_) if Instant::now() >= deadline => Err(End::TooLong),
            Err(_) => Err(End::Silent),
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Bytes, End>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // Trailers are nothing that is passed on.
                    if let Ok(piece) = frame.into_data() {
                        return Poll::Ready(Ok(piece));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Err(End::UpstreamCut)),
                None => return Poll::Ready(Err(End::Complete)),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use http_body::Frame;
    use http_body_util::Full;
    use openrouter::Cut;
    use tokio::sync::mpsc;

    use super::*;
    use crate::memory::Memory;

    /// The upstream's end of an answer. Dropped, the answer is whole.
    pub(crate) struct Ends(mpsc::UnboundedSender<Option<Bytes>>);

    struct Pieces(mpsc::UnboundedReceiver<Option<Bytes>>);

    impl Ends {
        /// False where nobody wants it any more.
        pub(crate) fn send(&self, piece: &'static [u8]) -> bool {
            self.0.send(Some(Bytes::from_static(piece))).is_ok()
        }

        pub(crate) fn cut(&self) {
            let _ = self.0.send(None);
        }
    }

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Cut;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
            let piece = ready!(self.0.poll_recv(context));
            Poll::Ready(piece.map(|piece| piece.map(Frame::data).ok_or(Cut)))
        }
    }

    fn answer_of<B: http_body::Body<Data = Bytes> + Send + 'static>(body: B) -> Box<Answer> {
        let (head, ()) = http::Response::new(()).into_parts();
        let body = body.map_err(|_| Cut).boxed_unsync();
        Answer::new(&head, body, Memory::default().for_answer(), Instant::now() + CALL_TIMEOUT)
    }

    pub(crate) fn ends() -> (Ends, Box<Answer>) {
        let (sender, pieces) = mpsc::unbounded_channel();
        (Ends(sender), answer_of(Pieces(pieces)))
    }

    #[tokio::test]
    async fn only_what_has_come_already_is_held() {
        let (ends, mut answer) = ends();
        let mut held = Vec::new();
        assert_eq!(answer.hold_what_is_there(&mut held).await, None);
        ends.send(b"half ");
        assert_eq!(answer.hold_what_is_there(&mut held).await, None);
        ends.send(b"and whole");
        drop(ends);
        assert_eq!(answer.hold_what_is_there(&mut held).await, Some(End::Complete));
        assert_eq!(held.concat(), b"half and whole");
    }

    /// A flood always has a next piece, so that its time-out alone would never come.
    #[tokio::test(start_paused = true)]
    async fn a_flood_ends_at_its_deadline() {
        let mut answer = answer_of(Full::new(Bytes::from_static(b": always there\n")));
        tokio::time::advance(CALL_TIMEOUT).await;
        assert_eq!(answer.next_in_time().await, Err(End::TooLong));
    }
}
