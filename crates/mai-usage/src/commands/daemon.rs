//! `mai-usage daemon`.

use std::process::ExitCode;

use daemon::{Daemon, Ended, start_logging};
use metering::Clock;
use settings::Settings;
use tokio::signal::unix::{SignalKind, signal};

use crate::exit;

pub(crate) async fn run(clock: Clock) -> anyhow::Result<ExitCode> {
    let settings = Settings::from_environment()?;
    start_logging(&settings.log_level, settings.log_format)?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let daemon = Daemon::start(settings, clock).await?;
    let told_to_stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    Ok(match daemon.run_until(told_to_stop).await {
        Ended::Stopped => ExitCode::SUCCESS,
        Ended::LedgerLost => exit::SOFTWARE.into(),
    })
}
