//! The steps of a plan, one after the other, each with what the ledger has for it already.

use jiff::Timestamp;
use metering::{
    Cost, CostSource, ExternalUser, Markup, PicoUsd, Report, Settlement, StatedGeneration, StatementStep,
    UserId,
};
use sqlx::SqliteConnection;

use super::TakeStatement;
use crate::error::WriteError;
use crate::writer::Write as _;
use crate::writes::adjust::Adjustment;
use crate::writes::calls::{self, CallState};
use crate::writes::settle::{Settle, Settled};
use crate::writes::unsettled::{End, EndedAs, Ending};
use crate::{Asker, CallId};

/// What a generation without a model is booked under.
const NO_MODEL: &str = "unknown";

/// The settling entry of a generation.
struct Base {
    user_id: String,
    model: String,
    provider: Option<String>,
    markup: String,
    day: String,
    occurred_at_ms: i64,
    corrections: i64,
}

impl TakeStatement {
    fn stated(&self, generation: usize) -> Result<&StatedGeneration, WriteError> {
        let stated = self.statement.generations.get(generation);
        stated.ok_or_else(|| WriteError::refused("the plan names a generation that is not there"))
    }

    pub(super) async fn book(
        &self,
        step: &StatementStep,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        match step {
            StatementStep::Settle { call_id, generation } => {
                self.settle(call_id, self.stated(*generation)?, connection).await
            }
            StatementStep::SettleOrphan { call_id, generation } => {
                let stated = self.stated(*generation)?;
                name_orphan(call_id, &stated.generation_id, connection).await?;
                self.settle(call_id, stated, connection).await
            }
            StatementStep::Recognise { entry_id, generation } => {
                recognise(*entry_id, self.stated(*generation)?, connection).await
            }
            StatementStep::BookUnattributed { generation } => {
                self.book_unattributed(self.stated(*generation)?, connection).await
            }
            StatementStep::Correct { generation, difference } => {
                self.correct(self.stated(*generation)?, *difference, connection).await
            }
            StatementStep::Void { call_id } => self.end_unbilled(call_id, connection).await,
        }
    }

    async fn settle(
        &self,
        call_id: &str,
        stated: &StatedGeneration,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        let report = Report {
            source: CostSource::Statement,
            cost: Some(stated.cost.clone()),
            tokens: stated.tokens,
            model: stated.model.clone(),
            provider: None,
        };
        let settle = Settle {
            call_id: read_id(call_id)?,
            generation_id: None,
            settlement: Settlement::of(report),
            outcome: None,
            http_status: None,
            created_at: Some(stated.at),
            zone: self.organisation.zone.clone(),
            booked_at: self.now,
        };
        match settle.apply(connection).await? {
            Settled::Booked { .. } => Ok(()),
            other => Err(WriteError::refused(format!("call {call_id} cannot be settled: {other:?}"))),
        }
    }

    async fn book_unattributed(
        &self,
        stated: &StatedGeneration,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        let generation_id = &stated.generation_id;
        let adjustment = Adjustment {
            reference: format!("statement:{generation_id}"),
            note: format!(
                "OpenRouter's statement of {} has it; no call through the sidecar made it",
                self.statement.day
            ),
            unattributed: true,
            generation_id: Some(generation_id.clone()),
            user: self.user_of(stated.external_user.as_deref(), connection).await?,
            model: stated.model.clone().filter(|model| !model.is_empty()).unwrap_or(NO_MODEL.to_owned()),
            provider: None,
            day: self.organisation.zone.day_of(stated.at),
            occurred_at: stated.at,
            requests: i64::try_from(stated.requests).map_err(WriteError::refused)?,
            tokens: stated.tokens,
            markup: self.organisation.markup,
            charge: self.organisation.markup.charge(stated.cost.amount).map_err(WriteError::refused)?,
            cost: stated.cost.clone(),
        };
        self.book_once(&adjustment, connection).await
    }

    /// The one user that `OpenRouter` was told this of, else the user for what is nobody's.
    async fn user_of(
        &self,
        external_user: Option<&str>,
        connection: &mut SqliteConnection,
    ) -> Result<Asker, WriteError> {
        let known =
            sqlx::query_scalar!("SELECT user_id FROM users WHERE external_user = ?1 LIMIT 2", external_user)
                .fetch_all(connection)
                .await?;
        let user_id = match &known[..] {
            [user_id] => UserId::new(user_id),
            _ => UserId::unattributed(),
        };
        Ok(Asker {
            external_user: ExternalUser::of(&self.organisation.id, &user_id),
            user_id,
            name: None,
            email: None,
            role: None,
        })
    }

    /// The further difference is booked beside what there is, at the markup of that.
    async fn correct(
        &self,
        stated: &StatedGeneration,
        difference: PicoUsd,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        let generation_id = &stated.generation_id;
        let base = base_of(generation_id, connection).await?;
        let markup = Markup::parse(&base.markup).map_err(WriteError::refused)?;
        let user_id = UserId::new(base.user_id);
        let adjustment = Adjustment {
            reference: format!("statement:{generation_id}:{}:{}", base.corrections + 1, stated.cost.amount),
            note: format!("OpenRouter's statement of {} says {}", self.statement.day, stated.cost.amount),
            unattributed: false,
            generation_id: Some(generation_id.clone()),
            user: Asker {
                external_user: ExternalUser::of(&self.organisation.id, &user_id),
                user_id,
                name: None,
                email: None,
                role: None,
            },
            model: base.model,
            provider: base.provider,
            day: base.day.parse().map_err(WriteError::refused)?,
            occurred_at: Timestamp::from_millisecond(base.occurred_at_ms).map_err(WriteError::refused)?,
            requests: 0,
            tokens: metering::Tokens::default(),
            cost: Cost { amount: difference, text: difference.to_string(), exact: true },
            markup,
            charge: markup.charge(difference).map_err(WriteError::refused)?,
        };
        self.book_once(&adjustment, connection).await
    }

    async fn book_once(
        &self,
        adjustment: &Adjustment,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        if adjustment.book(self.organisation.id.as_str(), self.now, connection).await? {
            return Ok(());
        }
        Err(WriteError::refused(format!("{} is booked already", adjustment.reference)))
    }

    async fn end_unbilled(&self, call_id: &str, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let note = format!(
            "OpenRouter's final statement of {} has nothing that could be this call",
            self.statement.day
        );
        let ending = Ending {
            call_id: read_id(call_id)?,
            outcome: "unbilled",
            note,
            http_status: None,
            closed_at: self.now,
        };
        End(EndedAs::Void, ending).apply(connection).await
    }
}

fn read_id(call_id: &str) -> Result<CallId, WriteError> {
    call_id.parse().map_err(WriteError::refused)
}

/// The generation of an orphan is known at last.
async fn name_orphan(
    call_id: &str,
    generation_id: &str,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    let mut call = calls::read_one(read_id(call_id)?, connection).await?;
    if call.state != CallState::Orphan || call.generation_id.is_some() {
        return Err(call.refuse());
    }
    call.generation_id = Some(generation_id.to_owned());
    call.note = Some("its generation was found in OpenRouter's statement".to_owned());
    calls::save(&[call], connection).await
}

async fn recognise(
    entry_id: i64,
    stated: &StatedGeneration,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    let at_ms = stated.at.as_millisecond();
    sqlx::query!(
        "INSERT INTO statement_matches (entry_id, generation_id, occurred_at_ms)
         VALUES (?1, ?2, ?3)",
        entry_id,
        stated.generation_id,
        at_ms,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The entry that a correction is about, by its own id or by the one it was recognised by.
async fn base_of(generation_id: &str, connection: &mut SqliteConnection) -> Result<Base, WriteError> {
    let base = sqlx::query_as!(
        Base,
        "SELECT
             entries.user_id AS 'user_id!', model AS 'model!', provider, markup AS 'markup!', day AS 'day!',
             coalesce(matches.occurred_at_ms, entries.occurred_at_ms) AS 'occurred_at_ms!: i64',
             (SELECT count(*) FROM entries WHERE generation_id = ?1 AND kind = 'adjustment') AS 'corrections!: i64'
         FROM entries
         LEFT JOIN statement_matches AS matches ON matches.entry_id = entries.id
         WHERE entries.id = coalesce(
             (SELECT id FROM entries WHERE generation_id = ?1 AND kind <> 'adjustment'),
             (SELECT entry_id FROM statement_matches WHERE generation_id = ?1)
         )",
        generation_id,
    )
    .fetch_optional(connection)
    .await?;
    base.ok_or_else(|| WriteError::refused(format!("{generation_id} is to be corrected and is not booked")))
}
