//! W1: a call is admitted.

use std::collections::HashSet;

use jiff::Timestamp;
use metering::{ExternalUser, Markup, OrgId, UserId};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::writer::WriteTogether;
use crate::writes::batch::{Batch, Told};
use crate::writes::calls::{CallRow, CallState, as_json};
use crate::writes::memory::Memory;

/// Who made a call, as Open `WebUI` told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asker {
    /// The account's id.
    pub user_id: UserId,
    /// What `OpenRouter` is told.
    pub external_user: ExternalUser,
    /// The account's name, where told.
    pub name: Option<String>,
    /// The account's e-mail address, where told.
    pub email: Option<String>,
    /// The account's role, where told.
    pub role: Option<String>,
}

/// A call about to be sent.
#[derive(Debug, Clone)]
pub struct NewCall {
    /// Its id.
    pub id: CallId,
    /// The organisation that pays.
    pub org_id: OrgId,
    /// The markup agreed on at this moment; it prices the call whenever it is settled.
    pub markup: Markup,
    /// Who asked.
    pub asker: Asker,
    /// The upstream path, `chat/completions`.
    pub endpoint: &'static str,
    /// The model asked for; empty where the request names none.
    pub model: String,
    /// The instant of admission.
    pub admitted_at: Timestamp,
}

/// What is known once a call is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admission {
    /// True with the first call of a user: the mapping to the external user is new.
    pub first_of_user: bool,
}

/// The word by which a batch tells the id of a user who was not known.
const NEW_USER: &str = "new-user";

/// What is remembered of an asker.
#[derive(Serialize)]
struct UserRow<'a> {
    user_id: &'a str,
    external_user: &'a str,
    name: Option<&'a str>,
    email: Option<&'a str>,
    role: Option<&'a str>,
    seen_at_ms: i64,
}

impl WriteTogether for NewCall {
    type Answer = Admission;

    async fn add_to(
        batch: &mut Batch,
        calls: &[&Self],
        memory: &mut Memory,
        _: &mut SqliteConnection,
    ) -> Result<Vec<Admission>, WriteError> {
        let seen = calls.iter().map(|call| (&call.asker, call.admitted_at));
        let seen: Vec<_> = seen.filter(|(asker, at)| memory.is_news(asker, *at)).collect();
        if !seen.is_empty() {
            see_in(batch, &seen)?;
        }
        let rows: Vec<_> = calls.iter().map(|call| call.row()).collect();
        // The numbers are places in `CallRow::sealed`.
        batch.push(
            "INSERT INTO calls (
                 id, org_id, user_id, endpoint, model_asked, markup, state, admitted_at_ms, asks, digest
             )
             SELECT
                 value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
                 value ->> 7, value ->> 19, unhex(value ->> 21)
             FROM jsonb_each(?)",
            [as_json(rows.iter().map(CallRow::sealed))?],
        );
        for (row, call) in rows.into_iter().zip(calls) {
            memory.keep(call.id, row);
        }
        Ok(vec![Admission { first_of_user: false }; calls.len()])
    }

    fn hear(calls: &[&Self], admissions: &mut [Admission], told: &Told) {
        let mut new_users: HashSet<&str> = told.of(NEW_USER).collect();
        for (call, admission) in calls.iter().zip(admissions) {
            admission.first_of_user = new_users.remove(call.asker.user_id.as_str());
        }
    }
}

impl NewCall {
    fn row(&self) -> CallRow {
        CallRow {
            id: self.id.to_string(),
            org_id: self.org_id.as_str().to_owned(),
            user_id: self.asker.user_id.as_str().to_owned(),
            endpoint: self.endpoint.to_owned(),
            model_asked: self.model.clone(),
            markup: self.markup.to_string(),
            state: CallState::Intent,
            admitted_at_ms: self.admitted_at.as_millisecond(),
            generation_id: None,
            http_status: None,
            outcome: None,
            note: None,
            closed_at_ms: None,
            model_served: None,
            provider: None,
            prompt_tokens: None,
            completion_tokens: None,
            reasoning_tokens: None,
            cached_tokens: None,
            asks: 0,
            next_ask_at_ms: None,
        }
    }
}

/// Remembers an asker who made no call; when he was seen.
pub(crate) async fn see(
    asker: &Asker,
    at: Timestamp,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    let mut batch = Batch::default();
    see_in(&mut batch, &[(asker, at)])?;
    batch.run(connection).await.map(drop)
}

/// Remembers the askers, each with when he was seen. Facts of an asker that were not told this time stay as last told. The batch
/// tells the ids of those who are new.
fn see_in(batch: &mut Batch, seen: &[(&Asker, Timestamp)]) -> Result<(), WriteError> {
    let users = seen.iter().map(|(asker, at)| UserRow {
        user_id: asker.user_id.as_str(),
        external_user: asker.external_user.as_str(),
        name: asker.name.as_deref(),
        email: asker.email.as_deref(),
        role: asker.role.as_deref(),
        seen_at_ms: at.as_millisecond(),
    });
    let users = as_json(users)?;
    // An upsert of a SELECT needs its WHERE, or ON would be read as a join's.
    batch.push(
        "SELECT 'new-user', value ->> 'user_id'
         FROM jsonb_each(?)
         WHERE value ->> 'user_id' NOT IN (SELECT user_id FROM users);

         INSERT INTO users (user_id, external_user, name, email, role, first_seen_at_ms, last_seen_at_ms)
         SELECT
             value ->> 'user_id', value ->> 'external_user', value ->> 'name', value ->> 'email',
             value ->> 'role', value ->> 'seen_at_ms', value ->> 'seen_at_ms'
         FROM jsonb_each(?)
         WHERE true
         ON CONFLICT (user_id) DO UPDATE
         SET external_user = excluded.external_user,
             name = coalesce(excluded.name, name),
             email = coalesce(excluded.email, email),
             role = coalesce(excluded.role, role),
             last_seen_at_ms = max(last_seen_at_ms, excluded.last_seen_at_ms)",
        [users.clone(), users],
    );
    Ok(())
}
