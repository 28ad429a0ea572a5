//! Doing the steps of a backup.

use std::fs::File;
use std::path::Path;

use jiff::Timestamp;
use ledger::{Finding, LedgerReader, Verification};
use metering::Clock;

use super::plan::{Facts, MEGABYTE, Step, Wanted, plan};
use super::{BackupError, Made, checksum, name};
use crate::OperatorError;
use crate::private_file::{self, FileError};

/// A copy of so many takes seconds.
const MANY_MEGABYTES: u64 = 50;

/// A backup under way. The folder is its own as long as it lives.
pub(super) struct Work {
    wanted: Wanted,
    facts: Facts,
    made: Option<Verification>,
    sha256: String,
    _lock: File,
}

impl Work {
    /// Makes the folder and looks at what is there.
    pub(super) fn new(wanted: Wanted, clock: &Clock) -> Result<Self, OperatorError> {
        // Where there is nothing to copy, no folder is made.
        Facts::gather(&wanted, clock.now())?;
        make_folder(&wanted)?;
        let lock = private_file::lock(&wanted.folder)?;
        let facts = Facts::gather(&wanted, clock.now())?;
        Ok(Self { wanted, facts, made: None, sha256: String::new(), _lock: lock })
    }

    /// What is to be done.
    pub(super) fn plan(&self) -> Vec<Step> {
        plan(&self.wanted, &self.facts)
    }

    /// The megabytes to copy, where they are so many that a person wonders.
    pub(super) fn takes_long(&self) -> Option<u64> {
        let megabytes = self.facts.database_bytes / MEGABYTE;
        (megabytes >= MANY_MEGABYTES).then_some(megabytes)
    }

    /// Does it all, or leaves what was there.
    pub(super) async fn run(mut self) -> Result<Made, OperatorError> {
        let steps = self.plan();
        for step in &steps {
            if let Err(error) = self.apply(step).await {
                Self::take_back(&steps);
                return Err(error);
            }
        }
        self.finished(&steps)
    }

    pub(super) async fn apply(&mut self, step: &Step) -> Result<(), OperatorError> {
        match step {
            Step::RemoveLeftover { file } => Ok(private_file::remove(file)?),
            Step::Copy { database, to, bytes } => self.copy(database, to, *bytes).await,
            Step::Checksum { of, file } => self.checksum(of, file),
            Step::Place { file } => place(&name::unfinished(file), file).map_err(OperatorError::from),
            Step::RemoveOld { file } => {
                private_file::remove(file)?;
                Ok(private_file::remove(&name::checksum(file))?)
            }
        }
    }

    async fn copy(&mut self, database: &Path, to: &Path, bytes: u64) -> Result<(), OperatorError> {
        refuse_full_disk(&self.wanted.folder, bytes, self.wanted.reserve_bytes)?;
        let reader = LedgerReader::open(database).await?;
        let copied = reader.copy_to(to).await;
        reader.close().await;
        let (_, verification) = copied.map_err(BackupError::from)?;
        let system = |source| FileError::System { attempted: "write", path: to.to_owned(), source };
        private_file::give_owner(database, to).map_err(system)?;
        self.made = Some(verification);
        Ok(())
    }

    fn checksum(&mut self, of: &Path, file: &Path) -> Result<(), OperatorError> {
        let system = |source| FileError::System { attempted: "read", path: of.to_owned(), source };
        self.sha256 = checksum::of(of).map_err(system)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        private_file::create(file, &checksum::line(&self.sha256, &name))?;
        let system = |source| FileError::System { attempted: "write", path: file.to_owned(), source };
        Ok(private_file::give_owner(of, file).map_err(system)?)
    }

    /// Removes what the steps have made, unless the backup is complete.
    fn take_back(steps: &[Step]) {
        for step in steps {
            let Step::Place { file } = step else { continue };
            if file.exists() {
                return;
            }
            let journal = private_file::remove(&private_file::beside(&name::unfinished(file), "-journal"));
            // What stays all the same, the next run removes.
            let _ = journal
                .and(private_file::remove(&name::unfinished(file)))
                .and(private_file::remove(&name::checksum(file)));
        }
    }

    fn finished(self, steps: &[Step]) -> Result<Made, OperatorError> {
        let at: Timestamp = self.facts.instant();
        let file = self.wanted.folder.join(name::of(&self.wanted.client, at));
        let system = |source| FileError::System { attempted: "read", path: file.clone(), source };
        let bytes = std::fs::metadata(&file).map_err(system)?.len();
        let Some(made) = self.made else {
            return Err(BackupError::NoDatabase { path: self.wanted.database }.into());
        };
        let removed = steps.iter().filter_map(|step| match step {
            Step::RemoveOld { file } => Some(file.clone()),
            _ => None,
        });
        Ok(Made {
            client: self.wanted.client,
            at,
            bytes,
            sha256: self.sha256,
            entries: made.entries,
            cost_usd: made.cost.to_string(),
            lost: made
                .findings
                .iter()
                .find(|found| matches!(found, Finding::Loss(_)))
                .map(ToString::to_string),
            removed: removed.collect(),
            file,
        })
    }
}

fn make_folder(wanted: &Wanted) -> Result<(), FileError> {
    let folder = &wanted.folder;
    if !private_file::make_folder(folder)? {
        return Ok(());
    }
    let system = |source| FileError::System { attempted: "make", path: folder.clone(), source };
    private_file::give_owner(&wanted.database, folder).map_err(system)
}

/// The copy's own bytes and the reserve must be there before the first is written.
fn refuse_full_disk(folder: &Path, bytes: u64, reserve: u64) -> Result<(), OperatorError> {
    let system = |error: rustix::io::Errno| FileError::System {
        attempted: "look at the disk of",
        path: folder.to_owned(),
        source: error.into(),
    };
    let disk = rustix::fs::statvfs(folder).map_err(system)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let needed = bytes.saturating_add(reserve);
    if free >= needed {
        return Ok(());
    }
    let (free, needed) = (free / MEGABYTE, needed.div_ceil(MEGABYTE));
    Err(BackupError::Space { folder: folder.to_owned(), free, needed }.into())
}

/// The file's bytes are on stable storage already; its name is when this returns.
fn place(unfinished: &Path, file: &Path) -> Result<(), FileError> {
    let system = |source| FileError::System { attempted: "write", path: file.to_owned(), source };
    std::fs::rename(unfinished, file).and_then(|()| private_file::sync_folder(file)).map_err(system)
}
