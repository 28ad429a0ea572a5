//! What goes into one commit: the writes of many callers, alike ones together.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use crate::error::WriteError;
use crate::writes::calls::UnderWay;
use crate::{GenerationKnown, NewCall, Settle};

/// One thing to write. It runs inside the group's transaction; failing undoes only itself.
pub(crate) trait Write: Send + Sync + 'static {
    /// What the caller learns once it is committed.
    type Answer: Send + 'static;

    /// Writes it.
    fn apply(
        &self,
        connection: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Self::Answer, WriteError>> + Send;
}

/// One thing to write of which a busy house writes many at once: a statement does for all of a group what it does for one.
pub(crate) trait WriteTogether: Sized + Send + Sync + 'static {
    /// What the caller learns once it is committed.
    type Answer: Send + 'static;

    /// Writes all and answers each, in their order. Where one cannot be written the error undoes all, and each is written alone.
    fn apply_together(
        writes: &[&Self],
        under_way: &mut UnderWay,
        connection: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, WriteError>> + Send;
}

/// A write with its caller waiting.
pub(super) struct Waiting<W, A> {
    write: W,
    outcome: Option<Result<A, WriteError>>,
    caller: oneshot::Sender<Result<A, WriteError>>,
}

type AlikeWaiting<W> = Waiting<W, <W as WriteTogether>::Answer>;

/// What comes through the channel.
pub(super) enum Wanted {
    Admission(AlikeWaiting<NewCall>),
    Generation(AlikeWaiting<GenerationKnown>),
    Settling(AlikeWaiting<Settle>),
    Other(Box<dyn Queued>),
}

/// A rare write of any type with its caller waiting.
pub(super) trait Queued: Send {
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), WriteError>>;
    fn answer(self: Box<Self>, committed: Result<(), WriteError>);
}

/// The writes of one commit. Nobody waits for two at once, so that their order is free.
#[derive(Default)]
pub(super) struct Group {
    admissions: Vec<AlikeWaiting<NewCall>>,
    generations: Vec<AlikeWaiting<GenerationKnown>>,
    settlings: Vec<AlikeWaiting<Settle>>,
    others: Vec<Box<dyn Queued>>,
}

/// How the alike writes of a group are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// All at once; one that is refused refuses all.
    Together,
    /// Each alone; one that is refused is undone alone.
    OneByOne,
}

impl<W, A> Waiting<W, A> {
    /// The write, and the way by which its caller will be answered.
    pub(super) fn new(write: W) -> (Self, oneshot::Receiver<Result<A, WriteError>>) {
        let (caller, answer) = oneshot::channel();
        (Self { write, outcome: None, caller }, answer)
    }

    fn answer(self, committed: Result<(), WriteError>) {
        // A refusal that was judged by writes that were then undone is no refusal: the failed commit comes first.
        let answer = match (committed, self.outcome) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(outcome)) => outcome,
            (Ok(()), None) => Err(WriteError::Closed),
        };
        // A caller that went away does not want to know; what it asked for is recorded all the same.
        drop(self.caller.send(answer));
    }
}

impl<W: Write> Queued for Waiting<W, W::Answer> {
    fn run<'a>(&'a mut self, connection: &'a mut SqliteConnection) -> BoxFuture<'a, Result<(), WriteError>> {
        Box::pin(async move {
            let outcome = self.write.apply(connection).await;
            let result = outcome.as_ref().map(drop).map_err(Clone::clone);
            self.outcome = Some(outcome);
            result
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), WriteError>) {
        (*self).answer(committed);
    }
}

impl Group {
    pub(super) fn of(wanted: impl Iterator<Item = Wanted>) -> Self {
        let mut group = Self::default();
        for wanted in wanted {
            match wanted {
                Wanted::Admission(waiting) => group.admissions.push(waiting),
                Wanted::Generation(waiting) => group.generations.push(waiting),
                Wanted::Settling(waiting) => group.settlings.push(waiting),
                Wanted::Other(waiting) => group.others.push(waiting),
            }
        }
        group
    }

    pub(super) fn len(&self) -> usize {
        self.admissions.len() + self.generations.len() + self.settlings.len() + self.others.len()
    }

    /// Tells every caller what became of the commit, or else of its own write.
    pub(super) fn answer(self, committed: &Result<(), WriteError>) {
        self.admissions.into_iter().for_each(|waiting| waiting.answer(committed.clone()));
        self.generations.into_iter().for_each(|waiting| waiting.answer(committed.clone()));
        self.settlings.into_iter().for_each(|waiting| waiting.answer(committed.clone()));
        self.others.into_iter().for_each(|waiting| waiting.answer(committed.clone()));
    }

    /// Commits the group in one transaction and answers how many commits there were by now. A refused write is undone alone;
    /// trouble with the file undoes all.
    pub(super) async fn commit(
        &mut self,
        under_way: &mut UnderWay,
        connection: &mut SqliteConnection,
    ) -> Result<i64, Arc<sqlx::Error>> {
        let committed = match self.commit_at(Pace::Together, under_way, connection).await {
            Err(WriteError::Refused(why)) => {
                tracing::debug!(writes = self.len(), why, "a write was refused: each is written alone");
                roll_back(under_way, connection).await;
                self.commit_at(Pace::OneByOne, under_way, connection).await
            }
            committed => committed,
        };
        let error = match committed {
            Ok(commits) => return Ok(commits),
            Err(WriteError::Unwritable(error)) => error,
            Err(other) => Arc::new(sqlx::Error::Protocol(other.to_string())),
        };
        // Each caller tells what that means; here it would be told twice.
        tracing::debug!(%error, writes = self.len(), "nothing of this group was recorded");
        roll_back(under_way, connection).await;
        Err(error)
    }

    async fn commit_at(
        &mut self,
        pace: Pace,
        under_way: &mut UnderWay,
        connection: &mut SqliteConnection,
    ) -> Result<i64, WriteError> {
        let commits = sqlx::query_scalar(
            "BEGIN IMMEDIATE; UPDATE commits SET count = count + 1 WHERE id = 1 RETURNING count",
        )
        .fetch_one(&mut *connection)
        .await?;
        write_all(&mut self.admissions, pace, under_way, connection).await?;
        write_all(&mut self.generations, pace, under_way, connection).await?;
        write_all(&mut self.settlings, pace, under_way, connection).await?;
        for other in &mut self.others {
            save_point(connection).await?;
            let done = other.run(connection).await;
            undo_if_refused(done, connection).await?;
        }
        if !self.others.is_empty() {
            // They write calls too, and do not tell which.
            under_way.forget();
        }
        sqlx::query("COMMIT").execute(connection).await?;
        Ok(commits)
    }
}

async fn write_all<W: WriteTogether>(
    waiting: &mut [AlikeWaiting<W>],
    pace: Pace,
    under_way: &mut UnderWay,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    if waiting.is_empty() {
        return Ok(());
    }
    if pace == Pace::Together {
        let writes: Vec<&W> = waiting.iter().map(|waiting| &waiting.write).collect();
        let answers = W::apply_together(&writes, under_way, connection).await?;
        for (waiting, answer) in waiting.iter_mut().zip(answers) {
            waiting.outcome = Some(Ok(answer));
        }
        return Ok(());
    }
    for one in waiting {
        save_point(connection).await?;
        let outcome = W::apply_together(&[&one.write], &mut UnderWay::default(), connection).await;
        let done = outcome.as_ref().map(drop).map_err(Clone::clone);
        one.outcome = Some(outcome.and_then(|mut answers| answers.pop().ok_or(WriteError::Closed)));
        undo_if_refused(done, connection).await?;
    }
    Ok(())
}

async fn save_point(connection: &mut SqliteConnection) -> Result<(), WriteError> {
    sqlx::query("SAVEPOINT one").execute(connection).await?;
    Ok(())
}

/// Ends the savepoint of a write. Only trouble with the file is an error of the group.
async fn undo_if_refused(
    done: Result<(), WriteError>,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    match done {
        Ok(()) => {}
        Err(WriteError::Unwritable(error)) => return Err(WriteError::Unwritable(error)),
        Err(_) => {
            sqlx::query("ROLLBACK TO one").execute(&mut *connection).await?;
        }
    }
    sqlx::query("RELEASE one").execute(connection).await?;
    Ok(())
}

/// Undoes the group, in memory too. After some errors `SQLite` has already rolled back, and then says so with an error of its own.
async fn roll_back(under_way: &mut UnderWay, connection: &mut SqliteConnection) {
    under_way.forget();
    if let Err(error) = sqlx::query("ROLLBACK").execute(connection).await {
        tracing::debug!(%error, "nothing was left to roll back");
    }
}
