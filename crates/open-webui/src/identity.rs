//! The asker of a call, read from the headers Open `WebUI` adds with `ENABLE_FORWARD_USER_INFO_HEADERS`.

use http::HeaderMap;
use jiff::Timestamp;
use metering::{UNATTRIBUTED, UserId};
use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use crate::signed::read_signed;

/// Longest id, name, address or role that is believed. Open `WebUI`'s are far shorter.
const LONGEST_VALUE_BYTES: usize = 512;

/// An account of the organisation's Open `WebUI`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The account's id.
    pub user_id: UserId,
    /// Its name, where told.
    pub name: Option<String>,
    /// Its e-mail address, where told.
    pub email: Option<String>,
    /// `admin`, `user` or `pending`, where told.
    pub role: Option<String>,
}

/// What is believed.
#[derive(Debug, Clone)]
pub enum IdentitySource {
    /// The plain headers: right as long as only Open `WebUI` can reach the proxy.
    PlainHeaders,
    /// Only `X-OpenWebUI-User-Jwt`, signed with this secret (Open `WebUI`'s
    /// `FORWARD_USER_INFO_HEADER_JWT_SECRET`).
    SignedHeader(SecretString),
}

/// Why an identity that was told is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A header is too long, not text, or there twice.
    #[error("the user headers are malformed")]
    Malformed,
    /// The signed header has another signature, is expired or was not made by Open `WebUI`.
    #[error("the signed user header is not valid")]
    NotValid,
}

impl IdentitySource {
    /// The asker; `None` where nobody is named (the switch is off, or the caller is no person).
    ///
    /// # Errors
    /// [`IdentityError`] where somebody is named but not believed.
    pub fn identify(&self, headers: &HeaderMap, now: Timestamp) -> Result<Option<Identity>, IdentityError> {
        match self {
            Self::PlainHeaders => read_plain(headers),
            Self::SignedHeader(secret) => match single(headers, "x-openwebui-user-jwt")? {
                None => Ok(None),
                Some(token) => read_signed(token, secret, now).map(Some),
            },
        }
    }
}

fn read_plain(headers: &HeaderMap) -> Result<Option<Identity>, IdentityError> {
    let Some(user_id) = single(headers, "x-openwebui-user-id")? else { return Ok(None) };
    let text = |name| Ok(single(headers, name)?.map(str::to_owned));
    // Only the name is percent-encoded, and a literal `%` in it is `%25`.
    let name = match single(headers, "x-openwebui-user-name")? {
        None => None,
        Some(name) => {
            let decoded = percent_decode_str(name).decode_utf8().map_err(|_| IdentityError::Malformed)?;
            Some(decoded.into_owned())
        }
    };
    believable(user_id, name, text("x-openwebui-user-email")?, text("x-openwebui-user-role")?).map(Some)
}

/// An identity whose parts are short enough, and whose id is not the one kept for nobody.
pub(crate) fn believable(
    user_id: &str,
    name: Option<String>,
    email: Option<String>,
    role: Option<String>,
) -> Result<Identity, IdentityError> {
    let told = [Some(user_id), name.as_deref(), email.as_deref(), role.as_deref()];
    let sound = |text: &str| text.len() <= LONGEST_VALUE_BYTES && !text.chars().any(char::is_control);
    if user_id.is_empty() || user_id == UNATTRIBUTED || !told.into_iter().flatten().all(sound) {
        return Err(IdentityError::Malformed);
    }
    Ok(Identity { user_id: UserId::new(user_id), name, email, role })
}

/// The header's text; `None` where it is missing or empty.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, IdentityError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(IdentityError::Malformed);
    }
    // An e-mail address comes raw, and may hold UTF-8.
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| IdentityError::Malformed)?.trim();
    Ok(Some(text).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn identify(headers: &[(&str, &[u8])]) -> Result<Option<Identity>, IdentityError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value).unwrap(),
            );
        }
        IdentitySource::PlainHeaders.identify(&map, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_recorded_headers() {
        let identity = identify(&[
            ("x-openwebui-user-name", b"Anna %C5%BB%C3%B3%C5%82%C4%87 100%25+1"),
            ("x-openwebui-user-id", b"8b216b38-ee09-4853-8742-6e136d2295b6"),
            ("x-openwebui-user-email", "żółć@example.com".as_bytes()),
            ("x-openwebui-user-role", b"admin"),
        ]);
        let identity = identity.unwrap().unwrap();
        assert_eq!(identity.user_id.as_str(), "8b216b38-ee09-4853-8742-6e136d2295b6");
        assert_eq!(identity.name.as_deref(), Some("Anna Żółć 100%+1"));
        assert_eq!(identity.email.as_deref(), Some("żółć@example.com"));
        assert_eq!(identity.role.as_deref(), Some("admin"));
    }

    #[test]
    fn nobody_is_nobody() {
        assert_eq!(identify(&[]), Ok(None));
        assert_eq!(identify(&[("x-openwebui-user-id", b" ")]), Ok(None));
        assert_eq!(identify(&[("x-openwebui-user-name", b"Anna")]), Ok(None));
    }

    #[test]
    fn malformed_headers_are_not_believed() {
        let long = [b'x'; LONGEST_VALUE_BYTES + 1];
        for headers in [
            &[("x-openwebui-user-id", &b"a"[..]), ("x-openwebui-user-id", b"b")][..],
            &[("x-openwebui-user-id", b"\xff")],
            &[("x-openwebui-user-id", &long)],
            &[("x-openwebui-user-id", b"unattributed")],
            &[("x-openwebui-user-id", b"a"), ("x-openwebui-user-name", b"%ff")],
            &[("x-openwebui-user-id", b"a"), ("x-openwebui-user-name", b"%0d%0aX-Evil: 1")],
        ] {
            assert_eq!(identify(headers), Err(IdentityError::Malformed), "{headers:?}");
        }
    }
}
