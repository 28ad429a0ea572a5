//! Why a request is refused, in OpenAI's error shape: Open `WebUI` shows the message word for word.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use ledger::WriteError;
use openrouter::UpstreamError;

/// Everything a caller can be refused for. The text says what happened and what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this path is not offered; see the documentation of mai-usage for the list")]
    NoSuchRoute,
    #[error(
        "no API key was sent; set the key of this connection to the sidecar's token or to the OpenRouter key"
    )]
    NoKey,
    #[error("the API key is not the one of this organisation; check the key of this connection")]
    WrongKey,
    #[error("the API key is a management key; use the organisation's own OpenRouter key here")]
    ManagementKey,
    #[error("the API key could not be checked with OpenRouter just now; nothing was sent, try again")]
    KeyNotChecked(#[source] UpstreamError),
    #[error(
        "no OpenRouter key is known yet; set OPENROUTER_API_KEY, or type the key into Settings → Connections"
    )]
    NoOpenRouterKey,
    #[error("the request is not a JSON object: {0}")]
    NotJson(String),
    #[error("the form of the request cannot be read: {0}")]
    NotForm(&'static str),
    #[error("the request nests deeper than {0} levels")]
    TooDeep(usize),
    #[error("the request is larger than {0} MiB")]
    TooLarge(usize),
    #[error("the request's body did not arrive in time; nothing was sent")]
    TooSlow,
    #[error("the request's body broke off; nothing was sent")]
    BrokenBody,
    #[error("too many calls are under way; nothing was sent, try again")]
    Busy,
    #[error(
        "the call could not be written down, so it was not sent; try again, and tell the operator if it stays"
    )]
    NotRecorded(#[source] WriteError),
    #[error("the answer could not be written down and was not passed on; tell the operator")]
    AnswerNotRecorded,
    #[error("OpenRouter cannot be reached; nothing was sent and nothing was charged, try again")]
    Unreachable(#[source] UpstreamError),
    #[error("OpenRouter cannot be asked for this list just now; try again")]
    NoList(#[source] UpstreamError),
    #[error("OpenRouter's answer broke off before it began; if it was charged, it will be accounted for")]
    Broken(#[source] UpstreamError),
    #[error("OpenRouter did not begin to answer in time; if it was charged, it will be accounted for")]
    NoHead,
    #[error("OpenRouter answered {0} with something that is not JSON; try again")]
    NotAnApiAnswer(StatusCode),
    #[error(
        "the service stopped before OpenRouter began to answer; if it was charged, it will be accounted for"
    )]
    Stopped,
}

impl Refusal {
    /// Whether the caller showed no key that is known to be valid.
    pub(crate) fn is_of_a_stranger(&self) -> bool {
        matches!(
            self,
            Self::NoSuchRoute | Self::NoKey | Self::WrongKey | Self::ManagementKey | Self::KeyNotChecked(_)
        )
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NoSuchRoute => StatusCode::NOT_FOUND,
            Self::NoKey | Self::WrongKey | Self::ManagementKey => StatusCode::UNAUTHORIZED,
            Self::NotJson(_) | Self::NotForm(_) | Self::TooDeep(_) | Self::BrokenBody => {
                StatusCode::BAD_REQUEST
            }
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::NoOpenRouterKey
            | Self::Busy
            | Self::NotRecorded(_)
            | Self::AnswerNotRecorded
            | Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoHead => StatusCode::GATEWAY_TIMEOUT,
            Self::NotAnApiAnswer(status) if status.is_client_error() || status.is_server_error() => *status,
            Self::KeyNotChecked(_)
            | Self::Unreachable(_)
            | Self::NoList(_)
            | Self::Broken(_)
            | Self::NotAnApiAnswer(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// Whether the call was sent, so that trying again may cost twice.
    const fn may_be_charged(&self) -> bool {
        matches!(self, Self::AnswerNotRecorded | Self::Broken(_) | Self::NoHead | Self::Stopped)
    }

    /// OpenAI's word for the kind of error.
    fn kind(&self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, may_be_charged) = (self.status(), self.may_be_charged());
        if status.is_server_error() {
            let cause = std::error::Error::source(&self).map(ToString::to_string);
            tracing::warn!(status = status.as_u16(), cause, "refused: {self}");
        } else {
            tracing::debug!(status = status.as_u16(), "refused: {self}");
        }
        let error = serde_json::json!({
            "message": self.to_string(), "type": self.kind(), "param": null, "code": status.as_u16(),
        });
        let mut response = (status, Json(serde_json::json!({ "error": error }))).into_response();
        if may_be_charged {
            // OpenAI's clients would otherwise try again by themselves, and the user would pay twice.
            response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
