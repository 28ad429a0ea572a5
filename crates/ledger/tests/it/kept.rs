//! What is kept in memory of days that are over never differs from what the file says.

use jiff::civil::date;
use ledger::{LedgerReader, NewCall, Scope, UsageBy};

use crate::{Books, at, known, settle};

const ALL_WAYS: [UsageBy; 6] = [
    UsageBy::Nothing,
    UsageBy::Day,
    UsageBy::User,
    UsageBy::Model,
    UsageBy::UserAndModel,
    UsageBy::DayAndModel,
];

/// Calls as they come: day after day, some late, with new users and models on the way.
const CALLS: [(&str, &str, &str, &str); 14] = [
    ("2026-11-02T09:00:00Z", "anna", "a/one", "1"),
    ("2026-11-03T09:00:00Z", "bob", "a/one", "2"),
    ("2026-11-09T09:00:00Z", "anna", "a/two", "0.5"),
    ("2026-11-09T10:00:00Z", "bob", "a/two", "0.5"),
    ("2026-11-10T09:00:00Z", "anna", "a/one", "1"),
    // Late: days that were over are not what they were.
    ("2026-11-03T08:00:00Z", "anna", "a/one", "0.25"),
    ("2026-11-03T08:30:00Z", "celina", "a/three", "4"),
    ("2026-11-11T09:00:00Z", "celina", "a/three", "0.125"),
    ("2026-11-12T09:00:00Z", "bob", "a/one", "0.125"),
    ("2026-11-12T09:00:01Z", "bob", "a/four", "8"),
    ("2026-10-31T09:00:00Z", "bob", "a/one", "1"),
    ("2026-11-30T09:00:00Z", "anna", "a/one", "1"),
    ("2026-11-12T09:00:02Z", "dora", "a/one", "1"),
    ("2026-12-02T09:00:00Z", "anna", "a/five", "1"),
];

#[tokio::test]
async fn what_is_kept_is_what_the_file_says() {
    let books = Books::new().await;
    let scope = |user: Option<&str>, from, to| Scope {
        org_id: books.org.clone(),
        user_id: user.map(str::to_owned),
        from,
        to,
    };
    let scopes = [
        scope(None, date(2026, 11, 1), date(2026, 11, 30)),
        scope(None, date(2026, 11, 1), date(2026, 11, 9)),
        scope(None, date(2026, 10, 1), date(2026, 12, 31)),
        scope(Some("anna"), date(2026, 10, 1), date(2026, 12, 31)),
        scope(Some("bob"), date(2026, 11, 3), date(2026, 11, 12)),
        scope(Some("nobody"), date(2026, 11, 1), date(2026, 11, 30)),
    ];
    for (number, (instant, user, model, cost)) in CALLS.into_iter().enumerate() {
        let call = NewCall { model: model.into(), ..books.call(user) };
        let call_id = call.id;
        books.ledger.admit(call).await.unwrap();
        let generation_id = format!("gen-{}-{number:020}", at(instant).as_second());
        books.ledger.know_generation(known(call_id, &generation_id)).await.unwrap();
        books.ledger.settle(settle(call_id, cost)).await.unwrap();
        // Who asks for the first time has kept nothing.
        let fresh = LedgerReader::open(&books.folder.path().join("usage.db")).await.unwrap();
        for (scope, by) in scopes.iter().flat_map(|scope| ALL_WAYS.map(|by| (scope, by))) {
            let read = fresh.usage(scope, by).await.unwrap();
            assert_eq!(
                books.ledger.reader().usage(scope, by).await.unwrap(),
                read,
                "{number} {by:?} {scope:?}"
            );
            assert_eq!(
                read.iter().map(|sum| sum.requests).sum::<i64>(),
                calls_of(scope, number),
                "{number} {by:?}"
            );
        }
        fresh.close().await;
    }
}

/// How many of the first calls are in `scope`. All of them are made in daylight, so that their day is their text's.
fn calls_of(scope: &Scope, last: usize) -> i64 {
    let calls = CALLS.iter().take(last + 1).filter(|(instant, user, ..)| {
        let day: jiff::civil::Date = instant[..10].parse().unwrap();
        scope.from <= day && day <= scope.to && scope.user_id.as_ref().is_none_or(|only| only == user)
    });
    i64::try_from(calls.count()).unwrap()
}
