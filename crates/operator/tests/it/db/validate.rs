//! `mai-usage db init` and `mai-usage db validate`.

use operator::{DbError, Failure, OperatorError};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::original::execute;
use super::{Client, close};

impl Client {
    async fn findings(&self) -> String {
        let (said, done) = self.db_of(crate::person::Person::absent(), &["validate"]).await;
        let error = done.unwrap_err();
        assert!(matches!(error, OperatorError::Db(DbError::Unsound { .. })), "{error}");
        assert!(said.out.lines().skip(1).all(|line| line.contains("; hint: ")), "{}", said.out);
        said.out
    }

    /// What a person with `sqlite3` does.
    async fn sql(&self, sql: &str) {
        let path = self.path("data/mai-usage.db");
        let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
        execute(&mut connection, sql).await;
        connection.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_database_is_made_once() {
    let client = Client::new();
    let plan = client.db(&["init", "--dry-run"]).await.unwrap();
    assert!(plan.out.starts_with("would make ") && !client.path("data").exists(), "{plan:?}");
    let said = client.db(&["init"]).await.unwrap();
    assert!(said.out.contains("holds Company_A (mai_client_63a4eb6d)"), "{said:?}");
    let before = std::fs::read(client.path("data/mai-usage.db")).unwrap();
    let again = client.db(&["init", "--json"]).await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&again.out).unwrap()["changed"], false);
    let sound = client.db(&["validate"]).await.unwrap();
    assert!(sound.out.ends_with(": sound\n"), "{sound:?}");
    assert!(before.len() == std::fs::read(client.path("data/mai-usage.db")).unwrap().len());
}

#[tokio::test]
async fn a_database_of_others_or_of_a_running_sidecar_is_refused() {
    let client = Client::with_database().await;
    let open = client.open().await;
    let busy = client.db(&["init"]).await.unwrap_err();
    assert!(matches!(busy, OperatorError::Ledger(ledger::OpenError::Busy { .. })), "{busy}");
    // What only reads goes on beside it.
    client.db(&["validate"]).await.unwrap();
    client.db(&["cleanup", "--dry-run"]).await.unwrap();
    close(open).await;
    client.write(".env", "ORGANIZATION_NAME=Company_B\n");
    let other = client.db(&["init"]).await.unwrap_err();
    assert!(other.to_string().contains("belongs to the organisation mai_client_63a4eb6d"), "{other}");
    client.write(".env", "LOG_LEVEL=info\n");
    let unnamed = client.db(&["init"]).await.unwrap_err();
    assert_eq!(unnamed.failure(), Failure::Usage, "{unnamed}");
    std::fs::remove_file(client.path(".env")).unwrap();
    assert!(client.db(&["init"]).await.unwrap_err().to_string().contains("no client in"));
}

#[tokio::test]
async fn every_thing_that_is_wrong_is_told_with_what_to_do() {
    let client = Client::new();
    let missing = client.db_of(crate::person::Person::absent(), &["validate"]).await;
    assert!(
        missing.0.out.contains("there is no database") && missing.0.out.contains("db init"),
        "{:?}",
        missing.0
    );
    let client = Client::with_database().await;
    let env = std::fs::read_to_string(client.path(".env")).unwrap();
    for (from, to, told) in [
        ("ORGANIZATION_NAME=Company_A", "ORGANIZATION_NAME=Company_B", "the name is \"Company_B\" in .env"),
        ("SPENDING_LIMIT=250", "SPENDING_LIMIT=unlimited", "the limit is \"unlimited\" in .env"),
        ("Europe/Warsaw", "Europe/Berlin", "the time zone is"),
        ("sk-or-v1-0e6f0e6f", "sk-or-v1-another", "the hash of the key is"),
        ("mai_client_63a4eb6d", "mai_client_00000000", "belongs to the organisation mai_client_63a4eb6d"),
        ("SPENDING_LIMIT=250", "SPENDING_LIMIT=lots", "SPENDING_LIMIT"),
    ] {
        client.write(".env", &env.replace(from, to));
        let findings = client.findings().await;
        assert!(findings.contains(told) && !findings.contains("sk-or-"), "{findings}");
    }
    client.write(".env", &env);
    client.set_mode("data/mai-usage.db", 0o644);
    assert!(client.findings().await.contains("hint: chmod 600"));
    client.set_mode("data/mai-usage.db", 0o600);
    client.write("docker-compose.yaml", "");
    assert!(client.findings().await.contains("and the sidecar is 65532; hint: chown 65532"));
    std::fs::remove_file(client.path("docker-compose.yaml")).unwrap();
    client.sql("UPDATE client_organizations SET openrouter_key_hash = 'x', markup_rate = 'a lot'").await;
    let findings = client.findings().await;
    assert!(
        findings.contains("markup \"a lot\"") && findings.contains("hash of the key is not that"),
        "{findings}"
    );
    client
        .sql("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .await;
    assert!(client.findings().await.contains("of an older mai-usage"));
    client.sql("INSERT INTO _sqlx_migrations VALUES (9999, 'x', 0, 1, x'00', 0)").await;
    assert!(client.findings().await.contains("was written by a newer mai-usage"));
}

#[tokio::test]
async fn damage_to_the_ledger_is_found() {
    let client = Client::with_database().await;
    client.sql("INSERT INTO daily_usage VALUES ('mai_client_63a4eb6d', '2025-07-28', 'anna', 'm', 1, 1, 1, 1, 1, 1, 1)").await;
    let findings = client.findings().await;
    assert!(findings.contains("has no entries; hint: stop the sidecar"), "{findings}");
}

#[tokio::test]
async fn of_all_clients_a_broken_one_does_not_hide_the_others() {
    let (one, server) = (Client::with_database().await, tempfile::tempdir().unwrap());
    std::os::unix::fs::symlink(one.folder.path(), server.path().join("sound")).unwrap();
    let other = Client::new();
    other.write(".env", "no assignment\n");
    std::os::unix::fs::symlink(other.folder.path(), server.path().join("broken")).unwrap();
    let line = ["db", "validate", "--all", "--json", "--clients"];
    let directory = server.path().display().to_string();
    let arguments =
        <super::DbLine as clap::Parser>::try_parse_from(line.into_iter().chain([directory.as_str()]));
    let (mut console, printed) = crate::person::Person::absent().console();
    let done = operator::db(arguments.unwrap().arguments, &mut console, &crate::clock()).await;
    assert!(matches!(done, Err(OperatorError::Db(DbError::Unsound { findings: 1 }))), "{done:?}");
    let reports: Value = serde_json::from_str(&printed.said().out).unwrap();
    assert_eq!(reports.as_array().unwrap().len(), 2);
    assert!(reports[1]["findings"].as_array().unwrap().is_empty() && reports[1]["entries"] == 0, "{reports}");
}
