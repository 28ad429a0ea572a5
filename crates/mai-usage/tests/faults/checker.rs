//! Three histories side by side: what each client saw, what the simulated `OpenRouter` billed, what the database holds.
//! Nothing here comes from the program but its file; the rules are written a second time, in the plainest way.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use openrouter_sim::Charge;
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, FromRow, SqliteConnection};
use tokio::time::Instant;

use crate::callers::Seen;
use crate::sidecar::PROGRAM;

/// How long nothing may happen to open calls.
const PATIENCE: Duration = Duration::from_mins(1);

/// The organisation of every test: `mai_client_` + the first 8 hex digits of the MD5 of `Company_A`.
const ORG_ID: &str = "mai_client_63a4eb6d";

/// What was compared.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) charges: usize,
    pub(crate) heads_seen: usize,
    pub(crate) booked: usize,
    /// Charges that are not booked; each has an orphan of its own.
    pub(crate) with_orphans: usize,
    /// Orphans in all: some were never billed.
    pub(crate) orphans: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { charges, heads_seen, booked, with_orphans, orphans } = self;
        write!(
            f,
            "{charges} charges, {heads_seen} heads seen, {booked} booked, {with_orphans} charges matched with {orphans} \
             orphans, 0 lost, 0 doubled"
        )
    }
}

#[derive(Debug, FromRow)]
struct Entry {
    kind: String,
    generation_id: Option<String>,
    user_id: String,
    day: String,
    occurred_at_ms: i64,
    cost_text: String,
    cost_pico_usd: i64,
    markup: String,
    charge_pico_usd: i64,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
}

#[derive(Debug, FromRow)]
struct Call {
    user_id: String,
    state: String,
    generation_id: Option<String>,
    outcome: Option<String>,
    admitted_at_ms: i64,
}

/// The database as it is found.
#[derive(Debug)]
pub(crate) struct Books {
    entries: Vec<Entry>,
    calls: Vec<Call>,
}

/// Opens the file for reading only, by SQL alone.
pub(crate) async fn connect(database: &Path) -> SqliteConnection {
    let options =
        SqliteConnectOptions::new().filename(database).read_only(true).busy_timeout(Duration::from_secs(30));
    SqliteConnection::connect_with(&options).await.unwrap()
}

/// How many calls are in one of `states`.
pub(crate) async fn calls_in(database: &Path, states: &[&str]) -> i64 {
    let mut connection = connect(database).await;
    let list = states.iter().map(|state| format!("'{state}'")).collect::<Vec<_>>().join(",");
    let count = format!("SELECT count(*) FROM calls WHERE state IN ({list})");
    sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut connection).await.unwrap()
}

/// The generation ids on record.
pub(crate) async fn known_ids(database: &Path) -> HashSet<String> {
    const IDS: &str = "SELECT generation_id FROM calls WHERE generation_id IS NOT NULL";
    let mut connection = connect(database).await;
    let ids: Vec<String> = sqlx::query_scalar(IDS).fetch_all(&mut connection).await.unwrap();
    ids.into_iter().collect()
}

/// Waits until no call is being answered any more: every one has its end written down.
pub(crate) async fn wait_closed(database: &Path) {
    let (mut connection, deadline) = (connect(database).await, Instant::now() + PATIENCE);
    loop {
        let count = "SELECT count(*) FROM calls WHERE closed_at_ms IS NULL";
        let under_way: i64 = sqlx::query_scalar(count).fetch_one(&mut connection).await.unwrap();
        if under_way == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "{under_way} calls are still being answered after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How often calls ended in which way.
pub(crate) async fn outcomes(database: &Path) -> BTreeMap<String, usize> {
    let mut connection = connect(database).await;
    let counts = "SELECT outcome, count(*) FROM calls WHERE outcome IS NOT NULL GROUP BY outcome";
    let counts: Vec<(String, i64)> = sqlx::query_as(counts).fetch_all(&mut connection).await.unwrap();
    counts.into_iter().map(|(outcome, count)| (outcome, usize::try_from(count).unwrap())).collect()
}

/// Waits until every call is settled, an orphan or void. Four questions a second are asked, so many take long.
pub(crate) async fn wait_settled(database: &Path) {
    const OPEN: &str = "SELECT count(*), ifnull(sum(asks), 0) FROM calls WHERE state IN ('intent', 'open')";
    let mut last = ((0, 0), Instant::now());
    loop {
        let mut connection = connect(database).await;
        let open: (i64, i64) = sqlx::query_as(OPEN).fetch_one(&mut connection).await.unwrap();
        if open.0 == 0 {
            return;
        }
        // Fewer are open, or they were asked about.
        if open != last.0 {
            last = (open, Instant::now());
        }
        assert!(last.1.elapsed() < PATIENCE, "{} calls stay open", open.0);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Compares the three histories of calls that all went through the sidecar. Panics where a promise is broken.
pub(crate) async fn check(database: &Path, truth: &[Charge], seen: &[Seen]) -> Counts {
    check_in("Europe/Warsaw", database, truth, seen).await
}

/// The same for an organisation in another zone.
pub(crate) async fn check_in(zone: &str, database: &Path, truth: &[Charge], seen: &[Seen]) -> Counts {
    let books = read(database).await;
    let heads_seen = books.know_every_head(seen);
    let unbooked = books.are_the_bill(truth);
    let orphans = books.have_an_orphan_for_each(&unbooked);
    books.follow_the_rules(zone);
    check_roll_up(database).await;
    verify(database);
    Counts {
        charges: truth.len(),
        heads_seen,
        booked: books.entries.len(),
        with_orphans: unbooked.len(),
        orphans,
    }
}

/// What was compared where ids come twice or not at all.
#[derive(Debug)]
pub(crate) struct IdCounts {
    pub(crate) charges: usize,
    pub(crate) booked: usize,
    /// Entries of answers that told no id.
    pub(crate) booked_without_id: usize,
    /// Charges whose id was booked for another one; each has a call that says so.
    pub(crate) clashes: usize,
    pub(crate) orphans: usize,
}

/// Like [`check`], of a bill that tells ids twice and answers that tell none: no id is booked twice, no charge is, and each
/// charge that is not booked is a call that says why.
pub(crate) async fn check_ids(database: &Path, truth: &[Charge], seen: &[Seen]) -> IdCounts {
    let books = read(database).await;
    books.know_every_caller(seen);
    let unbooked = books.are_on_the_bill_once(truth);
    let ids: HashSet<_> = books.entries.iter().filter_map(|entry| entry.generation_id.as_deref()).collect();
    let (clashing, unknown): (Vec<&Charge>, Vec<&Charge>) =
        unbooked.into_iter().partition(|charge| ids.contains(charge.generation_id.as_str()));
    books.say_so_of_each_clash(&clashing);
    let orphans = books.have_an_orphan_for_each(&unknown);
    books.follow_the_rules("Europe/Warsaw");
    check_roll_up(database).await;
    verify(database);
    let without_id = books.entries.iter().filter(|entry| entry.generation_id.is_none()).count();
    IdCounts {
        charges: truth.len(),
        booked: books.entries.len(),
        booked_without_id: without_id,
        clashes: clashing.len(),
        orphans,
    }
}

/// The program's own opinion of a file.
pub(crate) fn verify(database: &Path) {
    let verdict = Command::new(PROGRAM).args(["verify", "--database"]).arg(database).output().unwrap();
    assert!(verdict.status.success(), "verify: {}", String::from_utf8_lossy(&verdict.stdout));
}

async fn read(database: &Path) -> Books {
    let mut connection = connect(database).await;
    let sound: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut connection).await.unwrap();
    assert_eq!(sound, ["ok"]);
    let entries = sqlx::query_as("SELECT * FROM entries").fetch_all(&mut connection).await.unwrap();
    let calls = sqlx::query_as("SELECT * FROM calls").fetch_all(&mut connection).await.unwrap();
    Books { entries, calls }
}

impl Books {
    /// Durable id: who has seen the head of a 2xx answer finds its call on record, under the right user.
    fn know_every_head(&self, seen: &[Seen]) -> usize {
        let known: HashMap<&str, &Call> =
            self.calls.iter().filter_map(|call| Some((call.generation_id.as_deref()?, call))).collect();
        let mut heads = 0;
        for seen in seen.iter().filter(|seen| (200..300).contains(&seen.status)) {
            let Some(generation_id) = seen.generation_id.as_deref() else { continue };
            heads += 1;
            let call = known.get(generation_id);
            let user = call.map(|call| call.user_id.as_str());
            assert_eq!(user, Some(seen.user_id.as_str()), "lost: a client saw the head of {generation_id}");
            assert_ne!(call.unwrap().state, "orphan", "{generation_id} was seen and is an orphan");
        }
        heads
    }

    /// Once and exact: every entry is a charge of the bill, at its cost, and no charge has two. Answers the charges that
    /// have none.
    fn are_the_bill<'a>(&self, truth: &'a [Charge]) -> Vec<&'a Charge> {
        let bill: HashMap<&str, &Charge> =
            truth.iter().map(|charge| (charge.generation_id.as_str(), charge)).collect();
        assert_eq!(bill.len(), truth.len(), "this bill tells ids twice: it wants a check of its own");
        let mut booked: HashMap<&str, &Entry> = HashMap::new();
        for entry in &self.entries {
            assert_eq!(entry.kind, "call");
            let generation_id =
                entry.generation_id.as_deref().unwrap_or_else(|| panic!("{entry:?} has no id"));
            assert!(booked.insert(generation_id, entry).is_none(), "{generation_id} is booked twice");
            let charge =
                bill.get(generation_id).unwrap_or_else(|| panic!("{generation_id} is not on the bill"));
            assert_eq!(entry.cost_pico_usd, charge.cost_pico_usd, "{generation_id}");
            assert_eq!(Some(external_user(&entry.user_id)), charge.external_user, "{generation_id}");
            let tokens = (entry.prompt_tokens, entry.completion_tokens);
            assert_eq!(
                tokens,
                (Some(charge.prompt_tokens), Some(charge.completion_tokens)),
                "{generation_id}"
            );
        }
        let unbooked: Vec<_> =
            truth.iter().filter(|charge| !booked.contains_key(charge.generation_id.as_str())).collect();
        let sum = |charges: &mut dyn Iterator<Item = i64>| charges.map(i128::from).sum::<i128>();
        let booked_pico = sum(&mut self.entries.iter().map(|entry| entry.cost_pico_usd));
        let unbooked_pico = sum(&mut unbooked.iter().map(|charge| charge.cost_pico_usd));
        assert_eq!(booked_pico + unbooked_pico, sum(&mut truth.iter().map(|charge| charge.cost_pico_usd)));
        unbooked
    }

    /// Durable id, where two callers may have seen the same one.
    fn know_every_caller(&self, seen: &[Seen]) {
        let known: HashSet<_> =
            self.calls.iter().map(|call| (call.generation_id.as_deref(), call.user_id.as_str())).collect();
        for seen in seen.iter().filter(|seen| seen.generation_id.is_some()) {
            let call = (seen.generation_id.as_deref(), seen.user_id.as_str());
            assert!(known.contains(&call), "lost: a client saw {call:?}");
        }
    }

    /// Once, where ids come twice or not at all. Answers the charges that have no entry.
    fn are_on_the_bill_once<'a>(&self, truth: &'a [Charge]) -> Vec<&'a Charge> {
        let mut unbooked: Vec<&Charge> = truth.iter().collect();
        let mut booked = HashSet::new();
        for entry in &self.entries {
            let id = entry.generation_id.as_deref();
            assert!(id.is_none_or(|id| booked.insert(id)), "booked twice: {entry:?}");
            let is_it = |charge: &&Charge| {
                // Of two charges with one id `/generation` tells the later one, whoever asks.
                let same_call = id.map_or_else(
                    || charge.external_user == Some(external_user(&entry.user_id)),
                    |id| charge.generation_id == id,
                );
                let tokens = (Some(charge.prompt_tokens), Some(charge.completion_tokens));
                same_call
                    && charge.cost_pico_usd == entry.cost_pico_usd
                    && tokens == (entry.prompt_tokens, entry.completion_tokens)
            };
            let place = unbooked.iter().position(is_it);
            unbooked.swap_remove(place.unwrap_or_else(|| panic!("not on the bill: {entry:?}")));
        }
        unbooked
    }

    /// Each charge whose id was booked for another one is a call that is void for that very reason.
    fn say_so_of_each_clash(&self, clashing: &[&Charge]) {
        let counted = |ids: &mut dyn Iterator<Item = &str>| {
            let mut counts = BTreeMap::<String, usize>::new();
            ids.for_each(|id| *counts.entry(id.to_owned()).or_default() += 1);
            counts
        };
        let told = self
            .calls
            .iter()
            .filter(|call| call.state == "void" && call.outcome.as_deref() == Some("clash"))
            .filter_map(|call| call.generation_id.as_deref());
        let told = counted(&mut { told });
        assert_eq!(told, counted(&mut clashing.iter().map(|charge| charge.generation_id.as_str())));
    }

    /// Every charge that is not booked needs an orphan of its own: of the same user and no younger than the charge.
    fn have_an_orphan_for_each(&self, unbooked: &[&Charge]) -> usize {
        let mut orphans: BTreeMap<String, Vec<i64>> = BTreeMap::new();
        for call in self.calls.iter().filter(|call| call.state == "orphan") {
            orphans.entry(external_user(&call.user_id)).or_default().push(call.admitted_at_ms);
        }
        let count = orphans.values().map(Vec::len).sum();
        for of_user in orphans.values_mut() {
            of_user.sort_unstable();
        }
        let mut charges = unbooked.to_vec();
        charges.sort_by_key(|charge| charge.created_ms);
        for charge in charges {
            let of_user = orphans.entry(charge.external_user.clone().unwrap()).or_default();
            let oldest = of_user.iter().position(|admitted_at_ms| *admitted_at_ms <= charge.created_ms);
            of_user.remove(oldest.unwrap_or_else(|| panic!("lost: no orphan for {charge:?}")));
        }
        count
    }

    /// The charge is the cost x 1.3, half to even; the day is the local one of the instant; the text is the cost.
    fn follow_the_rules(&self, zone: &str) {
        let zone = TimeZone::get(zone).unwrap();
        for entry in &self.entries {
            assert_eq!(entry.markup, "1.3");
            let (tenfold, half) = (i128::from(entry.cost_pico_usd) * 13, 5);
            let (whole, rest) = (tenfold / 10, tenfold % 10);
            let up = rest > half || (rest == half && whole % 2 == 1);
            assert_eq!(i128::from(entry.charge_pico_usd), whole + i128::from(up), "{entry:?}");
            let local = Timestamp::from_millisecond(entry.occurred_at_ms).unwrap().to_zoned(zone.clone());
            assert_eq!(entry.day, local.strftime("%Y-%m-%d").to_string(), "{entry:?}");
            assert!(!entry.cost_text.is_empty());
        }
    }
}

/// The daily rows are the sums of the entries, and nothing else.
pub(crate) async fn check_roll_up(database: &Path) {
    const SUMS: &str = "SELECT org_id, day, user_id, model, sum(requests), sum(ifnull(prompt_tokens, 0)),
        sum(ifnull(completion_tokens, 0)), sum(cost_pico_usd), sum(charge_pico_usd) FROM entries GROUP BY 1, 2, 3, 4";
    const ROWS: &str =
        "SELECT org_id, day, user_id, model, requests, prompt_tokens, completion_tokens, cost_pico_usd,
        charge_pico_usd FROM daily_usage";
    let mut connection = connect(database).await;
    for (one, other) in [(SUMS, ROWS), (ROWS, SUMS)] {
        let differing =
            format!("SELECT count(*) FROM (SELECT * FROM ({one}) EXCEPT SELECT * FROM ({other}))");
        let differing: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(differing)).fetch_one(&mut connection).await.unwrap();
        assert_eq!(differing, 0, "daily rows and ledger differ");
    }
}

/// `{org}_user_{first 8 hex of SHA-256(user_id)}`; nobody is told in clear.
pub(crate) fn external_user(user_id: &str) -> String {
    if user_id == "unattributed" {
        return format!("{ORG_ID}_user_unattributed");
    }
    let digest = Sha256::digest(user_id.as_bytes());
    format!("{ORG_ID}_user_{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3])
}
