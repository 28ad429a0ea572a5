//! The bill is complete, exact and told everywhere alike.

use std::time::Duration;

use openrouter_sim::{Charge, DEFAULT_KEY, Knobs, Options, Simulator};
use serde_json::json;

use crate::client::{chat, manage, post, read, start};

#[tokio::test]
async fn a_charge_is_told_alike_by_body_generation_key_and_truth() {
    let sim = start().await;
    let reply = post(&sim, "/chat/completions", &chat(false, &json!({}))).await;
    let [charge] = sim.truth().try_into().unwrap();
    // 3 tokens in at 120,000 and 19 out at 800,000 pico-dollars.
    assert_eq!((charge.prompt_tokens, charge.completion_tokens), (3, 19));
    assert_eq!((charge.cost_pico_usd, charge.cost.as_str()), (15_560_000, "0.00001556"));
    assert_eq!(charge.external_user.as_deref(), Some("org_user_1"));
    assert!(!charge.cancelled && !charge.streamed);
    assert_eq!(reply.header("x-generation-id"), Some(charge.generation_id.as_str()));
    assert_eq!(reply.json()["id"], charge.generation_id.as_str());
    assert!(reply.text().contains(r#""cost":0.00001556,"#));

    let generation = read(&sim, &format!("/generation?id={}", charge.generation_id)).await;
    assert!(generation.text().contains(r#""total_cost":0.00001556,"#));
    let record = &generation.json()["data"];
    assert_eq!(record["external_user"], "org_user_1");
    assert_eq!(record["model"], "example/small-model-20260901");
    assert_eq!(record["finish_reason"], "stop");
    assert!(read(&sim, "/key").await.text().contains(r#""usage":0.00001556,"#));
    assert!(read(&sim, "/credits").await.text().contains(r#""total_usage":0.00001556}"#));
    sim.stop().await;
}

#[tokio::test]
async fn tiny_costs_have_an_exponent_in_json_and_none_in_the_truth() {
    let sim = start().await;
    let body = json!({"model": "openai/text-embedding-3-small", "input": "sixteen letters."});
    let reply = post(&sim, "/embeddings", &body).await;
    assert!(reply.text().contains(r#""cost":8e-8,"#), "{}", reply.text());
    assert_eq!(sim.truth()[0].cost, "0.00000008");
    assert_eq!(sim.truth()[0].cost_pico_usd, 80_000);
    let id = reply.header("x-generation-id").unwrap();
    let generation = read(&sim, &format!("/generation?id={id}")).await;
    assert!(generation.text().contains(r#""total_cost":8e-8,"#));
    sim.stop().await;
}

#[tokio::test]
async fn prices_give_twelve_decimal_places_and_free_is_free() {
    let sim = start().await;
    let mut body = chat(false, &json!({"prompt_tokens": 7, "completion_tokens": 3}));
    body["model"] = json!("deepseek/deepseek-chat-v3.1");
    post(&sim, "/chat/completions", &body).await;
    body["model"] = json!("meta-llama/llama-3.3-70b-instruct:free");
    let free = post(&sim, "/chat/completions", &body).await;
    let costs: Vec<String> = sim.truth().into_iter().map(|charge| charge.cost).collect();
    assert_eq!(costs, ["0.000003799977", "0"]);
    assert!(free.text().contains(r#""cost":0,"#));
    sim.stop().await;
}

#[tokio::test]
async fn fallback_models_are_billed_as_served() {
    let sim = start().await;
    let mut body = chat(false, &json!({}));
    body["model"] = json!("nobody/nothing");
    body["models"] = json!(["openai/gpt-5-mini", "example/small-model"]);
    let reply = post(&sim, "/chat/completions", &body).await;
    assert_eq!(reply.json()["model"], "openai/gpt-5-mini-2026-08-07");
    assert_eq!(sim.truth()[0].model, "openai/gpt-5-mini-2026-08-07");
    sim.stop().await;
}

#[tokio::test]
async fn the_truth_file_has_every_charge_and_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let truth_file = folder.path().join("truth.jsonl");
    let options = || Options { truth_file: Some(truth_file.clone()), ..Options::default() };
    let sim = Simulator::start(options()).await.unwrap();
    post(&sim, "/chat/completions", &chat(true, &json!({}))).await;
    post(&sim, "/chat/completions", &chat(false, &json!({}))).await;
    let text = std::fs::read_to_string(&truth_file).unwrap();
    let lines: Vec<Charge> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, sim.truth());
    sim.stop().await;

    let sim = Simulator::start(options()).await.unwrap();
    assert_eq!(sim.truth(), lines);
    let generation = read(&sim, &format!("/generation?id={}", lines[0].generation_id)).await;
    assert_eq!(generation.status, 200);
    post(&sim, "/chat/completions", &chat(false, &json!({}))).await;
    assert_eq!(std::fs::read_to_string(&truth_file).unwrap().lines().count(), 3);
    sim.stop().await;
}

#[tokio::test]
async fn requests_are_logged_raw_and_without_keys() {
    let sim = start().await;
    post(&sim, "/chat/completions", &chat(false, &json!({}))).await;
    read(&sim, "/key?a=%2e%2E//").await;
    read(&sim, "/nowhere").await;
    let seen = sim.requests();
    let paths: Vec<&str> = seen.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/api/v1/chat/completions", "/api/v1/key?a=%2e%2E//", "/api/v1/nowhere"]);
    assert_eq!(seen[0].user.as_deref(), Some("org_user_1"));
    assert_eq!(seen[0].model.as_deref(), Some("example/small-model"));
    assert!(!serde_json::to_string(&seen).unwrap().contains(DEFAULT_KEY));
    let key_hash = sim.truth()[0].key_hash.clone();
    assert!(seen[0].headers.contains(&("authorization".to_owned(), key_hash)));
    sim.stop().await;
}

#[tokio::test]
async fn analytics_and_activity_are_the_truth_grouped() {
    let sim = start().await;
    for user in ["alice", "bob", "alice"] {
        let mut body = chat(false, &json!({}));
        body["user"] = json!(user);
        post(&sim, "/chat/completions", &body).await;
    }
    assert_eq!(manage(&sim, "GET", "/activity", None).await.json()["data"], json!([]), "today is not over");
    let query = json!({
        "metrics": ["total_usage", "request_count"],
        "dimensions": ["external_user"],
        "order_by": {"field": "request_count", "direction": "desc"},
    });
    let rows = manage(&sim, "POST", "/analytics/query", Some(&query)).await;
    let expected = concat!(
        r#"[{"external_user":"alice","total_usage":0.00003112,"request_count":"2"},"#,
        r#"{"external_user":"bob","total_usage":0.00001556,"request_count":"1"}]"#
    );
    assert!(rows.text().contains(expected), "{}", rows.text());

    sim.advance(Duration::from_hours(24));
    let activity = manage(&sim, "GET", "/activity", None).await;
    assert!(activity.text().contains(r#""usage":0.00004668,"#), "{}", activity.text());
    assert_eq!(activity.json()["data"][0]["requests"], 3);
    sim.stop().await;
}

#[tokio::test]
async fn analytics_fail_are_cut_and_change_their_mind() {
    let sim = start().await;
    for _ in 0..3 {
        post(&sim, "/chat/completions", &chat(false, &json!({}))).await;
    }
    let query = json!({ "metrics": ["credits_usage"], "dimensions": ["generation_id"] });
    let ask = async |knobs: Knobs| {
        sim.set_knobs(knobs);
        manage(&sim, "POST", "/analytics/query", Some(&query)).await
    };
    let whole = ask(Knobs::default()).await.json();
    assert_eq!(
        (whole["data"]["data"].as_array().unwrap().len(), &whole["data"]["metadata"]["truncated"]),
        (3, &json!(false))
    );
    let cut = ask(Knobs { analytics_most_rows: Some(2), ..Knobs::default() }).await.json();
    assert_eq!(
        (cut["data"]["data"].as_array().unwrap().len(), &cut["data"]["metadata"]["truncated"]),
        (2, &json!(true))
    );
    let stated = ask(Knobs { stated_cost: Some("0.25".to_owned()), ..Knobs::default() }).await;
    assert_eq!(stated.text().matches(r#""credits_usage":0.25"#).count(), 3);
    assert_eq!(ask(Knobs { analytics_longest_ms: Some(1_000), ..Knobs::default() }).await.status, 408);
    let error =
        Knobs { analytics_error: Some("429".into()), analytics_failures: Some(1), ..Knobs::default() };
    assert_eq!(ask(error).await.status, 429);
    assert_eq!(manage(&sim, "POST", "/analytics/query", Some(&query)).await.status, 200);
    let mut long_ago = query.clone();
    long_ago["time_range"] = json!({ "start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z" });
    assert_eq!(manage(&sim, "POST", "/analytics/query", Some(&long_ago)).await.status, 400);
    sim.stop().await;
}
