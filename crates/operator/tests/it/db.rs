//! `mai-usage db`.

#![expect(clippy::indexing_slicing, reason = "a test that looks for what is not there should panic")]

mod cleanup;
mod hostile;
mod import;
mod original;
mod validate;

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use clap::Parser;
use jiff::civil::Date;
use ledger::{Ledger, LedgerOptions, LedgerReader, OrganisationFacts, Scope, Usage, UsageBy};
use metering::OrgId;
use operator::{DbArgs, OperatorError};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

use crate::person::Person;
use crate::{Said, clock};

/// The organisation of `.env`, with the id of the original's recipe.
pub(crate) const ORG: &str = "mai_client_63a4eb6d";

const ENV: &str = "\
ORGANIZATION_NAME=Company_A
OPENROUTER_EXTERNAL_USER=mai_client_63a4eb6d
OPENROUTER_API_KEY=sk-or-v1-0e6f0e6f
SPENDING_LIMIT=250
BILLING_TIMEZONE=Europe/Warsaw
";

#[derive(Parser)]
struct DbLine {
    #[command(flatten)]
    arguments: DbArgs,
}

/// A client's folder.
pub(crate) struct Client {
    pub(crate) folder: TempDir,
}

impl Client {
    pub(crate) fn new() -> Self {
        let client = Self { folder: tempfile::tempdir().unwrap() };
        client.write(".env", ENV);
        client
    }

    /// With its database.
    pub(crate) async fn with_database() -> Self {
        let client = Self::new();
        client.db(&["init"]).await.unwrap();
        client
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        self.set_mode(name, 0o600);
    }

    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) async fn db(&self, arguments: &[&str]) -> Result<Said, OperatorError> {
        let (said, done) = self.db_of(Person::absent(), arguments).await;
        done.map(|()| said)
    }

    /// What was printed, whatever came of it.
    pub(crate) async fn db_of(
        &self,
        person: Person,
        arguments: &[&str],
    ) -> (Said, Result<(), OperatorError>) {
        let folder = self.folder.path().display().to_string();
        let line = ["db"].into_iter().chain(arguments.iter().copied()).chain(["--folder", &folder]);
        let arguments = DbLine::try_parse_from(line).unwrap().arguments;
        let (mut console, printed) = person.console();
        let done = operator::db(arguments, &mut console, &clock()).await;
        (printed.said(), done)
    }

    /// Imports `webui.db` of the folder.
    pub(crate) async fn import(&self, arguments: &[&str]) -> (Said, Result<(), OperatorError>) {
        let from = self.path("webui.db").display().to_string();
        self.db_of(Person::absent(), &[&["import", "--from", &from, "--yes"], arguments].concat()).await
    }

    pub(crate) async fn reader(&self) -> LedgerReader {
        LedgerReader::open(&self.path("data/mai-usage.db")).await.unwrap()
    }

    pub(crate) async fn usage(&self, from: Date, to: Date, by: UsageBy) -> Vec<Usage> {
        let reader = self.reader().await;
        let scope = Scope { org_id: OrgId::new(ORG), user_id: None, from, to };
        let usage = reader.usage(&scope, by).await.unwrap();
        reader.close().await;
        usage
    }

    pub(crate) async fn assert_sound(&self) {
        let reader = self.reader().await;
        assert_eq!(reader.verify().await.unwrap().findings, []);
        reader.close().await;
    }

    /// The database as the sidecar has it.
    pub(crate) async fn open(&self) -> (Ledger, TaskTracker) {
        let tasks = TaskTracker::new();
        let options = LedgerOptions {
            path: self.path("data/mai-usage.db"),
            organisation: OrganisationFacts::none(clock().now()),
            tasks: tasks.clone(),
        };
        (Ledger::open(&options).await.unwrap().0, tasks)
    }
}

pub(crate) async fn close((ledger, tasks): (Ledger, TaskTracker)) {
    drop(ledger);
    tasks.close();
    tasks.wait().await;
}
