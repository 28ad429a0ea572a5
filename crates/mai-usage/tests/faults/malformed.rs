//! Row 6: streams, costs and settings that are not what they should be.

use crate::trial::{Outcome, Trial};

/// Row 6.
pub(crate) async fn answers_and_costs(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}
