//! A server with clients whose ledgers are real.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ledger::{
    Asker, CallId, GenerationKnown, Ledger, LedgerOptions, MonthlyLimit, NewCall, OrganisationFacts, Settle,
};
use metering::{Cost, CostSource, ExternalUser, OrgId, Report, Settlement, Tokens, UserId};
use tempfile::TempDir;
use tokio_util::task::TaskTracker;

/// What `--clients` names.
pub(crate) struct Server(TempDir);

/// A call of a made-up user.
pub(crate) struct Call<'a> {
    pub(crate) user: &'a str,
    pub(crate) model: &'a str,
    /// `None` where nobody knows it yet.
    pub(crate) cost: Option<&'a str>,
    pub(crate) at: &'a str,
}

impl Server {
    pub(crate) fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn database(&self, client: &str) -> PathBuf {
        self.path().join(client).join("data/mai-usage.db")
    }

    /// A folder with an `.env`.
    pub(crate) fn env(&self, client: &str, env: &str) {
        let folder = self.path().join(client);
        std::fs::create_dir_all(folder.join("data")).unwrap();
        std::fs::write(folder.join(".env"), env).unwrap();
        std::fs::set_permissions(folder.join(".env"), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// A client named `organisation` with `calls` in its ledger, and no sidecar.
    pub(crate) async fn client(&self, client: &str, organisation: &str, calls: &[Call<'_>]) {
        let id = OrgId::of_name(organisation);
        // Nobody listens on the first port.
        self.env(client, &format!(
            "ORGANIZATION_NAME='{organisation}'\nOPENROUTER_EXTERNAL_USER={}\nSPENDING_LIMIT=100\nUSAGE_PORT=1\n",
            id.as_str()
        ));
        let (ledger, tasks) = self.open(client, organisation).await;
        for call in calls {
            call.book(&ledger).await;
        }
        close(ledger, tasks).await;
    }

    pub(crate) async fn open(&self, client: &str, organisation: &str) -> (Ledger, TaskTracker) {
        let tasks = TaskTracker::new();
        let organisation = OrganisationFacts {
            id: Some(OrgId::of_name(organisation)),
            name: Some(organisation.to_owned()),
            monthly_limit: Some(MonthlyLimit::Usd("100".to_owned())),
            ..OrganisationFacts::none(at("2026-01-01T00:00:00Z"))
        };
        let options = LedgerOptions { path: self.database(client), organisation, tasks: tasks.clone() };
        let (ledger, _stopped) = Ledger::open(&options).await.unwrap();
        (ledger, tasks)
    }
}

impl Call<'_> {
    async fn book(&self, ledger: &Ledger) {
        let (org_id, id, admitted_at) = (ledger.organisation().id.clone(), CallId::new_v4(), at(self.at));
        let user_id = UserId::new(self.user);
        let asker = Asker {
            external_user: ExternalUser::of(&org_id, &user_id),
            user_id,
            name: (self.user != "unattributed").then(|| format!("Name of {}", self.user)),
            email: (self.user != "unattributed").then(|| format!("{}@example.com", self.user)),
            role: None,
        };
        let (endpoint, model) = ("chat/completions", self.model.to_owned());
        let markup = ledger.organisation().markup;
        ledger.admit(NewCall { id, org_id, markup, asker, endpoint, model, admitted_at }).await.unwrap();
        let generation_id = format!("gen-{}-{}", admitted_at.as_second(), id.simple());
        let known =
            GenerationKnown { call_id: id, generation_id, http_status: 200, next_ask_at: admitted_at };
        ledger.know_generation(known).await.unwrap();
        let Some(cost) = self.cost else { return };
        let tokens = Tokens { prompt: Some(20), completion: Some(2), ..Tokens::default() };
        let (source, cost) = (CostSource::Response, Cost::read(cost));
        let settlement = Settlement::of(Report { source, cost, tokens, model: None, provider: None });
        let settle = Settle {
            call_id: id,
            generation_id: None,
            settlement,
            outcome: Some("complete"),
            http_status: Some(200),
            created_at: None,
            zone: ledger.organisation().zone.clone(),
            booked_at: admitted_at,
        };
        ledger.settle(settle).await.unwrap();
    }
}

/// Ends the writer, so that others may have the file.
pub(crate) async fn close(ledger: Ledger, tasks: TaskTracker) {
    let reader = ledger.reader().clone();
    drop(ledger);
    tasks.close();
    tasks.wait().await;
    reader.close().await;
}

pub(crate) fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}
