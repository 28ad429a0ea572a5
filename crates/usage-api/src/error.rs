//! Errors of the usage API as problem details (RFC 9457). Causes stay in the log.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

/// Why a question is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("there is nothing at this address")]
    NotFound,
    #[error("this is not asked in this way; hint: /api/v1/usage/openapi.json")]
    MethodNotAllowed,
    #[error("nobody is signed in; hint: sign in to Open WebUI, or present USAGE_ADMIN_TOKEN as bearer")]
    NoCredentials,
    #[error(
        "the session has ended, or the token is not USAGE_ADMIN_TOKEN; hint: sign in to Open WebUI again"
    )]
    WrongCredentials,
    #[error("the usage API is not set up; hint: set OPENWEBUI_URL, or USAGE_ADMIN_TOKEN for tools")]
    NotSetUp,
    #[error("Open WebUI cannot be asked who is signed in; try again soon")]
    SessionsUnreachable(#[from] open_webui::SessionError),
    #[error("the account is not activated yet; hint: ask the administrator of Open WebUI")]
    Pending,
    #[error("only administrators see the organisation's usage; hint: one's own is under /api/v1/usage/me/")]
    NotAnAdmin,
    #[error(
        "the operator's token has no usage of its own; hint: leave `me/` out, and name a `user_id` where wanted"
    )]
    NobodysUsage,
    #[error("this is for the operator's token only")]
    NotTheOperator,
    #[error("{0}")]
    BadQuestion(String),
    #[error("{0}")]
    Refused(String),
    #[error("the ledger cannot be written just now; try again")]
    Unwritable(#[source] ledger::WriteError),
    #[error("too many live streams are open; try again later")]
    TooManyStreams,
    #[error("OpenRouter's prices are not known yet; they are asked for at every poll")]
    NoPrices,
    #[error("the ledger cannot be read just now; try again")]
    Unreadable(#[from] ledger::ReadError),
    #[error("the answer could not be made")]
    Internal(String),
}

/// What contradicts the books is told; what is wrong with the disk stays in the log.
impl From<ledger::WriteError> for ApiError {
    fn from(error: ledger::WriteError) -> Self {
        match error {
            ledger::WriteError::Refused(why) => Self::Refused(why),
            other => Self::Unwritable(other),
        }
    }
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::NoCredentials | Self::WrongCredentials | Self::NotSetUp => StatusCode::UNAUTHORIZED,
            Self::Pending | Self::NotAnAdmin | Self::NobodysUsage | Self::NotTheOperator => {
                StatusCode::FORBIDDEN
            }
            Self::BadQuestion(_) => StatusCode::BAD_REQUEST,
            Self::Refused(_) => StatusCode::CONFLICT,
            Self::SessionsUnreachable(_)
            | Self::TooManyStreams
            | Self::NoPrices
            | Self::Unreadable(_)
            | Self::Unwritable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn log(&self) {
        match self {
            Self::Unreadable(cause) => tracing::error!(%cause, "a question was not answered"),
            Self::Unwritable(cause) => tracing::error!(%cause, "a statement was not taken"),
            Self::Internal(cause) => tracing::error!(cause, "an answer could not be made"),
            Self::SessionsUnreachable(error) => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::warn!(%error, cause, "nobody can be let in");
            }
            _ => {}
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
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
