//! Files that hold secrets: read only where nobody else can, replaced as a whole or not at all.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Longest file that is read.
const LONGEST_BYTES: u64 = 1024 * 1024;

/// Added to a file's name while its successor is written.
const SUCCESSOR: &str = ".mai-usage-new";

/// What can go wrong with such a file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Others may read or write it.
    #[error("{path} may be read by others (mode {mode:o}); hint: chmod 600 {path}", path = .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Longer than such a file can be.
    #[error("{path} is longer than 1 MiB; is it the right file?", path = .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Not UTF-8.
    #[error("{path} is not UTF-8 text; is it the right file?", path = .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Another process works in the folder.
    #[error("another mai-usage works in {path}; hint: wait until it has ended", path = .path.display())]
    Busy {
        /// The folder.
        path: PathBuf,
    },
    /// It exists, and must not be overwritten.
    #[error("{path} exists and is not overwritten; hint: name another file", path = .path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {attempted} {path}", path = .path.display())]
    System {
        /// What was attempted: read, write.
        attempted: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// The text of a file that only its owner may read; `None` where there is no file.
pub(crate) fn read(path: &Path) -> Result<Option<String>, FileError> {
    let system = |source| FileError::System { attempted: "read", path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(system(error)),
    };
    let mode = file.metadata().map_err(system)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(FileError::Mode { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    // One more than is allowed, to know whether there is more.
    (&file).take(LONGEST_BYTES + 1).read_to_end(&mut bytes).map_err(system)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > LONGEST_BYTES) {
        return Err(FileError::TooLong { path: path.to_owned() });
    }
    String::from_utf8(bytes).map(Some).map_err(|_| FileError::NotText { path: path.to_owned() })
}

/// A new file with mode 0600 that holds `text`, on stable storage; one that exists is left alone.
pub(crate) fn create(path: &Path, text: &str) -> Result<(), FileError> {
    let system = |source| FileError::System { attempted: "write", path: path.to_owned(), source };
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = created.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => FileError::Exists { path: path.to_owned() },
        _ => system(error),
    })?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(system)?;
    sync_folder(path).map_err(system)
}

/// Replaces a file as a whole: after a crash there is the old one or the new one, and nothing between. The new one has mode 0600
/// and the old one's owner. Where the name is a link, what it points to is replaced.
pub(crate) fn replace(path: &Path, text: &str) -> Result<(), FileError> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mut name = target.clone().into_os_string();
    name.push(SUCCESSOR);
    let successor = PathBuf::from(name);
    // What a crash has left is nobody's.
    remove(&successor)?;
    create(&successor, text)?;
    let system = |source| FileError::System { attempted: "write", path: target.clone(), source };
    keep_owner(&target, &successor).map_err(system)?;
    std::fs::rename(&successor, &target).and_then(|()| sync_folder(&target)).map_err(system)
}

/// Removes a file that may be missing.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::System { attempted: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// A folder that only its owner may use; one that is there is left as it is.
pub(crate) fn make_folder(folder: &Path) -> Result<(), FileError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|source| FileError::System { attempted: "make", path: folder.to_owned(), source })
}

/// The only one that works in `folder`, until it is dropped. The folder itself is locked, so that nothing is left behind.
pub(crate) fn lock(folder: &Path) -> Result<File, FileError> {
    let system = |source| FileError::System { attempted: "use", path: folder.to_owned(), source };
    let file = File::open(folder).map_err(system)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FileError::Busy { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(system(source)),
    }
}

/// Root writes for whoever owned the file before.
fn keep_owner(old: &Path, new: &Path) -> std::io::Result<()> {
    let Ok(old) = std::fs::metadata(old) else { return Ok(()) };
    let own = std::fs::metadata(new)?;
    if (old.uid(), old.gid()) == (own.uid(), own.gid()) {
        return Ok(());
    }
    std::os::unix::fs::chown(new, Some(old.uid()), Some(old.gid()))
}

/// A name is on stable storage when its folder is.
fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert!(read(&path).unwrap().is_none());
        create(&path, "secret").unwrap();
        assert_eq!((mode(&path), read(&path).unwrap().as_deref()), (0o600, Some("secret")));
        for wrong in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(wrong)).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {wrong:o}")) && error.contains("chmod 600"), "{error}");
        }
        assert!(matches!(create(&path, "other"), Err(FileError::Exists { .. })));
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("real"), folder.path().join(".env"));
        std::fs::write(&path, "old").unwrap();
        symlink(&path, &link).unwrap();
        std::fs::write(folder.path().join("real.mai-usage-new"), "left by a crash").unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert!(link.is_symlink() && mode(&path) == 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_is_one_ones() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap();
        assert!(matches!(lock(folder.path()), Err(FileError::Busy { .. })));
        drop(held);
        lock(folder.path()).unwrap();
    }

    #[test]
    fn what_is_no_text_or_too_long_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        create(&path, "").unwrap();
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(read(&path), Err(FileError::NotText { .. })));
        std::fs::write(&path, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        assert!(matches!(read(&path), Err(FileError::TooLong { .. })));
    }
}
