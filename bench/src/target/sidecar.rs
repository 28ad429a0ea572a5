//! mai-usage, as it is shipped: every call recorded.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;

use super::{CHAT_PATH, Ground, KEY, Target, free_address, headers};
use crate::books::{Books, UsageApi};
use crate::client::Road;
use crate::process::Process;

const PROXY_TOKEN: &str = "proxy-token-of-the-bench";
const ADMIN_TOKEN: &str = "admin-token-of-the-bench";

/// What the C library is told in the image.
const TUNABLES: &str = "GLIBC_TUNABLES";
const DOCKERFILE: &str = include_str!("../../../Dockerfile");

/// A sidecar that is to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sidecar<'a> {
    pub(crate) name: &'static str,
    pub(crate) program: &'a Path,
    pub(crate) database: &'a Path,
    /// The organisation's id, by which its calls are found on the bill.
    pub(crate) organisation: &'static str,
}

/// Where a sidecar listens.
#[derive(Clone, Copy, Debug)]
struct Listens {
    proxy: SocketAddr,
    usage: SocketAddr,
}

pub(crate) fn start(ground: &Ground<'_>, sidecar: Sidecar<'_>) -> anyhow::Result<Target> {
    let listens = Listens { proxy: free_address()?, usage: free_address()? };
    let process = Some(start_process(ground, sidecar, listens)?);
    let road = Road::new(listens.proxy, CHAT_PATH, headers(PROXY_TOKEN)?)?;
    let api = Road::new(listens.usage, "/", headers(ADMIN_TOKEN)?)?;
    let books = Books::UsageApi(UsageApi { api, organisation: sidecar.organisation });
    Ok(Target { name: sidecar.name, road, process, books })
}

fn start_process(ground: &Ground<'_>, sidecar: Sidecar<'_>, listens: Listens) -> anyhow::Result<Process> {
    let mut command = ground.core.command(sidecar.program);
    command
        .arg("daemon")
        .env(TUNABLES, in_dockerfile(TUNABLES)?)
        .env("OPENROUTER_HOST", ground.simulator.base_url())
        .env("OPENROUTER_API_KEY", KEY)
        .env("OPENROUTER_EXTERNAL_USER", sidecar.organisation)
        .env("ORGANIZATION_NAME", "Bench")
        .env("USAGE_PROXY_TOKEN", PROXY_TOKEN)
        .env("USAGE_ADMIN_TOKEN", ADMIN_TOKEN)
        .env("DATABASE_PATH", sidecar.database)
        .env("PROXY_LISTEN", listens.proxy.to_string())
        .env("USAGE_LISTEN", listens.usage.to_string());
    Process::start(command, &ground.folder.join(format!("{}.log", sidecar.organisation)))
}

/// What a line of the Dockerfile's `ENV` sets.
fn in_dockerfile(name: &str) -> anyhow::Result<&'static str> {
    let lines = DOCKERFILE.lines().map(|line| line.trim_end_matches('\\').trim());
    let set = lines.filter_map(|line| line.split_once('=')).find(|(set, _)| *set == name);
    set.map(|(_, value)| value).with_context(|| format!("the Dockerfile does not set {name}"))
}
