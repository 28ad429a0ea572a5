//! Row 21: what the program is made of.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::trial::{Outcome, Trial};

/// Cargo-deny's exit code has a bit for each check.
const ADVISORIES: i32 = 1;
const BANS: i32 = 2;
const LICENSES: i32 = 4;
const SOURCES: i32 = 8;

/// A package of the real tree that becomes something bad.
const VICTIM: &str = "itoa";

/// A bad package in the tree, as `cargo metadata` would tell of it.
struct Planted {
    what: &'static str,
    plant: fn(&Value) -> Value,
    /// The one check that must fail.
    bit: i32,
    /// What it must name.
    named: &'static [&'static str],
}

const PLANTED: [Planted; 8] = [
    Planted {
        what: "a licence that asks for the source",
        plant: |tree| with_license(tree, "AGPL-3.0-only"),
        bit: LICENSES,
        named: &["itoa", "AGPL-3.0-only"],
    },
    Planted {
        what: "a licence beside a good one",
        plant: |tree| with_license(tree, "MIT AND GPL-2.0-or-later"),
        bit: LICENSES,
        named: &["itoa", "GPL-2.0"],
    },
    Planted {
        what: "a second TLS",
        plant: |tree| named(tree, "openssl"),
        bit: BANS,
        named: &["openssl", "TLS is rustls"],
    },
    Planted {
        what: "a second provider of cryptography",
        plant: |tree| named(tree, "aws-lc-rs"),
        bit: BANS,
        named: &["aws-lc-rs", "ring"],
    },
    Planted { what: "RSA", plant: |tree| named(tree, "rsa"), bit: BANS, named: &["rsa", "RUSTSEC"] },
    Planted { what: "any version", plant: any_version, bit: BANS, named: &["wildcard", "mai-usage"] },
    Planted {
        what: "an unknown registry",
        plant: |tree| from_elsewhere(tree, "registry+https://registry.example/index"),
        bit: SOURCES,
        named: &["itoa", "registry.example"],
    },
    Planted {
        what: "a git repository",
        plant: |tree| from_elsewhere(tree, "git+https://git.example/itoa?rev=abc"),
        bit: SOURCES,
        named: &["itoa", "git.example"],
    },
];

/// The package in `tree` by its name.
fn package<'a>(tree: &'a mut Value, name: &str) -> &'a mut Value {
    let packages = tree["packages"].as_array_mut().unwrap();
    packages.iter_mut().find(|package| package["name"] == name).unwrap()
}

fn with_license(tree: &Value, license: &str) -> Value {
    let mut tree = tree.clone();
    package(&mut tree, VICTIM)["license"] = license.into();
    tree
}

/// The victim under another id, wherever it is mentioned.
fn with_id(tree: &Value, old: &str, new: &str) -> Value {
    let id = package(&mut tree.clone(), VICTIM)["id"].clone();
    let changed: Value = id.as_str().unwrap().replace(old, new).into();
    serde_json::from_str(&tree.to_string().replace(&id.to_string(), &changed.to_string())).unwrap()
}

fn named(tree: &Value, name: &str) -> Value {
    let mut tree = with_id(tree, VICTIM, name);
    package(&mut tree, VICTIM)["name"] = name.into();
    tree
}

fn from_elsewhere(tree: &Value, source: &str) -> Value {
    let old = package(&mut tree.clone(), VICTIM)["source"].clone();
    let mut tree = with_id(tree, old.as_str().unwrap(), source);
    package(&mut tree, VICTIM)["source"] =
        if source.starts_with("git") { format!("{source}#{}", "0".repeat(40)).into() } else { source.into() };
    tree
}

fn any_version(tree: &Value) -> Value {
    let mut tree = tree.clone();
    let dependencies = package(&mut tree, "mai-usage")["dependencies"].as_array_mut().unwrap();
    let clap = dependencies.iter_mut().find(|dependency| dependency["name"] == "clap").unwrap();
    clap["req"] = "*".into();
    tree
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where `scripts/tools.sh` puts it, or in the path.
fn tool() -> Option<PathBuf> {
    let own = root().join("target/tools/bin/cargo-deny");
    let candidates = [own, PathBuf::from("cargo-deny")];
    candidates.into_iter().find(|tool| {
        Command::new(tool).arg("--version").output().is_ok_and(|version| version.status.success())
    })
}

/// What `Cargo.lock` holds for this machine; from what was downloaded to build it, where that is all.
fn tree() -> Option<Value> {
    let host = Command::new("rustc").arg("-vV").current_dir(root()).output().ok()?;
    let host = String::from_utf8(host.stdout).ok()?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: "))?.to_owned();
    let told = [&["--offline"][..], &[]].into_iter().find_map(|more| {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &host]);
        cargo.args(more).current_dir(root()).output().ok().filter(|output| output.status.success())
    })?;
    serde_json::from_slice(&told.stdout).ok()
}

/// The exit code and the words of cargo-deny on `tree`, by the house's `deny.toml`.
fn judge(tool: &Path, folder: &Path, tree: &Value, checks: &[&str]) -> (Option<i32>, String) {
    let told = folder.join("metadata.json");
    std::fs::write(&told, tree.to_string()).unwrap();
    let mut deny = Command::new(tool);
    deny.arg("--metadata-path").arg(told).arg("--manifest-path").arg(root().join("Cargo.toml"));
    deny.args(["--workspace", "--offline", "--locked", "--color", "never", "--log-level", "error", "check"]);
    let output = deny.args(checks).current_dir(root()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The known weaknesses, if somebody has fetched them: there is not always a network.
fn advisories(judge: impl Fn(&[&str]) -> (Option<i32>, String)) -> &'static str {
    let home = std::env::home_dir().map(|home| home.join(".cargo"));
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from).or(home);
    let databases = cargo_home.and_then(|home| std::fs::read_dir(home.join("advisory-dbs")).ok());
    if databases.is_none_or(|databases| databases.count() == 0) {
        return "advisories NOT looked at, as no database is at hand (hint: cargo deny fetch)";
    }
    let (code, words) = judge(&["advisories"]);
    assert_eq!(code.map(|code| code & ADVISORIES), Some(0), "{words}");
    assert_eq!(code, Some(0), "{words}");
    "no advisory"
}

/// Row 21.
pub(crate) async fn cargo_deny(trial: Trial) -> Outcome {
    const CHECKS: [&str; 3] = ["bans", "licenses", "sources"];
    let Some(tool) = tool() else {
        return Outcome::Skipped("cargo-deny is not installed; hint: scripts/tools.sh".to_owned());
    };
    let Some(tree) = tree() else {
        return Outcome::Skipped("cargo metadata: not all packages are downloaded".to_owned());
    };
    let packages = tree["packages"].as_array().unwrap().len();
    assert!(packages > 100, "only {packages} packages");
    let judge = |tree: &Value, checks: &[&str]| judge(&tool, trial.folder.path(), tree, checks);
    let (code, words) = judge(&tree, &CHECKS);
    assert_eq!(code, Some(0), "{words}");
    for Planted { what, plant, bit, named } in PLANTED {
        let (code, words) = judge(&plant(&tree), &CHECKS);
        assert_eq!(code, Some(bit), "planted: {what}: {words}");
        assert!(named.iter().all(|name| words.contains(name)), "planted: {what}: {words}");
    }
    let advisories = advisories(|checks| judge(&tree, checks));
    Outcome::Counts(format!(
        "{packages} packages clean by bans, licences, sources; {} of {} planted ones found; {advisories}",
        PLANTED.len(),
        PLANTED.len()
    ))
}
