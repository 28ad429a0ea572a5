//! Checksums in the form that `sha256sum --check` reads.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::Path;

use sha2::{Digest as _, Sha256};

/// Bytes read at a time.
const CHUNK: usize = 256 * 1024;

/// The SHA-256 of `from` in lower-case hex, which is written to `to` on the way.
pub(crate) fn copy(mut from: File, to: &mut impl Write) -> std::io::Result<String> {
    let (mut hasher, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        let read = from.read(&mut chunk)?;
        let bytes = chunk.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            break;
        }
        hasher.update(bytes);
        to.write_all(bytes)?;
    }
    let mut hex = String::new();
    for byte in hasher.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

/// The SHA-256 of the file at `path`, which is on stable storage then.
pub(crate) fn of(path: &Path) -> std::io::Result<String> {
    let file = File::open(path)?;
    file.sync_all()?;
    copy(file, &mut std::io::sink())
}

/// The line for a file with the name `name`.
pub(crate) fn line(hex: &str, name: &str) -> String {
    format!("{hex}  {name}\n")
}

/// The checksum in such a line, whatever name stands there: files are renamed.
pub(crate) fn read(line: &str) -> Option<String> {
    let hex = line.split_whitespace().next()?;
    let is_one = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| hex.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_is_that_of_the_books() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "abc").unwrap();
        let hex = of(&path).unwrap();
        // FIPS 180-4, example of one block.
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        std::fs::write(&path, vec![7; CHUNK * 2 + 1]).unwrap();
        let mut copied = Vec::new();
        assert_eq!(copy(File::open(&path).unwrap(), &mut copied).unwrap(), of(&path).unwrap());
        assert_eq!(copied.len(), CHUNK * 2 + 1);
        assert_eq!(read(&line(&hex, "a b.db")), Some(hex.clone()));
        assert_eq!(read(&hex.to_uppercase()), Some(hex));
        for wrong in ["", "abc  file", &"x".repeat(64)] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    /// Coreutils agree.
    #[test]
    fn sha256sum_reads_the_line() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a b.db"), "abc").unwrap();
        let line = line(&of(&folder.path().join("a b.db")).unwrap(), "a b.db");
        std::fs::write(folder.path().join("sum"), line).unwrap();
        let mut check = std::process::Command::new("sha256sum");
        check.args(["--check", "--strict", "sum"]).current_dir(folder.path());
        assert!(check.output().unwrap().status.success());
    }
}
