//! The body of a request, read as permissively as the vendor reads it.

use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::form::Form;
use crate::Knobs;
use crate::refusal::Refusal;

/// Tokens of a part that is not text: an image, a file, a sound.
const TOKENS_OF_MEDIA: i64 = 256;

/// The members that any of the inference endpoints understands.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Inquiry {
    pub(crate) model: Option<String>,
    /// Fallbacks, in order; the first known one serves.
    pub(crate) models: Option<Vec<String>>,
    pub(crate) stream: Option<bool>,
    pub(crate) user: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) messages: Option<Vec<Loose>>,
    pub(crate) prompt: Option<Loose>,
    pub(crate) input: Option<Loose>,
    pub(crate) input_audio: Option<InputAudio>,
    pub(crate) system: Option<Loose>,
    pub(crate) instructions: Option<Loose>,
    pub(crate) query: Option<Loose>,
    pub(crate) documents: Option<Vec<Loose>>,
    pub(crate) max_tokens: Option<i64>,
    pub(crate) max_completion_tokens: Option<i64>,
    pub(crate) max_output_tokens: Option<i64>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) encoding_format: Option<String>,
    pub(crate) response_format: Option<Loose>,
    pub(crate) n: Option<usize>,
    pub(crate) top_n: Option<usize>,
    pub(crate) sim: Option<Knobs>,
    /// The length of an uploaded file.
    #[serde(skip)]
    pub(crate) file_bytes: Option<usize>,
}

/// A sound inside a JSON body.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct InputAudio {
    /// Base64.
    pub(crate) data: Option<String>,
}

impl Inquiry {
    pub(crate) fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, Refusal> {
        if let Some(form) = Form::read(headers, body) {
            return Self::of_form(&form);
        }
        serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("Invalid request body: {error}")))
    }

    /// The form of OpenAI's transcription clients. A field `sim` holds knobs as JSON.
    fn of_form(form: &Form) -> Result<Self, Refusal> {
        let sim = form.text("sim").map(|knobs| serde_json::from_str(&knobs)).transpose();
        Ok(Self {
            model: form.text("model"),
            user: form.text("user"),
            response_format: form.text("response_format").map(Loose::Text),
            sim: sim.map_err(|error| Refusal::bad_request(format!("Invalid sim: {error}")))?,
            file_bytes: form.field("file").map(Bytes::len),
            ..Self::default()
        })
    }

    /// The length of the sound to transcribe.
    pub(crate) fn sound_bytes(&self) -> Option<usize> {
        let inline =
            || self.input_audio.as_ref().map(|audio| audio.data.as_deref().map_or(0, str::len) / 4 * 3);
        self.file_bytes.or_else(inline)
    }

    pub(crate) fn streamed(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// The smallest of the caps on the answer, in tokens.
    pub(crate) fn answer_limit_tokens(&self) -> Option<i64> {
        let limits = [self.max_completion_tokens, self.max_output_tokens, self.max_tokens];
        limits.into_iter().flatten().filter(|limit| *limit > 0).min()
    }
}

/// Anything that may hold text: a string, a list of parts or messages, a part, or something else.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Loose {
    Text(String),
    List(Vec<Self>),
    Part(Box<Part>),
    Other(IgnoredAny),
}

/// A message, a content part, a document.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Part {
    pub(crate) text: Option<String>,
    pub(crate) content: Option<Loose>,
}

impl Loose {
    /// All text in it, joined.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.collect(&mut text);
        text
    }

    fn collect(&self, text: &mut String) {
        match self {
            Self::Text(part) => text.push_str(part),
            Self::List(parts) => parts.iter().for_each(|part| part.collect(text)),
            Self::Part(part) => {
                text.push_str(part.text.as_deref().unwrap_or_default());
                if let Some(content) = &part.content {
                    content.collect(text);
                }
            }
            Self::Other(_) => {}
        }
    }

    pub(crate) fn tokens(&self) -> i64 {
        match self {
            Self::Text(text) => tokens_of(text),
            Self::List(parts) => parts.iter().map(Self::tokens).sum(),
            Self::Part(part) => match (&part.text, &part.content) {
                (None, None) => TOKENS_OF_MEDIA,
                (text, content) => {
                    text.as_deref().map_or(0, tokens_of) + content.as_ref().map_or(0, Self::tokens)
                }
            },
            // A token id, where the input of embeddings is one already.
            Self::Other(_) => 1,
        }
    }
}

/// The tokenizer: a token is four bytes, begun ones count.
pub(crate) fn tokens_of(text: &str) -> i64 {
    const BYTES_A_TOKEN: usize = 4;
    i64::try_from(text.len().div_ceil(BYTES_A_TOKEN)).unwrap_or(i64::MAX)
}
