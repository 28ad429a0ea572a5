//! What can be wrong with one client: its `.env`, its key, its file.

use super::*;

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
    check_books(|books| books.has_other_key = true, Level::Warn, "organisation", "OPENROUTER_API_KEY");
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
