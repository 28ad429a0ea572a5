//! What was asked: every request below `/api/v1`, without its secrets.

use std::collections::VecDeque;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};

use crate::keyring::{bearer, sha256_hex};

/// Older requests are forgotten beyond this; a benchmark's worth is kept.
const KEPT_REQUESTS: usize = 100_000;

/// A request as it arrived.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SeenRequest {
    /// When it was there whole, on the simulator's clock.
    pub arrived_ms: i64,
    /// `POST`.
    pub method: String,
    /// Path and query, byte for byte.
    pub path: String,
    /// Names in lower case, in order. The value of a key's header is the SHA-256 of the key.
    pub headers: Vec<(String, String)>,
    /// SHA-256 of the body, lower-case hex.
    pub body_sha256: String,
    /// Length of the body.
    pub body_bytes: usize,
    /// The body's `user`.
    pub user: Option<String>,
    /// The body's `model`.
    pub model: Option<String>,
}

/// When a request was there whole, on the simulator's clock: as [`SeenRequest::arrived_ms`], for who answers it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived(pub(crate) i64);

/// The last requests.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    requests: VecDeque<SeenRequest>,
}

impl RequestLog {
    pub(crate) fn push(&mut self, request: SeenRequest) {
        if self.requests.len() == KEPT_REQUESTS {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
    }

    pub(crate) fn all(&self) -> Vec<SeenRequest> {
        self.requests.iter().cloned().collect()
    }
}

/// The headers as kept: readable, but useless to a thief.
pub(crate) fn redacted(headers: &HeaderMap) -> Vec<(String, String)> {
    headers
        .iter()
        .map(|(name, value)| {
            let text = String::from_utf8_lossy(value.as_bytes());
            let secret = *name == AUTHORIZATION || name.as_str() == "x-api-key";
            let kept = if secret { sha256_hex(bearer(&text).as_bytes()) } else { text.into_owned() };
            (name.as_str().to_owned(), kept)
        })
        .collect()
}
