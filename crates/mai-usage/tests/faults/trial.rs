//! What a row is given, and what it makes of it.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::dice::Dice;

/// How a row ended; a broken promise is a panic.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// What was counted.
    Counts(String),
    /// Why it could not be tried here.
    Skipped(String),
}

/// Thrown where a row finds in the middle that the machine does not allow it; the runner says "skipped" and why.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

/// The depth, the seed and a folder for one row.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) full: bool,
    pub(crate) seed: u64,
    /// Databases and logs; gone when the row has ended.
    pub(crate) folder: Arc<TempDir>,
}

impl Trial {
    pub(crate) fn new(full: bool, seed: u64) -> Self {
        // Not below /tmp, which may be memory: what is asked of a disk should be asked of one.
        let folder = Arc::new(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        Self { full, seed, folder }
    }

    /// One of two amounts, by the depth.
    pub(crate) fn depth<T>(&self, smoke: T, full: T) -> T {
        if self.full { full } else { smoke }
    }

    pub(crate) const fn dice(&self) -> Dice {
        Dice::new(self.seed)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, patience: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition().await {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a panic said.
pub(crate) fn words_of(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(panic) => panic
            .downcast::<&'static str>()
            .map_or_else(|_| "panicked".to_owned(), |words| (*words).to_owned()),
    }
}
