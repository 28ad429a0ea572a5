//! Whose file it is.

use metering::{BillingZone, Markup, OrgId};
use secrecy::SecretString;
use sqlx::SqliteConnection;

use crate::error::ReadError;
use crate::{LedgerReader, Organisation};

impl LedgerReader {
    /// The organisation as recorded; `None` in a file that has none yet.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read, or what is recorded is no markup or no zone.
    pub async fn organisation(&self) -> Result<Option<Organisation>, ReadError> {
        let mut connection = self.pool.acquire().await?;
        let Some(id) = recorded_id(&mut connection).await? else { return Ok(None) };
        Ok(Some(read(&id, &mut connection).await?))
    }
}

/// The organisation that is meant where none is named.
pub(crate) async fn recorded_id(connection: &mut SqliteConnection) -> Result<Option<OrgId>, sqlx::Error> {
    let recorded = sqlx::query_scalar!(
        "SELECT id
         FROM client_organizations
         ORDER BY is_active DESC, created_at, id
         LIMIT 1"
    )
    .fetch_optional(connection)
    .await?;
    Ok(recorded.map(OrgId::new))
}

pub(crate) async fn read(id: &OrgId, connection: &mut SqliteConnection) -> Result<Organisation, sqlx::Error> {
    let text = id.as_str();
    let row = sqlx::query!(
        "SELECT name, openrouter_api_key, markup_rate, monthly_limit, billing_email, timezone
         FROM client_organizations
         WHERE id = ?1",
        text,
    )
    .fetch_one(connection)
    .await?;
    Ok(Organisation {
        id: id.clone(),
        name: row.name,
        api_key: row.openrouter_api_key.map(SecretString::from),
        markup: Markup::parse(&row.markup_rate).map_err(unusable)?,
        monthly_limit: row.monthly_limit,
        billing_email: row.billing_email,
        zone: BillingZone::named(&row.timezone).map_err(unusable)?,
    })
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(error.into())
}
