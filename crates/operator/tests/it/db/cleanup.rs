//! `mai-usage db cleanup`.

use std::path::PathBuf;

use jiff::civil::Date;
use ledger::{LedgerReader, UsageBy};
use operator::Failure;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::original::{Schema, create, execute, finish};
use super::{Client, ORG};

/// A database with an entry, and rows that a script for tests left.
async fn littered() -> Client {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::G1).await;
    let sql = format!(
        "INSERT INTO client_user_daily_usage VALUES ('a', '{ORG}', 'anna', 'x', '2025-07-28', 10, 1, 0.1, 0.13, 0, 0)"
    );
    execute(&mut connection, &sql).await;
    finish(connection).await;
    client.import(&[]).await.1.unwrap();
    let path = client.path("data/mai-usage.db");
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    execute(
        &mut connection,
        "INSERT INTO client_organizations (id, name, created_at, updated_at) VALUES ('default_org_2024', 'Test', 1790000000, 1790000000);
         INSERT INTO users VALUES ('test-user', 'x', 'Tester', NULL, NULL, 1, 1);",
    )
    .await;
    connection.close().await.unwrap();
    client
}

/// The copies that cleaning up has made.
fn copies(client: &Client) -> Vec<PathBuf> {
    let files = std::fs::read_dir(client.path("backups")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.to_string_lossy().contains("before-cleanup-")).collect()
}

#[tokio::test]
async fn only_what_nothing_belongs_to_goes_and_a_copy_stays() {
    let client = littered().await;
    let plan = client.db(&["cleanup", "--dry-run"]).await.unwrap();
    assert!(
        plan.out.contains("the organisation \"default_org_2024\"") && plan.out.contains("\"test-user\""),
        "{plan:?}"
    );
    let unsure = client.db(&["cleanup"]).await.unwrap_err();
    assert_eq!(unsure.failure(), Failure::Usage, "{unsure}");
    assert!(copies(&client).is_empty());
    let said = client.db(&["cleanup", "--yes"]).await.unwrap();
    assert!(said.out.ends_with("2 rows were taken out\n"), "{said:?}");

    let backup = copies(&client).remove(0);
    let copy = LedgerReader::open(&backup).await.unwrap();
    assert_eq!((copy.users().await.unwrap().len(), copy.organisations().await.unwrap().len()), (2, 2));
    assert_eq!(copy.verify().await.unwrap().findings, []);
    copy.close().await;
    let reader = client.reader().await;
    let (users, organisations) = (reader.users().await.unwrap(), reader.organisations().await.unwrap());
    reader.close().await;
    assert_eq!((users.len(), organisations.len(), organisations[0].id.as_str()), (1, 1, ORG));
    assert_eq!(client.usage(Date::MIN, Date::MAX, UsageBy::Nothing).await[0].requests, 1);
    client.assert_sound().await;
    let again = client.db(&["cleanup", "--json"]).await.unwrap();
    assert!(again.out.contains("\"removed\": 0"), "{again:?}");
    assert_eq!(copies(&client).len(), 1);
}
