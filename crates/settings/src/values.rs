//! Values that are more than text.

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What the page shows amounts in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currency {
    /// Its three letters.
    pub code: String,
    /// What a US dollar is worth in it; plain decimal text.
    pub per_usd: String,
}

/// What the organisation may spend a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpendingLimit {
    /// Whatever it likes.
    Unlimited,
    /// At most so many US dollars; plain decimal text, above zero.
    Usd(String),
}

impl SpendingLimit {
    /// Reads `unlimited` or a plain decimal above zero, at most two places.
    ///
    /// # Errors
    /// The rule, to be read after the name of what was given.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        const RULE: &str =
            "must be `unlimited` or US dollars above 0 with at most two decimal places, such as 250.00";
        if text.eq_ignore_ascii_case("unlimited") {
            return Ok(Self::Unlimited);
        }
        let (whole, cents) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let shaped = (1..=7).contains(&whole.len()) && cents.len() <= 2 && digits(whole) && digits(cents);
        let above_zero = text.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
        if !shaped || !above_zero || text.ends_with('.') {
            return Err(RULE);
        }
        Ok(Self::Usd(text.to_owned()))
    }
}
