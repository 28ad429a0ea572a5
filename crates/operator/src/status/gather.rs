//! One client: its sidecar is asked, its file is read, and its folder looked at.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use ledger::{LedgerReader, Organisation, Reconciliation, Scope, Usage};
use metering::PicoUsd;

use super::{Books, ClientStatus, Month, Poll, State};
use crate::clients::Client;
use crate::error::in_words;
use crate::sidecar::{Health, Sidecar, SidecarError};
use crate::usd::Usd;
use crate::{OperatorError, backup};

/// Longest wait for one client: they are all asked at once.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) async fn status(folder: &Path, now: Timestamp) -> ClientStatus {
    match Client::read(folder) {
        Ok(client) => of_client(&client, now).await,
        Err(error) => ClientStatus {
            client: folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned(),
            state: State::Broken,
            reasons: vec![in_words(&error)],
            version: None,
            books: None,
            last_backup_at: None,
        },
    }
}

async fn of_client(client: &Client, now: Timestamp) -> ClientStatus {
    let sidecar = Sidecar::of(client);
    let path = client.database();
    let health = tokio::time::timeout(PATIENCE, sidecar.health());
    let books = tokio::time::timeout(PATIENCE, read(&path, now));
    let (health, books) = tokio::join!(health, books);
    let books = books.map_err(|_| "the database does not answer".to_owned());
    let books = books.and_then(|books| books.map_err(|error| in_words(&error)));
    let mut reasons: Vec<String> = books.as_ref().err().cloned().into_iter().collect();
    let (sidecar, version, told) = judged(health.ok());
    reasons.extend(told);
    ClientStatus {
        client: client.name.clone(),
        state: if books.is_err() { State::Broken } else { sidecar },
        reasons,
        version,
        books: books.ok(),
        last_backup_at: backup::last(&client.folder),
    }
}

/// What the sidecar's answer means; `None` where it took too long.
fn judged(health: Option<Result<Health, SidecarError>>) -> (State, Option<String>, Vec<String>) {
    match health {
        Some(Ok(Health { status, version, reasons })) => {
            let state = match status.as_str() {
                "ok" => State::Ok,
                "degraded" => State::Degraded,
                _ => State::Unavailable,
            };
            (state, Some(version), reasons)
        }
        Some(Err(error @ SidecarError::Silent { .. })) => (State::Down, None, vec![in_words(&error)]),
        Some(Err(error)) => (State::Unavailable, None, vec![in_words(&error)]),
        None => {
            let waited = format!("the sidecar has not answered for {} seconds", PATIENCE.as_secs());
            (State::Down, None, vec![waited])
        }
    }
}

async fn read(path: &Path, now: Timestamp) -> Result<Books, OperatorError> {
    let reader = LedgerReader::open(path).await?;
    let books = books(&reader, path, now).await;
    reader.close().await;
    books
}

async fn books(reader: &LedgerReader, path: &Path, now: Timestamp) -> Result<Books, OperatorError> {
    let organisation = reader.organisation().await?;
    let organisation = organisation.ok_or_else(|| OperatorError::NoOrganisation { path: path.to_owned() })?;
    let today = organisation.zone.day_of(now);
    let scope = |from, to| Scope { org_id: organisation.id.clone(), user_id: None, from, to };
    let scopes = [scope(today, today), scope(today.first_of_month(), today.last_of_month())];
    let mut sums = reader.sums(&scopes).await?.into_iter();
    let calls_today = sums.next().map_or(0, |today| today.requests);
    let month = sums.next().map_or(Ok(Month::default()), |month| Month::of(&month))?;
    let unsettled = reader.unsettled(None).await?;
    let last_poll = reader.last_reconciliations(1).await?.into_iter().next();
    let limit = limit(&organisation);
    Ok(Books {
        organisation_id: organisation.id.as_str().to_owned(),
        organisation: organisation.name,
        calls_today,
        month,
        limit_usd: limit.map(Usd),
        limit_used_permille: limit.and_then(|limit| month.cost_usd.0.permille_of(limit)),
        open_calls: unsettled.open,
        orphans: unsettled.orphan,
        last_poll: last_poll.map(Poll::of),
    })
}

/// The limit is one of the cost, as it is `OpenRouter` that enforces it.
fn limit(organisation: &Organisation) -> Option<PicoUsd> {
    PicoUsd::parse(organisation.monthly_limit.as_deref()?).ok().map(|limit| limit.amount)
}

impl Month {
    fn of(usage: &Usage) -> Result<Self, OperatorError> {
        let (cost, charge) = (PicoUsd::new(usage.cost_pico_usd), PicoUsd::new(usage.charge_pico_usd));
        let profit = charge.checked_sub(cost)?;
        Ok(Self { cost_usd: Usd(cost), charge_usd: Usd(charge), profit_usd: Usd(profit) })
    }
}

impl Poll {
    fn of(poll: Reconciliation) -> Self {
        Self {
            at: Timestamp::from_millisecond(poll.polled_at_ms).ok(),
            difference_usd: poll.difference_pico_usd.map(|pico| Usd(PicoUsd::new(pico))),
            warning: poll.warning,
            error: poll.error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sidecar_says_is_a_state() {
        let health = |status: &str| {
            Ok(Health { status: status.to_owned(), version: "1".to_owned(), reasons: vec!["why".to_owned()] })
        };
        let silent = || SidecarError::Silent { address: "http://127.0.0.1:1".to_owned() };
        let status = SidecarError::Status { address: String::new(), status: 500, told: String::new() };
        for (answer, state) in [
            (Some(health("ok")), State::Ok),
            (Some(health("degraded")), State::Degraded),
            (Some(health("unavailable")), State::Unavailable),
            (Some(health("something new")), State::Unavailable),
            (Some(Err(silent())), State::Down),
            (Some(Err(status)), State::Unavailable),
            (None, State::Down),
        ] {
            assert_eq!(judged(answer).0, state);
        }
    }
}
