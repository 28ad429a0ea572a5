//! The live stream (server-sent events): every entry, within a second after it was written.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use http::HeaderMap;
use ledger::ReadError;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use crate::UsageApi;
use crate::caller::{Caller, View, caller};
use crate::calls::{Awaiting, Call};
use crate::error::ApiError;

/// Streams at once.
pub(crate) const STREAMS: usize = 64;

/// Commits of so long are told together.
const GATHERED_FOR: Duration = Duration::from_millis(150);

/// Between two comments; as often it is seen whether the session still lasts.
const BETWEEN_COMMENTS: Duration = Duration::from_secs(15);

/// Entries that are read at once.
const PAGE: u32 = 500;

/// Who missed more entries than that had better ask for the sums again.
const MOST_MISSED: i64 = 1_000;

/// One stream.
struct Live {
    api: Arc<UsageApi>,
    view: View,
    /// The last entry that was told, or that was not this caller's.
    last_id: i64,
    awaiting: Option<Awaiting>,
    commits: watch::Receiver<i64>,
    /// What is to be told next.
    told: VecDeque<Event>,
    comment_at: Instant,
    _place: OwnedSemaphorePermit,
}

pub(crate) async fn events(
    State(api): State<Arc<UsageApi>>,
    Extension(view): Extension<View>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let place = api.streams.clone().try_acquire_owned().map_err(|_| ApiError::TooManyStreams)?;
    // Before the ledger is read: what is committed meanwhile must wake the stream.
    let commits = api.options.ledger.commits();
    let newest = api.options.ledger.reader().last_entry_id().await?;
    let seen = headers.get("last-event-id").and_then(|seen| seen.to_str().ok()?.parse::<i64>().ok());
    let seen = seen.filter(|seen| (0..=newest).contains(seen));
    let mut live = Live {
        last_id: seen.unwrap_or(newest),
        awaiting: None,
        commits,
        told: VecDeque::from([event("hello", &json!({ "last_id": newest }))]),
        comment_at: Instant::now() + BETWEEN_COMMENTS,
        api,
        view,
        _place: place,
    };
    if newest - live.last_id > MOST_MISSED {
        live.told.push_back(event("reload", &json!({ "last_id": newest })));
        live.last_id = newest;
    }
    live.look().await?;
    let stream = futures_util::stream::unfold(live, |mut live| async move {
        let next = live.next().await?;
        Some((Ok::<_, Infallible>(next), live))
    });
    Ok(Sse::new(stream).into_response())
}

impl Live {
    /// The next event; `None` where the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.told.pop_front() {
                return Some(event);
            }
            let stopping = self.api.options.stopping.clone();
            tokio::select! {
                () = stopping.cancelled() => return None,
                changed = self.commits.changed() => {
                    changed.ok()?;
                    tokio::time::sleep(GATHERED_FOR).await;
                    self.commits.mark_unchanged();
                    if let Err(error) = self.look().await {
                        tracing::error!(%error, "a live stream ends");
                        return None;
                    }
                }
                () = tokio::time::sleep_until(self.comment_at) => {
                    self.comment_at = Instant::now() + BETWEEN_COMMENTS;
                    if !self.may_still_look().await {
                        return None;
                    }
                    self.told.push_back(Event::default().comment(""));
                }
            }
        }
    }

    /// Whether the credential is still worth what it was.
    async fn may_still_look(&self) -> bool {
        match (caller(&self.api, &self.view.credential).await, &self.view.own) {
            (Ok(Caller::Operator | Caller::Admin(_)), None) => true,
            (Ok(caller), Some(own)) => {
                caller.identity().is_some_and(|identity| identity.user_id.as_str() == own)
            }
            _ => false,
        }
    }

    /// Reads what is new.
    async fn look(&mut self) -> Result<(), ReadError> {
        let ledger = self.api.options.ledger.clone();
        let (org_id, own) = (&ledger.organisation().id, self.view.own.as_deref());
        loop {
            let newest = ledger.reader().last_entry_id().await?;
            let entries = ledger.reader().entries_after(org_id, own, self.last_id, PAGE).await?;
            let is_full = u32::try_from(entries.len()).is_ok_and(|length| length == PAGE);
            let last = entries.last().map_or(0, |last| last.id);
            self.last_id = if is_full { last } else { newest.max(last) };
            for entry in entries {
                let id = entry.id.to_string();
                self.told.push_back(event("entry", &Call::of(entry, &self.view)).id(id));
            }
            if !is_full {
                break;
            }
        }
        let awaiting = Awaiting::of(ledger.reader().unsettled(own).await?);
        if self.awaiting != Some(awaiting) {
            self.awaiting = Some(awaiting);
            self.told.push_back(event("awaiting", &awaiting));
        }
        Ok(())
    }
}

fn event(name: &str, data: &impl serde::Serialize) -> Event {
    // What is told here has no map with keys that are not text, the one thing that cannot be JSON.
    let data = serde_json::to_string(data).unwrap_or_default();
    Event::default().event(name).data(data)
}
