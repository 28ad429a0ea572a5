//! The rules of billing, as pure functions on plain data: money, markup, billing day, identity,
//! settlement, roll-up, and what a statement of `OpenRouter` asks to be booked.
//!
//! Nothing here reads a clock, a file, a socket or the environment; whoever calls passes the time, the
//! zone and the ids in.

mod calendar;
mod clock;
mod decimal;
mod identity;
mod money;
mod rollup;
mod settlement;
mod statement;

pub use calendar::{BillingZone, UnknownZone, instant_of_generation, plausible_instant};
pub use clock::Clock;
pub use decimal::DecimalError;
pub use identity::{ExternalUser, OrgId, UNATTRIBUTED, UserId};
pub use money::{Markup, MoneyError, ParsedUsd, PicoUsd};
pub use rollup::{DailyKey, DailySum, EntryFacts, Overflow, RollUp};
pub use settlement::{Cost, CostSource, Report, Settlement, Tokens, booked_model};
pub use statement::{
    BookedGeneration, DayBooks, FINAL_AFTER, OpenGeneration, Orphan, REACH, StatedGeneration, Statement,
    StatementError, StatementPlan, StatementStep, Told, Unnamed, plan_statement,
};
