//! What a bill is made of: the sums and what is not known yet, read beside the writer.

use jiff::civil::Date;
use ledger::{Ending, LedgerReader, OpenError, Scope, UsageBy};
use sqlx::{Connection as _, SqliteConnection};

use crate::{Books, now, settle};

#[tokio::test]
async fn a_bill_tells_what_is_not_known_beside_what_is() {
    let books = Books::new().await;
    let known = books.open_call("anna", "gen-1790000000-AAAA").await;
    books.ledger.settle(settle(known, "0.00154")).await.unwrap();
    books.open_call("bob", "gen-1790000001-BBBB").await;
    let (died, _) = books.admit("anna").await;
    let ending = Ending {
        call_id: died,
        outcome: "interrupted",
        note: String::new(),
        http_status: None,
        closed_at: now(),
    };
    books.ledger.orphan(ending).await.unwrap();
    books.admit("celina").await;

    let reader = LedgerReader::open(&books.folder.path().join("usage.db")).await.unwrap();
    let everybody = Scope { org_id: books.org.clone(), user_id: None, from: Date::MIN, to: Date::MAX };
    let bill = reader.bill(&everybody, UsageBy::User).await.unwrap();
    assert_eq!((bill.usage.len(), bill.usage[0].charge_pico_usd), (1, 2_002_000_000));
    let mut unknown: Vec<_> =
        bill.unknown.iter().map(|call| (call.user_id.as_str(), call.state.as_str())).collect();
    unknown.sort_unstable();
    assert_eq!(unknown, [("anna", "orphan"), ("bob", "open"), ("celina", "intent")]);
    let bob = Scope { user_id: Some("bob".into()), ..everybody };
    let bill = reader.bill(&bob, UsageBy::User).await.unwrap();
    assert_eq!((bill.usage.len(), bill.unknown.len()), (0, 1));
}

#[tokio::test]
async fn a_reader_learns_whose_file_it_is() {
    let books = Books::new().await;
    let reader = LedgerReader::open(&books.folder.path().join("usage.db")).await.unwrap();
    let organisation = reader.organisation().await.unwrap().unwrap();
    assert_eq!((organisation.id, organisation.name.as_str()), (books.org.clone(), "Company_A"));
    assert_eq!(
        (organisation.markup.to_string().as_str(), organisation.zone.name()),
        ("1.3", "Europe/Warsaw")
    );
}

#[tokio::test]
async fn a_quick_look_finds_a_roll_up_that_differs_and_commits_that_are_missing() {
    let books = Books::new().await;
    let call = books.open_call("anna", "gen-1790000000-AAAA").await;
    books.ledger.settle(settle(call, "1")).await.unwrap();
    let path = books.folder.path().join("usage.db");
    let reader = LedgerReader::open(&path).await.unwrap();
    assert_eq!(reader.verify_quickly(&books.org, Date::MIN).await.unwrap(), []);
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    sqlx::query("UPDATE daily_usage SET charge_pico_usd = charge_pico_usd + 1")
        .execute(&mut connection)
        .await
        .unwrap();
    let findings = reader.verify_quickly(&books.org, Date::MIN).await.unwrap();
    assert!(findings.len() == 1 && findings[0].to_string().contains("roll-up"), "{findings:?}");
    sqlx::query("UPDATE commits SET count = 1").execute(&mut connection).await.unwrap();
    let findings = reader.verify_quickly(&books.org, Date::MIN).await.unwrap();
    assert!(findings.len() == 2 && findings[0].to_string().contains("missing"), "{findings:?}");
}

#[tokio::test]
async fn a_newer_schema_is_not_read_either() {
    let books = Books::new().await;
    let path = books.folder.path().join("usage.db");
    crate::migrate_to_the_future(&path).await;
    let error = LedgerReader::open(&path).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { version: 9999, .. }), "{error}");
}
