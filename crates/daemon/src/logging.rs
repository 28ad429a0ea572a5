//! Log lines, on standard error.

use std::backtrace::Backtrace;

use settings::LogFormat;
use tracing_subscriber::EnvFilter;

/// Said before the operator's own filter, which may say otherwise: the alarm clock tells of every tick.
const QUIET: &str = "tokio_cron_scheduler=warn";

/// The log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The filter is not understood.
    #[error(
        "LOG_LEVEL: {0:?} must be error, warn, info, debug or trace, or a filter such as info,proxy=debug"
    )]
    Level(String),
    /// Somebody else has set one up.
    #[error("the log is set up already")]
    AlreadyStarted,
}

/// Starts logging as `level` and `format` say. A panic is told with its place alone: its message may quote what was being
/// read, a prompt or a key.
///
/// # Errors
/// [`LoggingError`] where the filter is not understood.
pub fn start_logging(level: &str, format: LogFormat) -> Result<(), LoggingError> {
    let filter = EnvFilter::builder()
        .parse(format!("{QUIET},{level}"))
        .map_err(|_| LoggingError::Level(level.to_owned()))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|_| LoggingError::AlreadyStarted)?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let backtrace = Backtrace::capture();
        tracing::error!(place, %backtrace, "a defect ended a task; what it had not written down, the next start resumes");
    }));
    Ok(())
}
