//! What is kept in memory adds up to what `SQLite` says.

use jiff::civil::{Date, date};
use jiff::{Timestamp, ToSpan as _};
use metering::{Cost, ExternalUser, Markup, OrgId, PicoUsd, Tokens, UserId};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use super::*;
use crate::reads::usage::{Scope, UsageBy, sums_of_days};
use crate::{Adjust, Adjustment, Asker, Ledger, LedgerOptions, OrganisationFacts};

const ALL_WAYS: [UsageBy; 6] = [
    UsageBy::Nothing,
    UsageBy::Day,
    UsageBy::User,
    UsageBy::Model,
    UsageBy::UserAndModel,
    UsageBy::DayAndModel,
];

struct Books {
    ledger: Ledger,
    org: OrgId,
    _folder: TempDir,
}

impl Books {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let name = Some("Company_A".into());
        let options = LedgerOptions {
            path: folder.path().join("usage.db"),
            organisation: OrganisationFacts { name, ..OrganisationFacts::none(Timestamp::UNIX_EPOCH) },
            tasks: TaskTracker::new(),
        };
        let (ledger, _) = Ledger::open(&options).await.unwrap();
        Self { org: ledger.organisation().id.clone(), ledger, _folder: folder }
    }

    /// Books the next entries of a sequence that looks like chance: days back and forth, new users and models, corrections.
    async fn book(&self, entries: std::ops::Range<i32>) {
        let adjustments = entries.map(|number| self.entry(number)).collect();
        self.ledger.adjust(Adjust { adjustments, booked_at: Timestamp::UNIX_EPOCH }).await.unwrap();
    }

    fn entry(&self, number: i32) -> Adjustment {
        let dice = |sides: i32, salt: i32| ((number + salt).wrapping_mul(7_919) >> 3).rem_euclid(sides);
        let day = date(2026, 1, 30) + dice(60, 1).days();
        let user_id = UserId::new(format!("user {}", dice(5 + number / 40, 2)));
        let cost = i64::from(dice(2_000, 3) - 500);
        let count = |most, salt| u64::try_from(dice(most, salt)).ok();
        Adjustment {
            reference: number.to_string(),
            note: String::new(),
            unattributed: false,
            generation_id: None,
            user: Asker {
                external_user: ExternalUser::of(&self.org, &user_id),
                user_id,
                name: None,
                email: None,
                role: None,
            },
            model: format!("model {}", dice(3 + number / 60, 4)),
            provider: None,
            day,
            occurred_at: day.at(12, 0, 0, 0).to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp(),
            requests: 1,
            tokens: Tokens { prompt: count(900, 5), completion: count(90, 6), ..Tokens::default() },
            cost: Cost { amount: PicoUsd::new(cost), text: format!("{cost}e-12"), exact: true },
            markup: Markup::DEFAULT,
            charge: Markup::DEFAULT.charge(PicoUsd::new(cost)).unwrap(),
        }
    }

    fn scopes(&self) -> Vec<Scope> {
        let periods = [
            (Date::MIN, Date::MAX),
            (date(2026, 2, 1), date(2026, 2, 28)),
            (date(2026, 2, 14), date(2026, 2, 14)),
            (date(2026, 3, 1), date(2026, 2, 1)),
            (date(2027, 1, 1), date(2027, 12, 31)),
        ];
        let users = [None, Some("user 1".to_owned()), Some("nobody".to_owned())];
        let scope = |(from, to), user_id: &Option<String>| Scope {
            org_id: self.org.clone(),
            user_id: user_id.clone(),
            from,
            to,
        };
        periods.iter().flat_map(|period| users.iter().map(|user| scope(*period, user))).collect()
    }
}

#[tokio::test]
async fn rows_in_memory_add_up_to_what_the_file_says() {
    let books = Books::new().await;
    let reader = books.ledger.reader();
    for entries in [0..0, 0..1, 1..30, 30..31, 31..200, 200..5_000, 5_000..5_003] {
        books.book(entries.clone()).await;
        let rows = reader.kept.rows(&books.org, &reader.pool).await.unwrap().unwrap();
        for (scope, by) in books.scopes().iter().flat_map(|scope| ALL_WAYS.map(|by| (scope, by))) {
            let mut connection = reader.pool.acquire().await.unwrap();
            let read = sums_of_days(scope, by, &mut connection).await.unwrap();
            assert_eq!(rows.sums(scope, by), Some(read), "{entries:?} {by:?} {scope:?}");
        }
    }
}

#[tokio::test]
async fn of_too_many_rows_none_is_kept_and_the_answers_are_the_same() {
    let books = Books::new().await;
    books.book(0..20).await;
    let reader = books.ledger.reader();
    let few = Kept { most_rows: 30, ..Kept::default() };
    assert!(few.rows(&books.org, &reader.pool).await.unwrap().is_some());
    books.book(20..200).await;
    assert!(few.rows(&books.org, &reader.pool).await.unwrap().is_none());
    let none = Kept { most_rows: 3, ..Kept::default() };
    assert!(none.rows(&books.org, &reader.pool).await.unwrap().is_none());
    let limited = crate::LedgerReader { kept: none, ..reader.clone() };
    for (scope, by) in books.scopes().iter().flat_map(|scope| ALL_WAYS.map(|by| (scope, by))) {
        assert_eq!(limited.usage(scope, by).await.unwrap(), reader.usage(scope, by).await.unwrap());
        assert_eq!(limited.summary(scope).await.unwrap(), reader.summary(scope).await.unwrap());
    }
}
