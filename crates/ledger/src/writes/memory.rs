//! What the writer remembers, so that the steps of a call need not read.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use metering::UserId;
use sqlx::SqliteConnection;

use crate::error::WriteError;
use crate::writes::calls::{self, CallRow};
use crate::{Asker, CallId};

/// Rows that are kept: twice as many as calls that may be under way at once, by default.
const MOST_CALLS: usize = 2_048;

/// Askers that are kept.
const MOST_ASKERS: usize = 1_024;

/// For so long an asker of whom the same is told is not written again.
const SEEN_FOR: SignedDuration = SignedDuration::from_mins(1);

/// What the last commits left. Only the writer writes the file; whatever may have changed it otherwise, or undone a change, has
/// all of this forgotten.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Calls under way.
    calls: HashMap<CallId, CallRow>,
    /// Who asked last, and when that was written.
    askers: HashMap<UserId, (Asker, Timestamp)>,
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

    /// Whether an asker has to be written: he may be new, something else is told of him, or it is a minute ago. It counts as written
    /// by the commit that is about to be made.
    pub(crate) fn is_news(&mut self, asker: &Asker, at: Timestamp) -> bool {
        let is_known = self
            .askers
            .get(&asker.user_id)
            .is_some_and(|(known, seen_at)| known == asker && at.duration_since(*seen_at) < SEEN_FOR);
        if !is_known {
            if self.askers.len() >= MOST_ASKERS {
                self.askers.clear();
            }
            self.askers.insert(asker.user_id.clone(), (asker.clone(), at));
        }
        !is_known
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
