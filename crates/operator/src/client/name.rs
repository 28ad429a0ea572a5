//! What a client's folder is called.

use std::fmt;

/// Longest name: it is a part of names of containers, networks and files.
const LONGEST: usize = 40;

/// The name of a client's folder, project and site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientName(String);

impl ClientName {
    /// Reads a name; the rule where it is none.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let inner = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        let sound = !text.is_empty()
            && text.len() <= LONGEST
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        if !sound {
            return Err("must have 1 to 40 lower-case letters, digits or hyphens, such as company-a");
        }
        Ok(Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_good_for_folders_networks_and_files() {
        for name in ["a", "company-a", "7", "firma-20"] {
            assert_eq!(ClientName::read(name).unwrap().as_str(), name);
        }
        let long = "a".repeat(41);
        for name in ["", "Company", "a_b", "-a", "a-", "..", "a/b", ".removed", "ż", &long] {
            assert!(ClientName::read(name).is_err(), "{name}");
        }
    }
}
