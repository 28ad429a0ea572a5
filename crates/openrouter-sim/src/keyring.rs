//! API keys: known by their hash only.

use std::collections::HashMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::Options;
use crate::money::PicoUsd;

/// What a key may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum KeyKind {
    Inference,
    Management,
}

/// When the spending of a key starts again from zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LimitReset {
    Daily,
    Weekly,
    Monthly,
}

impl LimitReset {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "daily" => Some(Self::Daily),
            "weekly" => Some(Self::Weekly),
            "monthly" => Some(Self::Monthly),
            _ => None,
        }
    }

    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
        }
    }
}

/// A key without its secret.
#[derive(Clone, Debug)]
pub(crate) struct ApiKey {
    pub(crate) hash: String,
    pub(crate) kind: KeyKind,
    pub(crate) name: String,
    /// `sk-or-v1-0e6...1c9`.
    pub(crate) label: String,
    pub(crate) disabled: bool,
    pub(crate) limit: Option<PicoUsd>,
    pub(crate) limit_reset: Option<LimitReset>,
    pub(crate) include_byok_in_limit: bool,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: Option<i64>,
    pub(crate) expires_ms: Option<i64>,
    pub(crate) last_used_ms: Option<i64>,
    pub(crate) external_user: Option<String>,
    pub(crate) workspace_id: String,
}

impl ApiKey {
    /// A key with no limits, of which only hash and mask are kept.
    pub(crate) fn new(secret: &str, kind: KeyKind, name: &str, created_ms: i64) -> Self {
        Self {
            hash: sha256_hex(secret.as_bytes()),
            kind,
            name: name.to_owned(),
            label: mask(secret),
            disabled: false,
            limit: None,
            limit_reset: None,
            include_byok_in_limit: false,
            created_ms,
            updated_ms: None,
            expires_ms: None,
            last_used_ms: None,
            external_user: None,
            workspace_id: crate::account::WORKSPACE_ID.to_owned(),
        }
    }

    pub(crate) fn expired(&self, now_ms: i64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }
}

/// All keys of the account.
#[derive(Debug, Default)]
pub(crate) struct Keyring {
    by_hash: HashMap<String, ApiKey>,
    /// Hashes in the order of their creation.
    order: Vec<String>,
}

impl Keyring {
    pub(crate) fn from_options(options: &Options, now_ms: i64) -> Self {
        let mut keyring = Self::default();
        for (index, secret) in options.keys.iter().enumerate() {
            let name = if index == 0 { "default".to_owned() } else { format!("default-{index}") };
            keyring.insert(ApiKey::new(secret, KeyKind::Inference, &name, now_ms));
        }
        if let Some(secret) = &options.management_key {
            keyring.insert(ApiKey::new(secret, KeyKind::Management, "management", now_ms));
        }
        keyring
    }

    pub(crate) fn insert(&mut self, key: ApiKey) {
        let hash = key.hash.clone();
        if self.by_hash.insert(hash.clone(), key).is_none() {
            self.order.push(hash);
        }
    }

    pub(crate) fn find(&self, hash: &str) -> Option<&ApiKey> {
        self.by_hash.get(hash)
    }

    pub(crate) fn find_mut(&mut self, hash: &str) -> Option<&mut ApiKey> {
        self.by_hash.get_mut(hash)
    }

    pub(crate) fn remove(&mut self, hash: &str) -> Option<ApiKey> {
        self.order.retain(|known| known != hash);
        self.by_hash.remove(hash)
    }

    /// Inference keys, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = &ApiKey> {
        let keys = self.order.iter().rev().filter_map(|hash| self.by_hash.get(hash));
        keys.filter(|key| key.kind == KeyKind::Inference)
    }
}

/// The key in the value of an `Authorization` (or `x-api-key`) header.
pub(crate) fn bearer(value: &str) -> &str {
    let (scheme, rest) = value.split_at_checked(7).unwrap_or(("", value));
    if scheme.eq_ignore_ascii_case("bearer ") { rest.trim() } else { value.trim() }
}

/// Lower-case hex.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    let mut text = String::with_capacity(64);
    for byte in digest {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn mask(secret: &str) -> String {
    const SHOWN_FIRST: usize = 12;
    const SHOWN_LAST: usize = 3;
    let first: String = secret.chars().take(SHOWN_FIRST).collect();
    let length = secret.chars().count();
    let last: String = secret.chars().skip(length.saturating_sub(SHOWN_LAST)).collect();
    format!("{first}...{last}")
}
