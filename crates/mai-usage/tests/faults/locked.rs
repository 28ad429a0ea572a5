//! Row 10: another program at the database.

use crate::trial::{Outcome, Trial};

/// Row 10.
pub(crate) async fn by_another_program(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}
