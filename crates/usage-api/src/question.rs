//! The query of a question: its period, and what else is asked.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use jiff::civil::Date;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::UsageApi;
use crate::error::ApiError;

/// Days a question may span: ten years.
const LONGEST_DAYS: i32 = 3_660;

/// The first and the last billing day, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Period {
    #[schema(value_type = String, format = Date)]
    pub(crate) from: Date,
    #[schema(value_type = String, format = Date)]
    pub(crate) to: Date,
}

/// A query that is read as `T`; where it cannot be, the error says why.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

#[derive(Deserialize)]
struct Days {
    from: Option<String>,
    to: Option<String>,
}

impl<T: DeserializeOwned> FromRequestParts<Arc<UsageApi>> for Asked<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<UsageApi>) -> Result<Self, ApiError> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(rejection) => Err(ApiError::BadQuestion(rejection.body_text())),
        }
    }
}

/// `from` and `to` of the query; the current month until today where they are not there.
impl FromRequestParts<Arc<UsageApi>> for Period {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<UsageApi>) -> Result<Self, ApiError> {
        let Asked(Days { from, to }) = Asked::from_request_parts(parts, api).await?;
        Self::of(from.as_deref(), to.as_deref(), api.today())
    }
}

impl Period {
    fn of(from: Option<&str>, to: Option<&str>, today: Date) -> Result<Self, ApiError> {
        let to = to.map_or(Ok(today), |to| day("to", to))?;
        let from = from.map_or_else(|| Ok(to.first_of_month()), |from| day("from", from))?;
        let days = (to - from).get_days();
        if !(0..LONGEST_DAYS).contains(&days) {
            return Err(ApiError::BadQuestion(format!(
                "the period must end on or after its first day and have at most {LONGEST_DAYS} days; it is {from} to {to}"
            )));
        }
        Ok(Self { from, to })
    }
}

fn day(name: &str, text: &str) -> Result<Date, ApiError> {
    let shaped = text.len() == "YYYY-MM-DD".len();
    shaped
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| ApiError::BadQuestion(format!("`{name}` must be a day such as 2026-11-22")))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn a_period_is_the_month_so_far_unless_it_is_given() {
        let today = date(2026, 11, 22);
        let of = |from, to| Period::of(from, to, today).map(|Period { from, to }| (from, to)).ok();
        assert_eq!(of(None, None), Some((date(2026, 11, 1), today)));
        assert_eq!(of(None, Some("2026-02-03")), Some((date(2026, 2, 1), date(2026, 2, 3))));
        assert_eq!(of(Some("2026-11-22"), None), Some((today, today)));
        assert_eq!(of(Some("2026-11-23"), None), None);
        assert_eq!(of(Some("2016-01-01"), None), None);
        for nonsense in ["", "2026-02-30", "20260203", "2026-02-03T00:00", "yesterday!"] {
            assert_eq!(of(Some(nonsense), None), None, "{nonsense}");
        }
    }
}
