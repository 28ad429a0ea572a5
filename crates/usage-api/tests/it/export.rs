//! The tables as files.

use std::io::Read as _;

use serde_json::Value;

use crate::{ADMIN, Booked, House, OPERATOR};

async fn file(house: &House, token: &str, query: &str) -> (String, Vec<u8>) {
    let answer = house.ask(&format!("/api/v1/usage/export?{query}")).bearer_auth(token).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{query}");
    let name = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
    (name, answer.bytes().await.unwrap().to_vec())
}

fn records(csv: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
}

#[tokio::test]
async fn each_table_as_each_file_holds_what_the_api_tells() {
    let house = House::with_usage().await;
    for (what, list) in [
        ("by-day", "days"),
        ("by-user", "users"),
        ("by-model", "models"),
        ("by-user-and-model", "rows"),
        ("calls", "calls"),
    ] {
        for token in [OPERATOR, ADMIN] {
            let told = house.answer(token, &format!("{what}?from=2026-10-01")).await;
            let told = told[list].as_array().unwrap();
            let (name, json) = file(&house, token, &format!("what={what}&format=json&from=2026-10-01")).await;
            assert_eq!(&serde_json::from_slice::<Vec<Value>>(&json).unwrap(), told);
            assert_eq!(
                name,
                format!("attachment; filename=\"mai_client_63a4eb6d-{what}-2026-10-01-2026-11-22.json\"")
            );
            let (_, csv) = file(&house, token, &format!("what={what}&format=csv&from=2026-10-01")).await;
            let rows = records(&csv);
            assert_eq!(rows.len(), told.len() + 1, "{what}");
            let mut columns: Vec<&str> = rows[0].iter().map(String::as_str).collect();
            let charge = columns.iter().position(|column| *column == "charge").unwrap();
            assert_eq!(rows[1][charge], told[0]["charge"].as_str().unwrap());
            // No field of the API is missing in the file, and none is there that the API hides.
            let mut fields: Vec<&str> = told[0].as_object().unwrap().keys().map(String::as_str).collect();
            columns.sort_unstable();
            fields.sort_unstable();
            assert_eq!(columns, fields, "{what}");
        }
    }
}

#[tokio::test]
async fn many_calls_are_told_to_the_last() {
    let house = House::new().await;
    for number in 0..2_050 {
        let at = "2026-11-20T12:00:00Z";
        house.book(number, &Booked { user: "bob", model: "a/b", cost: "0.000001", at }).await;
    }
    let (_, csv) = file(&house, ADMIN, "what=calls&format=csv").await;
    let ids: std::collections::BTreeSet<String> =
        records(&csv).into_iter().skip(1).map(|row| row[0].clone()).collect();
    assert_eq!(ids.len(), 2_050);
}

#[tokio::test]
async fn a_hostile_name_is_no_formula() {
    let house = House::new().await;
    house
        .book(
            0,
            &Booked {
                user: "bob",
                model: "=HYPERLINK(\"http://evil\")",
                cost: "0.000001",
                at: "2026-11-20T12:00:00Z",
            },
        )
        .await;
    let (_, csv) = file(&house, ADMIN, "what=by-model&format=csv").await;
    assert_eq!(records(&csv)[1][0], "'=HYPERLINK(\"http://evil\")");
    let (_, xlsx) = file(&house, ADMIN, "what=by-model&format=xlsx").await;
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(xlsx)).unwrap();
    let mut sheet = String::new();
    archive.by_name("xl/worksheets/sheet1.xml").unwrap().read_to_string(&mut sheet).unwrap();
    assert!(!sheet.contains("<f>"), "{sheet}");
    assert!(
        sheet.contains("<v>0.0000013</v>")
            || sheet.contains("<v>1.3E-06</v>")
            || sheet.contains("<v>1.3e-6</v>"),
        "{sheet}"
    );
}
