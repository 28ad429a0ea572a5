//! The way to a client's ledger: its running sidecar, which alone may write then, or else the file.

use ledger::{LedgerReader, OrganisationFacts, StatementDay, StatementFacts};
use metering::{Clock, Statement};
use serde::Serialize;

use super::ReconcileError;
use crate::OperatorError;
use crate::clients::Client;
use crate::recording::OpenLedger;
use crate::sidecar::{Sidecar, SidecarError};

/// Where the sidecar is told.
const PATH: &str = "/api/v1/usage/statement";

/// A way to a ledger.
pub(super) enum Books {
    Running(Sidecar),
    /// Nobody else has it.
    File {
        open: OpenLedger,
        clock: Clock,
    },
    /// Only to be looked at.
    ReadOnly(LedgerReader),
}

/// What a sidecar is sent.
#[derive(Serialize)]
struct Order<'a> {
    statement: &'a Statement,
    dry_run: bool,
}

impl Books {
    pub(super) async fn of(client: &Client, dry_run: bool, clock: &Clock) -> Result<Self, OperatorError> {
        let sidecar = Sidecar::of(client);
        match sidecar.get::<StatementFacts>(PATH).await {
            Ok(_) => return Ok(Self::Running(sidecar)),
            Err(SidecarError::Silent { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let path = client.database();
        // Opening makes what is missing, and an empty ledger agrees with nothing.
        if !path.exists() {
            return Err(ReconcileError::NoDatabase { path }.into());
        }
        if dry_run {
            return Ok(Self::ReadOnly(LedgerReader::open(&path).await?));
        }
        let open = OpenLedger::open(&path, OrganisationFacts::none(clock.now())).await?;
        // Calls that were under way when the sidecar ended.
        open.ledger.orphan_interrupted(clock.now()).await.map_err(ReconcileError::from)?;
        Ok(Self::File { open, clock: clock.clone() })
    }

    pub(super) async fn facts(&self) -> Result<StatementFacts, OperatorError> {
        Ok(match self {
            Self::Running(sidecar) => sidecar.get(PATH).await?,
            Self::File { open, .. } => {
                open.ledger.reader().statement_facts().await.map_err(ReconcileError::from)?
            }
            Self::ReadOnly(reader) => reader.statement_facts().await.map_err(ReconcileError::from)?,
        })
    }

    /// Hands a statement over, or only asks what would become of it.
    pub(super) async fn take(
        &self,
        statement: &Statement,
        dry_run: bool,
    ) -> Result<StatementDay, OperatorError> {
        let taken = match self {
            Self::Running(sidecar) => return Ok(sidecar.post(PATH, &Order { statement, dry_run }).await?),
            Self::File { open, .. } if dry_run => open.ledger.reader().compare_statement(statement).await,
            Self::File { open, clock } => open.ledger.take_statement(statement.clone(), clock.now()).await,
            Self::ReadOnly(reader) => reader.compare_statement(statement).await,
        };
        Ok(taken.map_err(ReconcileError::from)?)
    }

    /// Waits until all is in the one file.
    pub(super) async fn close(self) {
        match self {
            Self::Running(_) => {}
            Self::File { open, .. } => open.close().await,
            Self::ReadOnly(reader) => reader.close().await,
        }
    }
}
