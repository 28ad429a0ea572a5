//! The poll: settles what can be settled, then puts our sum beside `OpenRouter`'s.

use std::sync::Arc;

use ledger::{NewReconciliation, Organisation, OrganisationFacts, Reconciliation, WriteError};
use openrouter::{KeyAnswer, hash_of_key};
use secrecy::ExposeSecret as _;

use crate::settle::Due;
use crate::{Upkeep, UpkeepError};

impl Upkeep {
    /// One poll. It is recorded even where `OpenRouter` could not be asked, with the reason.
    ///
    /// # Errors
    /// [`UpkeepError`] where the ledger could not be read or written; the next poll catches up.
    pub async fn poll(&self) -> Result<Reconciliation, UpkeepError> {
        let organisation = self.organisation_as_recorded().await?;
        let settled_calls = self.settle_due(Due::All).await?;
        let polled_at = self.clock.now();
        let (key_usage, error) = match &organisation.api_key {
            None => (None, Some("no OpenRouter key is known yet".to_owned())),
            Some(key) => match self.upstream.key(key).await {
                Ok(KeyAnswer::Accepted(counter)) => (counter.usage, None),
                Ok(KeyAnswer::Management) => (None, Some("the key is a management key".to_owned())),
                Ok(KeyAnswer::Rejected) => (None, Some("OpenRouter rejects the key".to_owned())),
                Ok(KeyAnswer::Refused(why)) => (None, Some(format!("GET /key: {why}"))),
                Err(error) => (None, Some(error.to_string())),
            },
        };
        let new = NewReconciliation {
            org_id: organisation.id.clone(),
            polled_at,
            key_hash: organisation.api_key.as_ref().map(|key| hash_of_key(key.expose_secret())),
            key_usage,
            settled_calls,
            error,
        };
        let recorded = self.ledger.record_reconciliation(new).await?;
        tell(&recorded);
        Ok(recorded)
    }
}

impl Upkeep {
    /// The organisation, which another program may have changed. What cannot be understood (a markup of `1,3`) is
    /// told, and the last that could be is used.
    async fn organisation_as_recorded(&self) -> Result<Arc<Organisation>, UpkeepError> {
        match self.ledger.ensure_organisation(OrganisationFacts::none(self.clock.now())).await {
            Err(WriteError::Refused(why)) => {
                tracing::error!(why, "the organisation as recorded cannot be used; the last one is");
                Ok(self.ledger.organisation())
            }
            outcome => Ok(outcome?),
        }
    }
}

fn tell(poll: &Reconciliation) {
    tracing::info!(
        settled = poll.settled_calls,
        open = poll.open_calls,
        orphans = poll.orphan_calls,
        difference_pico_usd = poll.difference_pico_usd,
        error = poll.error,
        "polled OpenRouter"
    );
    if poll.warning.is_some() {
        tracing::warn!(
            "bypass: the key is used past this sidecar; hint: the address in Settings → Connections must be the \
             sidecar's, http://mai-usage:8787/api/v1, not OpenRouter's"
        );
    }
}
