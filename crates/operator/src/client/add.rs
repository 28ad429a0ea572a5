//! Adding a client, and changing one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::apply::Work;
use super::plan::{self, Facts, Plan, Step};
use super::ports::PortRange;
use super::site::{Certificate, Proxy};
use super::wanted::{self, Sources, Wanted};
use super::{ClientName, SIDECAR, Session, SettingsArgs, compose};
use crate::clients::{self, port_of};
use crate::docker::Docker;
use crate::env_file::EnvFile;
use crate::keys::pretty;
use crate::private_file::{self, FileError};
use crate::setup::{self, OrganisationArgs, SetupArgs};
use crate::{OperatorError, clients::Client};

/// Of the folder with the clients: others may pass to what they may read.
const DIRECTORY_MODE: u32 = 0o755;

/// Of a client's folder: the provider's alone.
const FOLDER_MODE: u32 = 0o700;

/// What was done, for machines.
#[derive(Serialize)]
struct Report<'a> {
    dry_run: bool,
    client: &'a str,
    folder: String,
    address: String,
    mai_port: u16,
    usage_port: u16,
    setup: &'a [String],
    steps: &'a [Step],
}

/// Makes a client and starts it.
pub(super) async fn add(session: &mut Session<'_>, args: SettingsArgs) -> Result<(), OperatorError> {
    let name = session.name(args.name.as_deref())?;
    let folder = session.directory.join(name.as_str());
    let _locks = session.make_folders(&folder)?;
    let env = setup::read_env(&folder)?;
    session.settle(Change { name, folder, env, set_up: true }, &args).await
}

/// Changes a client. Its account at `OpenRouter` is asked only where that is to change.
pub(super) async fn update(session: &mut Session<'_>, args: SettingsArgs) -> Result<(), OperatorError> {
    let client = session.client(args.name.as_deref())?;
    let _locks = if session.dry_run { Vec::new() } else { session.lock(&client.folder)? };
    // Of a folder that was made by hand the name may be none that is good for a new one.
    let name = session.name(Some(&client.name))?;
    let set_up = concerns_account(&args.organisation);
    session.settle(Change { name, folder: client.folder, env: client.env, set_up }, &args).await
}

/// Which client is to be as its settings say.
struct Change {
    name: ClientName,
    folder: PathBuf,
    env: EnvFile,
    /// Whether its key and its organisation are looked at too.
    set_up: bool,
}

impl Session<'_> {
    async fn settle(&mut self, change: Change, args: &SettingsArgs) -> Result<(), OperatorError> {
        let Change { name, folder, env, set_up } = change;
        let server = wanted::server(&self.directory)?;
        let sources = Sources { env: &env, server: &server };
        let wanted = Wanted::of(name, &args.place, sources, self.console)?;
        // What Docker lacks is told before a key is made.
        let docker = if self.dry_run { None } else { Some(self.docker_with_images(&wanted, &env)?) };
        let facts = self.facts(&wanted, folder, env)?;
        let plan = plan::plan(&wanted, &facts)?;
        let mut orders = Vec::new();
        let Facts { folder, mut env, .. } = facts;
        if set_up {
            let project = format!("mai-{}", wanted.name);
            let project = env.get("COMPOSE_PROJECT_NAME").unwrap_or(&project);
            let runs = docker.as_ref().map(|docker| sidecar_runs(docker, project)).transpose()?;
            let args = setup_args(&args.organisation, &folder, runs == Some(true), self.dry_run);
            let done = setup::finish(&args, self.console, self.clock).await?;
            orders = done.orders();
            env = done.into_env();
        }
        if let Some(docker) = docker {
            let mut work =
                Work { docker: &docker, name: &wanted.name, folder: &folder, env, replaced: Vec::new() };
            for step in &plan.steps {
                work.apply(step, self.console).await?;
            }
        }
        self.tell_end(&wanted, &folder, (&orders, &plan))
    }

    /// The folder of the clients, which is locked so that no two clients get the same port, and the client's own.
    fn make_folders(&self, folder: &Path) -> Result<Vec<File>, OperatorError> {
        if self.dry_run {
            return Ok(Vec::new());
        }
        make_folder(&self.directory, DIRECTORY_MODE)?;
        make_folder(folder, FOLDER_MODE)?;
        // Also where somebody else made it.
        let mode = std::fs::Permissions::from_mode(FOLDER_MODE);
        let protected = std::fs::set_permissions(folder, mode);
        protected.map_err(|source| FileError::System {
            attempted: "protect",
            path: folder.to_owned(),
            source,
        })?;
        make_folder(&folder.join("mai"), FOLDER_MODE)?;
        self.lock(folder)
    }

    pub(super) fn lock(&self, folder: &Path) -> Result<Vec<File>, OperatorError> {
        Ok(vec![private_file::lock(&self.directory)?, private_file::lock(folder)?])
    }

    fn docker_with_images(&mut self, wanted: &Wanted, env: &EnvFile) -> Result<Docker, OperatorError> {
        let docker = self.docker()?;
        for name in ["MAI_USAGE_IMAGE", "MAI_IMAGE"] {
            let own = wanted.values.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str());
            if let Some(image) = own.or_else(|| env.get(name)).or_else(|| compose::default_of(name)) {
                if docker.image_id(image)?.is_none() {
                    self.console.note(&format!("fetching {image}"));
                }
                docker.fetch(image)?;
            }
        }
        Ok(docker)
    }

    fn facts(&mut self, wanted: &Wanted, folder: PathBuf, env: EnvFile) -> Result<Facts, OperatorError> {
        let mut files = BTreeMap::new();
        for path in plan::files(wanted, &folder) {
            match std::fs::read_to_string(&path) {
                Ok(text) => drop(files.insert(path, text)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(FileError::System { attempted: "read", path, source }.into()),
            }
        }
        let taken = self.taken(wanted)?;
        Ok(Facts { folder, env, taken, files, has_certificate: wanted.site.certificate.exists() })
    }

    /// Ports of other clients, and those that somebody listens on.
    fn taken(&mut self, wanted: &Wanted) -> Result<BTreeSet<u16>, OperatorError> {
        let ranges = [&wanted.mai_ports, &wanted.usage_ports];
        let mut taken: BTreeSet<u16> = ranges.into_iter().flat_map(PortRange::listened_on).collect();
        if !self.directory.exists() {
            return Ok(taken);
        }
        for client in clients::list(&self.directory)? {
            match client {
                Ok(client) if client.name == wanted.name.as_str() => {}
                Ok(Client { env, .. }) => {
                    taken.extend(["MAI_PORT", "USAGE_PORT"].iter().filter_map(|name| port_of(&env, name)));
                }
                Err(error) => self.console.note(&format!("warning: its ports are not known: {error}")),
            }
        }
        Ok(taken)
    }

    fn tell_end(
        &mut self,
        wanted: &Wanted,
        folder: &Path,
        (setup, plan): (&[String], &Plan),
    ) -> Result<(), OperatorError> {
        let address = address(wanted, plan.mai_port);
        if self.json {
            return self.console.say(&pretty(&Report {
                dry_run: self.dry_run,
                client: wanted.name.as_str(),
                folder: folder.display().to_string(),
                address,
                mai_port: plan.mai_port,
                usage_port: plan.usage_port,
                setup,
                steps: &plan.steps,
            }));
        }
        if self.dry_run {
            let orders = setup.iter().cloned().chain(plan.steps.iter().map(ToString::to_string));
            return orders.into_iter().try_for_each(|order| self.console.say(&format!("would {order}")));
        }
        self.console.say(&format!("{} is healthy: {address}", wanted.name))?;
        if let Some(next) = missing_certificate(wanted) {
            self.console.note(&next);
        }
        self.console.note("in a new mAI the first account becomes the administrator: make it now");
        Ok(())
    }
}

fn address(wanted: &Wanted, mai_port: u16) -> String {
    if wanted.site.proxy == Proxy::None {
        return format!("http://127.0.0.1:{mai_port}/");
    }
    wanted.site.url()
}

/// What is left to be done by hand before nginx serves the site.
fn missing_certificate(wanted: &Wanted) -> Option<String> {
    let waits = wanted.site.proxy == Proxy::Nginx
        && matches!(wanted.site.certificate, Certificate::Folder(_))
        && !wanted.site.certificate.exists();
    waits.then(|| {
        let (host, name) = (&wanted.site.host, &wanted.name);
        format!(
            "next: the certificate is missing, so nginx serves nothing yet:\n  \
             certbot certonly --webroot -w /var/www/html -d {host} && mai-usage client update {name}"
        )
    })
}

/// Whether something is asked for that `OpenRouter` or the organisation's record has to know.
const fn concerns_account(args: &OrganisationArgs) -> bool {
    args.organization.is_some()
        || args.limit.is_some()
        || args.time_zone.is_some()
        || args.billing_email.is_some()
        || args.sign_users
        || args.replace_key
}

/// A sidecar that runs has the database, and records what `.env` says when it starts again.
fn setup_args(
    organisation: &OrganisationArgs,
    folder: &Path,
    sidecar_runs: bool,
    dry_run: bool,
) -> SetupArgs {
    SetupArgs {
        folder: folder.to_owned(),
        init_database: !sidecar_runs,
        database: None,
        organisation: organisation.clone(),
        json: false,
        dry_run,
    }
}

fn sidecar_runs(docker: &Docker, project: &str) -> Result<bool, OperatorError> {
    let containers = docker.containers(project)?;
    let is_up = |status: &str| matches!(status, "running" | "restarting" | "paused");
    Ok(containers.iter().any(|container| container.service == SIDECAR && is_up(&container.state.status)))
}

fn make_folder(path: &Path, mode: u32) -> Result<(), FileError> {
    let result = DirBuilder::new().recursive(true).mode(mode).create(path);
    result.map_err(|source| FileError::System { attempted: "make", path: path.to_owned(), source })
}
