//! What is decided about a call before its head goes out.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::call::{Call, Facts};
use super::chat;
use super::endpoint::Endpoint;
use super::inquiry::Inquiry;
use super::script::Script;

use crate::Knobs;
use crate::access::inference_key;
use crate::catalogue::{self, Model};
use crate::clock;
use crate::json::Object;
use crate::keyring::{ApiKey, LimitReset};
use crate::money::PicoUsd;
use crate::refusal::Refusal;
use crate::world::World;

/// The knob that makes a 200 carry nothing but an error.
const ERROR_IN_200: &str = "error-in-200";

/// A decision, and what the head needs whichever way it went.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) knobs: Arc<Knobs>,
    pub(crate) generation_id: String,
    pub(crate) request_id: String,
    pub(crate) outcome: Result<Box<Admitted>, Refusal>,
}

/// A call and its answer. From here on the call is charged, whatever becomes of it.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) call: Call,
    pub(crate) script: Script,
}

impl Admission {
    pub(crate) fn decide(world: &Arc<World>, endpoint: Endpoint, headers: &HeaderMap, body: &Bytes) -> Self {
        let read = Inquiry::read(headers, body);
        let global = world.knobs();
        let own = read.as_ref().ok().and_then(|inquiry| inquiry.sim.clone());
        let lookup_error = own.as_ref().and_then(|own| own.generation_error.clone());
        let knobs = own.map_or_else(|| Arc::clone(&global), |own| Arc::new(own.over(&global)));
        let created_ms = world.clock.now_ms();
        let seconds = created_ms / 1000;
        let fresh_id = || format!("{}-{seconds}-{}", endpoint.id_prefix(), world.fresh_token());
        let facts = Facts {
            endpoint: endpoint.name(),
            generation_id: knobs.generation_id.clone().unwrap_or_else(fresh_id),
            request_id: format!("req-{seconds}-{}", world.fresh_token()),
            created_ms,
            lookup_error,
            ..Facts::of_headers(headers)
        };
        let generation_id = facts.generation_id.clone();
        let request_id = facts.request_id.clone();
        let outcome = read.and_then(|inquiry| {
            let key = inference_key(world, headers)?;
            let facts = facts.of_inquiry(&inquiry, endpoint, &key);
            admit(world, endpoint, &inquiry, &knobs, (facts, &key))
        });
        Self { knobs, generation_id, request_id, outcome }
    }
}

fn admit(
    world: &Arc<World>,
    endpoint: Endpoint,
    inquiry: &Inquiry,
    knobs: &Arc<Knobs>,
    (facts, key): (Facts, &ApiKey),
) -> Result<Box<Admitted>, Refusal> {
    let error = knobs.error.as_deref().filter(|case| *case != ERROR_IN_200);
    if let Some(case) = error {
        let asked = inquiry.model.as_deref().unwrap_or("none");
        let unknown = || Refusal::bad_request(format!("the simulator knows no error case {case}"));
        return Err(Refusal::of_case(case, asked).unwrap_or_else(unknown));
    }
    let model = serving_model(endpoint, inquiry)?;
    if let Some(member) = endpoint.missing_member(inquiry) {
        return Err(Refusal::bad_request(format!("Input required: specify \"{member}\"")));
    }
    check_funds(world, key)?;
    let mut call = Call::new(Arc::clone(world), facts, model, Arc::clone(knobs));
    let script = if knobs.error.is_some() {
        call.fail();
        Script::json(Object::new().raw("error", &chat::provider_error()).end(), knobs)
    } else {
        endpoint.perform(&mut call, inquiry)
    };
    Ok(Box::new(Admitted { call, script }))
}

/// The first known model of those asked for.
fn serving_model(endpoint: Endpoint, inquiry: &Inquiry) -> Result<&'static Model, Refusal> {
    let mut asked = inquiry.model.iter().chain(inquiry.models.iter().flatten());
    let first = asked.clone().next().ok_or_else(|| Refusal::bad_request("No models provided"))?;
    let known = asked.find_map(|name| catalogue::find(name));
    let model = known.ok_or_else(|| Refusal::unknown_model(first))?;
    if model.product == endpoint.product() {
        return Ok(model);
    }
    let message = format!("No endpoints found for {first} that support /{}", endpoint.name());
    Err(Refusal::not_found(message))
}

/// The gates of section 6: the key's limit, then the account's credits. Requests in flight finish, so
/// spending may overshoot both.
fn check_funds(world: &World, key: &ApiKey) -> Result<(), Refusal> {
    let Some(limit) = key.limit else { return Ok(()) };
    let now_ms = world.clock.now_ms();
    let (from_ms, period) = match key.limit_reset {
        None => (i64::MIN, "total"),
        Some(LimitReset::Daily) => (clock::start_of_day(now_ms), "daily"),
        Some(LimitReset::Weekly) => (clock::start_of_week(now_ms), "weekly"),
        Some(LimitReset::Monthly) => (clock::start_of_month(now_ms), "monthly"),
    };
    let spent = world.spent(key, from_ms).against_limit(key);
    if limit.minus(spent) > PicoUsd::ZERO { Ok(()) } else { Err(Refusal::key_limit(period)) }
}
