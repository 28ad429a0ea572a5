//! The organisation row: the seeds' own statements run on it and lose nothing.

use ledger::{Ledger, MonthlyLimit, OrganisationFacts};
use metering::{BillingZone, OrgId};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tokio_util::task::TaskTracker;

use crate::{Books, now};

async fn connect(books: &Books) -> SqliteConnection {
    let url = format!("sqlite:{}", books.folder.path().join("usage.db").display());
    SqliteConnection::connect(&url).await.unwrap()
}

#[tokio::test]
async fn the_upsert_of_the_fifth_seed_keeps_what_it_does_not_name() {
    let books = Books::new().await;
    let mut connection = connect(&books).await;
    sqlx::raw_sql("UPDATE client_organizations SET monthly_limit = '500', billing_email = 'b@example.com'")
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::raw_sql(
        "INSERT OR REPLACE INTO client_organizations
         (id, name, openrouter_api_key, markup_rate, is_active, created_at, updated_at)
         VALUES ('mai_client_63a4eb6d', 'New Name', 'sk-or-v1-new', 1.3, 1, current_timestamp, current_timestamp)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    let row = sqlx::query("SELECT * FROM client_organizations").fetch_one(&mut connection).await.unwrap();
    assert_eq!(row.get::<String, _>("name"), "New Name");
    assert_eq!(row.get::<String, _>("openrouter_api_key"), "sk-or-v1-new");
    assert_eq!(row.get::<String, _>("markup_rate"), "1.3");
    assert_eq!(row.get::<String, _>("monthly_limit"), "500");
    assert_eq!(row.get::<String, _>("billing_email"), "b@example.com");
    assert_eq!(row.get::<i64, _>("created_at"), now().as_millisecond());
    assert!(row.get::<i64, _>("updated_at") > 1_700_000_000_000);
}

#[tokio::test]
async fn seconds_milliseconds_and_iso_text_become_milliseconds() {
    let books = Books::new().await;
    let mut connection = connect(&books).await;
    for (number, time) in
        ["1753000000", "1753000000000", "'2025-07-20T08:26:40'", "'2025-07-20 08:26:40'", "1753000000.0"]
            .iter()
            .enumerate()
    {
        let statement = format!(
            "INSERT OR REPLACE INTO client_organizations (id, name, markup_rate, created_at, updated_at)
             VALUES ('org {number}', 'n', 1.3, {time}, {time})"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    let times: Vec<i64> =
        sqlx::query_scalar("SELECT created_at FROM client_organizations WHERE id LIKE 'org %'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(times, [1_753_000_000_000; 5]);
}

#[tokio::test]
async fn start_up_updates_what_the_settings_name_and_nothing_else() {
    let books = Books::new().await;
    let facts = OrganisationFacts {
        api_key: Some(SecretString::from("sk-or-v1-key")),
        monthly_limit: Some(MonthlyLimit::Usd("250".into())),
        zone: Some(BillingZone::named("Etc/UTC").unwrap()),
        ..OrganisationFacts::none(now())
    };
    books.ledger.ensure_organisation(facts).await.unwrap();
    let renamed = OrganisationFacts { name: Some("Renamed".into()), ..OrganisationFacts::none(now()) };
    let organisation = books.ledger.ensure_organisation(renamed).await.unwrap();
    assert_eq!(organisation.id.as_str(), "mai_client_63a4eb6d");
    assert_eq!(organisation.name, "Renamed");
    assert_eq!(organisation.monthly_limit.as_deref(), Some("250"));
    let unlimited =
        OrganisationFacts { monthly_limit: Some(MonthlyLimit::Unlimited), ..OrganisationFacts::none(now()) };
    assert_eq!(books.ledger.ensure_organisation(unlimited).await.unwrap().monthly_limit, None);
    assert_eq!(organisation.zone.name(), "Etc/UTC");
    assert_eq!(organisation.api_key.as_ref().unwrap().expose_secret(), "sk-or-v1-key");
}

#[tokio::test]
async fn a_file_belongs_to_one_organisation() {
    let named = |folder: &std::path::Path, id: &str| {
        let mut options = crate::options(folder.join("usage.db"), &TaskTracker::new());
        options.organisation.id = Some(OrgId::new(id));
        options
    };
    let folder = tempfile::tempdir().unwrap();
    let options = named(folder.path(), "company-abc-001");
    let (ledger, stopped) = Ledger::open(&options).await.unwrap();
    assert_eq!(ledger.organisation().id.as_str(), "company-abc-001", "a given id wins over the name");
    // Asking for nothing in particular does not change whose file it is.
    ledger.ensure_organisation(OrganisationFacts::none(now())).await.unwrap();
    assert_eq!(ledger.organisation().id.as_str(), "company-abc-001");
    drop(ledger);
    stopped.await.unwrap();
    let error = Ledger::open(&named(folder.path(), "company-xyz-002")).await.unwrap_err();
    assert!(error.to_string().contains("company-abc-001, not to company-xyz-002"), "{error}");
}
