//! Money: what `OpenRouter` bills and what the organisation pays, in whole pico-dollars.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decimal::{self, DecimalError, divide_half_even, read_scaled, write_scaled};

/// Decimal places of [`PicoUsd`]. Twelve are the most ever seen on the wire.
const USD_PLACES: u32 = 12;

/// Decimal places of a cent.
const CENT_PLACES: u32 = 2;

/// Decimal places by which a million moves the point.
const MILLION_PLACES: u32 = 6;

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

    /// Reads the price of one token as the price of a million, exactly; half-even beyond the eighteenth place.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_per_million(text: &str) -> Result<Self, MoneyError> {
        let scaled = read_scaled(text, USD_PLACES + MILLION_PLACES)?;
        i64::try_from(scaled.value).map(Self).map_err(|_| MoneyError::Overflow)
    }

    /// This amount at the same pace over `whole` instead of `elapsed`, both in any one unit of time; `None` where no time
    /// has elapsed or the amount does not fit.
    #[must_use]
    pub fn at_this_pace(self, elapsed: i64, whole: i64) -> Option<Self> {
        let scaled = i128::from(self.0) * i128::from(whole);
        i64::try_from(scaled.checked_div(i128::from(elapsed))?).ok().map(Self)
    }

    /// The amount with two decimal places, half-even.
    #[must_use]
    pub fn rounded_to_cents(self) -> Self {
        const UNITS: i128 = 10_i128.pow(USD_PLACES - CENT_PLACES);
        let cents = divide_half_even(i128::from(self.0), USD_PLACES - CENT_PLACES);
        // At the very edge of the range there is no next cent.
        i64::try_from(cents * UNITS).map_or(self, Self)
    }

    /// How many thousandths of `whole` this is, rounded down; `None` where `whole` is not above zero.
    #[must_use]
    pub fn permille_of(self, whole: Self) -> Option<i64> {
        let thousandths = i128::from(self.0) * 1_000;
        (whole.0 > 0).then(|| i64::try_from(thousandths / i128::from(whole.0)).unwrap_or(i64::MAX))
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] where it does not fit.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_add(other.0).map(Self).ok_or(MoneyError::Overflow)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`] where it does not fit.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.0.checked_sub(other.0).map(Self).ok_or(MoneyError::Overflow)
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

/// As plain decimal dollars, in a text: a number would pass through a float somewhere.
impl Serialize for PicoUsd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PicoUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = Self::parse(&text).map_err(serde::de::Error::custom)?;
        Ok(parsed.amount)
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
        assert_eq!(PicoUsd::new(i64::MIN).checked_sub(PicoUsd::new(1)), Err(MoneyError::Overflow));
        assert_eq!(PicoUsd::new(1).checked_sub(PicoUsd::new(3)), Ok(PicoUsd::new(-2)));
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

    #[test]
    fn a_price_per_million_is_exact() {
        for (text, per_million) in [
            ("0.00000015", "0.15"),
            ("0.0000000375", "0.0375"),
            ("1e-18", "0.000000000001"),
            ("0", "0"),
            ("-1", "-1000000"),
        ] {
            assert_eq!(PicoUsd::parse_per_million(text).unwrap().to_string(), per_million, "{text}");
        }
        assert_eq!(PicoUsd::parse_per_million("10"), Err(MoneyError::Overflow));
    }

    #[test]
    fn a_pace_and_a_share() {
        let amount = PicoUsd::new(1_000);
        assert_eq!(amount.at_this_pace(10, 30), Some(PicoUsd::new(3_000)));
        assert_eq!(amount.at_this_pace(0, 30), None);
        assert_eq!(PicoUsd::new(i64::MAX).at_this_pace(1, 2), None);
        assert_eq!(amount.permille_of(PicoUsd::new(3_000)), Some(333));
        assert_eq!(amount.permille_of(PicoUsd::ZERO), None);
        assert_eq!(PicoUsd::new(i64::MAX).permille_of(PicoUsd::new(1)), Some(i64::MAX));
    }
}
