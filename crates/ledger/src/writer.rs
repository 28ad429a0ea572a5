//! The one writer: takes what callers want written from a bounded channel, commits it in groups, and answers
//! nobody before the commit has returned.

mod group;

use std::time::Duration;

use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::error::{WriteError, is_failed_fsync};
use crate::mark::Lock;
use crate::open::Stopped;
use crate::writer::group::{Group, Waiting, Wanted};
use crate::writes::memory::Memory;
use crate::{Admission, GenerationKnown, NewCall, Settle, Settled};

pub(crate) use crate::writer::group::{Haste, Write, WriteTogether};

/// Writes that wait for the writer; beyond this callers wait for a place.
const CHANNEL: usize = 4_096;

/// Writes in one commit. One fsync for all of them is what makes many callers cheap; the limit keeps the first
/// one's wait short.
const LARGEST_GROUP: usize = 512;

/// How long a write for which nobody waits may wait for others to share their commit.
const SOON: Duration = Duration::from_millis(25);

/// Writes after which the length of the write-ahead log is looked at.
const WRITES_BETWEEN_LOOKS: usize = 32;

/// Pages by which the write-ahead log may grow before it is copied into the database: 4 MB, as `SQLite`'s own habit is.
const PAGES_BETWEEN_CHECKPOINTS: i64 = 1_000;

/// The way to the writer's task.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Wanted>,
    commits: watch::Receiver<i64>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// The number of commits, as they are made.
    pub(crate) fn commits(&self) -> watch::Receiver<i64> {
        self.commits.clone()
    }

    /// Queues a rare write and waits until it is committed or refused.
    pub(crate) async fn write<W: Write>(&self, write: W) -> Result<W::Answer, WriteError> {
        let (waiting, answer) = Waiting::new(write);
        self.queue(Wanted::Other(Box::new(waiting)), answer).await
    }

    /// W1.
    pub(crate) async fn admit(&self, call: NewCall) -> Result<Admission, WriteError> {
        let (waiting, answer) = Waiting::new(call);
        self.queue(Wanted::Admission(waiting), answer).await
    }

    /// W2.
    pub(crate) async fn know_generation(&self, known: GenerationKnown) -> Result<(), WriteError> {
        let (waiting, answer) = Waiting::new(known);
        self.queue(Wanted::Generation(waiting), answer).await
    }

    /// W3.
    pub(crate) async fn settle(&self, settle: Settle, haste: Haste) -> Result<Settled, WriteError> {
        let (waiting, answer) = Waiting::new(settle);
        self.queue(Wanted::Settling(waiting, haste), answer).await
    }

    async fn queue<A>(
        &self,
        wanted: Wanted,
        answer: oneshot::Receiver<Result<A, WriteError>>,
    ) -> Result<A, WriteError> {
        self.queue.send(wanted).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }
}

/// Starts the writer's task. It holds `lock` as long as it lives.
pub(crate) fn start(
    connection: SqliteConnection,
    lock: Lock,
    tasks: &TaskTracker,
) -> (Writer, oneshot::Receiver<Stopped>) {
    let (queue, waiting) = mpsc::channel(CHANNEL);
    let (stopped, has_stopped) = oneshot::channel();
    let (committed, commits) = watch::channel(0);
    tasks.spawn(async move {
        let end = run(connection, &lock, &committed, waiting).await;
        drop(lock);
        // Nobody listening means that nobody is left to stop.
        let _ = stopped.send(end);
    });
    (Writer { queue, commits }, has_stopped)
}

async fn run(
    mut connection: SqliteConnection,
    lock: &Lock,
    committed_so_far: &watch::Sender<i64>,
    mut waiting: mpsc::Receiver<Wanted>,
) -> Stopped {
    let mut wanted = Vec::with_capacity(LARGEST_GROUP);
    let mut log = Log::default();
    let mut memory = Memory::default();
    while waiting.recv_many(&mut wanted, LARGEST_GROUP).await > 0 {
        let soon = Instant::now() + SOON;
        while wanted.iter().all(Wanted::may_wait)
            && let Ok(1..) = timeout_at(soon, waiting.recv_many(&mut wanted, LARGEST_GROUP)).await
        {}
        let writes = wanted.len();
        let mut group = Group::of(wanted.drain(..));
        let committed = group.commit(&mut memory, &mut connection).await;
        match &committed {
            Ok(commits) => {
                lock.mark(*commits);
                committed_so_far.send_replace(*commits);
            }
            Err(_) => log.try_all_again(),
        }
        let failed_fsync = committed.as_ref().is_err_and(|error| is_failed_fsync(error.as_ref()));
        group.answer(&committed.map(drop).map_err(WriteError::Unwritable));
        if failed_fsync {
            return Stopped::FailedFsync;
        }
        if let Err(stopped) = log.grew(writes, &mut connection).await {
            return stopped;
        }
    }
    // Who copies the file of a stopped program should have all of it in one file.
    let end = checkpoint("PRAGMA wal_checkpoint(TRUNCATE)", &mut connection).await.err();
    if let Err(error) = connection.close().await {
        tracing::debug!(%error, "the database could not be closed");
    }
    end.unwrap_or(Stopped::Closed)
}

/// How long the write-ahead log is. `SQLite`'s own checkpoint would swallow a failed fsync, so that the writer
/// makes them itself.
#[derive(Default)]
struct Log {
    writes_since_look: usize,
    /// How many pages it had when it was copied last. It begins anew only when nobody reads it, and must not be copied again
    /// and again until then.
    copied_at: i64,
}

/// What `PRAGMA wal_checkpoint` answers, as far as it is needed.
#[derive(Clone, Copy, sqlx::FromRow)]
struct Checkpoint {
    /// Pages in the write-ahead log.
    log: i64,
}

impl Log {
    /// After `writes` more, copies the log into the database where it has become long.
    async fn grew(&mut self, writes: usize, connection: &mut SqliteConnection) -> Result<(), Stopped> {
        self.writes_since_look += writes;
        if self.writes_since_look < WRITES_BETWEEN_LOOKS {
            return Ok(());
        }
        self.writes_since_look = 0;
        let Some(Checkpoint { log, .. }) = checkpoint("PRAGMA wal_checkpoint(NOOP)", connection).await?
        else {
            return Ok(());
        };
        self.copied_at = self.copied_at.min(log);
        if log - self.copied_at < PAGES_BETWEEN_CHECKPOINTS {
            return Ok(());
        }
        if let Some(made) = checkpoint("PRAGMA wal_checkpoint(PASSIVE)", connection).await? {
            self.copied_at = made.log;
        }
        Ok(())
    }

    /// Where the disk is full of it, it must not stay.
    fn try_all_again(&mut self) {
        self.copied_at = 0;
    }
}

/// Copies the write-ahead log into the database, or looks at it. Only a failed fsync is an error; anything else may pass.
async fn checkpoint(
    pragma: &'static str,
    connection: &mut SqliteConnection,
) -> Result<Option<Checkpoint>, Stopped> {
    match sqlx::query_as(pragma).fetch_one(connection).await {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(error) => {
            tracing::warn!(%error, "the write-ahead log could not be copied into the database; it grows");
            if is_failed_fsync(&error) { Err(Stopped::FailedFsync) } else { Ok(None) }
        }
    }
}
