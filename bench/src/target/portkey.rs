//! The Portkey gateway (`@portkey-ai/gateway`, Node.js): routes and changes calls, keeps no books.

use std::path::Path;

use http::{HeaderName, HeaderValue};

use super::{Ground, KEY, Target, free_address, headers};
use crate::books::Books;
use crate::client::Road;
use crate::process::Process;

/// `program` is the gateway's `start-server.js`.
pub(crate) fn start(ground: &Ground<'_>, program: &Path) -> anyhow::Result<Target> {
    let address = free_address()?;
    let mut command = ground.core.command("node");
    command.arg(program).arg(format!("--port={}", address.port())).arg("--headless");
    command.env("NODE_ENV", "production");
    let process = Some(Process::start(command, &ground.folder.join("portkey.log"))?);
    let mut headers = headers(KEY)?;
    headers.insert("x-portkey-provider", HeaderValue::from_static("openrouter"));
    // It puts `/v1` after it.
    let host = HeaderValue::from_str(&format!("{}/api", ground.simulator.origin()))?;
    headers.insert(HeaderName::from_static("x-portkey-custom-host"), host);
    let road = Road::new(address, "/v1/chat/completions", headers)?;
    Ok(Target { name: "Portkey", road, process, books: Books::None })
}
