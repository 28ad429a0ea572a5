//! The rows of `client_organizations` as they stand, for who wants to know whether they are sound.

use metering::OrgId;

use crate::LedgerReader;
use crate::error::ReadError;
use crate::seal::hex_digest_of;

/// An organisation, unread: every value is the text in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganisationRecord {
    /// Its id.
    pub id: OrgId,
    /// Its name.
    pub name: String,
    /// The lower-case hex SHA-256 of its `OpenRouter` key, where the key is recorded.
    pub api_key_digest: Option<String>,
    /// What is recorded as that digest.
    pub api_key_hash: Option<String>,
    /// Its markup.
    pub markup: String,
    /// Its limit a month; `None` without one.
    pub monthly_limit: Option<String>,
    /// Its zone.
    pub zone: String,
}

/// An organisation to which nothing belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedOrganisation {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
}

/// A user to whom nothing belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnusedUser {
    /// The account's id.
    pub user_id: String,
    /// The account's name, where ever told.
    pub name: Option<String>,
}

impl LedgerReader {
    /// The organisations, the oldest first.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn organisations(&self) -> Result<Vec<OrganisationRecord>, ReadError> {
        let rows = sqlx::query!(
            "SELECT id, name, openrouter_api_key, openrouter_key_hash, markup_rate, monthly_limit, timezone
             FROM client_organizations
             ORDER BY created_at, id"
        )
        .fetch_all(&self.pool)
        .await?;
        let records = rows.into_iter().map(|row| OrganisationRecord {
            id: OrgId::new(row.id),
            name: row.name,
            api_key_digest: row.openrouter_api_key.map(|key| hex_digest_of(&key)),
            api_key_hash: row.openrouter_key_hash,
            markup: row.markup_rate,
            monthly_limit: row.monthly_limit,
            zone: row.timezone,
        });
        Ok(records.collect())
    }

    /// Organisations without a call, an entry, a daily row or a poll.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn unused_organisations(&self) -> Result<Vec<UnusedOrganisation>, ReadError> {
        let unused = sqlx::query_as!(
            UnusedOrganisation,
            "SELECT id, name
             FROM client_organizations
             WHERE id NOT IN (SELECT org_id FROM calls)
                 AND id NOT IN (SELECT org_id FROM entries)
                 AND id NOT IN (SELECT org_id FROM daily_usage)
                 AND id NOT IN (SELECT org_id FROM reconciliations)
             ORDER BY created_at, id"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(unused)
    }

    /// Users without a call, an entry or a daily row.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn unused_users(&self) -> Result<Vec<UnusedUser>, ReadError> {
        let unused = sqlx::query_as!(
            UnusedUser,
            "SELECT user_id, name
             FROM users
             WHERE user_id NOT IN (SELECT user_id FROM calls)
                 AND user_id NOT IN (SELECT user_id FROM entries)
                 AND user_id NOT IN (SELECT user_id FROM daily_usage)
             ORDER BY user_id"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(unused)
    }
}
