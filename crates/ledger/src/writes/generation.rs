//! W2: the generation id of a call is known.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::seal::seal_call;
use crate::writer::Write;
use crate::writes::unsettled::one_call;

/// A generation id that came with the head (or the first event) of an answer. Told twice, it is written once: a
/// caller that gave up waiting may repeat it.
#[derive(Debug, Clone)]
pub struct GenerationKnown {
    /// The call.
    pub call_id: CallId,
    /// `OpenRouter`'s id of what it bills.
    pub generation_id: String,
    /// The answer's HTTP status.
    pub http_status: u16,
    /// When to ask `/generation` should nobody tell how the call ended: later than the longest call.
    pub next_ask_at: Timestamp,
}

impl Write for GenerationKnown {
    type Answer = ();

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let (id, next_ask_at_ms) = (self.call_id.to_string(), self.next_ask_at.as_millisecond());
        let done = sqlx::query!(
            "UPDATE calls
             SET state = 'open', generation_id = ?2, http_status = ?3, next_ask_at_ms = ?4
             WHERE id = ?1 AND (state = 'intent' OR (state = 'open' AND generation_id = ?2))",
            id,
            self.generation_id,
            self.http_status,
            next_ask_at_ms,
        )
        .execute(&mut *connection)
        .await?;
        one_call(&done, self.call_id)?;
        Ok(seal_call(&id, connection).await?)
    }
}
