//! `mai-usage status` over real ledgers; a sidecar that runs is in the tests of `mai-usage`.

use clap::Parser;
use ledger::{Ledger, NewReconciliation};
use operator::{OperatorError, StatusArgs};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::person::Person;
use crate::server::{Call, Server, close};
use crate::{Said, clock};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: StatusArgs,
}

async fn status(server: &Server, flags: &[&str]) -> (Said, Option<OperatorError>) {
    let directory = server.path().display().to_string();
    let always = ["status", "--clients", &directory, "--all"];
    let (mut console, printed) = Person::absent().console();
    let arguments = Line::try_parse_from(always.iter().chain(flags)).unwrap().arguments;
    let done = operator::status(arguments, &mut console, &clock()).await;
    (printed.said(), done.err())
}

async fn json(server: &Server) -> (Value, Option<String>) {
    let (said, error) = status(server, &["--json"]).await;
    (serde_json::from_str(&said.out).unwrap(), error.map(|error| error.to_string()))
}

/// Answers every connection with `status` and `body`, or never where there is none.
async fn stand_in(answer: Option<(&'static str, &'static str)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tasks = tokio_util::task::TaskTracker::new();
    tasks.spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = [0; 2_048];
            let _ = stream.read(&mut head).await;
            if let Some((status, body)) = answer {
                let length = body.len();
                let text = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
                );
                let _ = stream.write_all(text.as_bytes()).await;
            } else {
                kept.push(stream);
            }
        }
    });
    port
}

/// At noon of the 22nd of November.
async fn one_company() -> Server {
    let server = Server::new();
    let call = |cost, at| Call { user: "anna", model: "openai/gpt-5-mini", cost, at };
    let calls = [
        call(Some("99"), "2026-10-31T22:00:00Z"),
        call(Some("30.5"), "2026-10-31T23:00:00Z"),
        call(Some("2"), "2026-11-21T22:59:59Z"),
        // Today, in Warsaw.
        call(Some("0.000001"), "2026-11-21T23:00:00Z"),
        call(None, "2026-11-22T11:00:00Z"),
    ];
    server.client("company-a", "Company_A", &calls).await;
    let (ledger, tasks) = server.open("company-a", "Company_A").await;
    poll(&ledger, "2026-11-22T11:50:00Z", "131.500001").await;
    close(ledger, tasks).await;
    server
}

/// A poll that found `usage` on the key's counter.
async fn poll(ledger: &Ledger, polled_at: &str, usage: &str) {
    let org_id = ledger.organisation().id.clone();
    let amount = metering::PicoUsd::parse(usage).unwrap().amount;
    let new = NewReconciliation {
        org_id,
        polled_at: polled_at.parse().unwrap(),
        key_hash: Some("hash".to_owned()),
        key_usage: Some((usage.to_owned(), amount)),
        settled_calls: 0,
        error: None,
    };
    ledger.record_reconciliation(new).await.unwrap();
}

#[tokio::test]
async fn a_client_whose_sidecar_is_down_is_read_from_its_file() {
    let server = one_company().await;
    let (told, error) = json(&server).await;
    assert!(error.unwrap().starts_with("1 of 1 clients cannot work: company-a"));
    let client = &told["clients"][0];
    assert_eq!((&client["state"], &client["version"]), (&"down".into(), &Value::Null));
    let books = &client["books"];
    assert_eq!((&books["calls_today"], &books["open_calls"]), (&1.into(), &1.into()));
    assert_eq!(books["month"]["cost_usd"], "32.500001");
    assert_eq!(books["month"]["charge_usd"], "42.2500013");
    assert_eq!(books["month"]["profit_usd"], "9.7500003");
    assert_eq!(books["limit_used_permille"], 325);
    assert_eq!(books["last_poll"]["at"], "2026-11-22T11:50:00Z");
    assert_eq!(
        (&client["last_backup_at"], &books["last_poll"]["difference_usd"]),
        (&Value::Null, &"0".into())
    );
    assert_eq!(told["total"]["month"], books["month"]);
}

#[tokio::test]
async fn one_that_is_broken_stops_none_of_the_others() {
    let server = one_company().await;
    server.env("broken", "no assignment\n");
    server.env("no-ledger", "USAGE_PORT=1\n");
    for (name, answer) in [
        ("degraded", ("200 OK", r#"{"status":"degraded","version":"0.9","reasons":["bypass!"]}"#)),
        ("fine", ("200 OK", r#"{"status":"ok","version":"0.9","reasons":[]}"#)),
        (
            "full",
            ("503 Service Unavailable", r#"{"status":"unavailable","version":"0.9","reasons":["no space"]}"#),
        ),
        ("somebody-else", ("200 OK", "<html>")),
    ] {
        server.client(name, name, &[]).await;
        server.env(name, &format!("USAGE_PORT={}\n", stand_in(Some(answer)).await));
    }
    std::fs::create_dir(server.path().join("fine/backups")).unwrap();
    std::fs::write(server.path().join("fine/backups/fine-20261122T023000.000Z.db"), "").unwrap();
    std::fs::write(server.path().join("degraded/backups"), "").unwrap();
    let (told, error) = json(&server).await;
    let states: Vec<_> =
        told["clients"].as_array().unwrap().iter().map(|client| client["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["broken", "down", "degraded", "ok", "unavailable", "broken", "unavailable"]);
    assert!(
        error
            .unwrap()
            .starts_with("5 of 7 clients cannot work: broken, company-a, full, no-ledger, somebody-else")
    );
    assert!(
        told["clients"][3]["last_backup_at"].is_string() && told["clients"][2]["last_backup_at"].is_null()
    );
    assert_eq!(told["total"]["unread"], 2);
    let (said, _) = status(&server, &[]).await;
    for words in [
        "broken: ",
        "line 1",
        "degraded: bypass!",
        "full: no space",
        "TOTAL          2 of 7",
        "32.5 %",
        "the totals lack 2 clients",
    ] {
        assert!(said.out.contains(words), "{words}: {}", said.out);
    }
}

/// Ten of them that accept a connection and say nothing take no longer than one.
#[tokio::test]
async fn all_are_asked_at_once_and_not_waited_for_longer_than_the_bound() {
    let server = Server::new();
    for number in 0..10 {
        let name = format!("c{number}");
        server.client(&name, &name, &[]).await;
        server.env(&name, &format!("USAGE_PORT={}\n", stand_in(None).await));
    }
    let before = std::time::Instant::now();
    let (told, _) = json(&server).await;
    assert!(before.elapsed().as_secs() <= 20, "{:?}", before.elapsed());
    assert!(told["clients"].as_array().unwrap().iter().all(|client| client["state"] == "down"), "{told}");
}
