//! The client: no redirects, no retries, no proxies from the environment, no decompression. A completion that was
//! sent must never be sent again by a library.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use jiff::{SignedDuration, Timestamp};
use metering::{Report, booked_model};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use crate::catalogue::{Catalogue, Offer, read_catalogue, read_offers};
use crate::generation::{GenerationAnswer, read_generation};
use crate::key::{KeyAnswer, read_key};
use crate::pieces::Pieces;
use crate::sender::{AnswerBody, SendError, Sender};

/// Who asks.
const USER_AGENT: &str = concat!("mai-usage/", env!("CARGO_PKG_VERSION"));

/// Longest time for the TCP and TLS handshakes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time for a whole question (`/generation`, `/key`, a list of models).
const QUESTION_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest answer to a question. The whole list of models is about 2 MB.
const LONGEST_ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// How long the names of the models are kept; new models come daily.
const CATALOGUE_KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);

/// How long a list that could not be had is not asked for again.
const CATALOGUE_PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// How long an entry waits for the names of the models.
const CATALOGUE_TIMEOUT: Duration = Duration::from_secs(5);

/// How `OpenRouter` is reached.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// `https://openrouter.ai/api/v1`, no slash at the end.
    pub base_url: String,
    /// The application's address, as `OpenRouter` shows it (`HTTP-Referer`).
    pub app_url: HeaderValue,
    /// The application's name, likewise (`X-Title`).
    pub app_title: HeaderValue,
}

/// A way to `OpenRouter`.
#[derive(Debug, Clone)]
pub struct Client {
    /// Completions.
    sender: Sender,
    /// Questions.
    http: reqwest::Client,
    options: ClientOptions,
    catalogue: Arc<Mutex<KeptCatalogue>>,
}

/// The names of the models as last told.
#[derive(Debug, Default)]
struct KeptCatalogue {
    catalogue: Catalogue,
    ask_again_at: Timestamp,
}

/// A whole answer to a question.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: http::StatusCode,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
    /// `OpenRouter`'s clock, as it says (`Date`).
    pub(crate) date: Option<String>,
}

/// The client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// For questions.
    #[error("cannot set up the way to OpenRouter: {0}")]
    Questions(#[from] reqwest::Error),
    /// For completions.
    #[error("cannot set up TLS to OpenRouter: {0}")]
    Completions(#[from] rustls::Error),
    /// The address cannot be read.
    #[error("the address of OpenRouter cannot be used: {0}")]
    Address(#[from] http::Error),
}

/// No answer came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpstreamError {
    /// Nothing was sent: the name, the port or the handshake failed.
    #[error("cannot reach OpenRouter: {0}")]
    Unreachable(String),
    /// The question may have been heard; its answer was cut or never came.
    #[error("no whole answer from OpenRouter: {0}")]
    Broken(String),
}

impl Client {
    /// A client that reaches `OpenRouter` as `options` say.
    ///
    /// # Errors
    /// [`ClientError`] where TLS cannot be set up.
    pub fn new(options: ClientOptions) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .user_agent(USER_AGENT)
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .build()?;
        let sender = Sender::new(&options.base_url, CONNECT_TIMEOUT)?;
        Ok(Self { sender, http, options, catalogue: Arc::default() })
    }

    /// Sends a completion and answers with the head, the body still to come. `headers` are what the caller may
    /// pass on; the key, the attribution and `Accept-Encoding: identity` are added here.
    ///
    /// # Errors
    /// [`UpstreamError::Unreachable`] where nothing was sent, [`UpstreamError::Broken`] where it may have been.
    pub async fn post(
        &self,
        endpoint: &str,
        mut headers: HeaderMap,
        body: Pieces,
        key: &SecretString,
    ) -> Result<http::Response<AnswerBody>, UpstreamError> {
        headers.extend(self.own_headers());
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        headers.insert(header::AUTHORIZATION, bearer(key)?);
        self.sender.post(endpoint, headers, body).await.map_err(|error| match error {
            SendError::Connect(error) => UpstreamError::Unreachable(innermost(&*error).to_string()),
            SendError::Sent(error) => UpstreamError::Broken(innermost(&error).to_string()),
        })
    }

    /// Closes connections for completions that are not used any more; to be called every now and then.
    pub fn tidy(&self) {
        self.sender.tidy();
    }

    /// Whether [`Self::with_known_name`] has no need to ask for the list of models.
    #[must_use]
    pub fn knows_name(&self, report: &Report, asked: &str, now: Timestamp) -> bool {
        other_name(report, asked).is_none()
            || self.catalogue.try_lock().is_ok_and(|kept| now < kept.ask_again_at)
    }

    /// The report with the name its model is asked for by instead of a slug, where the list of models can be had and
    /// knows it. Without that one model would have two rows: responses and records name it differently.
    pub async fn with_known_name(
        &self,
        mut report: Report,
        asked: &str,
        key: &SecretString,
        now: Timestamp,
    ) -> Report {
        let Some(served) = other_name(&report, asked) else { return report };
        let mut kept = self.catalogue.lock().await;
        if now >= kept.ask_again_at {
            let list = tokio::time::timeout(CATALOGUE_TIMEOUT, self.get("models", key)).await;
            let read = match list {
                Ok(Ok((http::StatusCode::OK, _, body))) => read_catalogue(&body),
                _ => None,
            };
            let good_for = if read.is_some() { CATALOGUE_KEPT_FOR } else { CATALOGUE_PAUSE };
            kept.ask_again_at = now.checked_add(good_for).unwrap_or(Timestamp::MAX);
            match read {
                Some(catalogue) => kept.catalogue = catalogue,
                None => {
                    tracing::warn!(
                        "the list of models cannot be had; models keep the names they are told by"
                    );
                }
            }
        }
        if let Some(name) = kept.catalogue.name_of(served, asked) {
            report.model = Some(name.to_owned());
        }
        report
    }

    /// What `OpenRouter` offers, and at which prices; `None` where the answer is no list.
    ///
    /// # Errors
    /// [`UpstreamError`] where no whole answer came.
    pub async fn offers(&self, key: &SecretString) -> Result<Option<Vec<Offer>>, UpstreamError> {
        let (status, _, body) = self.get("models", key).await?;
        Ok((status == http::StatusCode::OK).then(|| read_offers(&body)).flatten())
    }

    /// What `OpenRouter` billed for `generation_id`.
    ///
    /// # Errors
    /// [`UpstreamError`] where no whole answer came.
    pub async fn generation(
        &self,
        generation_id: &str,
        key: &SecretString,
    ) -> Result<GenerationAnswer, UpstreamError> {
        let query: String = percent_encode(generation_id);
        let (status, _, body) = self.get(&format!("generation?id={query}"), key).await?;
        Ok(match status.as_u16() {
            200 => read_generation(&body),
            404 => GenerationAnswer::NotFound,
            other => GenerationAnswer::Refused(format!("HTTP status {other}")),
        })
    }

    /// What `OpenRouter` says of `key`.
    ///
    /// # Errors
    /// [`UpstreamError`] where no whole answer came.
    pub async fn key(&self, key: &SecretString) -> Result<KeyAnswer, UpstreamError> {
        Ok(self.key_and_date(key).await?.0)
    }

    /// As [`key`](Self::key), with the clock of `OpenRouter` where it tells it: to the second.
    ///
    /// # Errors
    /// As [`key`](Self::key).
    pub async fn key_and_date(
        &self,
        key: &SecretString,
    ) -> Result<(KeyAnswer, Option<Timestamp>), UpstreamError> {
        let Answer { status, body, date, .. } = self.ask(http::Method::GET, "key", key, None).await?;
        let answer = match status.as_u16() {
            200 => read_key(&body),
            401 | 403 => KeyAnswer::Rejected,
            other => KeyAnswer::Refused(format!("HTTP status {other}")),
        };
        let date = date.and_then(|date| jiff::fmt::rfc2822::parse(&date).ok());
        Ok((answer, date.map(|date| date.timestamp())))
    }

    /// Asks a free question and answers with its status, content type and body.
    ///
    /// # Errors
    /// [`UpstreamError`] where no whole answer came.
    pub async fn get(
        &self,
        path_and_query: &str,
        key: &SecretString,
    ) -> Result<(http::StatusCode, Option<HeaderValue>, Bytes), UpstreamError> {
        let answer = self.ask(http::Method::GET, path_and_query, key, None).await?;
        Ok((answer.status, answer.content_type, answer.body))
    }

    /// Asks a question, or for a change of the account where there is a body of JSON. It is sent once.
    pub(crate) async fn ask(
        &self,
        method: http::Method,
        path_and_query: &str,
        key: &SecretString,
        json: Option<String>,
    ) -> Result<Answer, UpstreamError> {
        let mut request = self
            .http
            .request(method, self.url(path_and_query))
            .headers(self.own_headers())
            .header(header::ACCEPT, "application/json")
            .timeout(QUESTION_TIMEOUT)
            .bearer_auth(key.expose_secret());
        if let Some(json) = json {
            request = request.header(header::CONTENT_TYPE, "application/json").body(json);
        }
        let mut response = request.send().await.map_err(|error| describe(&error))?;
        let content_type = response.headers().get(header::CONTENT_TYPE).cloned();
        let date =
            response.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(str::to_owned);
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| describe(&error))? {
            if body.len() + piece.len() > LONGEST_ANSWER_BYTES {
                return Err(UpstreamError::Broken("the answer is too long".to_owned()));
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status: response.status(), content_type, body: body.into(), date })
    }

    fn url(&self, path_and_query: &str) -> String {
        format!("{}/{path_and_query}", self.options.base_url)
    }

    fn own_headers(&self) -> HeaderMap {
        HeaderMap::from_iter([
            (header::ACCEPT_ENCODING, HeaderValue::from_static("identity")),
            (http::HeaderName::from_static("http-referer"), self.options.app_url.clone()),
            (http::HeaderName::from_static("x-title"), self.options.app_title.clone()),
        ])
    }
}

/// The key as a header that no `Debug` shows.
/// The name a report tells, where it is not the one the model was asked for by.
fn other_name<'a>(report: &'a Report, asked: &str) -> Option<&'a str> {
    report.model.as_deref().filter(|served| booked_model(asked, Some(served)) != asked)
}

fn bearer(key: &SecretString) -> Result<HeaderValue, UpstreamError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()))
        .map_err(|_| UpstreamError::Unreachable("the key cannot be sent in a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// What went wrong in a question. Addresses of requests are left out: a query may carry an id.
fn describe(error: &reqwest::Error) -> UpstreamError {
    let words = if error.is_timeout() { "timed out".to_owned() } else { innermost(error).to_string() };
    // A request that could not even be made was not sent.
    if error.is_connect() || error.is_builder() {
        UpstreamError::Unreachable(words)
    } else {
        UpstreamError::Broken(words)
    }
}

/// The innermost cause.
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}

/// Everything but letters, digits and `-_.~` as `%XX`.
pub(crate) fn percent_encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            use std::fmt::Write as _;
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_query() {
        assert_eq!(percent_encode("gen-1_a.b~c"), "gen-1_a.b~c");
        assert_eq!(percent_encode("gen-1&x=/../ é"), "gen-1%26x%3D%2F..%2F%20%C3%A9");
    }
}
