//! Errors of the usage API as problem details (RFC 9457). Causes stay in the log.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("there is nothing at this address")]
    NotFound,
    #[error("a bearer token is needed: the operator's USAGE_ADMIN_TOKEN")]
    NoCredentials,
    #[error("the bearer token is not the operator's USAGE_ADMIN_TOKEN")]
    WrongCredentials,
    #[error("the usage API is not set up; hint: set USAGE_ADMIN_TOKEN")]
    NotSetUp,
    #[error("the ledger cannot be read just now; try again")]
    Unreadable(#[from] ledger::ReadError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NoCredentials | Self::WrongCredentials | Self::NotSetUp => StatusCode::UNAUTHORIZED,
            Self::Unreadable(cause) => {
                tracing::error!(%cause, "a question was not answered");
                StatusCode::SERVICE_UNAVAILABLE
            }
        };
        let problem = serde_json::json!({
            "type": "about:blank", "title": status.canonical_reason(), "status": status.as_u16(),
            "detail": self.to_string(),
        });
        let mut response = (status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
