//! The duty to settle: `/generation` is asked about open calls, and what it tells is booked.

use jiff::{SignedDuration, Timestamp};
use ledger::{Asked, Ending, OpenCall, Settle, Settled};
use metering::{Report, Settlement};
use openrouter::GenerationAnswer;
use secrecy::SecretString;

use crate::asking::{Next, SOON_ASKS, next_ask};
use crate::{Upkeep, UpkeepError};

/// Open calls read at once.
const PAGE: u32 = 500;

/// How long a list of models is kept. New models come daily.
const CATALOGUE_KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);

/// Which open calls are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Those whose close follow-up is due.
    Soon,
    /// All that are due.
    All,
}

impl Upkeep {
    /// Asks about every open call that is due; answers how many were settled.
    pub(crate) async fn settle_due(&self, due: Due) -> Result<u64, UpkeepError> {
        let Some(key) = self.ledger.organisation().api_key.clone() else { return Ok(0) };
        let fewer_asks_than = if due == Due::Soon { SOON_ASKS } else { u32::MAX };
        // What is due at the start is asked once, however long that takes.
        let as_of = self.clock.now();
        let mut settled = 0;
        loop {
            let page = self.ledger.reader().due_calls(as_of, fewer_asks_than, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            for call in page {
                self.pace.lock().await.tick().await;
                settled += u64::from(self.ask_about(&call, &key).await?);
            }
            if is_last {
                return Ok(settled);
            }
        }
    }

    /// Asks about one call; true where that settled it.
    async fn ask_about(&self, call: &OpenCall, key: &SecretString) -> Result<bool, UpkeepError> {
        let answer = self.upstream.generation(&call.generation_id, key).await;
        let (note, not_found) = match answer {
            Ok(GenerationAnswer::Known(report)) if report.cost.is_some() => {
                return self.book(call, self.with_known_name(report, call, key).await).await;
            }
            Ok(GenerationAnswer::Known(_)) => ("/generation told no usable cost".to_owned(), false),
            Ok(GenerationAnswer::NotFound) => ("/generation does not know it yet".to_owned(), true),
            Ok(GenerationAnswer::Refused(why)) => (format!("/generation: {why}"), false),
            Err(error) => (error.to_string(), false),
        };
        self.note_in_vain(call, note, not_found).await?;
        Ok(false)
    }

    /// The report with the model's name instead of its slug, where the list of models can be had and knows it.
    async fn with_known_name(&self, mut report: Report, call: &OpenCall, key: &SecretString) -> Report {
        let mut kept = self.catalogue.lock().await;
        let now = self.clock.now();
        if kept.as_ref().is_none_or(|(fetched_at, _)| now.duration_since(*fetched_at) >= CATALOGUE_KEPT_FOR) {
            match self.upstream.catalogue(key).await {
                Ok(catalogue) => *kept = Some((now, catalogue)),
                Err(error) => tracing::warn!(%error, "models are booked under the names that are known"),
            }
        }
        if let (Some(slug), Some((_, catalogue))) = (&report.model, kept.as_ref())
            && let Some(name) = catalogue.name_of(slug, &call.model_asked)
        {
            report.model = Some(name.to_owned());
        }
        report
    }

    async fn book(&self, call: &OpenCall, report: Report) -> Result<bool, UpkeepError> {
        let settle = Settle {
            call_id: call.id,
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

    async fn note_in_vain(&self, call: &OpenCall, note: String, not_found: bool) -> Result<(), UpkeepError> {
        let now = self.clock.now();
        let admitted_at = Timestamp::from_millisecond(call.admitted_at_ms).unwrap_or(now);
        let was_error = call.http_status.is_some_and(|status| status >= 400);
        let next_ask_at = match next_ask(call.asks.saturating_add(1), admitted_at, was_error, not_found, now)
        {
            Next::At(at) => Some(at),
            Next::Never => {
                tracing::warn!(call_id = %call.id, "never told its cost; `reconcile` can price it");
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
                return Ok(self.ledger.void(ending).await?);
            }
        };
        Ok(self.ledger.note_asked(Asked { call_id: call.id, note, next_ask_at }).await?)
    }
}
