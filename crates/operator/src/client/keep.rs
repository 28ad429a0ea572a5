//! What is put aside before something is changed that may go wrong.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::SIDECAR;
use crate::OperatorError;
use crate::clients::Client;
use crate::docker::Docker;
use crate::private_file::FileError;

/// What stands beside a database and belongs to it.
const COMPANIONS: [&str; 3] = ["", "-wal", "-shm"];

/// Puts a copy of the client's ledger aside before its images change, and answers where it is; `None` where there is no ledger yet.
///
/// The sidecar is stopped for it, which it will be for the new image anyway: a sidecar that has ended leaves one whole file.
pub(super) fn before_upgrade(
    docker: &Docker,
    client: &Client,
    now: Timestamp,
) -> Result<Option<PathBuf>, OperatorError> {
    let database = client.database();
    if !database.exists() {
        return Ok(None);
    }
    let folder = client.folder.join("backups").join(format!("before-upgrade-{}", stamp(now)));
    docker.compose(&client.folder, &["stop", SIDECAR])?;
    copy_ledger(&database, &folder)?;
    Ok(Some(folder))
}

/// An instant as a part of a file's name, UTC.
pub(super) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H%M%SZ").to_string()
}

fn copy_ledger(database: &Path, folder: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let system = |attempted, path: &Path| {
        let path = path.to_owned();
        move |source| FileError::System { attempted, path, source }
    };
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(system("make", folder))?;
    let name = database.file_name().unwrap_or(database.as_os_str()).to_string_lossy();
    for companion in COMPANIONS {
        let name = format!("{name}{companion}");
        let from = database.with_file_name(&name);
        if from.exists() {
            // The mode goes with it.
            std::fs::copy(&from, folder.join(&name)).map_err(system("copy", &from))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_copy_of_a_ledger_is_whole_and_private() {
        let place = tempfile::tempdir().unwrap();
        let database = place.path().join("mai-usage.db");
        for (name, text) in
            [("mai-usage.db", "book"), ("mai-usage.db-wal", "log"), ("mai-usage.db.lock", "1")]
        {
            crate::private_file::create(&place.path().join(name), text).unwrap();
        }
        let folder = place.path().join("backups/before-upgrade-x");
        copy_ledger(&database, &folder).unwrap();
        let mut names: Vec<_> =
            std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["mai-usage.db", "mai-usage.db-wal"]);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("mai-usage.db"))), (0o700, 0o600));
        let now: Timestamp = "2026-11-22T12:00:07Z".parse().unwrap();
        assert_eq!(stamp(now), "2026-11-22T120007Z");
    }
}
