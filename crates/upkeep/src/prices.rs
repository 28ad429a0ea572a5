//! The price list is kept up to date, for the page and for reservations. No entry is ever priced from it.

use jiff::{SignedDuration, Timestamp};
use ledger::{ModelPrice, PriceList};
use openrouter::Offer;

use crate::{Upkeep, UpkeepError};

/// How old the list may become before it is asked for again.
const OLDEST: SignedDuration = SignedDuration::from_hours(1);

impl Upkeep {
    /// Asks for the prices where the last list is too old, and keeps it. Where they cannot be had the last one stays.
    ///
    /// # Errors
    /// [`UpkeepError`] where the ledger could not be read or written; the next poll catches up.
    pub async fn refresh_prices(&self) -> Result<(), UpkeepError> {
        let Some(key) = self.ledger.organisation().api_key.clone() else { return Ok(()) };
        let now = self.clock.now();
        let last = self.ledger.reader().prices_fetched_at_ms().await?;
        let last = last.and_then(|last| Timestamp::from_millisecond(last).ok());
        // A list from the future was fetched before the clock was set back.
        if last.is_some_and(|last| last <= now && now.duration_since(last) < OLDEST) {
            return Ok(());
        }
        match self.upstream.offers(&key).await {
            Ok(Some(offers)) if !offers.is_empty() => {
                let prices = offers.into_iter().map(price).collect();
                self.ledger.keep_prices(PriceList { fetched_at_ms: now.as_millisecond(), prices }).await?;
            }
            Ok(_) => tracing::warn!("OpenRouter's list of prices cannot be read; the last one is kept"),
            Err(error) => tracing::warn!(%error, "OpenRouter's prices cannot be had; the last ones are kept"),
        }
        Ok(())
    }
}

fn price(offer: Offer) -> ModelPrice {
    let Offer { id, name, prompt_usd, completion_usd, request_usd, context_length } = offer;
    ModelPrice {
        name: name.unwrap_or_else(|| id.clone()),
        model: id,
        prompt_usd,
        completion_usd,
        request_usd,
        context_length,
    }
}
