//! Docker, through its own command line: `docker`, and `docker-compose` or `docker compose`, whichever is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::{Deserialize, Serialize};

/// The label by which Compose marks the containers of a project.
const PROJECT: &str = "com.docker.compose.project";

/// The label with the service's name.
const SERVICE: &str = "com.docker.compose.service";

/// What the commands see of our environment. Of the rest, every name that the compose file reads would win over `.env`.
const PASSED_ON: [&str; 9] = [
    "PATH",
    "HOME",
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// How much of what a command complained about is told.
const LONGEST_COMPLAINT: usize = 600;

/// A Docker that answers.
#[derive(Debug, Clone)]
pub(crate) struct Docker {
    docker: PathBuf,
    /// The program and the words before the command.
    compose: (PathBuf, &'static [&'static str]),
}

/// A container as Docker tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) service: String,
    /// What its image was called when it was made.
    pub(crate) image: String,
    /// The image itself, however it is called now.
    pub(crate) image_id: String,
    pub(crate) state: State,
    /// Ports inside (`8788/tcp`) with the addresses of this host on which they are published.
    pub(crate) published: Vec<(String, String)>,
}

/// How a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// `running`, `exited`, `restarting`…
    pub(crate) status: String,
    /// `starting`, `healthy`, `unhealthy`; `None` where the image has no health check.
    pub(crate) health: Option<String>,
    pub(crate) exit_code: i64,
    /// How often Docker started it again by itself.
    pub(crate) restarts: i64,
}

/// Whether a container can do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Condition {
    Healthy,
    Starting,
    Unhealthy,
    Stopped,
}

/// Why Docker did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// A program is missing.
    #[error("{program} is not installed; hint: apt-get install {package}")]
    Missing {
        /// Which.
        program: &'static str,
        /// Debian's package of it.
        package: &'static str,
    },
    /// Nobody answers the client.
    #[error("the Docker daemon does not answer: {told}; hint: systemctl start docker, and are you root?")]
    NoDaemon {
        /// What the client said.
        told: String,
    },
    /// An image that is neither here nor in its registry.
    #[error(
        "there is no image {image}: {told}; hint: `docker load` or `docker build` brings one, `docker images` lists them"
    )]
    NoImage {
        /// Its name.
        image: String,
        /// What Docker said.
        told: String,
    },
    /// A command failed.
    #[error("`{command}` failed: {told}")]
    Failed {
        /// The command.
        command: String,
        /// What it said.
        told: String,
    },
    /// A command could not be run.
    #[error("cannot run {program}")]
    Run {
        /// Which.
        program: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What Docker told is not understood.
    #[error("cannot read what `docker inspect` tells")]
    Answer(#[from] serde_json::Error),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    image: String,
    restart_count: i64,
    state: InspectedState,
    config: InspectedConfig,
    #[serde(default)]
    host_config: InspectedHost,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    status: String,
    exit_code: i64,
    health: Option<InspectedHealth>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedHealth {
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    image: String,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedHost {
    port_bindings: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    #[serde(default)]
    host_ip: String,
}

impl Docker {
    /// Looks for the programs, in `folder` or by `PATH`, and asks the daemon.
    pub(crate) fn find(folder: Option<&Path>) -> Result<Self, DockerError> {
        const DOCKER: DockerError = DockerError::Missing { program: "docker", package: "docker.io" };
        const COMPOSE: DockerError =
            DockerError::Missing { program: "docker-compose", package: "docker-compose" };
        let program = |name: &str| folder.map_or_else(|| PathBuf::from(name), |folder| folder.join(name));
        let (docker, compose) = (program("docker"), program("docker-compose"));
        let asked = ask(&docker, &["version", "--format", "{{.Server.Version}}"])?.ok_or(DOCKER)?;
        if !asked.status.success() {
            return Err(DockerError::NoDaemon { told: complaint(&asked) });
        }
        let works = |found: Option<Output>| found.is_some_and(|output| output.status.success());
        if works(ask(&compose, &["version"])?) {
            return Ok(Self { docker, compose: (compose, &[]) });
        }
        if works(ask(&docker, &["compose", "version"])?) {
            return Ok(Self { docker: docker.clone(), compose: (docker, &["compose"]) });
        }
        Err(COMPOSE)
    }

    /// Runs Compose in a client's folder, which holds the compose file and the `.env`.
    pub(crate) fn compose(&self, folder: &Path, words: &[&str]) -> Result<(), DockerError> {
        let (program, first) = &self.compose;
        let mut command = command(program);
        command.args(*first).args(words).current_dir(folder);
        run(command).map(|_| ())
    }

    /// The containers of `project`.
    pub(crate) fn containers(&self, project: &str) -> Result<Vec<Container>, DockerError> {
        let filter = format!("label={PROJECT}={project}");
        let listed = self.run(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter])?;
        let ids: Vec<&str> = listed.split_whitespace().collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        read_containers(&self.run(&[&["container", "inspect"], ids.as_slice()].concat())?)
    }

    /// The id of the image that is called so, where there is one.
    pub(crate) fn image_id(&self, image: &str) -> Result<Option<String>, DockerError> {
        match self.run(&["image", "inspect", "--format", "{{.Id}}", image]) {
            Ok(id) => Ok(Some(id.trim().to_owned())),
            Err(DockerError::Failed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sees to it that the image is here, and answers its id.
    pub(crate) fn fetch(&self, image: &str) -> Result<String, DockerError> {
        if let Some(id) = self.image_id(image)? {
            return Ok(id);
        }
        let no_image = |told| DockerError::NoImage { image: image.to_owned(), told };
        match self.run(&["pull", "--quiet", image]) {
            Err(DockerError::Failed { told, .. }) => return Err(no_image(told)),
            pulled => pulled?,
        };
        self.image_id(image)?.ok_or_else(|| no_image("it was pulled, and is not here".to_owned()))
    }

    fn run(&self, words: &[&str]) -> Result<String, DockerError> {
        let mut command = command(&self.docker);
        command.args(words);
        run(command)
    }
}

impl Container {
    /// Whether it can do its work.
    pub(crate) fn condition(&self) -> Condition {
        match (self.state.status.as_str(), self.state.health.as_deref()) {
            ("running", Some("healthy") | None) => Condition::Healthy,
            ("running", Some("unhealthy")) => Condition::Unhealthy,
            ("running" | "restarting" | "created", _) => Condition::Starting,
            _ => Condition::Stopped,
        }
    }

    fn read(inspected: Inspected) -> Self {
        let labels = inspected.config.labels.unwrap_or_default();
        let bindings = inspected.host_config.port_bindings.unwrap_or_default().into_iter();
        let published = bindings.flat_map(|(port, bindings)| {
            let addresses = bindings.unwrap_or_default().into_iter().map(|binding| {
                if binding.host_ip.is_empty() { "0.0.0.0".to_owned() } else { binding.host_ip }
            });
            addresses.map(move |address| (port.clone(), address)).collect::<Vec<_>>()
        });
        Self {
            id: inspected.id,
            name: inspected.name.trim_start_matches('/').to_owned(),
            service: labels.get(SERVICE).cloned().unwrap_or_default(),
            image: inspected.config.image,
            image_id: inspected.image,
            state: State {
                status: inspected.state.status,
                health: inspected.state.health.map(|health| health.status),
                exit_code: inspected.state.exit_code,
                restarts: inspected.restart_count,
            },
            published: published.collect(),
        }
    }
}

/// What `docker container inspect` prints. Names of the environment, which hold secrets, are not looked at.
pub(crate) fn read_containers(json: &str) -> Result<Vec<Container>, DockerError> {
    let inspected: Vec<Inspected> = serde_json::from_str(json)?;
    Ok(inspected.into_iter().map(Container::read).collect())
}

fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().stdin(std::process::Stdio::null());
    command.envs(PASSED_ON.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command
}

/// What the program answers; `None` where there is no such program.
fn ask(program: &Path, words: &[&str]) -> Result<Option<Output>, DockerError> {
    match command(program).args(words).output() {
        Ok(output) => Ok(Some(output)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DockerError::Run { program: program.to_owned(), source }),
    }
}

fn run(mut command: Command) -> Result<String, DockerError> {
    let program = PathBuf::from(command.get_program());
    let output = command.output().map_err(|source| DockerError::Run { program, source })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.take(4).map(|word| word.to_string_lossy()).collect();
    Err(DockerError::Failed { command: words.join(" "), told: complaint(&output) })
}

/// The end of what it complained about, in one line.
fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let skipped = line.chars().count().saturating_sub(LONGEST_COMPLAINT);
    line.chars().skip(skipped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(status: &str, health: &str) -> Container {
        let health =
            if health.is_empty() { String::new() } else { format!(r#","Health":{{"Status":"{health}"}}"#) };
        let json = format!(
            r#"[{{"Id":"ab","Name":"/mai-a_mai_1","Image":"sha256:cd","RestartCount":2,
                "State":{{"Status":"{status}","ExitCode":78{health}}},
                "Config":{{"Image":"mai:1","Env":["OPENROUTER_API_KEY=canary"],
                    "Labels":{{"com.docker.compose.service":"mai"}}}},
                "HostConfig":{{"PortBindings":{{"8788/tcp":[{{"HostIp":"127.0.0.1","HostPort":"9001"}}],
                    "8787/tcp":[{{"HostIp":"","HostPort":"8787"}}],"9/tcp":null}}}}}}]"#
        );
        read_containers(&json).unwrap().remove(0)
    }

    #[test]
    fn what_docker_tells_is_read() {
        let state = State { status: "exited".into(), health: None, exit_code: 78, restarts: 2 };
        let expected = Container {
            id: "ab".into(),
            name: "mai-a_mai_1".into(),
            service: "mai".into(),
            image: "mai:1".into(),
            image_id: "sha256:cd".into(),
            state,
            published: [("8787/tcp", "0.0.0.0"), ("8788/tcp", "127.0.0.1")]
                .map(|(port, address)| (port.to_owned(), address.to_owned()))
                .to_vec(),
        };
        let told = container("exited", "");
        assert!(!format!("{told:?}").contains("canary"));
        assert_eq!(told, expected);
        assert!(matches!(read_containers("{}"), Err(DockerError::Answer(_))));
    }

    #[test]
    fn only_a_running_container_is_healthy() {
        for (status, health, condition) in [
            ("running", "healthy", Condition::Healthy),
            ("running", "", Condition::Healthy),
            ("running", "starting", Condition::Starting),
            ("restarting", "unhealthy", Condition::Starting),
            ("running", "unhealthy", Condition::Unhealthy),
            ("exited", "healthy", Condition::Stopped),
            ("paused", "healthy", Condition::Stopped),
            ("dead", "", Condition::Stopped),
        ] {
            assert_eq!(container(status, health).condition(), condition, "{status} {health}");
        }
    }

    #[test]
    fn missing_programs_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = Docker::find(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("docker is not installed") && error.contains("hint: apt-get"), "{error}");
    }
}
