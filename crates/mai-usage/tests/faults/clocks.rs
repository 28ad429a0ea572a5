//! Row 14: clocks that jump, and days that are not 24 hours long.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use openrouter_sim::{Charge, Options, Simulator};
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::callers::{Seen, ask, chat, question};
use crate::checker::{check_in, connect, wait_settled};
use crate::sidecar::{Setup, Sidecar, client, faketime_library};
use crate::trial::{Outcome, Trial};

/// A moment at which something happens to a zone's clock, and the billing days just before it and from it on. Written by
/// hand from the zones' rules, not computed.
type Moment = (&'static str, &'static str, &'static str, &'static str);

const MOMENTS: [Moment; 20] = [
    // The end of the year, here and in UTC.
    ("Europe/Warsaw", "2026-12-31T23:00:00Z", "2026-12-31", "2027-01-01"),
    ("Europe/Warsaw", "2027-01-01T00:00:00Z", "2027-01-01", "2027-01-01"),
    // A day of 23 hours: its midnight, its missing hour, the next midnight.
    ("Europe/Warsaw", "2027-03-27T23:00:00Z", "2027-03-27", "2027-03-28"),
    ("Europe/Warsaw", "2027-03-28T01:00:00Z", "2027-03-28", "2027-03-28"),
    ("Europe/Warsaw", "2027-03-28T22:00:00Z", "2027-03-28", "2027-03-29"),
    // A day of 25 hours: its midnight, its hour that comes twice, the next midnight.
    ("Europe/Warsaw", "2027-10-30T22:00:00Z", "2027-10-30", "2027-10-31"),
    ("Europe/Warsaw", "2027-10-31T01:00:00Z", "2027-10-31", "2027-10-31"),
    ("Europe/Warsaw", "2027-10-31T23:00:00Z", "2027-10-31", "2027-11-01"),
    // The leap day.
    ("Europe/Warsaw", "2028-02-28T23:00:00Z", "2028-02-28", "2028-02-29"),
    ("Europe/Warsaw", "2028-02-29T23:00:00Z", "2028-02-29", "2028-03-01"),
    ("America/New_York", "2027-03-15T04:00:00Z", "2027-03-14", "2027-03-15"),
    ("America/New_York", "2027-11-08T05:00:00Z", "2027-11-07", "2027-11-08"),
    ("America/St_Johns", "2027-03-15T02:30:00Z", "2027-03-14", "2027-03-15"),
    // A midnight that does not exist.
    ("America/Santiago", "2027-09-05T04:00:00Z", "2027-09-04", "2027-09-05"),
    ("Asia/Kolkata", "2027-02-28T18:30:00Z", "2027-02-28", "2027-03-01"),
    ("Asia/Kathmandu", "2027-04-30T18:15:00Z", "2027-04-30", "2027-05-01"),
    ("Pacific/Kiritimati", "2026-12-31T10:00:00Z", "2026-12-31", "2027-01-01"),
    ("Pacific/Apia", "2027-06-30T11:00:00Z", "2027-06-30", "2027-07-01"),
    // Summer time that goes back for a month; a jump of two hours.
    ("Africa/Casablanca", "2027-02-08T00:00:00Z", "2027-02-07", "2027-02-08"),
    ("Antarctica/Troll", "2027-03-28T22:00:00Z", "2027-03-28", "2027-03-29"),
];

/// How wrong the sidecar's own clock is at each of them, hours.
const SKEWS_HOURS: [i64; 2] = [0, -30];

/// By how much the wall clock of a running sidecar is off, hours, one after the other.
const JUMPS_HOURS: [i64; 6] = [6, -6, 26, -50, 9_600, 0];

const BEFORE: Duration = Duration::from_hours(1);
const JUST_BEFORE: Duration = Duration::from_secs(1);

/// How long a sidecar may take to poll again after a jump; it polls every second.
const PATIENCE: Duration = Duration::from_secs(10);

/// Row 14.
pub(crate) async fn jumps_and_days(trial: Trial) -> Outcome {
    let Some(library) = faketime_library() else {
        return Outcome::Skipped("libfaketime is not installed".to_owned());
    };
    let skews = trial.depth(&SKEWS_HOURS[1..], &SKEWS_HOURS[..]);
    let step = trial.depth(2, 1);
    let (mut cases, mut entries) = (0, 0);
    for moment in MOMENTS.iter().step_by(step) {
        for skew in skews {
            entries += days_at(&trial, &library, moment, *skew).await;
            cases += 1;
        }
    }
    let jumps = trial.depth(&JUMPS_HOURS[..3], &JUMPS_HOURS[..]);
    let jumped = jump(&trial, &library, jumps).await;
    Outcome::Counts(format!("{cases} moments, {entries} entries, 0 on a wrong day; {jumped}"))
}

fn setup(trial: &Trial, simulator: &Simulator, library: &Path) -> Setup {
    Setup::new(trial, simulator)
        .with("LOG_LEVEL", trial.depth("trace", "info"))
        .with("LD_PRELOAD", library.to_str().unwrap())
        .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// Calls around a moment; answers the entries that were looked at.
async fn days_at(trial: &Trial, library: &Path, moment: &Moment, skew_hours: i64) -> usize {
    let (zone, at, day_before, day_after) = *moment;
    let at: Timestamp = at.parse().unwrap();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    advance_to(&simulator, at, BEFORE);
    let own = at + SignedDuration::from_hours(skew_hours) - SignedDuration::try_from(BEFORE).unwrap();
    let mut setup = setup(trial, &simulator, library)
        .with("TZ", "UTC")
        .with("FAKETIME", own.strftime("@%Y-%m-%d %H:%M:%S").to_string())
        .with("BILLING_TIMEZONE", zone);
    setup.database = trial.path(&format!("{}-{}-{skew_hours}.db", zone.replace('/', "-"), at.as_second()));
    let mut sidecar = setup.start().await;
    let mut seen = Vec::new();
    for before in [Some(BEFORE), Some(JUST_BEFORE), None] {
        match before {
            Some(before) => advance_to(&simulator, at, before),
            None => advance_to(&simulator, at, Duration::ZERO),
        }
        for stream in [true, false] {
            seen.push(call(&sidecar, stream, &json!({})).await);
        }
    }
    sidecar.terminate();
    assert!(sidecar.ended().await.success());
    wait_settled(&setup.database).await;
    let truth = simulator.truth();
    let counts = check_in(zone, &setup.database, &truth, &seen).await;
    assert_eq!(counts.booked, seen.len());
    let expected = |charge: &Charge| {
        if charge.created_ms < at.as_millisecond() { day_before } else { day_after }
    };
    let sides = truth.iter().filter(|charge| charge.created_ms < at.as_millisecond()).count();
    assert!(sides > 0 && sides < truth.len(), "all calls are on one side of {at}");
    are_booked_on(&setup.database, &truth, expected).await;
    let (first, _) = admitted_between(&setup.database).await;
    assert!((own.as_millisecond()..at.as_millisecond()).contains(&first), "its own clock was not moved");
    counts.booked
}

/// Moves the biller's clock to so long before a moment; it goes forward only.
fn advance_to(simulator: &Simulator, at: Timestamp, before: Duration) {
    let target = at.as_millisecond() - i64::try_from(before.as_millis()).unwrap();
    let by = target - simulator.now_ms();
    simulator.advance(Duration::from_millis(u64::try_from(by).unwrap_or(0)));
}

async fn call(sidecar: &Sidecar, stream: bool, knobs: &Value) -> Seen {
    let seen = ask(question(&client(), sidecar.proxy, "anna", &chat(stream, knobs)), "anna").await.unwrap();
    assert_eq!(seen.status, 200);
    assert!(seen.whole);
    seen
}

/// The instant of an entry is the biller's second, its day is the expected one, and the daily rows count the same.
async fn are_booked_on(database: &Path, truth: &[Charge], expected: impl Fn(&Charge) -> &'static str) {
    let mut connection = connect(database).await;
    let entries: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT generation_id, day, occurred_at_ms FROM entries")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    let mut days: BTreeMap<String, i64> = BTreeMap::new();
    for (generation_id, day, occurred_at_ms) in &entries {
        let charge = truth.iter().find(|charge| charge.generation_id == *generation_id).unwrap();
        assert_eq!(day, expected(charge), "{charge:?}");
        assert_eq!(*occurred_at_ms, charge.created_ms / 1_000 * 1_000);
        *days.entry(day.clone()).or_default() += 1;
    }
    let rows: Vec<(String, i64)> = sqlx::query_as("SELECT day, sum(requests) FROM daily_usage GROUP BY day")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    assert_eq!(rows.into_iter().collect::<BTreeMap<_, _>>(), days);
    connection.close().await.unwrap();
}

/// The wall clock of a running sidecar jumps while a stream is under way and calls are open.
async fn jump(trial: &Trial, library: &Path, jumps: &[i64]) -> String {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let offset = trial.path("offset");
    std::fs::write(&offset, "+0").unwrap();
    let mut setup = setup(trial, &simulator, library)
        .with("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap())
        .with("FAKETIME_NO_CACHE", "1")
        .with("POLL_INTERVAL", "1");
    setup.database = trial.path("jumps.db");
    let sidecar = setup.start().await;
    let (mut seen, mut slowest) = (Vec::new(), Duration::ZERO);
    for hours in jumps {
        let unpriced = json!({ "cost": "missing", "settle_after_ms": 500 });
        seen.push(call(&sidecar, true, &unpriced).await);
        let (http, proxy) = (client(), sidecar.proxy);
        let mut streams = JoinSet::new();
        streams.spawn(async move {
            let body = chat(true, &json!({ "chunks": 20, "chunk_delay_ms": 30 }));
            ask(question(&http, proxy, "bob", &body), "bob").await.unwrap()
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        set_clock(&offset, *hours);
        let jumped = Instant::now();
        for stream in [true, false] {
            seen.push(call(&sidecar, stream, &json!({})).await);
        }
        seen.push(call(&sidecar, false, &unpriced).await);
        let under_way = streams.join_all().await;
        assert!(under_way.iter().all(|stream| stream.status == 200 && stream.whole));
        seen.extend(under_way);
        next_poll(&setup.database).await;
        wait_settled(&setup.database).await;
        slowest = slowest.max(jumped.elapsed());
    }
    drop(sidecar);
    let truth = simulator.truth();
    let counts = check_in("Europe/Warsaw", &setup.database, &truth, &seen).await;
    assert_eq!((counts.booked, counts.orphans), (seen.len(), 0));
    let (first, last) = admitted_between(&setup.database).await;
    assert!(last - first > 5 * 3_600_000, "its clock did not jump");
    format!(
        "{} jumps of a running clock, {counts}, all settled within {slowest:.1?} of the jump",
        jumps.len()
    )
}

/// The first and the last admission by the sidecar's own clock.
async fn admitted_between(database: &Path) -> (i64, i64) {
    let mut connection = connect(database).await;
    let admitted = "SELECT min(admitted_at_ms), max(admitted_at_ms) FROM calls";
    sqlx::query_as(admitted).fetch_one(&mut connection).await.unwrap()
}

/// Changes the offset that libfaketime reads, in one step.
fn set_clock(offset: &Path, hours: i64) {
    let next = offset.with_extension("next");
    std::fs::write(&next, format!("{:+}", hours * 3_600)).unwrap();
    std::fs::rename(next, offset).unwrap();
}

/// Waits for two polls: the first may have been under way.
async fn next_poll(database: &Path) {
    let mut connection = connect(database).await;
    let (mut first, deadline) = (None, Instant::now() + PATIENCE);
    loop {
        let polls: i64 = sqlx::query_scalar("SELECT count(*) FROM reconciliations")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        if polls > *first.get_or_insert(polls) + 1 {
            return;
        }
        assert!(Instant::now() < deadline, "the sidecar polls no more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
