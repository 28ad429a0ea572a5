//! Amounts in US dollars for machines: exact decimal text.

use std::fmt;

use metering::PicoUsd;
use serde::{Serialize, Serializer};

/// An amount whose JSON is its text: no reader makes a float of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Usd(pub(crate) PicoUsd);

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
