//! What Docker tells of a client's containers. It is only asked; nothing is changed.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

/// Longest wait for an answer of Docker's.
const PATIENCE: Duration = Duration::from_secs(10);

/// The label with the folder of a container's compose file.
const FOLDER: &str = "com.docker.compose.project.working_dir";

/// The label with the name of a container's service.
const SERVICE: &str = "com.docker.compose.service";

/// How much of what Docker complains about is told.
const LONGEST_COMPLAINT: usize = 300;

/// A container of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Container {
    pub(super) service: String,
    pub(super) image_id: String,
    /// `running`, `exited`, `restarting`…
    pub(super) status: String,
    /// `starting`, `healthy`, `unhealthy`; `None` where it has no check.
    pub(super) health: Option<String>,
    /// How often Docker started it again by itself.
    pub(super) restarts: i64,
    /// Ports inside (`8788/tcp`) with the addresses of this host on which they are published.
    pub(super) published: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    image: String,
    #[serde(default)]
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
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedHost {
    #[serde(default)]
    port_bindings: Option<std::collections::BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    #[serde(default)]
    host_ip: String,
}

/// Whether a daemon answers; why not otherwise.
pub(super) async fn daemon() -> Result<(), String> {
    docker(&["version", "--format", "{{.Server.Version}}"]).await.map(|_| ())
}

/// The containers, running or not, that were made from the compose file in `folder`.
pub(super) async fn of(folder: &Path) -> Result<Vec<Container>, String> {
    let filter = format!("label={FOLDER}={}", folder.display());
    let ids = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]).await?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    read(&docker(&[&["inspect"][..], &ids].concat()).await?)
}

async fn docker(arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("docker");
    command.args(arguments).kill_on_drop(true);
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => return Err(format!("docker has not answered for {} seconds", PATIENCE.as_secs())),
        Ok(Err(error)) => return Err(format!("docker cannot be run: {error}")),
        Ok(Ok(output)) => output,
    };
    let Output { status, stdout, stderr } = output;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if status.success() {
        return Ok(text(&stdout));
    }
    let told: String = text(&stderr).replace('\n', " ").chars().take(LONGEST_COMPLAINT).collect();
    Err(format!("docker: {told}"))
}

/// What `docker inspect` prints. Names of the environment, which hold secrets, are not looked at.
fn read(text: &str) -> Result<Vec<Container>, String> {
    let inspected: Vec<Inspected> =
        serde_json::from_str(text).map_err(|error| format!("docker inspect is not understood: {error}"))?;
    Ok(inspected.into_iter().map(Container::of).collect())
}

impl Container {
    fn of(inspected: Inspected) -> Self {
        let Inspected { image, restart_count, state, config, host_config } = inspected;
        let service = config.labels.unwrap_or_default().remove(SERVICE).unwrap_or_default();
        let bindings = host_config.port_bindings.unwrap_or_default().into_iter();
        let published = bindings.flat_map(|(port, bindings)| {
            let addresses = bindings.unwrap_or_default().into_iter().map(|binding| {
                if binding.host_ip.is_empty() { "0.0.0.0".to_owned() } else { binding.host_ip }
            });
            addresses.map(move |address| (port.clone(), address)).collect::<Vec<_>>()
        });
        Self {
            service,
            image_id: image,
            status: state.status,
            health: state.health.map(|health| health.status),
            restarts: restart_count,
            published: published.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inspection_is_read() {
        let told = r#"[{"Id":"a","Image":"sha256:0123456789abcdef","RestartCount":4,
            "State":{"Status":"running","Health":{"Status":"unhealthy","Log":[]}},
            "Config":{"Labels":{"com.docker.compose.service":"mai-usage"},"Env":["OPENROUTER_API_KEY=canary"]},
            "HostConfig":{"PortBindings":{"8788/tcp":[{"HostIp":"127.0.0.1","HostPort":"9001"}],"8787/tcp":[{"HostIp":"","HostPort":"8787"}],"9/tcp":null}}},
            {"Id":"b","Image":"sha256:1","State":{"Status":"exited"},"Config":{"Labels":null}}]"#;
        let containers = read(told).unwrap();
        assert_eq!(
            containers.first().unwrap(),
            &Container {
                service: "mai-usage".to_owned(),
                image_id: "sha256:0123456789abcdef".to_owned(),
                status: "running".to_owned(),
                health: Some("unhealthy".to_owned()),
                restarts: 4,
                published: vec![
                    ("8787/tcp".to_owned(), "0.0.0.0".to_owned()),
                    ("8788/tcp".to_owned(), "127.0.0.1".to_owned())
                ],
            }
        );
        assert_eq!((containers.len(), containers.last().unwrap().health.as_deref()), (2, None));
        assert!(!format!("{containers:?}").contains("canary"));
        assert!(read("<html>").is_err());
    }
}
