//! Who pays and who asked: the recipes for the ids that leave the house.

use std::fmt;

use md5::{Digest as _, Md5};
use sha2::Sha256;

/// The user that calls without an identity are booked to, visibly.
pub const UNATTRIBUTED: &str = "unattributed";

/// The id of an organisation, `mai_client_63a4eb6d`; also the prefix of what `OpenRouter` is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrgId(String);

/// The id of an account in the organisation's Open `WebUI`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

/// What `OpenRouter` is told in the body field `user`, and gives back as `external_user`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalUser(String);

impl OrgId {
    /// An id that is already known (`OPENROUTER_EXTERNAL_USER`), taken as it is.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The id of an organisation by its name: `mai_client_` + the first 8 hex digits of the MD5 of the trimmed
    /// name. The original's recipe; upper and lower case matter.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        Self(format!("mai_client_{}", leading_hex(&Md5::digest(name.trim().as_bytes()))))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl UserId {
    /// An id as Open `WebUI` gave it.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The user that calls without an identity are booked to.
    #[must_use]
    pub fn unattributed() -> Self {
        Self(UNATTRIBUTED.to_owned())
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ExternalUser {
    /// `{org}_user_{first 8 hex of SHA-256(user id)}`: stable, and tells nobody outside who it is.
    #[must_use]
    pub fn of(org: &OrgId, user: &UserId) -> Self {
        if user.0 == UNATTRIBUTED {
            return Self(format!("{}_user_{UNATTRIBUTED}", org.0));
        }
        Self(format!("{}_user_{}", org.0, leading_hex(&Sha256::digest(user.0.as_bytes()))))
    }

    /// The text sent to `OpenRouter`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first 8 hex digits of a digest.
fn leading_hex(digest: &[u8]) -> String {
    let leading = digest.first_chunk().copied().map_or(0, u32::from_be_bytes);
    format!("{leading:08x}")
}

impl fmt::Display for OrgId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ExternalUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn organisation_ids_of_the_original() {
        for (name, id) in [
            ("Company_A", "mai_client_63a4eb6d"),
            (" Company_A\t", "mai_client_63a4eb6d"),
            ("Company ABC", "mai_client_5c09862d"),
            ("ABC Company Sp. z o.o.", "mai_client_362862c8"),
            ("company_a", "mai_client_22f36260"),
        ] {
            assert_eq!(OrgId::of_name(name).as_str(), id, "{name}");
        }
    }

    #[test]
    fn external_user_of_the_original() {
        let user = UserId::new("123e4567-e89b-12d3-a456-426614174000");
        let external = ExternalUser::of(&OrgId::of_name("Company_A"), &user);
        assert_eq!(external.as_str(), "mai_client_63a4eb6d_user_986c0dc9");
    }

    #[test]
    fn nobody_is_told_apart_from_everybody() {
        let external = ExternalUser::of(&OrgId::new("mai_client_1"), &UserId::unattributed());
        assert_eq!(external.as_str(), "mai_client_1_user_unattributed");
    }
}
