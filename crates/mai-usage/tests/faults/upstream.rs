//! Rows 5 and 20: an `OpenRouter` that breaks off, falls silent, never ends, or refuses.

use crate::trial::{Outcome, Trial};

/// Row 5.
pub(crate) async fn cut_silent_endless(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}

/// Row 20.
pub(crate) async fn errors(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}
