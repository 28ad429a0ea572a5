//! All clients beside each other: what must not be the same, and what should be.

use std::collections::{BTreeMap, BTreeSet};

use super::super::check::Check;
use super::super::facts::{Facts, ServerFacts};

/// Secrets that two clients must not share.
const OWN: [&str; 4] =
    ["OPENROUTER_API_KEY", "USAGE_PROXY_TOKEN", "USAGE_ADMIN_TOKEN", "OPENROUTER_EXTERNAL_USER"];

/// The ports on this host, with what each is in a client that does not name it.
const PORTS: [(&str, &str); 2] = [("USAGE_PORT", "9001"), ("MAI_PORT", "8001")];

pub(in super::super) fn checks(facts: &ServerFacts) -> Vec<Check> {
    let mut checks = vec![docker(facts)];
    checks.extend(ports(&facts.clients));
    checks.extend(shared(&facts.clients));
    checks.extend(images(&facts.clients));
    checks
}

fn docker(facts: &ServerFacts) -> Check {
    let needed = facts.clients.iter().any(|client| client.compose.is_some());
    match &facts.docker {
        Ok(()) => Check::ok("docker", "the daemon answers"),
        Err(why) if needed => Check::fail(
            "docker",
            why.clone(),
            "`systemctl start docker`; run this as root, or in the group docker",
        ),
        Err(_) => Check::ok("docker", "not asked: no client has a compose file"),
    }
}

fn ports(clients: &[Facts]) -> Vec<Check> {
    let mut users: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for client in clients.iter().filter(|client| client.env.is_ok()) {
        for (name, default) in PORTS {
            let port = client.value(name).map_or(default, port_of);
            users.entry(port).or_default().insert(format!("{} ({name})", client.client));
        }
    }
    let twice: Vec<Check> = users
        .iter()
        .filter(|(_, users)| users.len() > 1)
        .map(|(port, users)| {
            let users: Vec<&str> = users.iter().map(String::as_str).collect();
            let found = format!("port {port} is used twice: {}", users.join(", "));
            Check::fail("ports", found, "give each its own in .env, then `docker-compose up -d`")
        })
        .collect();
    if twice.is_empty() { vec![Check::ok("ports", "each client has its own")] } else { twice }
}

/// `127.0.0.1:8001` is a port as well.
fn port_of(text: &str) -> &str {
    text.rsplit_once(':').map_or(text, |(_, port)| port)
}

fn shared(clients: &[Facts]) -> Vec<Check> {
    let mut checks = Vec::new();
    for name in OWN {
        let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for client in clients {
            if let Some(value) = client.value(name) {
                users.entry(value).or_default().push(&client.client);
            }
        }
        for users in users.values().filter(|users| users.len() > 1) {
            let found = format!("{name} is the same in {}", users.join(", "));
            let fix =
                "a client was copied: give each its own; `mai-usage setup` in an empty folder makes them";
            checks.push(Check::fail("own secrets", found, fix));
        }
    }
    checks
}

fn images(clients: &[Facts]) -> Vec<Check> {
    let mut images: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for client in clients {
        for container in client.containers.iter().flatten().flatten() {
            let of_service = images.entry(&container.service).or_default();
            of_service.entry(&container.image_id).or_default().insert(&client.client);
        }
    }
    let differing = images.iter().filter(|(_, images)| images.len() > 1);
    let told = differing.map(|(service, images)| {
        let groups: Vec<String> = images
            .iter()
            .map(|(image, clients)| {
                let clients: Vec<&str> = clients.iter().copied().collect();
                format!("{} in {}", short(image), clients.join(", "))
            })
            .collect();
        let found = format!("the clients run different images of {service}: {}", groups.join("; "));
        Check::warn("images", found, "upgrade those that are behind")
    });
    told.collect()
}

/// As Docker lists it.
fn short(image_id: &str) -> &str {
    let digits = image_id.strip_prefix("sha256:").unwrap_or(image_id);
    digits.get(..12).unwrap_or(digits)
}
