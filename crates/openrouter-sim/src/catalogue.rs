//! The models on offer and their prices. The prices are invented; the shapes are not.

use crate::money::PicoUsd;

/// What a model makes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Product {
    Text,
    Embedding,
    Rerank,
    Image,
    Speech,
    Transcript,
}

/// How a model names itself in an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ServedAs {
    /// As it was asked for.
    Id,
    /// By its dated slug.
    DatedSlug,
}

/// One model, with the prices of the one endpoint that serves it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) id: &'static str,
    pub(crate) dated_slug: &'static str,
    pub(crate) name: &'static str,
    pub(crate) provider: &'static str,
    pub(crate) product: Product,
    pub(crate) served_as: ServedAs,
    pub(crate) context_tokens: i64,
    /// Tokens spent on reasoning before each answer.
    pub(crate) reasoning_tokens: i64,
    pub(crate) price: Price,
}

/// Pico-dollars a unit: a token, or a request.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "amounts name their unit")]
pub(crate) struct Price {
    prompt_pico_usd: i64,
    completion_pico_usd: i64,
    cache_read_pico_usd: i64,
    request_pico_usd: i64,
}

impl Price {
    const fn tokens(prompt_pico_usd: i64, completion_pico_usd: i64, cache_read_pico_usd: i64) -> Self {
        Self { prompt_pico_usd, completion_pico_usd, cache_read_pico_usd, request_pico_usd: 0 }
    }

    const fn request(request_pico_usd: i64) -> Self {
        Self { prompt_pico_usd: 0, completion_pico_usd: 0, cache_read_pico_usd: 0, request_pico_usd }
    }

    pub(crate) fn prompt(&self) -> PicoUsd {
        PicoUsd(self.prompt_pico_usd.into())
    }

    pub(crate) fn completion(&self) -> PicoUsd {
        PicoUsd(self.completion_pico_usd.into())
    }

    pub(crate) fn cache_read(&self) -> PicoUsd {
        PicoUsd(self.cache_read_pico_usd.into())
    }

    pub(crate) fn per_request(&self) -> PicoUsd {
        PicoUsd(self.request_pico_usd.into())
    }
}

impl Model {
    pub(crate) const fn served_name(&self) -> &'static str {
        match self.served_as {
            ServedAs::Id => self.id,
            ServedAs::DatedSlug => self.dated_slug,
        }
    }
}

/// The model of this id or dated slug.
pub(crate) fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.id == name || model.dated_slug == name)
}

/// The models that make `product`.
pub(crate) fn making(product: Product) -> impl Iterator<Item = &'static Model> {
    MODELS.iter().filter(move |model| model.product == product)
}

const fn text(
    id: &'static str,
    dated_slug: &'static str,
    name: &'static str,
    provider: &'static str,
    price: Price,
) -> Model {
    Model {
        id,
        dated_slug,
        name,
        provider,
        product: Product::Text,
        served_as: ServedAs::Id,
        context_tokens: 128_000,
        reasoning_tokens: 0,
        price,
    }
}

const fn other(product: Product, mut model: Model) -> Model {
    model.product = product;
    model
}

/// The whole offer. A few prices end in odd digits, so that costs need ten to twelve decimal places; one
/// model reasons, some answer under their dated slug, one is free.
pub(crate) static MODELS: &[Model] = &[
    text(
        "example/small-model",
        "example/small-model-20260901",
        "Example: Small Model",
        "ExampleHost",
        Price::tokens(120_000, 800_000, 12_000),
    ),
    Model {
        served_as: ServedAs::DatedSlug,
        ..text(
            "openai/gpt-5-mini",
            "openai/gpt-5-mini-2026-08-07",
            "OpenAI: GPT-5 Mini",
            "OpenAI",
            Price::tokens(250_000, 2_000_000, 25_000),
        )
    },
    Model {
        context_tokens: 400_000,
        reasoning_tokens: 16,
        ..text(
            "openai/gpt-5",
            "openai/gpt-5-2026-08-07",
            "OpenAI: GPT-5",
            "OpenAI",
            Price::tokens(1_250_000, 10_000_000, 125_000),
        )
    },
    Model {
        context_tokens: 200_000,
        ..text(
            "anthropic/claude-sonnet-4.5",
            "anthropic/claude-4.5-sonnet-20250929",
            "Anthropic: Claude Sonnet 4.5",
            "Anthropic",
            Price::tokens(3_000_000, 15_000_000, 300_000),
        )
    },
    Model {
        context_tokens: 1_048_576,
        ..text(
            "google/gemini-2.5-flash",
            "google/gemini-2.5-flash-20260701",
            "Google: Gemini 2.5 Flash",
            "Google",
            Price::tokens(300_000, 2_500_000, 30_000),
        )
    },
    text(
        "deepseek/deepseek-chat-v3.1",
        "deepseek/deepseek-chat-v3.1-20250821",
        "DeepSeek: DeepSeek V3.1",
        "DeepInfra",
        Price::tokens(199_998, 799_997, 19_999),
    ),
    Model {
        served_as: ServedAs::DatedSlug,
        ..text(
            "mistralai/mistral-small-3.2-24b-instruct",
            "mistralai/mistral-small-3.2-24b-instruct-2506",
            "Mistral: Mistral Small 3.2 24B",
            "Mistral",
            Price::tokens(49_501, 99_003, 4_951),
        )
    },
    text(
        "qwen/qwen3-8b",
        "qwen/qwen3-8b-04-28",
        "Qwen: Qwen3 8B",
        "Novita",
        Price::tokens(28_000, 110_700, 2_800),
    ),
    text(
        "meta-llama/llama-3.3-70b-instruct:free",
        "meta-llama/llama-3.3-70b-instruct",
        "Meta: Llama 3.3 70B Instruct (free)",
        "Venice",
        Price::tokens(0, 0, 0),
    ),
    other(
        Product::Embedding,
        text(
            "openai/text-embedding-3-small",
            "openai/text-embedding-3-small-20240125",
            "OpenAI: Text Embedding 3 Small",
            "OpenAI",
            Price::tokens(20_000, 0, 0),
        ),
    ),
    other(
        Product::Rerank,
        text(
            "cohere/rerank-v3.5",
            "cohere/rerank-v3.5-20241202",
            "Cohere: Rerank v3.5",
            "Cohere",
            Price::request(2_000_000_000),
        ),
    ),
    other(
        Product::Image,
        text(
            "google/gemini-2.5-flash-image",
            "google/gemini-2.5-flash-image-20251002",
            "Google: Gemini 2.5 Flash Image",
            "Google",
            Price::tokens(300_000, 30_000_000, 30_000),
        ),
    ),
    other(
        Product::Speech,
        text(
            "openai/gpt-4o-mini-tts",
            "openai/gpt-4o-mini-tts-2025-12-15",
            "OpenAI: GPT-4o Mini TTS",
            "OpenAI",
            Price::tokens(600_000, 12_000_000, 0),
        ),
    ),
    other(
        Product::Transcript,
        text(
            "openai/whisper-1",
            "openai/whisper-1-20230301",
            "OpenAI: Whisper",
            "OpenAI",
            Price::tokens(1_666_667, 0, 0),
        ),
    ),
];
