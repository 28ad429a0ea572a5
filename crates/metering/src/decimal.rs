//! Decimal text, exactly: the JSON number grammar read into an integer at a fixed number of places.
//!
//! A float would lose what is billed, and a decimal library caps digits or exponents somewhere; a bill needs
//! a stated rule instead. The rule: half-even at the last place, and the caller is told that digits were lost.

/// Longest text that is read as a decimal. `OpenRouter` writes at most 20 characters; the rest is hostile.
const LONGEST_TEXT: usize = 64;

/// Largest absolute exponent that is looked at; beyond it the value is out of any range or zero.
const LARGEST_EXPONENT: i64 = 1_000;

/// Why a text is not a usable decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// The text does not follow the JSON number grammar.
    #[error("not a decimal number")]
    NotANumber,
    /// The value does not fit.
    #[error("number out of range")]
    OutOfRange,
}

/// A decimal read at a fixed number of places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scaled {
    /// The value times ten to the power of the places.
    pub(crate) value: i128,
    /// False where digits beyond the last place were rounded away.
    pub(crate) exact: bool,
}

/// The parts of a number's text, leading zeros removed.
struct Parts<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// Reads `text` (a JSON number, surrounding blanks not allowed) at `places` decimal places.
pub(crate) fn read_scaled(text: &str, places: u32) -> Result<Scaled, DecimalError> {
    if text.len() > LONGEST_TEXT {
        return Err(DecimalError::NotANumber);
    }
    let parts = split(text.as_bytes())?;
    let digits: Vec<u8> = parts.whole.iter().chain(parts.fraction).copied().collect();
    // The value is `digits` x 10^shift in units of the last place.
    let shift = parts.exponent - i64::try_from(parts.fraction.len()).unwrap_or(i64::MAX) + i64::from(places);
    let magnitude = if shift >= 0 { grow(&digits, shift)? } else { shrink(&digits, -shift)? };
    let value = if parts.negative { -magnitude.value } else { magnitude.value };
    Ok(Scaled { value, exact: magnitude.exact })
}

fn split(text: &[u8]) -> Result<Parts<'_>, DecimalError> {
    let (negative, rest) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        _ => (false, text),
    };
    let (whole, rest) = split_digits(rest);
    if whole.is_empty() || (whole.len() > 1 && whole.first() == Some(&b'0')) {
        return Err(DecimalError::NotANumber);
    }
    let (fraction, rest) = match rest.split_first() {
        Some((b'.', rest)) => match split_digits(rest) {
            ([], _) => return Err(DecimalError::NotANumber),
            split => split,
        },
        _ => (&[][..], rest),
    };
    let exponent = match rest.split_first() {
        None => 0,
        Some((b'e' | b'E', rest)) => read_exponent(rest)?,
        Some(_) => return Err(DecimalError::NotANumber),
    };
    Ok(Parts { negative, whole, fraction, exponent })
}

fn split_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

fn read_exponent(text: &[u8]) -> Result<i64, DecimalError> {
    let (negative, rest) = match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    };
    let (digits, rest) = split_digits(rest);
    if digits.is_empty() || !rest.is_empty() {
        return Err(DecimalError::NotANumber);
    }
    let magnitude =
        digits.iter().fold(0_i64, |sum, digit| (sum * 10 + i64::from(digit - b'0')).min(LARGEST_EXPONENT));
    Ok(if negative { -magnitude } else { magnitude })
}

fn grow(digits: &[u8], shift: i64) -> Result<Scaled, DecimalError> {
    let mut value = accumulate(digits)?;
    if value == 0 {
        return Ok(Scaled { value, exact: true });
    }
    for _ in 0..shift {
        value = value.checked_mul(10).ok_or(DecimalError::OutOfRange)?;
    }
    Ok(Scaled { value, exact: true })
}

fn shrink(digits: &[u8], dropped: i64) -> Result<Scaled, DecimalError> {
    let dropped = usize::try_from(dropped).unwrap_or(usize::MAX);
    let (kept, lost) = digits.split_at(digits.len().saturating_sub(dropped));
    let value = accumulate(kept)?;
    if lost.iter().all(|digit| *digit == b'0') {
        return Ok(Scaled { value, exact: true });
    }
    // More places dropped than there are digits: the first lost digit is a zero before them.
    let first = if dropped > digits.len() { b'0' } else { lost.first().copied().unwrap_or(b'0') };
    let beyond_first = lost.iter().skip(1).any(|digit| *digit != b'0');
    let up = first > b'5' || (first == b'5' && (beyond_first || value % 2 == 1));
    Ok(Scaled { value: value + i128::from(up), exact: false })
}

fn accumulate(digits: &[u8]) -> Result<i128, DecimalError> {
    digits.iter().try_fold(0_i128, |sum, digit| {
        sum.checked_mul(10)
            .and_then(|sum| sum.checked_add(i128::from(digit - b'0')))
            .ok_or(DecimalError::OutOfRange)
    })
}

/// Writes `value` / 10^`places` without an exponent and without trailing zeros.
pub(crate) fn write_scaled(value: i128, places: u32, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
    let one = 10_i128.pow(places);
    let sign = if value < 0 { "-" } else { "" };
    let (whole, fraction) =
        (value.unsigned_abs() / one.unsigned_abs(), value.unsigned_abs() % one.unsigned_abs());
    if fraction == 0 {
        return write!(f, "{sign}{whole}");
    }
    let digits = format!("{fraction:0width$}", width = places as usize);
    write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
}

/// `value` / 10^`places`, rounded half-even.
pub(crate) fn divide_half_even(value: i128, places: u32) -> i128 {
    let one = 10_i128.pow(places);
    let (quotient, remainder) = (value.div_euclid(one), value.rem_euclid(one));
    let up = remainder * 2 > one || (remainder * 2 == one && quotient % 2 != 0);
    quotient + i128::from(up)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, value: i128, exact: bool) {
        assert_eq!(read_scaled(text, 12), Ok(Scaled { value, exact }), "{text}");
    }

    #[test]
    fn reads_the_json_number_grammar() {
        check("0", 0, true);
        check("-0", 0, true);
        check("1", 1_000_000_000_000, true);
        check("0.00154", 1_540_000_000, true);
        check("8e-8", 80_000, true);
        check("8E-08", 80_000, true);
        check("1.5e+3", 1_500_000_000_000_000, true);
        check("-12.5", -12_500_000_000_000, true);
        check("0.000126255304", 126_255_304, true);
        check("0e400", 0, true);
        check("0.000000000000000000", 0, true);
    }

    #[test]
    fn rounds_half_even_and_says_so() {
        check("1e-13", 0, false);
        check("5e-13", 0, false);
        check("6e-13", 1, false);
        check("15e-13", 2, false);
        check("25e-13", 2, false);
        check("2.5000000000001e-12", 3, false);
        check("1e-999999999999", 0, false);
        check("0.12345678901234567", 123_456_789_012, false);
        check("-15e-13", -2, false);
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in
            ["", "-", "+1", ".5", "1.", "01", "1e", "1e+", "0x1", "NaN", "1 ", " 1", "\"1\"", "1,5", "١"]
        {
            assert_eq!(read_scaled(text, 12), Err(DecimalError::NotANumber), "{text:?}");
        }
        assert_eq!(read_scaled("1e400", 12), Err(DecimalError::OutOfRange));
        assert_eq!(read_scaled(&"9".repeat(60), 12), Err(DecimalError::OutOfRange));
        assert_eq!(read_scaled(&"9".repeat(65), 12), Err(DecimalError::NotANumber));
    }

    #[test]
    fn divides_half_even_on_both_sides_of_zero() {
        for (value, expected) in [(15, 2), (25, 2), (26, 3), (-15, -2), (-25, -2), (-26, -3), (14, 1), (0, 0)]
        {
            assert_eq!(divide_half_even(value, 1), expected, "{value}");
        }
    }
}
