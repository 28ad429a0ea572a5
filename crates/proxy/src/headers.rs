//! What may pass, in either direction. Everything else stays: identities do not leave the house, and cookies,
//! lengths and encodings of one connection mean nothing on the next.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Request headers that `OpenRouter` understands.
const TO_UPSTREAM: [&str; 9] = [
    "accept",
    "content-type",
    "anthropic-beta",
    "anthropic-version",
    "x-openrouter-cache",
    "x-openrouter-cache-clear",
    "x-openrouter-cache-ttl",
    "x-openrouter-metadata",
    "x-session-id",
];

/// Response headers that a client may use.
const TO_CLIENT: [&str; 16] = [
    "cache-control",
    "content-disposition",
    // Not asked for; but an answer that is encoded all the same must say so.
    "content-encoding",
    "content-type",
    "cf-ray",
    "retry-after",
    "x-generation-id",
    "x-openrouter-cache-age",
    "x-openrouter-cache-source-id",
    "x-openrouter-cache-status",
    "x-openrouter-cache-ttl",
    "x-provider-name",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "content-language",
];

pub(crate) fn to_upstream(headers: &HeaderMap) -> HeaderMap {
    only(headers, &TO_UPSTREAM)
}

pub(crate) fn to_client(headers: &HeaderMap) -> HeaderMap {
    only(headers, &TO_CLIENT)
}

/// Copies of the listed ones: what was received lies in its connection's buffer, which is free only when nothing of it is held.
fn only(headers: &HeaderMap, listed: &[&'static str]) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in listed {
        let values = headers.get_all(*name).iter();
        for copy in values.filter_map(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
            passed.append(HeaderName::from_static(name), copy);
        }
    }
    passed
}
