//! Making a key without ever leaving one behind whose secret nobody knows.

use std::collections::HashSet;

use openrouter::{CreatedKey, KeyRecord, Management, ManagementError, NewKey};

use crate::OperatorError;

/// Makes the key `new`, where `known` are the keys that existed before. Where the answer was lost, a key of that name that was
/// not known before and was never used is the one that it told of: it is deleted.
pub(crate) async fn make_key(
    management: &Management,
    new: &NewKey,
    known: &[KeyRecord],
) -> Result<CreatedKey, OperatorError> {
    let (name, why) = match management.create(new).await {
        Err(ManagementError::MaybeMade { name, why }) => (name, why),
        made => return Ok(made?),
    };
    let what_became = match delete_lost(management, &name, known).await {
        Ok(0) => "none was made".to_owned(),
        Ok(_) => "it was deleted".to_owned(),
        Err(error) => format!("whether it was made cannot be found out: {error}"),
    };
    Err(OperatorError::SecretLost { name, why, what_became })
}

async fn delete_lost(
    management: &Management,
    name: &str,
    known: &[KeyRecord],
) -> Result<usize, ManagementError> {
    let known: HashSet<&str> = known.iter().map(|key| key.hash.as_str()).collect();
    let listed = management.list().await?;
    let lost = listed.iter().filter(|key| key.name == name && !known.contains(key.hash.as_str()));
    let mut deleted = 0;
    for key in lost.filter(|key| is_unused(key)) {
        management.delete(&key.hash).await?;
        deleted += 1;
    }
    Ok(deleted)
}

/// Nothing was ever spent with it, and it was never presented.
pub(crate) fn is_unused(key: &KeyRecord) -> bool {
    let nothing = |usage: &Option<String>| {
        usage.as_deref().is_none_or(|text| {
            metering::PicoUsd::parse(text).is_ok_and(|parsed| parsed.amount == metering::PicoUsd::ZERO)
        })
    };
    nothing(&key.usage) && key.last_used_at.is_none()
}
