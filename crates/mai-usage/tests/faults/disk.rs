//! Row 9: a disk that is full, read-only, failing or slow.

use crate::trial::{Outcome, Trial};

/// Row 9.
pub(crate) async fn full_failing_slow(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}
