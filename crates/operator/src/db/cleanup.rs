//! `mai-usage db cleanup`: what provably bills nothing.
//!
//! A ledger holds no test data that could be told from real data: a call that was made was billed. What can be proved is that nothing
//! belongs to a row. Such rows come from statements typed by hand or by the original's scripts.

use std::path::Path;

use ledger::{Ledger, OrganisationFacts, RemoveUnused, UnusedOrganisation, UnusedUser};
use metering::{Clock, OrgId};
use serde::Serialize;

use super::{DbPlaceArgs, copy_before, open_to_read};
use crate::keys::pretty;
use crate::recording::{OpenLedger, id_in};
use crate::{Console, OperatorError, private_file};

pub(super) struct How {
    pub(super) json: bool,
    pub(super) dry_run: bool,
    pub(super) yes: bool,
}

/// What can go, and why.
#[derive(Serialize)]
struct Unused {
    kind: &'static str,
    id: String,
    name: Option<String>,
    proof: &'static str,
}

/// What was done, for machines.
#[derive(Serialize)]
struct Report<'a> {
    dry_run: bool,
    database: String,
    unused: &'a [Unused],
    backup: Option<String>,
    removed: u64,
}

const OF_ORGANISATION: &str = "no call, entry, daily row or poll belongs to it, and it is not this client's";
const OF_USER: &str = "no call, entry or daily row belongs to this user";

pub(super) async fn run(
    place: &DbPlaceArgs,
    how: How,
    console: &mut Console,
    clock: &Clock,
) -> Result<(), OperatorError> {
    let _lock = private_file::lock(&place.folder)?;
    let (client, settings, database) = place.find()?;
    let own = id_in(&settings)?;
    let reader = open_to_read(&database).await?;
    let unused = unused(reader.unused_organisations().await?, own.as_str(), reader.unused_users().await?);
    reader.close().await;
    let told = |backup: Option<&Path>, removed: u64| Report {
        dry_run: how.dry_run,
        database: database.display().to_string(),
        unused: &unused,
        backup: backup.map(|path| path.display().to_string()),
        removed,
    };
    if !how.json {
        list(&unused, how.dry_run, console)?;
    }
    let goes = !unused.is_empty() && !how.dry_run;
    if !goes || !console.agrees("Take these out, after a backup?", how.yes)? {
        return if how.json { console.say(&pretty(&told(None, 0))) } else { Ok(()) };
    }
    let now = clock.now();
    let facts = OrganisationFacts { id: Some(own), ..OrganisationFacts::none(now) };
    let open = OpenLedger::open(&database, facts).await?;
    let done = async {
        let copy = copy_before("cleanup", &client.folder, (open.ledger.reader(), now), console).await?;
        Ok::<_, OperatorError>((copy, remove(&open.ledger, &unused).await?))
    };
    let done = done.await;
    open.close().await;
    let (path, removed) = done?;
    if how.json {
        return console.say(&pretty(&told(Some(&path), removed)));
    }
    console.say(&format!("{removed} rows were taken out"))
}

fn unused(organisations: Vec<UnusedOrganisation>, own: &str, users: Vec<UnusedUser>) -> Vec<Unused> {
    let others = organisations.into_iter().filter(|other| other.id != own);
    let organisations = others.map(|other| Unused {
        kind: "organisation",
        id: other.id,
        name: Some(other.name),
        proof: OF_ORGANISATION,
    });
    let users = users.into_iter().map(|user| Unused {
        kind: "user",
        id: user.user_id,
        name: user.name,
        proof: OF_USER,
    });
    organisations.chain(users).collect()
}

fn list(unused: &[Unused], dry_run: bool, console: &mut Console) -> Result<(), OperatorError> {
    if unused.is_empty() {
        return console.say("nothing to take out: something was called or booked for every row");
    }
    let would = if dry_run { "would take out" } else { "found" };
    unused.iter().try_for_each(|row| {
        let name = row.name.as_deref().unwrap_or("no name");
        console.say(&format!("{would} the {} {:?} ({name:?}): {}", row.kind, row.id, row.proof))
    })
}

/// Takes out what is still unused.
async fn remove(ledger: &Ledger, unused: &[Unused]) -> Result<u64, OperatorError> {
    let ids = |kind: &str| -> Vec<String> {
        unused.iter().filter(|row| row.kind == kind).map(|row| row.id.clone()).collect()
    };
    let organisations = ids("organisation").into_iter().map(OrgId::new).collect();
    let removed = ledger.remove_unused(RemoveUnused { organisations, users: ids("user") }).await?;
    Ok(removed.organisations + removed.users)
}
