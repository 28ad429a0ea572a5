//! Many writes in one commit: none disturbs another, and each caller learns what became of his own.

use futures_util::future::join_all;
use jiff::SignedDuration;
use ledger::{CallId, Settled, WriteError};
use metering::{OrgId, UserId};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::{Books, known, now, settle};

/// What a caller learned, in a word.
fn word<T>(outcome: &Result<T, WriteError>) -> &'static str {
    match outcome {
        Ok(_) => "done",
        Err(WriteError::Refused(_)) => "refused",
        Err(_) => "trouble",
    }
}

#[tokio::test]
async fn a_refused_write_is_undone_alone() {
    let books = Books::new().await;
    let (waiting, settled) = (books.admit("anna").await.0, books.open_call("anna", "gen-1790000000-A").await);
    books.ledger.settle(settle(settled, "1")).await.unwrap();
    let open = books.open_call("bob", "gen-1790000000-B").await;
    let before = *books.ledger.commits().borrow();

    let mut of_nobody = books.call("anna");
    of_nobody.org_id = OrgId::new("somebody-else");
    let twice = books.call("carol");
    let admissions = [of_nobody, books.call("carol"), twice.clone(), twice];
    let ids = [
        known(waiting, "gen-1790000000-C"),
        known(settled, "gen-1790000000-A"),
        known(CallId::nil(), "gen-1790000000-D"),
    ];
    let settles = [settle(open, "2"), settle(CallId::nil(), "3"), settle(settled, "1")];
    let (admitted, told, booked) = tokio::join!(
        join_all(admissions.map(|call| books.ledger.admit(call))),
        join_all(ids.map(|id| books.ledger.know_generation(id))),
        join_all(settles.map(|settle| books.ledger.settle(settle))),
    );

    assert_eq!(admitted.iter().map(word).collect::<Vec<_>>(), ["refused", "done", "done", "refused"]);
    assert_eq!(told.iter().map(word).collect::<Vec<_>>(), ["done", "refused", "refused"]);
    assert!(matches!(booked[0], Ok(Settled::Booked { .. })), "{booked:?}");
    assert_eq!(word(&booked[1]), "refused");
    assert!(matches!(booked[2], Ok(Settled::Already)), "{booked:?}");
    let new: Vec<_> = admitted.iter().flatten().map(|admission| admission.first_of_user).collect();
    assert_eq!(new, [true, false], "Carol is new once");
    assert_eq!(*books.ledger.commits().borrow(), before + 1, "all of it was one commit");
    let verification = books.ledger.reader().verify().await.unwrap();
    assert_eq!((verification.findings, verification.cost.to_string()), (vec![], "3".to_owned()));
}

#[tokio::test]
async fn one_generation_at_once_settles_once() {
    let books = Books::new().await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(books.open_call("anna", "gen-1790000000-A").await);
    }
    // The first of them twice.
    let settles = calls.iter().chain(&calls[..1]).map(|call| books.ledger.settle(settle(*call, "1")));
    let mut outcomes: Vec<_> = join_all(settles).await.into_iter().map(Result::unwrap).collect();
    let again = outcomes.pop();

    assert!(matches!(outcomes[0], Settled::Booked { .. }), "{outcomes:?}");
    assert_eq!(outcomes[1..], [Settled::Clash, Settled::Clash]);
    assert_eq!(again, Some(Settled::Already));
    let verification = books.ledger.reader().verify().await.unwrap();
    assert_eq!((verification.findings, verification.cost.to_string()), (vec![], "1".to_owned()));
}

/// The rows travel as JSON: what is in them must come out of it.
#[tokio::test]
async fn any_text_is_written_as_it_is() {
    let books = Books::new().await;
    let hostile = "a\0b\u{1}\u{1f}\"'\\/{}[],:null \u{2028}\u{7f}ż😀\u{10ffff}\r\n";
    let mut call = books.call("anna");
    call.model = hostile.to_owned();
    call.asker.user_id = UserId::new(hostile);
    call.asker.name = Some(hostile.to_owned());
    let id = call.id;
    books.ledger.admit(call).await.unwrap();
    books.ledger.know_generation(known(id, "gen-1790000000-'\"\\")).await.unwrap();
    books.ledger.settle(settle(id, "7000000")).await.unwrap();

    books.assert_sound().await;
    let path = books.folder.path().join("usage.db");
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    let written: (String, String, String, i64) = sqlx::query_as(
        "SELECT model, user_id, (SELECT name FROM users), cost_pico_usd FROM entries
         WHERE generation_id = 'gen-1790000000-''\"\\'",
    )
    .fetch_one(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    let expected = (hostile.to_owned(), hostile.to_owned(), hostile.to_owned(), 7_000_000_000_000_000_000);
    assert_eq!(written, expected);
}

/// The writer keeps the rows of calls under way in memory: after a commit that failed it goes on from what is in the file.
#[tokio::test]
async fn a_failed_commit_leaves_nothing_behind() {
    let books = Books::new().await;
    let (id, _) = books.admit("anna").await;
    let path = books.folder.path().join("usage.db");
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    // Each step succeeds; what it brings about is looked at when it is committed.
    let break_commits =
        "CREATE TABLE broken (id TEXT REFERENCES users (user_id) DEFERRABLE INITIALLY DEFERRED);
         CREATE TRIGGER break_commits AFTER UPDATE ON calls BEGIN INSERT INTO broken VALUES ('nobody'); END";
    sqlx::raw_sql(break_commits).execute(&mut connection).await.unwrap();
    let failed = books.ledger.know_generation(known(id, "gen-1790000000-A")).await;
    assert_eq!(word(&failed), "trouble");
    sqlx::raw_sql("DROP TRIGGER break_commits; DROP TABLE broken").execute(&mut connection).await.unwrap();
    books.ledger.know_generation(known(id, "gen-1790000000-B")).await.unwrap();
    books.ledger.settle(settle(id, "1")).await.unwrap();

    let booked: Vec<String> =
        sqlx::query_scalar("SELECT generation_id FROM entries").fetch_all(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    assert_eq!(booked, ["gen-1790000000-B"]);
    books.assert_sound().await;
}

/// One who tells nothing new is written once a minute; what is new of him at once.
#[tokio::test]
async fn an_asker_is_written_when_there_is_news_of_him() {
    let books = Books::new().await;
    let mut connection = books.connection().await;
    let start = now();
    for (after, name, written) in [
        (SignedDuration::ZERO, "Anna", ("Anna", 0)),
        (SignedDuration::from_secs(59), "Anna", ("Anna", 0)),
        (SignedDuration::from_secs(60), "Anna", ("Anna", 60)),
        (SignedDuration::from_secs(61), "Anna Nowak", ("Anna Nowak", 61)),
    ] {
        let mut call = books.call("anna");
        call.asker.name = Some(name.to_owned());
        call.admitted_at = start + after;
        let admission = books.ledger.admit(call).await.unwrap();
        assert_eq!(admission.first_of_user, after.is_zero());
        let known: (String, i64) = sqlx::query_as("SELECT name, last_seen_at_ms FROM users")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        let seen_at = start + SignedDuration::from_secs(written.1);
        assert_eq!(known, (written.0.to_owned(), seen_at.as_millisecond()));
    }
}
