//! What the service provider does at the command line.
//!
//! Every command collects its facts, makes a plan of them (a pure function, tested as data), and then applies it step by step;
//! `--dry-run` ends before the first step.

mod account;
mod backups;
mod clients;
mod console;
mod doctor;
mod env_file;
mod error;
mod keys;
mod limit;
mod making;
mod private_file;
mod report;
mod setup;
mod sidecar;
mod status;
mod table;
#[cfg(test)]
mod testing;
mod usd;

pub use account::AccountArgs;
pub use clients::{ChosenClients, DirectoryArgs};
pub use console::{Asker, Console};
pub use doctor::DoctorArgs;
pub use env_file::EnvFileError;
pub use error::{Failure, OperatorError};
pub use keys::{FindError, KeysAction, KeysArgs, PlanError, SecretArgs};
pub use private_file::FileError;
pub use report::{By, Format, ReportArgs};
pub use setup::{SetupArgs, SetupError};
pub use sidecar::SidecarError;
pub use status::StatusArgs;

/// `mai-usage doctor`.
pub use doctor::run as doctor;
/// `mai-usage keys`.
pub use keys::run as keys;
/// `mai-usage report`.
pub use report::run as report;
/// `mai-usage setup`.
pub use setup::run as setup;
/// `mai-usage status`.
pub use status::run as status;
