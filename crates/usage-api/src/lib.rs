//! Reading what was used and what it costs, over HTTP.
//!
//! `/health` is open; everything else wants the admin token. Money in the original's endpoints is a JSON number,
//! because that is what the mAI front end reads; it is written from the exact decimal text, never from a float.

mod error;
mod health;
mod reader;
mod tracking;
mod usd;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use jiff::Timestamp;
use ledger::Ledger;
use metering::Clock;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

/// Everything reading needs, made by the daemon.
#[derive(Debug)]
pub struct UsageApiOptions {
    /// What is read. Only the health check writes, to find out whether it can.
    pub ledger: Ledger,
    /// The operator's token for tools; without one nobody may read.
    pub admin_token: Option<SecretString>,
    /// The time.
    pub clock: Clock,
    /// Cancelled when the program is stopping: it is not healthy any more.
    pub stopping: CancellationToken,
    /// Between two polls.
    pub poll_interval: Duration,
}

/// The state behind [`router`].
struct UsageApi {
    options: UsageApiOptions,
    last_probe: tokio::sync::Mutex<Option<health::Probe>>,
    started_at: Timestamp,
}

/// The routes of the usage listener.
pub fn router(options: UsageApiOptions) -> Router {
    let started_at = options.clock.now();
    let api = Arc::new(UsageApi { options, last_probe: tokio::sync::Mutex::default(), started_at });
    Router::new()
        .route("/health", get(health::health))
        .nest("/api/v1/usage-tracking/my-organization", tracking::router())
        .fallback(|| async { error::ApiError::NotFound })
        .with_state(api)
}
