//! What the writer remembers, so that the steps of a call need not read.

use std::collections::HashMap;

use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::writes::calls::{self, CallRow};

/// Rows that are kept: twice as many as calls that may be under way at once, by default.
const MOST_CALLS: usize = 2_048;

/// What the last commits left. Only the writer writes the file; whatever may have changed it otherwise, or undone a change, has
/// all of this forgotten.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Calls under way.
    calls: HashMap<CallId, CallRow>,
    /// The id of the next entry.
    pub(crate) next_entry_id: Option<i64>,
}

impl Memory {
    /// What the commit that is about to be made will leave of a call.
    pub(crate) fn keep(&mut self, call_id: CallId, row: CallRow) {
        if self.calls.len() >= MOST_CALLS {
            self.calls.clear();
        }
        self.calls.insert(call_id, row);
    }

    /// All is read again.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The calls of these ids, in their order. Those that go on being under way are to be kept again.
    pub(crate) async fn take(
        &mut self,
        ids: impl Iterator<Item = CallId> + Clone,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<CallRow>, WriteError> {
        let kept: Vec<_> = ids.clone().map(|id| self.calls.remove(&id)).collect();
        let missing: Vec<_> =
            ids.zip(&kept).filter(|(_, kept)| kept.is_none()).map(|(id, _)| id.to_string()).collect();
        let mut read =
            if missing.is_empty() { vec![] } else { calls::read(&missing, connection).await? }.into_iter();
        Ok(kept.into_iter().filter_map(|kept| kept.or_else(|| read.next())).collect())
    }
}
