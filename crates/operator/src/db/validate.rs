//! `mai-usage db validate`: all that must be true of a client's database, with what to do where it is not.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ledger::{LedgerReader, MonthlyLimit, OpenError, OrganisationRecord};
use metering::{BillingZone, Markup, PicoUsd};
use openrouter::hash_of_key;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use settings::Settings;

use super::{DbError, open_to_read};
use crate::clients::{COMPOSE_FILE, ChosenClients, Client};
use crate::keys::pretty;
use crate::recording::{facts_in, id_in};
use crate::{Console, OperatorError};

/// Who the sidecar is inside its container.
const SIDECAR_USER: u32 = 65532;

/// What belongs to a database beside itself.
const BESIDE: [&str; 4] = ["", "-wal", "-shm", ".lock"];

/// What to do about a ledger that is not what was written.
const RESTORE: &str = "stop the sidecar, keep a copy of the file, restore the last backup, then reconcile";

/// What to do about an organisation that is not what `.env` says.
const RECORD: &str = "start the sidecar again, or stop it and run `mai-usage db init`";

/// One client, for machines.
#[derive(Serialize)]
struct Report {
    client: String,
    database: Option<String>,
    entries: Option<u64>,
    daily_rows: Option<u64>,
    cost_usd: Option<String>,
    charge_usd: Option<String>,
    findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    what: String,
    hint: String,
}

pub(super) async fn run(
    clients: &ChosenClients,
    database: Option<&Path>,
    json: bool,
    console: &mut Console,
) -> Result<(), OperatorError> {
    let mut reports = Vec::new();
    for client in clients.find()? {
        let report = match client {
            Ok(client) => validate(client, database).await,
            // Of several, the others are looked at all the same.
            Err(error) if clients.all => {
                let mut report = Report::of("?");
                report.findings.push(Finding::of(&error));
                report
            }
            Err(error) => return Err(error),
        };
        if !json {
            report.print(console)?;
        }
        reports.push(report);
    }
    if json {
        console.say(&pretty(&reports))?;
    }
    match reports.iter().map(|report| report.findings.len()).sum() {
        0 => Ok(()),
        findings => Err(DbError::Unsound { findings }.into()),
    }
}

async fn validate(client: Client, database: Option<&Path>) -> Report {
    let mut report = Report::of(&client.name);
    let database = database.map_or_else(|| client.database(), Path::to_owned);
    report.database = Some(database.display().to_string());
    report.findings.extend(files(&client, &database));
    let settings = match client.settings() {
        Ok(settings) => Some(settings),
        Err(error) => {
            report
                .findings
                .push(Finding::new(&error, "correct .env; docs/configuration.md tells every setting"));
            None
        }
    };
    match open_to_read(&database).await {
        Ok(reader) => {
            report.look_into(&reader, settings.as_ref()).await;
            reader.close().await;
        }
        Err(error) => report.findings.push(Finding::of(&error)),
    }
    report
}

impl Report {
    fn of(client: &str) -> Self {
        Self {
            client: client.to_owned(),
            database: None,
            entries: None,
            daily_rows: None,
            cost_usd: None,
            charge_usd: None,
            findings: Vec::new(),
        }
    }

    async fn look_into(&mut self, reader: &LedgerReader, settings: Option<&Settings>) {
        match reader.verify().await {
            Ok(verified) => {
                (self.entries, self.daily_rows) = (Some(verified.entries), Some(verified.daily_rows));
                self.cost_usd = Some(verified.cost.to_string());
                self.charge_usd = Some(verified.charge.to_string());
                self.findings.extend(verified.findings.iter().map(|finding| Finding::new(finding, RESTORE)));
            }
            Err(error) => self.findings.push(Finding::new(&error, RESTORE)),
        }
        match reader.organisations().await {
            Ok(recorded) => self.findings.extend(organisation(&recorded, settings)),
            Err(error) => self.findings.push(Finding::new(&error, RESTORE)),
        }
    }

    fn print(&self, console: &mut Console) -> Result<(), OperatorError> {
        let database = self.database.as_deref().unwrap_or("no database");
        if let [Some(entries), Some(rows)] = [self.entries, self.daily_rows] {
            let (cost, charge) = (self.cost_usd.as_deref(), self.charge_usd.as_deref());
            let (cost, charge) = (cost.unwrap_or("-"), charge.unwrap_or("-"));
            console.say(&format!(
                "{}: {entries} entries, {rows} daily rows, cost {cost} USD, charge {charge} USD ({database})",
                self.client
            ))?;
        }
        for Finding { what, hint } in &self.findings {
            console.say(&format!("{}: {what}; hint: {hint}", self.client))?;
        }
        if self.findings.is_empty() { console.say(&format!("{}: sound", self.client)) } else { Ok(()) }
    }
}

impl Finding {
    fn new(what: &(impl ToString + ?Sized), hint: &str) -> Self {
        // Some errors are a list.
        let lines: Vec<String> = what.to_string().lines().map(|line| line.trim().to_owned()).collect();
        Self { what: lines.join("; "), hint: hint.to_owned() }
    }

    /// An error that brings its hint along, or has none but its cause.
    fn of(error: &OperatorError) -> Self {
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            let more = source.to_string();
            if !text.contains(&more) {
                text = format!("{text}: {more}");
            }
            cause = source.source();
        }
        if let Some((what, hint)) = text.split_once("; hint: ") {
            return Self::new(what, hint);
        }
        let is_damage =
            matches!(error, OperatorError::Ledger(OpenError::Database { .. }) | OperatorError::Read(_));
        Self::new(&text, if is_damage { RESTORE } else { "docs/operations.md tells how it should be" })
    }
}

/// Modes and owners. A ledger tells who asked what and holds the key, and the sidecar must be able to write it.
fn files(client: &Client, database: &Path) -> Vec<Finding> {
    let there = BESIDE.iter().filter_map(|suffix| {
        let path = PathBuf::from(format!("{}{suffix}", database.display()));
        std::fs::metadata(&path).ok().map(|file| (path, file))
    });
    let there: Vec<(PathBuf, std::fs::Metadata)> = there.collect();
    // The compose file of a client runs the sidecar as that user; elsewhere whoever owns the database runs it.
    let in_container = client.folder.join(COMPOSE_FILE).exists();
    let owner = if in_container { Some(SIDECAR_USER) } else { there.first().map(|(_, file)| file.uid()) };
    let mut findings = Vec::new();
    for (path, file) in &there {
        let (mode, shown) = (file.mode() & 0o777, path.display());
        if mode & 0o077 != 0 {
            let hint = format!("chmod 600 {shown}");
            findings.push(Finding::new(&format!("{shown} may be read by others (mode {mode:o})"), &hint));
        }
        if let Some(owner) = owner.filter(|owner| *owner != file.uid()) {
            let what = format!("{shown} belongs to the user {}, and the sidecar is {owner}", file.uid());
            findings.push(Finding::new(&what, &format!("chown {owner} {shown}")));
        }
    }
    findings
}

/// The recorded organisation beside what `.env` says.
fn organisation(recorded: &[OrganisationRecord], settings: Option<&Settings>) -> Vec<Finding> {
    let id = settings.and_then(|settings| id_in(settings).ok());
    // Whoever comes first stands for a file that is another's.
    let own = recorded.iter().find(|recorded| Some(&recorded.id) == id.as_ref()).or(recorded.first());
    let Some(own) = own else {
        return vec![Finding::new("no organisation is recorded", RECORD)];
    };
    let mut findings = Vec::new();
    let mut tell = |what: String| findings.push(Finding::new(&what, RECORD));
    if Markup::parse(&own.markup).is_err() {
        tell(format!("the recorded markup {:?} is none", own.markup));
    }
    if BillingZone::named(&own.zone).is_err() {
        tell(format!("the recorded time zone {:?} is none", own.zone));
    }
    let is_amount = own.monthly_limit.as_deref().is_none_or(|limit| PicoUsd::parse(limit).is_ok());
    if !is_amount {
        tell(format!(
            "the recorded limit {:?} is no amount",
            own.monthly_limit.as_deref().unwrap_or_default()
        ));
    }
    if own.api_key_hash.is_some() && own.api_key_digest.is_some() && own.api_key_hash != own.api_key_digest {
        tell("the recorded hash of the key is not that of the recorded key".to_owned());
    }
    // No clock is needed for what is recorded.
    let facts = settings.and_then(|settings| facts_in(settings, jiff::Timestamp::UNIX_EPOCH).ok());
    let Some((id, facts)) = id.zip(facts) else { return findings };
    if id != own.id {
        let hint = format!("set OPENROUTER_EXTERNAL_USER in .env to {}, or name the right database", own.id);
        findings.push(Finding::new(
            &format!("it belongs to the organisation {}, and .env says {id}", own.id),
            &hint,
        ));
        return findings;
    }
    let mut differs = |what: &str, given: &str, recorded: &str| {
        if given != recorded {
            findings.push(Finding::new(
                &format!("{what} is {given:?} in .env and recorded as {recorded:?}"),
                RECORD,
            ));
        }
    };
    if let Some(name) = &facts.name {
        differs("the name", name, &own.name);
    }
    if let Some(limit) = &facts.monthly_limit {
        let given = if let MonthlyLimit::Usd(limit) = limit { limit } else { "unlimited" };
        differs("the limit", given, own.monthly_limit.as_deref().unwrap_or("unlimited"));
    }
    if let Some(zone) = &facts.zone {
        differs("the time zone", zone.name(), &own.zone);
    }
    if let Some(key) = &facts.api_key {
        let recorded = own.api_key_hash.as_deref().unwrap_or("none");
        differs("the hash of the key", &hash_of_key(key.expose_secret()), recorded);
    }
    findings
}
