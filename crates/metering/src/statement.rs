//! The statement of a UTC day, told by `OpenRouter`, beside what the ledger holds of it.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use crate::calendar::instant_of_generation;
use crate::money::PicoUsd;
use crate::settlement::{Cost, Tokens, booked_model};

pub use plan::plan_statement;

/// How long after its end a day is final, where the difference is 0. `OpenRouter` has no figure for how late its statements
/// are; days of two days ago never moved.
pub const FINAL_AFTER: SignedDuration = SignedDuration::from_hours(48);

/// How far back a statement tells generations one by one.
pub const REACH: SignedDuration = SignedDuration::from_hours(31 * 24);

/// A generation younger than this is not judged: its call may still be under way. No call is longer than an hour.
const SETTLING: SignedDuration = SignedDuration::from_hours(2);

/// The longest time from the admission of a call to the second in its generation id, of a call that never told its id: a
/// head is waited for 10 minutes, a first event 5.
const LONGEST_BEGINNING: SignedDuration = SignedDuration::from_mins(20);

/// How far two clocks may differ.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(2);

/// The most generations of a day.
const MOST_GENERATIONS: usize = 100_000;

/// The longest text of a generation id, a user or a model.
const LONGEST_TEXT: usize = 256;

/// What `OpenRouter` says it billed for one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatedGeneration {
    /// Its id.
    pub generation_id: String,
    /// When it was made: the second in its id, else as well as the statement tells.
    pub at: Timestamp,
    /// Whose it is, in the words that `OpenRouter` was told.
    pub external_user: Option<String>,
    /// The model, under the name people know where the list of models has one.
    pub model: Option<String>,
    /// What was billed.
    pub cost: Cost,
    /// How many requests it stands for.
    pub requests: u64,
    /// What was counted.
    #[serde(default)]
    pub tokens: Tokens,
}

/// All that `OpenRouter` billed to some keys on a UTC day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// The UTC day.
    pub day: Date,
    /// The keys, by their hashes.
    pub key_hashes: Vec<String>,
    /// When it was fetched; before the first question.
    pub fetched_at: Timestamp,
    /// False where something was cut off.
    pub complete: bool,
    /// The generations, each once.
    pub generations: Vec<StatedGeneration>,
    /// What was billed without a generation. It can only be told.
    #[serde(default)]
    pub without_generation: PicoUsd,
}

/// Why a statement cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// Something was cut off.
    #[error("the statement of {day} is not complete")]
    Incomplete {
        /// Its day.
        day: Date,
    },
    /// No key is named.
    #[error("the statement names no key")]
    NoKey,
    /// The day is at the edge of the calendar.
    #[error("{day} is no day of a statement")]
    Day {
        /// The day.
        day: Date,
    },
    /// It was fetched before the day began.
    #[error("the statement of {day} was fetched before that day")]
    TooEarly {
        /// Its day.
        day: Date,
    },
    /// More than any day has.
    #[error("the statement has more than {MOST_GENERATIONS} generations")]
    TooLong,
    /// A generation that stands in it twice.
    #[error("the statement names the generation {generation_id} twice")]
    Twice {
        /// Its id.
        generation_id: String,
    },
    /// A generation whose instant, id or names cannot be.
    #[error("the statement has a generation that cannot be its own: {generation_id}")]
    Generation {
        /// Its id.
        generation_id: String,
    },
}

/// A generation that has entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BookedGeneration {
    /// Its id.
    pub generation_id: String,
    /// The sum of its entries.
    pub cost: PicoUsd,
    /// Whether it occurred on the statement's day.
    pub on_this_day: bool,
}

/// A call whose generation is known and whose cost is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenGeneration {
    /// The call.
    pub call_id: String,
    /// Its generation.
    pub generation_id: String,
}

/// An entry whose answer told a cost and no generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// Its number.
    pub entry_id: i64,
    /// What `OpenRouter` was told of its user.
    pub external_user: String,
    /// Its cost.
    pub cost: PicoUsd,
    /// When it occurred.
    pub at: Timestamp,
}

/// A call that died before its generation was known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// The call.
    pub call_id: String,
    /// What `OpenRouter` was told of its user; `None` where two users have the same one.
    pub external_user: Option<String>,
    /// The model that was asked for.
    pub model_asked: String,
    /// When it was admitted.
    pub admitted_at: Timestamp,
}

/// What the ledger holds that a statement of one day may concern.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DayBooks {
    /// When the ledger began to watch; what was billed before is nobody's business here. `None`: it has not begun.
    pub began_at: Option<Timestamp>,
    /// Every generation of the statement, and of its day, that has entries.
    pub booked: Vec<BookedGeneration>,
    /// Every open call.
    pub open: Vec<OpenGeneration>,
    /// Entries without a generation around the day.
    pub unnamed: Vec<Unnamed>,
    /// Orphans around the day.
    pub orphans: Vec<Orphan>,
    /// The sum of the day's entries, unattributed ones apart. Entries that are not about a generation or a call (imports) do
    /// not count.
    pub ledger: PicoUsd,
    /// The sum of the day's unattributed entries.
    pub unattributed: PicoUsd,
    /// Whether the day before is final.
    pub previous_is_final: bool,
}

/// One thing to be booked. Generations are named by their place in the statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementStep {
    /// An open call has this cost.
    Settle {
        /// The call.
        call_id: String,
        /// Its generation.
        generation: usize,
    },
    /// An orphan was this generation.
    SettleOrphan {
        /// The call.
        call_id: String,
        /// Its generation.
        generation: usize,
    },
    /// An entry without a generation was this one; nothing is booked.
    Recognise {
        /// The entry's number.
        entry_id: i64,
        /// Its generation.
        generation: usize,
    },
    /// No call through the sidecar made it.
    BookUnattributed {
        /// The generation.
        generation: usize,
    },
    /// Its entries add up to something else.
    Correct {
        /// The generation.
        generation: usize,
        /// What is to be added; less than 0 takes away.
        difference: PicoUsd,
    },
    /// The orphan was never billed.
    Void {
        /// The call.
        call_id: String,
    },
}

/// What is not booked and has to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    /// Generations that are too young to be judged.
    pub young: u64,
    /// Generations from before the ledger began; they are not part of the bill here.
    pub before: u64,
    /// Generations of the ledger, not free of charge, that the statement does not have.
    pub missing: u64,
    /// What these cost together.
    pub missing_cost: PicoUsd,
    /// Orphans of the day that nothing is known of.
    pub orphans: u64,
}

/// What a statement asks to be booked, and what the sums of its day are then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementPlan {
    /// What is to be booked, in this order.
    pub steps: Vec<StatementStep>,
    /// What `OpenRouter` billed since the ledger began.
    pub bill: PicoUsd,
    /// The day's entries then, unattributed ones apart.
    pub ledger: PicoUsd,
    /// The day's unattributed entries then.
    pub unattributed: PicoUsd,
    /// What the corrections add up to.
    pub corrected: PicoUsd,
    /// The bill less both.
    pub difference: PicoUsd,
    /// Whether the day is final then: over for 48 hours, and no difference.
    pub is_final: bool,
    /// What is left to be told.
    pub told: Told,
}

impl Statement {
    /// The first instant of its day, and the first after it.
    ///
    /// # Errors
    /// [`StatementError::Day`] at the edge of the calendar.
    pub fn bounds(&self) -> Result<(Timestamp, Timestamp), StatementError> {
        Self::bounds_of(self.day)
    }

    /// The first instant of the UTC day `day`, and the first after it.
    ///
    /// # Errors
    /// As [`bounds`](Self::bounds).
    pub fn bounds_of(day: Date) -> Result<(Timestamp, Timestamp), StatementError> {
        let start = |day: Date| day.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp());
        let both = day.checked_add(1.day()).and_then(|next| Ok((start(day)?, start(next)?)));
        both.map_err(|_| StatementError::Day { day })
    }

    /// Whether its day was over for 48 hours when it was fetched.
    ///
    /// # Errors
    /// As [`bounds`](Self::bounds).
    pub fn is_late_enough(&self) -> Result<bool, StatementError> {
        let (_, end) = self.bounds()?;
        Ok(self.fetched_at.duration_since(end) >= FINAL_AFTER)
    }

    /// Refuses what cannot be a whole statement of one day.
    ///
    /// # Errors
    /// [`StatementError`], the first that is found.
    pub fn check(&self) -> Result<(), StatementError> {
        let (start, end) = self.bounds()?;
        if !self.complete {
            return Err(StatementError::Incomplete { day: self.day });
        }
        if self.key_hashes.is_empty() {
            return Err(StatementError::NoKey);
        }
        if self.fetched_at < start {
            return Err(StatementError::TooEarly { day: self.day });
        }
        if self.generations.len() > MOST_GENERATIONS {
            return Err(StatementError::TooLong);
        }
        let mut seen = HashSet::new();
        for stated in &self.generations {
            let generation_id = || stated.generation_id.chars().take(LONGEST_TEXT).collect();
            if !stated.is_plausible() || !(start..end).contains(&stated.at) {
                return Err(StatementError::Generation { generation_id: generation_id() });
            }
            if !seen.insert(stated.generation_id.as_str()) {
                return Err(StatementError::Twice { generation_id: generation_id() });
            }
        }
        Ok(())
    }
}

impl StatedGeneration {
    fn is_plausible(&self) -> bool {
        let short = |text: &Option<String>| text.as_ref().is_none_or(|text| text.len() <= LONGEST_TEXT);
        let id = &self.generation_id;
        let id_is_sound =
            !id.is_empty() && id.len() <= LONGEST_TEXT && id.bytes().all(|byte| byte.is_ascii_graphic());
        let instant_is_its_own = instant_of_generation(id).is_none_or(|second| second == self.at);
        id_is_sound && instant_is_its_own && short(&self.external_user) && short(&self.model)
    }

    /// Whether it can be what was begun at `instant`.
    fn begins_soon_after(&self, instant: Timestamp) -> bool {
        let waited = self.at.duration_since(instant);
        (-CLOCKS_DIFFER..=LONGEST_BEGINNING).contains(&waited)
    }
}

impl Orphan {
    /// Whether the model that was asked for is the one that served.
    fn asked_for(&self, served: Option<&str>) -> bool {
        served.is_some() && booked_model(&self.model_asked, served) == self.model_asked
    }
}
