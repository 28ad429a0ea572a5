//! A JSON body read member by member, where "absent", "null" and "a value" mean three things.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::keyring::LimitReset;
use crate::money::PicoUsd;
use crate::refusal::Refusal;

/// The members of an object, undecoded.
#[derive(Debug)]
pub(super) struct Members(BTreeMap<String, Box<RawValue>>);

/// A member of a body.
#[derive(Debug)]
pub(super) enum Member<T> {
    Absent,
    Null,
    Value(T),
}

impl Members {
    pub(super) fn read(body: &[u8]) -> Result<Self, Refusal> {
        serde_json::from_slice(body)
            .map(Self)
            .map_err(|error| Refusal::bad_request(format!("Invalid JSON: {error}")))
    }

    pub(super) fn value<T: DeserializeOwned>(&self, name: &str) -> Result<Member<T>, Refusal> {
        self.decode(name, |text| serde_json::from_str(text).ok())
    }

    /// An amount in USD, read from the text of the number.
    pub(super) fn usd(&self, name: &str) -> Result<Member<PicoUsd>, Refusal> {
        self.decode(name, |text| PicoUsd::parse(text).filter(|amount| *amount >= PicoUsd::ZERO))
    }

    pub(super) fn reset(&self, name: &str) -> Result<Member<LimitReset>, Refusal> {
        self.decode(name, |text| LimitReset::parse(text.trim_matches('"')))
    }

    fn decode<T>(&self, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<Member<T>, Refusal> {
        match self.0.get(name).map(|raw| raw.get()) {
            None => Ok(Member::Absent),
            Some("null") => Ok(Member::Null),
            Some(text) => {
                read(text).map(Member::Value).ok_or_else(|| Refusal::validation(name, "Invalid input"))
            }
        }
    }
}

impl<T> Member<T> {
    /// The value; absent and null are the same.
    pub(super) fn some(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// What replaces the current value: nothing, where the member is absent; null clears.
    pub(super) fn replace(self, current: &mut Option<T>) {
        match self {
            Self::Absent => {}
            Self::Null => *current = None,
            Self::Value(value) => *current = Some(value),
        }
    }
}
