//! The original's files become entries: to the pico-dollar what was charged, and once.

use std::collections::BTreeMap;

use jiff::civil::Date;
use ledger::{Adjust, UsageBy};
use operator::{DbError, Failure, OperatorError};
use serde_json::Value;

use super::original::{Dice, MODELS, Schema, Truth, USERS, chats, create, execute, fill, finish};
use super::{Client, ORG, close};
use crate::clock;

/// Pico-dollars of a double, from its shortest decimal text by hand: half-even behind the twelfth place.
fn pico(double: f64) -> i64 {
    let text = format!("{double}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let padded = format!("{fraction:0<12}");
    let (kept, lost) = padded.split_at(12);
    let kept: i64 = format!("{whole}{kept}").parse().unwrap();
    let half = format!("5{}", "0".repeat(lost.len().saturating_sub(1)));
    let up = !lost.is_empty() && (lost > half.as_str() || lost == half && kept % 2 == 1);
    kept + i64::from(up)
}

fn day(text: &str) -> Date {
    text.parse().unwrap()
}

/// The charge that each schema tells of a day: the first generation had no markup.
fn charge(schema: Schema, used: &super::original::Used) -> i64 {
    pico(if schema == Schema::G0 { used.raw } else { used.markup })
}

/// What the file tells of a day: where no table has the day's sum, the sum of its parts, each rounded by itself.
fn expected(schema: Schema, truth: &Truth) -> BTreeMap<String, (i64, i64, i64, i64)> {
    let mut days: BTreeMap<String, (i64, i64, i64, i64)> = BTreeMap::new();
    let mut add = |day: &str, used: &super::original::Used| {
        let sums = days.entry(day.to_owned()).or_default();
        sums.0 += used.tokens;
        sums.1 += used.requests;
        sums.2 += pico(used.raw);
        sums.3 += charge(schema, used);
    };
    match schema {
        Schema::G0 => truth.both.iter().for_each(|((day, ..), used)| add(day, used)),
        Schema::Migration | Schema::InitV1 => truth.users.iter().for_each(|((day, _), used)| add(day, used)),
        _ => truth.days.iter().for_each(|(day, used)| add(day, used)),
    }
    days
}

async fn check(schema: Schema, places: i32) {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), schema).await;
    let truth = chats(40, places, &mut Dice(7));
    fill(&mut connection, schema, &truth).await;
    finish(connection).await;
    let file = std::fs::read(client.path("webui.db")).unwrap();

    let (dry, done) = client.import(&["--dry-run", "--json"]).await;
    done.unwrap();
    let dry: Value = serde_json::from_str(&dry.out).unwrap();
    assert!(client.usage(Date::MIN, Date::MAX, UsageBy::Day).await.is_empty(), "{schema:?}");
    // As if it had been interrupted.
    client.import(&["--until", "2025-07-15"]).await.1.unwrap();
    assert!(
        client.usage(Date::MIN, Date::MAX, UsageBy::Day).await.len() < dry["days"].as_array().unwrap().len()
    );
    let (said, done) = client.import(&[]).await;
    assert!(done.is_ok(), "{schema:?}: {done:?}\n{}", said.out);

    let days = client.usage(Date::MIN, Date::MAX, UsageBy::Day).await;
    let booked: BTreeMap<String, (i64, i64, i64, i64)> = days
        .iter()
        .map(|sum| {
            let tokens = sum.prompt_tokens + sum.completion_tokens;
            (sum.day.clone().unwrap(), (tokens, sum.requests, sum.cost_pico_usd, sum.charge_pico_usd))
        })
        .collect();
    let expected = expected(schema, &truth);
    assert_eq!(booked, expected, "{schema:?}");
    assert_eq!(dry["days"].as_array().unwrap().len(), expected.len());
    let of_users = users_of(&client, &truth).await;
    let crumbs = i64::try_from(USERS.len() + MODELS.len() + 1).unwrap();
    for ((day, user), used) in &truth.users {
        let (tokens, requests, cost, charged) = of_users[&(day.clone(), user.clone())];
        assert_eq!((tokens, requests), (used.tokens, used.requests), "{schema:?} {day} {user}");
        let (cost_crumbs, charge_crumbs) = (cost - pico(used.raw), charged - charge(schema, used));
        let most = if places < 11 { 0 } else { crumbs };
        assert!(
            cost_crumbs.abs() <= most && charge_crumbs.abs() <= most,
            "{schema:?} {day} {user}: {cost_crumbs} {charge_crumbs}"
        );
    }
    assert_eq!(of_users.len(), truth.users.len(), "{schema:?}: nothing is unattributed");
    client.assert_sound().await;

    let before = std::fs::read(client.path("data/mai-usage.db")).unwrap();
    let (again, done) = client.import(&["--json"]).await;
    done.unwrap();
    let again: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(again["booked_entries"], 0);
    assert!(again["days"].as_array().unwrap().iter().all(|day| day["state"] == "already booked"));
    assert_eq!(days, client.usage(Date::MIN, Date::MAX, UsageBy::Day).await, "{schema:?}");
    // A commit counts itself, and nothing else changes.
    assert_eq!(before.len(), std::fs::read(client.path("data/mai-usage.db")).unwrap().len());
    assert_eq!(file, std::fs::read(client.path("webui.db")).unwrap(), "the original is left alone");
}

async fn users_of(client: &Client, truth: &Truth) -> BTreeMap<(String, String), (i64, i64, i64, i64)> {
    let mut sums = BTreeMap::new();
    for text in truth.days.keys() {
        for sum in client.usage(day(text), day(text), UsageBy::User).await {
            let tokens = sum.prompt_tokens + sum.completion_tokens;
            let figures = (tokens, sum.requests, sum.cost_pico_usd, sum.charge_pico_usd);
            sums.insert((text.clone(), sum.user_id.unwrap()), figures);
        }
    }
    sums
}

#[tokio::test]
async fn every_schema_comes_to_what_was_charged() {
    for schema in Schema::ALL {
        check(schema, 10).await;
    }
}

/// Costs of twelve places have charges of thirteen, and tables that round each for itself do not add up.
#[tokio::test]
async fn crumbs_of_rounding_go_to_somebody() {
    for schema in [Schema::G1, Schema::V3, Schema::V4] {
        check(schema, 12).await;
    }
}

/// A day: what stands in each table, as `id, tokens, requests, raw, markup`.
#[derive(Default)]
struct Day {
    days: &'static [(&'static str, i64, i64, f64, f64)],
    users: &'static [(&'static str, i64, i64, f64, f64)],
    models: &'static [(&'static str, i64, i64, f64, f64)],
    counter: Option<(i64, i64, f64, f64)>,
}

const DAY: &str = "2025-07-28";

async fn file_of(client: &Client, day: &Day) {
    let path = client.path("webui.db");
    let _ = std::fs::remove_file(&path);
    let mut connection = create(&path, Schema::G1).await;
    for (id, tokens, requests, raw, markup) in day.days {
        let sql = format!(
            "INSERT INTO client_daily_usage VALUES ('{id}', '{ORG}', '{DAY}', {tokens}, {requests}, {raw:?}, {markup:?}, 'x', 1, 0, 0)"
        );
        execute(&mut connection, &sql).await;
    }
    for (place, (user, tokens, requests, raw, markup)) in day.users.iter().enumerate() {
        let sql = format!(
            "INSERT INTO client_user_daily_usage VALUES ('{place}', '{ORG}', '{user}', 'x', '{DAY}', {tokens}, {requests}, {raw:?}, {markup:?}, 0, 0)"
        );
        execute(&mut connection, &sql).await;
    }
    for (place, (model, tokens, requests, raw, markup)) in day.models.iter().enumerate() {
        let sql = format!(
            "INSERT INTO client_model_daily_usage VALUES ('{place}', '{ORG}', '{model}', '{DAY}', {tokens}, {requests}, {raw:?}, {markup:?}, 'x', 0, 0)"
        );
        execute(&mut connection, &sql).await;
    }
    if let Some((tokens, requests, raw, markup)) = day.counter {
        let sql = format!(
            "INSERT INTO client_live_counters VALUES ('{ORG}', '{DAY}', {tokens}, {requests}, {raw:?}, {markup:?}, 0)"
        );
        execute(&mut connection, &sql).await;
    }
    finish(connection).await;
}

/// The parts of the one day as `user model tokens charge`, and what was told.
async fn parts(day: &Day, arguments: &[&str]) -> (Vec<String>, String) {
    let client = Client::with_database().await;
    file_of(&client, day).await;
    let (said, done) = client.import(arguments).await;
    if let Err(error) = done {
        assert!(matches!(error, OperatorError::Db(DbError::LeftOut { days: 1 })), "{error}");
    }
    let usage = client.usage(Date::MIN, Date::MAX, UsageBy::UserAndModel).await;
    client.assert_sound().await;
    let mut parts: Vec<String> = usage
        .iter()
        .map(|sum| {
            let charge = metering::PicoUsd::new(sum.charge_pico_usd);
            let user = sum.user_id.as_deref().unwrap();
            format!("{user} {} {} {charge}", sum.model.as_deref().unwrap(), sum.prompt_tokens)
        })
        .collect();
    parts.sort();
    (parts, said.out)
}

#[tokio::test]
async fn a_model_is_told_only_where_it_is_known() {
    type Row = (&'static str, i64, i64, f64, f64);
    const ONE: Row = ("anna", 10, 1, 0.1, 0.13);
    const OTHER: Row = ("boris", 20, 2, 0.2, 0.26);
    const BOTH: Row = ("a_2025-07-28", 30, 3, 0.3, 0.39);
    let one_model =
        Day { days: &[BOTH], users: &[ONE, OTHER], models: &[("m", 30, 3, 0.3, 0.39)], ..Day::default() };
    assert_eq!(parts(&one_model, &[]).await.0, ["anna m 10 0.13", "boris m 20 0.26"]);
    let one_user = Day {
        days: &[BOTH],
        users: &[("anna", 30, 3, 0.3, 0.39)],
        models: &[("m", 10, 1, 0.1, 0.13), ("n", 15, 1, 0.1, 0.13)],
        ..Day::default()
    };
    assert_eq!(parts(&one_user, &[]).await.0, ["anna imported 5 0.13", "anna m 10 0.13", "anna n 15 0.13"]);
    let several = Day {
        days: &[BOTH],
        users: &[ONE, OTHER],
        models: &[("m", 10, 1, 0.1, 0.13), ("n", 20, 2, 0.2, 0.26)],
        ..Day::default()
    };
    assert_eq!(parts(&several, &[]).await.0, ["anna imported 10 0.13", "boris imported 20 0.26"]);
    let nobody = Day { days: &[BOTH], models: &[("m", 30, 3, 0.3, 0.39)], ..Day::default() };
    assert_eq!(parts(&nobody, &[]).await.0, ["unattributed m 30 0.39"]);
}

/// The sync wrote no model, a test's button nobody, the batch another markup into the day's row alone.
#[tokio::test]
async fn the_days_sum_is_kept_and_the_rest_is_unattributed() {
    let day = Day {
        days: &[("a_2025-07-28", 100, 10, 1.0, 1.5)],
        users: &[
            ("anna", 60, 6, 0.6, 0.78),
            ("background_sync", 30, 3, 0.3, 0.39),
            ("manual_admin", 1, 1, 0.01, 0.013),
        ],
        models: &[("m", 60, 6, 0.6, 0.78)],
        ..Day::default()
    };
    let (booked, told) = parts(&day, &[]).await;
    assert_eq!(booked, ["anna imported 60 0.78", "unattributed imported 40 0.72"], "{told}");
    assert!(told.contains("to unattributed: 9 tokens, 0 calls, cost 0.09, charge 0.317 USD"), "{told}");
    let less = Day {
        days: &[("a_2025-07-28", 10, 1, 0.1, 0.11)],
        users: &[("anna", 10, 1, 0.1, 0.13)],
        ..Day::default()
    };
    let (booked, told) = parts(&less, &[]).await;
    assert_eq!(booked, ["anna imported 10 0.13", "unattributed imported 0 -0.02"], "{told}");
}

/// C-6: two ids for one day.
#[tokio::test]
async fn two_rows_of_a_day_are_judged_and_told() {
    const UNDERLINED: (&str, i64, i64, f64, f64) = ("o_2025-07-28", 10, 1, 0.1, 0.13);
    const WITH_COLON: (&str, i64, i64, f64, f64) = ("o:2025-07-28", 20, 2, 0.2, 0.26);
    let rows = &[UNDERLINED, WITH_COLON];
    let users = |users| Day { days: rows, users, ..Day::default() };
    let (booked, told) = parts(&users(&[("anna", 30, 3, 0.3, 0.39)]), &[]).await;
    assert_eq!(booked, ["anna imported 30 0.39"]);
    assert!(told.contains("2 rows for the day (o_2025-07-28, o:2025-07-28): added"), "{told}");
    let (booked, told) = parts(&users(&[("anna", 20, 2, 0.2, 0.26)]), &[]).await;
    assert_eq!(booked, ["anna imported 20 0.26"]);
    assert!(told.contains("o:2025-07-28 alone"), "{told}");
    let (booked, told) = parts(&users(&[("anna", 5, 1, 0.05, 0.065)]), &[]).await;
    assert_eq!(booked, [""; 0]);
    assert!(told.contains("not booked: 2 rows for the day") && told.contains("unclear"), "{told}");
    let (booked, told) = parts(&users(&[]), &["--doubled", "sum"]).await;
    assert_eq!(booked, ["unattributed imported 30 0.39"], "{told}");
    let (booked, _) = parts(&users(&[]), &["--doubled", "largest"]).await;
    assert_eq!(booked, ["unattributed imported 20 0.26"]);
    let same = Day { days: &[UNDERLINED, ("o:2025-07-28", 10, 1, 0.1, 0.13)], ..Day::default() };
    let (booked, told) = parts(&same, &[]).await;
    assert_eq!(booked, ["unattributed imported 10 0.13"]);
    assert!(told.contains("taken once, they are the same"), "{told}");
}

/// C-7: the sync adds to the day's row and to the counter.
#[tokio::test]
async fn a_counter_beside_the_days_row_is_not_added_blindly() {
    let day = |users| Day {
        days: &[("o_2025-07-28", 10, 1, 0.1, 0.13)],
        users,
        counter: Some((30, 3, 0.3, 0.39)),
        ..Day::default()
    };
    let (booked, told) = parts(&day(&[("anna", 30, 3, 0.3, 0.39)]), &[]).await;
    assert_eq!(booked, ["anna imported 30 0.39"]);
    assert!(told.contains("the counter alone"), "{told}");
    let (booked, told) = parts(&day(&[("anna", 40, 4, 0.4, 0.52)]), &[]).await;
    assert_eq!(booked, ["anna imported 40 0.52"], "{told}");
    assert_eq!(parts(&day(&[]), &[]).await.0, ["unattributed imported 30 0.39"]);
    let (booked, told) = parts(&day(&[("anna", 7, 1, 0.1, 0.13)]), &[]).await;
    assert_eq!(booked, [""; 0], "{told}");
    let equal = |users| Day {
        days: &[("o_2025-07-28", 30, 3, 0.3, 0.39)],
        users,
        counter: Some((30, 3, 0.3, 0.39)),
        ..Day::default()
    };
    assert_eq!(parts(&equal(&[("anna", 60, 6, 0.6, 0.78)]), &[]).await.0, ["anna imported 60 0.78"]);
    assert_eq!(parts(&equal(&[]), &[]).await.0, ["unattributed imported 30 0.39"]);
    let counter = Day { counter: Some((30, 3, 0.3, 0.39)), ..Day::default() };
    assert_eq!(parts(&counter, &[]).await.0, ["unattributed imported 30 0.39"]);
}

/// C-11: a batch that ran twice wrote every row again under another id.
#[tokio::test]
async fn a_batch_that_ran_twice_counts_once() {
    let day = Day {
        days: &[("one", 30, 3, 0.3, 0.39), ("two", 30, 3, 0.3, 0.39)],
        users: &[("unknown", 30, 3, 0.3, 0.39), ("unknown", 30, 3, 0.3, 0.39)],
        models: &[("m", 30, 3, 0.3, 0.39), ("m", 30, 3, 0.3, 0.39)],
        ..Day::default()
    };
    let (booked, told) = parts(&day, &[]).await;
    assert_eq!(booked, ["unattributed m 30 0.39"], "{told}");
}

#[tokio::test]
async fn a_row_that_changed_is_told_and_not_booked_again() {
    let client = Client::with_database().await;
    file_of(&client, &Day { days: &[("o:2025-07-28", 10, 1, 0.1, 0.13)], ..Day::default() }).await;
    client.import(&[]).await.1.unwrap();
    file_of(&client, &Day { days: &[("o:2025-07-28", 20, 2, 0.2, 0.26)], ..Day::default() }).await;
    let (said, done) = client.import(&[]).await;
    assert_eq!(done.unwrap_err().failure(), Failure::Other);
    assert!(said.out.contains("not booked again: it was booked as cost 0.1, charge 0.13"), "{}", said.out);
    let sums = client.usage(Date::MIN, Date::MAX, UsageBy::Nothing).await;
    assert_eq!((sums[0].requests, sums[0].charge_pico_usd), (1, 130_000_000_000));
}

#[tokio::test]
async fn days_that_the_sidecar_counted_are_left_to_it() {
    use metering::{ExternalUser, Markup, OrgId, UserId};
    let client = Client::with_database().await;
    let open = client.open().await;
    let user_id = UserId::new("anna");
    let asker = ledger::Asker {
        external_user: ExternalUser::of(&OrgId::new(ORG), &user_id),
        user_id,
        name: None,
        email: None,
        role: None,
    };
    let call = ledger::NewCall {
        id: uuid::Uuid::new_v4(),
        org_id: OrgId::new(ORG),
        markup: Markup::DEFAULT,
        asker,
        endpoint: "chat/completions",
        model: "m".to_owned(),
        // In Warsaw it is the 28th already.
        admitted_at: "2025-07-27T22:30:00Z".parse().unwrap(),
    };
    open.0.admit(call).await.unwrap();
    let from = client.path("webui.db").display().to_string();
    file_of(&client, &Day { days: &[("o:2025-07-28", 10, 1, 0.1, 0.13)], ..Day::default() }).await;
    // While the sidecar runs, the plan can be read and nothing can be booked.
    let busy = client.db(&["import", "--from", &from, "--yes"]).await.unwrap_err();
    assert!(matches!(busy, OperatorError::Ledger(ledger::OpenError::Busy { .. })), "{busy}");
    assert!(busy.to_string().contains("hint: only one may write it"), "{busy}");
    client.import(&["--dry-run"]).await.1.unwrap();
    close(open).await;

    let (said, done) = client.import(&[]).await;
    done.unwrap();
    assert!(said.out.contains("metered") && said.out.contains("see --until"), "{}", said.out);
    assert!(client.usage(Date::MIN, Date::MAX, UsageBy::Day).await.is_empty());
    client.import(&["--until", "2025-07-29"]).await.1.unwrap();
    assert_eq!(client.usage(Date::MIN, Date::MAX, UsageBy::Day).await.len(), 1);
}

#[tokio::test]
async fn of_several_organisations_the_right_one_is_taken() {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::G1).await;
    for (org, tokens) in
        [(ORG, 1), ("client_company_a_1753000000", 2), ("default_org_2024", 4), ("env_client_default", 8)]
    {
        let sql = format!(
            "INSERT INTO client_daily_usage VALUES ('{org}_{DAY}', '{org}', '{DAY}', {tokens}, 1, 0.1, 0.13, 'x', 1, 0, 0)"
        );
        execute(&mut connection, &sql).await;
    }
    finish(connection).await;
    let (said, done) = client.import(&[]).await;
    done.unwrap();
    for told in
        ["not taken: client_company_a_1753000000, another", "not taken: default_org_2024, sample data"]
    {
        assert!(said.out.contains(told), "{}", said.out);
    }
    client
        .import(&["--organization-id", "client_company_a_1753000000", "--organization-id", ORG])
        .await
        .1
        .unwrap();
    let sums = client.usage(Date::MIN, Date::MAX, UsageBy::Nothing).await;
    assert_eq!((sums[0].prompt_tokens, sums[0].charge_pico_usd), (3, 260_000_000_000));
    let sample = client.import(&["--organization-id", "default_org_2024"]).await.1.unwrap_err();
    assert!(matches!(sample, OperatorError::Db(DbError::SampleData)), "{sample}");
    let unknown = client.import(&["--organization-id", "mai_client_00000000"]).await.1.unwrap_err();
    assert!(
        unknown.to_string().contains("\"env_client_default\"") && unknown.failure() == Failure::Usage,
        "{unknown}"
    );
    client.assert_sound().await;
}

/// A row of somebody else's in the file, older than the client's own, takes nothing.
#[tokio::test]
async fn the_organisation_of_env_is_booked_for() {
    let client = Client::with_database().await;
    let path = client.path("data/mai-usage.db");
    let connect = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    let mut connection = sqlx::ConnectOptions::connect(&connect).await.unwrap();
    let sql =
        "INSERT INTO client_organizations (id, name, created_at, updated_at) VALUES ('older', 'Older', 1, 1)";
    execute(&mut connection, sql).await;
    finish(connection).await;
    file_of(&client, &Day { days: &[("o:2025-07-28", 10, 1, 0.1, 0.13)], ..Day::default() }).await;
    client.import(&[]).await.1.unwrap();
    assert_eq!(client.usage(Date::MIN, Date::MAX, UsageBy::Nothing).await[0].requests, 1);
}

/// The first generation did not name its organisation: its rows are the client's where there is no other.
#[tokio::test]
async fn rows_of_the_first_generation_are_taken_where_nobody_else_is() {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::G1).await;
    execute(
        &mut connection,
        &format!(
            "CREATE TABLE organization_usage (id, user_id, model_name, usage_date, total_tokens, total_cost, request_count);
             INSERT INTO organization_usage VALUES ('a', 'anna', 'm', '{DAY}', 10, 0.1, 1);
             INSERT INTO client_daily_usage VALUES ('b', '{ORG}', '{DAY}', 20, 2, 0.2, 0.26, 'x', 1, 0, 0);"
        ),
    )
    .await;
    let other =
        "INSERT INTO client_daily_usage VALUES ('c', 'other', '2025-07-28', 40, 4, 0.4, 0.52, 'x', 1, 0, 0)";
    execute(&mut connection, other).await;
    finish(connection).await;
    let (said, done) = client.import(&["--dry-run"]).await;
    done.unwrap();
    assert!(
        said.out.contains("not taken: default") && said.out.contains("charge 0.26 USD, 2 calls"),
        "{}",
        said.out
    );
    let mut connection = sqlx::ConnectOptions::connect(
        &sqlx::sqlite::SqliteConnectOptions::new().filename(client.path("webui.db")),
    )
    .await
    .unwrap();
    execute(&mut connection, "DELETE FROM client_daily_usage WHERE client_org_id = 'other'").await;
    finish(connection).await;
    let (said, done) = client.import(&[]).await;
    done.unwrap();
    assert!(said.out.contains("its sync added the same two days on every run"), "{}", said.out);
    let sums = client.usage(Date::MIN, Date::MAX, UsageBy::Nothing).await;
    // Without a markup the cost was the charge.
    assert_eq!((sums[0].requests, sums[0].charge_pico_usd), (3, 360_000_000_000));
    client.assert_sound().await;
}

#[tokio::test]
async fn people_are_known_by_their_accounts() {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::G1).await;
    let external = metering::ExternalUser::of(&metering::OrgId::new(ORG), &metering::UserId::new(USERS[2]));
    for (place, user) in [USERS[0], USERS[1], external.as_str()].iter().enumerate() {
        let sql = format!(
            "INSERT INTO client_user_daily_usage VALUES ('{place}', '{ORG}', '{user}', 'x', '{DAY}', 10, 1, 0.1, 0.13, 0, 1753696800)"
        );
        execute(&mut connection, &sql).await;
    }
    finish(connection).await;
    client.import(&[]).await.1.unwrap();
    let reader = client.reader().await;
    let users = reader.users().await.unwrap();
    reader.close().await;
    let known = |user: &str| users.iter().find(|known| known.user_id == user).cloned().unwrap();
    assert_eq!(known(USERS[0]).name, None, "the account is gone");
    assert_eq!(known(USERS[1]).name.as_deref(), Some("Person 1"));
    assert_eq!(known(USERS[2]).email.as_deref(), Some("p2@company.example"));
    assert_eq!(users.len(), 3);
    let of_day = client.usage(day(DAY), day(DAY), UsageBy::Nothing).await;
    assert_eq!(of_day[0].last_activity_at_ms, Some(1_753_696_800_000), "when the row was last written");
}

#[tokio::test]
async fn nothing_is_booked_without_agreement() {
    let client = Client::with_database().await;
    file_of(&client, &Day { days: &[("o:2025-07-28", 10, 1, 0.1, 0.13)], ..Day::default() }).await;
    let from = client.path("webui.db").display().to_string();
    let refused = client.db(&["import", "--from", &from]).await.unwrap_err();
    assert!(refused.to_string().contains("--yes") && refused.failure() == Failure::Usage, "{refused}");
    let person = crate::person::Person::who_answers(["n"]);
    client.db_of(person, &["import", "--from", &from]).await.1.unwrap();
    assert!(client.usage(Date::MIN, Date::MAX, UsageBy::Day).await.is_empty());
    let person = crate::person::Person::who_answers(["y"]);
    client.db_of(person, &["import", "--from", &from]).await.1.unwrap();
    assert_eq!(client.usage(Date::MIN, Date::MAX, UsageBy::Day).await.len(), 1);
}

/// The poll compares our sum with the key's counter, which no import moves.
#[tokio::test]
async fn an_import_is_no_difference_to_the_keys_counter() {
    let client = Client::with_database().await;
    let open = client.open().await;
    let poll = |at: &str, usage: &str| ledger::NewReconciliation {
        org_id: metering::OrgId::new(ORG),
        polled_at: at.parse().unwrap(),
        key_hash: Some("hash".to_owned()),
        key_usage: Some((usage.to_owned(), metering::PicoUsd::parse(usage).unwrap().amount)),
        settled_calls: 0,
        error: None,
    };
    open.0.record_reconciliation(poll("2025-07-29T10:00:00Z", "5")).await.unwrap();
    close(open).await;
    file_of(&client, &Day { days: &[("o:2025-07-28", 10, 1, 0.1, 0.13)], ..Day::default() }).await;
    client.import(&[]).await.1.unwrap();
    let open = client.open().await;
    let told = open.0.record_reconciliation(poll("2025-07-29T10:10:00Z", "5")).await.unwrap();
    assert_eq!((told.difference_pico_usd, told.our_cost_pico_usd), (Some(0), 0));
    // Corrections of a statement's do count.
    let adjusted = open.0.adjust(Adjust { adjustments: Vec::new(), booked_at: clock().now() }).await.unwrap();
    assert_eq!(adjusted.booked, 0);
    close(open).await;
}

/// The report in the document is what the program says.
#[tokio::test]
async fn the_document_shows_a_true_report() {
    let client = Client::with_database().await;
    let mut connection = create(&client.path("webui.db"), Schema::G1).await;
    execute(
        &mut connection,
        &format!(
            "INSERT INTO client_daily_usage VALUES
                 ('{ORG}_2025-07-26', '{ORG}', '2025-07-26', 5300, 4, 0.0212, 0.02756, 'x', 1, 0, 0),
                 ('{ORG}_2025-07-27', '{ORG}', '2025-07-27', 1751, 5, 0.00154, 0.002002, 'x', 1, 0, 0),
                 ('{ORG}:2025-07-27', '{ORG}', '2025-07-27', 900, 1, 0.003, 0.0039, 'x', 1, 0, 0),
                 ('{ORG}:2025-07-28', '{ORG}', '2025-07-28', 4100, 3, 0.0164, 0.02132, 'x', 1, 0, 0),
                 ('{ORG}_2025-07-28', '{ORG}', '2025-07-28', 800, 1, 0.004, 0.0052, 'x', 1, 0, 0);
             INSERT INTO client_user_daily_usage VALUES
                 ('a', '{ORG}', '{}', 'x', '2025-07-26', 3300, 2, 0.0132, 0.01716, 0, 0),
                 ('b', '{ORG}', 'background_sync', 'x', '2025-07-26', 2000, 2, 0.008, 0.0104, 0, 0),
                 ('c', '{ORG}', '{}', 'x', '2025-07-27', 2651, 6, 0.00454, 0.005902, 0, 0);
             INSERT INTO client_model_daily_usage VALUES
                 ('d', '{ORG}', '{}', '2025-07-26', 3300, 2, 0.0132, 0.01716, 'x', 0, 0),
                 ('e', '{ORG}', '{}', '2025-07-27', 2651, 6, 0.00454, 0.005902, 'x', 0, 0);",
            USERS[1], USERS[2], MODELS[0], MODELS[1]
        ),
    )
    .await;
    finish(connection).await;
    let (said, _) = client.import(&["--dry-run"]).await;
    let document = std::fs::read_to_string("../../docs/operations.md").unwrap();
    assert!(document.contains(&format!("```text\n{}```\n", said.out)), "{}", said.out);
}
