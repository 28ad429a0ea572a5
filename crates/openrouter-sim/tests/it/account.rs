//! Keys, rights and the catalogue.

use std::time::Duration;

use openrouter_sim::{DEFAULT_KEY, DEFAULT_MANAGEMENT_KEY, Knobs, Options, Simulator};
use serde_json::{Value, json};

use crate::client::{chat, exchange, manage, read, start, with_key};

#[tokio::test]
async fn each_kind_of_key_does_its_own_work() {
    let sim = start().await;
    let ask = |key: &'static str, method: &'static str, path: &'static str| {
        let sim = &sim;
        async move { with_key(sim, method, path, key, Some(&chat(false, &json!({})))).await }
    };
    let refused = ask(DEFAULT_MANAGEMENT_KEY, "POST", "/chat/completions").await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("x-generation-id").is_some() && refused.header("cf-ray").is_some());
    assert_eq!(ask(DEFAULT_KEY, "GET", "/activity").await.status, 403);
    assert_eq!(ask(DEFAULT_KEY, "POST", "/analytics/query").await.status, 403);
    assert_eq!(ask(DEFAULT_KEY, "GET", "/keys").await.status, 401);
    let unknown = ask("sk-or-v1-unknown", "POST", "/chat/completions").await;
    assert_eq!((unknown.status, unknown.text().contains("User not found.")), (401, true));
    let none = exchange(&sim, "GET /api/v1/key HTTP/1.1", b"").await;
    assert_eq!((none.status, none.text().contains("No cookie auth credentials found")), (401, true));
    assert_eq!(manage(&sim, "GET", "/key", None).await.json()["data"]["is_management_key"], true);
    assert_eq!(exchange(&sim, "GET /api/v1/models HTTP/1.1", b"").await.status, 200, "open to all");
    assert!(sim.truth().is_empty());
    sim.stop().await;
}

#[tokio::test]
async fn a_key_lives_and_dies() {
    let sim = start().await;
    let body = json!({"name": "alice", "limit": 0.00002, "limit_reset": "daily"});
    let made = manage(&sim, "POST", "/keys/", Some(&body)).await;
    assert_eq!(made.status, 201);
    let secret = made.json()["key"].as_str().unwrap().to_owned();
    let hash = made.json()["data"]["hash"].as_str().unwrap().to_owned();
    assert_eq!((secret.len(), hash.len()), (73, 64));
    let path = format!("/keys/{hash}");
    let shown = manage(&sim, "GET", &path, None).await;
    assert!(!shown.text().contains(&secret));
    assert!(made.text().contains(r#""limit":0.00002,"limit_remaining":0.00002,"#), "{}", made.text());

    let call = chat(false, &json!({}));
    let statuses = [
        with_key(&sim, "POST", "/chat/completions", &secret, Some(&call)).await.status,
        with_key(&sim, "POST", "/chat/completions", &secret, Some(&call)).await.status,
    ];
    assert_eq!(statuses, [200, 200], "spending may overshoot");
    let refused = with_key(&sim, "POST", "/chat/completions", &secret, Some(&call)).await;
    assert_eq!((refused.status, refused.text().contains("Key limit exceeded (daily limit)")), (403, true));
    let about = with_key(&sim, "GET", "/key", &secret, None).await;
    assert!(about.text().contains(r#""limit_remaining":-0.00001112,"#), "{}", about.text());
    assert_eq!(about.json()["data"]["effective_budget"]["scope"], "key_limit");
    sim.advance(Duration::from_hours(24));
    assert_eq!(
        with_key(&sim, "POST", "/chat/completions", &secret, Some(&call)).await.status,
        200,
        "a new day"
    );

    manage(&sim, "PATCH", &path, Some(&json!({"disabled": true, "limit": null}))).await;
    assert_eq!(with_key(&sim, "GET", "/key", &secret, None).await.status, 401);
    let names = |reply: Value| reply["data"].as_array().unwrap().len();
    assert_eq!(names(manage(&sim, "GET", "/keys", None).await.json()), 1);
    assert_eq!(names(manage(&sim, "GET", "/keys?include_disabled=true", None).await.json()), 2);
    assert_eq!(manage(&sim, "DELETE", &path, None).await.text(), r#"{"deleted":true}"#);
    assert_eq!(manage(&sim, "GET", &path, None).await.status, 404);
    sim.stop().await;
}

#[tokio::test]
async fn managing_keys_fails_and_answers_are_lost() {
    let sim = start().await;
    for (case, status) in [("429-platform", 429), ("500", 500), ("html-502", 502)] {
        sim.set_knobs(Knobs { keys_error: Some(case.to_owned()), ..Knobs::default() });
        assert_eq!(manage(&sim, "GET", "/keys", None).await.status, status);
        assert_eq!(manage(&sim, "POST", "/keys", Some(&json!({"name": "a"}))).await.status, status);
    }
    sim.set_knobs(Knobs { keys_answer_lost: Some(true), ..Knobs::default() });
    let lost = manage(&sim, "POST", "/keys", Some(&json!({"name": "b"}))).await;
    assert_eq!((lost.status, lost.text().contains("sk-or")), (504, false));
    let keys = manage(&sim, "GET", "/keys", None).await;
    assert!(keys.text().contains(r#""name":"b""#) && !keys.text().contains(r#""name":"a""#));
    sim.stop().await;
}

#[tokio::test]
async fn keys_come_in_pages_of_a_hundred() {
    let sim = start().await;
    for index in 0..104 {
        let body = json!({"name": format!("key {index}")});
        manage(&sim, "POST", "/keys", Some(&body)).await;
    }
    let expiring = json!({"name": "old", "expires_at": "2020-01-01T00:00:00Z", "external": {"user": "u", "api_key": "0123456789abcdef0123456789abcdef"}});
    assert_eq!(manage(&sim, "POST", "/keys", Some(&expiring)).await.status, 201);
    assert_eq!(with_key(&sim, "GET", "/key", "0123456789abcdef0123456789abcdef", None).await.status, 401);
    let page = manage(&sim, "GET", "/keys", None).await.json();
    assert_eq!((page["data"].as_array().unwrap().len(), &page["data"][0]["name"]), (100, &json!("key 103")));
    let rest = manage(&sim, "GET", "/keys?offset=100", None).await.json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 5, "four, and the default key");
    let all = manage(&sim, "GET", "/keys?offset=100&include_expired=true", None).await.json();
    assert_eq!(all["data"].as_array().unwrap().len(), 6);
    for bad in [json!({}), json!({"name": ""}), json!({"name": "a", "expires_at": "2020-01-01T00:00Z"})] {
        let refused = manage(&sim, "POST", "/keys", Some(&bad)).await;
        assert_eq!((refused.status, &refused.json()["error"]["name"]), (400, &json!("ZodError")));
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_catalogue_is_whole_or_in_pages() {
    let sim = start().await;
    let whole = read(&sim, "/models").await.json();
    let total = whole["total_count"].as_u64().unwrap();
    assert_eq!(whole["data"].as_array().unwrap().len() as u64, total);
    assert_eq!(whole["links"]["next"], Value::Null);
    let page = read(&sim, "/models?offset=0&limit=4").await.json();
    assert_eq!(page["data"].as_array().unwrap().len(), 4);
    assert_eq!(page["links"]["next"], "/api/v1/models?offset=4&limit=4");
    assert!(
        read(&sim, "/models?output_modalities=all").await.json()["total_count"].as_u64().unwrap() > total
    );
    let endpoints = read(&sim, "/models/openai/gpt-5/endpoints").await.json();
    assert_eq!(endpoints["data"]["endpoints"][0]["pricing"]["prompt"], "0.00000125");
    assert_eq!(read(&sim, "/models/no/such/endpoints").await.status, 404);
    sim.stop().await;
}

#[tokio::test]
async fn external_users_are_registered() {
    let sim = start().await;
    let body = json!({"user": "owui:alice"});
    assert_eq!(manage(&sim, "POST", "/external-users", Some(&body)).await.status, 201);
    assert_eq!(manage(&sim, "POST", "/external-users", Some(&body)).await.status, 409);
    let path = "/external-users/owui%3Aalice";
    let inactive = manage(&sim, "PATCH", path, Some(&json!({"is_active": false}))).await.json();
    assert_eq!(inactive["data"]["is_active"], false);
    assert_eq!(manage(&sim, "GET", "/external-users", None).await.json()["total_count"], 0);
    let all = manage(&sim, "GET", "/external-users?include_inactive=true", None).await.json();
    assert_eq!(all["total_count"], 1);
    assert_eq!(manage(&sim, "DELETE", path, None).await.status, 204);
    assert_eq!(manage(&sim, "GET", path, None).await.status, 404);
    sim.stop().await;
}

#[tokio::test]
async fn a_taken_address_and_a_spoilt_bill_are_errors() {
    let sim = start().await;
    let listen = sim.origin().strip_prefix("http://").unwrap().parse().unwrap();
    assert!(Simulator::start(Options { listen, ..Options::default() }).await.is_err());
    let folder = tempfile::tempdir().unwrap();
    let truth_file = folder.path().join("truth.jsonl");
    std::fs::write(&truth_file, "not a charge\n").unwrap();
    let options = Options { truth_file: Some(truth_file), ..Options::default() };
    assert!(Simulator::start(options).await.is_err());
    sim.stop().await;
}
