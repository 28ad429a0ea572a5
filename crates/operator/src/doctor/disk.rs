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
