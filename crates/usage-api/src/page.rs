//! The files of the page, embedded: `<mai-usage>` and the document that shows it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::UsageApi;
use crate::error::ApiError;

/// `page/`.
#[derive(RustEmbed)]
#[folder = "page/"]
struct Page;

pub(crate) async fn to_the_index() -> Redirect {
    Redirect::permanent("/usage/")
}

pub(crate) async fn index(state: State<Arc<UsageApi>>, headers: HeaderMap) -> Result<Response, ApiError> {
    file(state, Path("index.html".to_owned()), headers).await
}

pub(crate) async fn file(
    State(api): State<Arc<UsageApi>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let EmbeddedFile { data, metadata } = Page::get(&name).ok_or(ApiError::NotFound)?;
    let etag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(metadata.sha256_hash()));
    let is_known =
        headers.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == etag.as_bytes());
    let mut response =
        if is_known { StatusCode::NOT_MODIFIED.into_response() } else { data.into_owned().into_response() };
    let answer = response.headers_mut();
    answer.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type(&name)));
    answer.insert(header::CONTENT_SECURITY_POLICY, api.page_policy.clone());
    // A new version is seen at once; an old one costs no more than a question.
    answer.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        answer.insert(header::ETAG, etag);
    }
    Ok(response)
}

/// What the page may do: load its own files and ask its own API; nothing inline, nothing from elsewhere.
pub(crate) fn policy(frame_ancestors: &HeaderValue) -> HeaderValue {
    const RULES: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                         base-uri 'none'; form-action 'none'; frame-ancestors ";
    let whole = [RULES.as_bytes(), frame_ancestors.as_bytes()].concat();
    HeaderValue::from_bytes(&whole).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}
