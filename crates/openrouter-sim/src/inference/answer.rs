//! What a model says: the same words for the same question.

use super::inquiry::{Inquiry, Loose, tokens_of};
use super::meter::Meter;
use crate::Knobs;
use crate::catalogue::Model;
use crate::json::{Object, array, quoted};

/// How much of the question comes back in the answer.
const ECHO_CHARS: usize = 120;

/// Content chunks of a stream, unless the knob says otherwise.
const DEFAULT_CHUNKS: usize = 6;

/// What Open WebUI's background prompts (title, tags, follow-ups, queries) begin with.
const BACKGROUND_TASK: &str = "### Task:";

/// An answer in words, before it is given a shape.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) reasoning: Option<&'static str>,
    pub(crate) finish_reason: &'static str,
    pub(crate) chunks: usize,
}

impl Answer {
    /// Answers a question of text, and counts.
    pub(crate) fn to(inquiry: &Inquiry, model: &Model, knobs: &Knobs) -> (Self, Meter) {
        let question = question(inquiry);
        let chunks = knobs.chunks.unwrap_or(DEFAULT_CHUNKS);
        let mut text = match &knobs.content {
            Some(content) => content.clone(),
            None if question.trim_start().starts_with(BACKGROUND_TASK) => background_task(&question),
            None => spoken(model, &question, chunks),
        };
        let mut finish_reason = "stop";
        if let Some(limit_tokens) = inquiry.answer_limit_tokens()
            && tokens_of(&text) > limit_tokens
        {
            shorten(&mut text, limit_tokens);
            finish_reason = "length";
        }
        let reasoning_tokens = knobs.reasoning_tokens.unwrap_or(model.reasoning_tokens);
        let completion_tokens =
            knobs.completion_tokens.unwrap_or_else(|| tokens_of(&text) + reasoning_tokens);
        let meter = Meter {
            prompt_tokens: knobs.prompt_tokens.unwrap_or_else(|| prompt_tokens(inquiry)),
            completion_tokens,
            reasoning_tokens,
            cached_tokens: knobs.cached_tokens.unwrap_or(0),
            requests: 1,
        };
        let reasoning = (reasoning_tokens > 0).then_some("The question is simulated, so is the thought.");
        (Self { text, reasoning, finish_reason, chunks }, meter)
    }

    /// The pieces of the answer, each with the completion tokens sent once it is out. The reasoning came
    /// before them.
    pub(crate) fn paced<'a>(&'a self, meter: &Meter) -> impl Iterator<Item = (&'a str, i64)> + use<'a> {
        let pieces = self.pieces();
        let count = i64::try_from(pieces.len()).unwrap_or(i64::MAX).max(1);
        let before = meter.reasoning_tokens;
        let spoken = meter.completion_tokens.saturating_sub(before);
        let sent = move |index: i64| before + spoken.saturating_mul(index) / count;
        pieces.into_iter().zip(1_i64..).map(move |(piece, index)| (piece, sent(index)))
    }

    /// The text cut into the wanted number of chunks, at character boundaries; short texts leave some
    /// of them empty.
    fn pieces(&self) -> Vec<&str> {
        let mut pieces = Vec::with_capacity(self.chunks);
        let mut rest = self.text.as_str();
        for left in (1..=self.chunks).rev() {
            let mut end = if left == 1 { rest.len() } else { rest.len() / left };
            while !rest.is_char_boundary(end) {
                end += 1;
            }
            let (piece, after) = rest.split_at(end);
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}

fn question(inquiry: &Inquiry) -> String {
    let last = inquiry.messages.as_ref().and_then(|messages| messages.last());
    let last = last.or(inquiry.prompt.as_ref()).or(inquiry.input.as_ref());
    match last {
        Some(Loose::List(parts)) => parts.last().map(Loose::text).unwrap_or_default(),
        Some(loose) => loose.text(),
        None => String::new(),
    }
}

fn prompt_tokens(inquiry: &Inquiry) -> i64 {
    let messages = inquiry.messages.iter().flatten();
    let others = [&inquiry.prompt, &inquiry.input, &inquiry.system, &inquiry.instructions];
    let tokens: i64 = messages.chain(others.into_iter().flatten()).map(Loose::tokens).sum();
    tokens.max(1)
}

fn spoken(model: &Model, question: &str, chunks: usize) -> String {
    const FILLER: &str = " and so on";
    let end = question.char_indices().nth(ECHO_CHARS).map_or(question.len(), |(end, _)| end);
    let (echo, _) = question.split_at(end);
    let mut text = format!("This is a simulated answer of {}. You asked: {echo}", model.id);
    while text.len() < chunks.saturating_mul(4) {
        text.push_str(FILLER);
    }
    text
}

fn shorten(text: &mut String, limit_tokens: i64) {
    let mut end = usize::try_from(limit_tokens.saturating_mul(4)).unwrap_or(usize::MAX).min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// The JSON that Open WebUI looks for in the answer to one of its background prompts.
fn background_task(prompt: &str) -> String {
    let prompt = prompt.to_lowercase();
    let list = |values: &[&str]| array(values.iter().map(|value| quoted(value)));
    let answer = Object::new();
    let answer = if prompt.contains("follow-up") || prompt.contains("follow_ups") {
        answer.raw("follow_ups", &list(&["What comes next?", "Why is that so?", "Is there an example?"]))
    } else if prompt.contains("title") {
        answer.text("title", "🧪 Simulated conversation")
    } else if prompt.contains("tags") {
        answer.raw("tags", &list(&["Simulation", "General"]))
    } else if prompt.contains("queries") {
        answer.raw("queries", &list(&[]))
    } else if prompt.contains("emoji") {
        return "🧪".to_owned();
    } else {
        answer.text("text", "a simulated continuation")
    };
    answer.end()
}
