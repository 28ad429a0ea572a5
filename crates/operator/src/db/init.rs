//! `mai-usage db init`.

use metering::Clock;
use serde::Serialize;

use super::DbPlaceArgs;
use crate::keys::pretty;
use crate::recording::{facts_in, id_in, record};
use crate::{Console, OperatorError, private_file};

/// What was done, for machines.
#[derive(Serialize)]
struct Report {
    dry_run: bool,
    database: String,
    organisation_id: String,
    organisation: Option<String>,
    /// False where all was there.
    changed: bool,
}

pub(super) async fn run(
    place: &DbPlaceArgs,
    (json, dry_run): (bool, bool),
    console: &mut Console,
    clock: &Clock,
) -> Result<(), OperatorError> {
    let _lock = private_file::lock(&place.folder)?;
    let (_, settings, database) = place.find()?;
    let id = id_in(&settings)?;
    let shown = database.display().to_string();
    let name = settings.organization_name.clone();
    let changed = if dry_run {
        !database.exists()
    } else {
        record(&database, facts_in(&settings, clock.now())?).await?
    };
    if json {
        let organisation_id = id.as_str().to_owned();
        return console.say(&pretty(&Report {
            dry_run,
            database: shown,
            organisation_id,
            organisation: name,
            changed,
        }));
    }
    let name = name.unwrap_or_default();
    console.say(&match (dry_run, changed) {
        (true, true) => format!("would make {shown} and record {name} ({id}) in it"),
        (true, false) => {
            format!("would record in {shown} what .env says of {name} ({id}) and is not there yet")
        }
        (false, true) => format!("{shown} holds {name} ({id})"),
        (false, false) => format!("{shown} is complete, nothing was changed: {name} ({id})"),
    })
}
