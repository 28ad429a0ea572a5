//! What is answered: sums, pages, prices, the original's endpoints.

use ledger::{Scope, UsageBy};
use serde_json::{Value, json};

use crate::{ADMIN, Booked, Differs, House, OPERATOR};

#[tokio::test]
async fn sums_are_of_the_organisations_days() {
    let house = House::with_usage().await;
    let summary = house.answer(ADMIN, "summary").await;
    assert_eq!(summary["period"], json!({ "from": "2026-11-01", "to": "2026-11-22" }));
    // (0.00154 + 2 + 0.5 + 0.25) x 1.3
    assert_eq!(summary["charge"], "3.577002");
    assert_eq!(
        (&summary["requests"], &summary["users"], &summary["models"], &summary["days"]),
        (&json!(4), &json!(2), &json!(2), &json!(3))
    );
    assert_eq!(summary["last_activity_at"], "2026-11-21T23:00:00Z");
    let days = house.answer(ADMIN, "by-day").await;
    let days: Vec<_> =
        days["days"].as_array().unwrap().iter().map(|day| (&day["day"], &day["charge"])).collect();
    assert_eq!(
        days,
        [
            (&json!("2026-11-02"), &json!("2.602002")),
            (&json!("2026-11-21"), &json!("0.65")),
            (&json!("2026-11-22"), &json!("0.325"))
        ]
    );
    let nothing = house.answer(ADMIN, "summary?from=2020-01-01&to=2020-01-31").await;
    assert_eq!((&nothing["charge"], &nothing["last_activity_at"]), (&json!("0"), &Value::Null));
}

#[tokio::test]
async fn the_overview_compares_months() {
    let house = House::with_usage().await;
    let overview = house.answer(OPERATOR, "overview").await;
    assert_eq!(overview["today"]["charge"], "0.325");
    assert_eq!(overview["last_month"]["requests"], 2);
    assert_eq!(
        (&overview["last_month_so_far"]["to"], &overview["last_month_so_far"]["requests"]),
        (&json!("2026-10-22"), &json!(1))
    );
    // 21 days and 14 hours of 30 have passed: 3.577002 x 720 / 518.
    assert_eq!(overview["projected_charge"], "4.971894671814");
    // 2.75154 of 100 dollars of cost.
    assert_eq!(overview["limit"], json!({ "charge": "130", "used_permille": 27 }));
    assert_eq!(overview["awaiting"], json!({ "open": 1, "orphan": 0, "under_way": 1 }));
    let empty = House::new().await;
    assert_eq!(empty.answer(ADMIN, "overview").await["projected_charge"], Value::Null);
}

#[tokio::test]
async fn users_without_usage_are_listed_with_what_is_known_of_them() {
    let house = House::with_usage().await;
    let users = house.answer(ADMIN, "by-user?from=2026-10-30&to=2026-10-31").await;
    let users = users["users"].as_array().unwrap();
    assert_eq!((users.len(), &users[0]["user_id"], &users[0]["name"]), (2, &json!("user-bob"), &Value::Null));
    assert_eq!(
        (&users[1]["name"], &users[1]["requests"], &users[1]["last_activity_at"]),
        (&json!("Anna Żółć"), &json!(0), &Value::Null)
    );
    let rows = house.answer(ADMIN, "by-user-and-model").await;
    assert_eq!(rows["rows"].as_array().unwrap().len(), 4);
    assert_eq!(
        (&rows["rows"][0]["user_id"], &rows["rows"][0]["model"]),
        (&json!("user-anna"), &json!("google/gemini-2.5-pro"))
    );
}

#[tokio::test]
async fn pages_of_calls_hold_each_call_once() {
    let house = House::with_usage().await;
    for (filter, all) in [
        ("", 6),
        ("&user_id=user-anna", 3),
        ("&model=openai/gpt-4o-mini", 3),
        ("&user_id=user-bob&model=openai/gpt-4o-mini", 1),
        ("&user_id=nobody", 0),
    ] {
        for limit in [1, 2, 3, 500] {
            let (mut ids, mut after) = (Vec::new(), String::new());
            loop {
                let page =
                    house.answer(ADMIN, &format!("calls?from=2026-10-01&limit={limit}{filter}{after}")).await;
                let calls = page["calls"].as_array().unwrap();
                assert!(calls.len() <= limit && (!calls.is_empty() || all == 0), "an empty page is no page");
                ids.extend(calls.iter().map(|call| call["id"].as_i64().unwrap()));
                let Some(next) = page["next"].as_str() else { break };
                after = format!("&after={next}");
            }
            let sorted: std::collections::BTreeSet<_> = ids.iter().copied().collect();
            assert_eq!((ids.len(), sorted.len()), (all, all), "{filter} {limit}");
            assert!(ids.is_sorted_by(|one, next| one > next), "the newest first: {ids:?}");
        }
    }
    // A place behind the period tells nothing of what is there.
    let page = house.answer(ADMIN, "calls?from=2026-10-01&to=2026-10-31&after=2026-11-22_0_0").await;
    assert_eq!(page["calls"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn calls_that_await_a_cost_are_paged_too() {
    let house = House::with_usage().await;
    let first = house.answer(ADMIN, "awaiting?limit=1").await;
    assert_eq!(
        (&first["calls"][0]["state"], &first["calls"][0]["generation_id"]),
        (&json!("open"), &json!("gen-1795352400-open"))
    );
    let second =
        house.answer(ADMIN, &format!("awaiting?limit=1&after={}", first["next"].as_str().unwrap())).await;
    assert_eq!(
        (&second["calls"][0]["state"], &second["calls"][0]["user_id"]),
        (&json!("intent"), &json!("user-bob"))
    );
}

#[tokio::test]
async fn what_cannot_be_asked_is_told_as_a_problem() {
    let house = House::new().await;
    for path in [
        "summary?from=yesterday",
        "summary?from=2026-11-22&to=2026-11-01",
        "summary?from=2026-11-01&from=2026-11-02",
        "by-day?from=1999-01-01",
        "calls?limit=0",
        "calls?limit=501",
        "calls?limit=x",
        "calls?after=1",
        "export?what=by-day",
        "export?what=everything&format=csv",
    ] {
        let refused = house.ask(&format!("/api/v1/usage/{path}")).bearer_auth(ADMIN).send().await.unwrap();
        assert_eq!(refused.status(), 400, "{path}");
        assert_eq!(refused.headers()["content-type"], "application/problem+json", "{path}");
        let problem: Value = refused.json().await.unwrap();
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{path}");
    }
    assert_eq!(house.status(ADMIN, "/api/v1/usage/nothing").await, 404);
    let posted = house.http.post(format!("http://{}/api/v1/usage/summary", house.address)).bearer_auth(ADMIN);
    assert_eq!(posted.send().await.unwrap().status(), 405);
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_sent_again() {
    let house = House::with_usage().await;
    let ask = |etag: Option<&str>| {
        let ask = house.ask("/api/v1/usage/by-user").bearer_auth(ADMIN);
        if let Some(etag) = etag { ask.header("if-none-match", etag) } else { ask }
    };
    let first = ask(None).send().await.unwrap();
    assert_eq!(first.headers()["cache-control"], "private, no-cache");
    let etag = first.headers()["etag"].to_str().unwrap().to_owned();
    let again = ask(Some(&etag)).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.bytes().await.unwrap().len()), (304, 0));
    house.book(100, &Booked { user: "bob", model: "a/b", cost: "1", at: "2026-11-22T12:00:00Z" }).await;
    assert_eq!(ask(Some(&etag)).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn prices_are_what_the_organisation_pays() {
    let house = House::with_usage().await;
    let prices = house.answer(ADMIN, "prices").await;
    assert_eq!(
        (&prices["models"][0]["prompt_per_million"], &prices["models"][0]["completion_per_million"]),
        (&json!("0.195"), &json!("0.78"))
    );
    // The router's price is not fixed: unknown, not 0 and not below it.
    assert_eq!(prices["models"][1]["prompt_per_million"], Value::Null);
    let tracking: Value = house
        .ask("/api/v1/usage-tracking/model-pricing")
        .bearer_auth(ADMIN)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&tracking["models"][0]["price_per_million_input"], &tracking["models"][0]["category"]),
        (&json!(0.195), &json!("Budget"))
    );
    assert_eq!(tracking["models"][1]["category"], Value::Null);
    let empty = House::new().await;
    assert_eq!(empty.answer(ADMIN, "prices").await, json!({ "fetched_at": null, "models": [] }));
    assert_eq!(empty.status(ADMIN, "/api/v1/usage-tracking/model-pricing").await, 503);
}

#[tokio::test]
async fn the_originals_summary_tells_zloty_where_the_rate_is_set() {
    let currency = usage_api::Currency { code: "PLN".into(), per_usd: "4.05".into() };
    let house = House::with(Differs { currency: Some(currency), ..Differs::default() }).await;
    house.fill().await;
    let summary: Value = house
        .ask("/api/v1/usage-tracking/my-organization/usage-summary")
        .bearer_auth(ADMIN)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let month = &summary["stats"]["current_month"];
    assert_eq!((&month["total_cost"], &month["total_cost_pln"]), (&json!(3.577_002), &json!(14.49)));
    assert_eq!(month["exchange_rate_info"]["usd_pln"], json!(4.05));
    assert_eq!(summary["stats"]["daily_breakdown"][0]["primary_model"], "google/gemini-2.5-pro");
    assert_eq!(summary["stats"]["daily_breakdown"][2]["last_activity"], "00:00");
}

#[tokio::test]
async fn metrics_name_nobody() {
    let house = House::with_usage().await;
    let answer = house.ask("/metrics").bearer_auth(OPERATOR).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    for line in [
        "mai_usage_ledger_writable 1",
        "mai_usage_unsettled_calls{state=\"open\"} 1",
        "mai_usage_entries_total 6",
        "mai_usage_month_charge_usd 3.577002",
        "mai_usage_month_limit_usd 100",
        "mai_usage_last_poll_failed 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is missing in {text}");
    }
    for name in ["anna", "bob", "example.com", "mai_client", "sk-or"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
    // Every line is a comment, or a name with a number.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("mai_usage_") && value.parse::<f64>().is_ok(), "{line}");
    }
}

/// The API's sums are the ledger's, however they are asked for.
#[tokio::test]
async fn all_tables_have_the_same_sum() {
    let house = House::with_usage().await;
    let scope = Scope {
        org_id: house.ledger.organisation().id.clone(),
        user_id: None,
        from: jiff::civil::date(2026, 10, 1),
        to: jiff::civil::date(2026, 11, 22),
    };
    let mut sums = Vec::new();
    for by in [
        UsageBy::Nothing,
        UsageBy::Day,
        UsageBy::User,
        UsageBy::Model,
        UsageBy::UserAndModel,
        UsageBy::DayAndModel,
    ] {
        let rows = house.ledger.reader().usage(&scope, by).await.unwrap();
        sums.push(rows.iter().map(|row| row.charge_pico_usd).sum::<i64>());
    }
    assert_eq!(sums, [4_879_004_000_000; 6]);
}
