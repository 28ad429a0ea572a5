//! Who may read what: every route x every kind of caller.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::{ADMIN, Differs, EMPLOYEE, House, OPERATOR, PENDING};

/// What each kind of caller gets for a route: operator, admin, employee, pending, nobody, a stranger's token.
type Statuses = [u16; 6];

const OPEN: Statuses = [200; 6];
const ANYBODY: Statuses = [200, 200, 200, 403, 401, 401];
const ORGANISATION: Statuses = [200, 200, 403, 403, 401, 401];
const OPERATOR_ALONE: Statuses = [200, 403, 403, 403, 401, 401];
/// The operator has no usage of his own.
const ONESELF: Statuses = [403, 200, 200, 403, 401, 401];

fn expected(path: &str) -> Statuses {
    let Some(path) = path.strip_prefix("/api/v1/usage/") else {
        return match path {
            "/api/v1/usage-tracking/model-pricing" => ANYBODY,
            "/health" | "/usage/" => OPEN,
            "/metrics" => OPERATOR_ALONE,
            _ => ORGANISATION,
        };
    };
    match path {
        "openapi.json" => OPEN,
        "me" | "prices" => ANYBODY,
        "statement" => OPERATOR_ALONE,
        _ if path.starts_with("me/") => ONESELF,
        _ => ORGANISATION,
    }
}

#[tokio::test]
async fn every_route_and_every_kind_of_caller() {
    let house = House::with_usage().await;
    let document = house.answer(OPERATOR, "openapi.json").await;
    let mut paths: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert!(paths.len() > 25, "{paths:?}");
    paths.extend(["/api/v1/usage/openapi.json", "/health", "/metrics", "/usage/"].map(str::to_owned));
    for path in paths {
        let query = if path.ends_with("export") { "?what=by-day&format=csv" } else { "" };
        let url = format!("{path}{query}");
        let mut statuses = Vec::new();
        for token in [Some(OPERATOR), Some(ADMIN), Some(EMPLOYEE), Some(PENDING), None, Some("a-stranger")] {
            let ask = house.ask(&url);
            let ask = if let Some(token) = token { ask.bearer_auth(token) } else { ask };
            statuses.push(ask.send().await.unwrap().status().as_u16());
        }
        assert_eq!(statuses, expected(&path), "{path}");
    }
}

/// The one thing that can be written over this API.
#[tokio::test]
async fn only_the_operator_hands_a_statement_over() {
    let house = House::with_usage().await;
    let order = crate::examples::statement_order();
    let url = format!("http://{}/api/v1/usage/statement", house.address);
    for (token, status) in [(ADMIN, 403), (EMPLOYEE, 403), (PENDING, 403), ("a-stranger", 401)] {
        let answer = house.http.post(&url).bearer_auth(token).json(&order).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{token}");
    }
    let nobody = house.http.post(&url).json(&order).send().await.unwrap();
    assert_eq!(nobody.status(), 401);
    assert_eq!(house.answer(OPERATOR, "statement").await["days"], json!([]));

    let hand_over = async |order: &Value| {
        let answer = house.http.post(&url).bearer_auth(OPERATOR).json(order).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    assert_eq!(hand_over(&json!({ "statement": 7 })).await.0, 400);
    let mut cut = order.clone();
    cut["statement"]["complete"] = json!(false);
    let (status, problem) = hand_over(&cut).await;
    assert!(status == 409 && problem["detail"].to_string().contains("not complete"), "{problem}");
    let (status, _) = hand_over(&order).await;
    assert_eq!(status, 200);
    assert_eq!(house.answer(OPERATOR, "statement").await["days"], json!([]), "a dry run");
    let mut real = order.clone();
    real["dry_run"] = json!(false);
    let (status, day) = hand_over(&real).await;
    assert_eq!((status, &day["difference"], &day["left"]), (200, &json!("0"), &json!(0)));
    assert_eq!(house.answer(OPERATOR, "statement").await["days"][0]["day"], "2026-11-21");
    let other = house.http.put(&url).bearer_auth(OPERATOR).json(&order).send().await.unwrap();
    assert_eq!(other.status(), 405);
}

#[tokio::test]
async fn an_employee_sees_himself_alone() {
    let house = House::with_usage().await;
    let summary = house.answer(EMPLOYEE, "me/summary?from=2026-10-01").await;
    assert_eq!((&summary["requests"], &summary["charge"]), (&json!(3), &json!("2.275")));
    let calls = house.answer(EMPLOYEE, "me/calls?from=2026-10-01").await;
    let calls = calls["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call["user_id"] == "user-bob"), "{calls:?}");
    let awaiting = house.answer(EMPLOYEE, "me/awaiting").await;
    assert_eq!((&awaiting["under_way"], &awaiting["open"]), (&json!(1), &json!(0)));
    assert_eq!(awaiting["calls"].as_array().unwrap().len(), 1);
    let overview = house.answer(EMPLOYEE, "me/overview").await;
    assert_eq!(overview["limit"], Value::Null);
    for forbidden in [
        "me/calls?user_id=user-anna",
        "me/export?what=by-user&format=csv",
        "me/export?what=calls&format=csv&user_id=user-anna",
    ] {
        assert_eq!(house.status(EMPLOYEE, &format!("/api/v1/usage/{forbidden}")).await, 403, "{forbidden}");
    }
}

#[tokio::test]
async fn the_cost_is_the_operators_unless_he_allows_it() {
    let shows =
        |value: &Value| value.to_string().contains("cost\":") || value.to_string().contains("markup\"");
    let house = House::with_usage().await;
    for (token, seen) in [(OPERATOR, true), (ADMIN, false)] {
        for path in [
            "summary",
            "by-day",
            "by-user",
            "by-model",
            "by-user-and-model",
            "calls",
            "overview",
            "reconciliation",
        ] {
            assert_eq!(shows(&house.answer(token, path).await), seen, "{path}");
        }
    }
    for path in ["me/summary", "me/calls", "me/by-day", "me/by-model", "me/overview"] {
        assert!(!shows(&house.answer(EMPLOYEE, path).await), "{path}");
    }
    let house = House::with(Differs { show_cost: true, ..Differs::default() }).await;
    house.fill().await;
    assert_eq!(house.answer(ADMIN, "summary?from=2026-10-01").await["cost"], "3.75308");
}

#[tokio::test]
async fn a_session_is_believed_for_a_while_and_asked_for_once() {
    let house = House::new().await;
    let cookie =
        |token: &str| house.ask("/api/v1/usage/me").header("cookie", format!("theme=dark; token={token}"));
    let ask = async || cookie(ADMIN).send().await.unwrap().status().as_u16();
    let statuses = futures_util::future::join_all((0..10).map(|_| ask())).await;
    assert_eq!(statuses, [200; 10]);
    assert_eq!(house.open_webui.asked.load(Ordering::Relaxed), 1);
    // A token that is no session is remembered as well.
    for _ in 0..3 {
        assert_eq!(cookie("guessed").send().await.unwrap().status(), 401);
    }
    assert_eq!(house.open_webui.asked.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn without_open_webui_only_the_operator_reads() {
    let house = House::with(Differs { no_sessions: true, ..Differs::default() }).await;
    assert_eq!(house.status(OPERATOR, "/api/v1/usage/me").await, 200);
    assert_eq!(house.status(ADMIN, "/api/v1/usage/me").await, 401);
    let house = House::with(Differs { no_sessions: true, no_admin_token: true, ..Differs::default() }).await;
    let refused = house.ask("/api/v1/usage/me").bearer_auth("").send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let problem: Value = refused.json().await.unwrap();
    assert!(problem["detail"].as_str().unwrap().contains("OPENWEBUI_URL"), "{problem}");
}

#[tokio::test]
async fn an_open_webui_that_answers_nonsense_lets_nobody_in_and_is_asked_again() {
    let house = House::new().await;
    let right = house.open_webui.accounts.lock().await.insert("odd".into(), json!(["no account"]));
    assert_eq!(right, None);
    assert_eq!(house.status("odd", "/api/v1/usage/me").await, 503);
    let account = json!({ "id": "user-odd", "name": "Odd", "email": "o@example.com", "role": "user" });
    house.open_webui.accounts.lock().await.insert("odd".into(), account);
    assert_eq!(house.status("odd", "/api/v1/usage/me").await, 200);
}
