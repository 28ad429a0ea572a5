//! A client with nothing wrong, and each thing that can be.

use std::time::Duration;

use jiff::Timestamp;
use ledger::{Reconciliation, Unsettled};
use metering::PicoUsd;
use openrouter::{KeyAnswer, KeyCounter};

use super::super::check::{Check, Level};
use super::super::containers::Container;
use super::super::facts::{
    BookFacts, Disk, Facts, FileFacts, KeyFacts, MaiFacts, Owner, ServerFacts, SidecarFacts,
};
use super::{all, of_client};
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
        findings: Vec::new(),
        last_poll: Some(poll()),
        unsettled: Unsettled::default(),
        oldest_open: None,
        unattributed: 0,
    }
}

fn container(service: &str) -> Container {
    Container {
        service: service.to_owned(),
        image_id: "sha256:0123456789abcdef".to_owned(),
        status: "running".to_owned(),
        health: Some("healthy".to_owned()),
        restarts: 0,
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
        containers: Some(vec![container("mai-usage"), container("mai")]),
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

#[test]
fn an_env_file() {
    check(|facts| facts.env = Err("cannot read .env".to_owned()), Level::Fail, "env", "cannot read");
    check_env(
        "SPENDING_LIMIT=250.00",
        "SPENDING_LIMIT=250.00\nLOG_FORMAT=xml",
        (Level::Fail, "env", "LOG_FORMAT"),
    );
}

#[test]
fn tokens() {
    check_env(
        &format!("USAGE_PROXY_TOKEN={PROXY}\n"),
        "",
        (Level::Fail, "tokens", "USAGE_PROXY_TOKEN is missing"),
    );
    check_env(ADMIN, WEBUI, (Level::Fail, "tokens", "USAGE_ADMIN_TOKEN and WEBUI_SECRET_KEY are the same"));
    check_env(PROXY, "0123456789abcdef0123", (Level::Warn, "tokens", "USAGE_PROXY_TOKEN can be guessed"));
    check_env(PROXY, &"ab".repeat(30), (Level::Warn, "tokens", "can be guessed"));
    check_env(
        ADMIN,
        "please-change-me-0123456789-abcdefghijk",
        (Level::Warn, "tokens", "USAGE_ADMIN_TOKEN can"),
    );
    check_env(
        "Europe/Warsaw\n",
        "Europe/Warsaw\nAPP_TITLE=$NAME\n",
        (Level::Warn, "quotes", "single quotes"),
    );
}

#[test]
fn a_key() {
    check(|facts| facts.key = answered(KeyAnswer::Rejected), Level::Fail, "key", "does not accept");
    check(|facts| facts.key = answered(KeyAnswer::Management), Level::Fail, "key", "management key");
    check(|facts| facts.key = answered(KeyAnswer::Refused("502".into())), Level::Warn, "key", "502");
    check(|facts| facts.key = KeyFacts::Unreachable("no route".into()), Level::Fail, "key", "no route");
    let missing = |facts: &mut Facts| {
        facts.key = KeyFacts::Missing;
        facts.books.as_mut().unwrap().has_key = false;
    };
    check(missing, Level::Fail, "key", "no OpenRouter key");
    let mut learned = sound();
    learned.key = KeyFacts::Missing;
    assert_eq!(wrong(&of_client(&learned)), []);
}

#[test]
fn a_limit() {
    check_counter(|key| key.limit = None, Level::Warn, "limit", "none, SPENDING_LIMIT says 250 USD");
    check_counter(|key| key.limit = Some(usd("300")), Level::Warn, "limit", "300 USD");
    check_counter(|key| key.limit_reset = None, Level::Warn, "limit", "never");
    check_counter(|key| key.limit_reset = Some("daily".into()), Level::Warn, "limit", "daily");
    check_counter(|key| key.limit_remaining = Some(usd("0")), Level::Fail, "limit left", "used up");
    check_counter(|key| key.limit_remaining = Some(usd("-0.01")), Level::Fail, "limit left", "used up");
    check_counter(|key| key.limit_remaining = Some(usd("24.9")), Level::Warn, "limit left", "only 24.9 USD");
    check_counter(|key| key.expires_at = Some("2026-12-01T00:00:00Z".into()), Level::Warn, "key", "expires");
}

#[test]
fn a_clock() {
    for (seconds, level) in [(61, Level::Fail), (-61, Level::Fail), (6, Level::Warn)] {
        let date = now() + jiff::SignedDuration::from_secs(seconds);
        let answer = KeyAnswer::Accepted(counter());
        check(|facts| facts.key = KeyFacts::Answered { answer, date: Some(date) }, level, "clock", "differs");
    }
}

#[test]
fn files_and_the_disk() {
    let owner = |uid, mode| Some(Owner { uid, mode });
    check(|facts| facts.database.owner = owner(65_532, 0o640), Level::Fail, "files", "mode 640");
    check(|facts| facts.database.owner = owner(0, 0o600), Level::Fail, "files", "65532");
    check(|facts| facts.database.folder_owner = owner(0, 0o755), Level::Fail, "files", "65532");
    check(|facts| facts.database.strangers = vec!["mai-usage.db-wal".into()], Level::Fail, "files", "-wal");
    check(|facts| facts.database.log_bytes = 100_000_000, Level::Warn, "files", "100 MB");
    let disk = |bytes, files| Some(Disk { free_bytes: bytes, free_files: files, files: 1_000_000 });
    check(|facts| facts.database.disk = disk(100_000_000, 1_000_000), Level::Fail, "disk", "100 MB");
    check(|facts| facts.database.disk = disk(900_000_000, 1_000_000), Level::Warn, "disk", "900 MB");
    check(|facts| facts.database.disk = disk(9_000_000_000, 12), Level::Warn, "disk", "12 files");
    // Without Docker it is whoever runs it.
    let mut own = sound();
    (own.compose, own.containers) = (None, None);
    (own.database.owner, own.database.folder_owner) = (owner(1_000, 0o600), owner(1_000, 0o700));
    assert_eq!(wrong(&of_client(&own)), []);
}

#[test]
fn books_that_differ() {
    check(|facts| facts.books = Err("no such file".to_owned()), Level::Fail, "database", "no such file");
    check_books(|books| books.findings = vec!["roll-up: x".into()], Level::Fail, "database", "roll-up");
    check_books(|books| books.name = "Other".into(), Level::Warn, "organisation", "ORGANIZATION_NAME");
    check_books(|books| books.monthly_limit = None, Level::Warn, "organisation", "SPENDING_LIMIT");
    check_books(|books| books.zone = "Etc/UTC".into(), Level::Warn, "organisation", "BILLING_TIMEZONE");
    let mut other = sound();
    other.books.as_mut().unwrap().organisation_id = "mai_client_other".to_owned();
    let found = wrong(&of_client(&other));
    let checks: Vec<_> = found.iter().map(|(level, check, _)| (*level, *check)).collect();
    assert_eq!(checks, [(Level::Fail, "organisation"), (Level::Fail, "port")]);
}

#[test]
fn polls_and_what_they_found() {
    let polled = |age| {
        move |books: &mut BookFacts| {
            books.last_poll.as_mut().unwrap().polled_at_ms = ago(age).as_millisecond();
        }
    };
    check_books(polled(minutes(31)), Level::Fail, "polls", "31 minutes ago");
    check_books(|books| books.last_poll = None, Level::Warn, "polls", "never");
    let failed = |books: &mut BookFacts| books.last_poll.as_mut().unwrap().error = Some("HTTP 500".into());
    check_books(failed, Level::Warn, "polls", "HTTP 500");
    let bypass = |books: &mut BookFacts| {
        let poll = books.last_poll.as_mut().unwrap();
        (poll.warning, poll.difference_pico_usd) = (Some("bypass".into()), Some(1_500_000_000_000));
    };
    check_books(bypass, Level::Fail, "bypass", "1.5 USD more");
    // Somebody polls every hour on purpose.
    let mut slow = sound();
    slow.env = Ok(EnvFile::parse(&(env() + "POLL_INTERVAL=3600\n")).unwrap());
    polled(minutes(100))(slow.books.as_mut().unwrap());
    assert_eq!(wrong(&of_client(&slow)), []);
}

#[test]
fn calls_without_a_cost_or_a_user() {
    let open = |age| {
        move |books: &mut BookFacts| {
            (books.unsettled.open, books.oldest_open) = (3, Some(ago(age)));
        }
    };
    check_books(open(minutes(21)), Level::Warn, "open calls", "3 calls have no cost yet");
    let mut young = sound();
    open(minutes(19))(young.books.as_mut().unwrap());
    assert_eq!(wrong(&of_client(&young)), []);
    check_books(|books| books.unsettled.orphan = 2, Level::Warn, "orphans", "2 calls died");
    check_books(|books| books.unattributed = 7, Level::Warn, "users", "7 calls of this month");
    check(|facts| facts.last_backup = None, Level::Warn, "backup", "none");
    check(|facts| facts.last_backup = Some(ago(minutes(27 * 60))), Level::Warn, "backup", "27 hours");
}

#[test]
fn what_runs() {
    let id = Ok("mai_client_63a4eb6d");
    let state = |status: &str, reason: &str| {
        answers(Health { status: status.to_owned(), reasons: vec![reason.to_owned()], ..health() }, id)
    };
    check(|facts| facts.sidecar = SidecarFacts::Silent("nobody".into()), Level::Fail, "sidecar", "nobody");
    check(|facts| facts.sidecar = SidecarFacts::Other("<html>".into()), Level::Fail, "sidecar", "<html>");
    check(|facts| facts.sidecar = state("degraded", "bypass"), Level::Warn, "sidecar", "bypass");
    check(|facts| facts.sidecar = state("unavailable", "disk"), Level::Fail, "sidecar", "cannot work: disk");
    let other = Health { version: "0.0.1".to_owned(), ..health() };
    check(|facts| facts.sidecar = answers(other, id), Level::Warn, "version", "0.0.1");
    check(|facts| facts.sidecar = answers(health(), Ok("mai_client_b")), Level::Fail, "port", "mai_client_b");
    check(|facts| facts.sidecar = answers(health(), Err("401")), Level::Fail, "port", "401");
    let silent = MaiFacts::Silent { address: "http://127.0.0.1:8001".into(), why: "refused".into() };
    check(|facts| facts.mai = silent, Level::Fail, "mAI", "8001");
}

#[test]
fn containers() {
    let one = |change: fn(&mut Container)| {
        move |facts: &mut Facts| change(facts.containers.as_mut().unwrap().first_mut().unwrap())
    };
    check(one(|it| it.status = "exited".into()), Level::Fail, "containers", "mai-usage is exited");
    check(one(|it| it.health = Some("unhealthy".into())), Level::Fail, "containers", "unhealthy");
    check(one(|it| it.restarts = 4), Level::Warn, "restarts", "4 times");
    let publish = |port: &'static str, address: &'static str| {
        move |facts: &mut Facts| {
            let container = facts.containers.as_mut().unwrap().first_mut().unwrap();
            container.published = vec![(port.to_owned(), address.to_owned())];
        }
    };
    check(publish("8787/tcp", "127.0.0.1"), Level::Fail, "proxy port", "8787");
    check(publish("8788/tcp", "0.0.0.0"), Level::Fail, "usage port", "0.0.0.0");
    check(|facts| facts.containers = Some(Vec::new()), Level::Fail, "containers", "none");
}

#[test]
fn clients_beside_each_other() {
    let other = |name: &str, from: &str, to: &str| {
        let mut facts = sound();
        name.clone_into(&mut facts.client);
        let own = env()
            .replace("9001", "9002")
            .replace("8001", "8002")
            .replace("sk-or-v1-a", "sk-or-v1-b")
            .replace("63a4eb6d", "bbbbbbbb")
            .replace(PROXY, &PROXY.replace('a', "b"))
            .replace(ADMIN, &ADMIN.replace('a', "b"));
        assert!(own.contains(from), "{from}");
        facts.env = Ok(EnvFile::parse(&own.replace(from, to)).unwrap());
        facts
    };
    let found = |docker: Result<(), String>, second: Facts| {
        let server = ServerFacts { docker, clients: vec![sound(), second] };
        wrong(&all(&server).last().unwrap().checks)
    };
    assert_eq!(found(Ok(()), other("company-b", "9002", "9002")), []);
    for (from, to, check, words) in [
        ("9002", "9001", "ports", "port 9001 is used twice: company-a (USAGE_PORT), company-b (USAGE_PORT)"),
        ("8002", "9001", "ports", "company-b (MAI_PORT)"),
        ("USAGE_PORT=9002\n", "", "ports", "9001"),
        ("MAI_PORT=8002", "MAI_PORT=127.0.0.1:8001", "ports", "8001"),
        ("sk-or-v1-b", "sk-or-v1-a", "own secrets", "OPENROUTER_API_KEY is the same in company-a, company-b"),
        ("mai_client_bbbbbbbb", "mai_client_63a4eb6d", "own secrets", "OPENROUTER_EXTERNAL_USER"),
    ] {
        let found = found(Ok(()), other("company-b", from, to));
        assert!(
            matches!(found.as_slice(), [(Level::Fail, told, what)] if *told == check && what.contains(words)),
            "{words}: {found:?}"
        );
        assert!(!found[0].2.contains("sk-or-"), "{found:?}");
    }
    let mut older = other("company-b", "9002", "9002");
    older.containers.as_mut().unwrap()[0].image_id = "sha256:fedcba9876543210".to_owned();
    let told = found(Ok(()), older);
    assert!(
        told.len() == 1 && told[0].2.contains("mai-usage: 0123456789ab in company-a; fedcba987654"),
        "{told:?}"
    );
    let told = found(Err("no daemon".to_owned()), other("company-b", "9002", "9002"));
    assert!(matches!(told.as_slice(), [(Level::Fail, "docker", _)]), "{told:?}");
}
