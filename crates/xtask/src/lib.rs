//! Documents that are made from the code.

use std::fmt::Write as _;
use std::path::PathBuf;

use settings::DECLARED;

/// The top of the checkout.
#[must_use]
pub fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// `docs/configuration.md`.
#[must_use]
pub fn configuration_document() -> String {
    let mut document = String::from(
        "# Configuration\n\n\
         <!-- Made by `cargo xtask docs` from `crates/settings/src/declared.rs`. -->\n\n\
         The sidecar reads its settings from the environment; with Docker Compose they come from `.env`. An empty \
         value counts as not set. All problems are told at once, and the program then exits with 78.\n\n\
         All of them may be missing: the program starts, says in its log what is missing, and `/health` tells it.\n\n\
         | name | default | meaning |\n|---|---|---|\n",
    );
    for setting in DECLARED {
        let default = setting.default.map_or_else(|| "—".to_owned(), |default| format!("`{default}`"));
        let secret = if setting.secret { " **Secret.**" } else { "" };
        // Writing to a string cannot fail.
        let _ = writeln!(document, "| `{}` | {default} | {}{secret} |", setting.name, setting.doc);
    }
    document
}
