//! The ends of a call that do not tell its cost: left open, orphaned, void.

use jiff::Timestamp;
use metering::Settlement;
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::writer::Write;
use crate::writes::calls::{self, CallState};

/// A call whose answer has ended without telling its cost. It stays open; `/generation` is asked.
#[derive(Debug, Clone)]
pub struct LeaveOpen {
    /// The call.
    pub call_id: CallId,
    /// How the answer ended, in a word (`client-left`).
    pub outcome: &'static str,
    /// What the answer told all the same: model, provider, tokens.
    pub known: Settlement,
    /// When the answer ended.
    pub closed_at: Timestamp,
    /// When to ask `/generation`.
    pub next_ask_at: Timestamp,
}

/// The end of a call that has no generation id, or needs none any more.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The call.
    pub call_id: CallId,
    /// How it ended, in a word.
    pub outcome: &'static str,
    /// What a person should know: why it may be billed, or the proof that it is not.
    pub note: String,
    /// The HTTP status, where there was an answer.
    pub http_status: Option<u16>,
    /// When that was known.
    pub closed_at: Timestamp,
}

/// What an [`Ending`] makes of its call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EndedAs {
    /// It may have been billed, and its generation id was never known.
    Orphan,
    /// It is proved unbilled.
    Void,
}

/// An ending to be recorded.
pub(crate) struct End(pub(crate) EndedAs, pub(crate) Ending);

/// Calls that were under way when the last process died.
pub(crate) struct OrphanInterrupted {
    pub(crate) now: Timestamp,
}

impl Write for LeaveOpen {
    type Answer = ();

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let mut call = calls::read_one(self.call_id, connection).await?;
        if call.state != CallState::Open {
            return Err(call.refuse());
        }
        let tokens = self.known.tokens();
        call.outcome = Some(self.outcome.to_owned());
        call.closed_at_ms = Some(self.closed_at.as_millisecond());
        call.next_ask_at_ms = Some(self.next_ask_at.as_millisecond());
        call.model_served = self.known.model().map(str::to_owned);
        call.provider = self.known.provider().map(str::to_owned);
        call.prompt_tokens = as_integer(tokens.prompt);
        call.completion_tokens = as_integer(tokens.completion);
        call.reasoning_tokens = as_integer(tokens.reasoning);
        call.cached_tokens = as_integer(tokens.cached);
        calls::save(&[call], connection).await
    }
}

impl Write for End {
    type Answer = ();

    /// An orphan is made of a call without an id alone; the proof that nothing was billed may come later as well.
    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let Self(ended_as, Ending { call_id, outcome, note, http_status, closed_at }) = self;
        let mut call = calls::read_one(*call_id, connection).await?;
        call.state = match (ended_as, call.state) {
            (EndedAs::Orphan, CallState::Intent) => CallState::Orphan,
            (EndedAs::Void, CallState::Intent | CallState::Open | CallState::Orphan) => CallState::Void,
            _ => return Err(call.refuse()),
        };
        call.outcome = Some((*outcome).to_owned());
        call.note = Some(note.clone());
        call.http_status = http_status.map(i64::from).or(call.http_status);
        call.closed_at_ms = Some(closed_at.as_millisecond());
        call.next_ask_at_ms = None;
        calls::save(&[call], connection).await
    }
}

impl Write for OrphanInterrupted {
    type Answer = u64;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, WriteError> {
        let interrupted = sqlx::query_scalar!(
            "SELECT id FROM calls WHERE state = 'intent'
             UNION ALL
             SELECT id FROM calls WHERE state = 'open' AND closed_at_ms IS NULL"
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut rows = calls::read(&interrupted, connection).await?;
        let (now_ms, mut orphans) = (self.now.as_millisecond(), 0);
        for call in &mut rows {
            call.outcome = Some("interrupted".to_owned());
            call.closed_at_ms = Some(now_ms);
            if call.state == CallState::Intent {
                call.state = CallState::Orphan;
                call.note = Some("the program ended before the generation id was known".to_owned());
                orphans += 1;
            } else {
                // Nobody ends it any more: ask at once instead of after the longest call.
                call.next_ask_at_ms = Some(now_ms);
            }
        }
        calls::save(&rows, connection).await?;
        Ok(orphans)
    }
}

/// A count for the database. Counts beyond 2^63 do not exist; they are taken as never told.
pub(crate) fn as_integer(count: Option<u64>) -> Option<i64> {
    count.and_then(|count| i64::try_from(count).ok())
}
