//! A client with nothing wrong, and each thing that can be.

mod client;
mod running;

use std::time::Duration;

use jiff::Timestamp;
use ledger::{Reconciliation, Unsettled};
use metering::PicoUsd;
use openrouter::{KeyAnswer, KeyCounter};

use super::super::check::{Check, Level};
use super::super::facts::{
    BookFacts, Disk, Facts, FileFacts, KeyFacts, MaiFacts, Owner, ServerFacts, SidecarFacts,
};
use super::{all, of_client};
use crate::docker::{Container, State};
use crate::env_file::EnvFile;
use crate::sidecar::Health;

const PROXY: &str = "5f1c0b7de3a94862917fd0c4b8e6a35277aa1e94c3d80b6f";
const ADMIN: &str = "91c7a3e5d0b2f4866e1d9c0a7b3f58e2440d6c1b9e7a3f50";
const WEBUI: &str = "c0d1e2f3a4b5968778695a4b3c2d1e0ff0e1d2c3b4a59687";

fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn ago(age: Duration) -> Timestamp {
    now() - age
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_mins(minutes)
}

fn usd(text: &str) -> PicoUsd {
    PicoUsd::parse(text).unwrap().amount
}

fn env() -> String {
    format!(
        "ORGANIZATION_NAME=Company_A\nOPENROUTER_EXTERNAL_USER=mai_client_63a4eb6d\nSPENDING_LIMIT=250.00\n\
         USAGE_PORT=9001\nMAI_PORT=8001\nOPENROUTER_API_KEY=sk-or-v1-a\nBILLING_TIMEZONE=Europe/Warsaw\n\
         USAGE_PROXY_TOKEN={PROXY}\nUSAGE_ADMIN_TOKEN={ADMIN}\nWEBUI_SECRET_KEY={WEBUI}\n"
    )
}

fn counter() -> KeyCounter {
    KeyCounter {
        usage: None,
        limit: Some(usd("250")),
        limit_remaining: Some(usd("200")),
        limit_reset: Some("monthly".to_owned()),
        expires_at: None,
    }
}

fn poll() -> Reconciliation {
    Reconciliation {
        polled_at_ms: ago(minutes(10)).as_millisecond(),
        our_cost_pico_usd: 0,
        key_usage_pico_usd: Some(0),
        difference_pico_usd: Some(0),
        settled_calls: 0,
        open_calls: 0,
        orphan_calls: 0,
        warning: None,
        error: None,
    }
}

fn books() -> BookFacts {
    BookFacts {
        organisation_id: "mai_client_63a4eb6d".to_owned(),
        name: "Company_A".to_owned(),
        monthly_limit: Some("250".to_owned()),
        zone: "Europe/Warsaw".to_owned(),
        has_key: true,
        has_other_key: false,
        findings: Vec::new(),
        last_poll: Some(poll()),
        unsettled: Unsettled::default(),
        oldest_open: None,
        unattributed: 0,
    }
}

fn container(service: &str) -> Container {
    Container {
        id: "ab".to_owned(),
        name: format!("mai-company-a_{service}_1"),
        service: service.to_owned(),
        image: "mai-usage:1".to_owned(),
        image_id: "sha256:0123456789abcdef".to_owned(),
        state: State {
            status: "running".to_owned(),
            health: Some("healthy".to_owned()),
            exit_code: 0,
            restarts: 0,
        },
        published: vec![("8788/tcp".to_owned(), "127.0.0.1".to_owned())],
    }
}

fn health() -> Health {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Health { status: "ok".to_owned(), version, reasons: Vec::new() }
}

fn answers(health: Health, whose: Result<&str, &str>) -> SidecarFacts {
    SidecarFacts::Answers { health, organisation_id: whose.map(str::to_owned).map_err(str::to_owned) }
}

fn answered(answer: KeyAnswer) -> KeyFacts {
    KeyFacts::Answered { answer, date: Some(now()) }
}

/// Nothing is wrong with it.
fn sound() -> Facts {
    let owner = Some(Owner { uid: 65_532, mode: 0o600 });
    Facts {
        client: "company-a".to_owned(),
        now: now(),
        env: Ok(EnvFile::parse(&env()).unwrap()),
        key: answered(KeyAnswer::Accepted(counter())),
        database: FileFacts {
            path: "/srv/mai/company-a/data/mai-usage.db".into(),
            owner,
            folder_owner: Some(Owner { uid: 65_532, mode: 0o700 }),
            strangers: Vec::new(),
            log_bytes: 4_000_000,
            disk: Some(Disk { free_bytes: 50_000_000_000, free_files: 1_000_000, files: 2_000_000 }),
        },
        books: Ok(books()),
        sidecar: answers(health(), Ok("mai_client_63a4eb6d")),
        compose: Some(include_str!("../../../../../docker-compose.customization.yaml").to_owned()),
        containers: Some(Ok(vec![container("mai-usage"), container("mai")])),
        mai: MaiFacts::Answers,
        last_backup: Some(ago(minutes(60))),
    }
}

fn wrong(checks: &[Check]) -> Vec<(Level, &'static str, String)> {
    let wrong = checks.iter().filter(|check| check.level != Level::Ok);
    wrong
        .map(|check| {
            assert!(check.fix.as_ref().is_some_and(|fix| !fix.is_empty()), "{check:?}");
            (check.level, check.name, check.found.clone())
        })
        .collect()
}

/// One thing is changed; that one is told, and nothing else.
#[track_caller]
fn check(change: impl FnOnce(&mut Facts), level: Level, what: &str, words: &str) {
    let mut facts = sound();
    change(&mut facts);
    let found = wrong(&of_client(&facts));
    assert!(
        matches!(found.as_slice(), [(told, check, found)]
            if *told == level && *check == what && found.contains(words)),
        "{what} {words}: {found:?}"
    );
}

#[track_caller]
fn check_env(from: &str, to: &str, (level, what, words): (Level, &str, &str)) {
    let text = env();
    assert!(text.contains(from), "{from}");
    let changed = EnvFile::parse(&text.replace(from, to)).unwrap();
    check(|facts| facts.env = Ok(changed), level, what, words);
}

#[track_caller]
fn check_books(change: impl FnOnce(&mut BookFacts), level: Level, what: &str, words: &str) {
    check(|facts| change(facts.books.as_mut().unwrap()), level, what, words);
}

#[track_caller]
fn check_counter(change: impl FnOnce(&mut KeyCounter), level: Level, what: &str, words: &str) {
    let mut counter = counter();
    change(&mut counter);
    check(|facts| facts.key = answered(KeyAnswer::Accepted(counter)), level, what, words);
}

#[test]
fn nothing_is_wrong_with_a_sound_client() {
    assert_eq!(wrong(&of_client(&sound())), []);
    let server = ServerFacts { docker: Ok(()), clients: vec![sound()] };
    assert!(all(&server).iter().all(|checked| wrong(&checked.checks).is_empty()));
}
