//! `POST /messages`: Anthropic's shape, with the cost where Anthropic has none.

use super::answer::Answer;
use super::call::Call;
use super::meter::Usage;
use super::script::{Mark, Script, StreamWriter};
use crate::json::{Object, quoted};
use crate::knobs::UsageKnob;

pub(crate) fn plain(call: &Call, answer: &Answer) -> Script {
    let block = Object::new().text("type", "text").text("text", &answer.text).raw("citations", "[]");
    let usage = Usage::new(&call.meter, call.cost(), &call.knobs).messages().end();
    let told = call.knobs.usage != Some(UsageKnob::None);
    let body = head(call)
        .array("content", [block.end()])
        .text("model", call.served_name())
        .text("stop_reason", stop_reason(answer))
        .null("stop_details")
        .null("stop_sequence")
        .raw_if(told, "usage", &usage)
        .text("provider", call.provider());
    Script::json(body.end(), &call.knobs)
}

pub(crate) fn stream(call: &Call, answer: &Answer) -> Script {
    let mut writer = StreamWriter::new(&call.knobs);
    let usage = Usage::new(&call.meter, call.cost(), &call.knobs);
    let message = head(call)
        .raw("content", "[]")
        .text("model", call.served_name())
        .null("stop_reason")
        .null("stop_details")
        .null("stop_sequence")
        .object("usage", usage.messages_start())
        .text("provider", call.provider());
    send(&mut writer, "message_start", Mark::Filler, |event| event.object("message", message));
    let block = Object::new().text("type", "text").text("text", "").raw("citations", "[]");
    send(&mut writer, "content_block_start", Mark::Filler, |event| {
        event.number("index", 0).object("content_block", block)
    });
    let failure = call.knobs.midstream_error_after;
    for (piece, sent_tokens) in answer.paced(&call.meter).take(failure.unwrap_or(usize::MAX)) {
        let delta = Object::new().text("type", "text_delta").text("text", piece);
        send(&mut writer, "content_block_delta", Mark::Content { sent_tokens }, |event| {
            event.number("index", 0).object("delta", delta)
        });
    }
    if failure.is_some() {
        let error =
            Object::new().text("type", "api_error").text("message", "Provider disconnected unexpectedly");
        send(&mut writer, "error", Mark::Failed, |event| event.object("error", error));
    } else {
        ending(answer, &usage, call.knobs.usage != Some(UsageKnob::None), &mut writer);
    }
    if call.knobs.done.unwrap_or(failure.is_none()) {
        writer.event("data", "[DONE]", Mark::Filler);
    }
    writer.finish()
}

/// The final counts and the cost are in `message_delta`.
fn ending(answer: &Answer, usage: &Usage<'_>, told: bool, writer: &mut StreamWriter) {
    send(writer, "content_block_stop", Mark::Complete, |event| event.number("index", 0));
    let delta = Object::new()
        .null("container")
        .null("stop_details")
        .text("stop_reason", stop_reason(answer))
        .null("stop_sequence");
    let usage = usage.messages().end();
    send(writer, "message_delta", Mark::Filler, |event| {
        event.object("delta", delta).raw_if(told, "usage", &usage).null("context_management")
    });
    send(writer, "message_stop", Mark::Filler, |event| event);
}

fn send(writer: &mut StreamWriter, kind: &str, mark: Mark, fill: impl FnOnce(Object) -> Object) {
    let event = fill(Object::new().text("type", kind));
    writer.event(kind, &event.end(), mark);
}

fn head(call: &Call) -> Object {
    let with_id = call.knobs.body_id.unwrap_or(true);
    Object::new()
        .raw_if(with_id, "id", &quoted(&call.facts.generation_id))
        .text("type", "message")
        .text("role", "assistant")
        .null("container")
}

fn stop_reason(answer: &Answer) -> &'static str {
    if answer.finish_reason == "length" { "max_tokens" } else { "end_turn" }
}
