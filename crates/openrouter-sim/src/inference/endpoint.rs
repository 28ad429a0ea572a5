//! The billed endpoints and how they differ.

use super::answer::Answer;
use super::call::Call;
use super::chat::Dialect;
use super::inquiry::Inquiry;
use super::script::Script;
use super::{chat, media, messages, responses, vectors};
use crate::catalogue::Product;

/// An endpoint that is billed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    ChatCompletions,
    Completions,
    Responses,
    Messages,
    Embeddings,
    Rerank,
    Images,
    Speech,
    Transcriptions,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 9] = [
        Self::ChatCompletions,
        Self::Completions,
        Self::Responses,
        Self::Messages,
        Self::Embeddings,
        Self::Rerank,
        Self::Images,
        Self::Speech,
        Self::Transcriptions,
    ];

    /// The path below `/api/v1/`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Completions => "completions",
            Self::Responses => "responses",
            Self::Messages => "messages",
            Self::Embeddings => "embeddings",
            Self::Rerank => "rerank",
            Self::Images => "images",
            Self::Speech => "audio/speech",
            Self::Transcriptions => "audio/transcriptions",
        }
    }

    pub(crate) const fn id_prefix(self) -> &'static str {
        match self {
            Self::Embeddings => "gen-emb",
            Self::Images => "gen-img",
            Self::Speech => "gen-tts",
            Self::Transcriptions => "gen-stt",
            _ => "gen",
        }
    }

    pub(crate) const fn product(self) -> Product {
        match self {
            Self::ChatCompletions | Self::Completions | Self::Responses | Self::Messages => Product::Text,
            Self::Embeddings => Product::Embedding,
            Self::Rerank => Product::Rerank,
            Self::Images => Product::Image,
            Self::Speech => Product::Speech,
            Self::Transcriptions => Product::Transcript,
        }
    }

    /// Whether the endpoint can answer with an event stream.
    pub(crate) const fn streams(self) -> bool {
        match self {
            Self::Embeddings | Self::Rerank | Self::Speech | Self::Transcriptions => false,
            Self::ChatCompletions | Self::Completions | Self::Responses | Self::Messages | Self::Images => {
                true
            }
        }
    }

    /// The member without which there is nothing to do, if it is missing.
    pub(crate) fn missing_member(self, inquiry: &Inquiry) -> Option<&'static str> {
        let messages = inquiry.messages.as_ref().is_some_and(|messages| !messages.is_empty());
        let (present, member) = match self {
            Self::ChatCompletions => (messages || inquiry.prompt.is_some(), "messages"),
            Self::Messages => (messages, "messages"),
            Self::Completions | Self::Images => (inquiry.prompt.is_some(), "prompt"),
            Self::Responses | Self::Embeddings | Self::Speech => (inquiry.input.is_some(), "input"),
            Self::Rerank => (inquiry.query.is_some() && inquiry.documents.is_some(), "query"),
            Self::Transcriptions => (inquiry.sound_bytes().is_some(), "input_audio"),
        };
        (!present).then_some(member)
    }

    /// Lets the model work: fills the call's meter and gives the bytes of the answer.
    pub(crate) fn perform(self, call: &mut Call, inquiry: &Inquiry) -> Script {
        match self {
            Self::ChatCompletions => speak(call, inquiry, |call, answer| {
                if call.facts.streamed {
                    chat::stream(call, answer, Dialect::Chat)
                } else {
                    chat::plain(call, answer, Dialect::Chat)
                }
            }),
            Self::Completions => speak(call, inquiry, |call, answer| {
                if call.facts.streamed {
                    chat::stream(call, answer, Dialect::Text)
                } else {
                    chat::plain(call, answer, Dialect::Text)
                }
            }),
            Self::Responses => speak(call, inquiry, |call, answer| {
                if call.facts.streamed {
                    responses::stream(call, answer)
                } else {
                    responses::plain(call, answer)
                }
            }),
            Self::Messages => speak(call, inquiry, |call, answer| {
                if call.facts.streamed {
                    messages::stream(call, answer)
                } else {
                    messages::plain(call, answer)
                }
            }),
            Self::Embeddings => vectors::embeddings(call, inquiry),
            Self::Rerank => vectors::rerank(call, inquiry),
            Self::Images => media::images(call, inquiry),
            Self::Speech => media::speech(call, inquiry),
            Self::Transcriptions => media::transcription(call, inquiry),
        }
    }
}

/// Answers in words, and gives them the shape of the endpoint.
fn speak(call: &mut Call, inquiry: &Inquiry, shape: fn(&Call, &Answer) -> Script) -> Script {
    let (answer, meter) = Answer::to(inquiry, call.model, &call.knobs);
    call.meter = meter;
    call.finish_reason = answer.finish_reason;
    shape(call, &answer)
}
