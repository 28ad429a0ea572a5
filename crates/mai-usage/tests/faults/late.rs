//! Row 8: `/generation` that knows late, refuses, or talks HTML.

use crate::trial::{Outcome, Trial};

/// Row 8.
pub(crate) async fn generation(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}
