//! The clients of one server: a folder each, below one directory.

use std::path::{Path, PathBuf};

use openrouter::hash_of_key;
use settings::Settings;

use crate::env_file::EnvFile;
use crate::{OperatorError, private_file};

/// Where the clients are unless something else is named.
pub(crate) const DIRECTORY: &str = "/srv/mai";

/// The file with a client's settings and secrets.
pub(crate) const ENV_FILE: &str = ".env";

/// The file that says how a client's containers are run.
pub(crate) const COMPOSE_FILE: &str = "docker-compose.yaml";

/// Where a client's database is in its folder unless `.env` says otherwise: what the container is given as `/data`.
pub(crate) const DATABASE: &str = "data/mai-usage.db";

/// Where the usage listener is on this host unless `.env` says otherwise, as in the compose file.
const USAGE_PORT: u16 = 9001;

/// Which directory.
#[derive(Debug, Clone, clap::Args)]
pub struct DirectoryArgs {
    /// The directory with a folder for each client.
    #[arg(long = "clients", value_name = "DIR", default_value = DIRECTORY, global = true)]
    pub directory: PathBuf,
}

/// One client or all of them.
#[derive(Debug, Clone, clap::Args)]
pub struct ChosenClients {
    /// The client's folder.
    #[arg(long, default_value = ".", value_name = "DIR", conflicts_with = "all")]
    pub folder: PathBuf,
    /// Every client below the directory.
    #[arg(long)]
    pub all: bool,
    /// Which directory.
    #[command(flatten)]
    pub directory: DirectoryArgs,
}

/// A client as its folder tells.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// The folder's own name.
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) env: EnvFile,
}

impl ChosenClients {
    /// The clients chosen, by name. One whose `.env` cannot be read is an error of its own, so that the others can go on.
    pub(crate) fn find(&self) -> Result<Vec<Result<Client, OperatorError>>, OperatorError> {
        Ok(self.folders()?.iter().map(|folder| Client::read(folder)).collect())
    }

    /// The folders of the clients chosen, by name; at least one.
    pub(crate) fn folders(&self) -> Result<Vec<PathBuf>, OperatorError> {
        if !self.all {
            return Ok(vec![self.folder.clone()]);
        }
        let directory = &self.directory.directory;
        let folders = folders_in(directory)?;
        if folders.is_empty() {
            return Err(OperatorError::NoClients { directory: directory.clone() });
        }
        Ok(folders)
    }
}

/// Every folder below `directory` that has an `.env`, by name.
pub(crate) fn list(directory: &Path) -> Result<Vec<Result<Client, OperatorError>>, OperatorError> {
    Ok(folders_in(directory)?.iter().map(|folder| Client::read(folder)).collect())
}

fn folders_in(directory: &Path) -> Result<Vec<PathBuf>, OperatorError> {
    let system =
        |source| private_file::FileError::System { attempted: "read", path: directory.to_owned(), source };
    let mut folders: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(system)? {
        let folder = entry.map_err(system)?.path();
        // A folder that may not be looked into is told of when it is read, and not left out.
        if folder.is_dir() && folder.join(ENV_FILE).try_exists().unwrap_or(true) {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}

impl Client {
    /// Reads the client in `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self, OperatorError> {
        let system =
            |source| private_file::FileError::System { attempted: "use", path: folder.to_owned(), source };
        // `.` has a name too.
        let folder = folder.canonicalize().map_err(system)?;
        let path = folder.join(ENV_FILE);
        let Some(text) = private_file::read(&path)? else {
            return Err(OperatorError::NoClient { folder });
        };
        let env = EnvFile::parse(&text).map_err(|problem| OperatorError::EnvFile { path, problem })?;
        let name = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
        Ok(Self { name, folder, env })
    }

    /// Its file with settings and secrets.
    pub(crate) fn env_path(&self) -> PathBuf {
        self.folder.join(ENV_FILE)
    }

    /// Sets `name` in its `.env`, on stable storage.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), OperatorError> {
        let path = self.env_path();
        self.env
            .set(name, value)
            .map_err(|problem| OperatorError::EnvFile { path: path.clone(), problem })?;
        Ok(private_file::replace(&path, &self.env.to_string())?)
    }

    /// What `OpenRouter` knows its key by.
    pub(crate) fn key_hash(&self) -> Option<String> {
        self.env.get("OPENROUTER_API_KEY").map(hash_of_key)
    }

    /// What the sidecar would make of its `.env`.
    pub(crate) fn settings(&self) -> Result<Settings, OperatorError> {
        Ok(Settings::from_variables(self.env.variables())?)
    }

    /// Its database on this host. `DATABASE_PATH` names it as the container sees it where that is absolute, and then it is not used.
    pub(crate) fn database(&self) -> PathBuf {
        let named = self.env.get("DATABASE_PATH").map(Path::new).filter(|path| path.is_relative());
        self.folder.join(named.unwrap_or(Path::new(DATABASE)))
    }

    /// The port of its usage listener on this host's loopback.
    pub(crate) fn usage_port(&self) -> u16 {
        port_of(&self.env, "USAGE_PORT").unwrap_or(USAGE_PORT)
    }

    /// What Compose calls its containers' project.
    pub(crate) fn project(&self) -> &str {
        self.env.get("COMPOSE_PROJECT_NAME").unwrap_or(&self.name)
    }
}

/// The port that `name` gives in `.env`, behind an address or alone.
pub(crate) fn port_of(env: &EnvFile, name: &str) -> Option<u16> {
    let value = env.get(name)?;
    value.rsplit_once(':').map_or(value, |(_, port)| port).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_in(directory: &Path, name: &str, env: &str) {
        std::fs::create_dir(directory.join(name)).unwrap();
        private_file::create(&directory.join(name).join(".env"), env).unwrap();
    }

    #[test]
    fn every_folder_with_an_env_file_is_a_client() {
        let directory = tempfile::tempdir().unwrap();
        client_in(directory.path(), "company-b", "USAGE_PORT=127.0.0.1:9002\nCOMPOSE_PROJECT_NAME=mai-b\n");
        client_in(directory.path(), "company-a", "DATABASE_PATH=books.db\n");
        client_in(directory.path(), "broken", "no assignment\n");
        std::fs::create_dir(directory.path().join("lost+found")).unwrap();
        let chosen = ChosenClients {
            folder: PathBuf::new(),
            all: true,
            directory: DirectoryArgs { directory: directory.path().to_owned() },
        };
        let found = chosen.find().unwrap();
        assert!(matches!(found[0], Err(OperatorError::EnvFile { .. })));
        let (a, b) = (found[1].as_ref().unwrap(), found[2].as_ref().unwrap());
        assert_eq!((a.name.as_str(), a.usage_port()), ("company-a", 9001));
        assert_eq!((b.name.as_str(), b.usage_port()), ("company-b", 9002));
        assert_eq!((a.project(), b.project()), ("company-a", "mai-b"));
        assert!(a.database().ends_with("company-a/books.db"));
        assert!(b.database().ends_with("company-b/data/mai-usage.db"));
    }

    /// As one that only root may enter; a link to itself cannot be followed by root either.
    #[test]
    fn a_folder_that_cannot_be_looked_into_is_not_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("company-a");
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(".env", folder.join(".env")).unwrap();
        let found = list(directory.path()).unwrap();
        assert!(matches!(found.as_slice(), [Err(OperatorError::File(_))]), "{found:?}");
    }

    #[test]
    fn a_folder_without_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Client::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("no client") && error.contains("hint:"), "{error}");
    }
}
