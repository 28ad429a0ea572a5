//! Which key is meant.

use openrouter::KeyRecord;

/// The shortest beginning of a hash that names a key: less is a typing error.
const SHORTEST_PREFIX: usize = 6;

/// How much of a hash people are shown.
const SHOWN: usize = 12;

/// No key, or not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Nothing is called so.
    #[error("no key is called {wanted:?}; hint: mai-usage keys list")]
    None {
        /// What was looked for.
        wanted: String,
    },
    /// More than one is.
    #[error("{} keys are called {wanted:?}: {}; hint: name one by its hash", .hashes.len(), .hashes.join(", "))]
    Several {
        /// What was looked for.
        wanted: String,
        /// Their hashes, short.
        hashes: Vec<String>,
    },
}

/// The key with the hash, the name, or the beginning of a hash `wanted`, in this order.
pub(crate) fn find<'a>(keys: &'a [KeyRecord], wanted: &str) -> Result<&'a KeyRecord, FindError> {
    let begins = |key: &KeyRecord| wanted.len() >= SHORTEST_PREFIX && key.hash.starts_with(wanted);
    let ways: [&dyn Fn(&KeyRecord) -> bool; 3] =
        [&|key| key.hash == wanted, &|key| key.name == wanted, &begins];
    for way in ways {
        let found: Vec<&KeyRecord> = keys.iter().filter(|key| way(key)).collect();
        match found.as_slice() {
            [] => {}
            [key] => return Ok(key),
            several => {
                let hashes = several.iter().map(|key| short(&key.hash)).collect();
                return Err(FindError::Several { wanted: wanted.to_owned(), hashes });
            }
        }
    }
    Err(FindError::None { wanted: wanted.to_owned() })
}

/// The beginning of a hash, for people; enough to name the key again.
pub(crate) fn short(hash: &str) -> String {
    hash.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    #[test]
    fn a_key_is_found_by_hash_name_or_beginning() {
        let keys = [
            key("A", "aaaaaa1111112222"),
            key("B", "bbbbbb"),
            key("bbbbbb", "cccccc"),
            key("D", "aaaaaa1111113333"),
        ];
        let found = |wanted| find(&keys, wanted).map(|key| key.hash.as_str());
        assert_eq!(found("A"), Ok("aaaaaa1111112222"));
        assert_eq!(found("bbbbbb"), Ok("bbbbbb"), "the hash comes before the name");
        assert_eq!(found("aaaaaa1111113"), Ok("aaaaaa1111113333"));
        assert_eq!(found("aaaa"), Err(FindError::None { wanted: "aaaa".to_owned() }));
        assert!(matches!(found("aaaaaa"), Err(FindError::Several { hashes, .. }) if hashes.len() == 2));
    }

    #[test]
    fn of_two_with_one_name_none_is_guessed() {
        let keys = [key("A", "aaaaaa1111112222"), key("A", "bbbbbb1111112222")];
        let error = find(&keys, "A").unwrap_err().to_string();
        assert!(error.contains("aaaaaa111111, bbbbbb111111") && error.contains("hint:"), "{error}");
        assert!(find(&keys, short(&keys[1].hash).as_str()).is_ok());
    }
}
