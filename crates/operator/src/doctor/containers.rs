//! What Docker tells of a client's containers. It is only asked; nothing is changed.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;

use crate::docker::{Container, read_containers};

/// Longest wait for an answer of Docker's.
const PATIENCE: Duration = Duration::from_secs(10);

/// The label with the folder of a container's compose file.
const FOLDER: &str = "com.docker.compose.project.working_dir";

/// How much of what Docker complains about is told.
const LONGEST_COMPLAINT: usize = 300;

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
    let told = docker(&[&["container", "inspect"][..], &ids].concat()).await?;
    read_containers(&told).map_err(|error| error.to_string())
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
