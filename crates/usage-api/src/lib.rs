//! Reading what was used and what it costs, over HTTP: for the page, for tools, for the mAI front end.
//!
//! `/health`, the files of the page and the OpenAPI document are open; everything else wants a session of Open `WebUI` or the
//! operator's token.

mod books;
mod caller;
mod calls;
mod error;
mod etag;
mod events;
mod export;
mod health;
mod metrics;
mod money;
mod openapi;
mod page;
mod question;
mod routes;
mod statement;
mod tracking;
mod usage;

pub use openapi::document as openapi_document;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderValue, header};
use jiff::Timestamp;
use jiff::civil::Date;
use ledger::Ledger;
use metering::Clock;
use open_webui::Sessions;
use secrecy::SecretString;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;

use crate::routes::{Audience, BASE, ROUTES, Route, TRACKING, TRACKING_ROUTES};

/// Everything reading needs, made by the daemon.
#[derive(Debug)]
pub struct UsageApiOptions {
    /// What is read. Only the health check writes, to find out whether it can, and what the operator's statement asks for.
    pub ledger: Ledger,
    /// The operator's token for tools.
    pub admin_token: Option<SecretString>,
    /// The sessions of the organisation's Open `WebUI`.
    pub sessions: Option<Sessions>,
    /// Whether admins and employees see `OpenRouter`'s cost beside what the organisation pays.
    pub show_cost: bool,
    /// What the page shows amounts in.
    pub currency: Currency,
    /// Which sites may show the page in a frame: the value of the policy's `frame-ancestors`.
    pub frame_ancestors: HeaderValue,
    /// The time.
    pub clock: Clock,
    /// Cancelled when the program is stopping: it is not healthy any more.
    pub stopping: CancellationToken,
    /// Between two polls.
    pub poll_interval: Duration,
}

/// What the page shows amounts in: an amount in US dollars times `per_usd`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Currency {
    /// Its three letters.
    pub code: String,
    /// What a US dollar is worth in it; plain decimal text.
    pub per_usd: String,
}

/// The state behind [`router`].
struct UsageApi {
    options: UsageApiOptions,
    last_probe: tokio::sync::Mutex<Option<health::Probe>>,
    started_at: Timestamp,
    /// Places for live streams.
    streams: Arc<Semaphore>,
    /// One sheet is made at a time.
    sheets: Semaphore,
    /// One statement is taken at a time.
    statements: Semaphore,
    page_policy: HeaderValue,
}

impl UsageApi {
    fn streams_in_use(&self) -> usize {
        events::STREAMS.saturating_sub(self.streams.available_permits())
    }

    /// The current billing day.
    fn today(&self) -> Date {
        self.options.ledger.organisation().zone.day_of(self.options.clock.now())
    }
}

/// The routes of the usage listener.
pub fn router(options: UsageApiOptions) -> Router {
    let api = Arc::new(UsageApi {
        started_at: options.clock.now(),
        page_policy: page::policy(&options.frame_ancestors),
        last_probe: tokio::sync::Mutex::default(),
        streams: Arc::new(Semaphore::new(events::STREAMS)),
        sheets: Semaphore::new(1),
        statements: Semaphore::new(1),
        options,
    });
    let answers = Router::new()
        .merge(questions(BASE, ROUTES, &api))
        .merge(questions(TRACKING, TRACKING_ROUTES, &api))
        .route(&format!("{BASE}openapi.json"), get(openapi::openapi))
        .layer(from_fn(etag::with_etag));
    let for_the_operator = from_fn_with_state(api.clone(), caller::anybody);
    Router::new()
        .route("/health", get(health::health))
        .route("/metrics", get(metrics::metrics).layer(for_the_operator))
        .route("/usage", get(page::to_the_index))
        .route("/usage/", get(page::index))
        .route("/usage/{file}", get(page::file))
        .merge(answers)
        .fallback(|| async { error::ApiError::NotFound })
        .method_not_allowed_fallback(|| async { error::ApiError::MethodNotAllowed })
        .layer(map_response(safe))
        .with_state(api)
}

/// The questions under `base`, each with the check of who may ask it.
fn questions(base: &str, routes: &[Route], api: &Arc<UsageApi>) -> Router<Arc<UsageApi>> {
    let mut all = Router::new();
    for Route { path, audience, handler, .. } in routes {
        let (whole, own) = (format!("{base}{path}"), format!("{base}me/{path}"));
        let of_the_organisation =
            || handler().layer(from_fn_with_state(api.clone(), caller::the_organisation));
        let of_oneself = || handler().layer(from_fn_with_state(api.clone(), caller::oneself));
        let of_the_operator = || handler().layer(from_fn_with_state(api.clone(), caller::the_operator));
        let of_anybody = || handler().layer(from_fn_with_state(api.clone(), caller::anybody));
        all = match audience {
            Audience::Anybody => all.route(&whole, of_anybody()),
            Audience::Organisation => all.route(&whole, of_the_organisation()),
            Audience::Operator => all.route(&whole, of_the_operator()),
            Audience::OrganisationAndOneself => {
                all.route(&whole, of_the_organisation()).route(&own, of_oneself())
            }
        };
    }
    all
}

/// What a browser must not do with any answer.
async fn safe(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    response
}
