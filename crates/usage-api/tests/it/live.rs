//! The live stream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::time::timeout;

use crate::{ADMIN, Booked, EMPLOYEE, House};

/// How soon an entry must be told.
const SOON: Duration = Duration::from_secs(1);

/// What a stream has told.
struct Stream {
    response: reqwest::Response,
    text: String,
}

impl Stream {
    async fn open(house: &House, token: &str, path: &str, last_id: Option<&str>) -> Self {
        let ask = house.ask(&format!("/api/v1/usage/{path}")).bearer_auth(token);
        let ask = if let Some(last_id) = last_id { ask.header("last-event-id", last_id) } else { ask };
        let response = ask.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next event of that name.
    async fn next(&mut self, name: &str) -> Option<Value> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field =
                    |field: &str| event.lines().find_map(|line| line.strip_prefix(field)).map(str::trim);
                let is_it = field("event:") == Some(name);
                let data = field("data:").map(|data| serde_json::from_str(data).unwrap());
                let rest = rest.to_owned();
                self.text = rest;
                if is_it {
                    return data;
                }
                continue;
            }
            let piece = self.response.chunk().await.unwrap()?;
            self.text += std::str::from_utf8(&piece).unwrap();
        }
    }
}

fn booked<'a>(user: &'a str, at: &'a str) -> Booked<'a> {
    Booked { user, model: "a/b", cost: "1", at }
}

#[tokio::test]
async fn every_entry_is_told_within_a_second_to_whom_it_concerns() {
    let house = House::with_usage().await;
    let mut organisation = Stream::open(&house, ADMIN, "events", None).await;
    let mut bob = Stream::open(&house, EMPLOYEE, "me/events", None).await;
    let last_id = organisation.next("hello").await.unwrap()["last_id"].as_i64().unwrap();
    let awaiting = organisation.next("awaiting").await.unwrap();
    assert_eq!(awaiting["open"], 1);
    house.book(200, &booked("anna", "2026-11-22T12:00:00Z")).await;
    house.book(201, &booked("bob", "2026-11-22T12:00:01Z")).await;
    let (first, second) = timeout(SOON, async {
        (organisation.next("entry").await.unwrap(), organisation.next("entry").await.unwrap())
    })
    .await
    .unwrap();
    assert_eq!((first["id"].as_i64(), first["user_id"].as_str()), (Some(last_id + 1), Some("user-anna")));
    assert_eq!((second["charge"].as_str(), second.get("cost")), (Some("1.3"), None));
    // Bob hears of his own alone.
    let own = timeout(SOON, bob.next("entry")).await.unwrap().unwrap();
    assert_eq!(own["id"], second["id"]);
}

#[tokio::test]
async fn who_comes_back_hears_what_was_missed() {
    let house = House::with_usage().await;
    let mut stream = Stream::open(&house, ADMIN, "events", Some("4")).await;
    assert_eq!(stream.next("entry").await.unwrap()["id"], 5);
    assert_eq!(stream.next("entry").await.unwrap()["id"], 6);
    let mut nonsense = Stream::open(&house, ADMIN, "events", Some("99999")).await;
    house.book(200, &booked("anna", "2026-11-22T12:00:00Z")).await;
    assert_eq!(timeout(SOON, nonsense.next("entry")).await.unwrap().unwrap()["id"], 7);
}

#[tokio::test]
async fn who_missed_too_much_is_told_to_ask_again() {
    let house = House::new().await;
    for number in 0..1_002 {
        house.book(number, &booked("bob", "2026-11-20T12:00:00Z")).await;
    }
    let mut stream = Stream::open(&house, ADMIN, "events", Some("1")).await;
    assert_eq!(stream.next("reload").await.unwrap()["last_id"], 1_002);
}

#[tokio::test]
async fn streams_end_with_the_program_and_have_a_limit() {
    let house = House::new().await;
    let mut streams = Vec::new();
    for _ in 0..64 {
        streams.push(Stream::open(&house, ADMIN, "events", None).await);
    }
    assert_eq!(house.status(ADMIN, "/api/v1/usage/events").await, 503);
    house.stopping.cancel();
    for mut stream in streams {
        assert_eq!(timeout(SOON, stream.next("never")).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let house = House::new().await;
    let mut stream = Stream::open(&house, ADMIN, "events", None).await;
    house.open_webui.accounts.lock().await.clear();
    // The account was believed for half a minute, and is looked at every 15 seconds.
    for _ in 0..3 {
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(16)).await;
        tokio::time::resume();
        // Long enough for the stream to see what time it is.
        let told = timeout(Duration::from_millis(200), stream.next("never")).await;
        if told == Ok(None) {
            break;
        }
    }
    assert_eq!(timeout(SOON, stream.next("never")).await, Ok(None));
    assert!(house.open_webui.asked.load(Ordering::Relaxed) > 1);
}
