//! `mai-usage health`: Docker's check, so that the image needs neither a shell nor curl.
//!
//! It runs every few seconds beside every sidecar, so it speaks to its own machine through hyper alone: `reqwest` would read
//! and parse the system's certificates first, which is most of what the check would cost.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use settings::Settings;
use tokio::net::TcpStream;

/// Longest wait for the answer; below Docker's own limit, so that the reason is told.
const PATIENCE: Duration = Duration::from_secs(4);

#[expect(clippy::print_stdout, reason = "the answer is this command's data")]
pub(crate) async fn run() -> anyhow::Result<ExitCode> {
    let address = reachable(Settings::from_environment()?.usage_listen);
    let answer = tokio::time::timeout(PATIENCE, ask(address)).await;
    let answer = answer.context("no answer in time").and_then(|answer| answer);
    let (status, body) = answer.with_context(|| format!("no sidecar answers on {address}"))?;
    println!("{}", String::from_utf8_lossy(&body));
    Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `GET /health`, to the end of the answer.
async fn ask(address: SocketAddr) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let request =
        Request::get("/health").header(header::HOST, address.to_string()).body(Empty::<Bytes>::new())?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await.context("the answer broke off")?.to_bytes()))
    };
    // The connection moves the bytes; where it ends first, the answer ends with its reason.
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
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
