//! Files that no generation wrote.

use jiff::civil::Date;
use ledger::UsageBy;
use serde_json::Value;

use super::original::{Schema, create, execute, finish};
use super::{Client, ORG};

async fn refused(client: &Client, words: &str) {
    let error = client.import(&[]).await.1.unwrap_err().to_string();
    assert!(error.contains(words) && error.contains("hint:"), "{error}");
}

#[tokio::test]
async fn what_is_no_database_of_the_originals_is_refused() {
    let client = Client::with_database().await;
    let error = client.import(&[]).await.1.unwrap_err().to_string();
    assert!(error.starts_with("cannot read"), "{error}");
    for bytes in [&b""[..], b"SQLite format 3\0", &[b'x'; 4096]] {
        std::fs::write(client.path("webui.db"), bytes).unwrap();
        refused(&client, "is no SQLite database").await;
    }
    let mut torn = b"SQLite format 3\0".to_vec();
    torn.extend([0x55; 9000]);
    std::fs::write(client.path("webui.db"), torn).unwrap();
    refused(&client, "cannot read").await;
    std::fs::copy(client.path("data/mai-usage.db"), client.path("webui.db")).unwrap();
    refused(&client, "is a database of mai-usage").await;
    std::fs::remove_file(client.path("webui.db")).unwrap();
    let mut connection = create(&client.path("webui.db"), Schema::G0).await;
    execute(
        &mut connection,
        "DROP TABLE organization_usage; CREATE VIEW organization_usage AS SELECT 1 AS id",
    )
    .await;
    execute(&mut connection, "CREATE TABLE client_daily_usage (id TEXT, what TEXT)").await;
    finish(connection).await;
    refused(&client, "none of the original's usage tables").await;
}

/// Rows without types, as SQLite lets anybody write them: `id, day, tokens, requests, raw, markup` and whether it is booked.
const ROWS: [(&str, &str, bool); 22] = [
    ("'sound'", "'2025-07-01', 10, 1, 0.1, 0.13", true),
    ("'texts'", "'2025-07-02', '10', '1', '0.1', '0.13'", true),
    ("'whole'", "'2025-07-03', 10.0, 1.0, 1, 2", true),
    ("'small'", "'2025-07-04', 1, 1, 1e-300, 5e-324", true),
    ("'zero'", "'2025-07-05', 0, 0, 0.0, -0.0", false),
    ("'null cost'", "'2025-07-06', 10, 1, NULL, 0.13", false),
    ("'null tokens'", "'2025-07-07', NULL, 1, 0.1, 0.13", false),
    ("'negative'", "'2025-07-08', 10, 1, -0.1, 0.13", false),
    ("'below zero'", "'2025-07-09', 10, 1, 0.1, -1e-13", false),
    ("'infinite'", "'2025-07-10', 10, 1, 9e999, 0.13", false),
    ("'minus infinite'", "'2025-07-11', 10, 1, 0.1, -9e999", false),
    ("'no number'", "'2025-07-12', 10, 1, 'free', 0.13", false),
    ("'comma'", "'2025-07-13', 10, 1, '0,1', 0.13", false),
    ("'huge'", "'2025-07-14', 10, 1, 1e300, 0.13", false),
    ("'millions'", "'2025-07-15', 10, 1, 1000000.5, 0.13", false),
    ("'many tokens'", "'2025-07-16', 9223372036854775807, 1, 0.1, 0.13", false),
    ("'half a call'", "'2025-07-17', 10, 0.5, 0.1, 0.13", false),
    ("'blob'", "'2025-07-18', 10, 1, x'00ff', 0.13", false),
    ("'no day'", "'2025-02-30', 10, 1, 0.1, 0.13", false),
    ("'null day'", "NULL, 10, 1, 0.1, 0.13", false),
    ("'long day'", "zeroblob(1000000), 10, 1, 0.1, 0.13", false),
    ("x'fffe'", "'2025-07-19T00:00:00', 10, 1, 0.1, 0.13", true),
];

#[tokio::test]
async fn a_row_that_cannot_be_believed_is_told_and_not_booked() {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::Migration).await;
    execute(
        &mut connection,
        "CREATE TABLE client_daily_usage (id, client_org_id, usage_date, total_tokens, total_requests, raw_cost, markup_cost)",
    )
    .await;
    for (id, values, _) in ROWS {
        execute(&mut connection, &format!("INSERT INTO client_daily_usage SELECT {id}, '{ORG}', {values}"))
            .await;
    }
    finish(connection).await;
    let (said, done) = client.import(&["--json"]).await;
    assert!(done.unwrap_err().to_string().contains("days were not booked"));
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let unreadable = report["unreadable"].as_array().unwrap();
    let wrong = ROWS.iter().filter(|(id, _, booked)| !booked && *id != "'zero'").count();
    assert_eq!(unreadable.len(), wrong, "{unreadable:#?}");
    let booked = ROWS.iter().filter(|(.., booked)| *booked).count();
    let days = client.usage(Date::MIN, Date::MAX, UsageBy::Day).await;
    assert_eq!(days.len(), booked, "{days:?}");
    assert_eq!(days[2].cost_pico_usd, 1_000_000_000_000);
    client.assert_sound().await;
}

/// A row of a user's that cannot be read takes nothing from the organisation's day.
#[tokio::test]
async fn an_unreadable_part_stays_in_the_whole() {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::G1).await;
    execute(
        &mut connection,
        &format!(
            "INSERT INTO client_daily_usage VALUES ('a', '{ORG}', '2025-07-28', 20, 2, 0.2, 0.26, 'x', 1, 0, 0);
             INSERT INTO client_user_daily_usage VALUES ('b', '{ORG}', 'anna', 'x', '2025-07-28', 10, 1, 0.1, 0.13, 0, 0);
             INSERT INTO client_user_daily_usage VALUES ('c', '{ORG}', 'boris', 'x', '2025-07-28', 10, 1, 'lots', 0.13, 0, 0);
             INSERT INTO client_user_daily_usage VALUES ('d', '{ORG}', 'a\u{1b}[31m:b%', 'x', '2025-07-29', 10, 1, 0.1, 0.13, 0, 0);"
        ),
    )
    .await;
    finish(connection).await;
    let (said, done) = client.import(&[]).await;
    assert!(done.is_err() && !said.out.contains('\u{1b}'), "{}", said.out);
    let mut users = client.usage(Date::MIN, Date::MAX, UsageBy::User).await;
    users.sort_by(|one, other| one.user_id.cmp(&other.user_id));
    let users: Vec<_> =
        users.iter().map(|sum| (sum.user_id.as_deref().unwrap(), sum.charge_pico_usd)).collect();
    assert_eq!(users, [("anna", 130_000_000_000), ("unattributed", 130_000_000_000)]);
}

/// Ids with colons do not hide each other.
#[tokio::test]
async fn ids_with_colons_are_kept_apart() {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::G0).await;
    let rows = [("a", "b:c"), ("a:b", "c"), ("a%3Ab", "c")];
    for (place, (user, model)) in rows.iter().enumerate() {
        let sql = format!(
            "INSERT INTO organization_usage VALUES ('{place}', '{user}', 'x', '{model}', '2025-07-28', 1, 1, 2, 0.1, 1, NULL, NULL, 0, 0)"
        );
        execute(&mut connection, &sql).await;
    }
    finish(connection).await;
    client.import(&[]).await.1.unwrap();
    assert_eq!(client.usage(Date::MIN, Date::MAX, UsageBy::UserAndModel).await.len(), 3);
    let (said, done) = client.import(&["--json"]).await;
    done.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&said.out).unwrap()["booked_entries"], 0);
}

/// A file that is in use, with its newest rows only in the write-ahead log; and one that was copied with it, which nobody has open.
#[tokio::test]
async fn a_write_ahead_log_is_read_and_left_alone() {
    let client = Client::with_database().await;
    let path = client.path("webui.db");
    let mut connection = create(&path, Schema::G1).await;
    execute(
        &mut connection,
        &format!(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;
             INSERT INTO client_daily_usage VALUES ('a', '{ORG}', '2025-07-28', 20, 2, 0.2, 0.26, 'x', 1, 0, 0);"
        ),
    )
    .await;
    let (said, done) = client.import(&["--dry-run"]).await;
    done.unwrap();
    assert!(said.out.contains("1 of 1 days would be booked"), "{}", said.out);

    std::fs::create_dir(client.path("copy")).unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("webui.db{suffix}");
        std::fs::copy(client.path(&name), client.path("copy").join(&name)).unwrap();
    }
    finish(connection).await;
    let copies = |name: &str| std::fs::read(client.path("copy").join(name)).unwrap();
    let before = (copies("webui.db"), copies("webui.db-wal"));
    let from = client.path("copy/webui.db").display().to_string();
    client.db(&["import", "--from", &from, "--yes"]).await.unwrap();
    assert_eq!(client.usage(Date::MIN, Date::MAX, UsageBy::Day).await[0].charge_pico_usd, 260_000_000_000);
    assert!(before == (copies("webui.db"), copies("webui.db-wal")));
    assert_eq!(std::fs::read_dir(client.path("copy")).unwrap().count(), 2, "nothing is left beside it");

    // Closed properly, its header still says that it has a log.
    let closed = std::fs::read_dir(client.folder.path()).unwrap().count();
    client.import(&["--dry-run"]).await.1.unwrap();
    assert_eq!(std::fs::read_dir(client.folder.path()).unwrap().count(), closed);
}

#[tokio::test]
async fn a_hundred_thousand_rows_are_booked_and_booked_once() {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::V3).await;
    execute(
        &mut connection,
        &format!(
            "WITH RECURSIVE days (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM days WHERE n < 999),
                 people (p) AS (SELECT 0 UNION ALL SELECT p + 1 FROM people WHERE p < 99)
             INSERT INTO client_user_daily_usage
             SELECT n || ':' || p, '{ORG}', 'user-' || p, 'x', date('2023-01-01', n || ' days'), 100, 1, 0.001, 0.0013, 0, 0
             FROM days, people;
             INSERT INTO client_daily_usage
             SELECT usage_date, client_org_id, usage_date, sum(total_tokens), sum(total_requests), round(sum(raw_cost), 6),
                 round(sum(markup_cost), 6), 'x', 1, 0, 0
             FROM client_user_daily_usage GROUP BY usage_date;"
        ),
    )
    .await;
    finish(connection).await;
    client.import(&[]).await.1.unwrap();
    let sums = client.usage(Date::MIN, Date::MAX, UsageBy::Nothing).await;
    assert_eq!((sums[0].requests, sums[0].charge_pico_usd), (100_000, 130 * 1_000_000_000_000));
    let (said, done) = client.import(&[]).await;
    done.unwrap();
    assert!(said.out.contains("0 of 1000 days are to be booked"));
    assert_eq!(sums, client.usage(Date::MIN, Date::MAX, UsageBy::Nothing).await);
    client.assert_sound().await;
}

/// Whoever writes such a file should not be able to keep a server busy for hours.
#[tokio::test]
async fn a_hundred_thousand_people_on_one_day_and_too_many_rows() {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::V3).await;
    let people = |from: u32, to: u32| {
        format!(
            "WITH RECURSIVE people (p) AS (SELECT {from} UNION ALL SELECT p + 1 FROM people WHERE p < {to})
             INSERT INTO client_user_daily_usage
             SELECT p, '{ORG}', 'user-' || p, 'x', '2025-07-28', 100, 1, 0.001, 0.0013, 0, 0 FROM people;"
        )
    };
    execute(&mut connection, &people(1, 100_000)).await;
    let (said, done) = client.import(&["--dry-run"]).await;
    done.unwrap();
    assert!(said.out.contains("charge 130 USD, 100000 calls"));
    execute(&mut connection, &people(100_001, 300_001)).await;
    finish(connection).await;
    let error = client.import(&["--dry-run"]).await.1.unwrap_err();
    assert!(error.to_string().contains("has more than 300000 rows"), "{error}");
}
