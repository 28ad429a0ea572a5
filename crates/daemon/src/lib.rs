//! Builds everything, owns the listeners and the lifecycle.

mod lifecycle;
mod listener;
mod logging;

pub use lifecycle::{Daemon, Ended, StartError};
pub use logging::{LoggingError, start_logging};
