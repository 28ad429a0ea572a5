//! What the service provider does at the command line.
//!
//! Every command collects its facts, makes a plan of them (a pure function, tested as data), and then applies it step by step;
//! `--dry-run` ends before the first step.

mod account;
mod backup;
mod client;
mod clients;
mod console;
mod db;
mod docker;
mod doctor;
mod env_file;
mod error;
mod keys;
mod limit;
mod making;
mod private_file;
mod reconcile;
mod recording;
mod report;
mod restore;
mod setup;
mod sidecar;
mod status;
mod table;
#[cfg(test)]
mod testing;
mod usd;

pub use account::AccountArgs;
pub use backup::{BackupArgs, BackupError};
pub use client::{
    ClientAction, ClientArgs, ClientsError, KeyFate, PlaceArgs, Proxy, ProxyArgs, SettingsArgs,
};
pub use clients::{ChosenClients, DirectoryArgs};
pub use console::{Asker, Console};
pub use db::{DbAction, DbArgs, DbError, DbPlaceArgs, Doubled, ImportArgs};
pub use docker::DockerError;
pub use doctor::DoctorArgs;
pub use env_file::EnvFileError;
pub use error::{Failure, OperatorError};
pub use keys::{FindError, KeysAction, KeysArgs, PlanError, SecretArgs};
pub use private_file::FileError;
pub use reconcile::{ReconcileArgs, ReconcileError};
pub use report::{By, Format, ReportArgs};
pub use restore::{RestoreArgs, RestoreError};
pub use setup::{OrganisationArgs, SetupArgs, SetupError};
pub use sidecar::SidecarError;
pub use status::StatusArgs;

/// `mai-usage backup`.
pub use backup::run as backup;
/// `mai-usage client`.
pub use client::run as client;
/// `mai-usage db`.
pub use db::run as db;
/// `mai-usage doctor`.
pub use doctor::run as doctor;
/// `mai-usage keys`.
pub use keys::run as keys;
/// `mai-usage reconcile`.
pub use reconcile::run as reconcile;
/// `mai-usage report`.
pub use report::run as report;
/// `mai-usage restore`.
pub use restore::run as restore;
/// `mai-usage setup`.
pub use setup::run as setup;
/// `mai-usage status`.
pub use status::run as status;
