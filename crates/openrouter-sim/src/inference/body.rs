//! The body that plays a script: pauses, pieces, cuts and silence.

use std::fmt;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use super::call::Call;
use super::script::{Mark, Script, Step};
use crate::send_time::{send_time_ns, stamped};

/// A script on its way to the client. Dropping it before the end is the client's leaving.
pub(crate) struct AnswerBody {
    script: Script,
    call: Call,
    /// The step that is played.
    step: usize,
    /// Whether that step's pause is over and its mark taken.
    begun: bool,
    sent_bytes: usize,
    /// Whether what was handed over has had its chance to reach the socket.
    flushed: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

/// The simulator breaks the connection.
#[derive(Debug)]
pub(crate) struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the connection is cut, as a knob asks")
    }
}

impl std::error::Error for Cut {}

impl AnswerBody {
    pub(crate) const fn new(script: Script, call: Call) -> Self {
        Self { script, call, step: 0, begun: false, sent_bytes: 0, flushed: false, pause: None }
    }

    /// What stands in the way of the next piece; `None` where nothing does.
    fn obstacle(&mut self, context: &mut Context<'_>) -> Option<Poll<Cut>> {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(context).is_pending() {
                return Some(Poll::Pending);
            }
            self.pause = None;
        }
        let cut = self.call.knobs.cut_after_bytes == Some(self.sent_bytes);
        // A pending body makes hyper write out what it holds: a piece of its own, or all before the cut.
        if (cut || self.call.knobs.frame_bytes.is_some()) && !self.flushed {
            self.flushed = true;
            context.waker().wake_by_ref();
            return Some(Poll::Pending);
        }
        if cut {
            return Some(Poll::Ready(Cut));
        }
        // Without a waker: only the client's leaving ends the silence.
        (self.call.knobs.silent_after_bytes == Some(self.sent_bytes)).then_some(Poll::Pending)
    }

    /// Starts the pause before `step`; true where it is not over at once.
    fn pauses_before(&mut self, step: Step, context: &mut Context<'_>) -> bool {
        if self.begun {
            return false;
        }
        self.begun = true;
        if step.pause.is_zero() {
            return false;
        }
        let mut pause = Box::pin(sleep(step.pause));
        let pending = pause.as_mut().poll(context).is_pending();
        self.pause = pending.then_some(pause);
        pending
    }

    /// Where an answer without an end would end, its last content begins again.
    fn begin_again(&mut self) {
        let steps = &self.script.steps;
        let ends = steps.get(self.step).is_some_and(|step| step.mark == Mark::Complete);
        if self.call.knobs.endless == Some(true) && ends && self.step > 0 {
            self.step -= 1;
            let before = self.step.checked_sub(1).and_then(|before| steps.get(before));
            self.sent_bytes = before.map_or(0, |before| before.end);
        }
    }

    /// Hands over the next piece of `step`, within the limits of the knobs.
    fn next_piece(&mut self, step: Step) -> Bytes {
        match step.mark {
            Mark::Filler => {}
            Mark::Content { sent_tokens } => self.call.note_sent(sent_tokens),
            Mark::Complete => self.call.complete(),
            Mark::Failed => self.call.fail(),
        }
        let knobs = &self.call.knobs;
        let longest = self.sent_bytes.saturating_add(knobs.frame_bytes.unwrap_or(usize::MAX).max(1));
        let stops = [knobs.cut_after_bytes, knobs.silent_after_bytes];
        let ahead = stops.into_iter().flatten().filter(|stop| *stop > self.sent_bytes);
        let end = ahead.fold(step.end.min(longest), usize::min);
        let piece = self.script.bytes.slice(self.sent_bytes..end);
        let timed = self.call.knobs.send_times == Some(true) && matches!(step.mark, Mark::Content { .. });
        let piece = if timed { stamped(&piece, send_time_ns()) } else { piece };
        self.sent_bytes = end;
        self.flushed = false;
        self.pause = knobs.frame_delay_ms.map(|delay_ms| Box::pin(sleep(Duration::from_millis(delay_ms))));
        if end == step.end {
            self.step += 1;
            self.begun = false;
        }
        piece
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.obstacle(context) {
            Some(Poll::Ready(cut)) => return Poll::Ready(Some(Err(cut))),
            Some(Poll::Pending) => return Poll::Pending,
            None => {}
        }
        self.begin_again();
        let Some(step) = self.script.steps.get(self.step).copied() else { return Poll::Ready(None) };
        if self.pauses_before(step, context) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(self.next_piece(step)))))
    }
}
