//! The tap: reads along with an answer and never touches its bytes.

use jiff::Timestamp;
use metering::{CostSource, Report, plausible_instant};

use crate::lines::Lines;
use crate::usage::{Facts, read_facts};

/// Longest plain body that is read along. A longer one passes through; its cost comes from `/generation`, if the
/// head told its id.
const LONGEST_BODY_BYTES: usize = 16 * 1024 * 1024;

/// By how much the memory for a plain body grows: doubling it would take twice what is needed.
const GROWTH_BYTES: usize = 16 * 1024;

/// Reads along with one answer.
#[derive(Debug)]
pub struct AnswerReader {
    form: Form,
    told: Told,
}

/// How the answer comes.
#[derive(Debug)]
enum Form {
    /// Server-sent events, one JSON object a `data:` line.
    Events(Lines),
    /// One JSON object; `None` once it got too long.
    Body(Option<Vec<u8>>),
    /// Sound, or a page: nothing to read.
    Opaque,
}

/// What an answer has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// `OpenRouter`'s id of what it bills.
    pub generation_id: Option<String>,
    /// When `OpenRouter` says it was made.
    pub created_at: Option<Timestamp>,
    /// Cost, tokens, model, provider.
    pub report: Report,
    /// True where the answer carries an `error`.
    pub is_error: bool,
}

impl AnswerReader {
    /// A reader for an answer with this `Content-Type`.
    #[must_use]
    pub fn new(content_type: Option<&str>) -> Self {
        let kind = content_type.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
        let form = match kind.to_ascii_lowercase().as_str() {
            "text/event-stream" => Form::Events(Lines::default()),
            kind if kind.ends_with("json") => Form::Body(Some(Vec::new())),
            _ => Form::Opaque,
        };
        let report = Report::empty(CostSource::Response);
        Self { form, told: Told { generation_id: None, created_at: None, report, is_error: false } }
    }

    /// True for server-sent events: its generation id is in the first event, not at the end.
    #[must_use]
    pub fn is_stream(&self) -> bool {
        matches!(self.form, Form::Events(_))
    }

    /// True where more of the answer may tell its generation id: sound and pages never do.
    #[must_use]
    pub fn may_tell_id(&self) -> bool {
        matches!(self.form, Form::Events(_) | Form::Body(Some(_)))
    }

    /// True for a plain body: it is kept, to be read at its end.
    #[must_use]
    pub fn keeps_body(&self) -> bool {
        matches!(self.form, Form::Body(Some(_)))
    }

    /// Stops to keep a plain body; its cost comes from `/generation`.
    pub fn give_up(&mut self) {
        if let Form::Body(body) = &mut self.form {
            *body = None;
        }
    }

    /// Reads the next piece of the body.
    pub fn feed(&mut self, piece: &[u8]) {
        match &mut self.form {
            Form::Events(lines) => lines.feed(piece, |line| self.told.read_line(line)),
            Form::Body(Some(body)) if body.len() + piece.len() <= LONGEST_BODY_BYTES => {
                if body.capacity() - body.len() < piece.len() {
                    // Most come in one piece.
                    let growth = if body.is_empty() { 0 } else { GROWTH_BYTES };
                    body.reserve_exact(piece.len().max(growth));
                }
                body.extend_from_slice(piece);
            }
            Form::Body(body) => *body = None,
            Form::Opaque => {}
        }
    }

    /// Tells the reader that nothing more will come.
    pub fn finish(&mut self) {
        match &mut self.form {
            Form::Events(lines) => lines.finish(|line| self.told.read_line(line)),
            Form::Body(body) => {
                if let Some(body) = body.take() {
                    self.told.add(read_facts(&body));
                }
            }
            Form::Opaque => {}
        }
    }

    /// What has been told so far.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.told
    }
}

impl Told {
    /// Comments, event names and `[DONE]` say nothing. Of the rest only lines that may hold something new are
    /// parsed: the first, and those that mention usage or an error.
    fn read_line(&mut self, line: &[u8]) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        let mentions = |word: &[u8]| memchr::memmem::find(data, word).is_some();
        if self.generation_id.is_none() || mentions(b"\"usage\"") || mentions(b"\"error\"") {
            self.add(read_facts(data.trim_ascii_start()));
        }
    }

    /// The last usage with a cost counts; one without a cost only until one with a cost has come.
    fn add(&mut self, facts: Facts) {
        self.generation_id = self.generation_id.take().or(facts.generation_id);
        if let Some(second) = facts.created.and_then(|second| i64::try_from(second).ok()) {
            self.created_at = self.created_at.or(plausible_instant(second));
        }
        self.report.model = facts.model.or(self.report.model.take());
        self.report.provider = facts.provider.or(self.report.provider.take());
        if facts.cost.is_some() || self.report.cost.is_none() {
            self.report.tokens = facts.tokens.unwrap_or(self.report.tokens);
        }
        self.report.cost = facts.cost.or(self.report.cost.take());
        self.is_error |= facts.is_error;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAT: &str = "\
: OPENROUTER PROCESSING\n\n\
data: {\"id\":\"gen-1790000000-AAAA\",\"created\":1790000000,\"model\":\"a/b\",\"provider\":\"P\",\"choices\":[]}\n\n\
data: {\"id\":\"gen-1790000000-AAAA\",\"choices\":[{\"delta\":{\"content\":\"\u{17c}\\\"usage\\\"\"}}]}\n\n\
data: {\"id\":\"gen-1790000000-AAAA\",\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":2,\"cost\":0.000004}}\n\n\
data: [DONE]\n\n";

    fn read(content_type: &str, pieces: &[&[u8]]) -> Told {
        let mut reader = AnswerReader::new(Some(content_type));
        for piece in pieces {
            reader.feed(piece);
        }
        reader.finish();
        reader.told().clone()
    }

    #[test]
    fn a_stream_tells_the_same_wherever_it_is_cut() {
        let whole = read("text/event-stream", &[CHAT.as_bytes()]);
        assert_eq!(whole.generation_id.as_deref(), Some("gen-1790000000-AAAA"));
        assert_eq!(whole.report.cost.as_ref().unwrap().amount.pico(), 4_000_000);
        assert_eq!(whole.report.tokens.prompt, Some(20));
        assert_eq!(whole.report.model.as_deref(), Some("a/b"));
        for cut in 0..CHAT.len() {
            let (head, tail) = CHAT.as_bytes().split_at(cut);
            assert_eq!(read("text/event-stream; charset=utf-8", &[head, tail]), whole, "cut at {cut}");
        }
        let crlf = CHAT.replace('\n', "\r\n");
        assert_eq!(read("text/event-stream", &[crlf.as_bytes()]), whole);
    }

    #[test]
    fn a_stream_that_breaks_off_tells_what_it_can() {
        let end = CHAT.find("data: {\"id\":\"gen-1790000000-AAAA\",\"choices\":[{\"delta\":{}}").unwrap();
        let told = read("text/event-stream", &[&CHAT.as_bytes()[..end + 40]]);
        assert_eq!(told.report.cost, None);
        assert_eq!(told.generation_id.as_deref(), Some("gen-1790000000-AAAA"));
    }

    #[test]
    fn of_two_usages_the_last_with_a_cost_counts() {
        let usage = |usage: &str| format!("data: {{\"id\":\"gen-1\",\"usage\":{usage}}}\n\n");
        let stream = usage(r#"{"prompt_tokens":1,"cost":1}"#)
            + &usage(r#"{"prompt_tokens":2,"cost":2}"#)
            + &usage(r#"{"prompt_tokens":3,"cost":null}"#);
        let told = read("text/event-stream", &[stream.as_bytes()]);
        assert_eq!(told.report.cost.unwrap().text, "2");
        assert_eq!(told.report.tokens.prompt, Some(2));
    }

    #[test]
    fn a_body_is_read_at_its_end_and_sound_never() {
        let body = br#"{"id":"gen-1","usage":{"cost":1}}"#;
        assert!(read("application/json", &[&body[..9], &body[9..]]).report.cost.is_some());
        assert!(read("application/problem+json", &[body]).report.cost.is_some());
        assert!(read("audio/mpeg", &[body]).report.cost.is_none());
        let long = vec![b' '; LONGEST_BODY_BYTES];
        assert!(read("application/json", &[&long, body]).report.cost.is_none());
        assert!(read("application/json", &[br#"{"error":{"message":"x"}}"#]).is_error);
        let mut reader = AnswerReader::new(Some("application/json"));
        assert!(reader.keeps_body());
        reader.give_up();
        reader.feed(body);
        reader.finish();
        assert!(!reader.keeps_body() && reader.told().report.cost.is_none());
    }
}
