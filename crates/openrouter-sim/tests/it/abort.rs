//! Clients that leave, and connections that break.

use openrouter_sim::{Charge, Simulator};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{LONGEST_WAIT, charged, chat, post, read, send, start};

/// Asks, reads until `until` has come, leaves, and waits for the charge.
async fn leave(sim: &Simulator, stream: bool, knobs: &Value, until: &str) -> Charge {
    let expected = sim.truth().len() + 1;
    let body = chat(stream, knobs).to_string();
    let head = format!(
        "POST /api/v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {}",
        openrouter_sim::DEFAULT_KEY
    );
    let mut connection = send(sim, &head, body.as_bytes()).await;
    let mut seen = String::new();
    let mut buffer = [0; 4096];
    while !seen.contains(until) {
        let length = timeout(LONGEST_WAIT, connection.read(&mut buffer)).await.expect(until).unwrap();
        assert!(length > 0, "the answer ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    drop(connection);
    charged(sim, expected).await;
    sim.truth().pop().unwrap()
}

/// Asks for a stream and reads so many bytes of it.
async fn post_and_read(sim: &Simulator, knobs: &Value, bytes: usize) -> TcpStream {
    let head = format!(
        "POST /api/v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {}",
        openrouter_sim::DEFAULT_KEY
    );
    let mut connection = send(sim, &head, chat(true, knobs).to_string().as_bytes()).await;
    let mut seen = vec![0; bytes];
    timeout(LONGEST_WAIT, connection.read_exact(&mut seen)).await.expect("more to come").unwrap();
    connection
}

#[tokio::test]
async fn a_left_stream_costs_the_tokens_sent_so_far() {
    let sim = start().await;
    let ask = |silent_after_bytes: Option<usize>| json!({"generation_id": "gen-1-a", "chunks": 4, "silent_after_bytes": silent_after_bytes});
    let whole = post(&sim, "/chat/completions", &chat(true, &ask(None))).await;
    let (third_at, _) = whole.text().match_indices("data: ").nth(2).unwrap();
    let charge = leave(&sim, true, &ask(Some(third_at)), "answer of").await;
    assert!(charge.cancelled && charge.streamed);
    assert_eq!(charge.completion_tokens, 9, "two of four chunks of nineteen tokens");
    assert_eq!(charge.cost_pico_usd, 3 * 120_000 + 9 * 800_000);
    let record = read(&sim, &format!("/generation?id={}", charge.generation_id)).await.json();
    assert_eq!(record["data"]["cancelled"], true);
    assert_eq!(record["data"]["finish_reason"], Value::Null);
    sim.stop().await;
}

#[tokio::test]
async fn a_left_stream_costs_what_the_provider_makes_of_it() {
    let sim = start().await;
    let full = json!({"chunk_delay_ms": 60_000, "charge_on_abort": "full"});
    assert_eq!(leave(&sim, true, &full, "data: ").await.cost_pico_usd, 15_560_000);
    let nothing = json!({"chunk_delay_ms": 60_000, "charge_on_abort": "nothing"});
    let charge = leave(&sim, true, &nothing, "data: ").await;
    assert_eq!((charge.cost_pico_usd, charge.cancelled), (0, true));
    let before_the_first = json!({"first_chunk_delay_ms": 60_000});
    let charge = leave(&sim, true, &before_the_first, "\r\n\r\n").await;
    assert_eq!((charge.cost_pico_usd, charge.completion_tokens), (0, 0), "zero-completion insurance");
    sim.stop().await;
}

#[tokio::test]
async fn a_left_plain_call_is_charged_in_full() {
    let sim = start().await;
    let charge = leave(&sim, false, &json!({"first_chunk_delay_ms": 60_000}), "\r\n\r\n").await;
    assert_eq!((charge.cost_pico_usd, charge.cancelled), (15_560_000, false));
    let charge = leave(&sim, false, &json!({"head_delay_ms": 60_000}), "").await;
    assert_eq!((charge.cost_pico_usd, charge.cancelled), (15_560_000, false));
    sim.stop().await;
}

#[tokio::test]
async fn a_cut_comes_after_exactly_so_many_bytes() {
    let sim = start().await;
    for bytes in [0, 1, 250, 700] {
        let reply = post(&sim, "/chat/completions", &chat(true, &json!({"cut_after_bytes": bytes}))).await;
        assert_eq!((reply.body.len(), reply.complete), (bytes, false));
        assert!(reply.header("x-generation-id").is_some());
        let charge = sim.truth().pop().unwrap();
        assert!(charge.cancelled);
        assert_eq!(charge.completion_tokens == 0, bytes == 0);
    }
    let plain = post(&sim, "/chat/completions", &chat(false, &json!({"cut_after_bytes": 9}))).await;
    assert_eq!((plain.body.len(), plain.complete), (9, false));
    assert_eq!(sim.truth().pop().unwrap().cost_pico_usd, 15_560_000);
    sim.stop().await;
}

#[tokio::test]
async fn a_cut_after_the_last_token_costs_everything() {
    let sim = start().await;
    let whole = post(&sim, "/chat/completions", &chat(true, &json!({}))).await;
    let usage_at = whole.text().find("\"usage\"").unwrap();
    let knobs = json!({"cut_after_bytes": usage_at + 20});
    let reply = post(&sim, "/chat/completions", &chat(true, &knobs)).await;
    assert!(!reply.complete);
    let charge = sim.truth().pop().unwrap();
    assert_eq!((charge.cost_pico_usd, charge.cancelled), (15_560_000, false));
    sim.stop().await;
}

#[tokio::test]
async fn a_stream_without_an_end_goes_on_until_it_is_left() {
    let sim = start().await;
    let endless = json!({"chunks": 1, "content": "hello", "endless": true});
    let connection = post_and_read(&sim, &endless, 1_000_000).await;
    assert_eq!(sim.truth(), []);
    drop(connection);
    charged(&sim, 1).await;
    assert!(sim.truth()[0].cancelled);
    sim.stop().await;
}

#[tokio::test]
async fn stopping_ends_open_streams() {
    let sim = start().await;
    let body = chat(true, &json!({"silent_after_bytes": 300})).to_string();
    let head = format!(
        "POST /api/v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {}",
        openrouter_sim::DEFAULT_KEY
    );
    let mut connection = send(&sim, &head, body.as_bytes()).await;
    connection.read_u8().await.unwrap();
    sim.stop().await;
    let mut rest = Vec::new();
    let _ = connection.read_to_end(&mut rest).await;
}
