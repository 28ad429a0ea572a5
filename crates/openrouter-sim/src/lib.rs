//! A simulated OpenRouter with faults and a bill of its own.
//!
//! Tests, the benchmark and `mai-usage demo` talk to it over a real socket and then compare what the program wrote down with
//! [`Simulator::truth`], the append-only bill. It shares no code with the rest of the house, so that a mistake there
//! cannot hide here. Shapes and behaviour follow the facts in `reference/openrouter-api.md`.

mod access;
mod account;
mod catalogue;
mod clock;
mod control;
mod inference;
mod json;
mod keyring;
mod knobs;
mod money;
mod options;
mod refusal;
mod seen;
mod send_time;
mod simulator;
mod truth;
mod world;

pub use knobs::{AbortCharge, Knobs, UsageKnob};
pub use options::{DEFAULT_KEY, DEFAULT_MANAGEMENT_KEY, Options};
pub use seen::SeenRequest;
pub use send_time::{SEND_TIME_DIGITS, send_time_ns};
pub use simulator::Simulator;
pub use truth::Charge;
