//! What runs: the sidecar, mAI, their containers.

use super::super::check::Check;
use super::super::compose;
use super::super::facts::{Facts, MaiFacts, SidecarFacts};
use crate::docker::{Container, State};

/// The version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Docker starts a container again after every crash; so many times is no accident.
const MANY_RESTARTS: i64 = 3;

/// The port of the proxy inside its container.
const PROXY_PORT: &str = "8787/tcp";

const LOOK: &str = "`docker-compose ps` and `docker-compose logs --tail 50 mai-usage` in the client's folder";

pub(in super::super) fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = sidecar(facts);
    checks.extend(mai(facts));
    checks.extend(facts.compose.as_deref().map(compose::checks).unwrap_or_default());
    checks.extend(containers(facts));
    checks
}

fn containers(facts: &Facts) -> Vec<Check> {
    match &facts.containers {
        None => Vec::new(),
        Some(Err(why)) => vec![Check::warn("containers", why.clone(), "look at Docker's own log")],
        Some(Ok(containers)) if containers.is_empty() && facts.compose.is_some() => {
            let fix = "`docker-compose up -d` in the client's folder";
            vec![Check::fail("containers", "there are none", fix)]
        }
        Some(Ok(containers)) => containers.iter().flat_map(of_container).collect(),
    }
}

fn sidecar(facts: &Facts) -> Vec<Check> {
    let (health, organisation_id) = match &facts.sidecar {
        SidecarFacts::Silent(why) => return vec![Check::fail("sidecar", why.clone(), LOOK)],
        SidecarFacts::Other(why) => {
            let fix = "another program has the port of USAGE_PORT: give this client another one";
            return vec![Check::fail("sidecar", why.clone(), fix)];
        }
        SidecarFacts::Answers { health, organisation_id } => (health, organisation_id),
    };
    let reasons = health.reasons.join("; ");
    let mut checks = vec![match health.status.as_str() {
        "ok" => Check::ok("sidecar", format!("healthy, version {}", health.version)),
        "degraded" => Check::warn("sidecar", reasons, "see to what it names; chats go on meanwhile"),
        _ => Check::fail("sidecar", format!("it cannot work: {reasons}"), LOOK),
    }];
    if health.version != VERSION {
        let found = format!("the sidecar has version {}, this program {VERSION}", health.version);
        checks.push(Check::warn("version", found, "upgrade the client, or use the program of its version"));
    }
    checks.push(whose(facts, organisation_id));
    checks
}

fn whose(facts: &Facts, organisation_id: &Result<String, String>) -> Check {
    let own = facts.books.as_ref().ok().map(|books| books.organisation_id.as_str());
    match (organisation_id, own.or_else(|| facts.value("OPENROUTER_EXTERNAL_USER"))) {
        (Err(why), _) => {
            let fix = "the sidecar has another USAGE_ADMIN_TOKEN than .env, or it is another client's: start it again, and \
                       compare USAGE_PORT";
            Check::fail("port", format!("the sidecar on this port does not say whose it is: {why}"), fix)
        }
        (Ok(id), Some(own)) if id != own => {
            let found = format!("the sidecar on this port is that of {id}, not of {own}");
            Check::fail("port", found, "two clients have one USAGE_PORT: give one of them another")
        }
        (Ok(id), _) => Check::ok("port", format!("the sidecar of {id} answers")),
    }
}

fn mai(facts: &Facts) -> Option<Check> {
    match &facts.mai {
        MaiFacts::NotAsked => None,
        MaiFacts::Answers => Some(Check::ok("mAI", "answers")),
        MaiFacts::Silent { address, why } => {
            let found = format!("mAI at {address} does not answer: {why}");
            Some(Check::fail("mAI", found, "`docker-compose logs --tail 50 mai` in the client's folder"))
        }
    }
}

fn of_container(container: &Container) -> Vec<Check> {
    let Container { service, state: State { status, health, restarts, .. }, .. } = container;
    let mut checks = vec![match (status.as_str(), health.as_deref()) {
        ("running", None | Some("healthy" | "starting")) => {
            Check::ok("containers", format!("{service} runs"))
        }
        ("running", Some(health)) => Check::fail("containers", format!("{service} is {health}"), LOOK),
        (status, _) => Check::fail("containers", format!("{service} is {status}"), LOOK),
    }];
    if *restarts > MANY_RESTARTS {
        let found = format!("{service} was started again {restarts} times by Docker");
        checks.push(Check::warn("restarts", found, LOOK));
    }
    checks.extend(container.published.iter().filter_map(|(port, address)| published(service, port, address)));
    checks
}

fn published(service: &str, port: &str, address: &str) -> Option<Check> {
    const USAGE_PORT: &str = "8788/tcp";
    if port == PROXY_PORT {
        let found = format!("{service} publishes the proxy's port 8787: whoever reaches it can spend");
        return Some(Check::fail(
            "proxy port",
            found,
            "take it out of `ports` of the compose file, then `up -d`",
        ));
    }
    let is_loopback = address.starts_with("127.") || address == "::1";
    if port == USAGE_PORT && !is_loopback {
        let found = format!("{service} publishes the usage API on {address} instead of 127.0.0.1");
        return Some(Check::fail(
            "usage port",
            found,
            "\"127.0.0.1:${USAGE_PORT}:8788\" in the compose file",
        ));
    }
    None
}
