//! The bytes of an answer, and what happens between them.

use std::time::Duration;

use bytes::Bytes;

use crate::Knobs;

/// An answer ready to be sent.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Bytes,
    pub(crate) steps: Vec<Step>,
}

/// A stretch of the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// Where it ends, in bytes from the start of the body.
    pub(crate) end: usize,
    /// How long to wait before it.
    pub(crate) pause: Duration,
    pub(crate) mark: Mark,
}

/// What a stretch means for the bill, the moment before its first byte leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mark {
    Filler,
    /// Content; with it so many completion tokens have been sent in all.
    Content {
        sent_tokens: i64,
    },
    /// The model is done.
    Complete,
    /// The provider failed.
    Failed,
}

impl Script {
    /// A body in one piece. It is charged before the first byte.
    pub(crate) fn plain(content_type: &'static str, body: impl Into<Bytes>, knobs: &Knobs) -> Self {
        let bytes = body.into();
        let pause = Duration::from_millis(knobs.first_chunk_delay_ms.unwrap_or(0));
        let step = Step { end: bytes.len(), pause, mark: Mark::Complete };
        Self { content_type, bytes, steps: vec![step] }
    }

    /// A plain JSON body.
    pub(crate) fn json(body: String, knobs: &Knobs) -> Self {
        Self::plain("application/json", body, knobs)
    }
}

/// Writes an event stream as OpenRouter frames it.
#[derive(Debug)]
pub(crate) struct StreamWriter {
    bytes: Vec<u8>,
    steps: Vec<Step>,
    line_end: &'static str,
    /// Waits before the first event, shared with the comments.
    opening_pause: Duration,
    chunk_pause: Duration,
    opened: bool,
}

impl StreamWriter {
    /// Begins with the comments of a slow start.
    pub(crate) fn new(knobs: &Knobs) -> Self {
        Self::with_comment(": OPENROUTER PROCESSING", knobs)
    }

    /// The same with another comment: streams of images send bare ones.
    pub(crate) fn with_comment(comment: &str, knobs: &Knobs) -> Self {
        let comments = knobs.comments.unwrap_or(0);
        let shares = u32::try_from(comments).unwrap_or(u32::MAX).saturating_add(1);
        let mut writer = Self {
            bytes: Vec::with_capacity(4096),
            steps: Vec::with_capacity(16),
            line_end: if knobs.crlf.unwrap_or(false) { "\r\n" } else { "\n" },
            opening_pause: Duration::from_millis(knobs.first_chunk_delay_ms.unwrap_or(0)) / shares,
            chunk_pause: Duration::from_millis(knobs.chunk_delay_ms.unwrap_or(0)),
            opened: false,
        };
        for _ in 0..comments {
            writer.line(comment, "");
            writer.close(Mark::Filler, writer.opening_pause);
        }
        writer
    }

    /// A `data:` event.
    pub(crate) fn data(&mut self, json: &str, mark: Mark) {
        self.line("data: ", json);
        let pause = self.pause_before(mark);
        self.close(mark, pause);
    }

    /// An `event:` with its `data:`, as `/messages` sends them.
    pub(crate) fn event(&mut self, name: &str, json: &str, mark: Mark) {
        self.line("event: ", name);
        self.data(json, mark);
    }

    pub(crate) fn finish(self) -> Script {
        Script { content_type: "text/event-stream", bytes: self.bytes.into(), steps: self.steps }
    }

    fn line(&mut self, head: &str, rest: &str) {
        for part in [head, rest, self.line_end] {
            self.bytes.extend_from_slice(part.as_bytes());
        }
    }

    fn close(&mut self, mark: Mark, pause: Duration) {
        self.bytes.extend_from_slice(self.line_end.as_bytes());
        self.steps.push(Step { end: self.bytes.len(), pause, mark });
    }

    fn pause_before(&mut self, mark: Mark) -> Duration {
        let first = !std::mem::replace(&mut self.opened, true);
        match mark {
            _ if first => self.opening_pause,
            Mark::Content { .. } => self.chunk_pause,
            _ => Duration::ZERO,
        }
    }
}
