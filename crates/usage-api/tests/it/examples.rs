//! The OpenAPI document and its examples are true: these tests compare them. `cargo xtask docs` lets them write what they
//! find, with `UPDATE_EXAMPLES=1`.

use std::path::Path;

use serde_json::{Value, json};

use crate::{ADMIN, House, OPERATOR};

/// Every answer in JSON, by its schema.
const EXAMPLES: [(&str, &str, &str); 18] = [
    ("Me", ADMIN, "/api/v1/usage/me"),
    ("Overview", ADMIN, "/api/v1/usage/overview"),
    ("Summary", ADMIN, "/api/v1/usage/summary"),
    ("ByDay", ADMIN, "/api/v1/usage/by-day"),
    ("ByUser", OPERATOR, "/api/v1/usage/by-user"),
    ("ByModel", ADMIN, "/api/v1/usage/by-model"),
    ("ByUserAndModel", ADMIN, "/api/v1/usage/by-user-and-model"),
    ("CallsPage", ADMIN, "/api/v1/usage/calls?limit=2"),
    ("AwaitingPage", ADMIN, "/api/v1/usage/awaiting"),
    ("Reconciled", OPERATOR, "/api/v1/usage/reconciliation"),
    ("StatementFacts", OPERATOR, "/api/v1/usage/statement"),
    ("Prices", ADMIN, "/api/v1/usage/prices"),
    ("Subscription", ADMIN, "/api/v1/usage/subscription"),
    ("TrackingSummary", ADMIN, "/api/v1/usage-tracking/my-organization/usage-summary"),
    ("TrackingByUser", ADMIN, "/api/v1/usage-tracking/my-organization/usage-by-user"),
    ("TrackingByModel", ADMIN, "/api/v1/usage-tracking/my-organization/usage-by-model"),
    ("TrackingSubscription", ADMIN, "/api/v1/usage-tracking/my-organization/subscription-billing"),
    ("TrackingPricing", ADMIN, "/api/v1/usage-tracking/model-pricing"),
];

#[tokio::test]
async fn every_example_is_an_answer() {
    let house = House::with_usage().await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    for (name, token, path) in EXAMPLES {
        let answer: Value = house.ask(path).bearer_auth(token).send().await.unwrap().json().await.unwrap();
        assert_kept(&folder.join(format!("{name}.json")), &answer);
    }
    let order = statement_order();
    assert_kept(&folder.join("StatementOrder.json"), &order);
    let url = format!("http://{}/api/v1/usage/statement", house.address);
    let answer = house.http.post(url).bearer_auth(OPERATOR).json(&order).send().await.unwrap();
    assert_kept(&folder.join("StatementDay.json"), &answer.json().await.unwrap());
}

/// The day of two of the house's calls, and one that went past the sidecar.
pub(crate) fn statement_order() -> Value {
    let generation = |generation_id: &str, at: &str, cost: &str, model: &str| {
        json!({
            "generation_id": generation_id, "at": at, "cost": cost, "model": model, "requests": 1,
            "external_user": "mai_client_63a4eb6d_user_986c0dc9",
            "tokens": { "prompt": 20, "completion": 2, "reasoning": null, "cached": null },
        })
    };
    json!({ "dry_run": true, "statement": {
        "day": "2026-11-21", "key_hashes": ["hash"], "fetched_at": "2026-11-22T13:00:00Z", "complete": true,
        "without_generation": "0",
        "generations": [
            generation("gen-1795301999-00000004", "2026-11-21T22:59:59Z", "0.5", "google/gemini-2.5-pro"),
            generation("gen-1795302000-00000005", "2026-11-21T23:00:00Z", "0.25", "openai/gpt-4o-mini"),
            generation("gen-1795302060-past0001", "2026-11-21T23:01:00Z", "0.125", "openai/gpt-4o-mini"),
        ],
    } })
}

#[test]
fn the_document_is_as_it_is_kept() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    assert_kept(&file, &usage_api::openapi_document());
}

fn assert_kept(file: &Path, value: &Value) {
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("UPDATE_EXAMPLES").is_some() {
        std::fs::write(file, &text).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    assert_eq!(kept, text, "{}; hint: cargo xtask docs", file.display());
}

/// No answer goes undocumented: each schema that a route names is there, with an example.
#[test]
fn the_document_shows_an_example_of_every_answer() {
    let document = usage_api::openapi_document();
    let mut named = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        let Some(json) = item.pointer("/get/responses/200/content/application~1json") else { continue };
        let Some(schema) = json["schema"]["$ref"].as_str() else { continue };
        assert!(document.pointer(schema.trim_start_matches('#')).is_some(), "{path}: {schema}");
        assert!(json["example"].is_object(), "{path} has no example");
        named += 1;
    }
    assert!(named > 20, "{named}");
}
