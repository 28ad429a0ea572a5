//! What a look at something comes to.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Level {
    Ok,
    Warn,
    Fail,
}

/// One look at one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) level: Level,
    /// What was looked at, in a word.
    #[serde(rename = "check")]
    pub(super) name: &'static str,
    /// What was found.
    pub(super) found: String,
    /// What to do about it; `None` where there is nothing to do.
    pub(super) fix: Option<String>,
}

/// The checks of one client; `None` for the server's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Checked {
    pub(super) client: Option<String>,
    pub(super) checks: Vec<Check>,
}

impl Check {
    pub(super) fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, name, found: found.into(), fix: None }
    }

    pub(super) fn warn(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Warn, name, found: found.into(), fix: Some(fix.into()) }
    }

    pub(super) fn fail(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { level: Level::Fail, name, found: found.into(), fix: Some(fix.into()) }
    }
}

impl Level {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        }
    }
}
