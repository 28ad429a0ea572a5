//! `X-OpenWebUI-User-Jwt`: a JSON web token with HMAC-SHA-256, the only form Open `WebUI` makes.
//!
//! The general libraries for such tokens bring every algorithm there is, RSA with an open advisory among them;
//! one fixed algorithm is twenty lines over `hmac`, and no header of a token can choose another.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use crate::identity::{Identity, IdentityError, believable};

/// Who must have made the token.
const ISSUER: &str = "open-webui";

/// How far the two clocks may differ, in seconds.
const LEEWAY_SECONDS: i64 = 60;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    iss: String,
    exp: i64,
    iat: i64,
    email: Option<String>,
    name: Option<String>,
    role: Option<String>,
}

/// The identity in `token`, if its signature, issuer and times hold.
pub(crate) fn read_signed(
    token: &str,
    secret: &SecretString,
    now: Timestamp,
) -> Result<Identity, IdentityError> {
    let claims = verified_claims(token, secret).ok_or(IdentityError::NotValid)?;
    let now_seconds = now.as_second();
    let in_time = claims.iat.saturating_sub(LEEWAY_SECONDS) <= now_seconds
        && now_seconds < claims.exp.saturating_add(LEEWAY_SECONDS);
    if claims.iss != ISSUER || !in_time {
        return Err(IdentityError::NotValid);
    }
    believable(&claims.sub, claims.name, claims.email, claims.role)
}

fn verified_claims(token: &str, secret: &SecretString) -> Option<Claims> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).ok();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(signed.as_bytes());
    mac.verify_slice(&decode(signature)?).ok()?;
    let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
    if header.alg != "HS256" {
        return None;
    }
    serde_json::from_slice(&decode(claims)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAIMS: &str = r#"{"sub":"8b216b38","email":"a@example.com","name":"Anna Żółć","role":"user","iss":"open-webui","iat":1790000000,"exp":1790000300}"#;

    fn sign(header: &str, claims: &str, secret: &str) -> String {
        let signed =
            format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(header), BASE64_URL_SAFE_NO_PAD.encode(claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(signed.as_bytes());
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn read(token: &str, second: i64) -> Result<Identity, IdentityError> {
        read_signed(token, &SecretString::from("secret"), Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn the_form_of_open_webui_is_believed_while_it_lasts() {
        let token = sign(r#"{"alg":"HS256","typ":"JWT"}"#, CLAIMS, "secret");
        let identity = read(&token, 1_790_000_100).unwrap();
        assert_eq!(identity.user_id.as_str(), "8b216b38");
        assert_eq!(identity.name.as_deref(), Some("Anna Żółć"));
        assert_eq!(read(&token, 1_790_000_361), Err(IdentityError::NotValid));
        assert_eq!(read(&token, 1_789_999_900), Err(IdentityError::NotValid));
    }

    #[test]
    fn forgeries_are_not_believed() {
        let header = r#"{"alg":"HS256"}"#;
        let sound = sign(header, CLAIMS, "secret");
        let (signed, _) = sound.rsplit_once('.').unwrap();
        let none = BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        let claims = BASE64_URL_SAFE_NO_PAD.encode(CLAIMS);
        for token in [
            sign(header, CLAIMS, "other"),
            sign(header, CLAIMS, ""),
            sign(r#"{"alg":"HS512"}"#, CLAIMS, "secret"),
            sign(header, &CLAIMS.replace("open-webui", "somebody"), "secret"),
            sign(header, &CLAIMS.replace(r#","exp":1790000300"#, ""), "secret"),
            format!("{signed}."),
            signed.to_owned(),
            format!("{none}.{claims}."),
            format!("{sound}x"),
            String::new(),
            "..".to_owned(),
        ] {
            assert_eq!(read(&token, 1_790_000_100), Err(IdentityError::NotValid), "{token}");
        }
    }
}
