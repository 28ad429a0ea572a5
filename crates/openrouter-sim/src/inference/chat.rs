//! `POST /chat/completions` and the legacy `POST /completions`.

use super::answer::Answer;
use super::call::Call;
use super::meter::Usage;
use super::script::{Mark, Script, StreamWriter};
use crate::json::{Object, array, quoted};
use crate::knobs::UsageKnob;
use crate::send_time::NOT_SENT_YET;

/// Which of the two shapes a choice has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Dialect {
    Chat,
    Text,
}

/// What every event of one stream begins with, and how its choices look.
struct Frames {
    head: Object,
    dialect: Dialect,
}

pub(crate) fn plain(call: &Call, answer: &Answer, dialect: Dialect) -> Script {
    let failed = call.knobs.midstream_error_after.is_some();
    let finish = if failed { "error" } else { answer.finish_reason };
    let choice = Object::new().number("index", 0).null("logprobs").text("finish_reason", finish);
    let choice = choice.text("native_finish_reason", finish);
    let choice = match dialect {
        Dialect::Text => choice.text("text", &answer.text),
        Dialect::Chat => {
            let message = Object::new()
                .text("role", "assistant")
                .text("content", &answer.text)
                .null("refusal")
                .maybe_text("reasoning", answer.reasoning);
            choice.object("message", message)
        }
    };
    let choice = if failed { choice.raw("error", &provider_error()) } else { choice };
    let object = if dialect == Dialect::Chat { "chat.completion" } else { "text_completion" };
    let body =
        head(call, object).null("system_fingerprint").null("service_tier").array("choices", [choice.end()]);
    let told = !failed && call.knobs.usage != Some(UsageKnob::None);
    let usage = Usage::new(&call.meter, call.cost(), &call.knobs).chat(0).end();
    let mut script = Script::json(body.raw_if(told, "usage", &usage).end(), &call.knobs);
    if failed {
        script.steps.iter_mut().for_each(|step| step.mark = Mark::Failed);
    }
    script
}

pub(crate) fn stream(call: &Call, answer: &Answer, dialect: Dialect) -> Script {
    let object = if dialect == Dialect::Chat { "chat.completion.chunk" } else { "text_completion" };
    let frames = Frames { head: head(call, object), dialect };
    let mut writer = StreamWriter::new(&call.knobs);
    if let Some(reasoning) = answer.reasoning
        && dialect == Dialect::Chat
    {
        let mark = Mark::Content { sent_tokens: call.meter.reasoning_tokens };
        writer.data(&frames.reasoning(reasoning), mark);
    }
    let failure = call.knobs.midstream_error_after;
    let timed = call.knobs.send_times == Some(true);
    for (piece, sent_tokens) in answer.paced(&call.meter).take(failure.unwrap_or(usize::MAX)) {
        let piece = if timed { NOT_SENT_YET } else { piece };
        writer.data(&frames.content(piece), Mark::Content { sent_tokens });
    }
    if failure.is_some() {
        writer.data(&frames.failure(), Mark::Failed);
    } else {
        ending(call, answer, &frames, &mut writer);
    }
    if call.knobs.done.unwrap_or(failure.is_none()) {
        writer.data("[DONE]", Mark::Filler);
    }
    writer.finish()
}

/// The finish reason, then the same again with the usage, in one of the shapes that were seen.
fn ending(call: &Call, answer: &Answer, frames: &Frames, writer: &mut StreamWriter) {
    let finish = Some(answer.finish_reason);
    let usage = Usage::new(&call.meter, call.cost(), &call.knobs);
    let knob = call.knobs.usage.unwrap_or_default();
    if knob == UsageKnob::Twice {
        writer.data(&frames.usage(finish, &usage.halved()), Mark::Complete);
    } else {
        writer.data(&frames.choice("", finish).end(), Mark::Complete);
    }
    let last = match knob {
        UsageKnob::None => return,
        UsageKnob::Normal | UsageKnob::Twice => frames.usage(finish, &usage),
        UsageKnob::NullFinish => frames.usage(None, &usage),
        UsageKnob::EmptyChoices => {
            frames.head.clone().raw("choices", "[]").object("usage", usage.chat(0)).end()
        }
    };
    writer.data(&last, Mark::Filler);
}

impl Frames {
    fn content(&self, piece: &str) -> String {
        self.choice(piece, None).end()
    }

    fn reasoning(&self, reasoning: &str) -> String {
        let delta = Object::new().text("content", "").text("role", "assistant").text("reasoning", reasoning);
        self.with_choice(
            self.head.clone(),
            &finished(Object::new().number("index", 0).object("delta", delta), None),
        )
        .end()
    }

    fn usage(&self, finish: Option<&str>, usage: &Usage<'_>) -> String {
        let head = self.head.clone().null("service_tier");
        self.with_choice(head, &self.finished_choice("", finish)).object("usage", usage.chat(0)).end()
    }

    fn failure(&self) -> String {
        let choice = Object::new().number("index", 0);
        let choice = match self.dialect {
            Dialect::Chat => choice.object("delta", Object::new().text("content", "")),
            Dialect::Text => choice.text("text", ""),
        };
        let head = self.head.clone().raw("error", &provider_error());
        self.with_choice(head, &choice.text("finish_reason", "error").end()).end()
    }

    fn choice(&self, piece: &str, finish: Option<&str>) -> Object {
        self.with_choice(self.head.clone(), &self.finished_choice(piece, finish))
    }

    fn finished_choice(&self, piece: &str, finish: Option<&str>) -> String {
        let choice = Object::new().number("index", 0);
        let choice = match self.dialect {
            Dialect::Chat => {
                choice.object("delta", Object::new().raw("content", &quoted(piece)).text("role", "assistant"))
            }
            Dialect::Text => choice.text("text", piece).null("logprobs"),
        };
        finished(choice, finish)
    }

    #[expect(clippy::unused_self, reason = "reads as a part of the frame")]
    fn with_choice(&self, head: Object, choice: &str) -> Object {
        head.raw("choices", &array([choice.to_owned()]))
    }
}

fn finished(choice: Object, finish: Option<&str>) -> String {
    choice.maybe_text("finish_reason", finish).maybe_text("native_finish_reason", finish).end()
}

/// The members that all bodies and events of a call share.
fn head(call: &Call, object: &str) -> Object {
    let with_id = call.knobs.body_id.unwrap_or(true);
    Object::new()
        .raw_if(with_id, "id", &quoted(&call.facts.generation_id))
        .text("object", object)
        .number("created", call.facts.created_seconds())
        .text("model", call.served_name())
        .text("provider", call.provider())
}

/// The provider's failure in the middle of an answer.
pub(crate) fn provider_error() -> String {
    Object::new()
        .number("code", 502)
        .text("message", "Provider disconnected unexpectedly")
        .object("metadata", Object::new().text("error_type", "provider_unavailable"))
        .end()
}
