//! placeholder
use metering::Clock;
use std::process::ExitCode;
pub(crate) async fn run(_clock: Clock, _once: bool) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
