//! Amounts in US dollars as JSON: decimal text in this API, a number in the original's endpoints. Either is written from the
//! exact decimal text, never from a float.

use metering::PicoUsd;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An amount in US dollars as decimal text: exact, without exponent or trailing zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, example = "0.002002")]
pub(crate) struct Money(pub(crate) PicoUsd);

/// An amount in US dollars as a JSON number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UsdNumber(pub(crate) PicoUsd);

impl Money {
    pub(crate) const fn of_pico(pico: i64) -> Self {
        Self(PicoUsd::new(pico))
    }
}

impl UsdNumber {
    pub(crate) const fn of_pico(pico: i64) -> Self {
        Self(PicoUsd::new(pico))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl Serialize for UsdNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?;
        number.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_digit_is_lost() {
        for (pico, text) in [(2_002_000_000, "0.002002"), (0, "0"), (i64::MAX, "9223372.036854775807")] {
            assert_eq!(serde_json::to_string(&UsdNumber::of_pico(pico)).unwrap(), text);
            assert_eq!(serde_json::to_string(&Money::of_pico(pico)).unwrap(), format!("{text:?}"));
        }
    }
}
