//! `verify`: what must be true of the file at every commit, looked at with fresh eyes.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::TryStreamExt as _;
use jiff::civil::Date;
use metering::{DailyKey, DailySum, EntryFacts, Markup, OrgId, PicoUsd, RollUp};
use sqlx::SqliteConnection;

use crate::LedgerReader;
use crate::error::ReadError;
use crate::mark::{marked_commits, missing_commits};
use crate::seal::digest_of;

/// What was looked at and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Entries read.
    pub entries: u64,
    /// Daily rows read.
    pub daily_rows: u64,
    /// The sum of the ledger's costs.
    pub cost: PicoUsd,
    /// The sum of the ledger's charges.
    pub charge: PicoUsd,
    /// Everything that is wrong; empty where all is well.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// What stands there is not what was written, or not what follows from it.
    Damage(String),
    /// What stands there is sound, and less than there was: commits are missing.
    Loss(String),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Damage(words) | Self::Loss(words)) = self;
        f.write_str(words)
    }
}

impl Verification {
    /// What is damaged. A copy of a file that lost commits is as good as that file.
    pub fn damage(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| matches!(finding, Finding::Damage(_)))
    }
}

impl LedgerReader {
    /// Checks the file: its pages, the digests of its rows, roll-up = ledger, one settling entry a generation and a call,
    /// amounts that follow from their texts, calls whose state fits their entries, and that no commit is missing. Reads one
    /// consistent snapshot.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read at all.
    pub async fn verify(&self) -> Result<Verification, ReadError> {
        // Noted before it is read: a running daemon may commit in between.
        let marked = marked_commits(&self.path);
        let mut transaction = self.pool.begin().await?;
        let mut findings = integrity(&mut transaction).await?;
        let (entries, expected) = roll_up_entries(&mut transaction, &mut findings).await?;
        let (cost, charge) = totals(&expected, &mut findings);
        let daily = daily_rows(&mut transaction).await?;
        compare_roll_up(&expected, &daily, &mut findings);
        let commits = sqlx::query!("SELECT count, missing FROM commits").fetch_one(&mut *transaction).await?;
        let missing = missing_commits(commits.count, commits.missing, marked);
        findings.extend(missing.map(|(_, words)| Finding::Loss(words)));
        findings.extend(broken_seals(&mut transaction).await?);
        findings.extend(entries_that_do_not_fit(&mut transaction).await?);
        findings.extend(calls_that_do_not_fit(&mut transaction).await?);
        transaction.rollback().await?;
        Ok(Verification { entries, daily_rows: daily.len() as u64, cost, charge, findings })
    }
}

impl LedgerReader {
    /// A look that takes a moment: no commit is missing, and the sums of the roll-up of `org_id` since the day `since` are those
    /// of the entries. What [`verify`](Self::verify) finds beside that it does not.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read at all.
    pub async fn verify_quickly(&self, org_id: &OrgId, since: Date) -> Result<Vec<Finding>, ReadError> {
        let marked = marked_commits(&self.path);
        let mut snapshot = self.pool.begin().await?;
        let commits = sqlx::query!("SELECT count, missing FROM commits").fetch_one(&mut *snapshot).await?;
        let (org_id, since) = (org_id.as_str(), since.to_string());
        let entries = sqlx::query!(
            "SELECT
                 coalesce(sum(cost_pico_usd), 0) AS 'cost!: i64',
                 coalesce(sum(charge_pico_usd), 0) AS 'charge!: i64'
             FROM entries INDEXED BY entries_by_day
             WHERE org_id = ?1 AND day >= ?2",
            org_id,
            since,
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let daily = sqlx::query!(
            "SELECT
                 coalesce(sum(cost_pico_usd), 0) AS 'cost!: i64',
                 coalesce(sum(charge_pico_usd), 0) AS 'charge!: i64'
             FROM daily_usage
             WHERE org_id = ?1 AND day >= ?2",
            org_id,
            since,
        )
        .fetch_one(&mut *snapshot)
        .await?;
        snapshot.rollback().await?;
        let missing = missing_commits(commits.count, commits.missing, marked);
        let mut findings: Vec<Finding> = missing.map(|(_, words)| Finding::Loss(words)).into_iter().collect();
        if (entries.cost, entries.charge) != (daily.cost, daily.charge) {
            findings.push(Finding::Damage(format!(
                "roll-up: since {since} the daily rows and the entries have other sums"
            )));
        }
        Ok(findings)
    }
}

async fn integrity(connection: &mut SqliteConnection) -> Result<Vec<Finding>, ReadError> {
    let lines: Vec<String> = sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut *connection).await?;
    let broken = lines.into_iter().filter(|line| line != "ok");
    let mut findings: Vec<Finding> =
        broken.map(|line| Finding::Damage(format!("integrity: {line}"))).collect();
    let dangling = sqlx::query("PRAGMA foreign_key_check").fetch_all(connection).await?.len();
    if dangling > 0 {
        findings
            .push(Finding::Damage(format!("integrity: {dangling} rows refer to rows that are not there")));
    }
    Ok(findings)
}

/// Reads entry after entry, however many there are; answers how many and what they add up to.
async fn roll_up_entries(
    connection: &mut SqliteConnection,
    findings: &mut Vec<Finding>,
) -> Result<(u64, RollUp), ReadError> {
    let mut rows = sqlx::query!(
        "SELECT id, kind, org_id, day, user_id, model, requests, prompt_tokens, completion_tokens, cost_text,
                cost_pico_usd, markup, charge_pico_usd, occurred_at_ms
         FROM entries
         ORDER BY id"
    )
    .fetch(connection);
    let (mut entries, mut rolled) = (0, RollUp::default());
    while let Some(row) = rows.try_next().await? {
        let (cost, charge) = (PicoUsd::new(row.cost_pico_usd), PicoUsd::new(row.charge_pico_usd));
        if PicoUsd::parse(&row.cost_text).map(|parsed| parsed.amount) != Ok(cost) {
            findings.push(Finding::Damage(format!(
                "entry {}: cost {cost} is not its text {}",
                row.id, row.cost_text
            )));
        }
        let priced = Markup::parse(&row.markup).and_then(|markup| markup.charge(cost));
        if row.kind == "call" && priced != Ok(charge) {
            findings.push(Finding::Damage(format!(
                "entry {}: charge {charge} is not cost {cost} x markup {}",
                row.id, row.markup
            )));
        }
        let facts = EntryFacts {
            key: DailyKey { org_id: row.org_id, day: row.day, user_id: row.user_id, model: row.model },
            requests: row.requests,
            prompt_tokens: row.prompt_tokens.unwrap_or(0),
            completion_tokens: row.completion_tokens.unwrap_or(0),
            cost,
            charge,
            occurred_at_ms: row.occurred_at_ms,
        };
        entries += 1;
        if let Err(overflow) = rolled.add(facts) {
            findings.push(Finding::Damage(format!("roll-up: {overflow}")));
        }
    }
    Ok((entries, rolled))
}

fn totals(rolled: &RollUp, findings: &mut Vec<Finding>) -> (PicoUsd, PicoUsd) {
    let sum = |amount: fn(&DailySum) -> PicoUsd| {
        rolled.rows().values().try_fold(PicoUsd::ZERO, |sum, row| sum.checked_add(amount(row)))
    };
    if let (Ok(cost), Ok(charge)) = (sum(|row| row.cost), sum(|row| row.charge)) {
        return (cost, charge);
    }
    findings.push(Finding::Damage("the sum of the ledger is out of range".to_owned()));
    (PicoUsd::ZERO, PicoUsd::ZERO)
}

async fn daily_rows(connection: &mut SqliteConnection) -> Result<BTreeMap<DailyKey, DailySum>, ReadError> {
    let rows = sqlx::query!(
        "SELECT org_id, day, user_id, model, requests, prompt_tokens, completion_tokens, cost_pico_usd,
                charge_pico_usd, first_activity_at_ms, last_activity_at_ms
         FROM daily_usage"
    )
    .fetch_all(connection)
    .await?;
    let keyed = rows.into_iter().map(|row| {
        let key = DailyKey { org_id: row.org_id, day: row.day, user_id: row.user_id, model: row.model };
        let sum = DailySum {
            requests: row.requests,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            cost: PicoUsd::new(row.cost_pico_usd),
            charge: PicoUsd::new(row.charge_pico_usd),
            first_activity_at_ms: row.first_activity_at_ms,
            last_activity_at_ms: row.last_activity_at_ms,
        };
        (key, sum)
    });
    Ok(keyed.collect())
}

fn compare_roll_up(expected: &RollUp, daily: &BTreeMap<DailyKey, DailySum>, findings: &mut Vec<Finding>) {
    let expected = expected.rows();
    for (key, sum) in expected {
        match daily.get(key) {
            None => findings.push(Finding::Damage(format!("roll-up: no daily row for {}", name(key)))),
            Some(row) if row != sum => findings.push(Finding::Damage(format!(
                "roll-up: the daily row of {} is {row:?}, its entries add up to {sum:?}",
                name(key)
            ))),
            Some(_) => {}
        }
    }
    for key in daily.keys().filter(|key| !expected.contains_key(key)) {
        findings.push(Finding::Damage(format!("roll-up: the daily row of {} has no entries", name(key))));
    }
}

fn name(key: &DailyKey) -> String {
    format!("{} {} {} {}", key.org_id, key.day, key.user_id, key.model)
}

/// Rows that are not what was written.
async fn broken_seals(connection: &mut SqliteConnection) -> Result<Vec<Finding>, ReadError> {
    let mut findings = Vec::new();
    let mut entries = sqlx::query!("SELECT id, digest, sealed AS 'sealed!: String' FROM sealed_entries")
        .fetch(&mut *connection);
    while let Some(row) = entries.try_next().await? {
        if row.digest != Some(digest_of(&row.sealed)) {
            findings.push(Finding::Damage(format!(
                "entry {}: it is not what was written: its digest differs",
                row.id
            )));
        }
    }
    drop(entries);
    let mut calls =
        sqlx::query!("SELECT id, digest, sealed AS 'sealed!: String' FROM sealed_calls").fetch(connection);
    while let Some(row) = calls.try_next().await? {
        if row.digest != Some(digest_of(&row.sealed)) {
            findings.push(Finding::Damage(format!(
                "call {}: it is not what was written: its digest differs",
                row.id
            )));
        }
    }
    Ok(findings)
}

/// An entry says of its call what the call says of itself.
async fn entries_that_do_not_fit(connection: &mut SqliteConnection) -> Result<Vec<Finding>, ReadError> {
    let rows = sqlx::query!(
        "SELECT entries.id AS 'entry_id!', calls.id AS 'call_id!'
         FROM entries
         JOIN calls ON calls.id = entries.call_id
         WHERE entries.kind = 'call'
             AND (
                 entries.user_id <> calls.user_id OR entries.org_id <> calls.org_id
                 OR entries.markup <> calls.markup OR entries.generation_id IS NOT calls.generation_id
             )
         LIMIT 1000"
    )
    .fetch_all(connection)
    .await?;
    let differs = rows.into_iter().map(|row| {
        let (entry, call) = (row.entry_id, row.call_id);
        Finding::Damage(format!(
            "entry {entry}: organisation, user, markup or generation is not that of call {call}"
        ))
    });
    Ok(differs.collect())
}

async fn calls_that_do_not_fit(connection: &mut SqliteConnection) -> Result<Vec<Finding>, ReadError> {
    let rows = sqlx::query!(
        "SELECT calls.id AS 'call_id!', calls.state AS 'state!', count(entries.id) AS 'entries!: i64'
         FROM calls
         LEFT JOIN entries ON entries.call_id = calls.id AND entries.kind = 'call'
         GROUP BY calls.id
         HAVING (calls.state = 'settled') <> (count(entries.id) = 1) OR count(entries.id) > 1
         LIMIT 1000"
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut findings: Vec<Finding> = rows
        .into_iter()
        .map(|row| {
            Finding::Damage(format!(
                "once: call {} is {} and has {} entries",
                row.call_id, row.state, row.entries
            ))
        })
        .collect();
    let doubled = sqlx::query!(
        "SELECT generation_id AS 'generation_id!', count(*) AS 'entries!: i64'
         FROM entries
         WHERE kind <> 'adjustment' AND generation_id IS NOT NULL
         GROUP BY generation_id
         HAVING count(*) > 1
         LIMIT 1000"
    )
    .fetch_all(connection)
    .await?;
    findings.extend(doubled.into_iter().map(|row| {
        Finding::Damage(format!("once: generation {} is booked {} times", row.generation_id, row.entries))
    }));
    Ok(findings)
}
