//! `mai-usage health`: Docker's check, so that the image needs neither a shell nor curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use settings::Settings;

/// Longest wait for the answer; below Docker's own limit, so that the reason is told.
const PATIENCE: Duration = Duration::from_secs(4);

#[expect(clippy::print_stdout, reason = "the answer is this command's data")]
pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    let address = reachable(Settings::from_environment()?.usage_listen);
    let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build()?;
    let answer = client.get(format!("http://{address}/health")).send().await;
    let answer = answer.with_context(|| format!("no sidecar answers on {address}"))?;
    let healthy = answer.status().is_success();
    println!("{}", answer.text().await.context("the answer broke off")?);
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where a listener on every address can be reached from the same machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
