//! The free lists: cached, and stale rather than absent.

use jiff::SignedDuration;
use serde_json::Value;

use crate::{House, MODEL, TOKEN, eventually};

/// How often the list was asked for; upkeep asks for it by itself, once, to keep the prices.
async fn asked_beside_upkeep(house: &House) -> usize {
    let ledger = house.ledger().await;
    eventually("the prices are kept", async || ledger.price_list().await.unwrap().is_some()).await;
    house.simulator.requests().iter().filter(|seen| seen.path.ends_with("/models")).count() - 1
}

#[tokio::test]
async fn the_list_of_models_is_asked_for_once() {
    let house = House::new().await;
    for path in ["models", "/models", "models"] {
        let answer = house.http.get(house.url(path)).bearer_auth(TOKEN).send().await.unwrap();
        let list: Value = answer.error_for_status().unwrap().json().await.unwrap();
        assert!(list["data"].as_array().unwrap().iter().any(|model| model["id"] == MODEL));
    }
    assert_eq!(asked_beside_upkeep(&house).await, 1);
    let endpoints = house.url(&format!("models/{MODEL}/endpoints"));
    let answer = house.http.get(endpoints).bearer_auth(TOKEN).send().await.unwrap();
    assert!(answer.status().is_success());
    let unknown =
        house.http.get(house.url("models/no/such/endpoints")).bearer_auth(TOKEN).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    assert!(unknown.json::<Value>().await.unwrap()["error"]["message"].is_string());
}

#[tokio::test]
async fn a_list_needs_the_key_as_well() {
    let house = House::new().await;
    let answer = house.http.get(house.url("models")).bearer_auth("wrong").send().await.unwrap();
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn a_list_that_cannot_be_had_any_more_is_served_stale() {
    let house = House::new().await;
    let (url, http) = (house.url("models"), house.http.clone());
    let ask = async || http.get(&url).bearer_auth(TOKEN).send().await.unwrap();
    let fresh = ask().await.bytes().await.unwrap();
    house.advance(SignedDuration::from_mins(3));
    assert!(ask().await.status().is_success());
    assert_eq!(asked_beside_upkeep(&house).await, 2, "an old list is asked for again");
    house.simulator.stop().await;
    house.ahead_ms.fetch_add(180_000, std::sync::atomic::Ordering::SeqCst);
    let stale = ask().await;
    assert!(stale.status().is_success());
    assert_eq!(stale.bytes().await.unwrap(), fresh);
}
