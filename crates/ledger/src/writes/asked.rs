//! `/generation` was asked and did not tell the cost.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::seal::seal_call;
use crate::writer::Write;
use crate::writes::unsettled::one_call;

/// An ask in vain.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The call.
    pub call_id: CallId,
    /// What came instead of a cost.
    pub note: String,
    /// When to ask again; `None` never.
    pub next_ask_at: Option<Timestamp>,
}

impl Write for Asked {
    type Answer = ();

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let id = self.call_id.to_string();
        let next_ask_at_ms = self.next_ask_at.map(Timestamp::as_millisecond);
        let done = sqlx::query!(
            "UPDATE calls
             SET asks = asks + 1, note = ?2, next_ask_at_ms = ?3
             WHERE id = ?1 AND state = 'open'",
            id,
            self.note,
            next_ask_at_ms,
        )
        .execute(&mut *connection)
        .await?;
        one_call(&done, self.call_id)?;
        Ok(seal_call(&id, connection).await?)
    }
}
