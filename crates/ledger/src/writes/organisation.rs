//! The organisation is created, or updated without losing what the settings do not name.

use jiff::Timestamp;
use metering::{BillingZone, Markup, OrgId};
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::SqliteConnection;

use crate::error::WriteError;
use crate::organisation::Organisation;
use crate::reads::organisation::{read, recorded_id};
use crate::writer::Write;

/// The name of an organisation that nobody has named yet; the original's.
const UNNAMED: &str = "My Organization";

/// What is known of the organisation from outside. `None` leaves what is recorded.
#[derive(Debug, Clone)]
pub struct OrganisationFacts {
    /// Its id, where it is given (`OPENROUTER_EXTERNAL_USER`). Otherwise the recorded organisation is meant, and
    /// where none is recorded the id follows from the name.
    pub id: Option<OrgId>,
    /// Its name.
    pub name: Option<String>,
    /// Its `OpenRouter` key.
    pub api_key: Option<SecretString>,
    /// The lower-case hex SHA-256 of that key, as `OpenRouter` names it.
    pub api_key_hash: Option<String>,
    /// Its monthly limit.
    pub monthly_limit: Option<MonthlyLimit>,
    /// Where its invoices go.
    pub billing_email: Option<String>,
    /// Its billing zone.
    pub zone: Option<BillingZone>,
    /// Now.
    pub now: Timestamp,
}

/// What an organisation may spend a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MonthlyLimit {
    /// Whatever it likes.
    Unlimited,
    /// So many US dollars; decimal text.
    Usd(String),
}

impl OrganisationFacts {
    /// Facts that name nothing.
    #[must_use]
    pub const fn none(now: Timestamp) -> Self {
        Self {
            id: None,
            name: None,
            api_key: None,
            api_key_hash: None,
            monthly_limit: None,
            billing_email: None,
            zone: None,
            now,
        }
    }
}

impl Write for OrganisationFacts {
    type Answer = Organisation;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Organisation, WriteError> {
        let id = self.id_meant(connection).await?;
        if !is_recorded(&id, connection).await? {
            self.insert(&id, connection).await?;
        } else if self.name_something() {
            self.update(&id, connection).await?;
        }
        Ok(read(&id, connection).await?)
    }
}

impl OrganisationFacts {
    async fn id_meant(&self, connection: &mut SqliteConnection) -> Result<OrgId, WriteError> {
        if let Some(id) = &self.id {
            return Ok(id.clone());
        }
        let recorded = recorded_id(connection).await?;
        Ok(recorded.unwrap_or_else(|| OrgId::of_name(self.name.as_deref().unwrap_or(UNNAMED))))
    }

    fn name_something(&self) -> bool {
        let named = [self.name.is_some(), self.api_key.is_some(), self.api_key_hash.is_some()];
        named.contains(&true)
            || self.monthly_limit.is_some()
            || self.billing_email.is_some()
            || self.zone.is_some()
    }

    async fn update(&self, id: &OrgId, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let (id, now_ms) = (id.as_str(), self.now.as_millisecond());
        let (key, zone) = (self.exposed_key(), self.zone.as_ref().map(BillingZone::name));
        let (limit_is_named, limit) = (self.monthly_limit.is_some(), self.limit_in_usd());
        sqlx::query!(
            "UPDATE client_organizations
             SET name = coalesce(?2, name),
                 openrouter_api_key = coalesce(?3, openrouter_api_key),
                 openrouter_key_hash = coalesce(?4, openrouter_key_hash),
                 monthly_limit = CASE WHEN ?5 THEN ?6 ELSE monthly_limit END,
                 timezone = coalesce(?7, timezone),
                 billing_email = coalesce(?9, billing_email),
                 updated_at = ?8
             WHERE id = ?1",
            id,
            self.name,
            key,
            self.api_key_hash,
            limit_is_named,
            limit,
            zone,
            now_ms,
            self.billing_email,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn insert(&self, id: &OrgId, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let (id, now_ms, name) =
            (id.as_str(), self.now.as_millisecond(), self.name.as_deref().unwrap_or(UNNAMED));
        let (key, zone) = (self.exposed_key(), self.zone.as_ref().map(BillingZone::name));
        let (markup, limit) = (Markup::DEFAULT.to_string(), self.limit_in_usd());
        sqlx::query!(
            "INSERT INTO client_organizations (
                 id, name, openrouter_api_key, openrouter_key_hash, markup_rate, monthly_limit, timezone,
                 created_at, updated_at, billing_email
             )
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, coalesce(?7, 'Europe/Warsaw'), ?8, ?8, ?9)",
            id,
            name,
            key,
            self.api_key_hash,
            markup,
            limit,
            zone,
            now_ms,
            self.billing_email,
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    fn limit_in_usd(&self) -> Option<&str> {
        match &self.monthly_limit {
            Some(MonthlyLimit::Usd(limit)) => Some(limit),
            Some(MonthlyLimit::Unlimited) | None => None,
        }
    }

    fn exposed_key(&self) -> Option<&str> {
        self.api_key.as_ref().map(SecretString::expose_secret)
    }
}

async fn is_recorded(id: &OrgId, connection: &mut SqliteConnection) -> Result<bool, WriteError> {
    let id = id.as_str();
    let rows = sqlx::query_scalar!(
        "SELECT count(*)
         FROM client_organizations
         WHERE id = ?1",
        id,
    )
    .fetch_one(connection)
    .await?;
    Ok(rows > 0)
}
