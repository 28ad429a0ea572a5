//! `.env`: can it be read, and would the sidecar start with it.

use settings::{DECLARED, Settings};

use super::super::check::Check;
use super::super::facts::Facts;
use crate::env_file::EnvFile;

/// A token of `setup` has twice as many letters; one of fewer may be guessed.
const SHORTEST_TOKEN: usize = 32;

/// Fewer different letters are nobody's random token.
const FEWEST_LETTERS: usize = 8;

/// Secrets of which no two may be the same.
const SECRETS: [&str; 4] =
    ["USAGE_PROXY_TOKEN", "USAGE_ADMIN_TOKEN", "WEBUI_SECRET_KEY", "OPENWEBUI_USER_JWT_SECRET"];

/// Words of examples.
const EXAMPLES: [&str; 6] = ["example", "change", "your", "secret", "token", "password"];

/// The secrets without which the containers do not start, or nobody can ask the sidecar.
const NEEDED: [&str; 3] = ["USAGE_PROXY_TOKEN", "USAGE_ADMIN_TOKEN", "WEBUI_SECRET_KEY"];

pub(in super::super) fn checks(facts: &Facts) -> Vec<Check> {
    match &facts.env {
        Err(why) => {
            let fix = "put a readable .env of mode 0600 there; `mai-usage setup` makes one";
            vec![Check::fail("env", why.clone(), fix)]
        }
        Ok(env) => [vec![settings(env), ambiguous(env)], tokens(env)].concat(),
    }
}

fn settings(env: &EnvFile) -> Check {
    match Settings::from_variables(env.variables()) {
        Ok(_) => Check::ok("env", "readable by its owner only, and every setting can be used"),
        Err(invalid) => {
            let found = invalid.to_string().replace("\n  ", "; ");
            Check::fail("env", found, "correct these lines of .env, then start the sidecar again")
        }
    }
}

fn ambiguous(env: &EnvFile) -> Check {
    match env.refuse_ambiguous(DECLARED.iter().map(|declared| declared.name)) {
        Ok(()) => Check::ok("quotes", "every reader reads the same values"),
        Err(problem) => {
            Check::warn("quotes", problem.to_string(), "put the value into single quotes in .env")
        }
    }
}

fn tokens(env: &EnvFile) -> Vec<Check> {
    const MAKE: &str = "`mai-usage setup` makes what is missing; by hand: openssl rand -hex 32";
    let mut wrong = Vec::new();
    for name in NEEDED.iter().filter(|name| env.get(name).is_none()) {
        wrong.push(Check::fail("tokens", format!("{name} is missing"), MAKE));
    }
    let set: Vec<(&str, &str)> = SECRETS.iter().filter_map(|name| Some((*name, env.get(name)?))).collect();
    for (place, (name, value)) in set.iter().enumerate() {
        if let Some((other, _)) = set.iter().skip(place + 1).find(|(_, other)| other == value) {
            let found = format!("{name} and {other} are the same");
            wrong.push(Check::fail("tokens", found, "give each its own: openssl rand -hex 32"));
        }
        if is_guessable(value) {
            let found = format!("{name} can be guessed: it is short, or made of words");
            wrong.push(Check::warn("tokens", found, "replace it: openssl rand -hex 32"));
        }
    }
    if wrong.is_empty() { vec![Check::ok("tokens", "there, long and different")] } else { wrong }
}

fn is_guessable(value: &str) -> bool {
    let small = value.to_ascii_lowercase();
    let letters: std::collections::BTreeSet<char> = value.chars().collect();
    value.len() < SHORTEST_TOKEN
        || letters.len() < FEWEST_LETTERS
        || EXAMPLES.iter().any(|word| small.contains(word))
}
