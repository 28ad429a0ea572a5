//! What must happen without a request: open calls are settled, and our sum is compared with `OpenRouter`'s.
//!
//! Every duty is idempotent and catches up by itself; [`Upkeep::run`] is the alarm clock that calls them.

mod asking;
mod prices;
mod reconcile;
mod schedule;
mod settle;

pub use schedule::{Alarms, ScheduleError};

use std::time::Duration;

use ledger::Ledger;
use metering::Clock;
use tokio::sync::Mutex;
use tokio::time::{Interval, MissedTickBehavior};

/// Between two questions to `/generation`: at most four a second.
const ASK_PACE: Duration = Duration::from_millis(250);

/// The duties and what they need.
#[derive(Debug)]
pub struct Upkeep {
    ledger: Ledger,
    upstream: openrouter::Client,
    clock: Clock,
    pace: Mutex<Interval>,
}

impl Upkeep {
    /// Duties on `ledger`, asking `upstream`.
    #[must_use]
    pub fn new(ledger: Ledger, upstream: openrouter::Client, clock: Clock) -> Self {
        let mut pace = tokio::time::interval(ASK_PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ledger, upstream, clock, pace: Mutex::new(pace) }
    }
}

/// Why a duty could not be done; it will be tried again.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// The ledger could not be read.
    #[error(transparent)]
    Read(#[from] ledger::ReadError),
    /// The ledger could not be written.
    #[error(transparent)]
    Write(#[from] ledger::WriteError),
}
