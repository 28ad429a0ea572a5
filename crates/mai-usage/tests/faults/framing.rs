//! Row 19: requests that two readers read differently.

use crate::trial::{Outcome, Trial};

/// Row 19.
pub(crate) async fn requests(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}
