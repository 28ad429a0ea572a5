//! `POST /embeddings` and `POST /rerank`.

use super::call::Call;
use super::inquiry::{Inquiry, Loose};
use super::meter::{Meter, Usage};
use super::script::Script;
use crate::json::{Object, array, quoted};
use crate::knobs::UsageKnob;

/// Numbers in a vector, unless the request asks for another count.
const DEFAULT_DIMENSIONS: usize = 8;

/// A vector's numbers are thousandths, so that text and binary form agree.
const THOUSANDTHS: i16 = 1000;

pub(crate) fn embeddings(call: &mut Call, inquiry: &Inquiry) -> Script {
    let inputs = texts(inquiry.input.as_ref());
    call.meter =
        Meter { prompt_tokens: prompt_tokens(call, inquiry.input.iter()), requests: 1, ..Meter::default() };
    let dimensions = inquiry.dimensions.unwrap_or(DEFAULT_DIMENSIONS);
    let as_base64 = inquiry.encoding_format.as_deref() == Some("base64");
    let data = inputs.iter().zip(0_i64..).map(|(input, index)| {
        let vector = vector(input, dimensions);
        let embedding = if as_base64 { quoted(&base64(&packed(&vector))) } else { array(printed(&vector)) };
        Object::new().text("object", "embedding").number("index", index).raw("embedding", &embedding).end()
    });
    let with_id = call.knobs.body_id.unwrap_or(true);
    let usage = Usage::new(&call.meter, call.cost(), &call.knobs).embeddings().end();
    let body = Object::new()
        .raw_if(with_id, "id", &quoted(&call.facts.generation_id))
        .text("object", "list")
        .array("data", data)
        .text("model", call.served_name())
        .raw_if(told(call), "usage", &usage);
    Script::json(body.end(), &call.knobs)
}

pub(crate) fn rerank(call: &mut Call, inquiry: &Inquiry) -> Script {
    let documents = inquiry.documents.as_deref().unwrap_or_default();
    let parts = documents.iter().chain(&inquiry.query);
    call.meter = Meter { prompt_tokens: prompt_tokens(call, parts), requests: 1, ..Meter::default() };
    let shown = inquiry.top_n.unwrap_or(documents.len());
    // The first document is the best, by decree; scores fall but stay above 0.
    let results = documents.iter().zip(0_i64..).take(shown).map(|(document, index)| {
        Object::new()
            .number("index", index)
            .raw("relevance_score", &format!("0.{:03}", 999 - index.min(998)))
            .object("document", Object::new().text("text", &document.text()))
            .end()
    });
    let usage = Usage::new(&call.meter, call.cost(), &call.knobs);
    let counts = Object::new().number("search_units", 1).number("total_tokens", call.meter.prompt_tokens);
    let usage = usage.only_cost(counts).end();
    let with_id = call.knobs.body_id.unwrap_or(true);
    let body = Object::new()
        .raw_if(with_id, "id", &quoted(&call.facts.generation_id))
        .text("model", call.served_name())
        .text("provider", call.provider())
        .array("results", results)
        .raw_if(told(call), "usage", &usage);
    Script::json(body.end(), &call.knobs)
}

fn told(call: &Call) -> bool {
    call.knobs.usage != Some(UsageKnob::None)
}

fn prompt_tokens<'a>(call: &Call, parts: impl Iterator<Item = &'a Loose>) -> i64 {
    call.knobs.prompt_tokens.unwrap_or_else(|| parts.map(Loose::tokens).sum::<i64>().max(1))
}

/// One text a vector. A list of token ids is one text.
fn texts(input: Option<&Loose>) -> Vec<String> {
    match input {
        Some(Loose::List(items)) if !items.iter().any(|item| matches!(item, Loose::Other(_))) => {
            items.iter().map(Loose::text).collect()
        }
        Some(loose) => vec![loose.text()],
        None => Vec::new(),
    }
}

/// The same numbers for the same text, between -1 and 1.
fn vector(text: &str, dimensions: usize) -> Vec<i16> {
    let seed = text.bytes().fold(17_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let spread = |index: u32| seed.wrapping_add(index).wrapping_mul(2_654_435_761) >> 16;
    let number = |index: u32| i16::try_from(spread(index) % 2001).unwrap_or(0) - THOUSANDTHS;
    (0..u32::MAX).take(dimensions).map(number).collect()
}

fn printed(vector: &[i16]) -> impl Iterator<Item = String> {
    vector.iter().map(|number| {
        let sign = if *number < 0 { "-" } else { "" };
        let size = number.unsigned_abs();
        format!("{sign}{}.{:03}", size / 1000, size % 1000)
    })
}

fn packed(vector: &[i16]) -> Vec<u8> {
    vector.iter().flat_map(|number| (f32::from(*number) / f32::from(THOUSANDTHS)).to_le_bytes()).collect()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |group: u32, shift: u32| {
        let index = usize::try_from(group >> shift & 63).unwrap_or(0);
        char::from(LETTERS.get(index).copied().unwrap_or(b'A'))
    };
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().chain(&[0, 0]).take(3).fold(0_u32, |group, byte| group << 8 | u32::from(*byte));
        let letters = [letter(group, 18), letter(group, 12), letter(group, 6), letter(group, 0)];
        text.extend(letters.iter().take(chunk.len() + 1));
        text.extend(std::iter::repeat_n('=', 3 - chunk.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn encodes_base64() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
