//! Who asks, and what he may see.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};
use open_webui::Identity;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::UsageApi;
use crate::error::ApiError;

/// Open `WebUI`'s cookie.
const SESSION_COOKIE: &str = "token";

/// Somebody who may read something.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// The service provider, by the operator's token.
    Operator,
    /// An administrator of the organisation's Open `WebUI`.
    Admin(Identity),
    /// Anybody else with an account there that is activated.
    Employee(Identity),
}

/// What a request may see. Every handler gets its own from the router it stands in.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) caller: Caller,
    /// Only this user's usage; `None` for the whole organisation's.
    pub(crate) own: Option<String>,
    /// Whether `OpenRouter`'s cost is told beside the charge.
    pub(crate) shows_cost: bool,
    /// What was presented, to be checked again while a stream lasts.
    pub(crate) credential: SecretString,
}

impl Caller {
    pub(crate) const fn identity(&self) -> Option<&Identity> {
        match self {
            Self::Operator => None,
            Self::Admin(identity) | Self::Employee(identity) => Some(identity),
        }
    }
}

/// Lets administrators and the operator see the organisation.
pub(crate) async fn the_organisation(
    State(api): State<Arc<UsageApi>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let view = view_of(&api, request.headers()).await?;
    if matches!(view.caller, Caller::Employee(_)) {
        return Err(ApiError::NotAnAdmin);
    }
    Ok(go_on(request, view, next).await)
}

/// Lets the operator alone.
pub(crate) async fn the_operator(
    State(api): State<Arc<UsageApi>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let view = view_of(&api, request.headers()).await?;
    if !matches!(view.caller, Caller::Operator) {
        return Err(ApiError::NotTheOperator);
    }
    Ok(go_on(request, view, next).await)
}

/// Lets everybody with an account see his own usage.
pub(crate) async fn oneself(
    State(api): State<Arc<UsageApi>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let view = view_of(&api, request.headers()).await?;
    let identity = view.caller.identity().ok_or(ApiError::NobodysUsage)?;
    let own = Some(identity.user_id.as_str().to_owned());
    Ok(go_on(request, View { own, ..view }, next).await)
}

/// Lets everybody see what is nobody's usage.
pub(crate) async fn anybody(
    State(api): State<Arc<UsageApi>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let view = view_of(&api, request.headers()).await?;
    Ok(go_on(request, view, next).await)
}

async fn go_on(mut request: Request, view: View, next: Next) -> Response {
    request.extensions_mut().insert(view);
    next.run(request).await
}

async fn view_of(api: &UsageApi, headers: &HeaderMap) -> Result<View, ApiError> {
    if api.options.admin_token.is_none() && api.options.sessions.is_none() {
        return Err(ApiError::NotSetUp);
    }
    let credential = credential(headers).ok_or(ApiError::NoCredentials)?;
    let caller = caller(api, &credential).await?;
    let shows_cost = api.options.show_cost || matches!(caller, Caller::Operator);
    Ok(View { caller, own: None, shows_cost, credential })
}

/// Whose `credential` it is.
pub(crate) async fn caller(api: &UsageApi, credential: &SecretString) -> Result<Caller, ApiError> {
    if let Some(token) = &api.options.admin_token {
        let same = credential.expose_secret().as_bytes().ct_eq(token.expose_secret().as_bytes());
        if bool::from(same) {
            return Ok(Caller::Operator);
        }
    }
    let sessions = api.options.sessions.as_ref().ok_or(ApiError::WrongCredentials)?;
    let identity = sessions.account(credential).await?.ok_or(ApiError::WrongCredentials)?;
    match identity.role.as_deref() {
        Some("admin") => Ok(Caller::Admin(identity)),
        Some("user") => Ok(Caller::Employee(identity)),
        _ => Err(ApiError::Pending),
    }
}

/// The bearer, or else the cookie that Open `WebUI` set. A bearer that is there and cannot be used is not passed over.
fn credential(headers: &HeaderMap) -> Option<SecretString> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        let token = token.trim();
        let is_bearer = scheme.eq_ignore_ascii_case("bearer") && !token.is_empty();
        return is_bearer.then(|| SecretString::from(token));
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let (_, token) = pairs.find(|(name, token)| *name == SESSION_COOKIE && !token.is_empty())?;
    Some(SecretString::from(token))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn presented(headers: &[(HeaderName, &'static str)]) -> Option<String> {
        let headers: HeaderMap =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        credential(&headers).map(|secret| secret.expose_secret().to_owned())
    }

    #[test]
    fn a_bearer_comes_before_the_cookie() {
        let cookie = (header::COOKIE, "theme=dark; token=abc; other=1");
        assert_eq!(presented(std::slice::from_ref(&cookie)).as_deref(), Some("abc"));
        assert_eq!(
            presented(&[cookie.clone(), (header::AUTHORIZATION, "bearer  xyz ")]).as_deref(),
            Some("xyz")
        );
        assert_eq!(presented(&[cookie, (header::AUTHORIZATION, "Basic xyz")]), None);
        assert_eq!(presented(&[(header::COOKIE, "mytoken=abc; token=")]), None);
        assert_eq!(presented(&[]), None);
    }
}
