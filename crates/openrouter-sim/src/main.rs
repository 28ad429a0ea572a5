//! `openrouter-sim`: the simulator as a process of its own.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use openrouter_sim::{Options, Simulator};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// A simulated OpenRouter. Prints one JSON line when it is ready.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Address and port; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Append the bill to this file, one JSON line a charge.
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,

    /// An inference key; may be repeated.
    #[arg(long = "key", value_name = "KEY")]
    keys: Vec<String>,

    /// The management key.
    #[arg(long, value_name = "KEY")]
    management_key: Option<String>,
}

impl Arguments {
    /// Keys that are not named are the library's defaults.
    fn into_options(self) -> Options {
        let defaults = Options::default();
        Options {
            listen: self.listen,
            truth_file: self.truth,
            keys: if self.keys.is_empty() { defaults.keys } else { self.keys },
            management_key: self.management_key.or(defaults.management_key),
            ..Options::default()
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_env_filter(filter).init();
    let simulator = Simulator::start(Arguments::parse().into_options()).await?;
    let ready = serde_json::json!({ "listening": simulator.origin(), "base_url": simulator.base_url() });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{ready}")?;
    stdout.flush()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    simulator.stop().await;
    Ok(())
}
