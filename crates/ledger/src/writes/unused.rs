//! Rows to which nothing belongs are taken out. What was ever called or booked is never touched.

use metering::OrgId;
use sqlx::SqliteConnection;

use crate::error::WriteError;
use crate::writer::Write;

/// What is to be taken out.
#[derive(Debug, Clone, Default)]
pub struct RemoveUnused {
    /// Organisations without a call, an entry, a daily row or a poll. The file's own stays.
    pub organisations: Vec<OrgId>,
    /// Users without a call, an entry or a daily row.
    pub users: Vec<String>,
}

/// How many were taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RemovedUnused {
    /// Organisations.
    pub organisations: u64,
    /// Users.
    pub users: u64,
}

/// What is to be taken out of an organisation's file.
pub(crate) struct RemoveUnusedOf {
    pub(crate) org_id: OrgId,
    pub(crate) unused: RemoveUnused,
}

impl Write for RemoveUnusedOf {
    type Answer = RemovedUnused;

    /// What has been used since it was looked at stays.
    async fn apply(&self, connection: &mut SqliteConnection) -> Result<RemovedUnused, WriteError> {
        let (own, mut removed) = (self.org_id.as_str(), RemovedUnused::default());
        for id in &self.unused.organisations {
            let id = id.as_str();
            let done = sqlx::query!(
                "DELETE FROM client_organizations
                 WHERE id = ?1
                     AND id <> ?2
                     AND id NOT IN (SELECT org_id FROM calls)
                     AND id NOT IN (SELECT org_id FROM entries)
                     AND id NOT IN (SELECT org_id FROM daily_usage)
                     AND id NOT IN (SELECT org_id FROM reconciliations)",
                id,
                own,
            )
            .execute(&mut *connection)
            .await?;
            removed.organisations += done.rows_affected();
        }
        for user_id in &self.unused.users {
            let done = sqlx::query!(
                "DELETE FROM users
                 WHERE user_id = ?1
                     AND user_id NOT IN (SELECT user_id FROM calls)
                     AND user_id NOT IN (SELECT user_id FROM entries)
                     AND user_id NOT IN (SELECT user_id FROM daily_usage)",
                user_id,
            )
            .execute(&mut *connection)
            .await?;
            removed.users += done.rows_affected();
        }
        Ok(removed)
    }
}
