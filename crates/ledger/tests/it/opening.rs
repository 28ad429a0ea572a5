//! Opening: alone, private, and never an unknown schema.

use std::os::unix::fs::PermissionsExt as _;

use ledger::{Ledger, OpenError};
use tokio_util::task::TaskTracker;

use crate::Books;

async fn open_again(books: &Books) -> OpenError {
    let options = crate::options(books.folder.path().join("usage.db"), &TaskTracker::new());
    Ledger::open(&options).await.unwrap_err()
}

async fn close(books: Books) -> tempfile::TempDir {
    close_ledger(books.ledger, books.tasks).await;
    books.folder
}

async fn close_ledger(ledger: Ledger, tasks: TaskTracker) {
    let reader = ledger.reader().clone();
    drop(ledger);
    tasks.close();
    tasks.wait().await;
    reader.close().await;
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let books = Books::new().await;
    assert!(matches!(open_again(&books).await, OpenError::Busy { .. }));
}

/// Another name would be another lock, and two programs would write one file.
#[tokio::test]
async fn a_second_daemon_is_refused_under_another_name_too() {
    let books = Books::new().await;
    let link = books.folder.path().join("link.db");
    std::os::unix::fs::symlink(books.folder.path().join("usage.db"), &link).unwrap();
    let error = Ledger::open(&crate::options(link, &TaskTracker::new())).await.unwrap_err();
    assert!(matches!(error, OpenError::Busy { .. }), "{error}");
}

/// The write-ahead log holds what the database holds.
#[tokio::test]
async fn a_public_log_is_refused() {
    let folder = close(Books::new().await).await;
    let log = folder.path().join("usage.db-wal");
    std::fs::write(&log, []).unwrap();
    std::fs::set_permissions(&log, std::fs::Permissions::from_mode(0o644)).unwrap();
    let options = crate::options(folder.path().join("usage.db"), &TaskTracker::new());
    let error = Ledger::open(&options).await.unwrap_err();
    assert!(error.to_string().contains("usage.db-wal"), "{error}");
}

#[tokio::test]
async fn the_file_is_private_and_a_public_one_is_refused() {
    let books = Books::new().await;
    let path = books.folder.path().join("usage.db");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let folder = close(books).await;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    let options = crate::options(path, &TaskTracker::new());
    let error = Ledger::open(&options).await.unwrap_err();
    assert!(error.to_string().contains("chmod 600"), "{error}");
    drop(folder);
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = close(Books::new().await).await;
    let path = folder.path().join("usage.db");
    crate::migrate_to_the_future(&path).await;
    let options = crate::options(path, &TaskTracker::new());
    let error = Ledger::open(&options).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { version: 9999, .. }), "{error}");
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let options = crate::options("/nonexistent/usage.db".into(), &TaskTracker::new());
    let error = Ledger::open(&options).await.unwrap_err();
    assert!(error.to_string().contains("/nonexistent/usage.db"), "{error}");
}

/// On ten million calls a scan of the table would stop every chat for seconds.
#[tokio::test]
async fn no_question_about_unsettled_calls_scans_the_table() {
    let books = Books::new().await;
    let mut connection = books.connection().await;
    for question in [
        "SELECT count(*) FROM calls WHERE state = 'intent'",
        "SELECT count(*) FROM calls WHERE state = 'open'",
        "SELECT count(*) FROM calls WHERE state = 'orphan'",
        "SELECT id FROM calls WHERE state = 'open' AND next_ask_at_ms <= 1 AND asks < 7 ORDER BY next_ask_at_ms, id",
        "SELECT min(next_ask_at_ms) FROM calls WHERE state = 'open' AND asks < 7",
        "UPDATE calls SET state = 'orphan' WHERE state = 'intent'",
        "SELECT id FROM reconciliations WHERE key_hash = 'x' AND org_id = 'y' ORDER BY id LIMIT 1",
    ] {
        let plan: Vec<(i64, i64, i64, String)> =
            sqlx::query_as(sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {question}")))
                .fetch_all(&mut connection)
                .await
                .unwrap();
        let scans = plan.iter().any(|(.., step)| {
            step.starts_with("SCAN c") && !step.contains("INDEX") || step == "SCAN reconciliations"
        });
        assert!(!scans, "{question}: {plan:?}");
    }
}

/// A file that lost its last commits is sound in itself.
#[tokio::test]
async fn verify_names_commits_that_are_missing() {
    let folder = close(Books::new().await).await;
    let path = folder.path().join("usage.db");
    let earlier = std::fs::read(&path).unwrap();
    let tasks = TaskTracker::new();
    let (ledger, _stopped) = Ledger::open(&crate::options(path.clone(), &tasks)).await.unwrap();
    assert_eq!(ledger.reader().verify().await.unwrap().findings, []);
    close_ledger(ledger, tasks).await;
    std::fs::write(&path, earlier).unwrap();
    let reader = ledger::LedgerReader::open(&path).await.unwrap();
    let findings = reader.verify().await.unwrap().findings;
    assert!(
        findings.len() == 1 && findings[0].to_string().starts_with("commits: 1 are missing"),
        "{findings:?}"
    );
    reader.close().await;
    // A start and its own commits do not hide it.
    let tasks = TaskTracker::new();
    let (ledger, _stopped) = Ledger::open(&crate::options(path, &tasks)).await.unwrap();
    let findings = ledger.reader().verify().await.unwrap().findings;
    assert!(
        findings.len() == 1 && findings[0].to_string().starts_with("commits: 1 are missing"),
        "{findings:?}"
    );
    close_ledger(ledger, tasks).await;
}

/// The sidecar is not root. Where these tests are not run by root, the owner is the same from the beginning.
#[tokio::test]
async fn what_root_makes_belongs_to_the_owner_of_the_folder() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    const SIDECAR: u32 = 65532;
    let folder = tempfile::tempdir().unwrap();
    let _ = chown(folder.path(), Some(SIDECAR), Some(SIDECAR));
    let owner = |path: &std::path::Path| std::fs::metadata(path).unwrap().uid();
    let tasks = TaskTracker::new();
    let (ledger, _stopped) =
        Ledger::open(&crate::options(folder.path().join("usage.db"), &tasks)).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(files.len() >= 3, "{files:?}");
    assert!(files.iter().all(|file| owner(file) == owner(folder.path())), "{files:?}");
    close_ledger(ledger, tasks).await;
}
