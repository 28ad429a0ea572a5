//! What setup is about to do, written down beside `.env` before it is done.
//!
//! Between the moment at which OpenRouter makes a key and the one at which its secret is on the disk, a crash loses the secret. The intent
//! tells the next run which key that was.

use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use openrouter::KeyRecord;
use serde::{Deserialize, Serialize};

use crate::OperatorError;
use crate::making::is_unused;
use crate::private_file;

/// The journal's name; it is there only while a key is being made.
const NAME: &str = ".mai-usage-setup.json";

/// How far OpenRouter's clock and ours may be apart, and how long the question may take.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(10);

/// A key that was about to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// The key's name.
    pub(crate) key_name: String,
    /// When.
    pub(crate) at: Timestamp,
}

impl Intent {
    /// What the last run was about to do, if it did not come to its end. A journal that cannot be read was cut while it was written, so
    /// nothing had been done.
    pub(crate) fn read(folder: &Path) -> Result<Option<Self>, OperatorError> {
        let text = private_file::read(&path(folder))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), OperatorError> {
        // Two texts always have a form in JSON.
        let text = serde_json::to_string(self).unwrap_or_default();
        Ok(private_file::replace(&path(folder), &text)?)
    }

    pub(crate) fn forget(folder: &Path) -> Result<(), OperatorError> {
        Ok(private_file::remove(&path(folder))?)
    }

    /// True where `key` is the one whose making was interrupted: nobody can have its secret. One that was ever used, or was made at another
    /// time, is somebody's.
    pub(crate) fn is_of(&self, key: &KeyRecord) -> bool {
        let made_at = key.created_at.as_deref().and_then(|told| told.parse::<Timestamp>().ok());
        let near = made_at.is_some_and(|made_at| made_at.duration_since(self.at).abs() <= TOLERANCE);
        key.name == self.key_name && near && is_unused(key)
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    #[test]
    fn only_an_unused_key_of_that_time_is_meant() {
        let intent = Intent { key_name: "A".to_owned(), at: "2026-09-21T13:05:00Z".parse().unwrap() };
        let mut lost = key("A", "aaaaaaaaaaaaaaaa");
        (lost.usage, lost.last_used_at) = (Some("0".to_owned()), None);
        assert!(intent.is_of(&lost));
        assert!(!intent.is_of(&KeyRecord { name: "B".to_owned(), ..lost.clone() }));
        assert!(!intent.is_of(&KeyRecord { usage: Some("1e-9".to_owned()), ..lost.clone() }));
        assert!(!intent.is_of(&KeyRecord { last_used_at: Some("x".to_owned()), ..lost.clone() }));
        assert!(
            !intent.is_of(&KeyRecord { created_at: Some("2026-09-21T12:00:00Z".to_owned()), ..lost.clone() })
        );
        assert!(!intent.is_of(&KeyRecord { created_at: None, ..lost }));
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Intent::read(folder.path()).unwrap(), None);
        let intent = Intent { key_name: "Ż \"A\"".to_owned(), at: "2026-09-21T13:05:00Z".parse().unwrap() };
        intent.write(folder.path()).unwrap();
        assert_eq!(Intent::read(folder.path()).unwrap(), Some(intent));
        Intent::forget(folder.path()).unwrap();
        Intent::forget(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
