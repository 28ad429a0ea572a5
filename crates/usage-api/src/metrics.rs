//! `GET /metrics`: what Prometheus collects. For the operator's token; no label names a person, an address or a key.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, response::IntoResponse};
use http::header;
use ledger::{Reconciliation, UsageBy};
use metering::PicoUsd;

use crate::UsageApi;
use crate::caller::{Caller, View};
use crate::error::ApiError;
use crate::health;
use crate::question::Period;

/// The exposition format of Prometheus, version 0.0.4.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text of the format. Amounts are written from their exact text, which a client library would make floats of.
#[derive(Default)]
struct Exposition(String);

impl Exposition {
    /// A metric with one value for each set of labels (`state="open"`, or none).
    fn gauge(&mut self, name: &str, help: &str, values: &[(&str, String)]) {
        self.metric("gauge", name, help, values);
    }

    fn counter(&mut self, name: &str, help: &str, value: String) {
        self.metric("counter", name, help, &[("", value)]);
    }

    fn metric(&mut self, kind: &str, name: &str, help: &str, values: &[(&str, String)]) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP mai_usage_{name} {help}\n# TYPE mai_usage_{name} {kind}");
        for (labels, value) in values {
            let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            let _ = writeln!(self.0, "mai_usage_{name}{labels} {value}");
        }
    }
}

pub(crate) async fn metrics(
    State(api): State<Arc<UsageApi>>,
    Extension(view): Extension<View>,
) -> Result<impl IntoResponse, ApiError> {
    if !matches!(view.caller, Caller::Operator) {
        return Err(ApiError::NotTheOperator);
    }
    let mut told = Exposition::default();
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    told.gauge("info", "The program that runs.", &[(&version, "1".to_owned())]);
    let writable = i32::from(health::can_write(&api).await);
    told.gauge(
        "ledger_writable",
        "Whether the ledger can be written; new calls are refused otherwise.",
        &[("", writable.to_string())],
    );
    calls(&api, &mut told).await?;
    this_month(&api, &view, &mut told).await?;
    last_poll(&api, &mut told).await?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], told.0))
}

async fn calls(api: &UsageApi, told: &mut Exposition) -> Result<(), ApiError> {
    let reader = api.options.ledger.reader();
    let unsettled = reader.unsettled(None).await?;
    told.gauge(
        "unsettled_calls",
        "Calls without a cost: under way, asked for (open), or without an id (orphan).",
        &[
            ("state=\"under_way\"", unsettled.intent.to_string()),
            ("state=\"open\"", unsettled.open.to_string()),
            ("state=\"orphan\"", unsettled.orphan.to_string()),
        ],
    );
    told.counter("entries_total", "Lines of the ledger.", reader.last_entry_id().await?.to_string());
    let live = api.streams_in_use();
    told.gauge("live_streams", "Pages that are told of every call.", &[("", live.to_string())]);
    Ok(())
}

async fn this_month(api: &UsageApi, view: &View, told: &mut Exposition) -> Result<(), ApiError> {
    let today = api.today();
    let month = Period { from: today.first_of_month(), to: today.last_of_month() };
    let usage = api.options.ledger.reader().usage(&view.scope(api, month), UsageBy::Nothing).await?;
    let Some(usage) = usage.first() else { return Ok(()) };
    let usd = |pico| PicoUsd::new(pico).to_string();
    told.gauge("month_requests", "Calls of this billing month.", &[("", usage.requests.to_string())]);
    told.gauge(
        "month_charge_usd",
        "What the organisation pays for this billing month.",
        &[("", usd(usage.charge_pico_usd))],
    );
    told.gauge(
        "month_cost_usd",
        "What OpenRouter bills for this billing month.",
        &[("", usd(usage.cost_pico_usd))],
    );
    if let Some(limit) = api.options.ledger.organisation().monthly_limit.clone() {
        told.gauge("month_limit_usd", "The cost at which the monthly limit is reached.", &[("", limit)]);
    }
    Ok(())
}

async fn last_poll(api: &UsageApi, told: &mut Exposition) -> Result<(), ApiError> {
    let polls = api.options.ledger.reader().last_reconciliations(1).await?;
    // Before the first poll there is nothing to tell.
    let Some(Reconciliation { polled_at_ms, error, warning, .. }) = polls.first() else { return Ok(()) };
    let flag = |is_set: bool| [("", i32::from(is_set).to_string())];
    told.gauge(
        "last_poll_timestamp_seconds",
        "When OpenRouter was asked last, Unix time.",
        &[("", (polled_at_ms / 1_000).to_string())],
    );
    told.gauge("last_poll_failed", "Whether that failed.", &flag(error.is_some()));
    told.gauge("bypass", "Whether the key is used past the sidecar.", &flag(warning.is_some()));
    Ok(())
}
