//! W1: a call is admitted.

use jiff::Timestamp;
use metering::{ExternalUser, Markup, OrgId, UserId};
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::seal::seal_call;
use crate::writer::Write;

/// Who made a call, as Open `WebUI` told it.
#[derive(Debug, Clone)]
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

impl Write for NewCall {
    type Answer = Admission;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Admission, WriteError> {
        let first_of_user = see_user(&self.asker, self.admitted_at, connection).await?;
        insert_call(self, connection).await?;
        Ok(Admission { first_of_user })
    }
}

/// Remembers the asker; facts that were not told this time stay as last told. True where he is new.
pub(crate) async fn see_user(
    asker: &Asker,
    now: Timestamp,
    connection: &mut SqliteConnection,
) -> Result<bool, WriteError> {
    let (user_id, external_user) = (asker.user_id.as_str(), asker.external_user.as_str());
    let now_ms = now.as_millisecond();
    let known = sqlx::query!(
        "UPDATE users
         SET external_user = ?2,
             name = coalesce(?3, name),
             email = coalesce(?4, email),
             role = coalesce(?5, role),
             last_seen_at_ms = max(last_seen_at_ms, ?6)
         WHERE user_id = ?1",
        user_id,
        external_user,
        asker.name,
        asker.email,
        asker.role,
        now_ms,
    )
    .execute(&mut *connection)
    .await?;
    if known.rows_affected() > 0 {
        return Ok(false);
    }
    sqlx::query!(
        "INSERT INTO users (user_id, external_user, name, email, role, first_seen_at_ms, last_seen_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
        user_id,
        external_user,
        asker.name,
        asker.email,
        asker.role,
        now_ms,
    )
    .execute(connection)
    .await?;
    Ok(true)
}

async fn insert_call(call: &NewCall, connection: &mut SqliteConnection) -> Result<(), WriteError> {
    let (id, org_id, user_id) = (call.id.to_string(), call.org_id.as_str(), call.asker.user_id.as_str());
    let (markup, admitted_at_ms) = (call.markup.to_string(), call.admitted_at.as_millisecond());
    sqlx::query!(
        "INSERT INTO calls (id, org_id, user_id, endpoint, model_asked, markup, state, admitted_at_ms)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'intent', ?7)",
        id,
        org_id,
        user_id,
        call.endpoint,
        call.model,
        markup,
        admitted_at_ms,
    )
    .execute(&mut *connection)
    .await?;
    Ok(seal_call(&id, connection).await?)
}
