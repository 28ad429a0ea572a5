//! The duty to settle: `/generation` is asked about open calls, and what it tells is booked.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use ledger::{Asked, Ending, OpenCall, Settle, Settled, WriteError};
use metering::{Report, Settlement};
use openrouter::{GenerationAnswer, UpstreamError};
use secrecy::SecretString;
use tokio::time::Instant;

use crate::asking::{Next, SOON_ASKS, next_ask};
use crate::{Upkeep, UpkeepError};

/// Open calls read at once.
const PAGE: u32 = 500;

/// Questions without an answer after which a round ends: `OpenRouter` cannot be reached, and each costs half a minute.
const UNANSWERED: u32 = 3;

/// Longest round. Who was asked goes to the end of the line, so the next round goes on where this one ends.
const LONGEST_ROUND: Duration = Duration::from_mins(5);

/// Which open calls are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Those whose close follow-up is due.
    Soon,
    /// All that are due.
    All,
}

/// The longest that a call waits for its next ask, with the length of this round on top. One that seems to wait for
/// longer was left by a clock that has been set back since.
const fn longest_pause(due: Due) -> SignedDuration {
    match due {
        Due::Soon => SignedDuration::from_mins(11),
        Due::All => SignedDuration::from_hours(25),
    }
}

impl Upkeep {
    /// Asks about every open call that is due; answers how many were settled.
    pub(crate) async fn settle_due(&self, due: Due) -> Result<u64, UpkeepError> {
        let Some(key) = self.ledger.organisation().api_key.clone() else { return Ok(0) };
        let fewer_asks_than = if due == Due::Soon { SOON_ASKS } else { u32::MAX };
        // What is due at the start is asked once, however long that takes.
        let as_of = self.clock.now();
        let no_later_than = as_of.checked_add(longest_pause(due)).unwrap_or(Timestamp::MAX);
        let (mut settled, mut unanswered) = (0, 0);
        let enough = Instant::now() + LONGEST_ROUND;
        loop {
            let page = self.ledger.reader().due_calls(as_of, no_later_than, fewer_asks_than, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            for call in page {
                self.pace.lock().await.tick().await;
                let answer = self.upstream.generation(&call.generation_id, &key).await;
                unanswered = if answer.is_err() { unanswered + 1 } else { 0 };
                settled += u64::from(self.take_in(&call, answer, &key).await?);
                if unanswered >= UNANSWERED || Instant::now() >= enough {
                    return Ok(settled);
                }
            }
            if is_last {
                return Ok(settled);
            }
        }
    }

    /// Books what was told of one call, or notes that it was not; true where that settled it.
    async fn take_in(
        &self,
        call: &OpenCall,
        answer: Result<GenerationAnswer, UpstreamError>,
        key: &SecretString,
    ) -> Result<bool, UpkeepError> {
        let (note, not_found) = match answer {
            Ok(GenerationAnswer::Known(report)) if report.cost.is_some() => {
                let now = self.clock.now();
                let report = self.upstream.with_known_name(report, &call.model_asked, key, now).await;
                match self.book(call, report).await {
                    // One call that contradicts the books must not keep the others from being settled.
                    Err(WriteError::Refused(why)) => {
                        tracing::error!(call_id = %call.id, why, "what /generation told cannot be booked");
                        (format!("cannot be booked: {why}"), false)
                    }
                    outcome => return Ok(outcome?),
                }
            }
            Ok(GenerationAnswer::Known(_)) => ("/generation told no usable cost".to_owned(), false),
            Ok(GenerationAnswer::NotFound) => ("/generation does not know it yet".to_owned(), true),
            Ok(GenerationAnswer::Refused(why)) => (format!("/generation: {why}"), false),
            Err(error) => (error.to_string(), false),
        };
        match self.note_in_vain(call, note, not_found).await {
            // Somebody else has ended it meanwhile.
            Err(WriteError::Refused(why)) => tracing::debug!(call_id = %call.id, why, "nothing to note"),
            outcome => outcome?,
        }
        Ok(false)
    }

    async fn book(&self, call: &OpenCall, report: Report) -> Result<bool, WriteError> {
        let settle = Settle {
            call_id: call.id,
            generation_id: None,
            settlement: Settlement::of(report),
            outcome: None,
            http_status: None,
            created_at: None,
            zone: self.ledger.organisation().zone.clone(),
            booked_at: self.clock.now(),
        };
        let settled = self.ledger.settle(settle).await?;
        match settled {
            Settled::Booked { charge } => {
                tracing::info!(call_id = %call.id, charge_usd = %charge, "settled by /generation");
            }
            Settled::Clash => {
                tracing::warn!(call_id = %call.id, "its generation id is booked for another call already");
            }
            Settled::Already => {}
        }
        Ok(matches!(settled, Settled::Booked { .. }))
    }

    async fn note_in_vain(&self, call: &OpenCall, note: String, not_found: bool) -> Result<(), WriteError> {
        let now = self.clock.now();
        let admitted_at = Timestamp::from_millisecond(call.admitted_at_ms).unwrap_or(now);
        let next_ask_at =
            match next_ask(call.asks.saturating_add(1), admitted_at, call.was_error, not_found, now) {
                Next::At(at) => Some(at),
                Next::Never => {
                    tracing::warn!(call_id = %call.id, "/generation never told its cost; it stays open");
                    None
                }
                Next::Unbilled => {
                    let note = "an HTTP error without a generation record after a day".to_owned();
                    let ending = Ending {
                        call_id: call.id,
                        outcome: "http-error",
                        note,
                        http_status: None,
                        closed_at: now,
                    };
                    return self.ledger.void(ending).await;
                }
            };
        self.ledger.note_asked(Asked { call_id: call.id, note, next_ask_at }).await
    }
}
