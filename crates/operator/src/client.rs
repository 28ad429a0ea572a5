//! `mai-usage client`: the clients of one server, each with its mAI and its sidecar in containers.

mod add;
mod apply;
mod compose;
mod error;
mod list;
mod name;
mod plan;
mod ports;
mod remove;
mod site;
mod start;
mod upgrade;
mod wanted;

use std::path::PathBuf;

use metering::Clock;

use crate::account::AccountArgs;
use crate::clients::{Client, DirectoryArgs};
use crate::console::Wanted as Question;
use crate::docker::Docker;
use crate::setup::OrganisationArgs;
use crate::{Console, OperatorError};
use name::ClientName;

pub use error::ClientsError;
pub use remove::KeyFate;
pub use site::Proxy;

/// The sidecar in the compose file.
const SIDECAR: &str = "mai-usage";

/// mAI in the compose file.
const MAI: &str = "mai";

/// What `mai-usage client` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ClientArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ClientAction,
    /// Where the clients are.
    #[command(flatten)]
    pub directory: DirectoryArgs,
    /// The folder with `docker` and `docker-compose`; they are found by PATH without it.
    #[arg(long, global = true, value_name = "DIR")]
    pub docker_bin: Option<PathBuf>,
    /// Print JSON, for machines.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print what would be done, and do nothing.
    #[arg(long, global = true)]
    pub dry_run: bool,
}

/// What to do with clients. NAME is the name of the folder.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum ClientAction {
    /// Make a client and start it. Run again it does what is left.
    Add(Box<SettingsArgs>),
    /// List the clients with their addresses and whether they are healthy.
    List,
    /// Show how a client is run.
    Show {
        /// Which.
        name: Option<String>,
    },
    /// Change a client's settings, write its files anew, and start again what has changed.
    Update(Box<SettingsArgs>),
    /// Give clients other images, one client at a time; one that does not become healthy gets its old images back.
    Upgrade {
        /// Which.
        #[arg(conflicts_with = "all")]
        name: Option<String>,
        /// Every client, by name; the first that fails ends it.
        #[arg(long)]
        all: bool,
        /// The sidecar's image.
        #[arg(long, value_name = "IMAGE")]
        image: Option<String>,
        /// mAI's image.
        #[arg(long, value_name = "IMAGE")]
        mai_image: Option<String>,
    },
    /// Stop a client, end its key, and put its folder aside.
    Remove {
        /// Which.
        name: Option<String>,
        /// The client's name once more, instead of typing it when asked.
        #[arg(long, value_name = "NAME")]
        yes: Option<String>,
        /// What becomes of its key at OpenRouter.
        #[arg(long)]
        key: Option<KeyFate>,
        /// Delete mAI's folder, with all chats, instead of putting it aside with the rest.
        #[arg(long)]
        delete_chats: bool,
        /// Where the site is.
        #[command(flatten)]
        proxy_args: ProxyArgs,
        /// Whose account.
        #[command(flatten)]
        account: AccountArgs,
    },
}

/// A client's settings.
#[derive(Debug, Clone, clap::Args)]
pub struct SettingsArgs {
    /// Which.
    pub name: Option<String>,
    /// Who the client is.
    #[command(flatten)]
    pub organisation: OrganisationArgs,
    /// How it is run.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// How a client is run. What is not named stays as it is in `.env`; new clients take it from `server.env` beside their folders.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PlaceArgs {
    /// Its host name, such as usage.company-a.example.
    #[arg(long)]
    pub host: Option<String>,
    /// What stands in front; nginx without it.
    #[arg(long)]
    pub proxy: Option<Proxy>,
    /// The folder of nginx's certificate, or `none` where TLS ends before this host; /etc/letsencrypt/live/HOST without it.
    #[arg(long, value_name = "DIR")]
    pub certificate: Option<String>,
    /// Where nginx listens where there is no certificate; 80 without it.
    #[arg(long, value_name = "PORT")]
    pub listen: Option<String>,
    /// The sidecar's image.
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<String>,
    /// mAI's image.
    #[arg(long, value_name = "IMAGE")]
    pub mai_image: Option<String>,
    /// The sidecar's memory, such as 512m.
    #[arg(long, value_name = "SIZE")]
    pub usage_memory: Option<String>,
    /// mAI's memory, such as 4g.
    #[arg(long, value_name = "SIZE")]
    pub mai_memory: Option<String>,
    /// The sidecar's processors, such as 0.5.
    #[arg(long, value_name = "NUMBER")]
    pub usage_cpus: Option<String>,
    /// mAI's processors, such as 2.
    #[arg(long, value_name = "NUMBER")]
    pub mai_cpus: Option<String>,
    /// The ports that mAI may get; 8001-8020 without it.
    #[arg(long, value_name = "PORTS")]
    pub mai_ports: Option<String>,
    /// The ports that the usage listener may get; 9001-9020 without it.
    #[arg(long, value_name = "PORTS")]
    pub usage_ports: Option<String>,
    /// Where the site is.
    #[command(flatten)]
    pub proxy_args: ProxyArgs,
}

/// Where the reverse proxy is.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ProxyArgs {
    /// The folder of its sites; /etc/nginx/conf.d or /etc/caddy/sites without it.
    #[arg(long, value_name = "DIR")]
    pub sites: Option<PathBuf>,
    /// The command that makes it read them again.
    #[arg(long, value_name = "COMMAND")]
    pub reload: Option<String>,
    /// The command that makes a missing certificate for nginx; the host name is put behind it.
    #[arg(long, value_name = "COMMAND")]
    pub certify: Option<String>,
}

/// What a command of `client` works with.
struct Session<'a> {
    console: &'a mut Console,
    clock: &'a Clock,
    directory: PathBuf,
    docker_bin: Option<PathBuf>,
    json: bool,
    dry_run: bool,
}

/// Does what `args` say.
///
/// # Errors
/// [`OperatorError`]; the next run goes on where this one stopped.
pub async fn run(args: ClientArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let ClientArgs { action, directory, docker_bin, json, dry_run } = args;
    let mut session = Session { console, clock, directory: directory.directory, docker_bin, json, dry_run };
    match action {
        ClientAction::Add(args) => add::add(&mut session, *args).await,
        ClientAction::Update(args) => add::update(&mut session, *args).await,
        ClientAction::List => list::list(&mut session),
        ClientAction::Show { name } => list::show(&mut session, name.as_deref()),
        ClientAction::Upgrade { name, all, image, mai_image } => {
            let images = [(SIDECAR, image), (MAI, mai_image)];
            upgrade::upgrade(&mut session, name.as_deref().filter(|_| !all), all, images).await
        }
        ClientAction::Remove { name, yes, key, delete_chats, proxy_args, account } => {
            let choices = remove::Choices { yes, key, delete_chats, proxy_args, account };
            remove::remove(&mut session, name.as_deref(), choices).await
        }
    }
}

impl Session<'_> {
    fn docker(&self) -> Result<Docker, OperatorError> {
        Ok(Docker::find(self.docker_bin.as_deref())?)
    }

    fn name(&mut self, given: Option<&str>) -> Result<ClientName, OperatorError> {
        let question = Question { what: "Name of the client", flag: "NAME", given, default: None };
        self.console.value(&question, ClientName::read)
    }

    /// The client that is called so.
    fn client(&mut self, given: Option<&str>) -> Result<Client, OperatorError> {
        let name = self.name(given)?;
        let folder = self.directory.join(name.as_str());
        if !folder.join(".env").exists() {
            let (name, directory) = (name.to_string(), self.directory.clone());
            return Err(ClientsError::Unknown { name, directory }.into());
        }
        Client::read(&folder)
    }
}
