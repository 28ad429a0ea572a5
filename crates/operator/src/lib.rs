//! What the service provider does at the command line.
//!
//! Every command collects its facts, makes a plan of them (a pure function, tested as data), and then applies it step by step;
//! `--dry-run` ends before the first step.

mod account;
mod client;
mod clients;
mod console;
mod docker;
mod env_file;
mod error;
mod keys;
mod limit;
mod making;
mod private_file;
mod setup;
mod sidecar;
#[cfg(test)]
mod testing;

pub use account::AccountArgs;
pub use client::{
    ClientAction, ClientArgs, ClientsError, KeyFate, PlaceArgs, Proxy, ProxyArgs, SettingsArgs,
};
pub use clients::{ChosenClients, DirectoryArgs};
pub use console::{Asker, Console};
pub use docker::DockerError;
pub use env_file::EnvFileError;
pub use error::{Failure, OperatorError};
pub use keys::{FindError, KeysAction, KeysArgs, PlanError, SecretArgs};
pub use private_file::FileError;
pub use setup::{OrganisationArgs, SetupArgs, SetupError};
pub use sidecar::SidecarError;

/// `mai-usage client`.
pub use client::run as client;
/// `mai-usage keys`.
pub use keys::run as keys;
/// `mai-usage setup`.
pub use setup::run as setup;
