//! Every JSON answer has an `ETag`, so that a page that asks again learns cheaply that nothing is new.

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;
use sha2::{Digest as _, Sha256};

use crate::error::ApiError;

/// Bytes of the digest that an `ETag` shows.
const SHOWN_BYTES: usize = 16;

/// Adds the `ETag`, answers 304 to who has the answer already, and lets nobody between keep a copy.
pub(crate) async fn with_etag(request: Request, next: Next) -> Response {
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let mut response = next.run(request).await;
    let private = HeaderValue::from_static("private, no-cache");
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(private);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Authorization, Cookie"));
    // A stream has no size that is known, and is new every time.
    let Some(size) = response.body().size_hint().exact() else { return response };
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(body) = to_bytes(body, usize::try_from(size).unwrap_or(usize::MAX)).await else {
        return ApiError::Internal("a body broke".to_owned()).into_response();
    };
    let digest = Sha256::digest(&body);
    let shown = digest.get(..SHOWN_BYTES).unwrap_or_default();
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(shown))) {
        if known.is_some_and(|known| names(&known, &etag)) {
            head.status = StatusCode::NOT_MODIFIED;
            head.headers.remove(header::CONTENT_LENGTH);
            head.headers.remove(header::CONTENT_TYPE);
            head.headers.insert(header::ETAG, etag);
            return Response::from_parts(head, Body::empty());
        }
        head.headers.insert(header::ETAG, etag);
    }
    Response::from_parts(head, Body::from(body))
}

/// Whether the list `known` names `etag`. A proxy that compresses makes it a weak one (`W/"…"`).
fn names(known: &HeaderValue, etag: &HeaderValue) -> bool {
    let (Ok(known), Ok(etag)) = (known.to_str(), etag.to_str()) else { return false };
    known.split(',').map(|one| one.trim().trim_start_matches("W/")).any(|one| one == etag || one == "*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_an_etag() {
        let etag = HeaderValue::from_static("\"abc\"");
        for (known, named) in [
            ("\"abc\"", true),
            ("W/\"abc\"", true),
            ("\"x\", \"abc\"", true),
            ("*", true),
            ("\"ab\"", false),
            ("", false),
        ] {
            assert_eq!(names(&HeaderValue::from_static(known), &etag), named, "{known}");
        }
    }
}
