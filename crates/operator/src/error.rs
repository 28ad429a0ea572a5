//! What a command of the operator can come to, by what can be done about it.

use std::path::PathBuf;

use ledger::{OpenError, OriginalError, ReadError, WriteError};
use metering::MoneyError;
use openrouter::{ClientError, ManagementError};
use settings::Invalid;

use crate::backup::BackupError;
use crate::client::ClientsError;
use crate::db::DbError;
use crate::docker::DockerError;
use crate::env_file::EnvFileError;
use crate::keys::{FindError, PlanError};
use crate::private_file::FileError;
use crate::reconcile::ReconcileError;
use crate::restore::RestoreError;
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
    /// The client's key is another one.
    #[error(
        "the .env in {folder} does not have that key; hint: leave KEY out to replace the one it has",
        folder = .folder.display()
    )]
    OtherKey {
        /// The folder.
        folder: PathBuf,
    },
    /// A backup that was not made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// A backup that was not put back.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A directory without clients.
    #[error("there is no client in {directory}; hint: --clients names another directory", directory = .directory.display())]
    NoClients {
        /// The directory.
        directory: PathBuf,
    },
    /// A database in which nothing is recorded yet.
    #[error("{path} has no organisation yet; hint: start the sidecar, or `mai-usage setup --production`", path = .path.display())]
    NoOrganisation {
        /// The database file.
        path: PathBuf,
    },
    /// What was found is not as it should be; it has been told in full.
    #[error("{0}")]
    NotWell(String),
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A sum that is too large.
    #[error(transparent)]
    Money(#[from] MoneyError),
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
    /// What `OpenRouter` says and the ledger do not fit together.
    #[error(transparent)]
    Reconcile(#[from] ReconcileError),
    /// The database.
    #[error(transparent)]
    Ledger(#[from] OpenError),
    /// The database could not be written.
    #[error("cannot write the database")]
    Record(#[from] WriteError),
    /// The original's database.
    #[error(transparent)]
    Original(#[from] OriginalError),
    /// What `db` found.
    #[error(transparent)]
    Db(#[from] DbError),
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

/// What went wrong and why, in one line, as the program tells it at its end.
pub(crate) fn in_full(error: &OperatorError) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"))
}

impl OperatorError {
    /// What kind of failure it is. That of [`OperatorError::Ledger`] is the ledger's own.
    #[must_use]
    pub const fn failure(&self) -> Failure {
        match self {
            Self::Missing { .. }
            | Self::Value { .. }
            | Self::Find(FindError::Several { .. })
            | Self::Db(DbError::NoSuchOrganisation { .. } | DbError::SampleData)
            | Self::Clients(ClientsError::NoPort { .. } | ClientsError::NotConfirmed { .. })
            | Self::Setup(SetupError::SecretUnknown { .. } | SetupError::KeyDead) => Failure::Usage,
            Self::ManagementKey
            | Self::File(FileError::Mode { .. } | FileError::NotText { .. } | FileError::TooLong { .. })
            | Self::EnvFile { .. }
            | Self::Settings(_)
            | Self::Db(
                DbError::NoDatabase { .. } | DbError::Older { .. } | DbError::OtherOrganisation { .. },
            )
            | Self::Setup(SetupError::ManagementKeyInEnv) => Failure::Configuration,
            Self::File(FileError::Busy { .. }) => Failure::Busy,
            _ => Failure::Other,
        }
    }
}

/// An error with what caused it, in one line.
pub(crate) fn in_words(error: &(dyn std::error::Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| error.source());
    // A transparent error says what its source says.
    let mut words: Vec<String> = chain.map(ToString::to_string).collect();
    words.dedup();
    words.join(": ").replace('\n', " ")
}
