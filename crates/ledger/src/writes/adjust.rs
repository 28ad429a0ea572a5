//! Entries that no call through the sidecar made: imports, corrections, what a statement told.

use jiff::Timestamp;
use jiff::civil::Date;
use metering::{Cost, CostSource, Markup, OrgId, PicoUsd, Tokens};
use sqlx::SqliteConnection;

use crate::Asker;
use crate::error::WriteError;
use crate::writer::Write;
use crate::writes::admit::see;
use crate::writes::booking::{EntryKind, NewEntry, book};

/// An entry that no call through the sidecar made.
#[derive(Debug, Clone)]
pub struct Adjustment {
    /// The same however often the same thing is told; it is booked once for ever. At most 512 bytes.
    pub reference: String,
    /// Why it is there, for people.
    pub note: String,
    /// True for what `OpenRouter` billed and no call through the sidecar made; false for corrections and imports.
    pub unattributed: bool,
    /// Where it belongs to a generation.
    pub generation_id: Option<String>,
    /// Whose it is; one that is not recorded yet is added to the users.
    pub user: Asker,
    /// The model it is booked under.
    pub model: String,
    /// The provider, where told.
    pub provider: Option<String>,
    /// The billing day, in the organisation's zone.
    pub day: Date,
    /// When it occurred.
    pub occurred_at: Timestamp,
    /// Requests it adds; less than 0 takes away.
    pub requests: i64,
    /// Tokens it adds.
    pub tokens: Tokens,
    /// What it adds to the cost; less than 0 takes away.
    pub cost: Cost,
    /// The markup of its charge.
    pub markup: Markup,
    /// What it adds to the charge; cost x markup, but for imports of what was charged otherwise.
    pub charge: PicoUsd,
}

/// Adjustments to be booked together or not at all.
#[derive(Debug, Clone)]
pub struct Adjust {
    /// What is to be booked.
    pub adjustments: Vec<Adjustment>,
    /// When it is booked.
    pub booked_at: Timestamp,
}

/// What became of adjustments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adjusted {
    /// Booked now.
    pub booked: u64,
    /// Booked before under the same reference; nothing was added.
    pub already: u64,
}

/// Longest reference.
const LONGEST_REFERENCE: usize = 512;

/// Adjustments of an organisation. Another one's row may stand in the file, and may be the older.
pub(crate) struct AdjustOf {
    pub(crate) org_id: OrgId,
    pub(crate) adjust: Adjust,
}

impl Write for AdjustOf {
    type Answer = Adjusted;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Adjusted, WriteError> {
        let (org_id, Adjust { adjustments, booked_at }) = (self.org_id.as_str(), &self.adjust);
        let mut adjusted = Adjusted::default();
        for adjustment in adjustments {
            if adjustment.book(org_id, *booked_at, connection).await? {
                adjusted.booked += 1;
            } else {
                adjusted.already += 1;
            }
        }
        Ok(adjusted)
    }
}

impl Adjustment {
    /// Books it; false where it is in the ledger already.
    pub(crate) async fn book(
        &self,
        org_id: &str,
        booked_at: Timestamp,
        connection: &mut SqliteConnection,
    ) -> Result<bool, WriteError> {
        if self.reference.len() > LONGEST_REFERENCE {
            return Err(WriteError::refused("the reference of an adjustment has more than 512 bytes"));
        }
        let known =
            sqlx::query_scalar!("SELECT entry_id FROM adjustments WHERE reference = ?1", self.reference)
                .fetch_optional(&mut *connection)
                .await?;
        if known.is_some() {
            return Ok(false);
        }
        see(&self.user, self.occurred_at, connection).await?;
        let (day, markup) = (self.day.to_string(), self.markup.to_string());
        let entry = NewEntry {
            kind: if self.unattributed { EntryKind::Unattributed } else { EntryKind::Adjustment },
            call_id: None,
            generation_id: self.generation_id.as_deref(),
            org_id,
            user_id: self.user.user_id.as_str(),
            model: &self.model,
            model_asked: None,
            provider: self.provider.as_deref(),
            day: &day,
            occurred_at_ms: self.occurred_at.as_millisecond(),
            booked_at,
            requests: self.requests,
            tokens: self.tokens,
            source: CostSource::Statement,
            cost: &self.cost,
            markup: &markup,
            charge: self.charge,
        };
        let entry_id = book(entry, connection).await?;
        sqlx::query!(
            "INSERT INTO adjustments (entry_id, reference, note) VALUES (?1, ?2, ?3)",
            entry_id,
            self.reference,
            self.note,
        )
        .execute(connection)
        .await?;
        Ok(true)
    }
}
