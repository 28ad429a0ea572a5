//! Exit codes, those of `sysexits.h`, and the last words on standard error.

use std::process::ExitCode;

use daemon::{LoggingError, StartError};
use ledger::OpenError;
use operator::{Failure, OperatorError};
use settings::Invalid;

/// Something is wrong with the command line.
const USAGE: u8 = 2;

/// An internal failure that a restart heals: a failed fsync, a writer that has ended.
pub(crate) const SOFTWARE: u8 = 70;

/// Somebody else has the database.
const BUSY: u8 = 75;

/// The configuration cannot be used.
const CONFIGURATION: u8 = 78;

/// Tells `error` and answers its exit code.
pub(crate) fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    code_of(error).into()
}

fn code_of(error: &anyhow::Error) -> u8 {
    let failed_fsync = match error.downcast_ref() {
        Some(StartError::Write(error)) => ledger::is_failed_fsync(error),
        _ => ledger::is_failed_fsync(error.as_ref()),
    };
    if failed_fsync {
        return SOFTWARE;
    }
    if error.is::<Invalid>() || error.is::<LoggingError>() {
        return CONFIGURATION;
    }
    let open = match error.downcast_ref::<StartError>() {
        Some(StartError::Ledger(error)) => Some(error),
        Some(StartError::Zone(_)) => return CONFIGURATION,
        Some(_) => None,
        None => match error.downcast_ref::<OperatorError>() {
            Some(OperatorError::Ledger(error)) => Some(error),
            Some(error) => return code_of_failure(error.failure()),
            None => error.downcast_ref::<OpenError>(),
        },
    };
    match open {
        Some(OpenError::Busy { .. }) => BUSY,
        Some(
            OpenError::Mode { .. }
            | OpenError::Newer { .. }
            | OpenError::OtherOrganisation { .. }
            | OpenError::File { .. },
        ) => CONFIGURATION,
        _ => 1,
    }
}

const fn code_of_failure(failure: Failure) -> u8 {
    match failure {
        Failure::Usage => USAGE,
        Failure::Configuration => CONFIGURATION,
        Failure::Busy => BUSY,
        Failure::Other => 1,
    }
}
