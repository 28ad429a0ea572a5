//! The simulator through a real socket.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod abort;
mod account;
mod bill;
mod client;
mod endpoints;
mod knobs;
