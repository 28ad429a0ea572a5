//! Doing one step.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::plan::Step;
use super::{ClientName, ClientsError, start};
use crate::docker::Docker;
use crate::env_file::EnvFile;
use crate::private_file::{self, FileError};
use crate::{Console, OperatorError};

/// The user and the group of the sidecar in its image.
const SIDECAR_ID: u32 = 65532;

/// Of the folder with the database.
const FOLDER_MODE: u32 = 0o700;

/// Added to a file's name while its successor is written; neither proxy takes it for a site.
const SUCCESSOR: &str = ".mai-usage-new";

/// How much of what a command complained about is told.
const LONGEST_COMPLAINT: usize = 600;

/// What the steps work on.
pub(super) struct Work<'a> {
    pub(super) docker: &'a Docker,
    pub(super) name: &'a ClientName,
    pub(super) folder: &'a Path,
    pub(super) env: EnvFile,
    /// What stood in the files of the site before; they come back where the proxy refuses the new ones, because it would not start with them.
    pub(super) replaced: Vec<(PathBuf, Option<String>)>,
}

impl Work<'_> {
    pub(super) async fn apply(&mut self, step: &Step, console: &mut Console) -> Result<(), OperatorError> {
        match step {
            Step::WriteEnv { values } => write_env(self.folder, &mut self.env, values)?,
            Step::WriteFile { path, text, .. } => {
                self.remember(path);
                write(path, text)?;
            }
            Step::RemoveFile { path } => {
                self.remember(path);
                private_file::remove(path)?;
            }
            Step::GiveToSidecar { folder } => give_to_sidecar(folder)?,
            Step::Start { service } => {
                let place =
                    start::Place { docker: self.docker, client: self.name.as_str(), folder: self.folder };
                let project = self.env.get("COMPOSE_PROJECT_NAME").unwrap_or(self.name.as_str());
                let told = start::start(&place, project, service).await?;
                console.note(&format!("done: {service} {told}"));
                return Ok(());
            }
            Step::Certify { command } => certify(command)?,
            Step::Reload { command } => reload(command).or_else(|error| self.put_back(error))?,
        }
        console.note(&format!("done: {step}"));
        Ok(())
    }

    fn remember(&mut self, path: &Path) {
        if !path.starts_with(self.folder) {
            self.replaced.push((path.to_owned(), std::fs::read_to_string(path).ok()));
        }
    }

    fn put_back(&mut self, error: ClientsError) -> Result<(), OperatorError> {
        for (path, text) in self.replaced.drain(..) {
            match text {
                Some(text) => write(&path, &text)?,
                None => private_file::remove(&path)?,
            }
        }
        Err(error.into())
    }
}

/// Sets values and puts them on the disk.
pub(super) fn write_env(
    folder: &Path,
    env: &mut EnvFile,
    values: &[(&'static str, String)],
) -> Result<(), OperatorError> {
    let path = folder.join(".env");
    for (name, value) in values {
        env.set(name, value).map_err(|problem| OperatorError::EnvFile { path: path.clone(), problem })?;
    }
    Ok(private_file::replace(&path, &env.to_string())?)
}

/// A file without secrets, as a whole or not at all.
fn write(path: &Path, text: &str) -> Result<(), FileError> {
    let system = |source| FileError::System { attempted: "write", path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(system)?;
    }
    let mut name = path.as_os_str().to_owned();
    name.push(SUCCESSOR);
    let successor = PathBuf::from(name);
    std::fs::write(&successor, text).and_then(|()| std::fs::rename(&successor, path)).map_err(system)
}

/// The folder and what is directly in it. Links are not followed: the sidecar may write there, and must not choose what root gives away.
fn give_to_sidecar(folder: &Path) -> Result<(), OperatorError> {
    let system = |attempted| move |source| FileError::System { attempted, path: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(system("make"))?;
    for entry in std::fs::read_dir(folder).map_err(system("read"))? {
        give(&entry.map_err(system("read"))?.path())?;
    }
    let mode = std::fs::Permissions::from_mode(FOLDER_MODE);
    std::fs::set_permissions(folder, mode).map_err(system("protect"))?;
    Ok(give(folder)?)
}

fn give(path: &Path) -> Result<(), ClientsError> {
    let owner = |source| ClientsError::Owner { path: path.to_owned(), source };
    let found = std::fs::symlink_metadata(path).map_err(owner)?;
    if (found.uid(), found.gid()) == (SIDECAR_ID, SIDECAR_ID) {
        return Ok(());
    }
    lchown(path, Some(SIDECAR_ID), Some(SIDECAR_ID)).map_err(owner)
}

/// Makes the proxy read its sites again.
pub(super) fn reload(command: &str) -> Result<(), ClientsError> {
    run(command).map_err(|told| ClientsError::Reload { command: command.to_owned(), told })
}

/// Gets a certificate.
fn certify(command: &str) -> Result<(), ClientsError> {
    run(command).map_err(|told| ClientsError::Certify { command: command.to_owned(), told })
}

/// Runs a command of the provider's own, and answers what it said where it failed.
fn run(command: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", command]).stdin(std::process::Stdio::null()).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(line.chars().take(LONGEST_COMPLAINT).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reload_that_fails_tells_why() {
        reload("true").unwrap();
        let error = reload("echo 'host not found' >&2; exit 1").unwrap_err().to_string();
        assert!(error.contains("host not found") && error.contains("hint:"), "{error}");
    }

    /// As root the sidecar's user gets the files; as anybody else a word about it.
    #[test]
    fn a_link_in_the_sidecars_folder_gives_nothing_else_away() {
        let place = tempfile::tempdir().unwrap();
        let (folder, other) = (place.path().join("data"), place.path().join("other"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(&other, "").unwrap();
        std::fs::write(folder.join("mai-usage.db"), "").unwrap();
        std::os::unix::fs::symlink(&other, folder.join("link")).unwrap();
        let before = std::fs::metadata(&other).unwrap().uid();
        match give_to_sidecar(&folder) {
            Ok(()) => {
                let owner = |path: &Path| std::fs::symlink_metadata(path).unwrap().uid();
                assert_eq!((owner(&folder), owner(&folder.join("mai-usage.db"))), (SIDECAR_ID, SIDECAR_ID));
                assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
            }
            Err(error) => assert!(error.to_string().contains("hint: run it as root"), "{error}"),
        }
        assert_eq!(std::fs::metadata(&other).unwrap().uid(), before);
    }
}
