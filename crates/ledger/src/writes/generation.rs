//! W2: the generation id of a call is known.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::writer::WriteTogether;
use crate::writes::batch::Batch;
use crate::writes::calls::{CallState, save_in};
use crate::writes::memory::Memory;

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

impl WriteTogether for GenerationKnown {
    type Answer = ();

    async fn add_to(
        batch: &mut Batch,
        known: &[&Self],
        memory: &mut Memory,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<()>, WriteError> {
        let mut rows = memory.take(known.iter().map(|known| known.call_id), connection).await?;
        for (row, known) in rows.iter_mut().zip(known) {
            let told_before = row.generation_id.as_deref() == Some(&known.generation_id);
            if row.state != CallState::Intent && !(row.state == CallState::Open && told_before) {
                return Err(row.refuse());
            }
            row.state = CallState::Open;
            row.generation_id = Some(known.generation_id.clone());
            row.http_status = Some(known.http_status.into());
            row.next_ask_at_ms = Some(known.next_ask_at.as_millisecond());
        }
        save_in(batch, &rows)?;
        for (row, known) in rows.into_iter().zip(known) {
            memory.keep(known.call_id, row);
        }
        Ok(vec![(); known.len()])
    }
}
