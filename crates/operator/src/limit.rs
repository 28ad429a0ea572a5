//! Spending limits as people type them.

use metering::PicoUsd;
use settings::SpendingLimit;

/// A limit in US dollars, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit(pub(crate) SpendingLimit);

impl Limit {
    /// Reads `unlimited` or US dollars; the rule where it is neither.
    pub(crate) fn read(text: &str) -> Result<Self, &'static str> {
        let limit = Self(SpendingLimit::read(text)?);
        match (&limit.0, limit.amount()) {
            (SpendingLimit::Usd(_), None) => Err("must be below 9.2 million US dollars"),
            _ => Ok(limit),
        }
    }

    /// The amount as it goes to `OpenRouter`; `None` without a limit.
    pub(crate) fn amount(&self) -> Option<PicoUsd> {
        match &self.0 {
            SpendingLimit::Unlimited => None,
            // `007` is no number in JSON; the last digit stays.
            SpendingLimit::Usd(text) => {
                let digits = text.trim_start_matches('0');
                let whole = if digits.is_empty() || digits.starts_with('.') { "0" } else { "" };
                PicoUsd::parse(&format!("{whole}{digits}")).ok().map(|parsed| parsed.amount)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_amounts_without_a_float() {
        for (text, amount) in
            [("250", "250"), ("250.00", "250"), ("0.10", "0.1"), ("007.5", "7.5"), ("00.01", "0.01")]
        {
            assert_eq!(Limit::read(text).unwrap().amount().unwrap().to_string(), amount, "{text}");
        }
        assert_eq!(Limit::read("unlimited").unwrap().amount(), None);
        for text in ["0", "-1", "9999999", "1e3", "", "1,5"] {
            assert!(Limit::read(text).is_err(), "{text}");
        }
    }
}
