//! Whose session a token is. Open `WebUI` itself is asked, so that every way to sign in works, and a role or a session that
//! was taken away is away here too, half a minute later.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use crate::identity::{Identity, believable};

/// How long an answer of Open `WebUI` is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(30);

/// How long Open `WebUI` may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions to Open `WebUI` at once: whoever guesses tokens must not keep it busy.
const QUESTIONS: usize = 16;

/// Sessions that are remembered; five to twenty people have one each.
const REMEMBERED: usize = 1_024;

/// Longest answer that is read. Open `WebUI`'s holds a picture.
const LONGEST_ANSWER_BYTES: usize = 4 * 1024 * 1024;

/// Longest token that is asked about.
const LONGEST_TOKEN_BYTES: usize = 8 * 1024;

/// The sessions of one Open `WebUI`.
#[derive(Debug)]
pub struct Sessions {
    http: reqwest::Client,
    url: String,
    remembered: Mutex<HashMap<Fingerprint, Arc<Slot>>>,
    questions: Semaphore,
}

/// SHA-256 of a token: the tokens themselves are not kept.
type Fingerprint = [u8; 32];

/// Its lock makes many questions at once one.
type Slot = Mutex<Option<Remembered>>;

#[derive(Debug, Clone)]
struct Remembered {
    account: Option<Identity>,
    until: Instant,
}

/// Open `WebUI` could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It did not answer.
    #[error("Open WebUI cannot be asked whose session it is: {0}")]
    Unreachable(#[source] reqwest::Error),
    /// What answered is not Open `WebUI`, or not well.
    #[error("Open WebUI's answer cannot be used: {0}")]
    Answer(String),
}

/// The part of an account that Open `WebUI` answers with and that is needed here.
#[derive(Deserialize)]
struct Account {
    id: String,
    name: Option<String>,
    email: Option<String>,
    role: Option<String>,
}

impl Sessions {
    /// The sessions of the Open `WebUI` at `base_url`, such as `http://open-webui:8080`.
    ///
    /// # Errors
    /// Where no HTTP client can be made.
    pub fn new(base_url: &str) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(PATIENCE)
            .build()?;
        let url = format!("{base_url}/api/v1/auths/");
        Ok(Self { http, url, remembered: Mutex::default(), questions: Semaphore::new(QUESTIONS) })
    }

    /// The account that `token` is a session of; `None` for no session.
    ///
    /// # Errors
    /// [`SessionError`] where Open `WebUI` cannot be asked. That is not remembered.
    pub async fn account(&self, token: &SecretString) -> Result<Option<Identity>, SessionError> {
        if token.expose_secret().len() > LONGEST_TOKEN_BYTES {
            return Ok(None);
        }
        let slot = self.slot(Sha256::digest(token.expose_secret()).into()).await;
        let mut remembered = slot.lock().await;
        if let Some(known) = remembered.as_ref().filter(|known| Instant::now() < known.until) {
            return Ok(known.account.clone());
        }
        let account = self.ask(token).await?;
        *remembered = Some(Remembered { account: account.clone(), until: Instant::now() + BELIEVED_FOR });
        Ok(account)
    }

    async fn slot(&self, token: Fingerprint) -> Arc<Slot> {
        let mut remembered = self.remembered.lock().await;
        if remembered.len() >= REMEMBERED && !remembered.contains_key(&token) {
            let now = Instant::now();
            // Who is asking just now has the slot locked.
            remembered.retain(|_, slot| match slot.try_lock() {
                Ok(known) => known.as_ref().is_some_and(|known| now < known.until),
                Err(_) => true,
            });
            if remembered.len() >= REMEMBERED {
                // Guessed tokens; that the sessions beside them are asked for again costs little.
                remembered.clear();
            }
        }
        remembered.entry(token).or_default().clone()
    }

    async fn ask(&self, token: &SecretString) -> Result<Option<Identity>, SessionError> {
        let _turn = self.questions.acquire().await;
        let request = self.http.get(&self.url).bearer_auth(token.expose_secret());
        let mut response = request.send().await.map_err(unreachable)?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Ok(None),
            other => return Err(SessionError::Answer(format!("HTTP status {}", other.as_u16()))),
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            if body.len() + piece.len() > LONGEST_ANSWER_BYTES {
                return Err(SessionError::Answer("it is too long".to_owned()));
            }
            body.extend_from_slice(&piece);
        }
        let account: Account = serde_json::from_slice(&body)
            .map_err(|_| SessionError::Answer("it is no account; hint: check OPENWEBUI_URL".to_owned()))?;
        believable(&account.id, account.name, account.email, account.role)
            .map(Some)
            .map_err(|error| SessionError::Answer(error.to_string()))
    }
}

/// The address is left out of what is told.
fn unreachable(error: reqwest::Error) -> SessionError {
    SessionError::Unreachable(error.without_url())
}
