//! Other images for clients, one client at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::apply::write_env;
use super::wanted::read_image;
use super::{ClientsError, MAI, SIDECAR, Session, start};
use crate::clients::{self, Client};
use crate::docker::{Condition, Container, Docker};
use crate::keys::pretty;
use crate::private_file;
use crate::{OperatorError, backup};

/// The images that a client had, written down beside `.env` while it gets others.
const JOURNAL: &str = ".mai-usage-upgrade.json";

/// The service, the name of its image in `.env`, and the flag.
const SERVICES: [(&str, &str, &str); 2] =
    [(SIDECAR, "MAI_USAGE_IMAGE", "--image"), (MAI, "MAI_IMAGE", "--mai-image")];

/// An image that a service is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    service: &'static str,
    variable: &'static str,
    image: String,
    id: String,
}

/// An image that a service had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Had {
    image: String,
    id: String,
}

/// What was done, for machines.
#[derive(Serialize)]
struct Report<'a> {
    dry_run: bool,
    upgraded: &'a [String],
    failed: Option<&'a str>,
    error: Option<String>,
    not_tried: Vec<&'a str>,
}

/// What became of one client.
enum Outcome {
    Upgraded(Option<PathBuf>),
    AsItWas,
}

pub(super) async fn upgrade(
    session: &mut Session<'_>,
    name: Option<&str>,
    all: bool,
    images: [(&'static str, Option<String>); 2],
) -> Result<(), OperatorError> {
    let images = read_images(images)?;
    let clients = if all {
        clients::list(&session.directory)?.into_iter().collect::<Result<Vec<_>, _>>()?
    } else {
        vec![session.client(name)?]
    };
    let docker = session.docker()?;
    // An image that is nowhere is told before any client is touched.
    let wanted: Vec<Wanted> = images
        .into_iter()
        .map(|(service, variable, image)| {
            let id = docker.fetch(&image)?;
            Ok(Wanted { service, variable, image, id })
        })
        .collect::<Result<_, OperatorError>>()?;
    let _lock = private_file::lock(&session.directory)?;
    session.one_by_one(&docker, &clients, &wanted).await
}

impl Session<'_> {
    async fn one_by_one(
        &mut self,
        docker: &Docker,
        clients: &[Client],
        wanted: &[Wanted],
    ) -> Result<(), OperatorError> {
        let mut done = Vec::new();
        for (place, client) in clients.iter().enumerate() {
            let left = clients.iter().skip(place + 1).map(|client| client.name.as_str()).collect();
            match self.one(docker, client, wanted).await {
                Ok(Outcome::Upgraded(backup)) => {
                    let backup = backup
                        .map_or_else(String::new, |path| format!(", ledger copied to {}", path.display()));
                    self.tell(&format!("{}: upgraded{backup}", client.name))?;
                    done.push(client.name.clone());
                }
                Ok(Outcome::AsItWas) => self.tell(&format!("{}: has these images already", client.name))?,
                Err(error) => return self.stopped((client, error), &done, left),
            }
        }
        self.tell_outcome(&Report {
            dry_run: self.dry_run,
            upgraded: &done,
            failed: None,
            error: None,
            not_tried: Vec::new(),
        })
    }

    async fn one(
        &mut self,
        docker: &Docker,
        client: &Client,
        wanted: &[Wanted],
    ) -> Result<Outcome, OperatorError> {
        let _lock = private_file::lock(&client.folder)?;
        let containers = docker.containers(client.project())?;
        let journal = client.folder.join(JOURNAL);
        let interrupted = read_journal(&journal)?;
        if interrupted.is_none() && wanted.iter().all(|wanted| has(&containers, client, wanted)) {
            return Ok(Outcome::AsItWas);
        }
        if self.dry_run {
            return Ok(Outcome::Upgraded(None));
        }
        // What the containers have now may be what an interrupted upgrade gave them.
        let had = interrupted.unwrap_or_else(|| had(&containers));
        // Two texts always have a form in JSON.
        private_file::replace(&journal, &serde_json::to_string(&had).unwrap_or_default())?;
        self.console.note(&format!("{}: backing up the ledger", client.name));
        let has_ledger = client.database().exists();
        let backup = if has_ledger { Some(backup::make(client, self.clock).await?.file) } else { None };
        let new = wanted.iter().map(|wanted| (wanted.variable, wanted.image.clone())).collect();
        if let Err(error) = self.run_with(docker, client, new).await {
            return Err(self.roll_back(docker, client, (&had, backup, error)).await);
        }
        private_file::remove(&journal)?;
        Ok(Outcome::Upgraded(backup))
    }

    /// Writes the images and starts both containers; mAI needs the sidecar, so a failure of either is one.
    async fn run_with(
        &mut self,
        docker: &Docker,
        client: &Client,
        images: Vec<(&'static str, String)>,
    ) -> Result<(), OperatorError> {
        let mut env = client.env.clone();
        write_env(&client.folder, &mut env, &images)?;
        let place = start::Place { docker, client: &client.name, folder: &client.folder };
        for service in [SIDECAR, MAI] {
            let told = start::start(&place, client.project(), service).await?;
            self.console.note(&format!("{}: {service} {told}", client.name));
        }
        Ok(())
    }

    /// Gives the client back what it had, and answers what is to be told of it.
    async fn roll_back(
        &mut self,
        docker: &Docker,
        client: &Client,
        (had, backup, error): (&BTreeMap<String, Had>, Option<PathBuf>, OperatorError),
    ) -> OperatorError {
        self.console.note(&format!("{}: {error}; rolling back", client.name));
        let outcome = match images_before(docker, had) {
            Ok(images) => self.run_with(docker, client, images).await,
            Err(error) => Err(error),
        };
        let rolled_back = match (outcome, backup) {
            (Ok(()), _) => {
                // If it stays, the next upgrade only knows more than it needs.
                let _ = private_file::remove(&client.folder.join(JOURNAL));
                "it has its old images again and is healthy".to_owned()
            }
            (Err(error), Some(backup)) => format!(
                "its old images do not run either ({error}), the ledger of before is in {}",
                backup.display()
            ),
            (Err(error), None) => format!("its old images do not run either ({error})"),
        };
        ClientsError::Upgrade {
            client: client.name.clone(),
            why: error.to_string(),
            rolled_back,
            done: String::new(),
            left: String::new(),
        }
        .into()
    }

    fn stopped(
        &mut self,
        (client, error): (&Client, OperatorError),
        upgraded: &[String],
        not_tried: Vec<&str>,
    ) -> Result<(), OperatorError> {
        let words = |names: &[&str]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let done = words(&upgraded.iter().map(String::as_str).collect::<Vec<_>>());
        let left = words(&not_tried);
        let client = client.name.clone();
        let error = match error {
            OperatorError::Clients(ClientsError::Upgrade { why, rolled_back, .. }) => {
                ClientsError::Upgrade { client: client.clone(), why, rolled_back, done, left }
            }
            other => {
                let (why, rolled_back) = (other.to_string(), "it was left as it is".to_owned());
                ClientsError::Upgrade { client: client.clone(), why, rolled_back, done, left }
            }
        };
        self.tell_outcome(&Report {
            dry_run: self.dry_run,
            upgraded,
            failed: Some(&client),
            error: Some(error.to_string()),
            not_tried,
        })?;
        Err(error.into())
    }

    fn tell(&mut self, line: &str) -> Result<(), OperatorError> {
        let line =
            if self.dry_run { line.replace(": upgraded", ": would be upgraded") } else { line.to_owned() };
        if self.json {
            self.console.note(&line);
            return Ok(());
        }
        self.console.say(&line)
    }

    fn tell_outcome(&mut self, report: &Report<'_>) -> Result<(), OperatorError> {
        if self.json { self.console.say(&pretty(report)) } else { Ok(()) }
    }
}

fn read_images(
    given: [(&'static str, Option<String>); 2],
) -> Result<Vec<(&'static str, &'static str, String)>, OperatorError> {
    let mut images = Vec::new();
    for ((service, variable, flag), (_, image)) in SERVICES.into_iter().zip(given) {
        if let Some(image) = image {
            let image = read_image(&image).map_err(|rule| OperatorError::Value { flag, rule })?;
            images.push((service, variable, image));
        }
    }
    if images.is_empty() {
        return Err(OperatorError::Missing { what: "the image", flag: "--image or --mai-image" });
    }
    Ok(images)
}

/// True where the service runs with that image, is healthy, and will do so after a restart.
fn has(containers: &[Container], client: &Client, wanted: &Wanted) -> bool {
    containers.iter().any(|container| {
        container.service == wanted.service
            && container.image_id == wanted.id
            && container.condition() == Condition::Healthy
    }) && client.env.get(wanted.variable) == Some(&wanted.image)
}

fn had(containers: &[Container]) -> BTreeMap<String, Had> {
    let had = |container: &Container| {
        let had = Had { image: container.image.clone(), id: container.image_id.clone() };
        (container.service.clone(), had)
    };
    containers.iter().map(had).collect()
}

fn read_journal(path: &Path) -> Result<Option<BTreeMap<String, Had>>, OperatorError> {
    Ok(private_file::read(path)?.and_then(|text| serde_json::from_str(&text).ok()))
}

/// The values of `.env` that bring the old images back. A name that means another image by now is replaced by the image's id.
fn images_before(
    docker: &Docker,
    had: &BTreeMap<String, Had>,
) -> Result<Vec<(&'static str, String)>, OperatorError> {
    let mut images = Vec::new();
    for (service, variable, _) in SERVICES {
        let Some(Had { image, id }) = had.get(service) else { continue };
        let is_the_same = docker.image_id(image)?.as_ref() == Some(id);
        images.push((variable, if is_the_same { image.clone() } else { id.clone() }));
    }
    Ok(images)
}
