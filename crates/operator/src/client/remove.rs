//! A client that leaves.

use std::fmt;
use std::path::{Path, PathBuf};

use openrouter::{KeyChange, KeyRecord, Management, hash_of_key};
use serde::Serialize;

use super::site::Proxy;
use super::wanted::{self, ProxyPlace};
use super::{ClientName, ClientsError, ProxyArgs, Session, apply};
use crate::account::AccountArgs;
use crate::clients::Client;
use crate::console::Wanted as Question;
use crate::keys::pretty;
use crate::private_file::{self, FileError};
use crate::{Console, OperatorError};

/// Where folders are put aside. It has no `.env`, so it is no client.
const REMOVED: &str = ".removed";

/// Of that folder: whoever left has secrets there still.
const MODE: u32 = 0o700;

/// What becomes of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum KeyFate {
    /// It is deleted for ever.
    Delete,
    /// It is disabled, and its counters can still be read.
    Disable,
    /// It works on.
    Keep,
}

/// What the flags say.
pub(super) struct Choices {
    pub(super) yes: Option<String>,
    pub(super) key: Option<KeyFate>,
    pub(super) delete_chats: bool,
    pub(super) proxy_args: ProxyArgs,
    pub(super) account: AccountArgs,
}

/// One thing to do, in an order in which an interrupted removal can be run again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "snake_case")]
enum Step {
    Stop,
    EndKey { fate: KeyFate },
    RemoveSite { path: PathBuf },
    Reload { command: String },
    DeleteChats { folder: PathBuf },
    PutAside { folder: PathBuf, to: PathBuf },
}

/// What was done, for machines.
#[derive(Serialize)]
struct Report<'a> {
    dry_run: bool,
    client: &'a str,
    kept_in: String,
    steps: &'a [Step],
}

pub(super) async fn remove(
    session: &mut Session<'_>,
    name: Option<&str>,
    choices: Choices,
) -> Result<(), OperatorError> {
    let client = session.client(name)?;
    let fate = fate(session.console, choices.key)?;
    let server = wanted::server(&session.directory)?;
    let aside = session.directory.join(REMOVED).join(format!(
        "{}-{}",
        client.name,
        session.clock.now().strftime("%Y-%m-%dT%H%M%SZ")
    ));
    let steps = plan(&client, fate, &choices, (&server, &aside));
    if session.dry_run {
        return report(session, (&client, &aside), &steps);
    }
    let management = match fate {
        KeyFate::Keep => None,
        KeyFate::Delete | KeyFate::Disable => {
            let host = choices.account.openrouter_host.clone();
            let host = host.or_else(|| client.env.get("OPENROUTER_HOST").map(str::to_owned));
            let account = AccountArgs { openrouter_host: host, ..choices.account.clone() };
            Some(account.management(session.console)?)
        }
    };
    confirm(session.console, &client.name, choices.yes.as_deref())?;
    let docker = session.docker()?;
    let locks = session.lock(&client.folder)?;
    for step in &steps {
        match step {
            Step::Stop => docker.compose(&client.folder, &["down"])?,
            Step::EndKey { fate } => {
                if let Some(management) = &management {
                    end_key(management, &client, *fate, session.console).await?;
                }
            }
            Step::RemoveSite { path } => private_file::remove(path)?,
            Step::Reload { command } => apply::reload(command)?,
            Step::DeleteChats { folder } => delete(folder)?,
            Step::PutAside { folder, to } => put_aside(folder, to)?,
        }
        session.console.note(&format!("done: {step}"));
    }
    drop(locks);
    report(session, (&client, &aside), &steps)
}

fn plan(
    client: &Client,
    fate: KeyFate,
    choices: &Choices,
    (server, aside): (&crate::env_file::EnvFile, &Path),
) -> Vec<Step> {
    let mut steps = vec![Step::Stop];
    if fate != KeyFate::Keep {
        steps.push(Step::EndKey { fate });
    }
    let proxy = client.env.get("MAI_PROXY").and_then(|proxy| Proxy::read(proxy).ok());
    let place = ProxyPlace::of(&choices.proxy_args, proxy.unwrap_or(Proxy::None), server);
    let site = ClientName::read(&client.name).ok().and_then(|name| proxy?.file(&place.sites, &name));
    if let Some(path) = site {
        steps.extend([Step::RemoveSite { path }, Step::Reload { command: place.reload }]);
    }
    if choices.delete_chats {
        steps.push(Step::DeleteChats { folder: client.folder.join("mai") });
    }
    steps.push(Step::PutAside { folder: client.folder.clone(), to: aside.to_owned() });
    steps
}

fn fate(console: &mut Console, given: Option<KeyFate>) -> Result<KeyFate, OperatorError> {
    if let Some(fate) = given {
        return Ok(fate);
    }
    if !console.asker.can_ask() {
        return Err(OperatorError::Missing { what: "what becomes of its key", flag: "--key" });
    }
    let fates = [KeyFate::Disable, KeyFate::Delete, KeyFate::Keep];
    let options = ["disable it", "delete it for ever", "keep it working"].map(str::to_owned).to_vec();
    let chosen = console.asker.choose("What becomes of its key at OpenRouter?", options)?;
    fates.get(chosen).copied().ok_or(OperatorError::Cancelled)
}

fn confirm(console: &mut Console, name: &str, given: Option<&str>) -> Result<(), OperatorError> {
    let question =
        Question { what: "Type the client's name to remove it", flag: "--yes", given, default: None };
    let typed = console.value(&question, |text| Ok(text.to_owned()))?;
    if typed == name {
        return Ok(());
    }
    Err(ClientsError::NotConfirmed { typed, name: name.to_owned() }.into())
}

/// The key whose secret is in `.env`. One that is gone already is no reason to stop.
async fn end_key(
    management: &Management,
    client: &Client,
    fate: KeyFate,
    console: &mut Console,
) -> Result<(), OperatorError> {
    let hash = client.env.get("OPENROUTER_API_KEY").map(hash_of_key);
    let keys = management.list().await?;
    let Some(key) = keys.iter().find(|key| Some(&key.hash) == hash.as_ref()) else {
        console.note("its key is none of the account's, or is deleted already");
        return Ok(());
    };
    end(management, key, fate).await
}

async fn end(management: &Management, key: &KeyRecord, fate: KeyFate) -> Result<(), OperatorError> {
    match fate {
        KeyFate::Delete => management.delete(&key.hash).await?,
        KeyFate::Disable => {
            let change = KeyChange { disabled: Some(true), ..KeyChange::default() };
            management.update(&key.hash, &change).await?;
        }
        KeyFate::Keep => {}
    }
    Ok(())
}

fn delete(folder: &Path) -> Result<(), FileError> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::System { attempted: "delete", path: folder.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// On the same file system, so at once or not at all.
fn put_aside(folder: &Path, to: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let system = |source| FileError::System { attempted: "put aside", path: folder.to_owned(), source };
    let parent = to.parent().unwrap_or(to);
    std::fs::DirBuilder::new().recursive(true).mode(MODE).create(parent).map_err(system)?;
    std::fs::rename(folder, to).map_err(system)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(MODE);
    std::fs::set_permissions(to, mode).map_err(system)
}

fn report(
    session: &mut Session<'_>,
    (client, aside): (&Client, &Path),
    steps: &[Step],
) -> Result<(), OperatorError> {
    let kept_in = aside.display().to_string();
    if session.json {
        let report = Report { dry_run: session.dry_run, client: &client.name, kept_in, steps };
        return session.console.say(&pretty(&report));
    }
    if session.dry_run {
        return steps.iter().try_for_each(|step| session.console.say(&format!("would {step}")));
    }
    session.console.say(&format!("{} is removed; its folder is kept in {kept_in}", client.name))
}

/// As an order: "stop …".
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stop => write!(f, "stop and remove its containers"),
            Self::EndKey { fate: KeyFate::Delete } => write!(f, "delete its key at OpenRouter for ever"),
            Self::EndKey { .. } => write!(f, "disable its key at OpenRouter"),
            Self::RemoveSite { path } => write!(f, "remove {}", path.display()),
            Self::Reload { command } => write!(f, "run `{command}`"),
            Self::DeleteChats { folder } => write!(f, "delete {} with all chats", folder.display()),
            Self::PutAside { folder, to } => write!(f, "move {} to {}", folder.display(), to.display()),
        }
    }
}
