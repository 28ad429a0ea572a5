//! How much a row tells, as whole numbers.

use metering::PicoUsd;

/// How much was used. Sums and differences are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OriginalFigures {
    /// Tokens in all, or those that were sent where `completion_tokens` tells the others.
    pub prompt_tokens: i64,
    /// Tokens that came back; 0 also where the row tells only their sum.
    pub completion_tokens: i64,
    /// Calls.
    pub requests: i64,
    /// What `OpenRouter` billed (`raw_cost`).
    pub cost: PicoUsd,
    /// What the organisation paid (`markup_cost`).
    pub charge: PicoUsd,
}

impl OriginalFigures {
    /// Tokens in all.
    #[must_use]
    pub const fn tokens(&self) -> i64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    /// The sum; `None` where it does not fit.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        self.with(other, i64::checked_add)
    }

    /// The difference; `None` where it does not fit.
    #[must_use]
    pub fn minus(self, other: Self) -> Option<Self> {
        self.with(other, i64::checked_sub)
    }

    /// The sum of all; `None` where it does not fit.
    pub fn sum(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        all.into_iter().try_fold(Self::default(), Self::plus)
    }

    /// The same calls: as many, with as many tokens. Money is no part of it: the original's tables round and reprice it apart.
    #[must_use]
    pub const fn same_calls(&self, other: &Self) -> bool {
        self.tokens() == other.tokens() && self.requests == other.requests
    }

    fn with(self, other: Self, apply: fn(i64, i64) -> Option<i64>) -> Option<Self> {
        Some(Self {
            prompt_tokens: apply(self.prompt_tokens, other.prompt_tokens)?,
            completion_tokens: apply(self.completion_tokens, other.completion_tokens)?,
            requests: apply(self.requests, other.requests)?,
            cost: PicoUsd::new(apply(self.cost.pico(), other.cost.pico())?),
            charge: PicoUsd::new(apply(self.charge.pico(), other.charge.pico())?),
        })
    }
}
