//! Who may read.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;
use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;

use crate::UsageApi;
use crate::error::ApiError;

/// Somebody who may read everything of the organisation.
pub(crate) struct Admin;

impl FromRequestParts<Arc<UsageApi>> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<UsageApi>) -> Result<Self, ApiError> {
        let token = api.options.admin_token.as_ref().ok_or(ApiError::NotSetUp)?;
        let presented = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .ok_or(ApiError::NoCredentials)?;
        let same: bool = presented.1.trim().as_bytes().ct_eq(token.expose_secret().as_bytes()).into();
        if same { Ok(Self) } else { Err(ApiError::WrongCredentials) }
    }
}
