//! US dollars as a JSON number, written from the exact decimal text.

use metering::PicoUsd;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// An amount in US dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usd(pub(crate) PicoUsd);

impl Usd {
    pub(crate) const fn of_pico(pico: i64) -> Self {
        Self(PicoUsd::new(pico))
    }
}

impl Serialize for Usd {
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
            assert_eq!(serde_json::to_string(&Usd::of_pico(pico)).unwrap(), text);
        }
    }
}
