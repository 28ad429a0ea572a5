//! Who may use the road, and with which `OpenRouter` key.

use std::collections::VecDeque;

use axum::http::HeaderMap;
use http::header;
use jiff::{SignedDuration, Timestamp};
use ledger::OrganisationFacts;
use openrouter::{KeyAnswer, hash_of_key};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tokio::sync::Mutex;

use crate::Road;
use crate::refusal::Refusal;

/// How long a key that `OpenRouter` rejected is not asked about again.
const REJECTED_FOR: SignedDuration = SignedDuration::from_secs(60);

/// Rejected keys that are remembered, by their hashes.
const REJECTED_KEYS: usize = 64;

/// Longest key that is looked at. `OpenRouter`'s have 73 characters.
const LONGEST_KEY: usize = 256;

/// Keys that were typed in and have to be checked with `OpenRouter`, one at a time.
#[derive(Default)]
pub(crate) struct KeyChecks {
    rejected: Mutex<VecDeque<(String, Timestamp)>>,
}

/// The organisation's key, if the caller presents the sidecar's token or that key itself. Another key is learned
/// where the operator has pinned none and `OpenRouter` accepts it.
pub(crate) async fn key_for(road: &Road, headers: &HeaderMap) -> Result<SecretString, Refusal> {
    let presented = presented(headers).ok_or(Refusal::NoKey)?;
    let known = road.options.ledger.organisation().api_key.clone();
    if road.options.token.as_ref().is_some_and(|token| is_same(presented, token)) {
        return known.ok_or(Refusal::NoOpenRouterKey);
    }
    match known {
        Some(key) if is_same(presented, &key) => Ok(key),
        _ if road.options.key_is_pinned => Err(Refusal::WrongKey),
        _ => learn(road, presented).await,
    }
}

fn presented(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
    });
    // Anthropic's clients send the key like this.
    let key = bearer.or_else(|| headers.get("x-api-key")?.to_str().ok());
    key.filter(|key| !key.is_empty() && key.len() <= LONGEST_KEY)
}

fn is_same(presented: &str, secret: &SecretString) -> bool {
    presented.as_bytes().ct_eq(secret.expose_secret().as_bytes()).into()
}

/// Asks `OpenRouter` about a typed key and, if it is one, makes it the organisation's.
async fn learn(road: &Road, presented: &str) -> Result<SecretString, Refusal> {
    if !presented.starts_with("sk-or-") {
        return Err(Refusal::WrongKey);
    }
    let (key, hash, now) = (SecretString::from(presented), hash_of_key(presented), road.options.clock.now());
    // The lock is held over the question on purpose: many calls with one new key ask once.
    let mut rejected = road.keys.rejected.lock().await;
    if let Some(learned) = road.options.ledger.organisation().api_key.clone()
        && is_same(presented, &learned)
    {
        return Ok(learned);
    }
    rejected.retain(|(_, at)| now.duration_since(*at) < REJECTED_FOR);
    if rejected.iter().any(|(rejected, _)| *rejected == hash) {
        return Err(Refusal::WrongKey);
    }
    let refusal = match road.options.upstream.key(&key).await {
        Ok(KeyAnswer::Accepted(_)) => {
            record(road, &key, hash, now).await?;
            return Ok(key);
        }
        Ok(KeyAnswer::Management) => Refusal::ManagementKey,
        Ok(KeyAnswer::Rejected) => Refusal::WrongKey,
        Ok(KeyAnswer::Refused(why)) => {
            return Err(Refusal::KeyNotChecked(openrouter::UpstreamError::Broken(why)));
        }
        Err(error) => return Err(Refusal::KeyNotChecked(error)),
    };
    rejected.truncate(REJECTED_KEYS - 1);
    rejected.push_front((hash, now));
    Err(refusal)
}

async fn record(road: &Road, key: &SecretString, hash: String, now: Timestamp) -> Result<(), Refusal> {
    let facts = OrganisationFacts {
        api_key: Some(key.clone()),
        api_key_hash: Some(hash),
        ..OrganisationFacts::none(now)
    };
    road.options.ledger.ensure_organisation(facts).await.map_err(Refusal::NotRecorded)?;
    tracing::info!(
        "Auto-learning: the OpenRouter key typed into Settings → Connections is now the organisation's"
    );
    road.options.key_learned.notify_one();
    Ok(())
}
