//! Reading an event stream no further than the figures need it.

use std::time::Duration;

use memchr::{memchr, memmem};
use openrouter_sim::SEND_TIME_DIGITS;

/// What was heard of a stream.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Heard {
    /// From the moment when the call was due to the first chunk of content.
    pub(crate) first_chunk: Option<Duration>,
    /// Nanoseconds of each chunk of content between the simulator and the caller.
    pub(crate) delays_ns: Vec<u64>,
    /// Chunks of content.
    pub(crate) chunks: usize,
    /// Whether the usage was told.
    pub(crate) usage: bool,
}

/// The lines of a stream, which come in pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct Events {
    heard: Heard,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
}

impl Events {
    /// Takes what came: so long after the call was due, and at this moment on the clock of the simulator's send times.
    pub(crate) fn hear(&mut self, mut bytes: &[u8], since_due: Duration, now_ns: u64) {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, after) = bytes.split_at(end + 1);
            if self.rest.is_empty() {
                self.heard.line(line, since_due, now_ns);
            } else {
                self.rest.extend_from_slice(line);
                let whole = std::mem::take(&mut self.rest);
                self.heard.line(&whole, since_due, now_ns);
            }
            bytes = after;
        }
        self.rest.extend_from_slice(bytes);
    }

    pub(crate) const fn heard(&self) -> &Heard {
        &self.heard
    }

    pub(crate) fn into_heard(self) -> Heard {
        self.heard
    }
}

impl Heard {
    fn line(&mut self, line: &[u8], since_due: Duration, now_ns: u64) {
        if !line.starts_with(b"data:") {
            return;
        }
        self.usage |= value_of(line, b"\"usage\":").is_some_and(|value| value.starts_with(b"{"));
        let Some(sent_ns) = send_time(line) else { return };
        self.first_chunk.get_or_insert(since_due);
        self.chunks += 1;
        self.delays_ns.push(now_ns.saturating_sub(sent_ns));
    }
}

/// The send time that a chunk of content carries.
fn send_time(line: &[u8]) -> Option<u64> {
    let text = value_of(line, b"\"content\":")?.strip_prefix(b"\"")?.get(..SEND_TIME_DIGITS)?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What stands after this member's name. A proxy may have written the JSON anew, with blanks.
fn value_of<'a>(line: &'a [u8], member: &[u8]) -> Option<&'a [u8]> {
    Some(line.get(memmem::find(line, member)? + member.len()..)?.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Events, Heard};

    const STREAM: &str = concat!(
        ": OPENROUTER PROCESSING\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"1764012345678901000\"}}]}\n\n",
        "data: {\"choices\": [{\"delta\": {\"content\": \"1764012345678901200\"}}]}\r\n\r\n",
        "data: {\"choices\":[{\"delta\":{\"content\":\"\"}}],\"usage\": {\"cost\":0.1}}\n\n",
        "data: [DONE]\n\n",
    );

    #[test]
    fn a_stream_is_heard_alike_however_it_is_cut() {
        let expected = Heard {
            first_chunk: Some(Duration::from_millis(3)),
            delays_ns: vec![1_000, 800],
            chunks: 2,
            usage: true,
        };
        for size in 1..=STREAM.len() {
            let mut events = Events::default();
            for piece in STREAM.as_bytes().chunks(size) {
                events.hear(piece, Duration::from_millis(3), 1_764_012_345_678_902_000);
            }
            assert_eq!(events.into_heard(), expected, "pieces of {size} bytes");
        }
    }

    #[test]
    fn a_stream_without_usage_says_so() {
        let mut events = Events::default();
        events.hear(b"data: {\"usage\":null}\n\ndata: [DONE]\n\n", Duration::ZERO, 0);
        assert!(!events.into_heard().usage);
    }
}
