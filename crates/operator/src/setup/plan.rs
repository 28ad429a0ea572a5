//! What is to be done to finish a client's folder, as data. What is done already is no step, so that a second run does the rest.

use std::fmt;
use std::path::PathBuf;

use metering::OrgId;
use openrouter::{KeyRecord, LimitReset, NewKey};
use serde::Serialize;
use settings::SpendingLimit;

use super::journal::Intent;
use crate::env_file::EnvFile;
use crate::keys::{Named, amount_of, limit_in_words};
use crate::limit::Limit;

/// What the person wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) organisation: String,
    pub(crate) limit: Limit,
    pub(crate) zone: String,
    pub(crate) host: String,
    pub(crate) billing_email: Option<String>,
    /// Where the database is to be; `None`: only `.env` is wanted.
    pub(crate) database: Option<PathBuf>,
    /// A secret with which mAI signs the user of each call.
    pub(crate) sign_users: bool,
    /// Keys whose secret is not here may be deleted.
    pub(crate) replace_key: bool,
}

/// What there is.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) env: EnvFile,
    pub(crate) keys: Vec<KeyRecord>,
    pub(crate) own_key: OwnKey,
    pub(crate) intent: Option<Intent>,
}

/// The key in `.env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OwnKey {
    /// There is none.
    Missing,
    /// One of the account's.
    Listed(Box<KeyRecord>),
    /// One that works, of another account or workspace.
    Foreign,
    /// One that `OpenRouter` does not accept.
    Dead,
}

/// One thing to do. Each leaves the folder so that the next run goes on from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(crate) enum Step {
    /// Values that `.env` lacks.
    WriteEnv {
        names: Vec<&'static str>,
        #[serde(skip)]
        values: Vec<(&'static str, Value)>,
    },
    /// A key whose secret nobody here has.
    DeleteKey { key: Named },
    /// The next step, written down.
    NoteIntent { key_name: String },
    /// A key, and its secret in `.env`.
    CreateKey {
        name: String,
        limit: Option<String>,
        #[serde(skip)]
        new: NewKey,
    },
    /// There is nothing left to remember.
    ForgetIntent,
    /// Another limit for the key in `.env`.
    SetLimit {
        key: Named,
        limit: Option<String>,
        #[serde(skip)]
        wanted: Limit,
    },
    /// A free question with the key in `.env`.
    TestKey,
    /// The database and the organisation in it.
    RecordOrganisation { id: String, name: String, database: PathBuf },
}

/// A value of `.env`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// As it is known.
    Known(String),
    /// Random, made when it is written.
    FreshToken,
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// A key of the organisation that may be in use elsewhere.
    #[error(
        "the account has a key {key} (last used: {last_used}), and its secret is not in .env; it may be in use elsewhere; \
         hint: put its secret into .env as OPENROUTER_API_KEY, or let --replace-key delete it and make another"
    )]
    SecretUnknown {
        /// The key.
        key: String,
        /// When it was last used.
        last_used: String,
    },
    /// The key in `.env` does not work.
    #[error(
        "OpenRouter does not accept the OPENROUTER_API_KEY in .env; hint: --replace-key makes another in its place"
    )]
    KeyDead,
    /// The key in `.env` is disabled, which somebody has done on purpose.
    #[error("the key {key} is disabled; hint: mai-usage keys enable")]
    KeyDisabled {
        /// The key.
        key: String,
    },
    /// A management key where chats could use it.
    #[error(
        "OPENROUTER_API_KEY in .env is a management key, which must never be near a chat; hint: take it out"
    )]
    ManagementKeyInEnv,
    /// The key that was made does not work yet.
    #[error("OpenRouter does not confirm the key in .env ({0}); hint: run it again in a minute")]
    KeyNotConfirmed(String),
}

impl SetupError {
    /// What a person is asked who can agree to the deletion.
    pub(crate) fn question(&self) -> Option<String> {
        match self {
            Self::SecretUnknown { key, last_used } => Some(format!(
                "The account has a key {key} (last used: {last_used}), and its secret is not in .env. Delete it and make another?"
            )),
            Self::KeyDead => {
                Some("OpenRouter does not accept the key in .env. Make another in its place?".to_owned())
            }
            _ => None,
        }
    }
}

/// The name of an organisation's key.
pub(crate) fn key_name(organisation: &str) -> String {
    format!("mAI Client: {organisation}")
}

pub(crate) fn plan(wanted: &Wanted, facts: &Facts) -> Result<Vec<Step>, SetupError> {
    let mut steps = Vec::new();
    let values = missing_values(wanted, facts);
    if !values.is_empty() {
        steps.push(Step::WriteEnv { names: values.iter().map(|(name, _)| *name).collect(), values });
    }
    steps.extend(key_steps(wanted, facts)?);
    steps.push(Step::TestKey);
    if let Some(database) = wanted.database.clone() {
        let (id, name) = (org_id(wanted, &facts.env), wanted.organisation.clone());
        steps.push(Step::RecordOrganisation { id: id.as_str().to_owned(), name, database });
    }
    Ok(steps)
}

/// The id that is in `.env` survives another name.
pub(crate) fn org_id(wanted: &Wanted, env: &EnvFile) -> OrgId {
    let given = env.get("OPENROUTER_EXTERNAL_USER");
    given.map_or_else(|| OrgId::of_name(&wanted.organisation), OrgId::new)
}

/// What `.env` lacks or has otherwise. Tokens that are there stay.
fn missing_values(wanted: &Wanted, facts: &Facts) -> Vec<(&'static str, Value)> {
    let id = org_id(wanted, &facts.env);
    let limit = match &wanted.limit.0 {
        SpendingLimit::Unlimited => "unlimited",
        SpendingLimit::Usd(limit) => limit,
    };
    let known = [
        ("OPENROUTER_HOST", wanted.host.as_str()),
        ("OPENROUTER_EXTERNAL_USER", id.as_str()),
        ("ORGANIZATION_NAME", &wanted.organisation),
        ("SPENDING_LIMIT", limit),
        ("BILLING_TIMEZONE", &wanted.zone),
    ];
    let known = known
        .into_iter()
        .filter(|(name, value)| facts.env.get(name) != Some(value))
        .map(|(name, value)| (name, Value::Known(value.to_owned())));
    let signing = wanted.sign_users.then_some("OPENWEBUI_USER_JWT_SECRET");
    let tokens = ["USAGE_PROXY_TOKEN", "USAGE_ADMIN_TOKEN", "WEBUI_SECRET_KEY"].into_iter().chain(signing);
    let tokens = tokens.filter(|name| facts.env.get(name).is_none()).map(|name| (name, Value::FreshToken));
    known.chain(tokens).collect()
}

fn key_steps(wanted: &Wanted, facts: &Facts) -> Result<Vec<Step>, SetupError> {
    let is_lost = |key: &&KeyRecord| facts.intent.as_ref().is_some_and(|intent| intent.is_of(key));
    let own_hash = match &facts.own_key {
        OwnKey::Listed(key) => Some(key.hash.as_str()),
        _ => None,
    };
    let others = || facts.keys.iter().filter(|key| Some(key.hash.as_str()) != own_hash);
    let mut steps: Vec<Step> = others().filter(is_lost).map(Step::delete).collect();
    match &facts.own_key {
        OwnKey::Foreign => {}
        OwnKey::Listed(key) if key.disabled => {
            return Err(SetupError::KeyDisabled { key: Named::of(key).to_string() });
        }
        OwnKey::Listed(key) => steps.extend(limit_step(wanted, key)),
        OwnKey::Dead if !wanted.replace_key => return Err(SetupError::KeyDead),
        OwnKey::Dead | OwnKey::Missing => {
            let name = key_name(&wanted.organisation);
            let unknown = others().filter(|key| key.name == name && !is_lost(key));
            steps.extend(replaced(wanted, unknown)?);
            return Ok(steps.into_iter().chain(making(wanted, name)).collect());
        }
    }
    if facts.intent.is_some() {
        steps.push(Step::ForgetIntent);
    }
    Ok(steps)
}

/// Keys of that name go, where the person has agreed.
fn replaced<'a>(
    wanted: &Wanted,
    mut unknown: impl Iterator<Item = &'a KeyRecord>,
) -> Result<Vec<Step>, SetupError> {
    if wanted.replace_key {
        return Ok(unknown.map(Step::delete).collect());
    }
    match unknown.next() {
        None => Ok(Vec::new()),
        Some(key) => Err(SetupError::SecretUnknown {
            key: Named::of(key).to_string(),
            last_used: key.last_used_at.clone().unwrap_or_else(|| "never".to_owned()),
        }),
    }
}

fn making(wanted: &Wanted, name: String) -> [Step; 3] {
    let limit = wanted.limit.amount();
    let new = NewKey {
        name: name.clone(),
        limit,
        limit_reset: limit.map(|_| LimitReset::Monthly),
        include_byok_in_limit: false,
    };
    let limit = limit.map(|limit| limit.to_string());
    [Step::NoteIntent { key_name: name.clone() }, Step::CreateKey { name, limit, new }, Step::ForgetIntent]
}

fn limit_step(wanted: &Wanted, key: &KeyRecord) -> Option<Step> {
    let amount = wanted.limit.amount();
    let is_monthly = amount.is_none() || key.limit_reset.as_deref() == Some(LimitReset::Monthly.as_str());
    if amount_of(key.limit.as_deref()) == Ok(amount) && is_monthly {
        return None;
    }
    let limit = amount.map(|amount| amount.to_string());
    Some(Step::SetLimit { key: Named::of(key), limit, wanted: wanted.limit.clone() })
}

impl Step {
    fn delete(key: &KeyRecord) -> Self {
        Self::DeleteKey { key: Named::of(key) }
    }

    /// True where nothing is changed by it.
    pub(crate) const fn only_asks(&self) -> bool {
        matches!(self, Self::TestKey)
    }
}

/// As an order: "write …".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let monthly = Some(LimitReset::Monthly);
        match self {
            Self::WriteEnv { names, .. } => write!(f, "write {} to .env", names.join(", ")),
            Self::DeleteKey { key } => write!(f, "delete the key {key}, whose secret is not here"),
            Self::NoteIntent { key_name } => write!(f, "note that the key {key_name:?} is about to be made"),
            Self::CreateKey { name, limit, .. } => {
                let limit = limit_in_words(limit.as_deref(), monthly);
                write!(f, "make the key {name:?}, {limit}, and write it to .env")
            }
            Self::ForgetIntent => write!(f, "remove the note"),
            Self::SetLimit { key, limit, .. } => {
                write!(f, "change the key {key}: {}", limit_in_words(limit.as_deref(), monthly))
            }
            Self::TestKey => write!(f, "test the key in .env with a free question"),
            Self::RecordOrganisation { id, name, database } => {
                write!(f, "record the organisation {name:?} ({id}) in {}", database.display())
            }
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
