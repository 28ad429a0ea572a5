//! Who asks, and with which kind of key.

use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};

use crate::keyring::{ApiKey, KeyKind, bearer, sha256_hex};
use crate::refusal::Refusal;
use crate::world::World;

/// The key of a request, of whatever kind.
pub(crate) fn any_key(world: &World, headers: &HeaderMap) -> Result<ApiKey, Refusal> {
    let value = headers.get(AUTHORIZATION).or_else(|| headers.get("x-api-key"));
    let secret = value.and_then(|value| value.to_str().ok()).map(bearer).unwrap_or_default();
    if secret.is_empty() {
        return Err(Refusal::no_key());
    }
    let now_ms = world.clock.now_ms();
    let mut keyring = world.keyring();
    let key = keyring.find_mut(&sha256_hex(secret.as_bytes())).ok_or_else(Refusal::unknown_key)?;
    if key.disabled {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "API key is disabled"));
    }
    if key.expired(now_ms) {
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, "API key has expired"));
    }
    key.last_used_ms = Some(now_ms);
    Ok(key.clone())
}

/// A key that may run models. A management key may not; the vendor's words for that are not known.
pub(crate) fn inference_key(world: &World, headers: &HeaderMap) -> Result<ApiKey, Refusal> {
    let key = any_key(world, headers)?;
    match key.kind {
        KeyKind::Inference => Ok(key),
        KeyKind::Management => {
            Err(Refusal::new(StatusCode::UNAUTHORIZED, "Management keys cannot be used for inference"))
        }
    }
}

/// A key that may read the account; others get 403.
pub(crate) fn management_key(world: &World, headers: &HeaderMap) -> Result<ApiKey, Refusal> {
    let key = any_key(world, headers)?;
    match key.kind {
        KeyKind::Management => Ok(key),
        KeyKind::Inference => Err(Refusal::not_management()),
    }
}

/// A key that may change keys; others get 401, because `GET /keys` documents no 403.
pub(crate) fn key_management_key(world: &World, headers: &HeaderMap) -> Result<ApiKey, Refusal> {
    management_key(world, headers).map_err(|refusal| match refusal.status {
        StatusCode::FORBIDDEN => Refusal::new(StatusCode::UNAUTHORIZED, refusal.message),
        _ => refusal,
    })
}
