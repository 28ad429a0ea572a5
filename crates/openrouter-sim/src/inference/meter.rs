//! What a call uses and what that costs.

use crate::Knobs;
use crate::catalogue::Price;
use crate::json::Object;
use crate::money::PicoUsd;

/// Native counts; these are what is billed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    pub(crate) prompt_tokens: i64,
    pub(crate) completion_tokens: i64,
    pub(crate) reasoning_tokens: i64,
    pub(crate) cached_tokens: i64,
    /// Units that are priced by the request: searches.
    pub(crate) requests: i64,
}

/// The price of a meter's counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) prompt: PicoUsd,
    pub(crate) completion: PicoUsd,
    /// What the provider's work is worth, whoever pays.
    pub(crate) upstream: PicoUsd,
    /// What the account is charged.
    pub(crate) charged: PicoUsd,
    pub(crate) is_byok: bool,
}

impl Meter {
    pub(crate) fn total_tokens(&self) -> i64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    /// The same call, left after so many completion tokens.
    pub(crate) fn cut_to(self, completion_tokens: i64) -> Self {
        Self { completion_tokens, reasoning_tokens: self.reasoning_tokens.min(completion_tokens), ..self }
    }

    pub(crate) fn cost(&self, price: &Price, knobs: &Knobs) -> Cost {
        let fresh_tokens = self.prompt_tokens.saturating_sub(self.cached_tokens).max(0);
        let cached = price.cache_read().times(self.cached_tokens);
        let requests = price.per_request().times(self.requests);
        let prompt = price.prompt().times(fresh_tokens).plus(cached).plus(requests);
        let completion = price.completion().times(self.completion_tokens);
        let fixed = knobs.true_cost.as_deref().and_then(PicoUsd::parse);
        let upstream = fixed.unwrap_or_else(|| prompt.plus(completion));
        let is_byok = knobs.byok.unwrap_or(false);
        let charged = if is_byok { PicoUsd::ZERO } else { upstream };
        Cost { prompt, completion, upstream, charged, is_byok }
    }
}

/// Counts and cost as a body tells them, faults included.
#[derive(Debug)]
pub(crate) struct Usage<'a> {
    pub(crate) meter: &'a Meter,
    pub(crate) cost: Cost,
    /// The JSON in the place of the cost; `None` leaves the member out.
    pub(crate) told: Option<String>,
}

impl<'a> Usage<'a> {
    pub(crate) fn new(meter: &'a Meter, cost: Cost, knobs: &Knobs) -> Self {
        let told = match knobs.cost.as_deref() {
            None | Some("normal") => Some(cost.charged.json_number()),
            Some("missing") => None,
            Some(verbatim) => Some(verbatim.to_owned()),
        };
        Self { meter, cost, told }
    }

    /// The same counts with half of the cost: what an early usage chunk would know.
    pub(crate) fn halved(&self) -> Self {
        let told = Some(PicoUsd(self.cost.charged.0 / 2).json_number());
        Self { meter: self.meter, cost: self.cost, told }
    }

    /// The shape of `/chat/completions`, `/completions` and `/images`.
    pub(crate) fn chat(&self, image_tokens: i64) -> Object {
        let meter = self.meter;
        let prompt = Object::new()
            .number("cached_tokens", meter.cached_tokens)
            .number("cache_write_tokens", 0)
            .number("audio_tokens", 0)
            .number("video_tokens", 0);
        let completion = Object::new()
            .number("reasoning_tokens", meter.reasoning_tokens)
            .number("image_tokens", image_tokens)
            .number("audio_tokens", 0);
        let usage = Object::new()
            .number("prompt_tokens", meter.prompt_tokens)
            .number("completion_tokens", meter.completion_tokens)
            .number("total_tokens", meter.total_tokens());
        self.with_cost(usage)
            .object("prompt_tokens_details", prompt)
            .object("cost_details", self.details("prompt", "completions"))
            .object("completion_tokens_details", completion)
    }

    /// The shape of `/responses`.
    pub(crate) fn responses(&self) -> Object {
        let meter = self.meter;
        let input =
            Object::new().number("cached_tokens", meter.cached_tokens).number("cache_write_tokens", 0);
        let output = Object::new().number("reasoning_tokens", meter.reasoning_tokens);
        let usage = Object::new()
            .number("input_tokens", meter.prompt_tokens)
            .object("input_tokens_details", input)
            .number("output_tokens", meter.completion_tokens)
            .object("output_tokens_details", output)
            .number("total_tokens", meter.total_tokens());
        self.with_cost(usage).object("cost_details", self.details("input", "output"))
    }

    /// The shape of `/messages`; `output_tokens` and no cost at the start of a stream.
    pub(crate) fn messages_start(&self) -> Object {
        self.messages_counts(1, "null")
    }

    /// The shape of `/messages` at the end.
    pub(crate) fn messages(&self) -> Object {
        let details = Object::new().number("thinking_tokens", self.meter.reasoning_tokens).end();
        let counts = self.messages_counts(self.meter.completion_tokens, &details);
        self.with_cost(counts).object("cost_details", self.details("prompt", "completions"))
    }

    /// The shape of `/embeddings`: there are no completion tokens.
    pub(crate) fn embeddings(&self) -> Object {
        let usage = Object::new()
            .number("prompt_tokens", self.meter.prompt_tokens)
            .number("total_tokens", self.meter.prompt_tokens);
        self.with_cost(usage).object("cost_details", self.details("prompt", "completions"))
    }

    /// `cost` and `is_byok`, at the end of `usage`.
    pub(crate) fn with_cost(&self, usage: Object) -> Object {
        self.only_cost(usage).flag("is_byok", self.cost.is_byok)
    }

    /// `cost` alone.
    pub(crate) fn only_cost(&self, usage: Object) -> Object {
        match &self.told {
            Some(told) => usage.raw("cost", told),
            None => usage,
        }
    }

    fn messages_counts(&self, output_tokens: i64, details: &str) -> Object {
        Object::new()
            .number("input_tokens", self.meter.prompt_tokens)
            .number("output_tokens", output_tokens)
            .raw("output_tokens_details", details)
            .number("cache_creation_input_tokens", 0)
            .number("cache_read_input_tokens", self.meter.cached_tokens)
            .null("cache_creation")
            .null("server_tool_use")
            .text("service_tier", "standard")
            .text("speed", "standard")
            .null("inference_geo")
    }

    fn details(&self, input: &str, output: &str) -> Object {
        Object::new()
            .usd("upstream_inference_cost", self.cost.upstream)
            .usd(&format!("upstream_inference_{input}_cost"), self.cost.prompt)
            .usd(&format!("upstream_inference_{output}_cost"), self.cost.completion)
    }
}
