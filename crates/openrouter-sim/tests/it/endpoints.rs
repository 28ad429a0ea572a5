//! Each billed endpoint: where its id, usage and cost are.

use serde_json::{Value, json};

use crate::client::{exchange, post, read, start};

#[tokio::test]
async fn every_endpoint_bills_once_and_tells_where_it_should() {
    let sim = start().await;
    let messages = json!([{"role": "user", "content": "hi"}]);
    let calls = [
        ("completions", json!({"model": "openai/gpt-5", "prompt": "hi"}), "gen-", "/usage/cost"),
        ("responses", json!({"model": "openai/gpt-5", "input": "hi"}), "gen-", "/usage/cost"),
        ("messages", json!({"model": "openai/gpt-5", "messages": messages}), "gen-", "/usage/cost"),
        (
            "embeddings",
            json!({"model": "openai/text-embedding-3-small", "input": ["a", "b"]}),
            "gen-emb-",
            "/usage/cost",
        ),
        (
            "rerank",
            json!({"model": "cohere/rerank-v3.5", "query": "q", "documents": ["a", "b"]}),
            "gen-",
            "/usage/cost",
        ),
        (
            "images",
            json!({"model": "google/gemini-2.5-flash-image", "prompt": "a cat"}),
            "gen-img-",
            "/usage/cost",
        ),
        (
            "audio/transcriptions",
            json!({"model": "openai/whisper-1", "input_audio": {"data": "AAAA", "format": "wav"}}),
            "gen-stt-",
            "/usage/cost",
        ),
    ];
    for (endpoint, body, prefix, cost_at) in calls {
        let reply = post(&sim, &format!("/{endpoint}"), &body).await;
        assert_eq!(reply.status, 200, "{endpoint}: {}", reply.text());
        let charge = sim.truth().pop().unwrap();
        assert_eq!(charge.endpoint, endpoint);
        assert_eq!(reply.header("x-generation-id"), Some(charge.generation_id.as_str()));
        assert!(charge.generation_id.starts_with(prefix), "{}", charge.generation_id);
        assert!(charge.cost_pico_usd > 0);
        let told = reply.json().pointer(cost_at).cloned().unwrap_or_else(|| panic!("{endpoint} has no cost"));
        let expected: Value = serde_json::from_str(&charge.cost).unwrap();
        assert_eq!(told.as_f64(), expected.as_f64(), "{endpoint}");
        assert_eq!(read(&sim, &format!("/generation?id={}", charge.generation_id)).await.status, 200);
    }
    sim.stop().await;
}

#[tokio::test]
async fn streams_of_responses_and_messages_carry_the_cost_at_their_end() {
    let sim = start().await;
    let body = json!({"model": "openai/gpt-5", "input": "hi", "stream": true});
    let reply = post(&sim, "/responses", &body).await;
    let events = reply.events();
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert!(last["response"]["usage"]["cost"].is_number());
    assert_eq!(events[0]["response"]["usage"], Value::Null);
    let numbers: Vec<i64> = events.iter().map(|event| event["sequence_number"].as_i64().unwrap()).collect();
    assert!(numbers.iter().zip(0..).all(|(number, expected)| *number == expected));
    assert!(reply.text().ends_with("data: [DONE]\n\n"));

    let messages = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": "openai/gpt-5", "messages": messages, "stream": true});
    let reply = post(&sim, "/messages", &body).await;
    assert!(reply.text().starts_with("event: message_start\ndata: {"));
    assert!(reply.text().ends_with(
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\nevent: data\ndata: [DONE]\n\n"
    ));
    let delta = reply.events().into_iter().find(|event| event["type"] == "message_delta").unwrap();
    assert!(delta["usage"]["cost"].is_number());

    let body = json!({"model": "google/gemini-2.5-flash-image", "prompt": "a cat", "stream": true, "sim": {"comments": 1}});
    let reply = post(&sim, "/images", &body).await;
    assert!(reply.text().starts_with(": \n\n"));
    assert!(reply.events().last().unwrap()["usage"]["cost"].is_number());
    assert_eq!(reply.header("x-provider-name"), Some("Google"));
    sim.stop().await;
}

#[tokio::test]
async fn failures_of_responses_and_messages_have_their_own_shape() {
    let sim = start().await;
    let faults = json!({"midstream_error_after": 1});
    let body = json!({"model": "openai/gpt-5", "input": "hi", "stream": true, "sim": faults});
    let events = post(&sim, "/responses", &body).await.events();
    assert_eq!(events.last().unwrap()["type"], "response.failed");
    assert_eq!(events.last().unwrap()["response"]["error"]["code"], "server_error");
    let messages = json!([{"role": "user", "content": "hi"}]);
    let mut body = json!({"model": "openai/gpt-5", "messages": messages, "stream": true, "sim": faults});
    assert_eq!(post(&sim, "/messages", &body).await.events().last().unwrap()["type"], "error");
    assert_eq!(sim.truth().iter().map(|charge| charge.cost_pico_usd).sum::<i64>(), 0);
    body["sim"] = json!({"error": "429-upstream"});
    let refused = post(&sim, "/messages", &body).await;
    assert_eq!((refused.status, &refused.json()["error"]["type"]), (429, &json!("rate_limit_error")));
    sim.stop().await;
}

#[tokio::test]
async fn speech_is_sound_and_its_cost_is_in_the_record_alone() {
    let sim = start().await;
    let body = json!({"model": "openai/gpt-4o-mini-tts", "input": "say it", "voice": "alloy", "response_format": "mp3"});
    let reply = post(&sim, "/audio/speech", &body).await;
    assert_eq!(reply.header("content-type"), Some("audio/mpeg"));
    let id = reply.header("x-generation-id").unwrap();
    assert!(id.starts_with("gen-tts-"));
    let record = read(&sim, &format!("/generation?id={id}")).await.json();
    assert_eq!(record["data"]["api_type"], "tts");
    assert!(record["data"]["total_cost"].as_f64().unwrap() > 0.0);
    sim.stop().await;
}

#[tokio::test]
async fn transcription_takes_the_form_of_openai_clients() {
    let sim = start().await;
    let head = format!(
        "POST /api/v1/audio/transcriptions HTTP/1.1\r\nauthorization: Bearer {}\r\ncontent-type: multipart/form-data; boundary=XX",
        openrouter_sim::DEFAULT_KEY
    );
    let body = "--XX\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nopenai/whisper-1\r\n--XX\r\nContent-Disposition: form-data; name=\"user\"\r\n\r\nalice\r\n--XX\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n--XX--\r\n";
    let reply = exchange(&sim, &head, body.as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(sim.truth()[0].external_user.as_deref(), Some("alice"));
    assert_eq!(sim.requests()[0].model.as_deref(), Some("openai/whisper-1"));
    sim.stop().await;
}

#[tokio::test]
async fn what_cannot_be_served_is_refused() {
    let sim = start().await;
    let unknown = post(&sim, "/chat/completions", &json!({"model": "nope/none", "messages": []})).await;
    assert_eq!((unknown.status, unknown.text().contains("nope/none is not a valid model ID")), (400, true));
    let empty = post(&sim, "/chat/completions", &json!({"model": "openai/gpt-5", "messages": []})).await;
    assert_eq!(empty.status, 400);
    let wrong = post(&sim, "/embeddings", &json!({"model": "openai/gpt-5", "input": "a"})).await;
    assert_eq!(wrong.status, 404);
    assert_eq!(post(&sim, "/chat/completions", &json!("text")).await.status, 400);
    let nowhere = post(&sim, "/nowhere", &json!({})).await;
    assert_eq!((nowhere.status, nowhere.text().starts_with("<!DOCTYPE html>")), (404, true));
    assert_eq!(read(&sim, "/chat/completions").await.status, 404);
    assert!(sim.truth().is_empty());
    sim.stop().await;
}
