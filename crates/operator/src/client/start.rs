//! Starting a container and waiting until it can do its work.

use std::path::Path;
use std::time::Duration;

use super::ClientsError;
use crate::OperatorError;
use crate::docker::{Condition, Container, Docker};

/// Longest wait for a container: a first start of mAI migrates its database on a small machine. Docker's own health check gives up earlier.
const PATIENCE: Duration = Duration::from_mins(10);

/// Between two looks at it.
const PAUSE: Duration = Duration::from_millis(500);

/// So many restarts by Docker are no accident.
const MOST_RESTARTS: i64 = 3;

/// Whose containers.
pub(super) struct Place<'a> {
    pub(super) docker: &'a Docker,
    pub(super) client: &'a str,
    pub(super) folder: &'a Path,
}

/// Makes `service` run as the compose file and `.env` say, waits until it is healthy, and tells what was done. Containers that are so already go on.
pub(super) async fn start(
    place: &Place<'_>,
    project: &str,
    service: &'static str,
) -> Result<&'static str, OperatorError> {
    let before = container(place.docker, project, service)?;
    // Without its dependencies: Compose would wait for a sidecar that ends again and again without an end.
    place.docker.compose(place.folder, &["up", "--detach", "--no-deps", service])?;
    let restarts = container(place.docker, project, service)?.map_or(0, |found| found.state.restarts);
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let found = container(place.docker, project, service)?;
            match verdict(found.as_ref(), restarts) {
                Verdict::Wait => tokio::time::sleep(PAUSE).await,
                Verdict::Healthy => return Ok(found),
                Verdict::Broken(why) => return Err(unhealthy(place, service, (found.as_ref(), why))),
            }
        }
    });
    let late = || unhealthy(place, service, (None, "it was not healthy within 10 minutes".to_owned()));
    let after: Option<Container> = waited.await.map_err(|_| late())??;
    let same = before.as_ref().map(|before| &before.id) == after.as_ref().map(|after| &after.id);
    Ok(match before {
        None => "is started and healthy",
        Some(_) if same => "is healthy, in the container that it had",
        Some(_) => "is healthy, in a new container",
    })
}

fn container(docker: &Docker, project: &str, service: &str) -> Result<Option<Container>, OperatorError> {
    Ok(docker.containers(project)?.into_iter().find(|container| container.service == service))
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Wait,
    Healthy,
    Broken(String),
}

/// What to think of a container that Docker had started again `before` times when the wait began.
fn verdict(container: Option<&Container>, before: i64) -> Verdict {
    let Some(container) = container else { return Verdict::Broken("it was not made".to_owned()) };
    let code = container.state.exit_code;
    match container.condition() {
        Condition::Healthy => Verdict::Healthy,
        Condition::Unhealthy => Verdict::Broken("its health check fails".to_owned()),
        Condition::Stopped => Verdict::Broken(format!("it ended with exit code {code}")),
        Condition::Starting if container.state.restarts - before >= MOST_RESTARTS => {
            Verdict::Broken(format!("it ends again and again, with exit code {code}"))
        }
        Condition::Starting => Verdict::Wait,
    }
}

fn unhealthy(
    place: &Place<'_>,
    service: &'static str,
    (container, why): (Option<&Container>, String),
) -> OperatorError {
    let container = container.map_or_else(|| service.to_owned(), |container| container.name.clone());
    ClientsError::Unhealthy { client: place.client.to_owned(), service, why, container }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::State;

    fn container(status: &str, health: Option<&str>, restarts: i64) -> Container {
        Container {
            id: "ab".into(),
            name: "mai-a_mai-usage_1".into(),
            service: "mai-usage".into(),
            image: "mai-usage:1".into(),
            image_id: "sha256:cd".into(),
            state: State {
                status: status.into(),
                health: health.map(str::to_owned),
                exit_code: 78,
                restarts,
            },
            published: Vec::new(),
        }
    }

    #[test]
    fn a_container_is_waited_for_until_it_is_healthy_or_hopeless() {
        let of = |status, health, restarts| verdict(Some(&container(status, health, restarts)), 5);
        assert_eq!(of("running", Some("healthy"), 9), Verdict::Healthy);
        assert_eq!(of("running", Some("starting"), 5), Verdict::Wait);
        assert_eq!(of("restarting", None, 7), Verdict::Wait);
        for hopeless in
            [of("restarting", None, 8), of("exited", None, 5), of("running", Some("unhealthy"), 5)]
        {
            assert!(matches!(hopeless, Verdict::Broken(_)));
        }
        assert!(matches!(verdict(None, 0), Verdict::Broken(_)));
    }
}
