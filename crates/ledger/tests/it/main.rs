//! The ledger on a real file.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]
#![expect(clippy::needless_pass_by_value, reason = "a check that ends a value may take it")]

mod adjusting;
mod billing;
mod copying;
mod kept;
mod opening;
mod plans;
mod seeds;
mod settling;
mod statement;
mod story;
mod together;

use jiff::Timestamp;
use jiff::civil::Date;
use ledger::{
    Admission, Asker, CallId, GenerationKnown, Ledger, LedgerOptions, NewCall, OrganisationFacts, Scope,
    Settle, Usage, UsageBy,
};
use metering::{
    BillingZone, Cost, CostSource, ExternalUser, Markup, OrgId, Report, Settlement, Tokens, UserId,
};
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

/// A ledger with one organisation in a folder of its own.
struct Books {
    ledger: Ledger,
    org: OrgId,
    folder: TempDir,
    tasks: TaskTracker,
}

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-11-22T12:00:00Z")
}

fn warsaw() -> BillingZone {
    BillingZone::named("Europe/Warsaw").unwrap()
}

impl Books {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (ledger, org, tasks) = Self::open(&folder).await;
        Self { ledger, org, folder, tasks }
    }

    async fn open(folder: &TempDir) -> (Ledger, OrgId, TaskTracker) {
        let tasks = TaskTracker::new();
        let (ledger, _stopped) =
            Ledger::open(&options(folder.path().join("usage.db"), &tasks)).await.unwrap();
        let org = ledger.organisation().id.clone();
        (ledger, org, tasks)
    }

    /// Closes the file as a clean end of the process does, and opens it again.
    async fn reopen(self) -> Self {
        drop(self.ledger);
        self.tasks.close();
        self.tasks.wait().await;
        let (ledger, org, tasks) = Self::open(&self.folder).await;
        Self { ledger, org, folder: self.folder, tasks }
    }

    fn call(&self, user: &str) -> NewCall {
        let user_id = UserId::new(user);
        let asker = Asker {
            external_user: ExternalUser::of(&self.org, &user_id),
            user_id,
            name: Some(format!("Name of {user}")),
            email: None,
            role: Some("user".into()),
        };
        NewCall {
            id: CallId::new_v4(),
            org_id: self.org.clone(),
            markup: Markup::DEFAULT,
            asker,
            endpoint: "chat/completions",
            model: "openai/gpt-4o-mini".into(),
            admitted_at: now(),
        }
    }

    async fn admit(&self, user: &str) -> (CallId, Admission) {
        let call = self.call(user);
        let id = call.id;
        (id, self.ledger.admit(call).await.unwrap())
    }

    /// The sums of all time.
    async fn usage(&self, by: UsageBy) -> Vec<Usage> {
        let scope = Scope { org_id: self.org.clone(), user_id: None, from: Date::MIN, to: Date::MAX };
        self.ledger.reader().usage(&scope, by).await.unwrap()
    }

    /// W1 and W2.
    async fn open_call(&self, user: &str, generation_id: &str) -> CallId {
        let (call_id, _) = self.admit(user).await;
        self.ledger.know_generation(known(call_id, generation_id)).await.unwrap();
        call_id
    }

    /// To the file itself, past the ledger.
    async fn connection(&self) -> SqliteConnection {
        let url = format!("sqlite:{}", self.folder.path().join("usage.db").display());
        SqliteConnection::connect(&url).await.unwrap()
    }

    async fn assert_sound(&self) {
        let verification = self.ledger.reader().verify().await.unwrap();
        assert_eq!(verification.findings, []);
    }
}

fn options(path: std::path::PathBuf, tasks: &TaskTracker) -> LedgerOptions {
    let organisation = OrganisationFacts { name: Some("Company_A".into()), ..OrganisationFacts::none(now()) };
    LedgerOptions { path, organisation, tasks: tasks.clone() }
}

/// What a newer program leaves in a file: a migration that this one does not know.
async fn migrate_to_the_future(path: &std::path::Path) {
    let mut connection = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'from the future', 1, x'00', 0)",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
}

fn known(call_id: CallId, generation_id: &str) -> GenerationKnown {
    GenerationKnown { call_id, generation_id: generation_id.into(), http_status: 200, next_ask_at: now() }
}

fn report(source: CostSource, cost: &str) -> Settlement {
    let tokens = Tokens { prompt: Some(20), completion: Some(2), ..Tokens::default() };
    Settlement::of(Report { source, cost: Cost::read(cost), tokens, model: None, provider: None })
}

fn settle(call_id: CallId, cost: &str) -> Settle {
    Settle {
        call_id,
        generation_id: None,
        settlement: report(CostSource::Response, cost),
        outcome: Some("complete"),
        http_status: Some(200),
        created_at: None,
        zone: warsaw(),
        booked_at: now(),
    }
}
