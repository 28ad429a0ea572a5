//! `/generation` was asked and did not tell the cost.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::writer::Write;
use crate::writes::calls::{self, CallState};

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
        let mut call = calls::read_one(self.call_id, connection).await?;
        if call.state != CallState::Open {
            return Err(call.refuse());
        }
        call.asks += 1;
        call.note = Some(self.note.clone());
        call.next_ask_at_ms = self.next_ask_at.map(Timestamp::as_millisecond);
        calls::save(&[call], connection).await
    }
}
