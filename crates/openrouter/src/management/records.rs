//! Keys on the wire: how they are told, and how a new one or a change is asked for.

use std::fmt;
use std::str::FromStr;

use metering::PicoUsd;
use secrecy::SecretString;
use serde::Serialize;
use serde_json::value::RawValue;

use super::ManagementError;
use crate::json::Object;

/// A key as `OpenRouter` lists it. Amounts are US dollars in the digits it told; instants are its own texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyRecord {
    /// The lower-case hex SHA-256 of the secret: what the key is called on the wire.
    pub hash: String,
    /// What people call it; not unique.
    pub name: String,
    /// The masked secret, `sk-or-v1-0e6...1c9`.
    pub label: String,
    /// It is refused wherever it is presented.
    pub disabled: bool,
    /// What it may spend until its limit is reset; `None` without a limit.
    pub limit: Option<String>,
    /// What is left of that.
    pub limit_remaining: Option<String>,
    /// Whether what a provider's own key paid counts against the limit.
    pub include_byok_in_limit: bool,
    /// When the spending that counts starts again from zero; `None`: never.
    pub limit_reset: Option<String>,
    /// Spent since it was made.
    pub usage: Option<String>,
    /// Spent this day, UTC.
    pub usage_daily: Option<String>,
    /// Spent this week, from Monday, UTC.
    pub usage_weekly: Option<String>,
    /// Spent this month, UTC.
    pub usage_monthly: Option<String>,
    /// When it was made.
    pub created_at: Option<String>,
    /// When it was last changed.
    pub updated_at: Option<String>,
    /// When it stops working by itself.
    pub expires_at: Option<String>,
    /// When it was last presented.
    pub last_used_at: Option<String>,
}

/// When the spending that counts against a limit starts again from zero, at midnight UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitReset {
    /// Every day.
    Daily,
    /// Every Monday.
    Weekly,
    /// Every first of the month.
    Monthly,
}

/// A word that names no [`LimitReset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be `daily`, `weekly` or `monthly`")]
pub struct UnknownReset;

/// A key to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// What people will call it; not empty.
    pub name: String,
    /// What it may spend; `None`: whatever the account has.
    pub limit: Option<PicoUsd>,
    /// When its spending starts again from zero; `None`: never.
    pub limit_reset: Option<LimitReset>,
    /// Whether what a provider's own key pays counts against the limit.
    pub include_byok_in_limit: bool,
}

/// A key just made.
#[derive(Debug, Clone)]
pub struct CreatedKey {
    /// How it is listed.
    pub record: KeyRecord,
    /// The secret, told this once.
    pub secret: SecretString,
}

/// What is to be different about a key; `None` leaves what is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyChange {
    /// Its name.
    pub name: Option<String>,
    /// Its limit; the inner `None` takes the limit away.
    pub limit: Option<Option<PicoUsd>>,
    /// When its spending starts again from zero; the inner `None`: never.
    pub limit_reset: Option<Option<LimitReset>>,
    /// Whether it is refused.
    pub disabled: Option<bool>,
}

impl LimitReset {
    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

impl fmt::Display for LimitReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for LimitReset {
    type Err = UnknownReset;

    fn from_str(text: &str) -> Result<Self, UnknownReset> {
        let all = [Self::Daily, Self::Weekly, Self::Monthly];
        all.into_iter().find(|reset| reset.as_str() == text).ok_or(UnknownReset)
    }
}

impl NewKey {
    pub(super) fn to_json(&self) -> String {
        let mut members = vec![("name", text_of(&self.name)), ("limit", usd_of(self.limit))];
        // A limit of a life time has none.
        if let Some(reset) = self.limit_reset {
            members.push(("limit_reset", text_of(reset.as_str())));
        }
        if self.include_byok_in_limit {
            members.push(("include_byok_in_limit", true.to_string()));
        }
        object_of(&members)
    }
}

impl KeyChange {
    pub(super) fn to_json(&self) -> String {
        let mut members = Vec::new();
        if let Some(name) = &self.name {
            members.push(("name", text_of(name)));
        }
        if let Some(limit) = self.limit {
            members.push(("limit", usd_of(limit)));
        }
        if let Some(reset) = self.limit_reset {
            members.push(("limit_reset", reset.map_or_else(null, |reset| text_of(reset.as_str()))));
        }
        if let Some(disabled) = self.disabled {
            members.push(("disabled", disabled.to_string()));
        }
        object_of(&members)
    }
}

fn text_of(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A number in plain decimal digits: no float is between the amount and the wire.
fn usd_of(amount: Option<PicoUsd>) -> String {
    amount.map_or_else(null, |amount| amount.to_string())
}

fn null() -> String {
    "null".to_owned()
}

fn object_of(members: &[(&str, String)]) -> String {
    let members: Vec<String> =
        members.iter().map(|(name, value)| format!("{}:{value}", text_of(name))).collect();
    format!("{{{}}}", members.join(","))
}

pub(super) fn read_page(body: &[u8]) -> Result<Vec<KeyRecord>, ManagementError> {
    const EXPECTED: ManagementError = ManagementError::NotUnderstood { expected: "a list of keys" };
    let body = Object::read(body).ok_or(EXPECTED)?;
    let rows: Vec<&RawValue> =
        serde_json::from_str(body.raw("data").ok_or(EXPECTED)?).map_err(|_| EXPECTED)?;
    let keys: Option<Vec<KeyRecord>> =
        rows.into_iter().map(|row| key_of(&Object::read(row.get().as_bytes())?)).collect();
    keys.ok_or(EXPECTED)
}

pub(super) fn read_record(body: &[u8]) -> Result<KeyRecord, ManagementError> {
    let record = Object::read(body).and_then(|body| key_of(&body.object("data")?));
    record.ok_or(ManagementError::NotUnderstood { expected: "a key" })
}

/// The secret is a sibling of `data`.
pub(super) fn read_created(body: &[u8]) -> Option<CreatedKey> {
    let body = Object::read(body)?;
    let record = key_of(&body.object("data")?)?;
    Some(CreatedKey { record, secret: body.text("key")?.into() })
}

/// Only the hash must be there: without it a key cannot be named.
fn key_of(data: &Object<'_>) -> Option<KeyRecord> {
    let amount = |name| data.raw(name).filter(|text| PicoUsd::parse(text).is_ok()).map(str::to_owned);
    Some(KeyRecord {
        hash: data.text("hash")?,
        name: data.text("name").unwrap_or_default(),
        label: data.text("label").unwrap_or_default(),
        disabled: data.raw("disabled") == Some("true"),
        include_byok_in_limit: data.raw("include_byok_in_limit") == Some("true"),
        limit: amount("limit"),
        limit_remaining: amount("limit_remaining"),
        limit_reset: data.text("limit_reset"),
        usage: amount("usage"),
        usage_daily: amount("usage_daily"),
        usage_weekly: amount("usage_weekly"),
        usage_monthly: amount("usage_monthly"),
        created_at: data.text("created_at"),
        updated_at: data.text("updated_at"),
        expires_at: data.text("expires_at"),
        last_used_at: data.text("last_used_at"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> PicoUsd {
        PicoUsd::parse(text).unwrap().amount
    }

    #[test]
    fn a_new_key_is_plain_json() {
        let new = NewKey {
            name: "Zakład \"A\"".to_owned(),
            limit: Some(usd("250.50")),
            limit_reset: Some(LimitReset::Monthly),
            include_byok_in_limit: false,
        };
        assert_eq!(new.to_json(), r#"{"name":"Zakład \"A\"","limit":250.5,"limit_reset":"monthly"}"#);
        let new =
            NewKey { name: "A".to_owned(), limit: None, limit_reset: None, include_byok_in_limit: true };
        assert_eq!(new.to_json(), r#"{"name":"A","limit":null,"include_byok_in_limit":true}"#);
    }

    #[test]
    fn a_change_names_only_what_changes() {
        assert_eq!(KeyChange::default().to_json(), "{}");
        let change = KeyChange {
            name: Some("B".to_owned()),
            limit: Some(None),
            limit_reset: Some(None),
            disabled: Some(true),
        };
        assert_eq!(change.to_json(), r#"{"name":"B","limit":null,"limit_reset":null,"disabled":true}"#);
    }

    #[test]
    fn amounts_keep_their_digits() {
        let page = br#"{"data":[{"hash":"ab","name":"A","limit":50,"usage":0.000126255304,"usage_daily":8e-8,"usage_weekly":"x"}]}"#;
        let keys = read_page(page).unwrap();
        assert_eq!(keys[0].limit.as_deref(), Some("50"));
        assert_eq!(keys[0].usage.as_deref(), Some("0.000126255304"));
        assert_eq!(keys[0].usage_daily.as_deref(), Some("8e-8"));
        assert_eq!(keys[0].usage_weekly, None);
        assert!(read_page(br#"{"data":[{"name":"no hash"}]}"#).is_err());
        assert!(read_page(b"<html>").is_err());
        assert!(read_page(br#"{"data":{}}"#).is_err());
    }

    #[test]
    fn a_secret_stands_beside_the_record_and_does_not_show() {
        let created = read_created(br#"{"data":{"hash":"ab"},"key":"sk-or-v1-canary"}"#).unwrap();
        assert!(!format!("{created:?}").contains("canary"));
        assert!(read_created(br#"{"data":{"hash":"ab","key":"sk-or-v1-canary"}}"#).is_none());
    }

    #[test]
    fn a_reset_is_read_as_it_is_written() {
        for reset in [LimitReset::Daily, LimitReset::Weekly, LimitReset::Monthly] {
            assert_eq!(reset.as_str().parse(), Ok(reset));
        }
        assert_eq!("yearly".parse::<LimitReset>(), Err(UnknownReset));
    }
}
