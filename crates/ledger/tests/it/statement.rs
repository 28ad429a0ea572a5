//! A statement of `OpenRouter` is taken: the bill to the pico-dollar, once, whatever is told again.

use jiff::civil::date;
use jiff::{SignedDuration, Timestamp};
use ledger::{
    CallId, Ending, NewReconciliation, Settled, StatementCounts, StatementDay, UsageBy, WriteError,
};
use metering::{Cost, ExternalUser, PicoUsd, StatedGeneration, Statement, Tokens, UserId};

use crate::{Books, at, settle};

/// 2026-11-22, midnight UTC.
const MIDNIGHT: &str = "2026-11-22T00:00:00Z";

fn late() -> Timestamp {
    at("2026-11-25T00:00:00Z")
}

fn id(second: i64, name: &str) -> String {
    format!("gen-{}-{name}", at(MIDNIGHT).as_second() + second)
}

impl Books {
    /// A ledger that began to watch on the day before, with the key `ab`.
    async fn watching() -> Self {
        let books = Self::new().await;
        let poll = NewReconciliation {
            org_id: books.org.clone(),
            polled_at: at("2026-11-21T12:00:00Z"),
            key_hash: Some("ab".into()),
            key_usage: None,
            settled_calls: 0,
            error: None,
        };
        books.ledger.record_reconciliation(poll).await.unwrap();
        books
    }

    fn stated(&self, second: i64, name: &str, user: &str, cost: &str) -> StatedGeneration {
        StatedGeneration {
            generation_id: id(second, name),
            at: at(MIDNIGHT) + SignedDuration::from_secs(second),
            external_user: Some(ExternalUser::of(&self.org, &UserId::new(user)).as_str().to_owned()),
            model: Some("openai/gpt-4o-mini".into()),
            cost: Cost::read(cost).unwrap(),
            requests: 1,
            tokens: Tokens { prompt: Some(20), completion: Some(2), ..Tokens::default() },
        }
    }

    async fn orphan_at(&self, user: &str, second: i64) -> CallId {
        let mut call = self.call(user);
        call.admitted_at = at(MIDNIGHT) + SignedDuration::from_secs(second);
        let call_id = call.id;
        self.ledger.admit(call).await.unwrap();
        let (outcome, note) = ("no-head", "it broke off".to_owned());
        let ending = Ending { call_id, outcome, note, http_status: None, closed_at: late() };
        self.ledger.orphan(ending).await.unwrap();
        call_id
    }

    async fn booked(&self, user: &str, second: i64, name: &str, cost: &str) {
        let call = self.open_call(user, &id(second, name)).await;
        self.ledger.settle(settle(call, cost)).await.unwrap();
    }

    async fn take(&self, statement: &Statement) -> StatementDay {
        let day = self.ledger.take_statement(statement.clone(), late()).await.unwrap();
        self.assert_sound().await;
        day
    }

    async fn refused(&self, statement: &Statement) -> String {
        let error = self.ledger.take_statement(statement.clone(), late()).await.unwrap_err();
        assert!(matches!(error, WriteError::Refused(_)), "{error}");
        error.to_string()
    }

    async fn rows(&self, query: &'static str) -> Vec<(String, i64)> {
        let mut connection = self.connection().await;
        sqlx::query_as(query).fetch_all(&mut connection).await.unwrap()
    }

    /// Everything that is money, and the state of every call.
    async fn money(&self) -> Vec<(String, i64)> {
        self.rows(
            "SELECT kind || ' ' || user_id || ' ' || model || ' ' || day || ' ' || cost_text || ' ' || charge_pico_usd
                    || ' ' || requests || ifnull(generation_id, ''), id
             FROM entries
             UNION ALL SELECT state || ' ' || ifnull(generation_id, '') || id, 0 FROM calls
             UNION ALL SELECT 'daily ' || day || user_id || model || charge_pico_usd, cost_pico_usd FROM daily_usage
             UNION ALL SELECT reference, entry_id FROM adjustments
             UNION ALL SELECT generation_id, entry_id FROM statement_matches
             ORDER BY 1, 2",
        )
        .await
    }
}

fn statement(generations: Vec<StatedGeneration>) -> Statement {
    Statement {
        day: date(2026, 11, 22),
        key_hashes: vec!["ab".into()],
        fetched_at: late(),
        complete: true,
        generations,
        without_generation: PicoUsd::ZERO,
    }
}

fn usd(text: &str) -> PicoUsd {
    PicoUsd::parse(text).unwrap().amount
}

/// Every way there is to be wrong, on one day.
async fn a_bad_day() -> (Books, Statement) {
    let books = Books::watching().await;
    books.booked("anna", 3_600, "right", "1").await;
    books.booked("anna", 3_601, "wrong", "2").await;
    books.open_call("bob", &id(3_602, "open")).await;
    books.orphan_at("anna", 4_000).await;
    books.orphan_at("bob", 50_000).await;
    let (unnamed, _) = books.admit("anna").await;
    books.ledger.settle(settle(unnamed, "0.5")).await.unwrap();
    let mut stranger = books.stated(6_000, "stranger", "nobody-we-know", "16");
    stranger.model = None;
    let noon = 12 * 3_600;
    let generations = vec![
        books.stated(3_600, "right", "anna", "1"),
        books.stated(3_601, "wrong", "anna", "1.999999999999"),
        books.stated(3_602, "open", "bob", "4"),
        books.stated(4_001, "orphan", "anna", "8"),
        books.stated(noon + 1, "unnamed", "anna", "0.5"),
        stranger,
        books.stated(6_001, "past", "bob", "3.2e1"),
    ];
    (books, statement(generations))
}

#[tokio::test]
async fn after_one_statement_the_books_are_the_bill_and_a_second_changes_nothing() {
    let (books, statement) = a_bad_day().await;
    let planned = books.ledger.reader().compare_statement(&statement).await.unwrap();
    let before = books.money().await;
    assert_eq!(books.money().await, before, "a comparison writes nothing");
    let day = books.take(&statement).await;
    assert_eq!(day, planned);
    assert_eq!((day.bill, day.difference, day.is_final), (usd("63.499999999999"), PicoUsd::ZERO, true));
    assert_eq!((day.ledger, day.unattributed), (usd("15.499999999999"), usd("48")));
    let done = StatementCounts {
        settled: 1,
        orphans_settled: 1,
        recognised: 1,
        unattributed: 2,
        corrected: 1,
        voided: 1,
    };
    assert_eq!(day.done, done);
    assert_eq!(books.usage(UsageBy::Nothing).await[0].cost_pico_usd, day.bill.pico());
    let users: Vec<_> = books.usage(UsageBy::User).await;
    let of =
        |user: &str| users.iter().find(|usage| usage.user_id.as_deref() == Some(user)).unwrap().cost_pico_usd;
    assert_eq!(of("anna"), usd("11.499999999999").pico());
    assert_eq!((of("bob"), of("unattributed")), (usd("36").pico(), usd("16").pico()));

    let after = books.money().await;
    let again = books.take(&statement).await;
    assert!(again.done.are_none() && again.is_final, "{again:?}");
    assert_eq!(books.money().await, after);
    let facts = books.ledger.reader().statement_facts().await.unwrap();
    assert_eq!((facts.days.len(), facts.days[0].is_final, facts.key_hashes), (1, true, vec!["ab".into()]));
    assert_eq!(books.ledger.reader().last_final_day().await.unwrap().unwrap().bill, day.bill);
}

/// A cost that goes up, down and up again is followed to the pico-dollar each time.
#[tokio::test]
async fn only_the_further_difference_is_booked() {
    let books = Books::watching().await;
    books.booked("anna", 3_600, "x", "1").await;
    for (hour, cost) in [(0, "2"), (1, "1"), (2, "2"), (3, "2.000000000001")] {
        let mut statement = statement(vec![books.stated(3_600, "x", "anna", cost)]);
        statement.fetched_at = late() + SignedDuration::from_hours(hour);
        let now = statement.fetched_at;
        let day = books.ledger.take_statement(statement, now).await.unwrap();
        assert_eq!((day.ledger, day.difference, day.done.corrected), (usd(cost), PicoUsd::ZERO, 1));
        assert_eq!(books.usage(UsageBy::Nothing).await[0].cost_pico_usd, usd(cost).pico());
    }
    assert_eq!(books.usage(UsageBy::Nothing).await[0].requests, 1);
    books.assert_sound().await;
}

/// Invariant 2: what the statement has booked, the call cannot book once more, whatever it is told later.
#[tokio::test]
async fn a_call_that_claims_an_unattributed_generation_books_nothing() {
    let books = Books::watching().await;
    let statement = statement(vec![books.stated(3_600, "x", "anna", "1")]);
    books.take(&statement).await;
    let call = books.open_call("anna", &id(3_600, "x")).await;
    assert_eq!(books.ledger.settle(settle(call, "1")).await.unwrap(), Settled::Clash);
    assert_eq!(books.usage(UsageBy::Nothing).await[0].cost_pico_usd, usd("1").pico());
    books.assert_sound().await;
    // And the database itself refuses a second one.
    let mut connection = books.connection().await;
    let copy = "INSERT INTO entries SELECT 99, 'call', calls.id, entries.generation_id, entries.org_id, entries.user_id, model,
            entries.model_asked, entries.provider, day, occurred_at_ms, booked_at_ms, requests, 0, 0, 0, 0, cost_text, cost_exact,
            cost_pico_usd, cost_source, entries.markup, charge_pico_usd, NULL
        FROM entries JOIN calls ON TRUE";
    let error = sqlx::query(copy).execute(&mut connection).await.unwrap_err().to_string();
    assert!(error.contains("entries.generation_id"), "{error}");
}

#[tokio::test]
async fn what_could_corrupt_the_books_is_refused_and_changes_nothing() {
    let (books, sound) = a_bad_day().await;
    let before = books.money().await;
    let changed = |change: &dyn Fn(&mut Statement)| {
        let mut statement = sound.clone();
        change(&mut statement);
        statement
    };
    for (statement, words) in [
        (changed(&|it| it.complete = false), "not complete"),
        (changed(&|it| it.key_hashes = vec!["cd".into()]), "not of the key ab"),
        (changed(&|it| it.fetched_at = at("2026-11-22T23:59:59Z")), "was not over"),
        (changed(&|it| it.fetched_at = at("2026-11-26T00:00:00Z")), "in the future"),
        (changed(&|it| it.generations[1] = it.generations[0].clone()), "twice"),
    ] {
        let why = books.refused(&statement).await;
        assert!(why.contains(words), "{why}");
        assert_eq!(books.money().await, before);
    }
    books.take(&sound).await;
    let after = books.money().await;
    let older = changed(&|it| it.fetched_at = at("2026-11-24T23:00:00Z"));
    assert!(books.refused(&older).await.contains("a later statement"));
    assert_eq!(books.money().await, after);
}

/// A settled call that a whole statement lacks is told, and nothing is taken back.
#[tokio::test]
async fn what_the_statement_lacks_is_told_and_left() {
    let books = Books::watching().await;
    books.booked("anna", 3_600, "x", "1").await;
    let orphan = books.orphan_at("anna", 40_000).await;
    let day = books.take(&statement(vec![])).await;
    assert_eq!((day.told.missing, day.told.missing_cost, day.difference), (1, usd("1"), usd("-1")));
    assert!(!day.is_final && day.is_late_enough && day.done.are_none(), "{day:?}");
    // Nor does such a statement prove that an orphan was not billed.
    let orphans = books.rows("SELECT id, 1 FROM calls WHERE state = 'orphan'").await;
    assert_eq!(orphans, [(orphan.to_string(), 1)]);
}

/// A cost that is told after its day was final opens the day again.
#[tokio::test]
async fn a_final_day_that_changes_is_not_final_any_more() {
    let books = Books::watching().await;
    let late_call = books.open_call("anna", &id(3_600, "late")).await;
    assert!(books.take(&statement(vec![])).await.is_final);
    let is_final = async || books.ledger.reader().statement_facts().await.unwrap().days[0].is_final;
    assert!(is_final().await);
    books.ledger.settle(settle(late_call, "1")).await.unwrap();
    assert!(!is_final().await);
    let day = books.take(&statement(vec![])).await;
    assert_eq!((day.told.missing, day.difference, day.is_final), (1, usd("-1"), false));
}

/// Nothing in such an id says when it was: it is known by itself alone, wherever its entry is.
#[tokio::test]
async fn an_id_without_an_instant_is_booked_once() {
    let books = Books::watching().await;
    let mut without = books.stated(43_200, "x", "anna", "1");
    without.generation_id = "gen-AAAA".into();
    let first = statement(vec![without.clone()]);
    assert_eq!(books.take(&first).await.done.unattributed, 1);
    let mut later = statement(vec![StatedGeneration { at: at("2026-11-15T12:00:00Z"), ..without }]);
    later.day = date(2026, 11, 15);
    assert!(books.take(&later).await.done.are_none());
    assert_eq!(books.usage(UsageBy::Nothing).await[0].cost_pico_usd, usd("1").pico());
}

/// 23:30 UTC is half past midnight in Warsaw: the statement's day is UTC's, the bill's is Warsaw's.
#[tokio::test]
async fn a_utc_day_and_a_billing_day_are_two() {
    let books = Books::watching().await;
    books.booked("anna", 84_600, "before", "1").await;
    books.booked("anna", 86_400, "after", "2").await;
    let last = books.stated(84_601, "past", "anna", "4");
    let day = books.take(&statement(vec![books.stated(84_600, "before", "anna", "1"), last])).await;
    assert_eq!((day.bill, day.difference, day.is_final), (usd("5"), PicoUsd::ZERO, true));
    let days = books.usage(UsageBy::Day).await;
    assert_eq!((days.len(), days[0].day.as_deref()), (1, Some("2026-11-23")));
}

/// More bookings than one transaction takes: they go on where they stopped, and the day counts only at the end.
#[tokio::test]
async fn a_long_statement_is_taken_in_pieces() {
    let books = Books::watching().await;
    let generations =
        (0..1_100).map(|second| books.stated(3_600 + second, "past", "anna", "0.001")).collect();
    let statement = statement(generations);
    let mut left = Vec::new();
    for _ in 0..3 {
        let day = books.ledger.take_statement(statement.clone(), late()).await.unwrap();
        left.push((day.done.unattributed, day.left, day.is_final));
    }
    assert_eq!(left, [(500, 600, false), (500, 100, false), (100, 0, true)]);
    assert_eq!(books.usage(UsageBy::Nothing).await[0].cost_pico_usd, usd("1.1").pico());
    books.assert_sound().await;
}
