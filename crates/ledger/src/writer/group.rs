//! What goes into one commit: the writes of many callers, alike ones together.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use crate::error::WriteError;
use crate::writes::batch::{Batch, Told};
use crate::writes::memory::Memory;
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

    /// Adds to a batch what writes all, and answers each, in their order, for when the batch has run. Where one cannot be written the
    /// error undoes all, and each is written alone.
    fn add_to(
        batch: &mut Batch,
        writes: &[&Self],
        memory: &mut Memory,
        connection: &mut SqliteConnection,
    ) -> impl Future<Output = Result<Vec<Self::Answer>, WriteError>> + Send;

    /// Completes the answers by what the batch told.
    fn hear(_writes: &[&Self], _answers: &mut [Self::Answer], _told: &Told) {}
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
    Settling(AlikeWaiting<Settle>, Haste),
    Other(Box<dyn Queued>),
}

/// When a write has to be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Haste {
    /// Somebody waits for it.
    Now,
    /// Nobody does; others may share the commit.
    Soon,
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

impl Wanted {
    pub(super) const fn may_wait(&self) -> bool {
        matches!(self, Self::Settling(_, Haste::Soon))
    }
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
                Wanted::Settling(waiting, _) => group.settlings.push(waiting),
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
        memory: &mut Memory,
        connection: &mut SqliteConnection,
    ) -> Result<i64, Arc<sqlx::Error>> {
        let committed = match self.commit_at(Pace::Together, memory, connection).await {
            Err(WriteError::Refused(why)) => {
                tracing::debug!(writes = self.len(), why, "a write was refused: each is written alone");
                roll_back(memory, connection).await;
                self.commit_at(Pace::OneByOne, memory, connection).await
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
        roll_back(memory, connection).await;
        Err(error)
    }

    async fn commit_at(
        &mut self,
        pace: Pace,
        memory: &mut Memory,
        connection: &mut SqliteConnection,
    ) -> Result<i64, WriteError> {
        let mut batch = Batch::default();
        batch.push(
            "BEGIN IMMEDIATE;
             UPDATE commits SET count = count + 1 WHERE id = 1 RETURNING 'commits', CAST(count AS TEXT)",
            [],
        );
        batch.expect_rows(1);
        let told = match pace {
            Pace::Together => self.write_together(batch, memory, connection).await?,
            Pace::OneByOne => {
                let told = batch.run(connection).await?;
                write_each(&mut self.admissions, connection).await?;
                write_each(&mut self.generations, connection).await?;
                write_each(&mut self.settlings, connection).await?;
                told
            }
        };
        for other in &mut self.others {
            save_point(connection).await?;
            let done = other.run(connection).await;
            undo_if_refused(done, connection).await?;
        }
        if !self.others.is_empty() {
            // They write calls and entries too, and do not tell which.
            memory.forget();
        }
        if pace == Pace::OneByOne || !self.others.is_empty() {
            sqlx::query("COMMIT").execute(connection).await?;
        }
        let commits = told.of("commits").find_map(|commits| commits.parse().ok());
        commits.ok_or_else(|| WriteError::refused("the commits are not counted"))
    }

    /// One trip for all that are alike, and for the commit where that is all.
    async fn write_together(
        &mut self,
        mut batch: Batch,
        memory: &mut Memory,
        connection: &mut SqliteConnection,
    ) -> Result<Told, WriteError> {
        let admissions = add_to(&mut batch, &self.admissions, memory, connection).await?;
        let generations = add_to(&mut batch, &self.generations, memory, connection).await?;
        let settlings = add_to(&mut batch, &self.settlings, memory, connection).await?;
        if self.others.is_empty() {
            batch.push("COMMIT", []);
        }
        let told = batch.run(connection).await?;
        hear(&mut self.admissions, admissions, &told);
        hear(&mut self.generations, generations, &told);
        hear(&mut self.settlings, settlings, &told);
        Ok(told)
    }
}

async fn add_to<W: WriteTogether>(
    batch: &mut Batch,
    waiting: &[AlikeWaiting<W>],
    memory: &mut Memory,
    connection: &mut SqliteConnection,
) -> Result<Vec<W::Answer>, WriteError> {
    if waiting.is_empty() {
        return Ok(vec![]);
    }
    W::add_to(batch, &writes_of(waiting), memory, connection).await
}

fn hear<W: WriteTogether>(waiting: &mut [AlikeWaiting<W>], mut answers: Vec<W::Answer>, told: &Told) {
    W::hear(&writes_of(waiting), &mut answers, told);
    for (waiting, answer) in waiting.iter_mut().zip(answers) {
        waiting.outcome = Some(Ok(answer));
    }
}

fn writes_of<W: WriteTogether>(waiting: &[AlikeWaiting<W>]) -> Vec<&W> {
    waiting.iter().map(|waiting| &waiting.write).collect()
}

/// Writes each alone, as if nothing were known.
async fn write_each<W: WriteTogether>(
    waiting: &mut [AlikeWaiting<W>],
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    for one in waiting {
        save_point(connection).await?;
        let outcome = write_one(&one.write, connection).await;
        let done = outcome.as_ref().map(drop).map_err(Clone::clone);
        one.outcome = Some(outcome);
        undo_if_refused(done, connection).await?;
    }
    Ok(())
}

async fn write_one<W: WriteTogether>(
    write: &W,
    connection: &mut SqliteConnection,
) -> Result<W::Answer, WriteError> {
    let mut batch = Batch::default();
    let mut answers = W::add_to(&mut batch, &[write], &mut Memory::default(), connection).await?;
    let told = batch.run(connection).await?;
    W::hear(&[write], &mut answers, &told);
    answers.pop().ok_or(WriteError::Closed)
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
async fn roll_back(memory: &mut Memory, connection: &mut SqliteConnection) {
    memory.forget();
    if let Err(error) = sqlx::query("ROLLBACK").execute(connection).await {
        tracing::debug!(%error, "nothing was left to roll back");
    }
}
