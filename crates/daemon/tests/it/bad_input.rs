//! Bad input and a bad upstream: a clear error in OpenAI's shape, and nothing lost.

use serde_json::{Value, json};

use crate::{House, TOKEN, eventually};

/// The error's message; the shape is OpenAI's.
async fn refused(answer: reqwest::Response, status: u16) -> String {
    let found = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    assert_eq!(found, status, "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    let error = body.get("error").unwrap();
    assert_eq!(error["code"], status, "{body}");
    assert!(error["type"].is_string(), "{body}");
    error["message"].as_str().unwrap().to_owned()
}

async fn assert_nothing_was_sent(house: &House) {
    assert_eq!(house.simulator.truth(), []);
    assert_eq!(house.all_settled().await.entries, 0);
    assert!(house.simulator.requests().iter().all(|seen| seen.method == "GET"));
}

#[tokio::test]
async fn keys() {
    let house = House::new().await;
    let send = |key: Option<&str>| {
        let request = house.http.post(house.url("chat/completions")).json(&json!({ "messages": [] }));
        match key {
            Some(key) => request.bearer_auth(key).send(),
            None => request.send(),
        }
    };
    assert!(refused(send(None).await.unwrap(), 401).await.contains("no API key"));
    for key in ["wrong", "sk-or-v1-wrong", "proxy-token-of-the-test", "proxy-token-of-the-testsX"] {
        assert!(refused(send(Some(key)).await.unwrap(), 401).await.contains("not the one"), "{key}");
    }
    assert_nothing_was_sent(&house).await;
}

#[tokio::test]
async fn a_typed_key_is_checked_before_it_is_learned() {
    let house = House::with(&[("OPENROUTER_API_KEY", "")]).await;
    let send = |key: String| {
        let request = house.http.post(house.url("chat/completions")).bearer_auth(key);
        request.json(&crate::chat_body(false, &json!({}))).send()
    };
    assert!(refused(send(TOKEN.to_owned()).await.unwrap(), 503).await.contains("no OpenRouter key"));
    assert!(refused(send("hunter2".to_owned()).await.unwrap(), 401).await.contains("not the one"));
    for _ in 0..3 {
        refused(send(format!("sk-or-v1-{}", "7".repeat(64))).await.unwrap(), 401).await;
    }
    let asked = house.simulator.requests().iter().filter(|seen| seen.path.ends_with("/key")).count();
    assert_eq!(asked, 1);
    let management = openrouter_sim::DEFAULT_MANAGEMENT_KEY.to_owned();
    assert!(refused(send(management).await.unwrap(), 401).await.contains("management key"));
    let (status, health) = house.health().await;
    assert_eq!((status, health["status"].as_str()), (200, Some("degraded")));

    let learned = send(openrouter_sim::DEFAULT_KEY.to_owned()).await.unwrap();
    assert!(learned.status().is_success());
    // With the key known, the token is enough, and polling works by itself.
    assert!(send(TOKEN.to_owned()).await.unwrap().status().is_success());
    house.assert_books_are_the_bill().await;
    eventually("a poll with the learned key", async || house.health().await.1["status"] == "ok").await;
}

#[tokio::test]
async fn paths_and_bodies() {
    let house = House::new().await;
    let get = house.http.get(house.url("keys")).bearer_auth(TOKEN).send().await.unwrap();
    assert!(refused(get, 404).await.contains("not offered"));
    let body = |text: &'static str| house.post("chat/completions", &json!({})).body(text).send();
    assert!(refused(body("{\"messages\": [").await.unwrap(), 400).await.contains("ends too early"));
    assert!(refused(body("[]").await.unwrap(), 400).await.contains("not a JSON object"));
    assert!(refused(body("").await.unwrap(), 400).await.contains("not a JSON object"));
    let large = vec![b' '; 33 * 1024 * 1024];
    let told = house.post("chat/completions", &json!({})).body(large.clone()).send().await.unwrap();
    assert!(refused(told, 413).await.contains("32 MiB"));
    let pieces: Vec<_> =
        large.chunks(1024 * 1024).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let untold = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    let untold = house.post("chat/completions", &json!({})).body(untold).send().await.unwrap();
    assert!(refused(untold, 413).await.contains("32 MiB"));
    // A wrong key with a large body is told as well, and not by a reset connection.
    let wrong =
        house.http.post(house.url("chat/completions")).bearer_auth("wrong").body(large).send().await.unwrap();
    assert!(refused(wrong, 401).await.contains("not the one"));
    assert_nothing_was_sent(&house).await;
}

#[tokio::test]
async fn upstream_down() {
    let house = House::with(&[("OPENROUTER_HOST", "http://127.0.0.1:9/api/v1")]).await;
    let message = refused(house.chat(false, &json!({})).send().await.unwrap(), 502).await;
    assert!(message.contains("nothing was charged"), "{message}");
    let models = house.http.get(house.url("models")).bearer_auth(TOKEN).send().await.unwrap();
    assert!(refused(models, 502).await.contains("cannot be asked for this list"));
    assert_eq!(house.all_settled().await.entries, 0);
    eventually("the health tells", async || {
        let (status, health) = house.health().await;
        status == 200 && health["status"] == "degraded"
    })
    .await;
}

#[tokio::test]
async fn a_page_instead_of_an_error() {
    let house = House::new().await;
    let answer = house.chat(false, &json!({ "error": "html-404" })).send().await.unwrap();
    assert!(refused(answer, 404).await.contains("not JSON"));
    house.all_settled().await;
    // A page with 200 passes as it is; the call is an orphan where it tells no id.
    let knobs = json!({ "error": "html-200", "generation_header": false });
    let answer = house.chat(false, &knobs).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("<html"));
    eventually("an orphan", async || house.ledger().await.unsettled(None).await.unwrap().orphan == 1).await;
    let (_, health) = house.health().await;
    assert_eq!(health["calls"]["orphan"], 1);
}

#[tokio::test]
async fn upstream_errors_pass_with_status_and_message() {
    let house = House::new().await;
    for (case, status, words) in [
        ("400-model", 400, "not a valid model"),
        ("402-credits", 402, "more credits"),
        ("403-key-limit", 403, "Key limit exceeded"),
        ("429-upstream", 429, "Provider returned error"),
        ("502", 502, ""),
        ("529", 529, ""),
    ] {
        let answer = house.chat(true, &json!({ "error": case })).send().await.unwrap();
        assert_eq!(answer.headers().contains_key("retry-after"), case == "429-upstream", "{case}");
        assert_eq!(answer.status(), status, "{case}");
        let body: Value = answer.json().await.unwrap();
        assert!(body["error"]["message"].as_str().unwrap().contains(words), "{body}");
    }
    let posts = house.simulator.requests().iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(posts, 6, "an upstream error is never retried");
    assert_eq!(house.simulator.truth(), []);
    // A user whose calls were all refused is known, and has used nothing.
    let path = "/api/v1/usage-tracking/my-organization/usage-by-user";
    let report: Value = house.usage(path).send().await.unwrap().json().await.unwrap();
    let users = report.get("user_usage").unwrap();
    assert_eq!(users.get(0).unwrap().get("user_id").unwrap(), "anna");
    assert_eq!(users.get(0).unwrap().get("total_requests").unwrap(), 0);
    assert_eq!(users.get(0).unwrap().get("last_activity").unwrap(), &Value::Null);
}

#[tokio::test]
async fn a_cost_that_was_not_told_is_unknown_until_generation_tells_it() {
    let house = House::new().await;
    for (stream, cost) in
        [(true, "missing"), (false, "null"), (true, "-1"), (false, "\"0.1\""), (true, "1e400")]
    {
        let answer = house.chat(stream, &json!({ "cost": cost })).send().await.unwrap();
        assert!(answer.text().await.unwrap().contains("usage"), "{cost}");
    }
    house.chat(true, &json!({ "usage": "none" })).send().await.unwrap().bytes().await.unwrap();
    let truth = house.assert_books_are_the_bill().await;
    assert!(truth.iter().all(|charge| charge.cost_pico_usd > 0));
}
