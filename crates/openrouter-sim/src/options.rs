//! How a simulator is started.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::Knobs;

/// The inference key that works unless others are named.
pub const DEFAULT_KEY: &str = "sk-or-v1-5555555555555555555555555555555555555555555555555555555555555555";

/// The management key that works unless another is named.
pub const DEFAULT_MANAGEMENT_KEY: &str =
    "sk-or-v1-6666666666666666666666666666666666666666666666666666666666666666";

/// What a simulator is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the bill is appended, one JSON line a charge. A bill that is already there is read back, so
    /// that a restarted simulator still knows its generations.
    pub truth_file: Option<PathBuf>,
    /// Inference keys known from the start.
    pub keys: Vec<String>,
    /// The management key; none: the account has none.
    pub management_key: Option<String>,
    /// The faults from the start.
    pub knobs: Knobs,
    /// Credits bought, in USD as decimal text.
    pub total_credits: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            truth_file: None,
            keys: vec![DEFAULT_KEY.to_owned()],
            management_key: Some(DEFAULT_MANAGEMENT_KEY.to_owned()),
            knobs: Knobs::default(),
            total_credits: "1000".to_owned(),
        }
    }
}
