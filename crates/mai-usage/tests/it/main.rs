//! The program as a process.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]

mod backup;
mod command_line;
mod operator;
mod sessions;
