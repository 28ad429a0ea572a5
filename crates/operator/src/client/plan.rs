//! What is to be done so that a client runs as it is wanted, as data. What is so already is no step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::ports::PortRange;
use super::site::{Certificate, Proxy};
use super::wanted::Wanted;
use super::{ClientsError, MAI, SIDECAR, compose};
use crate::clients::{COMPOSE_FILE, port_of};
use crate::env_file::EnvFile;

/// What there is.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) folder: PathBuf,
    pub(super) env: EnvFile,
    /// Ports of other clients, and ports that somebody listens on.
    pub(super) taken: BTreeSet<u16>,
    /// The texts of the files that could be changed.
    pub(super) files: BTreeMap<PathBuf, String>,
    pub(super) has_certificate: bool,
}

/// The ports of a client and what is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) mai_port: u16,
    pub(super) usage_port: u16,
    pub(super) steps: Vec<Step>,
}

/// One thing to do. Each may be done twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(super) enum Step {
    /// Values that `.env` lacks or has otherwise.
    WriteEnv { values: Vec<(&'static str, String)> },
    /// A file of the client or of its site.
    WriteFile {
        path: PathBuf,
        /// Lines that go and lines that come.
        changes: Vec<String>,
        #[serde(skip)]
        text: String,
    },
    /// A site at a proxy that the client no longer has.
    RemoveFile { path: PathBuf },
    /// The database and what belongs to it, for the sidecar's user alone.
    GiveToSidecar { folder: PathBuf },
    /// A container as its settings say, until it is healthy. One that is so already goes on as it is.
    Start { service: &'static str },
    /// A certificate, where it is missing and somebody is named who makes them.
    Certify { command: String },
    /// The proxy reads its sites again.
    Reload { command: String },
}

/// The files whose texts have to be known.
pub(super) fn files(wanted: &Wanted, folder: &Path) -> Vec<PathBuf> {
    let own = wanted.site.files(&wanted.name, &wanted.place.sites, false, (0, 0));
    let mut files: Vec<PathBuf> = own.into_iter().map(|file| file.path).collect();
    files.push(folder.join(COMPOSE_FILE));
    let others = [Proxy::Nginx, Proxy::Caddy].into_iter().flat_map(|proxy| {
        [proxy.folder().as_ref(), wanted.place.sites.as_path()].map(|folder| proxy.file(folder, &wanted.name))
    });
    files.extend(others.flatten());
    files
}

pub(super) fn plan(wanted: &Wanted, facts: &Facts) -> Result<Plan, ClientsError> {
    let (mai_port, usage_port) = ports(wanted, facts)?;
    let ports = [("MAI_PORT", mai_port.to_string()), ("USAGE_PORT", usage_port.to_string())];
    let values = ports.into_iter().chain(wanted.values.iter().cloned());
    // Under another project's name the containers that run would be left alone.
    let is_kept = |name: &str| name == "COMPOSE_PROJECT_NAME" && facts.env.get(name).is_some();
    let is_so = |name: &str, value: &str| facts.env.get(name) == Some(value) || is_kept(name);
    let values: Vec<_> = values.filter(|(name, value)| !is_so(name, value)).collect();
    let mut steps = Vec::new();
    if !values.is_empty() {
        steps.push(Step::WriteEnv { values });
    }
    steps.extend(write(facts, facts.folder.join(COMPOSE_FILE), compose::file()));
    steps.push(Step::GiveToSidecar { folder: facts.folder.join("data") });
    steps.extend([Step::Start { service: SIDECAR }, Step::Start { service: MAI }]);
    steps.extend(site(wanted, facts, (mai_port, usage_port)));
    Ok(Plan { mai_port, usage_port, steps })
}

/// Those in `.env`, or the next free ones.
fn ports(wanted: &Wanted, facts: &Facts) -> Result<(u16, u16), ClientsError> {
    let port = |name: &str, range: &PortRange, besides: Option<u16>| {
        let taken: BTreeSet<u16> = facts.taken.iter().copied().chain(besides).collect();
        port_of(&facts.env, name).or_else(|| range.next_free(&taken))
    };
    let mai = port("MAI_PORT", &wanted.mai_ports, None)
        .ok_or_else(|| ClientsError::no_port("mAI", &wanted.mai_ports, "--mai-ports"))?;
    let usage = port("USAGE_PORT", &wanted.usage_ports, Some(mai))
        .ok_or_else(|| ClientsError::no_port("its usage listener", &wanted.usage_ports, "--usage-ports"))?;
    Ok((mai, usage))
}

fn site(wanted: &Wanted, facts: &Facts, ports: (u16, u16)) -> Vec<Step> {
    let files = wanted.site.files(&wanted.name, &wanted.place.sites, facts.has_certificate, ports);
    let kept: BTreeSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    let mut steps: Vec<Step> = stale(wanted, facts, &kept);
    steps.extend(files.iter().filter_map(|file| write(facts, file.path.clone(), file.text.clone())));
    // Also where nothing is written: the last run may have been interrupted before it.
    if wanted.site.proxy != Proxy::None || !steps.is_empty() {
        steps.push(Step::Reload { command: wanted.place.reload.clone() });
    }
    if let Some(command) = certify(wanted, facts) {
        steps.push(Step::Certify { command });
        let files = wanted.site.files(&wanted.name, &wanted.place.sites, true, ports);
        steps.extend(files.into_iter().filter_map(|file| write(facts, file.path, file.text)));
        steps.push(Step::Reload { command: wanted.place.reload.clone() });
    }
    steps
}

fn certify(wanted: &Wanted, facts: &Facts) -> Option<String> {
    let waits = wanted.site.proxy == Proxy::Nginx
        && !facts.has_certificate
        && matches!(wanted.site.certificate, Certificate::Folder(_));
    wanted.place.certify.as_ref().filter(|_| waits).map(|command| format!("{command} {}", wanted.site.host))
}

/// Sites of this client that another setting has left.
fn stale(wanted: &Wanted, facts: &Facts, kept: &BTreeSet<&Path>) -> Vec<Step> {
    let name = |path: &Path| {
        [Proxy::Nginx, Proxy::Caddy]
            .into_iter()
            .any(|proxy| proxy.file(path.parent().unwrap_or(path), &wanted.name).as_deref() == Some(path))
    };
    let stale = facts.files.keys().filter(|path| name(path) && !kept.contains(path.as_path()));
    stale.map(|path| Step::RemoveFile { path: path.clone() }).collect()
}

/// Nothing where the file is so already.
fn write(facts: &Facts, path: PathBuf, text: String) -> Option<Step> {
    let old = facts.files.get(&path).map(String::as_str);
    if old == Some(text.as_str()) {
        return None;
    }
    let changes = old.map(|old| changes(old, &text)).unwrap_or_default();
    Some(Step::WriteFile { path, changes, text })
}

fn changes(old: &str, new: &str) -> Vec<String> {
    let (old_lines, new_lines): (BTreeSet<_>, BTreeSet<_>) = (old.lines().collect(), new.lines().collect());
    let gone = old.lines().filter(|line| !new_lines.contains(line)).map(|line| format!("- {line}"));
    let come = new.lines().filter(|line| !old_lines.contains(line)).map(|line| format!("+ {line}"));
    gone.chain(come).collect()
}

/// As an order: "write …".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteEnv { values } => {
                let values: Vec<String> =
                    values.iter().map(|(name, value)| format!("{name}={value}")).collect();
                write!(f, "write {} to .env", values.join(", "))
            }
            Self::WriteFile { path, changes, .. } if changes.is_empty() => {
                write!(f, "write {}", path.display())
            }
            Self::WriteFile { path, changes, .. } => {
                write!(f, "change {}:\n  {}", path.display(), changes.join("\n  "))
            }
            Self::RemoveFile { path } => write!(f, "remove {}", path.display()),
            Self::GiveToSidecar { folder } => write!(f, "give {} to the sidecar's user", folder.display()),
            Self::Start { service } => write!(f, "start {service} and wait until it is healthy"),
            Self::Certify { command } | Self::Reload { command } => write!(f, "run `{command}`"),
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
