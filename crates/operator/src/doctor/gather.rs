//! Finding the facts: files are read, the sidecar, `OpenRouter`, mAI and Docker are asked. Every question has an end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use ledger::{LedgerReader, Organisation, Scope, UsageBy};
use metering::UNATTRIBUTED;
use secrecy::ExposeSecret as _;
use serde::Deserialize;

use super::facts::{BookFacts, Facts, FileFacts, KeyFacts, MaiFacts, ServerFacts, SidecarFacts};
use super::{containers, disk};
use crate::clients::{COMPOSE_FILE, Client};
use crate::error::in_words;
use crate::sidecar::{Sidecar, SidecarError};
use crate::{OperatorError, account, backup};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait for a whole `verify`.
const DEEP_PATIENCE: Duration = Duration::from_hours(1);

/// How long it took is not the client's fault.
const TOO_LATE: &str = "no answer within 10 seconds";

/// What of `GET /api/v1/usage/me` is looked at.
#[derive(Deserialize)]
struct Me {
    organisation: MyOrganisation,
}

#[derive(Deserialize)]
struct MyOrganisation {
    id: String,
}

/// How far to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// What takes a moment.
    Quick,
    /// Every row of every ledger.
    Deep,
}

/// All clients at the same time.
pub(super) async fn server(folders: &[PathBuf], depth: Depth, now: Timestamp) -> ServerFacts {
    let docker = containers::daemon().await;
    let has_docker = docker.is_ok();
    let clients = folders.iter().map(|folder| client(folder, (depth, has_docker), now));
    ServerFacts { docker, clients: futures_util::future::join_all(clients).await }
}

async fn client(folder: &Path, (depth, has_docker): (Depth, bool), now: Timestamp) -> Facts {
    let client = match Client::read(folder) {
        Ok(client) => client,
        Err(error) => return unread(folder, in_words(&error), now),
    };
    let path = client.database();
    let patience = if depth == Depth::Deep { DEEP_PATIENCE } else { PATIENCE };
    let books = tokio::time::timeout(patience, books(&client, depth, now));
    let containers = async { if has_docker { Some(containers::of(&client.folder).await) } else { None } };
    let (key, books, sidecar, containers, mai) =
        tokio::join!(key(&client), books, sidecar(&client), containers, mai(&client));
    Facts {
        key,
        database: disk::file(&path),
        books: books.map_err(|_| "the database does not answer".to_owned()).and_then(|books| books),
        sidecar,
        compose: std::fs::read_to_string(client.folder.join(COMPOSE_FILE)).ok(),
        containers,
        mai,
        last_backup: backup::last(&client.folder),
        client: client.name,
        env: Ok(client.env),
        now,
    }
}

fn unread(folder: &Path, why: String, now: Timestamp) -> Facts {
    Facts {
        client: folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned(),
        now,
        env: Err(why),
        key: KeyFacts::Missing,
        database: FileFacts::default(),
        books: Err(String::new()),
        sidecar: SidecarFacts::Silent(String::new()),
        compose: None,
        containers: None,
        mai: MaiFacts::NotAsked,
        last_backup: None,
    }
}

async fn key(client: &Client) -> KeyFacts {
    let Some(key) = client.env.get("OPENROUTER_API_KEY") else { return KeyFacts::Missing };
    let openrouter = match account::client(client.env.get("OPENROUTER_HOST")) {
        Ok(openrouter) => openrouter,
        Err(error) => return KeyFacts::Unreachable(in_words(&error)),
    };
    let key = key.into();
    match tokio::time::timeout(PATIENCE, openrouter.key_and_date(&key)).await {
        Ok(Ok((answer, date))) => KeyFacts::Answered { answer, date },
        Ok(Err(error)) => KeyFacts::Unreachable(error.to_string()),
        Err(_) => KeyFacts::Unreachable(TOO_LATE.to_owned()),
    }
}

async fn books(client: &Client, depth: Depth, now: Timestamp) -> Result<BookFacts, String> {
    let reader = LedgerReader::open(&client.database()).await.map_err(|error| in_words(&error))?;
    let books = read(&reader, client, depth, now).await;
    reader.close().await;
    books.map_err(|error| in_words(&error))
}

async fn read(
    reader: &LedgerReader,
    client: &Client,
    depth: Depth,
    now: Timestamp,
) -> Result<BookFacts, OperatorError> {
    let organisation = reader.organisation().await?;
    let organisation =
        organisation.ok_or_else(|| OperatorError::NoOrganisation { path: client.database() })?;
    let today = organisation.zone.day_of(now);
    let (from, to) = (today.first_of_month(), today.last_of_month());
    let scope = Scope { org_id: organisation.id.clone(), user_id: None, from, to };
    let bill = reader.bill(&scope, UsageBy::User).await?;
    let nobody = bill.usage.iter().filter(|usage| usage.user_id.as_deref() == Some(UNATTRIBUTED));
    let findings = match depth {
        Depth::Quick => reader.verify_quickly(&organisation.id, from).await?,
        Depth::Deep => reader.verify().await?.findings,
    };
    let oldest_open = bill.unknown.iter().find(|unknown| unknown.state == "open");
    let Organisation { id, name, monthly_limit, zone, api_key, .. } = organisation;
    Ok(BookFacts {
        organisation_id: id.as_str().to_owned(),
        name,
        monthly_limit,
        zone: zone.name().to_owned(),
        has_key: api_key.is_some(),
        has_other_key: api_key
            .zip(client.env.get("OPENROUTER_API_KEY"))
            .is_some_and(|(recorded, own)| recorded.expose_secret() != own),
        findings: findings.iter().map(ToString::to_string).collect(),
        last_poll: reader.last_reconciliations(1).await?.into_iter().next(),
        unsettled: reader.unsettled(None).await?,
        oldest_open: oldest_open.and_then(|open| Timestamp::from_millisecond(open.admitted_at_ms).ok()),
        unattributed: nobody.map(|usage| usage.requests).sum(),
    })
}

async fn sidecar(client: &Client) -> SidecarFacts {
    let sidecar = Sidecar::of(client);
    let health = match tokio::time::timeout(PATIENCE, sidecar.health()).await {
        Err(_) => return SidecarFacts::Silent(TOO_LATE.to_owned()),
        Ok(Err(error @ SidecarError::Silent { .. })) => return SidecarFacts::Silent(in_words(&error)),
        Ok(Err(error)) => return SidecarFacts::Other(in_words(&error)),
        Ok(Ok(health)) => health,
    };
    let me = tokio::time::timeout(PATIENCE, sidecar.get::<Me>("/api/v1/usage/me")).await;
    let organisation_id = match me {
        Ok(Ok(me)) => Ok(me.organisation.id),
        Ok(Err(error)) => Err(in_words(&error)),
        Err(_) => Err(TOO_LATE.to_owned()),
    };
    SidecarFacts::Answers { health, organisation_id }
}

/// mAI as this host sees it: the name that the sidecar knows it by means nothing here.
async fn mai(client: &Client) -> MaiFacts {
    let Some(address) = mai_address(client) else { return MaiFacts::NotAsked };
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap_or_default();
    match http.get(format!("{address}/health")).send().await {
        Ok(response) if response.status().is_success() => MaiFacts::Answers,
        Ok(response) => MaiFacts::Silent { address, why: format!("HTTP status {}", response.status()) },
        Err(error) => MaiFacts::Silent { why: in_words(&error.without_url()), address },
    }
}

fn mai_address(client: &Client) -> Option<String> {
    let port = client.env.get("MAI_PORT").map(|port| port.rsplit_once(':').map_or(port, |(_, port)| port));
    let on_this_host = port.map(|port| format!("http://127.0.0.1:{port}"));
    on_this_host.or_else(|| {
        let url = client.env.get("OPENWEBUI_URL")?.trim_end_matches('/');
        let authority = url.split_once("://").map_or(url, |(_, authority)| authority);
        // A name without a dot is a container's.
        (authority.contains('.') || authority.starts_with("localhost")).then(|| url.to_owned())
    })
}
