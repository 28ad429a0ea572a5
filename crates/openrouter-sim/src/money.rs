//! The simulator's own arithmetic: integers in pico-dollars, and text.
//!
//! It is written apart from `metering` on purpose. The bill made here is the judge of the program's
//! money code, and a judge that shared its code would share its mistakes.

use std::fmt;
use std::fmt::Write as _;

/// Decimal places of a pico-dollar.
const PLACES: usize = 12;

/// JavaScript prints a number below this (1e-6 USD) with an exponent.
const EXPONENT_BELOW_PICO_USD: u128 = 1_000_000;

/// An amount in 1e-12 USD. Sums of many charges fit; one charge is checked to fit `i64`.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct PicoUsd(pub(crate) i128);

impl PicoUsd {
    pub(crate) const ZERO: Self = Self(0);

    /// The price of `units` at this price a unit.
    pub(crate) const fn times(self, units: i64) -> Self {
        Self(self.0.saturating_mul(units as i128))
    }

    pub(crate) const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    pub(crate) const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The amount as the `i64` that a charge carries; saturates above nine million dollars.
    pub(crate) fn as_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or(if self.0 < 0 { i64::MIN } else { i64::MAX })
    }

    /// The number as JavaScript's `JSON.stringify` prints it: `8e-8`, `1.2e-7`, `0.000001`, `12.5`.
    pub(crate) fn json_number(self) -> String {
        let amount = self.0.unsigned_abs();
        if amount == 0 || amount >= EXPONENT_BELOW_PICO_USD {
            return self.to_string();
        }
        let all_digits = amount.to_string();
        let exponent = PLACES + 1 - all_digits.len();
        let digits = all_digits.trim_end_matches('0');
        let (first, rest) = digits.split_at(1);
        let sign = if self.0 < 0 { "-" } else { "" };
        let point = if rest.is_empty() { "" } else { "." };
        format!("{sign}{first}{point}{rest}e-{exponent}")
    }

    /// Reads decimal text, with or without an exponent. Digits beyond the twelfth place are refused:
    /// the simulator never rounds.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut amount: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            if !digit.is_ascii_digit() {
                return None;
            }
            amount = amount.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
        }
        let places = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        let shift = i32::try_from(PLACES).ok()?.checked_sub(places)?;
        let scale = 10_i128.checked_pow(shift.unsigned_abs())?;
        let amount = if shift >= 0 {
            amount.checked_mul(scale)?
        } else if amount % scale == 0 {
            amount / scale
        } else {
            return None;
        };
        Some(Self(if negative { -amount } else { amount }))
    }
}

/// Plain decimal text without exponent and without trailing zeros, as in `0.00000008`.
impl fmt::Display for PicoUsd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SCALE: u128 = 1_000_000_000_000;
        let amount = self.0.unsigned_abs();
        if self.0 < 0 {
            formatter.write_char('-')?;
        }
        write!(formatter, "{}", amount / SCALE)?;
        let fraction = amount % SCALE;
        if fraction == 0 {
            return Ok(());
        }
        let padded = format!("{fraction:0PLACES$}");
        write!(formatter, ".{}", padded.trim_end_matches('0'))
    }
}

impl std::iter::Sum for PicoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Self::plus)
    }
}

#[cfg(test)]
mod tests {
    use super::PicoUsd;

    #[test]
    fn prints_as_javascript_does() {
        let check = |pico: i128, json: &str, plain: &str| {
            assert_eq!(PicoUsd(pico).json_number(), json);
            assert_eq!(PicoUsd(pico).to_string(), plain);
        };
        check(0, "0", "0");
        check(1, "1e-12", "0.000000000001");
        check(80_000, "8e-8", "0.00000008");
        check(120_000, "1.2e-7", "0.00000012");
        check(999_999, "9.99999e-7", "0.000000999999");
        check(1_000_000, "0.000001", "0.000001");
        check(5_791_500, "0.0000057915", "0.0000057915");
        check(126_255_304, "0.000126255304", "0.000126255304");
        check(1_000_000_000_000, "1", "1");
        check(775_944_651_377_000, "775.944651377", "775.944651377");
        check(-80_000, "-8e-8", "-0.00000008");
    }

    #[test]
    fn reads_what_it_prints_and_refuses_the_rest() {
        for pico in [0, 1, 80_000, 999_999, 1_000_000, 126_255_304, 12_000_000_000_000, -7] {
            assert_eq!(PicoUsd::parse(&PicoUsd(pico).json_number()), Some(PicoUsd(pico)));
            assert_eq!(PicoUsd::parse(&PicoUsd(pico).to_string()), Some(PicoUsd(pico)));
        }
        assert_eq!(PicoUsd::parse("5e1"), Some(PicoUsd(50_000_000_000_000)));
        assert_eq!(PicoUsd::parse("1.50"), Some(PicoUsd(1_500_000_000_000)));
        for text in ["", "-", ".", "1e", "0x1", "NaN", "0.0000000000001", "1,5", "1e99"] {
            assert_eq!(PicoUsd::parse(text), None, "{text}");
        }
    }
}
