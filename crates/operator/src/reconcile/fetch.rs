//! The statement is fetched: within `OpenRouter`'s limits, in windows that become narrower until each is told whole.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use jiff::civil::{Date, time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use metering::{Cost, PicoUsd, StatedGeneration, Statement, Tokens, instant_of_generation};
use openrouter::{
    KeyRecord, Management, ManagementError, StatedBy, StatementAnswer, StatementQuestion, StatementRow,
    StatementTerms,
};
use tokio::time::Instant;

use super::ReconcileError;
use crate::{Console, OperatorError};

/// Questions a minute; `OpenRouter` answers 64.
const QUESTIONS: usize = 60;
const MINUTE: Duration = Duration::from_mins(1);

/// Waits before a question that could not be answered is asked again; together longer than the minute of the limit.
const PAUSES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20), Duration::from_secs(40)];

/// A statement may put a call where it ended, an hour after the second in its id at most.
const LONGEST_CALL: SignedDuration = SignedDuration::from_hours(1);

/// The provider's account, asked patiently.
pub(super) struct Account {
    management: Management,
    terms: Option<StatementTerms>,
    names: HashMap<String, String>,
    asked: VecDeque<Instant>,
}

impl Account {
    pub(super) fn new(management: Management) -> Self {
        Self { management, terms: None, names: HashMap::new(), asked: VecDeque::new() }
    }

    /// What the analytics can be asked for, and by which names models are known.
    pub(super) async fn read_terms(&mut self, console: &mut Console) -> Result<(), OperatorError> {
        let terms = self.ask(console, async |management| management.statement_terms().await).await?;
        self.terms = Some(terms);
        self.names = self.ask(console, async |management| management.model_names().await).await?;
        Ok(())
    }

    pub(super) async fn keys(&mut self, console: &mut Console) -> Result<Vec<KeyRecord>, OperatorError> {
        self.ask(console, async |management| management.list().await).await
    }

    /// `OpenRouter`'s own sums of the days. They are only shown: where they cannot be had of every key, as of one that was
    /// deleted, there are none.
    pub(super) async fn activity(
        &mut self,
        key_hashes: &[String],
        console: &mut Console,
    ) -> BTreeMap<Date, PicoUsd> {
        let mut days = BTreeMap::new();
        for key_hash in key_hashes {
            let of_key = self.ask(console, async |management| management.activity(key_hash).await).await;
            let of_key = match of_key {
                Ok(of_key) => of_key,
                Err(error) => {
                    console.note(&format!("/activity cannot be had of every key: {error}"));
                    return BTreeMap::new();
                }
            };
            for (day, usage) in of_key {
                let sum = days.entry(day).or_insert(PicoUsd::ZERO);
                *sum = sum.checked_add(usage).unwrap_or(*sum);
            }
        }
        days
    }

    /// A whole statement of each of `days`, which are in order.
    pub(super) async fn statements(
        &mut self,
        days: &[Date],
        key_hashes: &[String],
        now: Timestamp,
        console: &mut Console,
    ) -> Result<Vec<Statement>, OperatorError> {
        let (Some(first), Some(last)) = (days.first(), days.last()) else { return Ok(Vec::new()) };
        let (from, end) = (start_of(*first)?, start_of(last.checked_add(1.day()).unwrap_or(*last))?);
        let to = end.checked_add(LONGEST_CALL).unwrap_or(end).min(now);
        let by_user = self.rows(StatedBy::ExternalUser, (from, to), key_hashes, console).await?;
        let by_model = self.rows(StatedBy::Model, (from, to), key_hashes, console).await?;
        let models = self.models(by_model);
        let mut of_days = Days::new(days, key_hashes, now);
        for row in by_user {
            of_days.add(row, &models)?;
        }
        Ok(of_days.statements.into_values().collect())
    }

    /// The model of each generation, under the name people know.
    fn models(&self, rows: Vec<StatementRow>) -> HashMap<String, Option<String>> {
        let known = |slug: String| self.names.get(&slug).cloned().unwrap_or(slug);
        rows.into_iter().filter_map(|row| Some((row.generation_id?, row.by.map(known)))).collect()
    }

    async fn rows(
        &mut self,
        by: StatedBy,
        window: (Timestamp, Timestamp),
        key_hashes: &[String],
        console: &mut Console,
    ) -> Result<Vec<StatementRow>, OperatorError> {
        let (mut rows, mut waiting) = (Vec::new(), vec![window]);
        while let Some((from, to)) = waiting.pop() {
            let question = StatementQuestion { key_hashes: key_hashes.to_vec(), from, to, by };
            let terms = self.terms.clone().ok_or(ReconcileError::Changed)?;
            let asked = self.ask(console, async |management| management.statement(&terms, &question).await);
            match asked.await? {
                StatementAnswer::Whole(more) => rows.extend(more),
                StatementAnswer::TooMuch => {
                    let middle = middle_of(from, to).ok_or(ReconcileError::TooMuch { second: from })?;
                    waiting.extend([(middle, to), (from, middle)]);
                }
            }
        }
        Ok(rows)
    }

    /// Asks at the pace that is allowed, and again where the answer was lost or it was too often.
    async fn ask<T>(
        &mut self,
        console: &mut Console,
        question: impl AsyncFn(&Management) -> Result<T, ManagementError>,
    ) -> Result<T, OperatorError> {
        for pause in PAUSES {
            self.wait_for_a_place().await;
            match question(&self.management).await {
                Err(error) if may_pass(&error) => {
                    console.note(&format!("{error}; asking again in {} s", pause.as_secs()));
                    tokio::time::sleep(pause).await;
                }
                outcome => return Ok(outcome?),
            }
        }
        self.wait_for_a_place().await;
        Ok(question(&self.management).await?)
    }

    async fn wait_for_a_place(&mut self) {
        if self.asked.len() >= QUESTIONS
            && let Some(oldest) = self.asked.pop_front()
        {
            tokio::time::sleep_until(oldest + MINUTE).await;
        }
        self.asked.push_back(Instant::now());
    }
}

fn may_pass(error: &ManagementError) -> bool {
    match error {
        ManagementError::TooOften | ManagementError::NoAnswer(_) => true,
        ManagementError::Refused { status, .. } => *status >= 500,
        _ => false,
    }
}

fn start_of(day: Date) -> Result<Timestamp, ReconcileError> {
    day.to_zoned(TimeZone::UTC).map(|zoned| zoned.timestamp()).map_err(|_| ReconcileError::NoDay)
}

/// A whole second between the two; `None` where there is none.
fn middle_of(from: Timestamp, to: Timestamp) -> Option<Timestamp> {
    let (first, last) = (from.as_second(), to.as_second());
    let middle = first + (last - first) / 2;
    (middle > first).then(|| Timestamp::from_second(middle).ok()).flatten()
}

/// The statements in the making.
struct Days {
    statements: BTreeMap<Date, Statement>,
    /// Where each generation stands in the statement of its day.
    places: HashMap<String, usize>,
}

impl Days {
    fn new(days: &[Date], key_hashes: &[String], fetched_at: Timestamp) -> Self {
        let empty = |day: &Date| Statement {
            day: *day,
            key_hashes: key_hashes.to_vec(),
            fetched_at,
            complete: true,
            generations: Vec::new(),
            without_generation: PicoUsd::ZERO,
        };
        let statements = days.iter().map(|day| (*day, empty(day))).collect();
        Self { statements, places: HashMap::new() }
    }

    /// Puts a row where the second in its id says, and otherwise where the statement does.
    fn add(
        &mut self,
        row: StatementRow,
        models: &HashMap<String, Option<String>>,
    ) -> Result<(), ReconcileError> {
        const OVERFLOW: ReconcileError = ReconcileError::Changed;
        let Some(generation_id) = row.generation_id else {
            let day = row.day.ok_or(ReconcileError::NoDay)?;
            if let Some(statement) = self.statements.get_mut(&day) {
                let sum = statement.without_generation.checked_add(row.cost.amount);
                statement.without_generation = sum.map_err(|_| OVERFLOW)?;
            }
            return Ok(());
        };
        let noon = |day: Date| day.to_datetime(time(12, 0, 0, 0)).to_zoned(TimeZone::UTC).ok();
        let told = || Some(noon(row.day?)?.timestamp());
        let at = instant_of_generation(&generation_id).or_else(told).ok_or(ReconcileError::NoDay)?;
        let day = at.to_zoned(TimeZone::UTC).date();
        let Some(statement) = self.statements.get_mut(&day) else { return Ok(()) };
        let model = models.get(&generation_id).ok_or(ReconcileError::Changed)?.clone();
        let stated = StatedGeneration {
            generation_id,
            at,
            external_user: row.by,
            model,
            cost: row.cost,
            requests: row.requests.unwrap_or(1),
            tokens: row.tokens,
        };
        let place = self.places.get(&stated.generation_id);
        if let Some(known) = place.and_then(|place| statement.generations.get_mut(*place)) {
            return add_up(known, &stated).ok_or(OVERFLOW);
        }
        self.places.insert(stated.generation_id.clone(), statement.generations.len());
        statement.generations.push(stated);
        Ok(())
    }
}

/// Two rows of one generation are one bill.
fn add_up(known: &mut StatedGeneration, more: &StatedGeneration) -> Option<()> {
    let add = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) => one.checked_add(other),
        (one, other) => one.or(other),
    };
    let amount = known.cost.amount.checked_add(more.cost.amount).ok()?;
    known.cost = Cost { amount, text: amount.to_string(), exact: known.cost.exact && more.cost.exact };
    known.requests = known.requests.checked_add(more.requests)?;
    known.tokens = Tokens {
        prompt: add(known.tokens.prompt, more.tokens.prompt),
        completion: add(known.tokens.completion, more.tokens.completion),
        reasoning: add(known.tokens.reasoning, more.tokens.reasoning),
        cached: add(known.tokens.cached, more.tokens.cached),
    };
    if known.external_user != more.external_user {
        known.external_user = None;
    }
    Some(())
}
