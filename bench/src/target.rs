//! What is measured: a way to the simulator, and the process that stands in it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use http::{HeaderMap, HeaderName, HeaderValue};
use openrouter_sim::{DEFAULT_KEY, Simulator};
use tokio::time::{Instant, sleep};

use crate::books::Books;
use crate::client::Road;
use crate::load::body;
use crate::process::{Core, Process};

pub(crate) mod direct;
pub(crate) mod litellm;
pub(crate) mod nginx;
pub(crate) mod portkey;
pub(crate) mod sidecar;

/// How long a proxy may take until it answers. Python needs most of it.
const START_PATIENCE: Duration = Duration::from_mins(1);

const START_PAUSE: Duration = Duration::from_millis(20);

/// One way to the simulator.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) road: Road,
    /// What stands in the way; nothing on the direct one.
    pub(crate) process: Option<Process>,
    pub(crate) books: Books,
}

/// What every target is started with.
#[derive(Debug)]
pub(crate) struct Ground<'a> {
    pub(crate) simulator: &'a Simulator,
    /// A folder for what the targets write.
    pub(crate) folder: &'a Path,
    pub(crate) core: Core,
}

impl Target {
    /// Processor time that the process has used; none where there is no process.
    pub(crate) fn cpu(&self) -> Duration {
        self.process.as_ref().map_or(Duration::ZERO, Process::cpu)
    }

    pub(crate) fn resident_kib(&self) -> u64 {
        self.process.as_ref().map_or(0, Process::resident_kib)
    }

    /// Waits until a call goes through.
    pub(crate) async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_PATIENCE;
        while let Err(failure) = self.road.call(&body(false)).await {
            if Instant::now() > deadline || !self.process.as_mut().is_none_or(Process::is_alive) {
                let said = self.process.as_ref().map_or(String::new(), Process::last_said);
                bail!("{} does not answer: {failure}; it said last:\n{said}", self.name);
            }
            sleep(START_PAUSE).await;
        }
        Ok(())
    }
}

impl Ground<'_> {
    /// Where the simulator listens, without a scheme.
    pub(crate) fn simulator_address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.simulator.origin().trim_start_matches("http://").parse()?)
    }
}

/// An address that was free a moment ago.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The headers of Open `WebUI`'s calls, with this key.
pub(crate) fn headers(key: &str) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {key}").parse()?);
    for (name, value) in [
        ("x-openwebui-user-id", "8b21c0de-0000-4000-8000-000000000001"),
        ("x-openwebui-user-name", "Anna"),
        ("x-openwebui-user-email", "anna@example.com"),
        ("x-openwebui-user-role", "user"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    Ok(headers)
}

/// The key that the simulator knows.
pub(crate) const KEY: &str = DEFAULT_KEY;

/// Where chat completions are, at `OpenRouter` and at what stands in for it.
pub(crate) const CHAT_PATH: &str = "/api/v1/chat/completions";
