//! The client's database and the organisation in it.

use std::path::Path;

use ledger::{Ledger, LedgerOptions, MonthlyLimit, OrganisationFacts, Stopped};
use metering::{BillingZone, OrgId};
use openrouter::hash_of_key;
use secrecy::ExposeSecret;
use settings::{Settings, SpendingLimit};
use tokio::sync::oneshot::Receiver;
use tokio_util::task::TaskTracker;

use crate::private_file::FileError;
use crate::{OperatorError, private_file};

/// A ledger that this process alone may write.
pub(crate) struct OpenLedger {
    pub(crate) ledger: Ledger,
    stopped: Receiver<Stopped>,
    tasks: TaskTracker,
}

impl OpenLedger {
    /// Opens the database with `facts` of the organisation; makes it where it is missing.
    pub(crate) async fn open(database: &Path, facts: OrganisationFacts) -> Result<Self, OperatorError> {
        let tasks = TaskTracker::new();
        let options = LedgerOptions { path: database.to_owned(), organisation: facts, tasks: tasks.clone() };
        let (ledger, stopped) = Ledger::open(&options).await?;
        Ok(Self { ledger, stopped, tasks })
    }

    /// Waits until all is in one file.
    pub(crate) async fn close(self) {
        drop(self.ledger);
        // The writer tells nothing more: what it was asked to write is answered.
        let _ = self.stopped.await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Creates the database where there is none, and records what is not recorded yet; true where something was.
pub(crate) async fn record(database: &Path, facts: OrganisationFacts) -> Result<bool, OperatorError> {
    let is_new = !database.exists();
    make_folder_of(database)?;
    let nothing = OrganisationFacts { id: facts.id.clone(), ..OrganisationFacts::none(facts.now) };
    // An organisation that is not recorded at all is made with all that is known of it.
    let first = if is_new { facts.clone() } else { nothing };
    let open = OpenLedger::open(database, first).await?;
    let recorded = if is_recorded(&open.ledger, &facts) {
        Ok(is_new)
    } else {
        open.ledger.ensure_organisation(facts).await.map(|_| true)
    };
    open.close().await;
    Ok(recorded?)
}

/// The organisation's id: that of `.env`, else the one that follows from its name there.
pub(crate) fn id_in(settings: &Settings) -> Result<OrgId, OperatorError> {
    let from_name = || settings.organization_name.as_deref().map(OrgId::of_name);
    let id = settings.openrouter_external_user.clone().map(OrgId::new).or_else(from_name);
    id.ok_or(OperatorError::Missing {
        what: "the organisation's name in .env",
        flag: "`mai-usage setup --organization NAME`",
    })
}

/// What `.env` says of the organisation.
pub(crate) fn facts_in(
    settings: &Settings,
    now: jiff::Timestamp,
) -> Result<OrganisationFacts, OperatorError> {
    let key = settings.openrouter_api_key.clone();
    let zone = settings.billing_timezone.as_deref().map(BillingZone::named).transpose();
    let zone = zone
        .map_err(|_| OperatorError::Value { flag: "BILLING_TIMEZONE", rule: "must be an IANA time zone" })?;
    Ok(OrganisationFacts {
        id: Some(id_in(settings)?),
        name: settings.organization_name.clone(),
        api_key_hash: key.as_ref().map(|key| hash_of_key(key.expose_secret())),
        api_key: key,
        monthly_limit: settings.spending_limit.as_ref().map(monthly_limit),
        billing_email: None,
        zone,
        now,
    })
}

pub(crate) fn monthly_limit(limit: &SpendingLimit) -> MonthlyLimit {
    match limit {
        SpendingLimit::Unlimited => MonthlyLimit::Unlimited,
        SpendingLimit::Usd(limit) => MonthlyLimit::Usd(limit.clone()),
    }
}

/// True where writing would only change the instant of the last change.
fn is_recorded(ledger: &Ledger, facts: &OrganisationFacts) -> bool {
    let recorded = ledger.organisation();
    let key = recorded.api_key.as_ref().map(ExposeSecret::expose_secret);
    let limit = match &facts.monthly_limit {
        None => recorded.monthly_limit.as_ref(),
        Some(MonthlyLimit::Usd(limit)) => Some(limit),
        Some(MonthlyLimit::Unlimited) => None,
    };
    let zone = facts.zone.as_ref().map(BillingZone::name);
    facts.name.as_ref().is_none_or(|name| *name == recorded.name)
        && facts.api_key.as_ref().is_none_or(|given| Some(given.expose_secret()) == key)
        && recorded.monthly_limit.as_ref() == limit
        && zone.is_none_or(|zone| zone == recorded.zone.name())
        && (facts.billing_email.is_none() || facts.billing_email == recorded.billing_email)
}

/// A folder that root makes belongs to the owner of the one it is in: the sidecar is not root.
fn make_folder_of(database: &Path) -> Result<(), FileError> {
    let folder = database.parent().unwrap_or(Path::new(""));
    if !private_file::make_folder(folder)? {
        return Ok(());
    }
    let system = |source| FileError::System { attempted: "make", path: folder.to_owned(), source };
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    private_file::give_owner(above.unwrap_or(Path::new(".")), folder).map_err(system)
}
