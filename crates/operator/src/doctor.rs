//! `mai-usage doctor`: what is wrong, and what to do about it. Facts are gathered first; every check is a pure function of them.

mod check;
mod checks;
mod compose;
mod containers;
mod disk;
mod facts;
mod gather;

use metering::Clock;
use serde::Serialize;

use crate::clients::ChosenClients;
use crate::keys::pretty;
use crate::table::counted;
use crate::{Console, OperatorError};
use check::{Check, Checked, Level};
use gather::Depth;

/// What `mai-usage doctor` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct DoctorArgs {
    /// Whose.
    #[command(flatten)]
    pub clients: ChosenClients,
    /// Read every row of every ledger, as `mai-usage verify` does; that takes minutes.
    #[arg(long)]
    pub deep: bool,
    /// Tell only what is wrong.
    #[arg(long, short)]
    pub quiet: bool,
    /// Print JSON, for machines.
    #[arg(long)]
    pub json: bool,
}

/// The answer for machines.
#[derive(Serialize)]
struct Answer<'a> {
    failed: usize,
    warnings: usize,
    clients: &'a [Checked],
}

/// Looks at the clients that `args` choose, and at the server.
///
/// # Errors
/// [`OperatorError::NotWell`] where a check failed: all of them are told.
pub async fn run(args: DoctorArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let folders = args.clients.folders()?;
    let depth = if args.deep { Depth::Deep } else { Depth::Quick };
    let facts = gather::server(&folders, depth, clock.now()).await;
    let checked = checks::all(&facts);
    let count = |level| {
        checked.iter().flat_map(|checked| &checked.checks).filter(|check| check.level == level).count()
    };
    let (failed, warnings) = (count(Level::Fail), count(Level::Warn));
    let text = if args.json {
        pretty(&Answer { failed, warnings, clients: &checked })
    } else {
        let least = if args.quiet { Level::Warn } else { Level::Ok };
        format!("{}{failed} failed, {}", for_people(&checked, least), counted(warnings, "warning"))
    };
    console.say(&text)?;
    if failed == 0 {
        return Ok(());
    }
    Err(OperatorError::NotWell(format!("{} failed; what to do stands beside each", counted(failed, "check"))))
}

fn for_people(checked: &[Checked], least: Level) -> String {
    let mut lines = Vec::new();
    for Checked { client, checks } in checked {
        let told: Vec<&Check> = checks.iter().filter(|check| check.level >= least).collect();
        if told.is_empty() {
            continue;
        }
        lines.push(shown(client.as_deref().unwrap_or("this server")));
        for Check { level, name, found, fix } in told {
            lines.push(format!("  {:<4}  {name:<13} {}", level.name(), shown(found)));
            lines.extend(fix.iter().map(|fix| format!("        fix: {}", shown(fix))));
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

/// What was found comes from outside: what would move the cursor is shown as it is not.
fn shown(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}
