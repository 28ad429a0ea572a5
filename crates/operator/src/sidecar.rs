//! A client's running sidecar, asked over its usage listener with the operator's token.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clients::Client;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest wait for a connection: it is on this host.
const CONNECT: Duration = Duration::from_secs(2);

/// A client's running sidecar.
#[derive(Debug, Clone)]
pub(crate) struct Sidecar {
    http: reqwest::Client,
    base: String,
    token: Option<SecretString>,
}

/// Why a sidecar did not answer.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// Nobody listens there.
    #[error(
        "the sidecar at {address} does not answer; hint: is it running? `docker-compose ps` in the client's folder"
    )]
    Silent {
        /// Where it should be.
        address: String,
    },
    /// It answered with an error.
    #[error("the sidecar at {address} answered with HTTP status {status}: {told}")]
    Status {
        /// Where it is.
        address: String,
        /// The status.
        status: u16,
        /// What it told.
        told: String,
    },
    /// It broke off, or what it told is not what was asked for.
    #[error("the sidecar at {address} did not answer as expected: {why}")]
    Answer {
        /// Where it is.
        address: String,
        /// What was wrong.
        why: String,
    },
}

/// What the API tells beside an error's status (RFC 9457).
#[derive(serde::Deserialize)]
struct Problem {
    detail: String,
}

impl Sidecar {
    /// The sidecar of `client`.
    pub(crate) fn of(client: &Client) -> Self {
        Self::at(client.usage_port(), client.env.get("USAGE_ADMIN_TOKEN").map(Into::into))
    }

    /// The sidecar whose usage listener has `port` on this host's loopback.
    pub(crate) fn at(port: u16, token: Option<SecretString>) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .timeout(PATIENCE)
            .build()
            .unwrap_or_default();
        Self { http, base: format!("http://127.0.0.1:{port}"), token }
    }

    /// What it answers under `path`, which begins with a slash.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, SidecarError> {
        self.ask(self.http.get(format!("{}{path}", self.base))).await
    }

    /// Sends `body` to `path` and answers what comes back.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &(impl Serialize + Sync),
    ) -> Result<T, SidecarError> {
        self.ask(self.http.post(format!("{}{path}", self.base)).json(body)).await
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, SidecarError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        let address = || self.base.clone();
        let broken = |error: reqwest::Error| SidecarError::Answer {
            address: address(),
            why: error.without_url().to_string(),
        };
        let response = request.send().await.map_err(|error| {
            if error.is_connect() { SidecarError::Silent { address: address() } } else { broken(error) }
        })?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(broken)?;
        if !status.is_success() {
            let told =
                serde_json::from_slice(&bytes).map_or_else(|_| String::new(), |told: Problem| told.detail);
            return Err(SidecarError::Status { address: address(), status: status.as_u16(), told });
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| SidecarError::Answer { address: address(), why: error.to_string() })
    }
}
