//! `OpenRouter`'s statement: the operator fetches it with the management key, which never comes here, and hands it over.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{MethodRouter, get};
use ledger::{StatementDay, StatementFacts};
use metering::Statement;
use serde::Deserialize;

use crate::UsageApi;
use crate::error::ApiError;

/// Longest statement: a hundred thousand generations of a day.
const LARGEST_STATEMENT_BYTES: usize = 32 * 1024 * 1024;

/// What is sent.
#[derive(Deserialize)]
struct Order {
    statement: Statement,
    /// Nothing is to be written.
    #[serde(default)]
    dry_run: bool,
}

pub(crate) fn handler() -> MethodRouter<Arc<UsageApi>> {
    get(facts).post(take).layer(DefaultBodyLimit::max(LARGEST_STATEMENT_BYTES))
}

async fn facts(State(api): State<Arc<UsageApi>>) -> Result<Json<StatementFacts>, ApiError> {
    Ok(Json(api.options.ledger.reader().statement_facts().await?))
}

async fn take(
    State(api): State<Arc<UsageApi>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<StatementDay>, ApiError> {
    let _alone = api.statements.acquire().await.map_err(|error| ApiError::Internal(error.to_string()))?;
    let body = body.map_err(|error| ApiError::BadQuestion(error.body_text()))?;
    let Order { statement, dry_run } =
        serde_json::from_slice(&body).map_err(|error| ApiError::BadQuestion(error.to_string()))?;
    let ledger = &api.options.ledger;
    let day = if dry_run {
        ledger.reader().compare_statement(&statement).await?
    } else {
        let day = ledger.take_statement(statement, api.options.clock.now()).await?;
        tracing::info!(
            day = %day.day,
            bill_usd = %day.bill,
            difference_usd = %day.difference,
            is_final = day.is_final,
            left = day.left,
            "took OpenRouter's statement"
        );
        day
    };
    Ok(Json(day))
}
