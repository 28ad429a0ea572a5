//! What the files of a backup are called: `NAME-20261122T170109.123Z.db`, its checksum beside it, and what is not finished.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::private_file::{FileError, beside};

/// The folder in a client's own where its backups are.
pub(crate) const FOLDER: &str = "backups";

/// Added to the name of a copy until it is sound. A kill leaves such a file, with the key in it; the next run removes it.
const UNFINISHED: &str = ".unfinished";

/// Added to the name of a backup's checksum.
const CHECKSUM: &str = ".sha256";

const DATABASE: &str = ".db";

/// The instant, UTC.
const INSTANT: &str = "%Y%m%dT%H%M%S%.3fZ";

/// The files of one client's backups in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The instants of the backups, the oldest first.
    pub(crate) backups: Vec<Timestamp>,
    /// What a run left that did not come to its end.
    pub(crate) leftovers: Vec<PathBuf>,
}

/// The name of the backup of `client` at `at`.
pub(crate) fn of(client: &str, at: Timestamp) -> String {
    format!("{client}-{}{DATABASE}", at.strftime(INSTANT))
}

/// The file beside `backup` that holds its checksum.
pub(crate) fn checksum(backup: &Path) -> PathBuf {
    beside(backup, CHECKSUM)
}

/// Where `backup` is written before it is one.
pub(crate) fn unfinished(backup: &Path) -> PathBuf {
    beside(backup, UNFINISHED)
}

/// The instant of a backup of `client`; `None` for every other file.
pub(crate) fn instant(client: &str, file: &str) -> Option<Timestamp> {
    let text = file.strip_prefix(client)?.strip_prefix('-')?.strip_suffix(DATABASE)?;
    let read = DateTime::strptime("%Y%m%dT%H%M%S%.fZ", text).ok()?;
    let at = read.to_zoned(TimeZone::UTC).ok()?.timestamp();
    // What reads alike but is written otherwise was not named here.
    (of(client, at) == file).then_some(at)
}

/// What there is of the backups of `client` in `folder`; nothing where there is no folder.
pub(crate) fn find(folder: &Path, client: &str) -> Result<Found, FileError> {
    let system = |source| FileError::System { attempted: "read", path: folder.to_owned(), source };
    let mut files = Vec::new();
    match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::default()),
        entries => {
            for entry in entries.map_err(system)? {
                files.extend(entry.map_err(system)?.file_name().into_string());
            }
        }
    }
    files.sort();
    let is_left = |file: &&String| is_left(client, file, &files);
    Ok(Found {
        backups: files.iter().filter_map(|file| instant(client, file)).collect(),
        leftovers: files.iter().filter(is_left).map(|file| folder.join(file)).collect(),
    })
}

/// A part of a copy, or a checksum without its copy.
fn is_left(client: &str, file: &str, files: &[String]) -> bool {
    let of_a_backup = |name: &str| instant(client, name).is_some();
    if let Some(backup) = file.strip_suffix(CHECKSUM) {
        return of_a_backup(backup) && !files.iter().any(|file| file == backup);
    }
    let part = file.strip_suffix("-journal").unwrap_or(file);
    part.strip_suffix(UNFINISHED).is_some_and(of_a_backup)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_tells_its_instant() {
        for text in ["2026-11-22T17:01:09.123Z", "2026-11-22T17:01:09Z", "1999-01-01T00:00:00.001Z"] {
            assert_eq!(instant("company-a", &of("company-a", at(text))), Some(at(text)));
        }
        assert_eq!(of("a", at("2026-11-22T17:01:09Z")), "a-20261122T170109.000Z.db");
    }

    #[test]
    fn other_files_are_not_ours() {
        for other in [
            "a-20261122T170109Z.db",
            "a-20261122T170109.0000Z.db",
            "a-20261122T170109.000Z.db.sha256",
            "a-20261322T170109.000Z.db",
            "a-b-20261122T170109.000Z.db",
            "a20261122T170109.000Z.db",
            "a-copy.db",
            "mai-usage.db",
        ] {
            assert_eq!(instant("a", other), None, "{other}");
        }
    }

    #[test]
    fn what_is_left_is_told_from_what_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, lost) = ("a-20261122T170109.000Z.db", "a-20261122T180109.000Z.db");
        let parts =
            [format!("{lost}.sha256"), format!("{lost}.unfinished"), format!("{lost}.unfinished-journal")];
        let others = ["notes.db.unfinished", "b-20261122T170109.000Z.db.unfinished", "notes.sha256"];
        for file in others.into_iter().chain([whole, &format!("{whole}.sha256")]) {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        for file in &parts {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let found = find(folder.path(), "a").unwrap();
        assert_eq!(found.backups, [at("2026-11-22T17:01:09Z")]);
        assert_eq!(found.leftovers, parts.map(|part| folder.path().join(part)));
        assert_eq!(find(&folder.path().join("none"), "a").unwrap(), Found::default());
    }
}
