//! A JSON body read member by member, where "absent", "null" and "a value" mean three things.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::money::PicoUsd;
use crate::refusal::Refusal;

/// The members of an object, undecoded.
#[derive(Debug)]
pub(super) struct Members(BTreeMap<String, Box<RawValue>>);

impl Members {
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body).map(Self).map_err(|error| Refusal::bad_request(format!("Invalid JSON: {error}")))
    }

    /// The member, if it is there; null is `Some(None)`.
    pub(super) fn value<T: DeserializeOwned>(&self, name: &str) -> Result<Option<Option<T>>, Refusal> {
        let Some(raw) = self.0.get(name) else { return Ok(None) };
        let value = serde_json::from_str(raw.get());
        value.map(Some).map_err(|_| Refusal::validation(name, "Invalid input"))
    }

    /// An amount in USD, read from the text of the number.
    pub(super) fn usd(&self, name: &str) -> Result<Option<Option<PicoUsd>>, Refusal> {
        let Some(raw) = self.0.get(name) else { return Ok(None) };
        if raw.get() == "null" {
            return Ok(Some(None));
        }
        let amount = PicoUsd::parse(raw.get()).filter(|amount| *amount >= PicoUsd::ZERO);
        amount.map(|amount| Some(Some(amount))).ok_or_else(|| Refusal::validation(name, "Expected number"))
    }
}
