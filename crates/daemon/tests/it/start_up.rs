//! Start-up is idempotent and resumes what was left.

use serde_json::{Value, json};

use crate::{House, eventually};

const SUMMARY: &str = "/api/v1/usage-tracking/my-organization/usage-summary";

#[tokio::test]
async fn a_second_start_keeps_everything_and_settles_what_was_open() {
    let house = House::new().await;
    house.chat(false, &json!({})).send().await.unwrap().error_for_status().unwrap();
    // Not even the first close follow-up finds it; the next process does.
    let knobs = json!({ "cost": "missing", "generation_misses": 1 });
    house.chat(true, &knobs).send().await.unwrap().bytes().await.unwrap();
    let house = house.restart(&[("ORGANIZATION_NAME", "Renamed"), ("SPENDING_LIMIT", "250.00")]).await;
    house.assert_books_are_the_bill().await;
    let summary: Value = house.usage(SUMMARY).send().await.unwrap().json().await.unwrap();
    assert_eq!(summary["client_id"], "mai_client_63a4eb6d", "a renamed organisation keeps its id");
    assert_eq!(summary["stats"]["client_org_name"], "Renamed");
    assert_eq!(summary["stats"]["current_month"]["total_requests"], 2);
    assert_eq!(summary["stats"]["pln_conversion_available"], false);
    assert_eq!(summary["stats"]["current_month"]["total_cost_pln"], Value::Null);
}

#[tokio::test]
async fn the_first_poll_is_made_at_start() {
    let house = House::new().await;
    eventually("a poll", async || house.health().await.1["last_poll"]["at"].is_string()).await;
    let (status, health) = house.health().await;
    assert_eq!((status, health["status"].as_str()), (200, Some("ok")));
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(health["ledger"]["writable"], true);
}

#[tokio::test]
async fn the_usage_api_wants_the_admin_token() {
    let house = House::new().await;
    let ask = |path: &str| house.http.get(format!("http://{}{path}", house.running.usage));
    for request in [ask(SUMMARY), ask(SUMMARY).bearer_auth("wrong"), ask(SUMMARY).bearer_auth(crate::TOKEN)] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    assert_eq!(ask("/metrics/../..").send().await.unwrap().status(), 404);
    assert_eq!(ask("/health").send().await.unwrap().status(), 200);
}
