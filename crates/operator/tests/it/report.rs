//! `mai-usage report` over real ledgers.

use clap::Parser;
use metering::PicoUsd;
use operator::{OperatorError, ReportArgs};
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};

use crate::Said;
use crate::clock;
use crate::person::Person;
use crate::server::{Call, Server};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: ReportArgs,
}

async fn report_and_error(server: &Server, flags: &[&str]) -> (Said, Option<OperatorError>) {
    let directory = server.path().display().to_string();
    let always = ["report", "--clients", &directory, "--all"];
    let line = always.iter().chain(flags);
    let (mut console, printed) = Person::absent().console();
    let done = operator::report(Line::try_parse_from(line).unwrap().arguments, &mut console, &clock()).await;
    (printed.said(), done.err())
}

async fn report(server: &Server, flags: &[&str]) -> Said {
    let (said, error) = report_and_error(server, flags).await;
    assert!(error.is_none(), "{error:?}");
    said
}

async fn json(server: &Server, flags: &[&str]) -> Value {
    serde_json::from_str(&report(server, &[flags, &["--json"]].concat()).await.out).unwrap()
}

const GPT: &str = "openai/gpt-5-mini";
const CLAUDE: &str = "anthropic/claude-sonnet-4.5";

/// Two companies, three months, a border of months in Warsaw, and two calls that nobody knows the cost of.
async fn two_companies() -> Server {
    let server = Server::new();
    let call = |user, model, cost, at| Call { user, model, cost, at };
    let calls = [
        call("anna", GPT, Some("0.1"), "2026-09-30T21:59:59Z"),
        // October in Warsaw, September in UTC.
        call("anna", GPT, Some("0.00154"), "2026-09-30T22:00:00Z"),
        call("bob", CLAUDE, Some("0.000000000003"), "2026-10-31T22:59:59Z"),
        // November in Warsaw.
        call("anna", CLAUDE, Some("12.5"), "2026-10-31T23:00:00Z"),
        call("bob", GPT, Some("3"), "2026-11-15T12:00:00Z"),
        call("unattributed", GPT, Some("0.000001"), "2026-11-15T12:00:00Z"),
        call("celina", GPT, None, "2026-11-16T12:00:00Z"),
        call("bob", GPT, None, "2026-10-02T12:00:00Z"),
    ];
    server.client("company-a", "Company_A", &calls).await;
    let other = [call("=evil", "openai/gpt-5", Some("1.000000000001"), "2026-11-20T12:00:00Z")];
    server.client("company-b", "Company \"B\", Ltd", &other).await;
    server
}

fn amount(value: &Value) -> PicoUsd {
    PicoUsd::parse(value.as_str().unwrap()).unwrap().amount
}

/// Every way of dividing the same months has the same total, to the pico-dollar; and it is what SQL says.
#[tokio::test]
async fn rows_add_up_to_the_total_and_to_the_entries() {
    let server = two_companies().await;
    for period in [&["--month", "2026-11"][..], &["--from", "2026-01-01", "--to", "2026-12-31"]] {
        let (from, to) =
            if period.len() == 2 { ("2026-11-01", "2026-11-30") } else { (period[1], period[3]) };
        let (mut cost, mut charge) = (0, 0);
        for client in ["company-a", "company-b"] {
            let address = format!("sqlite:{}", server.database(client).display());
            let mut connection = SqliteConnection::connect(&address).await.unwrap();
            let sum: (i64, i64) = sqlx::query_as(
                "SELECT sum(cost_pico_usd), sum(charge_pico_usd) FROM entries WHERE day BETWEEN ?1 AND ?2",
            )
            .bind(from)
            .bind(to)
            .fetch_one(&mut connection)
            .await
            .unwrap();
            (cost, charge) = (cost + sum.0, charge + sum.1);
        }
        for by in ["client", "user", "model", "month", "day"] {
            let report = json(&server, &[&["--by", by], period].concat()).await;
            let sum = |name: &str| -> i64 {
                report["rows"].as_array().unwrap().iter().map(|row| amount(&row[name]).pico()).sum()
            };
            for (name, expected) in
                [("cost_usd", cost), ("charge_usd", charge), ("profit_usd", charge - cost)]
            {
                assert_eq!(sum(name), expected, "{by} {name}");
                assert_eq!(amount(&report["total"][name]).pico(), expected, "{by} {name}");
            }
        }
    }
}

#[tokio::test]
async fn a_month_is_that_of_the_zone_and_unknown_is_not_0() {
    let server = two_companies().await;
    let october = json(&server, &["--by", "user", "--month", "2026-10"]).await;
    let rows = october["rows"].as_array().unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["user_id"].as_str().unwrap(),
                row["charge_usd"].as_str().unwrap(),
                row["not_yet_known"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("anna", "0.002002", 0), ("bob", "0.000000000004", 1)]);
    assert_eq!(rows[0]["email"], "anna@example.com");
    // Nothing of hers is known, and she has a row.
    let november = json(&server, &["--by", "user", "--month", "2026-11"]).await;
    let celina = november["rows"].as_array().unwrap().iter().find(|row| row["user_id"] == "celina").unwrap();
    assert_eq!((&celina["requests"], &celina["not_yet_known"]), (&0.into(), &1.into()));
    let months = json(&server, &["--by", "month", "--from", "2026-09-01", "--to", "2026-11-30"]).await;
    let months: Vec<_> =
        months["rows"].as_array().unwrap().iter().map(|row| row["month"].as_str().unwrap()).collect();
    assert_eq!(months, ["2026-09", "2026-10", "2026-11", "2026-11"]);
    let table = report(&server, &["--month", "2026-11"]).await.out;
    assert!(table.contains("not yet known: 1 call, whose cost is in none of the sums"), "{table}");
}

#[tokio::test]
async fn a_table_of_people() {
    let server = two_companies().await;
    let table = report(&server, &["--by", "user", "--month", "2026-11"]).await.out;
    let expected = "\
CLIENT     USER                               REQUESTS  TOKENS  COST            CHARGE          PROFIT          NOT YET KNOWN
company-a  Name of anna <anna@example.com>           1      22            12.5           16.25            3.75              0
company-a  Name of bob <bob@example.com>             1      22               3             3.9             0.9              0
company-a  unattributed                              1      22        0.000001       0.0000013       0.0000003              0
company-a  Name of celina <celina@example.com>       0       0               0               0               0              1
company-b  Name of =evil <=evil@example.com>         1      22  1.000000000001  1.300000000001             0.3              0
TOTAL                                                4      88 16.500001000001 21.450001300001  4.950000300000              1
2026-11-01 to 2026-11-30, amounts in USD
not yet known: 1 call, whose cost is in none of the sums";
    let words = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
    };
    let expected = expected.replace("4.950000300000", "4.9500003");
    assert_eq!(words(&table), words(&expected), "{table}");
}

#[tokio::test]
async fn a_file_for_a_spreadsheet_has_no_formula_and_is_not_overwritten() {
    let server = two_companies().await;
    let file = server.path().join("november.csv");
    let path = file.display().to_string();
    let flags = ["--by", "user", "--month", "2026-11", "--format", "csv", "--output", &path];
    let said = report(&server, &flags).await;
    assert!(said.out.is_empty() && said.notes.contains("total: cost 16.500001000001,"), "{said:?}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(text.starts_with("client,organisation_id,organisation,user_id,name,email,requests,"), "{text}");
    assert!(
        text.ends_with("\"Company \"\"B\"\", Ltd\",'=evil,Name of =evil,'=evil@example.com,1,20,2,1.000000000001,1.300000000001,0.3,0\r\n"),
        "{text}"
    );
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap()) & 0o777, 0o600);
    let (_, error) = report_and_error(&server, &flags).await;
    assert!(error.unwrap().to_string().contains("not overwritten"));
}

/// What is broken is told, and told to be missing from the sums; the others go on.
#[tokio::test]
async fn a_client_that_cannot_be_read_is_not_left_out_silently() {
    let server = two_companies().await;
    server.env("no-ledger", "ORGANIZATION_NAME=x\n");
    server.env("unreadable", "no assignment\n");
    server.client("newer", "Newer", &[]).await;
    let address = format!("sqlite:{}", server.database("newer").display());
    let mut connection = SqliteConnection::connect(&address).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    server.client("public", "Public", &[]).await;
    let public = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(server.database("public"), public).unwrap();
    let (said, error) = report_and_error(&server, &["--month", "2026-11", "--json"]).await;
    assert!(error.unwrap().to_string().starts_with("4 of 6 clients could not be read"));
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 2);
    let unread: Vec<_> = report["unread"]
        .as_array()
        .unwrap()
        .iter()
        .map(|unread| unread["client"].as_str().unwrap())
        .collect();
    assert_eq!(unread, ["newer", "no-ledger", "public", "unreadable"]);
    for words in ["newer mai-usage (schema 9999)", "No such file", "chmod 600", "line 1"] {
        assert!(said.notes.contains(words), "{words}: {}", said.notes);
    }
}

/// Nothing used is 0, and nothing is written where only reading was asked for.
#[tokio::test]
async fn an_empty_ledger_is_a_row_of_zeros_and_stays_as_it_is() {
    let server = Server::new();
    server.client("quiet", "Quiet", &[]).await;
    let before = std::fs::read(server.database("quiet")).unwrap();
    let table = report(&server, &["--month", "2026-11"]).await.out;
    assert!(table.contains("quiet   Quiet"), "{table}");
    assert!(
        json(&server, &["--by", "user", "--month", "2026-11"]).await["rows"].as_array().unwrap().is_empty()
    );
    assert_eq!(std::fs::read(server.database("quiet")).unwrap(), before);
    let nobody = Server::new();
    let (_, error) = report_and_error(&nobody, &[]).await;
    assert!(error.unwrap().to_string().contains("there is no client in"));
}

/// Root reads what belongs to the container's user, who has to be able to open it again.
#[tokio::test]
async fn what_reading_leaves_beside_a_file_belongs_to_its_owner() {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let server = two_companies().await;
    let database = server.database("company-a");
    let folder = database.parent().unwrap();
    let files = || std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    if files().any(|file| chown(file, Some(65_532), Some(65_532)).is_err()) {
        // Only root may give files away.
        return;
    }
    let held = SqliteConnection::connect(&format!("sqlite:{}", database.display())).await.unwrap();
    report(&server, &["--month", "2026-11"]).await;
    drop(held);
    report(&server, &["--month", "2026-11"]).await;
    for file in files() {
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (65_532, 0o600), "{}", file.display());
    }
}

/// The sidecar has the file open, and writes on.
#[tokio::test]
async fn a_report_is_read_beside_a_running_writer() {
    let server = two_companies().await;
    let (ledger, tasks) = server.open("company-a", "Company_A").await;
    let before = json(&server, &["--month", "2026-11"]).await;
    assert_eq!(before["rows"][0]["charge_usd"], "20.1500013");
    crate::server::close(ledger, tasks).await;
}
