//! What must never be told, and where it is looked for.

use std::path::Path;

use openrouter_sim::DEFAULT_KEY;

use crate::trial::{Outcome, Trial};

/// What the mAI container presents.
pub(crate) const TOKEN: &str = "canary-proxy-token-7d1f3c";

/// What tools present to the usage API.
pub(crate) const ADMIN: &str = "canary-admin-token-52e9ab";

/// What the employees ask; callers put it into every question.
pub(crate) const PROMPT: &str = "canary prompt: the merger is signed on Friday";

/// What the models answer: a knob asks for it.
pub(crate) const ANSWER: &str = "canary answer: the price is nine million";

/// The mail address of the callers.
pub(crate) const EMAIL: &str = "canary.employee@example.org";

/// The secret of the signed header, where a row uses one.
pub(crate) const JWT_SECRET: &str = "canary-jwt-secret-90b4";

/// Everything that no log may show, whatever its level.
pub(crate) const CANARIES: [&str; 7] = [DEFAULT_KEY, TOKEN, ADMIN, PROMPT, ANSWER, EMAIL, JWT_SECRET];

/// The secrets that the logs in `folder` tell, with the line of each first telling.
pub(crate) fn told_in(folder: &Path) -> Vec<String> {
    let logs = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .flat_map(|log| told_by(&log))
        .collect()
}

fn told_by(log: &Path) -> Vec<String> {
    let bytes = std::fs::read(log).unwrap();
    let lines = bytes.split(|byte| *byte == b'\n');
    let telling = lines
        .filter(|line| CANARIES.iter().any(|canary| memchr::memmem::find(line, canary.as_bytes()).is_some()));
    telling.take(3).map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

/// Row 18.
pub(crate) async fn in_logs_and_files(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}
