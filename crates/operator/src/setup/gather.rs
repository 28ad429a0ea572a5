//! What there is: the folder and the account.

use std::path::{Path, PathBuf};

use openrouter::{Client, KeyAnswer, Management, hash_of_key};
use settings::Settings;

use super::journal::Intent;
use super::plan::{Facts, OwnKey, SetupError};
use crate::env_file::{EnvFile, EnvFileError};
use crate::{OperatorError, private_file};

/// What a new `.env` begins as.
const TEMPLATE: &str = include_str!("../../templates/client.env");

pub(super) fn env_path(folder: &Path) -> PathBuf {
    folder.join(".env")
}

/// The file, or what a new one begins as. One that the sidecar could not start with is refused before anything is changed.
pub(crate) fn read_env(folder: &Path) -> Result<EnvFile, OperatorError> {
    let path = env_path(folder);
    let told = |problem: EnvFileError| OperatorError::EnvFile { path: path.clone(), problem };
    let text = private_file::read(&path)?;
    let env = EnvFile::parse(text.as_deref().unwrap_or(TEMPLATE)).map_err(told)?;
    env.refuse_ambiguous(super::declared()).map_err(told)?;
    Settings::from_variables(env.variables())?;
    Ok(env)
}

pub(super) async fn facts(
    folder: &Path,
    env: EnvFile,
    management: &Management,
    client: &Client,
) -> Result<Facts, OperatorError> {
    let keys = management.list().await?;
    let own_key = match env.get("OPENROUTER_API_KEY") {
        None => OwnKey::Missing,
        Some(secret) => {
            let hash = hash_of_key(secret);
            match keys.iter().find(|key| key.hash == hash) {
                Some(key) => OwnKey::Listed(key.clone().into()),
                None => unlisted(secret, client).await?,
            }
        }
    };
    Ok(Facts { env, keys, own_key, intent: Intent::read(folder)? })
}

/// A key that is none of the account's may still work.
async fn unlisted(secret: &str, client: &Client) -> Result<OwnKey, OperatorError> {
    let answer = client.key(&secret.into()).await.map_err(openrouter::ManagementError::from)?;
    match answer {
        KeyAnswer::Accepted(_) => Ok(OwnKey::Foreign),
        KeyAnswer::Rejected => Ok(OwnKey::Dead),
        KeyAnswer::Management => Err(SetupError::ManagementKeyInEnv.into()),
        KeyAnswer::Refused(why) => Err(SetupError::KeyNotConfirmed(why).into()),
    }
}
