//! Every fault does what its name says.

use std::time::{Duration, Instant};

use openrouter_sim::Knobs;
use serde_json::{Value, json};

use crate::client::{Reply, charged, chat, exchange, post, read, start};

async fn stream(sim: &openrouter_sim::Simulator, knobs: &Value) -> Reply {
    post(sim, "/chat/completions", &chat(true, knobs)).await
}

#[tokio::test]
async fn a_healthy_stream_is_framed_as_on_the_wire() {
    let sim = start().await;
    let reply = stream(&sim, &json!({"comments": 2, "chunks": 3})).await;
    assert!(
        reply
            .text()
            .starts_with(": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\ndata: {\"id\":\"gen-")
    );
    assert!(reply.text().ends_with("}\n\ndata: [DONE]\n\n"));
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert!(reply.header("cf-ray").is_some() && reply.header("content-length").is_none());
    let events = reply.events();
    assert_eq!(events.len(), 5, "three of content, the finish, the finish again with usage");
    assert_eq!(events[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[4]["choices"][0]["finish_reason"], "stop");
    assert!(events[3].get("usage").is_none());
    assert_eq!(events[4]["usage"]["total_tokens"], 22);
    sim.stop().await;
}

#[tokio::test]
async fn usage_comes_in_all_its_shapes() {
    let sim = start().await;
    let empty = stream(&sim, &json!({"usage": "empty_choices"})).await.events();
    assert_eq!(empty.last().unwrap()["choices"], json!([]));
    let null = stream(&sim, &json!({"usage": "null_finish"})).await.events();
    assert_eq!(null.last().unwrap()["choices"][0]["finish_reason"], Value::Null);
    let none = stream(&sim, &json!({"usage": "none"})).await;
    assert!(!none.text().contains("usage"));
    let twice = stream(&sim, &json!({"usage": "twice"})).await;
    assert!(twice.text().contains(r#""cost":0.00000778,"#) && twice.text().contains(r#""cost":0.00001556,"#));
    let plain = post(&sim, "/chat/completions", &chat(false, &json!({"usage": "none"}))).await;
    assert!(plain.json().get("usage").is_none());
    assert!(sim.truth().iter().all(|charge| charge.cost_pico_usd == 15_560_000));
    sim.stop().await;
}

#[tokio::test]
async fn the_cost_can_be_told_wrong_while_the_bill_stays_right() {
    let sim = start().await;
    for (cost, told) in [("null", "\"cost\":null"), ("1e", "\"cost\":1e,"), ("\"0.5\"", "\"cost\":\"0.5\"")] {
        assert!(stream(&sim, &json!({"cost": cost})).await.text().contains(told), "{cost}");
    }
    assert!(!stream(&sim, &json!({"cost": "missing"})).await.text().contains("\"cost\":"));
    assert!(sim.truth().iter().all(|charge| charge.cost == "0.00001556"));
    stream(&sim, &json!({"true_cost": "0.000000000001"})).await;
    assert_eq!(sim.truth().last().unwrap().cost_pico_usd, 1);
    sim.stop().await;
}

#[tokio::test]
async fn refusals_cost_nothing_and_have_their_bodies() {
    let sim = start().await;
    let cases = [
        ("402-credits", 402, "requires more credits"),
        ("402-in-flight", 402, "in_flight_budget_exhausted"),
        ("403-key-limit", 403, "Key limit exceeded (monthly limit)"),
        ("429-upstream", 429, "upstream_provider_shared_pool"),
        ("429-platform", 429, "X-RateLimit-Reset"),
        ("500", 500, "Internal Server Error"),
        ("502", 502, "provider_unavailable"),
        ("503", 503, "provider_unavailable"),
        ("529", 529, "provider_overloaded"),
        ("html-404", 404, "<!DOCTYPE html>"),
        ("html-200", 200, "<!DOCTYPE html>"),
    ];
    for (case, status, words) in cases {
        let reply = stream(&sim, &json!({"error": case})).await;
        assert_eq!(reply.status, status, "{case}");
        assert!(reply.text().contains(words), "{case}: {}", reply.text());
        assert!(reply.header("cf-ray").is_some());
        assert_eq!(reply.header("x-generation-id").is_some(), !case.starts_with("html"), "{case}");
        if let Some(id) = reply.header("x-generation-id") {
            assert_eq!(read(&sim, &format!("/generation?id={id}")).await.status, 404);
        }
    }
    let in_flight = stream(&sim, &json!({"error": "402-in-flight"})).await;
    assert_eq!(in_flight.header("retry-after"), Some("5"));
    assert!(sim.truth().is_empty());
    assert_eq!(stream(&sim, &json!({"error": "no such case"})).await.status, 400);
    assert_eq!(stream(&sim, &json!({"no_such_knob": 1})).await.status, 400);
    sim.stop().await;
}

#[tokio::test]
async fn failures_after_the_head_are_recorded_and_free() {
    let sim = start().await;
    let reply = stream(&sim, &json!({"chunks": 4, "midstream_error_after": 2})).await;
    let events = reply.events();
    assert_eq!(events.len(), 3);
    assert_eq!(events[2]["choices"][0]["finish_reason"], "error");
    assert_eq!(events[2]["error"]["metadata"]["error_type"], "provider_unavailable");
    assert!(reply.complete && !reply.text().contains("[DONE]") && !reply.text().contains("usage"));
    let id = reply.header("x-generation-id").unwrap();
    let record = read(&sim, &format!("/generation?id={id}")).await.json();
    assert_eq!(
        (&record["data"]["total_cost"], &record["data"]["finish_reason"]),
        (&json!(0), &json!("error"))
    );

    let in_200 = stream(&sim, &json!({"error": "error-in-200"})).await;
    assert_eq!((in_200.status, in_200.json().as_object().unwrap().len()), (200, 1));
    let plain = post(&sim, "/chat/completions", &chat(false, &json!({"midstream_error_after": 0}))).await;
    assert_eq!(plain.json()["choices"][0]["finish_reason"], "error");
    assert_eq!(sim.truth().iter().map(|charge| charge.cost_pico_usd).collect::<Vec<_>>(), [0, 0, 0]);
    sim.stop().await;
}

#[tokio::test]
async fn ids_can_be_withheld_and_repeated() {
    let sim = start().await;
    let reply = stream(&sim, &json!({"generation_header": false, "generation_id": "gen-1-a"})).await;
    assert!(reply.header("x-generation-id").is_none());
    assert_eq!(reply.events()[0]["id"], "gen-1-a");
    let reply = stream(&sim, &json!({"body_id": false, "generation_id": "gen-1-a"})).await;
    assert_eq!(reply.header("x-generation-id"), Some("gen-1-a"));
    assert!(reply.events().iter().all(|event| event.get("id").is_none()));
    assert_eq!(sim.truth().iter().filter(|charge| charge.generation_id == "gen-1-a").count(), 2);
    sim.stop().await;
}

#[tokio::test]
async fn the_wire_can_be_cut_to_pieces() {
    let sim = start().await;
    let reply = stream(&sim, &json!({"frame_bytes": 7, "crlf": true})).await;
    let (last, before) = reply.chunks.split_last().unwrap();
    assert!(before.iter().all(|length| *length <= 7) && *last <= 7 && reply.complete);
    assert!(reply.text().ends_with("data: [DONE]\r\n\r\n"));
    assert!(stream(&sim, &json!({"done": false})).await.text().ends_with("}\n\n"));
    sim.stop().await;
}

#[tokio::test]
async fn delays_delay() {
    let sim = start().await;
    let begin = Instant::now();
    stream(
        &sim,
        &json!({"head_delay_ms": 20, "first_chunk_delay_ms": 20, "chunk_delay_ms": 10, "chunks": 3}),
    )
    .await;
    assert!(begin.elapsed() >= Duration::from_millis(60), "{:?}", begin.elapsed());
    sim.stop().await;
}

#[tokio::test]
async fn a_generation_settles_late_on_the_simulators_clock() {
    let sim = start().await;
    let knobs = json!({"settle_after_ms": 600_000, "generation_misses": 1});
    let reply = stream(&sim, &knobs).await;
    let path = format!("/generation?id={}", reply.header("x-generation-id").unwrap());
    let early = read(&sim, &path).await;
    assert_eq!(early.status, 404);
    assert!(early.text().contains("not found\",\"code\":404"));
    sim.advance(Duration::from_mins(10));
    let statuses = [read(&sim, &path).await.status, read(&sim, &path).await.status];
    assert_eq!(statuses, [404, 200], "one miss although it is due");

    for (fault, status) in [("429", 429), ("500", 500), ("html", 502)] {
        sim.set_knobs(Knobs { generation_error: Some(fault.to_owned()), ..Knobs::default() });
        assert_eq!(read(&sim, &path).await.status, status);
    }
    sim.set_knobs(Knobs::default());
    assert_eq!(read(&sim, &path).await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn counters_lag_and_own_keys_pay() {
    let sim = start().await;
    sim.set_knobs(Knobs { key_counter_lag_ms: Some(60_000), ..Knobs::default() });
    let reply = stream(&sim, &json!({"byok": true})).await;
    assert!(reply.text().contains(r#""cost":0,"is_byok":true"#));
    stream(&sim, &json!({})).await;
    assert!(read(&sim, "/key").await.text().contains(r#""usage":0,"#));
    sim.advance(Duration::from_secs(61));
    let key = read(&sim, "/key").await;
    assert!(
        key.text().contains(r#""usage":0.00001556,"#) && key.text().contains(r#""byok_usage":0.00001556,"#)
    );
    sim.stop().await;
}

#[tokio::test]
async fn content_provider_and_background_tasks() {
    let sim = start().await;
    let reply =
        post(&sim, "/chat/completions", &chat(false, &json!({"content": "zażółć", "provider": "Groq"})))
            .await;
    assert_eq!(reply.json()["choices"][0]["message"]["content"], "zażółć");
    assert_eq!(reply.json()["provider"], "Groq");
    let pieces = stream(&sim, &json!({"content": "zażółć gęślą", "chunks": 30})).await.events();
    let spoken: String =
        pieces.iter().map(|event| event["choices"][0]["delta"]["content"].as_str().unwrap()).collect();
    assert_eq!(spoken, "zażółć gęślą");
    let mut body = chat(false, &json!({}));
    body["messages"][0]["content"] = json!("### Task:\nGenerate a concise, 3-5 word title");
    let answer = post(&sim, "/chat/completions", &body).await.json();
    let title: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(title["title"].is_string());
    sim.stop().await;
}

#[tokio::test]
async fn levers_work_over_http() {
    let sim = start().await;
    let put = exchange(&sim, "PUT /sim/knobs HTTP/1.1", br#"{"error":"502"}"#).await;
    assert_eq!((put.status, put.text()), (200, r#"{"error":"502"}"#));
    assert_eq!(stream(&sim, &json!({})).await.status, 502);
    assert_eq!(exchange(&sim, "PUT /sim/knobs HTTP/1.1", br#"{"eror":"502"}"#).await.status, 400);
    assert_eq!(exchange(&sim, "DELETE /sim/knobs HTTP/1.1", b"").await.status, 204);
    assert_eq!(stream(&sim, &json!({})).await.status, 200);
    charged(&sim, 1).await;
    let before_ms = sim.now_ms();
    assert_eq!(exchange(&sim, "POST /sim/clock HTTP/1.1", br#"{"advance_ms":3600000}"#).await.status, 200);
    assert!(sim.now_ms() >= before_ms + 3_600_000);
    let truth = exchange(&sim, "GET /sim/truth HTTP/1.1", b"").await.json();
    assert_eq!(truth, serde_json::to_value(sim.truth()).unwrap());
    let requests = exchange(&sim, "GET /sim/requests HTTP/1.1", b"").await.json();
    assert_eq!(requests, serde_json::to_value(sim.requests()).unwrap());
    assert_eq!(exchange(&sim, "GET /sim/health HTTP/1.1", b"").await.status, 200);
    sim.stop().await;
}

#[tokio::test]
async fn a_body_can_come_slowly_and_without_an_end() {
    let sim = start().await;
    let began = Instant::now();
    let slow = json!({"chunks": 1, "content": "hello", "frame_bytes": 100, "frame_delay_ms": 10});
    let reply = stream(&sim, &slow).await;
    let pauses = u32::try_from(reply.text().len() / 100).unwrap();
    assert!(pauses > 5 && began.elapsed() >= Duration::from_millis(10) * pauses);
    sim.stop().await;
}
