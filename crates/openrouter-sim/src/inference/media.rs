//! `POST /images`, `POST /audio/speech` and `POST /audio/transcriptions`.

use super::call::Call;
use super::inquiry::{Inquiry, Loose, tokens_of};
use super::meter::{Meter, Usage};
use super::script::{Mark, Script, StreamWriter};
use crate::json::Object;
use crate::knobs::UsageKnob;

/// A PNG of one pixel.
const PIXEL: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";

/// The native tokens of one picture.
const TOKENS_OF_PICTURE: i64 = 1290;

/// Draws. The body has no id and its `created` is 0, as seen on the wire.
pub(crate) fn images(call: &mut Call, inquiry: &Inquiry) -> Script {
    let pictures = i64::try_from(inquiry.n.unwrap_or(1)).unwrap_or(1).max(1);
    let completion = TOKENS_OF_PICTURE.saturating_mul(pictures);
    call.meter = Meter {
        prompt_tokens: prompt_tokens(call, inquiry.prompt.as_ref()),
        completion_tokens: call.knobs.completion_tokens.unwrap_or(completion),
        requests: 1,
        ..Meter::default()
    };
    let usage = Usage::new(&call.meter, call.cost(), &call.knobs).chat(call.meter.completion_tokens).end();
    let told = call.knobs.usage != Some(UsageKnob::None);
    if call.facts.streamed {
        return image_stream(call, told.then_some(usage.as_str()));
    }
    let picture = || Object::new().text("b64_json", PIXEL).text("media_type", "image/png").end();
    let body = Object::new()
        .number("created", 0)
        .array("data", (0..pictures).map(|_| picture()))
        .raw_if(told, "usage", &usage);
    Script::json(body.end(), &call.knobs)
}

fn image_stream(call: &Call, usage: Option<&str>) -> Script {
    let mut writer = StreamWriter::with_comment(": ", &call.knobs);
    let failure = call.knobs.midstream_error_after;
    let partials = i64::try_from(call.knobs.chunks.unwrap_or(1)).unwrap_or(1);
    let shown = failure.map_or(partials, |after| partials.min(i64::try_from(after).unwrap_or(i64::MAX)));
    for index in 0..shown {
        let sent_tokens = call.meter.completion_tokens.saturating_mul(index + 1) / (partials + 1);
        let event = Object::new()
            .text("type", "image_generation.partial_image")
            .number("partial_image_index", index)
            .text("b64_json", PIXEL);
        writer.data(&event.end(), Mark::Content { sent_tokens });
    }
    if failure.is_some() {
        let error =
            Object::new().text("code", "server_error").text("message", "Provider disconnected unexpectedly");
        writer.data(&Object::new().text("type", "error").object("error", error).end(), Mark::Failed);
    } else {
        let event = Object::new()
            .text("type", "image_generation.completed")
            .text("b64_json", PIXEL)
            .text("media_type", "image/png")
            .number("created", 0);
        writer.data(&event.raw_if(usage.is_some(), "usage", usage.unwrap_or_default()).end(), Mark::Complete);
    }
    if call.knobs.done.unwrap_or(failure.is_none()) {
        writer.data("[DONE]", Mark::Filler);
    }
    writer.finish()
}

/// Speaks. The answer is sound alone; only `GET /generation` tells the cost.
pub(crate) fn speech(call: &mut Call, inquiry: &Inquiry) -> Script {
    const SOUND_TOKENS_A_TOKEN: i64 = 5;
    const BYTES_A_SOUND_TOKEN: i64 = 64;
    let prompt_tokens = prompt_tokens(call, inquiry.input.as_ref());
    let spoken = prompt_tokens.saturating_mul(SOUND_TOKENS_A_TOKEN);
    call.meter = Meter {
        prompt_tokens,
        completion_tokens: call.knobs.completion_tokens.unwrap_or(spoken),
        requests: 1,
        ..Meter::default()
    };
    let format = inquiry.response_format.as_ref().map(Loose::text).unwrap_or_default();
    let content_type = match format.as_str() {
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "opus" => "audio/opus",
        "flac" => "audio/flac",
        "aac" => "audio/aac",
        _ => "audio/pcm",
    };
    let length = spoken.saturating_mul(BYTES_A_SOUND_TOKEN).clamp(1, 1 << 20);
    let sound: Vec<u8> = (0..=u8::MAX).cycle().take(usize::try_from(length).unwrap_or(1)).collect();
    Script::plain(content_type, sound, &call.knobs)
}

/// Listens. The price is by the second, told as `seconds`.
pub(crate) fn transcription(call: &mut Call, inquiry: &Inquiry) -> Script {
    const BYTES_A_SECOND: usize = 16_000;
    let text = call.knobs.content.clone().unwrap_or_else(|| "A simulated transcript.".to_owned());
    let seconds = inquiry.sound_bytes().unwrap_or(0).div_ceil(BYTES_A_SECOND).max(1);
    let seconds = call.knobs.prompt_tokens.unwrap_or_else(|| i64::try_from(seconds).unwrap_or(i64::MAX));
    call.meter = Meter {
        prompt_tokens: seconds,
        completion_tokens: call.knobs.completion_tokens.unwrap_or_else(|| tokens_of(&text)),
        requests: 1,
        ..Meter::default()
    };
    let counts = Object::new()
        .number("seconds", seconds)
        .number("input_tokens", seconds)
        .number("output_tokens", call.meter.completion_tokens)
        .number("total_tokens", call.meter.total_tokens());
    let usage = Usage::new(&call.meter, call.cost(), &call.knobs).only_cost(counts).end();
    let body = Object::new().text("text", &text);
    let body = match inquiry.response_format.as_ref().map(Loose::text).as_deref() {
        Some("verbose_json") => {
            body.text("task", "transcribe").text("language", "english").number("duration", seconds)
        }
        _ => body,
    };
    let told = call.knobs.usage != Some(UsageKnob::None);
    Script::json(body.raw_if(told, "usage", &usage).end(), &call.knobs)
}

fn prompt_tokens(call: &Call, input: Option<&Loose>) -> i64 {
    call.knobs.prompt_tokens.unwrap_or_else(|| input.map_or(0, Loose::tokens).max(1))
}
