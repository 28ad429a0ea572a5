//! What is to be done, as data.

use std::fmt;

use jiff::Timestamp;
use metering::{MoneyError, PicoUsd};
use openrouter::{KeyChange, KeyRecord, LimitReset, NewKey};
use serde::Serialize;

use super::find::short;
use crate::limit::Limit;

/// One change of the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(crate) enum Step {
    /// A new key.
    Create {
        name: String,
        limit: Option<String>,
        limit_reset: Option<LimitReset>,
        #[serde(skip)]
        new: NewKey,
    },
    /// Another limit.
    SetLimit {
        key: Named,
        limit: Option<String>,
        limit_reset: Option<LimitReset>,
        #[serde(skip)]
        amount: Option<PicoUsd>,
    },
    /// Stopped.
    Disable { key: Named },
    /// Working again.
    Enable { key: Named },
    /// Stopped, and called something else, so that names stay unique.
    Retire { key: Named, new_name: String },
    /// Gone for ever.
    Delete { key: Named },
}

/// A key that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) hash: String,
}

/// What becomes of the old key in a rotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Deleted,
    Kept,
}

/// What was asked for cannot be done so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Two keys of one name cannot be told apart in `OpenRouter`'s statistics.
    #[error(
        "there is a key called {name:?} already ({}); hint: mai-usage keys rotate makes another in its place",
        short(.hash)
    )]
    NameTaken {
        /// The name.
        name: String,
        /// The key that has it.
        hash: String,
    },
    /// A new key would not end when the old one does.
    #[error(
        "the key {name:?} expires at {expires_at}, and another in its place would not; hint: mai-usage keys create, \
         then keys delete"
    )]
    Expires {
        /// The key.
        name: String,
        /// Its end.
        expires_at: String,
    },
    /// Its limit is one that this program does not know.
    #[error("the limit of the key {name:?} cannot be read; hint: set it with mai-usage keys set-limit")]
    UnknownLimit {
        /// The key.
        name: String,
    },
}

pub(crate) fn create(keys: &[KeyRecord], new: NewKey) -> Result<Vec<Step>, PlanError> {
    match keys.iter().find(|key| key.name == new.name) {
        Some(key) => Err(PlanError::NameTaken { name: new.name, hash: key.hash.clone() }),
        None => Ok(vec![Step::create(new)]),
    }
}

/// Nothing, where the limit is that already.
pub(crate) fn set_limit(key: &KeyRecord, limit: &Limit, reset: Option<LimitReset>) -> Vec<Step> {
    let amount = limit.amount();
    let limit_reset = amount.and(reset);
    let is_set = amount_of(key.limit.as_deref()) == Ok(amount)
        && (amount.is_none() || key.limit_reset.as_deref() == limit_reset.map(LimitReset::as_str));
    if is_set {
        return Vec::new();
    }
    let limit = amount.map(|amount| amount.to_string());
    vec![Step::SetLimit { key: Named::of(key), limit, limit_reset, amount }]
}

/// Nothing, where it is so already.
pub(crate) fn set_disabled(key: &KeyRecord, disabled: bool) -> Vec<Step> {
    match (key.disabled, disabled) {
        (false, true) => vec![Step::Disable { key: Named::of(key) }],
        (true, false) => vec![Step::Enable { key: Named::of(key) }],
        _ => Vec::new(),
    }
}

pub(crate) fn delete(key: &KeyRecord) -> Vec<Step> {
    vec![Step::Delete { key: Named::of(key) }]
}

/// First the new key, then what becomes of the old one.
pub(crate) fn rotate(
    keys: &[KeyRecord],
    key: &KeyRecord,
    rest: Rest,
    now: Timestamp,
) -> Result<Vec<Step>, PlanError> {
    let name = key.name.clone();
    if let Some(expires_at) = key.expires_at.clone() {
        return Err(PlanError::Expires { name, expires_at });
    }
    let limit_reset = key.limit_reset.as_deref().map(str::parse).transpose();
    let (Ok(limit), Ok(limit_reset)) = (amount_of(key.limit.as_deref()), limit_reset) else {
        return Err(PlanError::UnknownLimit { name });
    };
    let include_byok_in_limit = key.include_byok_in_limit;
    let create = Step::create(NewKey { name, limit, limit_reset, include_byok_in_limit });
    let named = Named::of(key);
    Ok(match rest {
        Rest::Deleted => vec![create, Step::Delete { key: named }],
        Rest::Kept => vec![create, Step::Retire { new_name: retired_name(keys, key, now), key: named }],
    })
}

/// `Name (replaced 2026-11-22)`, with a number where that is taken.
fn retired_name(keys: &[KeyRecord], key: &KeyRecord, now: Timestamp) -> String {
    let day = now.strftime("%Y-%m-%d");
    let candidates = (1..).map(|number| match number {
        1 => format!("{} (replaced {day})", key.name),
        number => format!("{} (replaced {day}, {number})", key.name),
    });
    let free = |name: &String| keys.iter().all(|key| key.name != *name);
    candidates.into_iter().find(free).unwrap_or_default()
}

/// The amount of a limit as it was told; `None` without a limit.
pub(crate) fn amount_of(limit: Option<&str>) -> Result<Option<PicoUsd>, MoneyError> {
    Ok(limit.map(PicoUsd::parse).transpose()?.map(|parsed| parsed.amount))
}

impl Step {
    pub(crate) fn create(new: NewKey) -> Self {
        let limit = new.limit.map(|limit| limit.to_string());
        Self::Create { name: new.name.clone(), limit, limit_reset: new.limit_reset, new }
    }

    /// The key and what is to be different about it; `None` where it is made or deleted.
    pub(crate) fn change(&self) -> Option<(&Named, KeyChange)> {
        let nothing = KeyChange::default();
        match self {
            Self::SetLimit { key, limit_reset, amount, .. } => {
                Some((key, KeyChange { limit: Some(*amount), limit_reset: Some(*limit_reset), ..nothing }))
            }
            Self::Disable { key } => Some((key, KeyChange { disabled: Some(true), ..nothing })),
            Self::Enable { key } => Some((key, KeyChange { disabled: Some(false), ..nothing })),
            Self::Retire { key, new_name } => {
                Some((key, KeyChange { disabled: Some(true), name: Some(new_name.clone()), ..nothing }))
            }
            Self::Create { .. } | Self::Delete { .. } => None,
        }
    }
}

impl Named {
    pub(crate) fn of(key: &KeyRecord) -> Self {
        Self { name: key.name.clone(), hash: key.hash.clone() }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.name, short(&self.hash))
    }
}

/// As an order: "disable the key …".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { name, limit, limit_reset, .. } => {
                write!(f, "make the key {name:?}, {}", limit_in_words(limit.as_deref(), *limit_reset))
            }
            Self::SetLimit { key, limit, limit_reset, .. } => {
                write!(f, "change the key {key}: {}", limit_in_words(limit.as_deref(), *limit_reset))
            }
            Self::Disable { key } => write!(f, "disable the key {key}"),
            Self::Enable { key } => write!(f, "enable the key {key}"),
            Self::Retire { key, new_name } => write!(f, "disable the key {key} and call it {new_name:?}"),
            Self::Delete { key } => write!(f, "delete the key {key} for ever"),
        }
    }
}

/// `limit 250 USD monthly`.
pub(crate) fn limit_in_words(limit: Option<&str>, reset: Option<LimitReset>) -> String {
    match (limit, reset) {
        (None, _) => "no limit".to_owned(),
        (Some(limit), None) => format!("limit {limit} USD for its whole life"),
        (Some(limit), Some(reset)) => format!("limit {limit} USD {reset}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    fn words(plan: &[Step]) -> Vec<String> {
        plan.iter().map(ToString::to_string).collect()
    }

    fn now() -> Timestamp {
        "2026-11-22T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn names_are_unique() {
        let keys = [key("A", "aaaaaaaaaaaaaaaa")];
        let new = |name: &str| NewKey {
            name: name.to_owned(),
            limit: None,
            limit_reset: None,
            include_byok_in_limit: false,
        };
        assert!(matches!(create(&keys, new("A")), Err(PlanError::NameTaken { .. })));
        assert_eq!(words(&create(&keys, new("B")).unwrap()), ["make the key \"B\", no limit"]);
    }

    #[test]
    fn what_is_so_already_is_no_step() {
        let mut key = key("A", "aaaaaaaaaaaaaaaa");
        let limit = |text| Limit::read(text).unwrap();
        assert!(set_limit(&key, &limit("250.00"), Some(LimitReset::Monthly)).is_empty());
        assert_eq!(
            words(&set_limit(&key, &limit("100"), None)),
            ["change the key \"A\" (aaaaaaaaaaaa): limit 100 USD for its whole life"]
        );
        let plan = set_limit(&key, &limit("unlimited"), Some(LimitReset::Monthly));
        let (_, change) = plan[0].change().unwrap();
        assert_eq!((change.limit, change.limit_reset), (Some(None), Some(None)));
        assert!(set_disabled(&key, false).is_empty());
        assert_eq!(words(&set_disabled(&key, true)), ["disable the key \"A\" (aaaaaaaaaaaa)"]);
        (key.limit, key.limit_reset) = (None, None);
        assert!(set_limit(&key, &limit("unlimited"), Some(LimitReset::Monthly)).is_empty());
    }

    #[test]
    fn a_rotation_makes_before_it_takes() {
        let keys = [key("A", "aaaaaaaaaaaaaaaa"), key("A (replaced 2026-11-22)", "bbbbbbbbbbbbbbbb")];
        assert_eq!(
            words(&rotate(&keys, &keys[0], Rest::Deleted, now()).unwrap()),
            ["make the key \"A\", limit 250 USD monthly", "delete the key \"A\" (aaaaaaaaaaaa) for ever"]
        );
        assert_eq!(
            words(&rotate(&keys, &keys[0], Rest::Kept, now()).unwrap())[1],
            "disable the key \"A\" (aaaaaaaaaaaa) and call it \"A (replaced 2026-11-22, 2)\""
        );
    }

    #[test]
    fn what_a_new_key_would_not_have_is_no_rotation() {
        let mut key = key("A", "aaaaaaaaaaaaaaaa");
        key.limit_reset = Some("yearly".to_owned());
        assert!(matches!(rotate(&[], &key, Rest::Kept, now()), Err(PlanError::UnknownLimit { .. })));
        key.expires_at = Some("2027-01-01T00:00:00Z".to_owned());
        assert!(matches!(rotate(&[], &key, Rest::Kept, now()), Err(PlanError::Expires { .. })));
    }

    #[test]
    fn a_plan_is_json_without_a_float() {
        let keys = [key("A", "aaaaaaaaaaaaaaaa")];
        let plan = rotate(&keys, &keys[0], Rest::Deleted, now()).unwrap();
        assert_eq!(
            serde_json::to_string(&plan).unwrap(),
            r#"[{"step":"create","name":"A","limit":"250","limit_reset":"monthly"},{"step":"delete","key":{"name":"A","hash":"aaaaaaaaaaaaaaaa"}}]"#
        );
    }
}
