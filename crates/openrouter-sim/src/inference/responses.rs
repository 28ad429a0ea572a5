//! `POST /responses`: OpenAI's newer shape. Ids are `gen-…` all the same.

use super::answer::Answer;
use super::call::Call;
use super::meter::Usage;
use super::script::{Mark, Script, StreamWriter};
use crate::json::{Object, array, quoted};
use crate::knobs::UsageKnob;

/// Where the answer stands, as `status` tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Status {
    InProgress,
    Completed,
    /// Cut at the caller's limit of tokens.
    Incomplete,
    Failed,
}

impl Status {
    const fn text(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete => "incomplete",
            Self::Failed => "failed",
        }
    }

    fn at_the_end_of(answer: &Answer) -> Self {
        if answer.finish_reason == "length" { Self::Incomplete } else { Self::Completed }
    }
}

/// Events numbered in sequence.
struct Events {
    writer: StreamWriter,
    sequence: i64,
    item_id: String,
}

pub(crate) fn plain(call: &Call, answer: &Answer) -> Script {
    if call.knobs.midstream_error_after.is_some() {
        let body = response(call, Status::Failed, None).end();
        let mut script = Script::json(body, &call.knobs);
        script.steps.iter_mut().for_each(|step| step.mark = Mark::Failed);
        return script;
    }
    let status = Status::at_the_end_of(answer);
    let output = item(&item_id(call), status, Some(&answer.text));
    Script::json(response(call, status, Some(&output)).end(), &call.knobs)
}

pub(crate) fn stream(call: &Call, answer: &Answer) -> Script {
    let mut events = Events { writer: StreamWriter::new(&call.knobs), sequence: 0, item_id: item_id(call) };
    for kind in ["created", "in_progress"] {
        let begun = response(call, Status::InProgress, None);
        events.send(&format!("response.{kind}"), Mark::Filler, |event| event.object("response", begun));
    }
    let opened = item(&events.item_id, Status::InProgress, None);
    events.send("response.output_item.added", Mark::Filler, |event| {
        event.number("output_index", 0).raw("item", &opened)
    });
    events.send_content("response.content_part.added", Mark::Filler, |event| event.raw("part", &part("")));
    let failure = call.knobs.midstream_error_after;
    for (piece, sent_tokens) in answer.paced(&call.meter).take(failure.unwrap_or(usize::MAX)) {
        events.send_content("response.output_text.delta", Mark::Content { sent_tokens }, |event| {
            event.text("delta", piece).raw("logprobs", "[]")
        });
    }
    if failure.is_some() {
        let failed = response(call, Status::Failed, None);
        events.send("response.failed", Mark::Failed, |event| event.object("response", failed));
    } else {
        ending(call, answer, &mut events);
    }
    if call.knobs.done.unwrap_or(failure.is_none()) {
        events.writer.data("[DONE]", Mark::Filler);
    }
    events.writer.finish()
}

fn ending(call: &Call, answer: &Answer, events: &mut Events) {
    events.send_content("response.output_text.done", Mark::Complete, |event| {
        event.text("text", &answer.text).raw("logprobs", "[]")
    });
    let whole = part(&answer.text);
    events.send_content("response.content_part.done", Mark::Filler, |event| event.raw("part", &whole));
    let status = Status::at_the_end_of(answer);
    let output = item(&events.item_id, status, Some(&answer.text));
    events.send("response.output_item.done", Mark::Filler, |event| {
        event.number("output_index", 0).raw("item", &output)
    });
    let finished = response(call, status, Some(&output));
    let kind = format!("response.{}", status.text());
    events.send(&kind, Mark::Filler, |event| event.object("response", finished));
}

impl Events {
    fn send(&mut self, kind: &str, mark: Mark, fill: impl FnOnce(Object) -> Object) {
        let event = fill(Object::new().text("type", kind)).number("sequence_number", self.sequence);
        self.sequence += 1;
        self.writer.data(&event.end(), mark);
    }

    /// An event about the one part of the one item.
    fn send_content(&mut self, kind: &str, mark: Mark, fill: impl FnOnce(Object) -> Object) {
        let item_id = quoted(&self.item_id);
        self.send(kind, mark, |event| {
            fill(event.number("output_index", 0).raw("item_id", &item_id).number("content_index", 0))
        });
    }
}

/// Item ids are temporary and lead nowhere.
fn item_id(call: &Call) -> String {
    format!("msg_tmp_{}", call.facts.request_id.rsplit('-').next().unwrap_or_default())
}

fn part(text: &str) -> String {
    let part = Object::new().text("type", "output_text").text("text", text);
    part.raw("annotations", "[]").raw("logprobs", "[]").end()
}

fn item(item_id: &str, status: Status, text: Option<&str>) -> String {
    Object::new()
        .text("id", item_id)
        .text("type", "message")
        .text("role", "assistant")
        .text("status", status.text())
        .array("content", text.map(part))
        .end()
}

fn response(call: &Call, status: Status, output: Option<&str>) -> Object {
    let seconds = call.facts.created_seconds();
    let with_id = call.knobs.body_id.unwrap_or(true);
    let body = Object::new()
        .raw_if(with_id, "id", &quoted(&call.facts.generation_id))
        .text("object", "response")
        .number("created_at", seconds)
        .text("model", call.served_name())
        .text("status", status.text());
    let body = match status {
        Status::Completed => body.number("completed_at", seconds),
        _ => body.null("completed_at"),
    };
    let body = body.raw("output", &array(output.map(str::to_owned)));
    let body = match status {
        Status::Failed => {
            let error = Object::new()
                .text("code", "server_error")
                .text("message", "Provider disconnected unexpectedly");
            body.object("error", error).text("error_type", "provider_unavailable")
        }
        _ => body.null("error"),
    };
    let body = match status {
        Status::Incomplete => {
            body.object("incomplete_details", Object::new().text("reason", "max_output_tokens"))
        }
        _ => body.null("incomplete_details"),
    };
    let body = settings(body, call);
    let settled = matches!(status, Status::Completed | Status::Incomplete);
    if settled && call.knobs.usage != Some(UsageKnob::None) {
        let usage = Usage::new(&call.meter, call.cost(), &call.knobs);
        body.object("usage", usage.responses())
    } else {
        body.null("usage")
    }
}

/// The settings of the request, all at their defaults.
fn settings(body: Object, call: &Call) -> Object {
    body.raw("tools", "[]")
        .text("tool_choice", "auto")
        .flag("parallel_tool_calls", true)
        .null("max_output_tokens")
        .number("temperature", 1)
        .number("top_p", 1)
        .number("presence_penalty", 0)
        .number("frequency_penalty", 0)
        .number("top_logprobs", 0)
        .null("max_tool_calls")
        .raw("metadata", "{}")
        .flag("background", false)
        .null("previous_response_id")
        .text("service_tier", "default")
        .text("truncation", "disabled")
        .flag("store", false)
        .null("instructions")
        .null("reasoning")
        .null("safety_identifier")
        .null("prompt_cache_key")
        .maybe_text("user", call.facts.external_user.as_deref())
}
