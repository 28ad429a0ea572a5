//! One call, from admission to its line on the bill.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use http::HeaderMap;

use super::endpoint::Endpoint;
use super::inquiry::Inquiry;
use super::meter::{Cost, Meter};
use crate::Knobs;
use crate::catalogue::Model;
use crate::keyring::ApiKey;
use crate::knobs::AbortCharge;
use crate::money::PicoUsd;
use crate::truth::{Charge, Generation, api_type};
use crate::world::World;

/// A call that a model works on. It is booked exactly once: when the answer is complete, when the
/// provider fails, or when it is dropped because the client left.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) facts: Facts,
    pub(crate) model: &'static Model,
    pub(crate) knobs: Arc<Knobs>,
    pub(crate) meter: Meter,
    pub(crate) finish_reason: &'static str,
    world: Arc<World>,
    /// Completion tokens that left so far.
    sent_tokens: i64,
    booked: bool,
}

/// What is known of a call at admission.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) endpoint: &'static str,
    pub(crate) generation_id: String,
    pub(crate) request_id: String,
    pub(crate) created_ms: i64,
    pub(crate) key_hash: String,
    pub(crate) external_user: Option<String>,
    pub(crate) session_id: Option<String>,
    pub(crate) streamed: bool,
    pub(crate) user_agent: Option<String>,
    pub(crate) http_referer: Option<String>,
    /// The fault that the call asked for when its own record is looked up.
    pub(crate) lookup_error: Option<String>,
}

/// How a call ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ending {
    Complete,
    /// The client left a stream.
    Cancelled,
    /// The provider failed after the head: nothing is charged (zero-completion insurance).
    Failed,
}

impl Facts {
    pub(crate) fn created_seconds(&self) -> i64 {
        self.created_ms / 1000
    }

    /// What the headers say of the client.
    pub(crate) fn of_headers(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Self {
            user_agent: text("user-agent"),
            http_referer: text("http-referer").or_else(|| text("referer")),
            session_id: text("x-session-id"),
            ..Self::default()
        }
    }

    /// What the body and the key say of the caller; the body's session wins over the header's.
    pub(crate) fn of_inquiry(self, inquiry: &Inquiry, endpoint: Endpoint, key: &ApiKey) -> Self {
        Self {
            external_user: inquiry.user.clone(),
            session_id: inquiry.session_id.clone().or(self.session_id),
            streamed: inquiry.streamed() && endpoint.streams(),
            key_hash: key.hash.clone(),
            ..self
        }
    }
}

impl Call {
    pub(crate) fn new(world: Arc<World>, facts: Facts, model: &'static Model, knobs: Arc<Knobs>) -> Self {
        Self {
            facts,
            model,
            knobs,
            meter: Meter::default(),
            finish_reason: "stop",
            world,
            sent_tokens: 0,
            booked: false,
        }
    }

    pub(crate) fn cost(&self) -> Cost {
        self.meter.cost(&self.model.price, &self.knobs)
    }

    pub(crate) fn provider(&self) -> &str {
        self.knobs.provider.as_deref().unwrap_or(self.model.provider)
    }

    pub(crate) fn served_name(&self) -> &str {
        self.knobs.model.as_deref().unwrap_or(self.model.served_name())
    }

    /// Notes how much of the answer the client was sent.
    pub(crate) fn note_sent(&mut self, completion_tokens: i64) {
        self.sent_tokens = completion_tokens;
    }

    /// The model is done; the client's leaving changes nothing any more.
    pub(crate) fn complete(&mut self) {
        self.book(Ending::Complete);
    }

    /// The provider failed after the head went out.
    pub(crate) fn fail(&mut self) {
        self.book(Ending::Failed);
    }

    fn book(&mut self, ending: Ending) {
        if self.booked {
            return;
        }
        self.booked = true;
        let generation = self.generation(ending);
        if let Err(error) = self.world.bill().enter(generation) {
            tracing::error!(%error, "cannot write to the truth file");
        }
    }

    fn generation(&self, ending: Ending) -> Generation {
        let (meter, cost) = self.outcome(ending);
        let facts = &self.facts;
        let charged_ms = self.world.clock.now_ms();
        let charge = Charge {
            generation_id: facts.generation_id.clone(),
            endpoint: facts.endpoint.to_owned(),
            external_user: facts.external_user.clone(),
            model: self.served_name().to_owned(),
            cost: cost.charged.to_string(),
            cost_pico_usd: cost.charged.as_i64(),
            prompt_tokens: meter.prompt_tokens,
            completion_tokens: meter.completion_tokens,
            reasoning_tokens: meter.reasoning_tokens,
            cached_tokens: meter.cached_tokens,
            cancelled: ending == Ending::Cancelled,
            streamed: facts.streamed,
            created_ms: facts.created_ms,
            key_hash: facts.key_hash.clone(),
            request_id: facts.request_id.clone(),
        };
        let total_ms = charged_ms.saturating_sub(facts.created_ms).max(1);
        Generation {
            charge,
            charged_ms,
            finish_reason: match ending {
                Ending::Complete => Some(self.finish_reason),
                Ending::Cancelled => None,
                Ending::Failed => Some("error"),
            },
            api_type: api_type(facts.endpoint),
            provider: self.provider().to_owned(),
            dated_slug: self.model.dated_slug.to_owned(),
            byok_pico_usd: cost.is_byok.then_some(cost.upstream),
            first_token_ms: total_ms.min(1 + total_ms / 2),
            total_ms,
            user_agent: facts.user_agent.clone(),
            http_referer: facts.http_referer.clone(),
            session_id: facts.session_id.clone(),
            settle_after_ms: self.knobs.settle_after_ms.unwrap_or(0),
            misses_left: AtomicU32::new(self.knobs.generation_misses.unwrap_or(0)),
            lookup_error: facts.lookup_error.clone(),
        }
    }

    /// What was used and what it costs, by the way the call ended.
    fn outcome(&self, ending: Ending) -> (Meter, Cost) {
        let cut = self.meter.cut_to(self.sent_tokens);
        let free = |meter: Meter| {
            let nothing = PicoUsd::ZERO;
            let is_byok = self.cost().is_byok;
            let cost =
                Cost { prompt: nothing, completion: nothing, upstream: nothing, charged: nothing, is_byok };
            (meter, cost)
        };
        match (ending, self.knobs.charge_on_abort.unwrap_or_default()) {
            (Ending::Complete, _) | (Ending::Cancelled, AbortCharge::Full) => (self.meter, self.cost()),
            (Ending::Failed, _) | (Ending::Cancelled, AbortCharge::Nothing) => free(cut),
            (Ending::Cancelled, AbortCharge::SentTokens) if self.sent_tokens == 0 => free(cut),
            (Ending::Cancelled, AbortCharge::SentTokens) => (cut, self.cost_of_cut(cut)),
        }
    }

    /// A fixed charge shrinks with the tokens; a priced one follows from them.
    fn cost_of_cut(&self, cut: Meter) -> Cost {
        let mut cost = cut.cost(&self.model.price, &self.knobs);
        if self.knobs.true_cost.is_some() && self.meter.completion_tokens > 0 {
            let share = |amount: PicoUsd| {
                PicoUsd(amount.0 * i128::from(self.sent_tokens) / i128::from(self.meter.completion_tokens))
            };
            cost.upstream = share(cost.upstream);
            cost.charged = share(cost.charged);
        }
        cost
    }
}

/// A client that leaves a stream cancels it. One that leaves a plain call does not: the provider
/// answers to the end, and the whole answer is charged.
impl Drop for Call {
    fn drop(&mut self) {
        self.book(if self.facts.streamed { Ending::Cancelled } else { Ending::Complete });
    }
}
