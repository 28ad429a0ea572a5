//! Copying a backup beside its place, looking at it, and giving it its name.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ledger::{Contents, EmptyPlace, LedgerReader, OpenError, PlaceError, ReadError, Verification};
use metering::OrgId;

use super::RestoreError;
use crate::backup::{checksum, name};
use crate::clients::Client;
use crate::private_file::{self, FileError, beside};
use crate::{Console, OperatorError};

/// Added to the database's name while the backup is copied there and verified.
const UNFINISHED: &str = ".restoring";

/// What the backup is and where it goes.
pub(super) struct Plan {
    pub(super) from: PathBuf,
    pub(super) database: PathBuf,
    /// Whose it must be, where `.env` says.
    pub(super) organisation: Option<OrgId>,
    /// What its checksum must be, where one lies beside it.
    pub(super) checksum: Option<String>,
}

/// What was found in a backup.
pub(super) struct Found {
    pub(super) contents: Contents,
    pub(super) verification: Verification,
}

impl Plan {
    pub(super) async fn dry_run(&self) -> Result<Found, OperatorError> {
        let unreadable = |source| system("read", &self.from, source);
        let file = File::open(&self.from).map_err(unreadable)?;
        let sum = checksum::copy(file, &mut std::io::sink()).map_err(unreadable)?;
        self.compare(&sum)?;
        self.judge(&self.from).await
    }

    /// Copies it beside its place, verifies the copy, and gives it its name. Answers the commits of the ledger that was there, too.
    pub(super) async fn apply(
        &self,
        client: &Client,
        console: &mut Console,
    ) -> Result<(Found, Option<i64>), OperatorError> {
        let folder = self.database.parent().unwrap_or(Path::new(""));
        if private_file::make_folder(folder)? {
            private_file::give_owner(&client.folder, folder)
                .map_err(|source| system("make", folder, source))?;
            let folder = folder.display();
            console.note(&format!(
                "{folder} was made; the sidecar's container must own it: chown 65532:65532 {folder}"
            ));
        }
        let place = EmptyPlace::take(&self.database).map_err(refused)?;
        give(&place.lock_file())?;
        let unfinished = beside(&self.database, UNFINISHED);
        let verified = self.verified_copy(&unfinished).await;
        // What a file in the mode of the write-ahead log has left when it was read.
        for rest in ["-wal", "-shm"] {
            private_file::remove(&beside(&unfinished, rest))?;
        }
        let (found, marked) = match verified {
            Ok(found) => (found, place.marked_commits()),
            Err(error) => {
                private_file::remove(&unfinished)?;
                return Err(error);
            }
        };
        place.fill(&unfinished).map_err(RestoreError::from)?;
        Ok((found, marked))
    }

    async fn verified_copy(&self, unfinished: &Path) -> Result<Found, OperatorError> {
        // What a run has left that did not come to its end.
        private_file::remove(unfinished)?;
        let sum = self.copy(unfinished).map_err(|source| system("copy", &self.from, source))?;
        self.compare(&sum)?;
        give(unfinished)?;
        self.judge(unfinished).await
    }

    /// Answers the checksum.
    fn copy(&self, to: &Path) -> std::io::Result<String> {
        let from = File::open(&self.from)?;
        let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        let sum = checksum::copy(from, &mut copy)?;
        copy.sync_all()?;
        Ok(sum)
    }

    fn compare(&self, sum: &str) -> Result<(), RestoreError> {
        if self.checksum.as_deref().is_none_or(|expected| expected == sum) {
            return Ok(());
        }
        Err(RestoreError::Checksum { from: self.from.clone(), checksum: name::checksum(&self.from) })
    }

    /// Whether this program can go on with `file`, which is the backup or its copy.
    async fn judge(&self, file: &Path) -> Result<Found, OperatorError> {
        let reader = LedgerReader::open_to_go_on(file, self.organisation.as_ref())
            .await
            .map_err(|error| self.told_of_the_backup(error))?;
        let verification = reader.verify().await;
        let contents = reader.contents().await;
        reader.close().await;
        let unreadable = |source: ReadError| self.unreadable(source);
        let verification = verification.map_err(unreadable)?;
        if let Some(first) = verification.damage().next() {
            return Err(RestoreError::Damaged { from: self.from.clone(), first: first.to_string() }.into());
        }
        Ok(Found { contents: contents.map_err(unreadable)?, verification })
    }

    /// What is wrong is wrong with the backup; its copy is gone when it is told.
    fn told_of_the_backup(&self, error: OpenError) -> OperatorError {
        let path = self.from.clone();
        let told = match error {
            OpenError::Newer { version, .. } => OpenError::Newer { path, version },
            OpenError::OtherOrganisation { recorded, given, .. } => {
                OpenError::OtherOrganisation { path, recorded, given }
            }
            OpenError::Database { source, .. } => return self.unreadable(source).into(),
            OpenError::Migration { source, .. } => OpenError::Migration { path, source },
            other => other,
        };
        told.into()
    }

    fn unreadable(&self, source: impl std::error::Error + Send + Sync + 'static) -> RestoreError {
        RestoreError::Unreadable { from: self.from.clone(), source: Box::new(source) }
    }
}

/// Root restores for whoever owns the folder: the sidecar's container.
fn give(file: &Path) -> Result<(), OperatorError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let given = private_file::give_owner(folder.unwrap_or(Path::new(".")), file);
    given.map_err(|source| system("give the folder's owner", file, source))
}

/// A sidecar that still runs has an exit code of its own.
fn refused(error: PlaceError) -> OperatorError {
    match error {
        PlaceError::Open(error) => error.into(),
        other => RestoreError::from(other).into(),
    }
}

fn system(attempted: &'static str, path: &Path, source: std::io::Error) -> OperatorError {
    FileError::System { attempted, path: path.to_owned(), source }.into()
}
