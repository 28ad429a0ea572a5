//! What a statement of one UTC day came to.

use jiff::civil::Date;
use metering::{PicoUsd, Statement, StatementPlan, StatementStep, Told};
use serde::{Deserialize, Serialize};

/// What a statement came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementDay {
    /// The UTC day.
    pub day: Date,
    /// What `OpenRouter` billed since the ledger began.
    pub bill: PicoUsd,
    /// The day's entries, unattributed ones apart.
    pub ledger: PicoUsd,
    /// The day's unattributed entries.
    pub unattributed: PicoUsd,
    /// What is corrected by this statement.
    pub corrected: PicoUsd,
    /// The bill less ledger and unattributed.
    pub difference: PicoUsd,
    /// Over for 48 hours, and no difference.
    pub is_final: bool,
    /// Whether it was over for 48 hours when the statement was fetched.
    pub is_late_enough: bool,
    /// Generations in the statement.
    pub generations: u64,
    /// What was done, or would be.
    pub done: StatementCounts,
    /// What waits for the next time.
    pub left: u64,
    /// What is left to be told.
    pub told: Told,
}

/// How often each thing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatementCounts {
    /// Open calls that were settled.
    pub settled: u64,
    /// Orphans that were settled.
    pub orphans_settled: u64,
    /// Entries without an id that were recognised.
    pub recognised: u64,
    /// Generations that were booked as unattributed.
    pub unattributed: u64,
    /// Generations whose cost was corrected.
    pub corrected: u64,
    /// Orphans that were proved unbilled.
    pub voided: u64,
}

impl StatementCounts {
    pub(crate) fn of(steps: &[StatementStep]) -> Self {
        let mut counts = Self::default();
        for step in steps {
            *match step {
                StatementStep::Settle { .. } => &mut counts.settled,
                StatementStep::SettleOrphan { .. } => &mut counts.orphans_settled,
                StatementStep::Recognise { .. } => &mut counts.recognised,
                StatementStep::BookUnattributed { .. } => &mut counts.unattributed,
                StatementStep::Correct { .. } => &mut counts.corrected,
                StatementStep::Void { .. } => &mut counts.voided,
            } += 1;
        }
        counts
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self {
            settled: self.settled + more.settled,
            orphans_settled: self.orphans_settled + more.orphans_settled,
            recognised: self.recognised + more.recognised,
            unattributed: self.unattributed + more.unattributed,
            corrected: self.corrected + more.corrected,
            voided: self.voided + more.voided,
        }
    }

    /// Nothing at all.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

impl StatementDay {
    pub(crate) fn of_plan(statement: &Statement, plan: &StatementPlan) -> Self {
        Self {
            day: statement.day,
            bill: plan.bill,
            ledger: plan.ledger,
            unattributed: plan.unattributed,
            corrected: plan.corrected,
            difference: plan.difference,
            is_final: plan.is_final,
            is_late_enough: statement.is_late_enough().unwrap_or(false),
            generations: statement.generations.len() as u64,
            done: StatementCounts::of(&plan.steps),
            left: 0,
            told: plan.told,
        }
    }
}
