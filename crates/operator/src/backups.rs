//! The backups of a client, as far as others need to know.

use std::path::Path;

use jiff::Timestamp;

/// Where they are in a client's folder.
const FOLDER: &str = "backups";

/// When the last backup of the client in `folder` was written; `None` where there is none, or none may be looked at.
pub(crate) fn last(folder: &Path) -> Option<Timestamp> {
    let files = std::fs::read_dir(folder.join(FOLDER)).ok()?.filter_map(Result::ok);
    let backups = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "db"));
    let written = backups.filter_map(|file| Timestamp::try_from(file.metadata().ok()?.modified().ok()?).ok());
    written.max()
}
