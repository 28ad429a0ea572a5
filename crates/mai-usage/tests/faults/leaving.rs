//! Row 4: clients that leave at every phase.

use crate::trial::{Outcome, Trial};

/// Row 4.
pub(crate) async fn at_every_phase(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}
