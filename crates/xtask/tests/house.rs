//! The rules of this house that a compiler does not know.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]

use std::collections::BTreeMap;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// The crates from the top to the bottom: each may use only what stands below it.
const ORDER: [&str; 16] = [
    "bench",
    "mai-usage",
    "daemon",
    "operator",
    "proxy",
    "usage-api",
    "upkeep",
    "settings",
    "openrouter",
    "open-webui",
    "sample-ledger",
    "ledger",
    "metering",
    "spreadsheet",
    "openrouter-sim",
    "xtask",
];

/// What a crate must never know, whatever stands below it.
const NEVER: [(&str, &[&str]); 11] = [
    // What it measures is the program as it is shipped, in a process of its own.
    ("bench", &["daemon", "ledger", "mai-usage", "metering", "proxy", "settings", "upkeep", "usage-api"]),
    ("operator", &["axum", "config", "hyper", "proxy", "sqlx", "upkeep", "usage-api"]),
    ("proxy", &["sqlx", "config", "settings"]),
    ("usage-api", &["sqlx", "reqwest", "openrouter"]),
    ("upkeep", &["axum", "hyper", "sqlx", "config", "settings"]),
    ("settings", &["metering", "ledger", "openrouter", "open-webui", "tokio"]),
    ("openrouter", &["sqlx", "ledger", "open-webui"]),
    ("open-webui", &["sqlx", "ledger", "settings"]),
    ("ledger", &["axum", "hyper", "reqwest"]),
    ("metering", &["tokio", "sqlx", "reqwest", "axum", "config"]),
    (
        "openrouter-sim",
        &[
            "daemon",
            "ledger",
            "mai-usage",
            "metering",
            "open-webui",
            "openrouter",
            "operator",
            "proxy",
            "settings",
            "upkeep",
            "usage-api",
        ],
    ),
];

/// What each crate of the house depends on, tests and build scripts apart.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().unwrap();
    let of = |package: &cargo_metadata::Package| {
        let normal =
            package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
        normal.map(|dependency| dependency.name.clone()).collect()
    };
    metadata.packages.iter().map(|package| (package.name.to_string(), of(package))).collect()
}

#[test]
fn a_crate_uses_only_what_stands_below_it() {
    let place = |name: &str| ORDER.iter().position(|crate_name| *crate_name == name);
    for (name, dependencies) in dependencies() {
        let own = place(&name);
        assert!(own.is_some(), "{name} has no place in the order of the house");
        if name == "xtask" {
            continue;
        }
        for below in dependencies.iter().filter_map(|dependency| place(dependency)) {
            assert!(Some(below) > own, "{name} may not use {}", ORDER.get(below).unwrap());
        }
    }
}

#[test]
fn a_crate_never_knows_what_it_must_not() {
    let dependencies = dependencies();
    for (name, never) in NEVER {
        let known = dependencies.get(name).unwrap();
        let wrong: Vec<_> = known.iter().filter(|known| never.contains(&known.as_str())).collect();
        assert!(wrong.is_empty(), "{name} must not know {wrong:?}");
    }
}

#[test]
fn the_map_names_every_crate() {
    let map = std::fs::read_to_string(xtask::root().join("ARCHITECTURE.md")).unwrap();
    for name in dependencies().keys() {
        assert!(map.contains(&format!("| `{name}` |")), "ARCHITECTURE.md does not name {name}");
    }
}

#[test]
fn the_document_of_the_settings_is_true() {
    let path = xtask::root().join("docs/configuration.md");
    let found = std::fs::read_to_string(path).unwrap();
    assert!(found == xtask::configuration_document(), "hint: cargo xtask docs");
}

/// Every setting that `.env.example` names is one that something reads.
#[test]
fn the_example_of_an_env_file_names_only_what_is_read() {
    let example = std::fs::read_to_string(xtask::root().join(".env.example")).unwrap();
    let compose = std::fs::read_to_string(xtask::root().join("docker-compose.customization.yaml")).unwrap();
    for line in example.lines() {
        let Some((name, _)) = line.trim_start_matches('#').split_once('=') else { continue };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_') {
            continue;
        }
        let read_by_the_sidecar = settings::DECLARED.iter().any(|setting| setting.name == name);
        let read_by_compose = compose.contains(&format!("${{{name}"));
        assert!(read_by_the_sidecar || read_by_compose, "nothing reads {name}");
    }
}

/// What cloud-init writes onto a server are the files of `deploy/`, which it cannot include.
#[test]
fn the_server_gets_the_files_of_deploy() {
    let deploy = xtask::root().join("deploy");
    let cloud_init = std::fs::read_to_string(deploy.join("cloud-init.yaml")).unwrap();
    let units = std::fs::read_dir(deploy.join("systemd")).unwrap().map(|unit| unit.unwrap().path());
    for path in units.chain([deploy.join("server.env")]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let indented: Vec<String> = text
            .lines()
            .map(|line| if line.is_empty() { String::new() } else { format!("      {line}") })
            .collect();
        assert!(cloud_init.contains(&indented.join("\n")), "{} differs in cloud-init.yaml", path.display());
    }
}
