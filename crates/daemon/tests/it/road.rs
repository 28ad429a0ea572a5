//! The road: bytes, users, costs, and clients that leave.

use std::time::Duration;

use ledger::{Scope, UsageBy};
use openrouter_sim::DEFAULT_KEY;
use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use crate::{House, MODEL, TOKEN, chat_body, eventually};

/// The body of the same request sent to the simulator itself, with the generation ids made equal.
async fn direct(house: &House, body: &Value) -> Vec<u8> {
    let request = house.http.post(format!("{}/chat/completions", house.simulator.base_url()));
    let answer = request.bearer_auth(DEFAULT_KEY).json(body).send().await.unwrap();
    answer.bytes().await.unwrap().to_vec()
}

#[tokio::test]
async fn the_bytes_of_an_answer_are_the_upstreams_bytes() {
    let house = House::new().await;
    for (number, knobs) in [
        json!({}),
        json!({ "comments": 3, "crlf": true }),
        json!({ "frame_bytes": 1 }),
        json!({ "usage": "twice", "content": "żółć 李 \\\"usage\\\" data: [DONE]" }),
        json!({ "done": false, "cost": "\"0.1\"" }),
        json!({ "midstream_error_after": 1 }),
    ]
    .into_iter()
    .enumerate()
    {
        for stream in [true, false] {
            let id = |road: &str| format!("gen-1790000000-{road}{number}{stream}");
            let with_id = |id: String| {
                let mut knobs = knobs.clone();
                knobs["generation_id"] = json!(id);
                chat_body(stream, &knobs)
            };
            let expected = direct(&house, &with_id(id("A"))).await;
            let body = with_id(id("B"));
            let through = house.post("chat/completions", &body).send().await.unwrap().bytes().await.unwrap();
            let same = |bytes: &[u8]| {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let text = text.replace(&id("A"), &id("B"));
                // The two calls were not made in the same second.
                let created =
                    text.find("\"created\":").map(|at| text[at..].split(',').next().unwrap().to_owned());
                created.map_or(text.clone(), |created| text.replace(&created, "\"created\":0"))
            };
            assert_eq!(same(&through), same(&expected), "{body}");
        }
    }
}

#[tokio::test]
async fn each_user_pays_for_what_he_asked_and_openrouter_does_not_learn_who_he_is() {
    let house = House::new().await;
    for user in ["anna", "bob", "anna"] {
        let mut request = house.chat(user == "anna", &json!({})).build().unwrap();
        request.headers_mut().insert("x-openwebui-user-id", user.parse().unwrap());
        assert!(house.http.execute(request).await.unwrap().status().is_success());
    }
    let truth = house.assert_books_are_the_bill().await;
    let externals: Vec<_> = truth.iter().map(|charge| charge.external_user.clone().unwrap()).collect();
    assert_eq!(externals[0], externals[2]);
    assert_ne!(externals[0], externals[1]);
    for seen in house.simulator.requests() {
        assert!(seen.headers.iter().all(|(name, _)| !name.starts_with("x-openwebui")), "{seen:?}");
        assert!(!format!("{seen:?}").contains("Anna"), "{seen:?}");
    }
    let report: Value = house.usage(BY_USER).send().await.unwrap().json().await.unwrap();
    let users: Vec<_> = report["user_usage"].as_array().unwrap().iter().collect();
    assert_eq!(users.len(), 2);
    assert!(users.iter().any(|user| user["user_name"] == "Anna Żółć" && user["total_requests"] == 2));
}

const BY_USER: &str = "/api/v1/usage-tracking/my-organization/usage-by-user";

#[tokio::test]
async fn nobody_pays_under_a_user_for_nobody() {
    let house = House::new().await;
    let request = house.http.post(house.url("chat/completions")).bearer_auth(TOKEN);
    request.json(&chat_body(false, &json!({}))).send().await.unwrap().error_for_status().unwrap();
    house.all_settled().await;
    let report: Value = house.usage(BY_USER).send().await.unwrap().json().await.unwrap();
    assert_eq!(report["user_usage"][0]["user_id"], "unattributed");
}

#[tokio::test]
async fn with_a_signing_secret_the_plain_headers_name_nobody() {
    let house = House::with(&[("OPENWEBUI_USER_JWT_SECRET", "signing-secret")]).await;
    house.chat(false, &json!({})).send().await.unwrap().error_for_status().unwrap();
    house.all_settled().await;
    let report: Value = house.usage(BY_USER).send().await.unwrap().json().await.unwrap();
    assert_eq!(report["user_usage"][0]["user_id"], "unattributed");
    assert_eq!(report["total_users"], 1);
}

#[tokio::test]
async fn a_stream_whose_client_leaves_is_priced_by_generation() {
    let house = House::new().await;
    let knobs = json!({ "chunks": 500, "chunk_delay_ms": 20 });
    let mut answer = house.chat(true, &knobs).send().await.unwrap();
    answer.chunk().await.unwrap();
    drop(answer);
    let truth = house.assert_books_are_the_bill().await;
    assert!(truth[0].cancelled && truth[0].cost_pico_usd > 0, "{truth:?}");
    let models = house.ledger().await;
    let (from, to) = (jiff::civil::Date::MIN, jiff::civil::Date::MAX);
    let everything = Scope { org_id: metering::OrgId::of_name("Company_A"), user_id: None, from, to };
    let models = models.usage(&everything, UsageBy::Model).await.unwrap();
    assert_eq!(models[0].model.as_deref(), Some(MODEL));
}

#[tokio::test]
async fn a_client_that_leaves_before_the_head_changes_nothing() {
    let house = House::new().await;
    for stream in [true, false] {
        let request =
            house.chat(stream, &json!({ "head_delay_ms": 300, "chunks": 40, "chunk_delay_ms": 10 }));
        let left = tokio::time::timeout(Duration::from_millis(100), request.send()).await;
        assert!(left.is_err());
    }
    eventually("both calls are on the bill", async || house.simulator.truth().len() == 2).await;
    let truth = house.assert_books_are_the_bill().await;
    let plain = truth.iter().find(|charge| !charge.streamed).unwrap();
    assert!(!plain.cancelled);
}

#[tokio::test]
async fn every_kind_of_call_is_priced() {
    let house = House::new().await;
    let chat = json!([{ "role": "user", "content": "Hi" }]);
    for (path, body) in [
        ("completions", json!({ "model": MODEL, "prompt": "Hi" })),
        ("responses", json!({ "model": MODEL, "input": "Hi" })),
        ("responses", json!({ "model": MODEL, "input": "Hi", "stream": true })),
        ("messages", json!({ "model": MODEL, "max_tokens": 9, "messages": chat })),
        ("messages", json!({ "model": MODEL, "max_tokens": 9, "messages": chat, "stream": true })),
        ("embeddings", json!({ "model": "openai/text-embedding-3-small", "input": "Hi" })),
        ("rerank", json!({ "model": "cohere/rerank-v3.5", "query": "a", "documents": ["a", "b"] })),
        ("images", json!({ "model": "google/gemini-2.5-flash-image", "prompt": "a cat" })),
        ("images/generations", json!({ "model": "google/gemini-2.5-flash-image", "prompt": "a cat" })),
        ("audio/speech", json!({ "model": "openai/gpt-4o-mini-tts", "input": "Hi", "voice": "alloy" })),
    ] {
        let answer = house.post(path, &body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await);
        assert!(status.is_success(), "{path}: {status} {text:?}");
    }
    let truth = house.assert_books_are_the_bill().await;
    assert_eq!(truth.len(), 10);
    assert!(
        truth.iter().all(|charge| charge.cost_pico_usd > 0 && charge.external_user.is_some()),
        "{truth:?}"
    );
}

#[tokio::test]
async fn an_id_is_found_in_the_body_where_the_head_has_none() {
    let house = House::new().await;
    for stream in [true, false] {
        let answer =
            house.chat(stream, &json!({ "generation_header": false, "comments": 2 })).send().await.unwrap();
        answer.error_for_status().unwrap().bytes().await.unwrap();
    }
    house.assert_books_are_the_bill().await;
    // Nowhere an id, but a cost: booked all the same.
    let knobs = json!({ "generation_header": false, "body_id": false });
    house.chat(false, &knobs).send().await.unwrap().bytes().await.unwrap();
    house.assert_books_are_the_bill().await;
}

#[tokio::test]
async fn one_generation_is_booked_once_and_the_clash_is_visible() {
    let house = House::new().await;
    let knobs = json!({ "generation_id": "gen-1790000000-SAME" });
    for _ in 0..2 {
        house.chat(false, &knobs).send().await.unwrap().bytes().await.unwrap();
    }
    let verification = house.all_settled().await;
    assert_eq!(verification.entries, 1);
    let books = crate::database(&house.folder);
    let mut books = SqliteConnection::connect(&format!("sqlite:{}", books.display())).await.unwrap();
    let visible: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM calls WHERE state = 'void' AND outcome = 'clash' AND note <> ''",
    )
    .fetch_one(&mut books)
    .await
    .unwrap();
    assert_eq!(visible, 1);
}

/// Its generation id and its cost are one commit, which its head waits for.
#[tokio::test]
async fn a_plain_answer_that_comes_whole_is_booked_before_its_client_sees_it() {
    let house = House::new().await;
    for entries in 1..=3 {
        let answer = house.chat(false, &json!({})).send().await.unwrap();
        let ledger = house.ledger().await;
        let unsettled = ledger.unsettled(None).await.unwrap();
        assert_eq!((unsettled.intent, unsettled.open), (0, 0));
        assert_eq!(ledger.verify().await.unwrap().entries, entries);
        answer.bytes().await.unwrap();
    }
    house.assert_books_are_the_bill().await;
}

#[tokio::test]
async fn openrouter_is_told_which_application_asks() {
    let house = House::with(&[("APP_TITLE", "mAI")]).await;
    house.chat(false, &json!({})).header("cookie", "token=secret").send().await.unwrap();
    let seen = house.simulator.requests().into_iter().find(|seen| seen.method == "POST").unwrap();
    let header =
        |name: &str| seen.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str());
    assert_eq!(header("http-referer"), Some("https://openwebui.com/"));
    assert_eq!(header("x-title"), Some("mAI"));
    assert_eq!(header("accept-encoding"), Some("identity"));
    assert_eq!(header("cookie"), None);
}
