//! The alarm clock. It only wakes; what is due is judged by the duties themselves.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::Upkeep;
use crate::asking::SOON_ASKS;
use crate::settle::Due;

/// Longest sleep between two looks at what is due soon.
const LONGEST_SLEEP: Duration = Duration::from_mins(5);

/// Shortest sleep between two looks at what is due soon.
const SHORTEST_SLEEP: Duration = Duration::from_millis(500);

/// Pause after a duty failed, so that a ledger that cannot be read is not asked in a loop.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// What wakes upkeep beside the schedule.
#[derive(Debug, Clone, Default)]
pub struct Alarms {
    /// A call was left open.
    pub call_left_open: Arc<Notify>,
    /// A poll is wanted at once.
    pub poll_now: Arc<Notify>,
}

/// The schedule could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot set up the schedule: {0}")]
pub struct ScheduleError(#[from] JobSchedulerError);

impl Upkeep {
    /// Polls at once and then every `poll_interval`, and asks about open calls when they are due, until `stop`. What
    /// is cut off in the middle is due again at the next start.
    ///
    /// # Errors
    /// [`ScheduleError`] where the schedule cannot be set up; nothing runs then.
    pub async fn run(
        &self,
        poll_interval: Duration,
        alarms: &Alarms,
        stop: CancellationToken,
    ) -> Result<(), ScheduleError> {
        let mut scheduler = JobScheduler::new().await?;
        let poll_now = alarms.poll_now.clone();
        let poll = Job::new_repeated_async(poll_interval, move |_, _| {
            let poll_now = poll_now.clone();
            Box::pin(async move { poll_now.notify_one() })
        })?;
        scheduler.add(poll).await?;
        scheduler.start().await?;
        // The first poll is due now.
        alarms.poll_now.notify_one();
        tokio::select! {
            () = self.follow(alarms, poll_interval) => {}
            () = stop.cancelled() => {}
        }
        scheduler.shutdown().await?;
        Ok(())
    }

    /// Does one duty after the other as they become due, for ever.
    async fn follow(&self, alarms: &Alarms, poll_interval: Duration) {
        let mut asked_at = Instant::now();
        // The schedule goes by the wall clock, and is silent for hours where that is set back by hours.
        let mut poll_at_the_latest = Instant::now() + 2 * poll_interval;
        loop {
            let poll = async {
                tokio::select! {
                    () = alarms.poll_now.notified() => {}
                    () = tokio::time::sleep_until(poll_at_the_latest) => {}
                }
            };
            let outcome = tokio::select! {
                () = poll => {
                    let polled = self.poll().await;
                    poll_at_the_latest = Instant::now() + 2 * poll_interval;
                    match polled {
                        Ok(_) => self.refresh_prices().await,
                        Err(error) => Err(error),
                    }
                }
                () = self.until_next_ask(asked_at) => {
                    let asked = self.settle_due(Due::Soon).await.map(drop);
                    asked_at = Instant::now();
                    asked
                }
                () = alarms.call_left_open.notified() => Ok(()),
            };
            if let Err(error) = outcome {
                tracing::error!(%error, "a duty failed; it will be tried again");
                tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
            }
        }
    }

    /// Resolves when the next open call is due to be asked about, but not at once after `asked_at`: what is due and
    /// cannot be asked must not be looked at in a loop.
    async fn until_next_ask(&self, asked_at: Instant) {
        let next_ms = self.ledger.reader().next_due_at_ms(SOON_ASKS).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot see which calls are due");
            None
        });
        let next = next_ms.and_then(|next| Timestamp::from_millisecond(next).ok());
        let wait = next.map(|next| next.duration_since(self.clock.now()));
        let wait = wait.map_or(LONGEST_SLEEP, |wait| Duration::try_from(wait).unwrap_or(Duration::ZERO));
        // Without a key nobody can be asked, however due it is.
        let has_key = self.ledger.organisation().api_key.is_some();
        let wait = if has_key { wait.min(LONGEST_SLEEP) } else { LONGEST_SLEEP };
        tokio::time::sleep_until((Instant::now() + wait).max(asked_at + SHORTEST_SLEEP)).await;
    }
}
