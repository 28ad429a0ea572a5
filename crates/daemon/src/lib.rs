//! Builds everything, owns the listeners and the lifecycle.

mod descriptors;
mod head_reader;
mod lifecycle;
mod listener;
mod logging;
mod waiting;

pub use lifecycle::{Daemon, Ended, StartError, choose_tls_provider};
pub use logging::{LoggingError, start_logging};
