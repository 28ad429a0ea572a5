//! Money: what `OpenRouter` bills and what the organisation pays, in whole pico-dollars.

use std::fmt;

use crate::decimal::{self, DecimalError, divide_half_even, read_scaled, write_scaled};

/// Decimal places of [`PicoUsd`]. Twelve are the most ever seen on the wire.
const USD_PLACES: u32 = 12;

/// Decimal places of [`Markup`]: a factor such as `1.3`, never finer than a millionth.
const MARKUP_PLACES: u32 = 6;

/// The largest accepted markup factor. A larger one is a typing error.
const LARGEST_MARKUP_MILLIONTHS: i128 = 100_000_000;

/// An amount in 1e-12 US dollars; ±9.2 million dollars fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PicoUsd(i64);

/// An amount as read from decimal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedUsd {
    /// The amount, rounded half-even to the pico-dollar where needed.
    pub amount: PicoUsd,
    /// False where digits beyond the twelfth place were rounded away.
    pub exact: bool,
}

/// What the organisation pays for each dollar of cost: an exact decimal factor, 1.3 by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Markup {
    millionths: i64,
}

/// Why an amount or a markup cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not a decimal number or too large.
    #[error("amount is {0}")]
    Text(#[from] DecimalError),
    /// A sum or product left the range of an amount.
    #[error("amount exceeds the range of a ledger (9.2 million dollars)")]
    Overflow,
    /// A markup below 0, above 100, or finer than six decimal places.
    #[error("markup must be between 0 and 100 with at most six decimal places")]
    Markup,
}

impl PicoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// `pico` x 1e-12 dollars.
    #[must_use]
    pub const fn new(pico: i64) -> Self {
        Self(pico)
    }

    /// The amount in pico-dollars, as the database holds it.
    #[must_use]
    pub const fn pico(self) -> i64 {
        self.0
    }

    /// Reads the text of a JSON number, exponent form included; half-even beyond twelve places.
    ///
    /// # Errors
    /// [`MoneyError::Text`] where the text is no number; [`MoneyError::Overflow`] beyond 9.2 million dollars.
    pub fn parse(text: &str) -> Result<ParsedUsd, MoneyError> {
        let scaled = read_scaled(text, USD_PLACES)?;
        let pico = i64::try_from(scaled.value).map_err(|_| MoneyError::Overflow)?;
        Ok(ParsedUsd { amount: Self(pico), exact: scaled.exact })
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] where it does not fit.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyError::Overflow)
    }

    /// True below zero.
    #[must_use]
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// Plain decimal dollars without exponent or trailing zeros: `0.002002`.
impl fmt::Display for PicoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(i128::from(self.0), USD_PLACES, f)
    }
}

impl Markup {
    /// The markup of the original and of every organisation that names no other: 1.3.
    pub const DEFAULT: Self = Self { millionths: 1_300_000 };

    /// Reads a factor such as `1.3`.
    ///
    /// # Errors
    /// [`MoneyError::Markup`] where it is no decimal from 0 to 100 with at most six places.
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let scaled = read_scaled(text.trim(), MARKUP_PLACES).map_err(|_| MoneyError::Markup)?;
        let in_range = (0..=LARGEST_MARKUP_MILLIONTHS).contains(&scaled.value);
        match i64::try_from(scaled.value) {
            Ok(millionths) if scaled.exact && in_range => Ok(Self { millionths }),
            _ => Err(MoneyError::Markup),
        }
    }

    /// What the organisation pays for `cost`: cost x markup, half-even to the pico-dollar, per call.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] where it does not fit.
    pub fn charge(self, cost: PicoUsd) -> Result<PicoUsd, MoneyError> {
        let exact = i128::from(cost.0) * i128::from(self.millionths);
        i64::try_from(divide_half_even(exact, MARKUP_PLACES)).map(PicoUsd).map_err(|_| MoneyError::Overflow)
    }
}

/// The factor as it was typed, without trailing zeros: `1.3`.
impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        decimal::write_scaled(i128::from(self.millionths), MARKUP_PLACES, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn usd(text: &str) -> PicoUsd {
        let parsed = PicoUsd::parse(text).unwrap();
        assert!(parsed.exact, "{text}");
        parsed.amount
    }

    #[test]
    fn the_currency_example_of_the_original() {
        let charge = Markup::DEFAULT.charge(usd("0.00154")).unwrap();
        assert_eq!(charge, usd("0.002002"));
        assert_eq!(charge.to_string(), "0.002002");
    }

    #[test]
    fn a_charge_is_rounded_half_even_per_call() {
        for (cost, charge) in [(1, 1), (5, 6), (15, 20), (25, 32), (35, 46), (-5, -6)] {
            assert_eq!(Markup::DEFAULT.charge(PicoUsd::new(cost)), Ok(PicoUsd::new(charge)), "{cost}");
        }
        assert_eq!(Markup::DEFAULT.charge(PicoUsd::new(i64::MAX)), Err(MoneyError::Overflow));
    }

    #[test]
    fn markups_are_exact_decimals_in_range() {
        for text in ["1.3", "0", "1", "1.000001", "100", "2.50"] {
            assert_eq!(
                Markup::parse(&Markup::parse(text).unwrap().to_string()),
                Markup::parse(text),
                "{text}"
            );
        }
        assert_eq!(Markup::parse("2.50").unwrap().to_string(), "2.5");
        for text in ["-1", "100.1", "1.0000001", "1,3", "", "x"] {
            assert_eq!(Markup::parse(text), Err(MoneyError::Markup), "{text}");
        }
    }

    #[test]
    fn sums_are_checked() {
        assert_eq!(PicoUsd::new(i64::MAX).checked_add(PicoUsd::new(1)), Err(MoneyError::Overflow));
        assert_eq!(PicoUsd::parse("9300000"), Err(MoneyError::Overflow));
    }

    proptest! {
        #[test]
        fn text_and_amount_are_one(pico: i64) {
            let amount = PicoUsd::new(pico);
            prop_assert_eq!(PicoUsd::parse(&amount.to_string()), Ok(ParsedUsd { amount, exact: true }));
        }

        #[test]
        fn exponent_form_means_the_same(pico in -1_000_000_000_000_i64..1_000_000_000_000) {
            let parsed = PicoUsd::parse(&format!("{pico}e-12")).unwrap();
            prop_assert_eq!(parsed, ParsedUsd { amount: PicoUsd::new(pico), exact: true });
        }

        #[test]
        fn no_text_panics(text in ".{0,80}") {
            let _ = PicoUsd::parse(&text);
            let _ = Markup::parse(&text);
        }
    }
}
