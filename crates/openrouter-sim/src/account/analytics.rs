//! `POST /analytics/query` and `GET /analytics/meta`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::facts::{DIMENSIONS, Granularity, METRICS, MetricKind, NEAR_DIMENSIONS, dimension};
use crate::access::management_key;
use crate::clock::{self, instant_text, parse_instant};
use crate::json::{Object, quoted};
use crate::money::PicoUsd;
use crate::refusal::{Refusal, ok};
use crate::truth::Generation;
use crate::world::World;

/// A query, read loosely and checked afterwards.
#[derive(Debug, Deserialize)]
struct Query {
    metrics: Vec<String>,
    #[serde(default)]
    dimensions: Vec<String>,
    granularity: Option<String>,
    time_range: Option<TimeRange>,
    #[serde(default)]
    filters: Vec<Filter>,
    order_by: Option<OrderBy>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct TimeRange {
    start: String,
    end: String,
}

#[derive(Debug, Deserialize)]
struct Filter {
    field: String,
    operator: String,
    value: Value,
}

#[derive(Debug, Deserialize)]
struct OrderBy {
    field: String,
    direction: Option<String>,
}

/// A checked query.
struct Plan {
    query: Query,
    granularity: Option<Granularity>,
    from_ms: i64,
    until_ms: i64,
}

/// What a row is about: its time bucket and the values of its dimensions.
type Group = (Option<String>, Vec<Option<String>>);

/// A row before it is printed: its group, and a sum for each metric.
struct Row {
    time: Option<String>,
    dimensions: Vec<Option<String>>,
    sums: Vec<i128>,
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/analytics/query", post(answer)).route("/analytics/meta", get(meta))
}

async fn answer(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Response {
    let rows = management_key(&world, &headers)
        .and_then(|_| fault(&world))
        .and_then(|()| Plan::read(&body, world.clock.now_ms()))
        .and_then(|plan| plan.in_time(&world))
        .map(|plan| (plan.rows(&world), plan));
    match rows {
        Ok((rows, plan)) => ok(Object::new().object("data", plan.described(&rows, &world))),
        Err(refusal) => refusal.into_response(),
    }
}

/// The fault that the knobs ask for, as often as they do.
fn fault(world: &World) -> Result<(), Refusal> {
    let knobs = world.knobs();
    let refusal = knobs.analytics_error.as_deref().and_then(|case| Refusal::of_case(case, ""));
    let Some(refusal) = refusal else { return Ok(()) };
    match knobs.analytics_failures {
        Some(failures) if world.count_analytics_failure() >= failures => Ok(()),
        _ => Err(refusal),
    }
}

impl Plan {
    /// Refuses what takes too long.
    fn in_time(self, world: &World) -> Result<Self, Refusal> {
        let longest_ms = world.knobs().analytics_longest_ms.unwrap_or(i64::MAX);
        if self.until_ms - self.from_ms > longest_ms {
            return Err(Refusal::new(http::StatusCode::REQUEST_TIMEOUT, "The query took too long"));
        }
        Ok(self)
    }

    fn read(body: &[u8], now_ms: i64) -> Result<Self, Refusal> {
        const MOST_DIMENSIONS: usize = 2;
        const MOST_FILTERS: usize = 20;
        const DEFAULT_DAYS: i64 = 7;
        const NEAR_DAYS: i64 = 31;
        const MINUTE_WINDOW_MS: i64 = 3 * 3_600_000;
        let query: Query = serde_json::from_slice(body)
            .map_err(|error| Refusal::bad_request(format!("Invalid query: {error}")))?;
        let unknown = |what: &str, name: &str| Refusal::bad_request(format!("Unknown {what}: {name}"));
        let stray = query.metrics.iter().find(|name| MetricKind::of(name).is_none());
        if let Some(name) = stray {
            return Err(unknown("metric", name));
        }
        let fields = query.dimensions.iter().chain(query.filters.iter().map(|filter| &filter.field));
        if let Some(name) = fields.into_iter().find(|name| !DIMENSIONS.contains(&name.as_str())) {
            return Err(unknown("dimension", name));
        }
        if query.metrics.is_empty()
            || query.dimensions.len() > MOST_DIMENSIONS
            || query.filters.len() > MOST_FILTERS
        {
            return Err(Refusal::bad_request("Too few metrics, or too many dimensions or filters"));
        }
        let parse = |name: &String| Granularity::parse(name).ok_or_else(|| unknown("granularity", name));
        let granularity = query.granularity.as_ref().map(parse).transpose()?;
        let bad_time = || Refusal::bad_request("Times are ISO 8601 in UTC, with seconds");
        let (from_ms, until_ms) = match &query.time_range {
            None => (now_ms - clock::days(DEFAULT_DAYS), now_ms + 1),
            Some(TimeRange { start, end }) => {
                (parse_instant(start).ok_or_else(bad_time)?, parse_instant(end).ok_or_else(bad_time)?)
            }
        };
        let is_near = |name: &String| NEAR_DIMENSIONS.contains(&name.as_str());
        if query.dimensions.iter().any(is_near) && from_ms < now_ms - clock::days(NEAR_DAYS) {
            return Err(Refusal::bad_request("These dimensions reach back 31 days"));
        }
        if granularity == Some(Granularity::Minute) && until_ms - from_ms > MINUTE_WINDOW_MS {
            return Err(Refusal::bad_request("Minute granularity is limited to 3 hours"));
        }
        Ok(Self { query, granularity, from_ms, until_ms })
    }

    /// Groups and sums the charges that the analytics know by now.
    fn rows(&self, world: &World) -> Vec<Row> {
        let knobs = world.knobs();
        let lag_ms = knobs.analytics_lag_ms.unwrap_or(0);
        let stated = knobs.stated_cost.as_deref().and_then(PicoUsd::parse);
        let known_until_ms = world.clock.now_ms().saturating_sub(lag_ms);
        let generations = world.bill().generations().to_vec();
        let mut groups: BTreeMap<Group, Vec<i128>> = BTreeMap::new();
        for generation in generations {
            let in_time = (self.from_ms..self.until_ms).contains(&generation.charge.created_ms);
            let known = generation.charged_ms <= known_until_ms;
            if !in_time || !known || !self.query.filters.iter().all(|filter| filter.admits(&generation)) {
                continue;
            }
            let time = self.granularity.map(|granularity| granularity.bucket(generation.charge.created_ms));
            let shown = |name: &String| shown_dimension(world, &generation, name);
            let group = (time.map(instant_text), self.query.dimensions.iter().map(shown).collect());
            let sums = groups.entry(group).or_insert_with(|| vec![0; self.query.metrics.len()]);
            for (sum, name) in sums.iter_mut().zip(&self.query.metrics) {
                *sum += MetricKind::of(name).map_or(0, |kind| match stated {
                    Some(stated) if kind.is_what_is_billed() => stated.0,
                    _ => kind.value(&generation),
                });
            }
        }
        let rows = groups.into_iter().map(|((time, dimensions), sums)| Row { time, dimensions, sums });
        self.ordered(rows.collect())
    }

    fn ordered(&self, mut rows: Vec<Row>) -> Vec<Row> {
        let Some(order) = &self.query.order_by else { return rows };
        let metric = self.query.metrics.iter().position(|name| *name == order.field);
        let dimension = self.query.dimensions.iter().position(|name| *name == order.field);
        rows.sort_by(|left, right| match (metric, dimension) {
            (Some(metric), _) => left.sums.get(metric).cmp(&right.sums.get(metric)),
            (None, Some(dimension)) => left.dimensions.get(dimension).cmp(&right.dimensions.get(dimension)),
            (None, None) => left.time.cmp(&right.time),
        });
        if order.direction.as_deref() == Some("desc") {
            rows.reverse();
        }
        rows
    }

    fn described(&self, rows: &[Row], world: &World) -> Object {
        const DEFAULT_LIMIT: usize = 1000;
        const LARGEST_LIMIT: usize = 10_000;
        let largest = world.knobs().analytics_most_rows.unwrap_or(LARGEST_LIMIT);
        let limit = self.query.limit.unwrap_or(DEFAULT_LIMIT).clamp(1, largest);
        let metadata = Object::new()
            .number("query_time_ms", 1)
            .number("row_count", i64::try_from(rows.len().min(limit)).unwrap_or(i64::MAX))
            .flag("truncated", rows.len() > limit);
        let shown = rows.iter().take(limit).map(|row| self.printed(row));
        Object::new()
            .array("data", shown)
            .object("metadata", metadata)
            .number("cachedAt", world.clock.now_ms())
    }

    /// Flat; counts are strings and money is a number.
    fn printed(&self, row: &Row) -> String {
        let mut printed = Object::new();
        if let (Some(granularity), Some(time)) = (self.granularity, &row.time) {
            printed = printed.text(&format!("date__{}", granularity.text()), time);
        }
        for (name, value) in self.query.dimensions.iter().zip(&row.dimensions) {
            printed = printed.maybe_text(name, value.as_deref());
        }
        for (name, sum) in self.query.metrics.iter().zip(&row.sums) {
            printed = match MetricKind::of(name) {
                Some(kind) if kind.is_money() => printed.usd(name, PicoUsd(*sum)),
                _ => printed.raw(name, &quoted(&sum.to_string())),
            };
        }
        printed.end()
    }
}

/// Rows show the name of a key, where filters take its hash.
fn shown_dimension(world: &World, generation: &Generation, name: &str) -> Option<String> {
    let value = dimension(generation, name)?;
    if name != "api_key_id" {
        return Some(value);
    }
    Some(world.keyring().find(&value).map_or(value, |key| key.name.clone()))
}

impl Filter {
    fn admits(&self, generation: &Generation) -> bool {
        let actual = dimension(generation, &self.field);
        let equals = |value: &Value| value.as_str() == actual.as_deref();
        let is_among = || self.value.as_array().is_some_and(|values| values.iter().any(equals));
        let compared = || actual.as_deref().cmp(&self.value.as_str());
        match self.operator.as_str() {
            "eq" => equals(&self.value),
            "neq" => !equals(&self.value),
            "in" => is_among(),
            "not_in" => !is_among(),
            "gt" => compared().is_gt(),
            "gte" => compared().is_ge(),
            "lt" => compared().is_lt(),
            "lte" => compared().is_le(),
            _ => false,
        }
    }
}

async fn meta(State(world): State<Arc<World>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = management_key(&world, &headers) {
        return refusal.into_response();
    }
    let labelled = |name: &str| Object::new().text("name", name).text("display_label", name);
    let metrics = METRICS.iter().map(|(name, kind)| {
        let format = if kind.is_money() { "currency" } else { "number" };
        labelled(name).flag("is_rate", false).text("display_format", format).end()
    });
    let dimensions = DIMENSIONS.iter().map(|name| labelled(name).end());
    let operators = ["eq", "neq", "in", "not_in", "gt", "gte", "lt", "lte"].map(|name| {
        let kind = if name.ends_with("in") { "array" } else { "scalar" };
        Object::new().text("name", name).text("value_type", kind).end()
    });
    let granularities = Granularity::ALL.map(|granularity| labelled(granularity.text()).end());
    let data = Object::new()
        .array("metrics", metrics)
        .array("dimensions", dimensions)
        .array("operators", operators)
        .array("granularities", granularities);
    ok(Object::new().object("data", data))
}
