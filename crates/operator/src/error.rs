//! What a command of the operator can come to, by what can be done about it.

use std::path::PathBuf;

use ledger::{OpenError, WriteError};
use openrouter::{ClientError, ManagementError};
use settings::Invalid;

use crate::client::ClientsError;
use crate::docker::DockerError;
use crate::env_file::EnvFileError;
use crate::keys::{FindError, PlanError};
use crate::private_file::FileError;
use crate::setup::SetupError;
use crate::sidecar::SidecarError;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// A value that nobody gave, and nobody could be asked for.
    #[error("{what} is missing; hint: {flag} gives it where nobody can be asked")]
    Missing {
        /// What it is.
        what: &'static str,
        /// The flag that gives it.
        flag: &'static str,
    },
    /// A value that cannot be used.
    #[error("{flag} {rule}")]
    Value {
        /// The flag that gives it.
        flag: &'static str,
        /// What it must be.
        rule: &'static str,
    },
    /// The person left a question.
    #[error("cancelled")]
    Cancelled,
    /// The terminal failed.
    #[error("cannot ask at this terminal: {0}; hint: every question has a flag")]
    Terminal(String),
    /// A folder without a client.
    #[error("there is no client in {folder}: it has no .env; hint: `mai-usage setup` makes one", folder = .folder.display())]
    NoClient {
        /// The folder.
        folder: PathBuf,
    },
    /// A sidecar that did not answer.
    #[error(transparent)]
    Sidecar(#[from] SidecarError),
    /// The clients of this server.
    #[error(transparent)]
    Clients(#[from] ClientsError),
    /// Docker.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// The management key is no key.
    #[error("the management key must be one line that begins with `sk-or-`")]
    ManagementKey,
    /// A key that is not there, or more than one of that name.
    #[error(transparent)]
    Find(#[from] FindError),
    /// What was asked for cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// What setup found and cannot decide.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// `OpenRouter`.
    #[error(transparent)]
    Management(#[from] ManagementError),
    /// The answer that held a new key's secret was lost.
    #[error(
        "the answer with the secret of the new key {name:?} was lost ({why}); {what_became}; hint: run it again"
    )]
    SecretLost {
        /// The key's name.
        name: String,
        /// What came instead of an answer.
        why: String,
        /// What became of the key.
        what_became: String,
    },
    /// The way to `OpenRouter`.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An `.env` file.
    #[error("{path}: {problem}", path = .path.display())]
    EnvFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: EnvFileError,
    },
    /// Settings that the sidecar would refuse.
    #[error(transparent)]
    Settings(#[from] Invalid),
    /// The database.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The database could not be written.
    #[error("cannot record the organisation")]
    Record(#[from] WriteError),
    /// Standard output.
    #[error("cannot write the output: {0}")]
    Output(std::io::Error),
}

/// What kind of failure it is: the program's exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The command line is wrong or incomplete.
    Usage,
    /// A file or a setting cannot be used.
    Configuration,
    /// Somebody else is at it.
    Busy,
    /// Anything else.
    Other,
}

impl OperatorError {
    /// What kind of failure it is. That of [`OperatorError::Ledger`] is the ledger's own.
    #[must_use]
    pub const fn failure(&self) -> Failure {
        match self {
            Self::Missing { .. }
            | Self::Value { .. }
            | Self::Find(FindError::Several { .. })
            | Self::Clients(ClientsError::NoPort { .. } | ClientsError::NotConfirmed { .. })
            | Self::Setup(SetupError::SecretUnknown { .. } | SetupError::KeyDead) => Failure::Usage,
            Self::ManagementKey
            | Self::File(FileError::Mode { .. } | FileError::NotText { .. } | FileError::TooLong { .. })
            | Self::EnvFile { .. }
            | Self::Settings(_)
            | Self::Setup(SetupError::ManagementKeyInEnv) => Failure::Configuration,
            Self::File(FileError::Busy { .. }) => Failure::Busy,
            _ => Failure::Other,
        }
    }
}
