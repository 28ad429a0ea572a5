//! `GET /health`: what Docker and the operator look at.
//!
//! A missing key or an unreachable `OpenRouter` is `degraded`, with 200: a restart would not help. 503 only where
//! the ledger cannot be written or the program is stopping.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::Instant;

use crate::UsageApi;

/// How long a probe of the ledger counts: whoever may ask for the health must not be able to make the disk work.
const PROBE_COUNTS_FOR: Duration = Duration::from_secs(1);

/// So many polls may fail to be made before that is told.
const POLLS_MISSED: u32 = 3;

/// A write to the ledger that was made to see whether it can be written.
pub(crate) struct Probe {
    made_at: Instant,
    written: bool,
}

/// The answer.
#[derive(Debug, Serialize)]
struct Health {
    status: Status,
    version: &'static str,
    /// What is not as it should be, in words; empty where all is well.
    reasons: Vec<String>,
    ledger: LedgerHealth,
    calls: Calls,
    last_poll: Option<LastPoll>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Degraded,
    Unavailable,
}

#[derive(Debug, Serialize)]
struct LedgerHealth {
    writable: bool,
}

/// Calls that are not settled; `None` where the ledger cannot be read.
#[derive(Debug, Default, Serialize)]
struct Calls {
    under_way: Option<i64>,
    open: Option<i64>,
    orphan: Option<i64>,
}

#[derive(Debug, Serialize)]
struct LastPoll {
    at: Option<Timestamp>,
    error: Option<String>,
    warning: Option<String>,
}

/// The handler.
pub(crate) async fn health(State(api): State<Arc<UsageApi>>) -> Response {
    let writable = can_write(&api).await;
    let stopping = api.options.stopping.is_cancelled();
    let mut reasons = Vec::new();
    if !writable {
        reasons.push("the ledger cannot be written; new calls are refused".to_owned());
    }
    if stopping {
        reasons.push("the program is stopping".to_owned());
    }
    if api.options.ledger.organisation().api_key.is_none() {
        reasons.push(
            "no OpenRouter key is known; set OPENROUTER_API_KEY, or type the key into Settings → Connections"
                .to_owned(),
        );
    }
    let last_poll = last_poll(&api, &mut reasons).await;
    let calls = calls(&api, &mut reasons).await;
    let status = match (writable && !stopping, reasons.is_empty()) {
        (false, _) => Status::Unavailable,
        (true, false) => Status::Degraded,
        (true, true) => Status::Ok,
    };
    let code = if status == Status::Unavailable { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let version = env!("CARGO_PKG_VERSION");
    let health = Health { status, version, reasons, ledger: LedgerHealth { writable }, calls, last_poll };
    (code, Json(health)).into_response()
}

/// Whether the ledger can be written now.
pub(crate) async fn can_write(api: &UsageApi) -> bool {
    let mut last = api.last_probe.lock().await;
    if let Some(probe) = last.as_ref().filter(|probe| probe.made_at.elapsed() < PROBE_COUNTS_FOR) {
        return probe.written;
    }
    let written = match api.options.ledger.probe(api.options.clock.now()).await {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "the ledger cannot be written");
            false
        }
    };
    *last = Some(Probe { made_at: Instant::now(), written });
    written
}

async fn last_poll(api: &UsageApi, reasons: &mut Vec<String>) -> Option<LastPoll> {
    let poll = api.options.ledger.reader().last_reconciliations(1).await.ok()?.into_iter().next();
    let at = poll.as_ref().and_then(|poll| Timestamp::from_millisecond(poll.polled_at_ms).ok());
    // A program that was stopped for long polls at its start; only since then can a poll be missing.
    let since = at.unwrap_or(api.started_at).max(api.started_at);
    let silence = Duration::try_from(api.options.clock.now().duration_since(since)).unwrap_or_default();
    if silence > api.options.poll_interval * POLLS_MISSED {
        reasons.push("OpenRouter has not been polled for too long; restart the program".to_owned());
    }
    let poll = poll?;
    reasons.extend(poll.error.iter().map(|error| format!("the last poll failed: {error}")));
    if poll.warning.is_some() {
        reasons.push(
            "the OpenRouter key is used past this sidecar (bypass); set the address in Settings → Connections to \
             the sidecar's"
                .to_owned(),
        );
    }
    Some(LastPoll { at, error: poll.error, warning: poll.warning })
}

async fn calls(api: &UsageApi, reasons: &mut Vec<String>) -> Calls {
    match api.options.ledger.reader().unsettled(None).await {
        Ok(unsettled) => Calls {
            under_way: Some(unsettled.intent),
            open: Some(unsettled.open),
            orphan: Some(unsettled.orphan),
        },
        Err(error) => {
            tracing::error!(%error, "the ledger cannot be read");
            reasons.push("the ledger cannot be read".to_owned());
            Calls::default()
        }
    }
}
