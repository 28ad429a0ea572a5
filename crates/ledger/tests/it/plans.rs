//! How `SQLite` means to answer the questions of this crate: none that is asked while the sidecar runs may read every call or
//! every entry there ever was. Counting, not timing: ten million rows would show it as well, and take minutes.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Row as _, SqliteConnection};

use crate::Books;

/// What adds many parents at once. `SQLite` plans a look for children that wait for them, and steps over it (`FkIfZero`) where no
/// foreign key is broken, which none ever is within a statement.
const ADDS_PARENTS: [&str; 2] = ["INSERT INTO calls (", "INSERT INTO users ("];

/// The ends of what only `verify` and `db cleanup` ask, and the migration of a file from before the digests.
const MAY_READ_ALL: [&str; 10] = [
    "FROM entries ORDER BY id",
    "FROM sealed_entries",
    "FROM sealed_calls",
    "LIMIT 1000",
    "FROM sealed_entries WHERE digest IS NULL",
    "FROM sealed_calls WHERE digest IS NULL",
    "NOT IN (SELECT user_id FROM daily_usage)",
    "NOT IN (SELECT user_id FROM daily_usage) ORDER BY user_id",
    "NOT IN (SELECT org_id FROM reconciliations)",
    "NOT IN (SELECT org_id FROM reconciliations) ORDER BY created_at, id",
];

#[tokio::test]
async fn no_question_reads_everything() {
    let books = Books::new().await;
    let mut connection =
        SqliteConnectOptions::new().filename(books.folder.path().join("usage.db")).connect().await.unwrap();
    let (mut looked_at, mut wrong) = (0, Vec::new());
    for query in checked_queries() {
        let words = query.split_whitespace().collect::<Vec<_>>().join(" ");
        // The organisation is made once in the life of a file.
        let adds_parents = ADDS_PARENTS.iter().any(|start| words.starts_with(start));
        if MAY_READ_ALL.iter().any(|end| words.ends_with(end))
            || words.starts_with("INSERT INTO client_")
            || adds_parents
        {
            continue;
        }
        looked_at += 1;
        for step in plan(&query, &mut connection).await {
            // A partial index holds the few calls that are in its state.
            let by_state =
                ["calls_intent", "calls_open", "calls_orphan"].iter().any(|index| step.contains(index));
            let reads_all = step.starts_with("SCAN calls") || step.starts_with("SCAN entries");
            if reads_all && !by_state {
                wrong.push(format!("{step}: {words}"));
            }
        }
    }
    assert!(looked_at > 40, "only {looked_at} queries were found");
    assert_eq!(wrong, Vec::<String>::new());
}

/// The queries that the compiler has checked, word for word.
fn checked_queries() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.sqlx");
    let files = std::fs::read_dir(folder).unwrap();
    let query = |file: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value.get("query").unwrap().as_str().unwrap().to_owned()
    };
    files.map(query).collect()
}

async fn plan(query: &str, connection: &mut SqliteConnection) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {query}"))).fetch_all(connection).await;
    rows.unwrap().iter().map(|row| row.get("detail")).collect()
}
