//! What there is to be looked at: a client's folder, its file, its key, its sidecar, its containers. Data only; `gather.rs` finds it.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use ledger::{Reconciliation, Unsettled};
use openrouter::KeyAnswer;

use crate::docker::Container;
use crate::env_file::EnvFile;
use crate::sidecar::Health;

/// One client.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The name of its folder.
    pub(super) client: String,
    pub(super) now: Timestamp,
    /// Why there is nothing else, where there is nothing else.
    pub(super) env: Result<EnvFile, String>,
    pub(super) key: KeyFacts,
    pub(super) database: FileFacts,
    pub(super) books: Result<BookFacts, String>,
    pub(super) sidecar: SidecarFacts,
    /// The text of the compose file, where there is one.
    pub(super) compose: Option<String>,
    /// `None` where Docker does not tell.
    pub(super) containers: Option<Result<Vec<Container>, String>>,
    pub(super) mai: MaiFacts,
    pub(super) last_backup: Option<Timestamp>,
}

/// What `OpenRouter` says of the key in `.env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum KeyFacts {
    /// There is none.
    Missing,
    /// No whole answer came.
    Unreachable(String),
    /// An answer, and `OpenRouter`'s clock where it told it.
    Answered { answer: KeyAnswer, date: Option<Timestamp> },
}

/// The database as a file, and the disk it is on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct FileFacts {
    pub(super) path: PathBuf,
    /// `None` where there is no file.
    pub(super) owner: Option<Owner>,
    /// Of the folder it is in.
    pub(super) folder_owner: Option<Owner>,
    /// Files beside it that belong to somebody else: its log, its lock.
    pub(super) strangers: Vec<PathBuf>,
    /// The size of its write-ahead log.
    pub(super) log_bytes: u64,
    pub(super) disk: Option<Disk>,
}

/// Whose a file is, and who may use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    pub(super) mode: u32,
}

/// What is left for those who are not root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    pub(super) free_bytes: u64,
    pub(super) free_files: u64,
    /// 0 where files are not counted.
    pub(super) files: u64,
}

/// What the database tells.
#[derive(Debug, Clone)]
pub(super) struct BookFacts {
    pub(super) organisation_id: String,
    pub(super) name: String,
    pub(super) monthly_limit: Option<String>,
    pub(super) zone: String,
    /// Whether a key is recorded: one that was typed into mAI is learned.
    pub(super) has_key: bool,
    /// Whether that is another one than `.env` names.
    pub(super) has_other_key: bool,
    /// What `verify` found, or its quick part.
    pub(super) findings: Vec<String>,
    pub(super) last_poll: Option<Reconciliation>,
    pub(super) unsettled: Unsettled,
    /// Admission of the oldest open call.
    pub(super) oldest_open: Option<Timestamp>,
    /// Calls of the current month that nobody was named for.
    pub(super) unattributed: i64,
}

/// What answers on the port of the usage listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SidecarFacts {
    /// Nobody, or not in time.
    Silent(String),
    /// Somebody who is no sidecar.
    Other(String),
    /// A sidecar, and whose it says it is: its organisation's id, or why it does not say.
    Answers { health: Health, organisation_id: Result<String, String> },
}

/// Whether mAI answers where it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MaiFacts {
    /// `.env` names no place that can be asked from here.
    NotAsked,
    Answers,
    Silent {
        address: String,
        why: String,
    },
}

/// The machine, and all clients beside each other.
#[derive(Debug, Clone)]
pub(super) struct ServerFacts {
    /// Whether a Docker daemon answers; why not otherwise.
    pub(super) docker: Result<(), String>,
    pub(super) clients: Vec<Facts>,
}

impl Facts {
    /// A value of `.env`.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.env.as_ref().ok()?.get(name)
    }

    /// The time between two polls.
    pub(super) fn poll_interval(&self) -> Duration {
        let seconds = self.value("POLL_INTERVAL").and_then(|seconds| seconds.parse().ok());
        Duration::from_secs(seconds.unwrap_or(600))
    }

    /// How long ago `at` was.
    pub(super) fn since(&self, at: Timestamp) -> Duration {
        Duration::try_from(self.now.duration_since(at)).unwrap_or_default()
    }
}
