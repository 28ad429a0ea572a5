//! The ledger of one organisation on one `SQLite` file: calls, entries, daily rows, users, reconciliations.
//!
//! One writer task commits in groups; a pool of read-only connections answers questions. What a method of
//! [`Ledger`] has returned from is on stable storage.

mod copy;
mod error;
mod mark;
mod open;
mod organisation;
mod original;
mod place;
mod reads {
    pub(crate) mod adding;
    pub(crate) mod awaiting;
    pub(crate) mod bill;
    pub(crate) mod due;
    pub(crate) mod entries;
    pub(crate) mod imports;
    pub(crate) mod kept;
    pub(crate) mod organisation;
    pub(crate) mod organisations;
    pub(crate) mod polls;
    pub(crate) mod prices;
    pub(crate) mod statement;
    pub(crate) mod usage;
}
mod seal;
mod statement_day;
mod verify;
mod writer;
mod writes {
    pub(crate) mod adjust;
    pub(crate) mod admit;
    pub(crate) mod asked;
    pub(crate) mod batch;
    pub(crate) mod booking;
    pub(crate) mod calls;
    pub(crate) mod generation;
    pub(crate) mod memory;
    pub(crate) mod organisation;
    pub(crate) mod prices;
    pub(crate) mod probe;
    pub(crate) mod reconciliation;
    pub(crate) mod settle;
    pub(crate) mod statement;
    pub(crate) mod unsettled;
    pub(crate) mod unused;
}

pub use copy::{Contents, CopyError};
pub use error::{OpenError, ReadError, WriteError, is_failed_fsync};
pub use open::{LedgerOptions, Schema, Stopped};
pub use organisation::Organisation;
pub use original::{
    Original, OriginalAccount, OriginalError, OriginalFigures, OriginalOrganisation, OriginalRow,
    OriginalRows, OriginalTable, UnreadableRow,
};
pub use place::{EmptyPlace, PlaceError};
pub use reads::awaiting::{AwaitingCall, Unsettled};
pub use reads::bill::{Bill, UnknownCost};
pub use reads::due::OpenCall;
pub use reads::entries::{EntryPlace, EntryRecord, NoPlace};
pub use reads::imports::{IMPORT, Imported};
pub use reads::organisations::{OrganisationRecord, UnusedOrganisation, UnusedUser};
pub use reads::polls::Reconciliation;
pub use reads::prices::{ModelPrice, PriceList};
pub use reads::statement::{RecordedDay, StatementFacts};
pub use reads::usage::{Scope, Summary, Usage, UsageBy, UserRecord};
pub use statement_day::{StatementCounts, StatementDay};
pub use verify::{Finding, Verification};
pub use writes::adjust::{Adjust, Adjusted, Adjustment};
pub use writes::admit::{Admission, Asker, NewCall};
pub use writes::asked::Asked;
pub use writes::generation::GenerationKnown;
pub use writes::organisation::{MonthlyLimit, OrganisationFacts};
pub use writes::reconciliation::NewReconciliation;
pub use writes::settle::{Settle, Settled};
pub use writes::unsettled::{Ending, LeaveOpen};
pub use writes::unused::{RemoveUnused, RemovedUnused};

use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use metering::Statement;

use crate::writes::unsettled::{End, EndedAs};

/// A call's id: UUID v7, made from the instant of its admission.
pub type CallId = uuid::Uuid;

/// The open database file, for the one process that writes it.
#[derive(Clone, Debug)]
pub struct Ledger {
    writer: writer::Writer,
    reader: LedgerReader,
    organisation: Arc<RwLock<Arc<Organisation>>>,
}

/// The open database file, for reading only.
#[derive(Clone, Debug)]
pub struct LedgerReader {
    pool: sqlx::SqlitePool,
    /// The daily rows.
    kept: reads::kept::Kept,
    /// Without links, so that what lies beside it is found.
    path: std::path::PathBuf,
}

impl Ledger {
    /// The way to ask questions.
    #[must_use]
    pub fn reader(&self) -> &LedgerReader {
        &self.reader
    }

    /// The organisation as last recorded.
    #[must_use]
    pub fn organisation(&self) -> Arc<Organisation> {
        self.organisation.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// W1: the call and who made it, before anything leaves the house.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was recorded, so nothing may be sent.
    pub async fn admit(&self, call: NewCall) -> Result<Admission, WriteError> {
        self.writer.admit(call).await
    }

    /// W2: the generation id, before the client sees the head.
    ///
    /// # Errors
    /// [`WriteError`]: the id is not on stable storage.
    pub async fn know_generation(&self, known: GenerationKnown) -> Result<(), WriteError> {
        self.writer.know_generation(known).await
    }

    /// W3: the entry, the daily row and the end of the call, in one transaction; the generation id with it, where nothing else
    /// recorded that.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was booked; the call is as it was.
    pub async fn settle(&self, settle: Settle) -> Result<Settled, WriteError> {
        self.writer.settle(settle, writer::Haste::Now).await
    }

    /// The same where nobody waits for it: with the next commit, or after 25 ms.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was booked; the call is as it was.
    pub async fn settle_soon(&self, settle: Settle) -> Result<Settled, WriteError> {
        self.writer.settle(settle, writer::Haste::Soon).await
    }

    /// Books what no call through the sidecar made, all of it or nothing; what was booked before under its reference is left alone.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was booked.
    pub async fn adjust(&self, adjust: Adjust) -> Result<Adjusted, WriteError> {
        let org_id = self.organisation().id.clone();
        self.writer.write(writes::adjust::AdjustOf { org_id, adjust }).await
    }

    /// Takes out organisations and users to which nothing belongs; answers how many there were.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was taken out.
    pub async fn remove_unused(&self, unused: RemoveUnused) -> Result<RemovedUnused, WriteError> {
        let org_id = self.organisation().id.clone();
        self.writer.write(writes::unused::RemoveUnusedOf { org_id, unused }).await
    }

    /// Compares a statement of `OpenRouter` with the ledger and books what is missing, once however often it is told; at most 500
    /// bookings a time, so that calls do not wait for long: `left` says how many wait for the next time.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was booked. A statement that is cut, older than one that was taken, of a day that is not over, or
    /// not of all keys that were used is refused.
    pub async fn take_statement(
        &self,
        statement: Statement,
        now: Timestamp,
    ) -> Result<StatementDay, WriteError> {
        let organisation = self.organisation();
        self.writer.write(writes::statement::TakeStatement { statement, organisation, now }).await
    }

    /// Notes how a call ended whose cost is not known yet.
    ///
    /// # Errors
    /// [`WriteError`]: the call is as it was.
    pub async fn leave_open(&self, left: LeaveOpen) -> Result<(), WriteError> {
        self.writer.write(left).await
    }

    /// Marks a call that may have been billed but whose generation id was never known.
    ///
    /// # Errors
    /// [`WriteError`]: the call is as it was.
    pub async fn orphan(&self, ending: Ending) -> Result<(), WriteError> {
        self.writer.write(End(EndedAs::Orphan, ending)).await
    }

    /// Ends a call that is proved unbilled.
    ///
    /// # Errors
    /// [`WriteError`]: the call is as it was.
    pub async fn void(&self, ending: Ending) -> Result<(), WriteError> {
        self.writer.write(End(EndedAs::Void, ending)).await
    }

    /// Notes that `/generation` was asked in vain, and when to ask again.
    ///
    /// # Errors
    /// [`WriteError`]: the call is as it was.
    pub async fn note_asked(&self, asked: Asked) -> Result<(), WriteError> {
        self.writer.write(asked).await
    }

    /// Calls that were under way when the last process died become orphans; answers how many.
    ///
    /// # Errors
    /// [`WriteError`]: nothing changed.
    pub async fn orphan_interrupted(&self, now: Timestamp) -> Result<u64, WriteError> {
        self.writer.write(writes::unsettled::OrphanInterrupted { now }).await
    }

    /// Updates what `facts` name of the organisation, its id apart, and answers what is now recorded. Facts that
    /// name nothing read again what another program may have changed.
    ///
    /// # Errors
    /// [`WriteError`]: nothing changed.
    pub async fn ensure_organisation(
        &self,
        facts: OrganisationFacts,
    ) -> Result<Arc<Organisation>, WriteError> {
        // Whose file this is was settled when it was opened.
        let facts = OrganisationFacts { id: Some(self.organisation().id.clone()), ..facts };
        let organisation = Arc::new(self.writer.write(facts).await?);
        *self.organisation.write().unwrap_or_else(PoisonError::into_inner) = organisation.clone();
        Ok(organisation)
    }

    /// Records a poll.
    ///
    /// # Errors
    /// [`WriteError`]: nothing was recorded.
    pub async fn record_reconciliation(&self, new: NewReconciliation) -> Result<Reconciliation, WriteError> {
        self.writer.write(new).await
    }

    /// Keeps the price list, in the place of the last one.
    ///
    /// # Errors
    /// [`WriteError`]: the last one is kept.
    pub async fn keep_prices(&self, prices: PriceList) -> Result<(), WriteError> {
        self.writer.write(prices).await
    }

    /// The number of commits so far, which changes with every one: who waits for it learns that there is something new.
    #[must_use]
    pub fn commits(&self) -> tokio::sync::watch::Receiver<i64> {
        self.writer.commits()
    }

    /// Writes and commits a marker, to find out whether the ledger can be written.
    ///
    /// # Errors
    /// [`WriteError`] where it cannot.
    pub async fn probe(&self, now: Timestamp) -> Result<(), WriteError> {
        self.writer.write(writes::probe::Probe { now }).await
    }
}
