//! The program as a process.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]

mod backup;
mod command_line;
mod operator;
#[path = "../../../operator/tests/it/server.rs"]
mod server;
mod sessions;
mod watching;
