//! The account's own statement: `POST /analytics/query`, generation by generation, and `GET /activity`, day by day. Amounts are
//! read from the digits on the wire.

use std::collections::BTreeMap;

use http::Method;
use jiff::Timestamp;
use jiff::civil::Date;
use metering::{Cost, PicoUsd, Tokens};
use serde_json::value::RawValue;

use super::{Management, ManagementError};
use crate::json::Object;

/// Rows that one answer can have.
const MOST_ROWS: usize = 10_000;

/// What is billed: credits, without what a provider's own key paid.
const BILLED: &str = "credits_usage";

/// Counts that are told where the account has them, and where they go.
const COUNTS: [&str; 5] =
    ["request_count", "tokens_prompt", "tokens_completion", "reasoning_tokens", "cached_tokens"];

/// What generations are grouped by beside their id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatedBy {
    /// What the member `user` of the request said.
    ExternalUser,
    /// The model that served.
    Model,
}

/// Some time of some keys, from the first instant to before the last; whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementQuestion {
    /// The keys, by their hashes.
    pub key_hashes: Vec<String>,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant that is not asked about.
    pub to: Timestamp,
    /// What stands beside the generation's id.
    pub by: StatedBy,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementRow {
    /// The generation; `None` for what was billed without one.
    pub generation_id: Option<String>,
    /// The UTC day that the statement puts it on.
    pub day: Option<Date>,
    /// The user or the model, as was asked.
    pub by: Option<String>,
    /// What was billed.
    pub cost: Cost,
    /// Requests; `None` where the account does not count them.
    pub requests: Option<u64>,
    /// Tokens.
    pub tokens: Tokens,
}

/// What a question came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatementAnswer {
    /// All rows.
    Whole(Vec<StatementRow>),
    /// There are more, or it took too long: ask about less time.
    TooMuch,
}

/// What the analytics can be asked for; see [`Management::statement_terms`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementTerms {
    counts: Vec<&'static str>,
}

impl StatedBy {
    const fn as_str(self) -> &'static str {
        match self {
            Self::ExternalUser => "external_user",
            Self::Model => "model",
        }
    }
}

impl Management {
    /// What the analytics can be asked for today: the amount that is billed and the three dimensions must be there.
    ///
    /// # Errors
    /// [`ManagementError`]; [`ManagementError::Lacks`] where something is missing without which there is no statement.
    pub async fn statement_terms(&self) -> Result<StatementTerms, ManagementError> {
        let answer = self.client.ask(Method::GET, "analytics/meta", &self.key, None).await?;
        read_terms(&self.success(&answer, "")?.body)
    }

    /// What was billed, generation by generation.
    ///
    /// # Errors
    /// [`ManagementError`]; nothing is changed by asking.
    pub async fn statement(
        &self,
        terms: &StatementTerms,
        question: &StatementQuestion,
    ) -> Result<StatementAnswer, ManagementError> {
        let body = Some(question.to_json(terms));
        let answer = self.client.ask(Method::POST, "analytics/query", &self.key, body).await?;
        if answer.status == http::StatusCode::REQUEST_TIMEOUT {
            return Ok(StatementAnswer::TooMuch);
        }
        read_rows(&self.success(&answer, "")?.body, question.by)
    }

    /// What was billed to a key on each finished UTC day of the last 30.
    ///
    /// # Errors
    /// [`ManagementError`]; nothing is changed by asking.
    pub async fn activity(&self, key_hash: &str) -> Result<BTreeMap<Date, PicoUsd>, ManagementError> {
        let path = format!("activity?api_key_hash={}", crate::client::percent_encode(key_hash));
        let answer = self.client.ask(Method::GET, &path, &self.key, None).await?;
        let days = read_activity(&self.success(&answer, "")?.body);
        days.ok_or(ManagementError::NotUnderstood { expected: "an activity" })
    }
}

impl StatementQuestion {
    fn to_json(&self, terms: &StatementTerms) -> String {
        let metrics: Vec<&str> = [BILLED].into_iter().chain(terms.counts.iter().copied()).collect();
        let instant = |at: Timestamp| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        serde_json::json!({
            "metrics": metrics,
            "dimensions": ["generation_id", self.by.as_str()],
            "granularity": "day",
            "time_range": { "start": instant(self.from), "end": instant(self.to) },
            "filters": [{ "field": "api_key_id", "operator": "in", "value": self.key_hashes }],
            "limit": MOST_ROWS,
        })
        .to_string()
    }
}

fn read_terms(body: &[u8]) -> Result<StatementTerms, ManagementError> {
    const EXPECTED: ManagementError =
        ManagementError::NotUnderstood { expected: "the terms of the analytics" };
    let data = Object::read(body).and_then(|body| body.object("data")).ok_or(EXPECTED)?;
    let metrics = names(&data, "metrics").ok_or(EXPECTED)?;
    let dimensions = names(&data, "dimensions").ok_or(EXPECTED)?;
    let has = |names: &[String], wanted: &str| names.iter().any(|name| name == wanted);
    let lacks = |what: &'static str| Err(ManagementError::Lacks { what });
    if !has(&metrics, BILLED) {
        return lacks(BILLED);
    }
    if let Some(what) =
        ["generation_id", "external_user", "model"].into_iter().find(|name| !has(&dimensions, name))
    {
        return lacks(what);
    }
    Ok(StatementTerms { counts: COUNTS.into_iter().filter(|name| has(&metrics, name)).collect() })
}

fn names(data: &Object<'_>, member: &str) -> Option<Vec<String>> {
    let list: Vec<&RawValue> = serde_json::from_str(data.raw(member)?).ok()?;
    list.into_iter().map(|one| Object::read(one.get().as_bytes())?.text("name")).collect()
}

fn read_rows(body: &[u8], by: StatedBy) -> Result<StatementAnswer, ManagementError> {
    const EXPECTED: ManagementError = ManagementError::NotUnderstood { expected: "a statement" };
    let data = Object::read(body).and_then(|body| body.object("data")).ok_or(EXPECTED)?;
    let rows: Vec<&RawValue> =
        serde_json::from_str(data.raw("data").ok_or(EXPECTED)?).map_err(|_| EXPECTED)?;
    // Whether it is whole must be told, not guessed.
    let metadata = data.object("metadata").ok_or(EXPECTED)?;
    match metadata.raw("truncated") {
        Some("false") if rows.len() < MOST_ROWS => {}
        Some("true" | "false") => return Ok(StatementAnswer::TooMuch),
        _ => return Err(EXPECTED),
    }
    let rows: Option<Vec<StatementRow>> =
        rows.into_iter().map(|row| read_row(&Object::read(row.get().as_bytes())?, by)).collect();
    rows.map(StatementAnswer::Whole).ok_or(EXPECTED)
}

/// An amount that cannot be read makes the whole answer useless.
fn read_row(row: &Object<'_>, by: StatedBy) -> Option<StatementRow> {
    let amount = row.raw(BILLED)?;
    let text = row.text(BILLED);
    let count = |name: &str| row.count(name).or_else(|| row.text(name)?.parse().ok());
    Some(StatementRow {
        generation_id: row.text("generation_id"),
        day: row.text("date__day").and_then(|text| text.get(..10)?.parse().ok()),
        by: row.text(by.as_str()),
        cost: Cost::read(text.as_deref().unwrap_or(amount))?,
        requests: count("request_count"),
        tokens: Tokens {
            prompt: count("tokens_prompt"),
            completion: count("tokens_completion"),
            reasoning: count("reasoning_tokens"),
            cached: count("cached_tokens"),
        },
    })
}

fn read_activity(body: &[u8]) -> Option<BTreeMap<Date, PicoUsd>> {
    let rows: Vec<&RawValue> = serde_json::from_str(Object::read(body)?.raw("data")?).ok()?;
    let mut days = BTreeMap::new();
    for row in rows {
        let row = Object::read(row.get().as_bytes())?;
        let day: Date = row.text("date")?.get(..10)?.parse().ok()?;
        let usage = PicoUsd::parse(row.raw("usage")?).ok()?.amount;
        let sum = days.entry(day).or_insert(PicoUsd::ZERO);
        *sum = sum.checked_add(usage).ok()?;
    }
    Some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &str, truncated: &str) -> Result<StatementAnswer, ManagementError> {
        let body =
            format!(r#"{{"data":{{"data":[{rows}],"metadata":{{"row_count":1,"truncated":{truncated}}}}}}}"#);
        read_rows(body.as_bytes(), StatedBy::ExternalUser)
    }

    #[test]
    fn amounts_are_read_from_their_digits_and_counts_from_texts_and_numbers() {
        let rows = r#"{"date__day":"2026-09-21T00:00:00.000Z","generation_id":"gen-1","external_user":"u",
            "credits_usage":4.000000000001e-6,"request_count":"1","tokens_prompt":20,"tokens_completion":"2"},
            {"date__day":"2026-09-21","generation_id":null,"external_user":null,"credits_usage":"0.5"}"#;
        let Ok(StatementAnswer::Whole(rows)) = answer(rows, "false") else { panic!() };
        assert_eq!(rows[0].cost.amount.pico(), 4_000_000);
        assert_eq!((rows[0].day, rows[1].day), (rows[1].day, "2026-09-21".parse().ok()));
        assert_eq!(
            (rows[0].requests, rows[0].tokens.prompt, rows[0].tokens.completion),
            (Some(1), Some(20), Some(2))
        );
        assert_eq!((&rows[1].generation_id, rows[1].cost.text.as_str()), (&None, "0.5"));
    }

    #[test]
    fn what_is_cut_or_not_understood_is_no_statement() {
        assert_eq!(answer("", "true"), Ok(StatementAnswer::TooMuch));
        assert_eq!(answer("", "false"), Ok(StatementAnswer::Whole(Vec::new())));
        assert!(answer("", "null").is_err());
        for row in
            [r#"{"generation_id":"gen-1"}"#, r#"{"credits_usage":null}"#, r#"{"credits_usage":-1}"#, "7"]
        {
            assert!(answer(row, "false").is_err(), "{row}");
        }
    }

    #[test]
    fn a_question_is_plain_json() {
        let question = StatementQuestion {
            key_hashes: vec!["ab".to_owned()],
            from: "2026-09-21T00:00:00Z".parse().unwrap(),
            to: "2026-09-22T00:00:00Z".parse().unwrap(),
            by: StatedBy::Model,
        };
        let text = question.to_json(&StatementTerms { counts: vec!["request_count"] });
        assert!(text.contains(r#""start":"2026-09-21T00:00:00Z""#), "{text}");
        assert!(text.contains(r#""dimensions":["generation_id","model"]"#), "{text}");
        assert!(text.contains(r#""metrics":["credits_usage","request_count"]"#), "{text}");
    }

    #[test]
    fn terms_without_the_bill_are_none() {
        let terms = |metrics: &str| {
            let dimensions = r#"[{"name":"generation_id"},{"name":"external_user"},{"name":"model"}]"#;
            read_terms(format!(r#"{{"data":{{"metrics":{metrics},"dimensions":{dimensions}}}}}"#).as_bytes())
        };
        let known = terms(r#"[{"name":"credits_usage"},{"name":"request_count"}]"#).unwrap();
        assert_eq!(known.counts, ["request_count"]);
        let lacks = terms(r#"[{"name":"total_usage"}]"#);
        assert_eq!(lacks, Err(ManagementError::Lacks { what: "credits_usage" }));
        assert!(read_terms(b"<html>").is_err());
    }

    #[test]
    fn an_activity_is_summed_by_day() {
        let days = read_activity(
            br#"{"data":[{"date":"2026-09-20","usage":0.015},{"date":"2026-09-20","usage":1e-12},{"date":"2026-09-19","usage":1}]}"#,
        );
        let day: Date = "2026-09-20".parse().unwrap();
        assert_eq!(days.unwrap().get(&day).map(ToString::to_string).as_deref(), Some("0.015000000001"));
        assert_eq!(read_activity(b"{}"), None);
    }
}
