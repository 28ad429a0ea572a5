//! Upstreams that break in the middle, and a stop while calls are under way.

use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::{House, eventually};

#[tokio::test]
async fn a_cut_stream_ends_broken_and_is_priced() {
    let house = House::new().await;
    for bytes in [0, 1, 100, 400, 900] {
        let knobs = json!({ "cut_after_bytes": bytes, "chunks": 30 });
        let mut answer = house.chat(true, &knobs).send().await.unwrap();
        let mut came = 0;
        let end = loop {
            match answer.chunk().await {
                Ok(Some(piece)) => came += piece.len(),
                end => break end,
            }
        };
        // All that was sent arrives, and a clean end never comes.
        assert!(end.is_err() && came == bytes, "{came} bytes of an answer that was cut after {bytes}");
    }
    house.assert_books_are_the_bill().await;
}

/// The first of two usage chunks tells half of the cost.
#[tokio::test]
async fn a_cost_before_a_break_is_not_believed() {
    let house = House::new().await;
    let all =
        house.chat(true, &json!({ "usage": "twice" })).send().await.unwrap().bytes().await.unwrap().len();
    for bytes in (all - 1_500..all).step_by(100) {
        let knobs = json!({ "usage": "twice", "cut_after_bytes": bytes });
        let answer = house.chat(true, &knobs).send().await.unwrap();
        assert!(answer.bytes().await.is_err(), "cut after {bytes} bytes");
    }
    house.assert_books_are_the_bill().await;
}

#[tokio::test]
async fn a_cut_before_any_id_is_a_visible_orphan() {
    let house = House::new().await;
    let knobs = json!({ "generation_header": false, "comments": 5, "cut_after_bytes": 30 });
    let answer = house.chat(true, &knobs).send().await.unwrap();
    assert_eq!(answer.status(), 502);
    eventually("an orphan", async || house.ledger().await.unsettled(None).await.unwrap().orphan == 1).await;
}

#[tokio::test]
async fn an_error_in_the_middle_is_asked_about() {
    let house = House::new().await;
    for knobs in
        [json!({ "midstream_error_after": 2 }), json!({ "error": "error-in-200" }), json!({ "done": false })]
    {
        house.chat(true, &knobs).send().await.unwrap().bytes().await.unwrap();
    }
    house.assert_books_are_the_bill().await;
}

#[tokio::test]
async fn a_stop_lets_calls_under_way_end() {
    let house = House::new().await;
    let mut answer = house.chat(true, &json!({ "chunks": 40, "chunk_delay_ms": 50 })).send().await.unwrap();
    answer.chunk().await.unwrap();
    let (proxy, usage) = (house.running.proxy, house.running.usage);
    let stopped = TaskTracker::new().spawn(house.running.stop());
    eventually("no new connection", async || tokio::net::TcpStream::connect(proxy).await.is_err()).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let health = http.get(format!("http://{usage}/health")).send().await.unwrap();
    assert_eq!(health.status(), 503, "who is stopping is not healthy");
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.unwrap() {
        text.extend_from_slice(&piece);
    }
    assert!(String::from_utf8(text).unwrap().ends_with("data: [DONE]\n\n"));
    stopped.await.unwrap();
    let ledger = ledger::LedgerReader::open(&crate::database(&house.folder)).await.unwrap();
    let verification = ledger.verify().await.unwrap();
    assert_eq!((verification.entries, verification.findings.len()), (1, 0));
    assert_eq!(verification.cost.pico(), house.simulator.truth()[0].cost_pico_usd);
}

#[tokio::test]
async fn while_nothing_can_be_recorded_nothing_is_sent() {
    let house = House::new().await;
    house.chat(false, &json!({})).send().await.unwrap().error_for_status().unwrap();
    house.all_settled().await;
    let path = crate::database(&house.folder);
    // Another program holds the file for longer than the sidecar waits.
    let mut blocker = std::process::Command::new("python3")
        .args(["-c", BLOCK])
        .arg(&path)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = [0];
    std::io::Read::read_exact(blocker.stdout.as_mut().unwrap(), &mut ready).unwrap();
    let answer = house.chat(false, &json!({})).send().await.unwrap();
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let (status, health) = house.health().await;
    assert_eq!((status, health["status"].as_str()), (503, Some("unavailable")));
    assert_eq!(house.simulator.truth().len(), 1);
    drop(blocker.stdin.take());
    blocker.wait().unwrap();
    eventually("ready again", async || house.health().await.0 == 200).await;
    house.chat(false, &json!({})).send().await.unwrap().error_for_status().unwrap();
    house.assert_books_are_the_bill().await;
}

/// Holds the write lock of the database in the first argument until its input ends.
const BLOCK: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute('BEGIN IMMEDIATE')
sys.stdout.write('.')
sys.stdout.flush()
sys.stdin.read()
connection.execute('ROLLBACK')
";
