//! The database as a file, and the disk below it.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::facts::{Disk, FileFacts, Owner};

/// What stands beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", ".lock"];

pub(super) fn file(path: &Path) -> FileFacts {
    let owner = owner(path);
    let folder = path.parent().unwrap_or(path);
    let is_stranger = |beside: &PathBuf| match (owner, self::owner(beside)) {
        (Some(owner), Some(beside)) => owner.uid != beside.uid,
        _ => false,
    };
    FileFacts {
        owner,
        folder_owner: self::owner(folder),
        strangers: BESIDE.map(|suffix| beside(path, suffix)).into_iter().filter(is_stranger).collect(),
        log_bytes: std::fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len()),
        disk: disk(folder),
        path: path.to_owned(),
    }
}

fn owner(path: &Path) -> Option<Owner> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Owner { uid: metadata.uid(), mode: metadata.mode() & 0o777 })
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn disk(folder: &Path) -> Option<Disk> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let free_bytes = disk.f_bavail.saturating_mul(disk.f_frsize);
    Some(Disk { free_bytes, free_files: disk.f_favail, files: disk.f_files })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_and_the_disk_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("usage.db");
        let missing = file(&path);
        assert!(missing.owner.is_none() && missing.folder_owner.is_some() && missing.disk.is_some());
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::fs::write(folder.path().join("usage.db-wal"), "12345").unwrap();
        let found = file(&path);
        assert_eq!((found.owner.unwrap().mode, found.log_bytes, found.strangers.len()), (0o640, 5, 0));
        assert!(found.disk.unwrap().free_bytes > 0);
        // Where the test may give a file away.
        if std::os::unix::fs::chown(folder.path().join("usage.db-wal"), Some(65_532), None).is_ok() {
            assert_eq!(file(&path).strangers, [folder.path().join("usage.db-wal")]);
        }
    }
}
