//! The checks: pure functions of facts.

mod books;
mod env;
mod key;
mod running;
mod server;
#[cfg(test)]
mod tests;

use super::check::{Check, Checked};
use super::facts::{Facts, ServerFacts};

/// Every check of every client, and those of the server at the end.
pub(super) fn all(facts: &ServerFacts) -> Vec<Checked> {
    let clients = facts
        .clients
        .iter()
        .map(|client| Checked { client: Some(client.client.clone()), checks: of_client(client) });
    let server = Checked { client: None, checks: server::checks(facts) };
    clients.chain([server]).collect()
}

/// Where `.env` cannot be read, nothing else is known.
fn of_client(facts: &Facts) -> Vec<Check> {
    let mut checks = env::checks(facts);
    if facts.env.is_ok() {
        checks.extend(key::checks(facts));
        checks.extend(books::checks(facts));
        checks.extend(running::checks(facts));
    }
    checks
}
