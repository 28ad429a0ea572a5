//! Answers that are not the one asked for.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderName, StatusCode};

use crate::json::Object;

/// The account's own id, which errors carry and nobody should log.
const ACCOUNT_USER_ID: &str = "user_example";

/// A refusal, complete but for the headers that all answers share.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) message: String,
    metadata: Option<String>,
    headers: Vec<(&'static str, String)>,
    shape: Shape,
}

/// The forms in which a refusal is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Shape {
    /// `{"error":{code,message}}`.
    Plain,
    /// The same with the account's id beside it.
    WithAccount,
    /// `{"success":false,"error":{"name":"ZodError",…}}`.
    Validation,
    /// A page of the edge in front of the API; it has no generation id.
    Html,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), metadata: None, headers: Vec::new(), shape: Shape::Plain }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(crate) fn unknown_model(model: &str) -> Self {
        Self { shape: Shape::WithAccount, ..Self::bad_request(format!("{model} is not a valid model ID")) }
    }

    pub(crate) fn unknown_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "User not found.")
    }

    pub(crate) fn no_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "No cookie auth credentials found")
    }

    pub(crate) fn not_management() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Only management keys can perform this operation")
    }

    pub(crate) fn key_limit(period: &str) -> Self {
        let message = format!(
            "Key limit exceeded ({period} limit). Manage it using https://openrouter.ai/settings/keys"
        );
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(crate) fn validation(member: &str, problem: &str) -> Self {
        let message = format!(
            "[\n  {{\n    \"code\": \"invalid_type\",\n    \"path\": [\"{member}\"],\n    \"message\": \"{problem}\"\n  }}\n]"
        );
        Self { shape: Shape::Validation, ..Self::bad_request(message) }
    }

    pub(crate) fn html(status: StatusCode) -> Self {
        Self { shape: Shape::Html, ..Self::new(status, "") }
    }

    /// Whether the answer comes from the API itself, which then names a generation.
    pub(crate) const fn is_from_api(&self) -> bool {
        !matches!(self.shape, Shape::Html)
    }

    /// The refusal that a knob names.
    pub(crate) fn of_case(case: &str, model: &str) -> Option<Self> {
        match case {
            "401-no-key" => Some(Self::no_key()),
            "401-unknown-key" => Some(Self::unknown_key()),
            "400-model" => Some(Self::unknown_model(model)),
            "402-credits" => Some(Self::credits()),
            "402-in-flight" => Some(Self::in_flight()),
            "403-key-limit" => Some(Self::key_limit("monthly")),
            "403-not-management" => Some(Self::not_management()),
            "429-upstream" => Some(Self::upstream_rate(model)),
            "429-platform" => Some(Self::platform_rate()),
            "400-validation" => Some(Self::validation("messages", "Required")),
            status => {
                let (refuse, status): (fn(StatusCode) -> Self, _) = match status.strip_prefix("html-") {
                    Some(status) => (Self::html, status),
                    None => (Self::of_status, status),
                };
                StatusCode::from_bytes(status.as_bytes()).ok().map(refuse)
            }
        }
    }

    fn of_status(status: StatusCode) -> Self {
        let (message, error_type) = match status.as_u16() {
            400 => ("Bad request", "invalid_request"),
            401 => ("User not found.", "authentication"),
            402 => ("Insufficient credits", "payment_required"),
            403 => ("Forbidden", "permission_denied"),
            408 => ("Request timed out", "timeout"),
            413 => ("Request entity too large", "payload_too_large"),
            429 => ("Rate limit exceeded", "rate_limit_exceeded"),
            502 => ("Provider returned error", "provider_unavailable"),
            503 => ("No instances available", "provider_unavailable"),
            524 => ("Edge network timeout", "timeout"),
            529 => ("Provider overloaded", "provider_overloaded"),
            _ => ("Internal Server Error", "server"),
        };
        let metadata = Object::new().text("error_type", error_type).end();
        Self { metadata: Some(metadata), ..Self::new(status, message) }
    }

    fn credits() -> Self {
        let metadata = Object::new().text("limit_source", "openrouter_credits").text(
            "remedy_hint",
            "Add credits, or lower max_tokens / prompt size to fit your remaining balance.",
        );
        let message = "This request requires more credits, or fewer max_tokens. You requested up to 16384 tokens, but can only afford 3324.";
        Self {
            metadata: Some(metadata.end()),
            shape: Shape::WithAccount,
            ..Self::new(StatusCode::PAYMENT_REQUIRED, message)
        }
    }

    fn in_flight() -> Self {
        let metadata = Object::new()
            .text("reason", "in_flight_budget_exhausted")
            .text("limit_source", "openrouter_in_flight_budget");
        let message = "This request would exceed your available credits given your current in-flight requests. Retry after in-flight requests settle, or add credits.";
        Self {
            metadata: Some(metadata.end()),
            headers: vec![("retry-after", "5".to_owned())],
            ..Self::new(StatusCode::PAYMENT_REQUIRED, message)
        }
    }

    fn upstream_rate(model: &str) -> Self {
        let raw = format!("{model} is temporarily rate-limited upstream. Please retry shortly.");
        let metadata = Object::new()
            .text("raw", &raw)
            .text("provider_name", "ExampleHost")
            .flag("is_byok", false)
            .text("provider_error_code", "rate_limit_exceeded")
            .text("limit_source", "upstream_provider_shared_pool")
            .number("retry_after_seconds", 1)
            .object("headers", Object::new().text("Retry-After", "1"));
        Self {
            metadata: Some(metadata.end()),
            headers: vec![("retry-after", "1".to_owned())],
            shape: Shape::WithAccount,
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Provider returned error")
        }
    }

    fn platform_rate() -> Self {
        const RESET: &str = "1790035200000";
        let headers = Object::new()
            .text("X-RateLimit-Limit", "1000")
            .text("X-RateLimit-Remaining", "0")
            .text("X-RateLimit-Reset", RESET);
        let metadata =
            Object::new().object("headers", headers).text("limit_source", "openrouter_free_tier_daily");
        Self {
            metadata: Some(metadata.end()),
            headers: vec![
                ("x-ratelimit-limit", "1000".to_owned()),
                ("x-ratelimit-remaining", "0".to_owned()),
                ("x-ratelimit-reset", RESET.to_owned()),
            ],
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded: free-models-per-day. ")
        }
    }

    /// The same refusal in the shape of Anthropic's API.
    pub(crate) fn into_messages_response(self, request_id: &str) -> Response {
        if matches!(self.shape, Shape::Html) {
            return self.into_response();
        }
        let kind = match self.status.as_u16() {
            400 | 422 => "invalid_request_error",
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            529 => "overloaded_error",
            _ => "api_error",
        };
        let error = Object::new().text("type", kind).text("message", &self.message);
        let body = Object::new().text("type", "error").object("error", error).text("request_id", request_id);
        let mut response = json_response(self.status, body.end());
        add_headers(&mut response, self.headers);
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let error = || {
            let error =
                Object::new().text("message", &self.message).number("code", i64::from(self.status.as_u16()));
            match &self.metadata {
                Some(metadata) => error.raw("metadata", metadata),
                None => error,
            }
        };
        let mut response = match self.shape {
            Shape::Plain => json_response(self.status, Object::new().object("error", error()).end()),
            Shape::WithAccount => {
                let body = Object::new().object("error", error()).text("user_id", ACCOUNT_USER_ID);
                json_response(self.status, body.end())
            }
            Shape::Validation => {
                let error = Object::new().text("name", "ZodError").text("message", &self.message);
                json_response(self.status, Object::new().flag("success", false).object("error", error).end())
            }
            Shape::Html => {
                let page = "<!DOCTYPE html><html><head><title>OpenRouter</title></head><body><h1>This page could not be found.</h1></body></html>\n";
                (self.status, [(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
            }
        };
        add_headers(&mut response, self.headers);
        response
    }
}

/// A JSON answer.
pub(crate) fn json_response(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// A 200 with a JSON body.
pub(crate) fn ok(body: Object) -> Response {
    json_response(StatusCode::OK, body.end())
}

fn add_headers(response: &mut Response, headers: Vec<(&'static str, String)>) {
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(HeaderName::from_static(name), value);
        }
    }
}
