//! Checksums of rows: what `SQLite` reads back without an error need not be what was written.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, SqliteConnection};

/// `PRAGMA user_version` once every row has a digest.
const ALL_SEALED: i64 = 2;

/// What a row of `sealed_entries` or `sealed_calls` should have as its digest.
pub(crate) fn digest_of(sealed: &str) -> Vec<u8> {
    Sha256::digest(sealed.as_bytes()).to_vec()
}

/// The lower-case hex SHA-256 of a text.
pub(crate) fn hex_digest_of(text: &str) -> String {
    let mut hex = String::new();
    for byte in digest_of(text) {
        // A text takes whatever is written.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Gives the entry its digest; in the transaction that wrote it.
pub(crate) async fn seal_entry(id: i64, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sealed =
        sqlx::query_scalar!("SELECT sealed AS 'sealed!: String' FROM sealed_entries WHERE id = ?1", id)
            .fetch_one(&mut *connection)
            .await?;
    let digest = digest_of(&sealed);
    sqlx::query!("UPDATE entries SET digest = ?2 WHERE id = ?1", id, digest).execute(connection).await?;
    Ok(())
}

/// Gives the call the digest of what it is now; in the transaction that changed it.
pub(crate) async fn seal_call(id: &str, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let sealed =
        sqlx::query_scalar!("SELECT sealed AS 'sealed!: String' FROM sealed_calls WHERE id = ?1", id)
            .fetch_one(&mut *connection)
            .await?;
    let digest = digest_of(&sealed);
    sqlx::query!("UPDATE calls SET digest = ?2 WHERE id = ?1", id, digest).execute(connection).await?;
    Ok(())
}

/// Gives all rows from before the digests theirs, once.
pub(crate) async fn seal_what_came_before(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    if version >= ALL_SEALED {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    let entries = sqlx::query_scalar!("SELECT id FROM entries WHERE digest IS NULL")
        .fetch_all(&mut *transaction)
        .await?;
    for id in entries {
        seal_entry(id, &mut transaction).await?;
    }
    let calls =
        sqlx::query_scalar!("SELECT id FROM calls WHERE digest IS NULL").fetch_all(&mut *transaction).await?;
    for id in calls {
        seal_call(&id, &mut transaction).await?;
    }
    sqlx::query("PRAGMA user_version = 2").execute(&mut *transaction).await?;
    transaction.commit().await
}
