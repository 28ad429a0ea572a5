//! The database: the file, the disk, and what is recorded.

use std::time::Duration;

use jiff::Timestamp;
use ledger::Reconciliation;
use metering::{OrgId, PicoUsd};

use super::super::check::Check;
use super::super::facts::{BookFacts, Facts, FileFacts};
use crate::limit::Limit;

/// Whom the files belong to where the sidecar runs in its container.
const CONTAINER_UID: u32 = 65_532;

/// What has to be left on the disk.
const WARN_BYTES: u64 = 1024 * 1024 * 1024;
const FAIL_BYTES: u64 = 200 * 1024 * 1024;

/// Files that can still be made.
const WARN_FILES: u64 = 10_000;

/// The sidecar copies its log into the database every 4 MB.
const LONG_LOG_BYTES: u64 = 64 * 1024 * 1024;

/// A poll is late after this long, and never before three were missed.
const LATE: Duration = Duration::from_mins(30);

/// A backup a day, and two hours for making it.
const OLD_BACKUP: Duration = Duration::from_hours(26);

/// What an administrator does where the key is used past the sidecar.
const BYPASS: &str = "in mAI, Settings -> Connections: the address must be http://mai-usage:8787/api/v1 and the key \
                      USAGE_PROXY_TOKEN of .env, and so under Documents, Images and Audio; what is stored there wins over \
                      the compose file. If that is so, the key has leaked: `mai-usage keys rotate`";

pub(in super::super) fn checks(facts: &Facts) -> Vec<Check> {
    let mut checks = file(facts);
    checks.extend(disk(&facts.database));
    match &facts.books {
        Err(why) => checks.push(Check::fail("database", why.clone(), unreadable(why))),
        Ok(books) => {
            checks.push(findings(books));
            checks.push(organisation(facts, books));
            checks.extend(polls(facts, books));
            checks.extend(unsettled(facts, books));
            checks.extend(unattributed(books));
        }
    }
    checks.push(backup(facts));
    checks
}

fn unreadable(why: &str) -> &'static str {
    if why.contains("newer mai-usage") {
        return "start the newer image again, or restore a backup from before the upgrade";
    }
    "where it never was there: start the sidecar. Otherwise keep what is left, and restore a backup"
}

fn file(facts: &Facts) -> Vec<Check> {
    let FileFacts { path, owner, folder_owner, strangers, log_bytes, .. } = &facts.database;
    let Some(owner) = owner else { return Vec::new() };
    let mut wrong = Vec::new();
    if owner.mode & 0o077 != 0 {
        let found = format!("others may read the database (mode {:o}); the sidecar refuses it", owner.mode);
        wrong.push(Check::fail("files", found, format!("chmod 600 {}", path.display())));
    }
    let wanted = if facts.compose.is_some() { CONTAINER_UID } else { owner.uid };
    let folder = path.parent().unwrap_or(path).display();
    let fix = format!("chown -R {wanted}:{wanted} {folder}");
    let folder_is_other = folder_owner.is_some_and(|folder| folder.uid != wanted);
    if owner.uid != wanted || folder_is_other {
        let found = format!("the database and its folder must belong to the sidecar's user {wanted}");
        wrong.push(Check::fail("files", found, fix.clone()));
    }
    for stranger in strangers {
        let found = format!("{} belongs to another user than the database", stranger.display());
        wrong.push(Check::fail("files", found, fix.clone()));
    }
    if *log_bytes > LONG_LOG_BYTES {
        let found = format!("the write-ahead log has {} MB", log_bytes / 1_000_000);
        let fix =
            "something reads for hours and keeps it from being copied; end that, or start the sidecar again";
        wrong.push(Check::warn("files", found, fix));
    }
    if wrong.is_empty() { vec![Check::ok("files", "the sidecar's own, and nobody else's")] } else { wrong }
}

fn disk(file: &FileFacts) -> Option<Check> {
    let disk = file.disk?;
    let megabytes = disk.free_bytes / 1_000_000;
    let found = format!("{megabytes} MB and {} files are left", disk.free_files);
    let fix = "remove old images (`docker image prune`) and backups, or make the disk larger: a full disk stops every chat";
    let few_files = disk.files > 0 && disk.free_files < WARN_FILES;
    Some(if disk.free_bytes < FAIL_BYTES {
        Check::fail("disk", found, fix)
    } else if disk.free_bytes < WARN_BYTES || few_files {
        Check::warn("disk", found, fix)
    } else {
        Check::ok("disk", format!("{megabytes} MB are left"))
    })
}

fn findings(books: &BookFacts) -> Check {
    if books.findings.is_empty() {
        return Check::ok("database", "sound as far as was looked");
    }
    let fix =
        "stop the sidecar, keep this file, run `mai-usage verify`, restore the last good backup and compare";
    Check::fail("database", books.findings.join("; "), fix)
}

/// The sidecar records what `.env` says when it starts.
fn organisation(facts: &Facts, books: &BookFacts) -> Check {
    let id = facts.value("OPENROUTER_EXTERNAL_USER");
    if let Some(id) = id.filter(|id| OrgId::new(*id).as_str() != books.organisation_id) {
        let found = format!("the database is that of {}, .env names {id}", books.organisation_id);
        let fix = "the wrong file, or the wrong .env: the sidecar will not start. Put the right one back";
        return Check::fail("organisation", found, fix);
    }
    let limit = |text: &str| Limit::read(text).ok().map(|limit| limit.amount());
    let recorded = books.monthly_limit.as_deref().unwrap_or("unlimited");
    let differs = [
        ("OPENROUTER_API_KEY", books.has_other_key),
        ("ORGANIZATION_NAME", facts.value("ORGANIZATION_NAME").is_some_and(|name| name != books.name)),
        (
            "SPENDING_LIMIT",
            facts.value("SPENDING_LIMIT").is_some_and(|wanted| limit(wanted) != limit(recorded)),
        ),
        ("BILLING_TIMEZONE", facts.value("BILLING_TIMEZONE").is_some_and(|zone| zone != books.zone)),
    ];
    let names: Vec<&str> = differs.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    if names.is_empty() {
        return Check::ok("organisation", format!("{} ({})", books.name, books.organisation_id));
    }
    let found = format!("recorded otherwise than .env says: {}", names.join(", "));
    Check::warn("organisation", found, "start the sidecar again: it records what .env says")
}

fn polls(facts: &Facts, books: &BookFacts) -> Vec<Check> {
    let Some(poll) = &books.last_poll else {
        let fix = "is the sidecar running, and does it reach OpenRouter? `docker-compose logs mai-usage`";
        return vec![Check::warn("polls", "it was never compared with OpenRouter", fix)];
    };
    let mut checks = vec![last_poll(facts, poll)];
    if poll.warning.is_some() {
        let difference = poll.difference_pico_usd.map_or_else(String::new, |pico| {
            format!(
                ": OpenRouter counted {} USD more than passed the sidecar within a day",
                PicoUsd::new(pico)
            )
        });
        checks.push(Check::fail("bypass", format!("the key is used past the sidecar{difference}"), BYPASS));
    }
    checks
}

fn last_poll(facts: &Facts, poll: &Reconciliation) -> Check {
    let late = LATE.max(facts.poll_interval() * 3);
    let since = Timestamp::from_millisecond(poll.polled_at_ms).map(|at| facts.since(at));
    let minutes = since.as_ref().map_or(0, Duration::as_secs) / 60;
    if since.is_ok_and(|since| since > late) {
        let found = format!("the last comparison with OpenRouter was {minutes} minutes ago");
        return Check::fail("polls", found, "start the sidecar again, and read its log");
    }
    match &poll.error {
        Some(error) => {
            let fix = "where it stays: is the key alive, is the network up?";
            Check::warn("polls", format!("the last comparison failed: {error}"), fix)
        }
        None => Check::ok("polls", format!("compared with OpenRouter {minutes} minutes ago")),
    }
}

fn unsettled(facts: &Facts, books: &BookFacts) -> Vec<Check> {
    let mut checks = Vec::new();
    let two_polls = facts.poll_interval() * 2;
    let old = books.oldest_open.filter(|oldest| facts.since(*oldest) > two_polls);
    checks.push(match old {
        Some(oldest) => {
            let found = format!("{} calls have no cost yet, the oldest since {oldest}", books.unsettled.open);
            let fix = "OpenRouter is asked again by itself; after a day `mai-usage reconcile` prices them";
            Check::warn("open calls", found, fix)
        }
        None => Check::ok("open calls", format!("{}, none older than two polls", books.unsettled.open)),
    });
    if books.unsettled.orphan > 0 {
        let found = format!(
            "{} calls died before their id was known, and may have been billed",
            books.unsettled.orphan
        );
        checks.push(Check::warn(
            "orphans",
            found,
            "`mai-usage reconcile` finds them in OpenRouter's statement",
        ));
    }
    checks
}

fn unattributed(books: &BookFacts) -> Option<Check> {
    const FIX: &str = "give mAI ENABLE_FORWARD_USER_INFO_HEADERS=true and start it again; with OPENWEBUI_USER_JWT_SECRET, \
                       FORWARD_USER_INFO_HEADER_JWT_SECRET must be the same (Open WebUI 0.8 and newer)";
    let found = format!("{} calls of this month have no user", books.unattributed);
    (books.unattributed > 0).then(|| Check::warn("users", found, FIX))
}

fn backup(facts: &Facts) -> Check {
    const FIX: &str = "`mai-usage backup`, and look at its timer";
    match facts.last_backup.map(|at| facts.since(at)) {
        None => Check::warn("backup", "there is none in backups/", FIX),
        Some(age) if age > OLD_BACKUP => {
            Check::warn("backup", format!("the last one is {} hours old", age.as_secs() / 3_600), FIX)
        }
        Some(age) => Check::ok("backup", format!("{} hours old", age.as_secs() / 3_600)),
    }
}
