//! What can go wrong with the clients of a server.

use std::path::PathBuf;

use super::ports::PortRange;

/// Why a client is not as it was asked to be.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// All ports are somebody's.
    #[error("no port of {range} is free for {what}; hint: {flag} names others")]
    NoPort {
        /// What it is for.
        what: &'static str,
        /// The ports.
        range: String,
        /// The flag that names others.
        flag: &'static str,
    },
    /// There is no such client.
    #[error("there is no client {name} in {directory}; hint: mai-usage client list", directory = .directory.display())]
    Unknown {
        /// Its name.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A container that does not do its work.
    #[error("{service} of {client} is not healthy: {why}; hint: docker logs {container}")]
    Unhealthy {
        /// Whose.
        client: String,
        /// Which.
        service: &'static str,
        /// What is wrong.
        why: String,
        /// The container's name.
        container: String,
    },
    /// The reverse proxy refused; its files are as they were.
    #[error("`{command}` failed, the site is as it was: {told}; hint: when that is mended, run it again")]
    Reload {
        /// The command.
        command: String,
        /// What it said.
        told: String,
    },
    /// No certificate; the client runs, and nginx serves nothing yet.
    #[error("`{command}` failed: {told}; hint: does the host name lead to this server? then run it again")]
    Certify {
        /// The command.
        command: String,
        /// What it said.
        told: String,
    },
    /// The sidecar's folder cannot be given to its user.
    #[error("cannot give {path} to the sidecar's user; hint: run it as root", path = .path.display())]
    Owner {
        /// The folder, or a file in it.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An upgrade was stopped.
    #[error("{client} was not upgraded: {why}; {rolled_back}; upgraded before it: {done}; not tried: {left}")]
    Upgrade {
        /// Whose.
        client: String,
        /// What was wrong.
        why: String,
        /// What became of it.
        rolled_back: String,
        /// The clients that were upgraded.
        done: String,
        /// The clients that were not tried.
        left: String,
    },
    /// The name that was typed is another.
    #[error("{typed:?} is not the client's name, nothing was done; hint: --yes {name}")]
    NotConfirmed {
        /// What was typed.
        typed: String,
        /// The name.
        name: String,
    },
}

impl ClientsError {
    pub(super) fn no_port(what: &'static str, range: &PortRange, flag: &'static str) -> Self {
        Self::NoPort { what, range: range.to_string(), flag }
    }
}
