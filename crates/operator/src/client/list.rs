//! The clients for people and machines: what their folders say, and what Docker says.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde::Serialize;

use super::site::{Certificate, Proxy, Site};
use super::{MAI, SIDECAR, Session, compose};
use crate::OperatorError;
use crate::clients::{self, Client, port_of};
use crate::docker::{Condition, Docker};
use crate::keys::pretty;
use crate::table::{printed, table, text};

/// What stands where there is nothing.
const NONE: &str = "-";

/// A client, without secrets.
#[derive(Debug, Serialize)]
struct Shown {
    client: String,
    organisation: Option<String>,
    organisation_id: Option<String>,
    spending_limit: Option<String>,
    address: Option<String>,
    proxy: Option<String>,
    mai_port: Option<u16>,
    usage_port: u16,
    folder: String,
    mai_usage: Service,
    mai: Service,
}

/// One of its containers.
#[derive(Debug, Serialize)]
struct Service {
    /// The image that is set, which may not run yet.
    image: Option<String>,
    memory: Option<String>,
    cpus: Option<String>,
    /// `None` where Docker does not answer.
    condition: Option<&'static str>,
}

pub(super) fn list(session: &mut Session<'_>) -> Result<(), OperatorError> {
    let clients = clients::list(&session.directory)?;
    let docker = session.docker_if_there();
    let mut shown = Vec::new();
    for client in clients {
        match client {
            Ok(client) => shown.push(Shown::of(&client, docker.as_ref())?),
            Err(error) => session.console.note(&format!("warning: left out: {error}")),
        }
    }
    let text = if session.json { pretty(&shown) } else { list_of(&shown) };
    session.console.say(&text)
}

pub(super) fn show(session: &mut Session<'_>, name: Option<&str>) -> Result<(), OperatorError> {
    let client = session.client(name)?;
    let docker = session.docker_if_there();
    let shown = Shown::of(&client, docker.as_ref())?;
    let text = if session.json { pretty(&shown) } else { sheet(&shown) };
    session.console.say(&text)
}

impl Session<'_> {
    /// What stands in the folders is worth telling without it.
    fn docker_if_there(&mut self) -> Option<Docker> {
        match self.docker() {
            Ok(docker) => Some(docker),
            Err(error) => {
                self.console.note(&format!("warning: how the containers are is not known: {error}"));
                None
            }
        }
    }
}

impl Shown {
    fn of(client: &Client, docker: Option<&Docker>) -> Result<Self, OperatorError> {
        let containers = docker.map(|docker| docker.containers(client.project())).transpose()?;
        let env = |name: &str| client.env.get(name).map(str::to_owned);
        let service = |service: &str, prefix: &str, image: &str| Service {
            image: setting(client, image),
            memory: setting(client, &format!("{prefix}_MEMORY")),
            cpus: setting(client, &format!("{prefix}_CPUS")),
            condition: containers.as_ref().map(|containers| {
                let found = containers.iter().find(|container| container.service == service);
                found.map_or("not made", |container| words(container.condition()))
            }),
        };
        Ok(Self {
            client: client.name.clone(),
            organisation: env("ORGANIZATION_NAME"),
            organisation_id: env("OPENROUTER_EXTERNAL_USER"),
            spending_limit: env("SPENDING_LIMIT"),
            address: address(client),
            proxy: env("MAI_PROXY"),
            mai_port: port_of(&client.env, "MAI_PORT"),
            usage_port: client.usage_port(),
            folder: client.folder.display().to_string(),
            mai_usage: service(SIDECAR, "USAGE", "MAI_USAGE_IMAGE"),
            mai: service(MAI, "MAI", "MAI_IMAGE"),
        })
    }

    /// The worse of both.
    fn state(&self) -> &'static str {
        let (sidecar, mai) = (self.mai_usage.condition, self.mai.condition);
        let healthy = words(Condition::Healthy);
        [sidecar, mai].into_iter().flatten().find(|state| *state != healthy).or(sidecar).unwrap_or(NONE)
    }
}

fn setting(client: &Client, name: &str) -> Option<String> {
    client.env.get(name).or_else(|| compose::default_of(name)).map(str::to_owned)
}

fn address(client: &Client) -> Option<String> {
    let proxy = client.env.get("MAI_PROXY").and_then(|proxy| Proxy::read(proxy).ok())?;
    if proxy == Proxy::None {
        return port_of(&client.env, "MAI_PORT").map(|port| format!("http://127.0.0.1:{port}/"));
    }
    let certificate = client.env.get("MAI_CERTIFICATE").and_then(|text| Certificate::read(text).ok());
    let host = client.env.get("MAI_HOST")?.to_owned();
    let certificate = certificate.unwrap_or(Certificate::None);
    Some(Site { proxy, host, certificate, listen: String::new() }.url())
}

const fn words(condition: Condition) -> &'static str {
    match condition {
        Condition::Healthy => "healthy",
        Condition::Starting => "starting",
        Condition::Unhealthy => "unhealthy",
        Condition::Stopped => "stopped",
    }
}

fn list_of(clients: &[Shown]) -> String {
    let mut table = table(["CLIENT", "ORGANISATION", "ADDRESS", "MAI PORT", "USAGE PORT", "IMAGE", "STATE"]);
    for client in clients {
        let mai_port = client.mai_port.map_or_else(|| NONE.to_owned(), |port| port.to_string());
        table.add_row([
            text(&client.client),
            text(client.organisation.as_deref().unwrap_or(NONE)),
            text(client.address.as_deref().unwrap_or(NONE)),
            text(&mai_port),
            text(&client.usage_port.to_string()),
            text(client.mai_usage.image.as_deref().unwrap_or(NONE)),
            text(client.state()),
        ]);
    }
    format!("{}\n{} clients", printed(&table), clients.len())
}

fn sheet(client: &Shown) -> String {
    let told = |value: &Option<String>| value.clone().unwrap_or_else(|| NONE.to_owned());
    let service = |service: &Service| {
        format!(
            "{}, memory {}, processors {}: {}",
            told(&service.image),
            told(&service.memory),
            told(&service.cpus),
            service.condition.unwrap_or(NONE)
        )
    };
    let mai_port = client.mai_port.map_or_else(|| NONE.to_owned(), |port| port.to_string());
    let rows = [
        ("client", client.client.clone()),
        ("organisation", told(&client.organisation)),
        ("id", told(&client.organisation_id)),
        ("limit a month (USD)", told(&client.spending_limit)),
        ("address", told(&client.address)),
        ("reverse proxy", told(&client.proxy)),
        ("port of mAI", mai_port),
        ("port of the usage API", client.usage_port.to_string()),
        ("folder", client.folder.clone()),
        (SIDECAR, service(&client.mai_usage)),
        (MAI, service(&client.mai)),
    ];
    let mut table = Table::new();
    table.load_style(NOTHING);
    for (name, value) in rows {
        table.add_row([text(name), text(&value)]);
    }
    printed(&table)
}
