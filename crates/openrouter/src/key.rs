//! `GET /key`: what `OpenRouter` says of the key that asks.

use metering::PicoUsd;
use sha2::{Digest as _, Sha256};

use crate::json::Object;

/// What asking about a key came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyAnswer {
    /// `OpenRouter` accepts the key for inference.
    Accepted(KeyCounter),
    /// A management key: it must never be near a chat.
    Management,
    /// 401 or 403: unknown, disabled or expired.
    Rejected,
    /// Any other answer, in words.
    Refused(String),
}

/// The key's own counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyCounter {
    /// US dollars used since the key was made: `OpenRouter`'s text and the amount; `None` where not understood.
    pub usage: Option<(String, PicoUsd)>,
    /// What it may spend until its limit is reset; `None` without a limit.
    pub limit: Option<PicoUsd>,
    /// What of the limit is left; `None` without a limit.
    pub limit_remaining: Option<PicoUsd>,
    /// `daily`, `weekly`, `monthly`; `None` where the limit is for the key's whole life.
    pub limit_reset: Option<String>,
    /// When it ends, RFC 3339; `None` where it does not.
    pub expires_at: Option<String>,
}

/// Reads the body of a 200.
pub(crate) fn read_key(body: &[u8]) -> KeyAnswer {
    let Some(data) = Object::read(body).and_then(|body| body.object("data")) else {
        return KeyAnswer::Refused("the answer is not a key record".to_owned());
    };
    let is = |name| data.raw(name) == Some("true");
    if is("is_management_key") || is("is_provisioning_key") {
        return KeyAnswer::Management;
    }
    let usage = data.raw("usage").and_then(|text| Some((text.to_owned(), PicoUsd::parse(text).ok()?.amount)));
    let amount = |name| Some(PicoUsd::parse(data.raw(name)?).ok()?.amount);
    KeyAnswer::Accepted(KeyCounter {
        usage,
        limit: amount("limit"),
        limit_remaining: amount("limit_remaining"),
        limit_reset: data.text("limit_reset"),
        expires_at: data.text("expires_at"),
    })
}

/// The name `OpenRouter` has for a key: the lower-case hex SHA-256 of its whole text.
#[must_use]
pub fn hash_of_key(key: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(key.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_read_exactly() {
        let KeyAnswer::Accepted(counter) = read_key(br#"{"data":{"usage":775.944651377}}"#) else { panic!() };
        assert_eq!(counter.usage.as_ref().unwrap().1.pico(), 775_944_651_377_000);
        assert_eq!((counter.limit, counter.limit_reset), (None, None));
        let limited = br#"{"data":{"usage":1,"limit":250.5,"limit_remaining":-0.5,"limit_reset":"monthly","expires_at":null}}"#;
        let KeyAnswer::Accepted(counter) = read_key(limited) else { panic!() };
        assert_eq!(counter.limit.map(PicoUsd::pico), Some(250_500_000_000_000));
        assert_eq!(counter.limit_remaining.map(PicoUsd::pico), Some(-500_000_000_000));
        assert_eq!((counter.limit_reset.as_deref(), counter.expires_at), (Some("monthly"), None));
        assert_eq!(read_key(br#"{"data":{"is_management_key":true,"usage":0}}"#), KeyAnswer::Management);
        assert!(matches!(read_key(b"<html>"), KeyAnswer::Refused(_)));
    }

    #[test]
    fn a_key_is_named_by_its_hash() {
        assert_eq!(hash_of_key("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
