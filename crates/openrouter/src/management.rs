//! `/keys`: making, listing, changing and deleting the account's keys, with a management key; and the account's statement.
//!
//! A secret is told once, when its key is made. There is no idempotency key: a `POST` whose answer was lost may have made a
//! key that nobody can use, so it is never sent again from here, and the error says that the outcome is unknown.

use http::{Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};

use crate::catalogue::{Catalogue, read_catalogue};
use crate::client::{Answer, Client, UpstreamError, percent_encode};
use crate::json::Object;
use records::{read_created, read_page, read_record};

mod records;
mod statement;

pub use records::{CreatedKey, KeyChange, KeyRecord, LimitReset, NewKey, UnknownReset};
pub use statement::{StatedBy, StatementAnswer, StatementQuestion, StatementRow, StatementTerms};

/// Keys on a full page; a shorter one is the last.
const PAGE_KEYS: usize = 100;

/// The most pages that are followed: 100,000 keys. An account that has more, or a list without an end, is an error.
const MOST_PAGES: usize = 1_000;

/// The longest part of a refusal's own words that is repeated.
const LONGEST_WORDS_CHARS: usize = 300;

/// A way to manage the account's keys.
#[derive(Debug, Clone)]
pub struct Management {
    client: Client,
    key: SecretString,
}

/// What managing keys can come to, by what the caller can do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManagementError {
    /// 401.
    #[error(
        "OpenRouter does not accept this as a management key (HTTP 401); hint: make one at \
         https://openrouter.ai/settings/management-keys"
    )]
    Rejected,
    /// 403.
    #[error(
        "this is not a management key (HTTP 403), or it may not do this; hint: make one at \
         https://openrouter.ai/settings/management-keys"
    )]
    NotManagement,
    /// 404.
    #[error("OpenRouter has no key {hash}; hint: mai-usage keys list")]
    NotFound {
        /// The key's hash.
        hash: String,
    },
    /// 429. Nothing was changed.
    #[error("OpenRouter is asked too often (HTTP 429); hint: run it again in a minute")]
    TooOften,
    /// Another refusal. Nothing was changed, or so it says.
    #[error("OpenRouter refused (HTTP {status}): {words}")]
    Refused {
        /// The status.
        status: u16,
        /// Its words, cut.
        words: String,
    },
    /// No whole answer to a question.
    #[error(transparent)]
    NoAnswer(#[from] UpstreamError),
    /// An answer that cannot be read.
    #[error("OpenRouter's answer is not {expected}; nothing can be concluded from it")]
    NotUnderstood {
        /// What it should have been.
        expected: &'static str,
    },
    /// The analytics have no such metric or dimension.
    #[error(
        "OpenRouter's analytics have no {what} any more; without it there is no statement to compare with"
    )]
    Lacks {
        /// Its name.
        what: &'static str,
    },
    /// A key may have been made whose secret nobody knows.
    #[error("it is not known whether OpenRouter made the key {name:?}: {why}")]
    MaybeMade {
        /// The key's name.
        name: String,
        /// What came instead of an answer.
        why: String,
    },
    /// More pages than any account fills.
    #[error("the list of keys has no end after {MOST_PAGES} pages")]
    Endless,
}

impl Management {
    /// Manages the account of the management key `key` through `client`.
    #[must_use]
    pub const fn new(client: Client, key: SecretString) -> Self {
        Self { client, key }
    }

    /// Every key of the default workspace, newest first, disabled and expired ones included.
    ///
    /// # Errors
    /// [`ManagementError`]; nothing was changed.
    pub async fn list(&self) -> Result<Vec<KeyRecord>, ManagementError> {
        let mut keys: Vec<KeyRecord> = Vec::new();
        for _ in 0..MOST_PAGES {
            let offset = keys.len();
            let path = format!("keys?include_disabled=true&include_expired=true&offset={offset}");
            let answer = self.client.ask(Method::GET, &path, &self.key, None).await?;
            let page = read_page(&self.success(&answer, "")?.body)?;
            let is_last = page.len() < PAGE_KEYS;
            keys.extend(page);
            if is_last {
                return Ok(without_repeated(keys));
            }
        }
        Err(ManagementError::Endless)
    }

    /// The key that is called `hash`.
    ///
    /// # Errors
    /// [`ManagementError`]; nothing was changed.
    pub async fn show(&self, hash: &str) -> Result<KeyRecord, ManagementError> {
        let answer = self.client.ask(Method::GET, &path_of(hash), &self.key, None).await?;
        read_record(&self.success(&answer, hash)?.body)
    }

    /// Makes a key. It is asked for once.
    ///
    /// # Errors
    /// [`ManagementError::MaybeMade`] where a key may exist whose secret is lost; after any other none was made.
    pub async fn create(&self, new: &NewKey) -> Result<CreatedKey, ManagementError> {
        let maybe_made = |why: String| ManagementError::MaybeMade { name: new.name.clone(), why };
        let asked = self.client.ask(Method::POST, "keys", &self.key, Some(new.to_json())).await;
        let answer = match asked {
            Ok(answer) => answer,
            Err(error @ UpstreamError::Unreachable(_)) => return Err(error.into()),
            Err(UpstreamError::Broken(why)) => return Err(maybe_made(why)),
        };
        // What an edge in front of the API answers says nothing about what happened behind it.
        if answer.status.is_server_error() || answer.status == StatusCode::REQUEST_TIMEOUT {
            return Err(maybe_made(format!("HTTP status {}", answer.status.as_u16())));
        }
        let body = &self.success(&answer, "")?.body;
        read_created(body).ok_or_else(|| maybe_made("the answer is no key with its secret".to_owned()))
    }

    /// Changes a key and answers what it is then. The same change twice is one.
    ///
    /// # Errors
    /// [`ManagementError`]; after [`ManagementError::NoAnswer`] it may have been changed.
    pub async fn update(&self, hash: &str, change: &KeyChange) -> Result<KeyRecord, ManagementError> {
        let body = Some(change.to_json());
        let answer = self.client.ask(Method::PATCH, &path_of(hash), &self.key, body).await?;
        read_record(&self.success(&answer, hash)?.body)
    }

    /// Deletes a key, for ever. One that is gone already is gone.
    ///
    /// # Errors
    /// [`ManagementError`]; after [`ManagementError::NoAnswer`] it may be gone.
    pub async fn delete(&self, hash: &str) -> Result<(), ManagementError> {
        let answer = self.client.ask(Method::DELETE, &path_of(hash), &self.key, None).await?;
        match self.success(&answer, hash) {
            Ok(_) | Err(ManagementError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The name people know for each slug by which statements tell a model; a slug that has none is left out.
    ///
    /// # Errors
    /// [`ManagementError`]; nothing is changed by asking.
    pub async fn model_names(&self) -> Result<std::collections::HashMap<String, String>, ManagementError> {
        let answer = self.client.ask(Method::GET, "models", &self.key, None).await?;
        let names = read_catalogue(&self.success(&answer, "")?.body).map(Catalogue::into_names);
        names.ok_or(ManagementError::NotUnderstood { expected: "a list of models" })
    }

    /// The answer, where it is one of success.
    fn success<'a>(&self, answer: &'a Answer, hash: &str) -> Result<&'a Answer, ManagementError> {
        Err(match answer.status.as_u16() {
            200..=299 => return Ok(answer),
            401 => ManagementError::Rejected,
            403 => ManagementError::NotManagement,
            404 if !hash.is_empty() => ManagementError::NotFound { hash: hash.to_owned() },
            429 => ManagementError::TooOften,
            status => ManagementError::Refused { status, words: self.words_of(&answer.body) },
        })
    }

    /// The refusal's message. It comes from outside: without the key, which a proxy might repeat, without control
    /// characters, and cut.
    fn words_of(&self, body: &[u8]) -> String {
        let message = Object::read(body).and_then(|body| body.object("error")?.text("message"));
        let Some(message) = message else { return "no reason was given".to_owned() };
        let message = message.replace(self.key.expose_secret(), "…");
        message
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .take(LONGEST_WORDS_CHARS)
            .collect()
    }
}

fn path_of(hash: &str) -> String {
    format!("keys/{}", percent_encode(hash))
}

/// A key that was made while the pages were read moves all others: one stands on two pages then.
fn without_repeated(mut keys: Vec<KeyRecord>) -> Vec<KeyRecord> {
    let mut seen = std::collections::HashSet::new();
    keys.retain(|key| seen.insert(key.hash.clone()));
    keys
}
