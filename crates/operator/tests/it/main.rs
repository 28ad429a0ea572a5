//! The commands against a simulated OpenRouter.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]

mod backup;
mod client;
mod db;
mod dotenv;
mod house;
mod keys;
mod person;
mod reconcile;
mod report;
mod server;
mod setup;
mod status;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Parser;
use metering::Clock;
use openrouter::{Client, ClientOptions, KeyRecord, Management};
use openrouter_sim::{DEFAULT_MANAGEMENT_KEY, Options, Simulator};
use operator::{KeysArgs, OperatorError};
use tempfile::TempDir;

use crate::person::Person;

/// An account and a provider's folder.
pub(crate) struct World {
    pub(crate) sim: Simulator,
    pub(crate) folder: TempDir,
}

/// What a command printed.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) notes: String,
}

#[derive(Parser)]
struct KeysLine {
    #[command(flatten)]
    arguments: KeysArgs,
}

impl World {
    pub(crate) async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sim = Simulator::start(Options { keys: Vec::new(), ..Options::default() }).await.unwrap();
        let world = Self { sim, folder: tempfile::tempdir().unwrap() };
        world.private_file("management", DEFAULT_MANAGEMENT_KEY);
        world
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn private_file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
        self.set_mode(name, 0o600);
    }

    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        set_mode(&self.path(name), mode);
    }

    /// The account, as somebody else sees it.
    pub(crate) fn account(&self) -> Management {
        Management::new(self.client(), DEFAULT_MANAGEMENT_KEY.into())
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(ClientOptions {
            base_url: self.sim.base_url(),
            app_url: http::HeaderValue::from_static("https://example.com/"),
            app_title: http::HeaderValue::from_static("test"),
        })
        .unwrap()
    }

    pub(crate) async fn listed(&self) -> Vec<KeyRecord> {
        self.account().list().await.unwrap()
    }

    /// `mai-usage keys` with the management key in its file and nobody to ask.
    pub(crate) async fn keys(&self, arguments: &[&str]) -> Result<Said, OperatorError> {
        self.keys_of(Person::absent(), arguments).await
    }

    pub(crate) async fn keys_of(&self, person: Person, arguments: &[&str]) -> Result<Said, OperatorError> {
        let management = self.path("management").display().to_string();
        let host = self.sim.base_url();
        let always = ["--management-key-file", &management, "--openrouter-host", &host];
        let line = ["keys"].into_iter().chain(arguments.iter().copied()).chain(always);
        let arguments = KeysLine::try_parse_from(line).unwrap().arguments;
        let (mut console, printed) = person.console();
        operator::keys(arguments, &mut console, &clock()).await?;
        Ok(printed.said())
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

pub(crate) fn clock() -> Clock {
    Clock::new(|| "2026-11-22T12:00:00Z".parse().unwrap())
}
