//! A client's running sidecar, asked over its usage listener with the operator's token.

use std::time::Duration;

use reqwest::StatusCode;
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

/// What `/health` says.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Health {
    /// `ok`, `degraded` or `unavailable`.
    pub(crate) status: String,
    /// The program's version.
    pub(crate) version: String,
    /// What is not as it should be, in words.
    pub(crate) reasons: Vec<String>,
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

    /// How it says that it is: `/health` answers with the same words whether it can work or not.
    pub(crate) async fn health(&self) -> Result<Health, SidecarError> {
        let (status, bytes) = self.send(self.http.get(format!("{}/health", self.base))).await?;
        let can_work = status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE;
        self.read(if can_work { StatusCode::OK } else { status }, &bytes)
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, SidecarError> {
        let (status, bytes) = self.send(request).await?;
        self.read(status, &bytes)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), SidecarError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        let broken = |error: reqwest::Error| self.unexpected(&error.without_url());
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                SidecarError::Silent { address: self.base.clone() }
            } else {
                broken(error)
            }
        })?;
        let status = response.status();
        Ok((status, response.bytes().await.map_err(broken)?.to_vec()))
    }

    fn read<T: DeserializeOwned>(&self, status: StatusCode, bytes: &[u8]) -> Result<T, SidecarError> {
        if !status.is_success() {
            let told =
                serde_json::from_slice(bytes).map_or_else(|_| String::new(), |told: Problem| told.detail);
            return Err(SidecarError::Status { address: self.base.clone(), status: status.as_u16(), told });
        }
        serde_json::from_slice(bytes).map_err(|error| self.unexpected(&error))
    }

    fn unexpected(&self, why: &dyn std::error::Error) -> SidecarError {
        SidecarError::Answer { address: self.base.clone(), why: why.to_string() }
    }
}
