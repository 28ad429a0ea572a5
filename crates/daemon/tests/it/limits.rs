//! The limits of a listener and of the road.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{House, eventually};

/// Calls that may be under way in this house.
const CALLS_AT_ONCE: usize = 200;

/// What a raw request is answered with; empty where the connection is closed without a word.
async fn raw(house: &House, request: &str) -> String {
    let mut connection = TcpStream::connect(house.running.proxy).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::with_capacity(4096);
    connection.read_buf(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn heads_have_a_limit() {
    let house = House::new().await;
    let many = "X-H: 1\r\n".repeat(70);
    let answer = raw(&house, &format!("GET /v1/models HTTP/1.1\r\nHost: x\r\n{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    for too_long in [64, 65, 100, 256] {
        let long = "x".repeat(too_long * 1024);
        let answer =
            raw(&house, &format!("GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Long: {long}\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{too_long} KiB: {answer}");
    }
    let sound = "X-H: 1\r\n".repeat(50);
    let answer = raw(&house, &format!("GET /v1/models HTTP/1.1\r\nHost: x\r\n{sound}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[tokio::test]
async fn calls_under_way_have_a_limit() {
    let house = House::with(&[("CALLS_AT_ONCE", &CALLS_AT_ONCE.to_string())]).await;
    let slow = json!({ "head_delay_ms": 3_000 });
    let calls: Vec<_> = (0..CALLS_AT_ONCE).map(|_| house.chat(false, &slow).send()).collect();
    let all = futures_util::future::join_all(calls);
    let beyond = async {
        eventually("all are under way", async || {
            house.ledger().await.unsettled(None).await.unwrap().intent
                == i64::try_from(CALLS_AT_ONCE).unwrap()
        })
        .await;
        tokio::time::timeout(Duration::from_secs(1), house.chat(false, &json!({})).send())
            .await
            .unwrap()
            .unwrap()
    };
    let (all, beyond) = tokio::join!(all, beyond);
    assert_eq!(beyond.status(), 503);
    assert!(beyond.headers().contains_key("retry-after"));
    assert!(all.iter().all(|answer| answer.as_ref().unwrap().status().is_success()));
    assert_eq!(house.assert_books_are_the_bill().await.len(), CALLS_AT_ONCE);
}
