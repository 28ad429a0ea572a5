//! The provider's account at `OpenRouter`: where it is, and the management key, which comes from a prompt, a private file or standard
//! input, and never from the command line or the environment, where every process of the machine could read it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use openrouter::{Client, ClientOptions, Management};
use secrecy::{ExposeSecret as _, SecretString};
use settings::Settings;

use crate::private_file::{self, FileError};
use crate::{Console, OperatorError};

/// What all keys of `OpenRouter` begin with.
const KEY_PREFIX: &str = "sk-or-";

/// Longest key that is read.
const LONGEST_KEY_BYTES: usize = 512;

/// Whose account, and with which key.
#[derive(Debug, Clone, clap::Args)]
pub struct AccountArgs {
    /// A file of mode 0600 that holds the management key; `-` reads standard input. Asked for otherwise.
    #[arg(long, global = true, value_name = "FILE")]
    pub management_key_file: Option<PathBuf>,
    /// Where OpenRouter is; <https://openrouter.ai/api/v1> unless something else is named.
    #[arg(long, global = true, value_name = "URL")]
    pub openrouter_host: Option<String>,
}

impl AccountArgs {
    /// The way to manage the account's keys.
    pub(crate) fn management(&self, console: &mut Console) -> Result<Management, OperatorError> {
        let client = client(self.openrouter_host.as_deref())?;
        Ok(Management::new(client, self.management_key(console)?))
    }

    pub(crate) fn management_key(&self, console: &mut Console) -> Result<SecretString, OperatorError> {
        const FLAG: &str = "--management-key-file";
        let text = match self.management_key_file.as_deref() {
            Some(path) if path == Path::new("-") => from_standard_input()?,
            Some(path) => from_file(path)?,
            None if console.asker.can_ask() => {
                console.asker.secret("OpenRouter management key (it is not shown):")?
            }
            None => return Err(OperatorError::Missing { what: "the management key", flag: FLAG }),
        };
        read_key(&text)
    }
}

/// A client for the `OpenRouter` at `host`.
pub(crate) fn client(host: Option<&str>) -> Result<Client, OperatorError> {
    let settings = Settings::from_variables(host.map(|host| ("OPENROUTER_HOST", host)))?;
    let options = ClientOptions {
        base_url: settings.openrouter_host,
        app_url: settings.app_url,
        app_title: settings.app_title,
    };
    Ok(Client::new(options)?)
}

fn from_file(path: &Path) -> Result<SecretString, OperatorError> {
    if let Some(text) = private_file::read(path)? {
        return Ok(text.into());
    }
    let source = std::io::ErrorKind::NotFound.into();
    Err(FileError::System { attempted: "read", path: path.to_owned(), source }.into())
}

fn from_standard_input() -> Result<SecretString, OperatorError> {
    let mut text = String::new();
    let most = u64::try_from(LONGEST_KEY_BYTES).unwrap_or(u64::MAX);
    let read = std::io::stdin().take(most).read_to_string(&mut text);
    read.map_err(|error| OperatorError::Terminal(error.to_string()))?;
    Ok(text.into())
}

fn read_key(text: &SecretString) -> Result<SecretString, OperatorError> {
    let key = text.expose_secret().trim();
    let sound = key.starts_with(KEY_PREFIX)
        && key.len() <= LONGEST_KEY_BYTES
        && key.bytes().all(|byte| byte.is_ascii_graphic());
    if sound { Ok(key.into()) } else { Err(OperatorError::ManagementKey) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_line_of_its_own_letters() {
        assert_eq!(read_key(&" sk-or-v1-ab\n".into()).unwrap().expose_secret(), "sk-or-v1-ab");
        for wrong in ["", "sk-proj-ab", "sk-or-v1-a b", "sk-or-v1-ab\nsk-or-v1-cd", "sk-or-zażółć"] {
            assert!(read_key(&wrong.into()).is_err(), "{wrong}");
        }
    }
}
