//! Checksums of rows: what `SQLite` reads back without an error need not be what was written.
//!
//! A digest is the SHA-256 of a row's sealed text, in which each value stands as `SQLite`'s `quote(CAST(value AS BLOB))`.
//! Writers make it of the values they write; `verify` lets `SQLite` make it of what it reads (`sealed_calls`,
//! `sealed_entries`).

use serde::Serialize;
use serde::ser::{SerializeSeq as _, Serializer};
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, SqliteConnection};

/// `PRAGMA user_version` once every row has a digest.
const ALL_SEALED: i64 = 2;

/// Room for the sealed text of an ordinary row.
const ORDINARY_ROW: usize = 1_024;

/// One value of a row.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(untagged)]
pub(crate) enum Value<'a> {
    Null,
    Integer(i64),
    Text(&'a str),
}

/// The values of a row in the order of its view. As JSON it is an array of them, with the digest at the end.
#[derive(Debug)]
pub(crate) struct Sealed<'a, const VALUES: usize>(pub(crate) [Value<'a>; VALUES]);

impl<const VALUES: usize> Serialize for Sealed<'_, VALUES> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_seq(Some(VALUES + 1))?;
        for value in &self.0 {
            row.serialize_element(value)?;
        }
        row.serialize_element(&seal_of(&self.0))?;
        row.end()
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Integer(value.into())
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<'a> From<&'a Option<String>> for Value<'a> {
    fn from(value: &'a Option<String>) -> Self {
        value.as_deref().into()
    }
}

/// The lower-case hex digest of a row.
fn seal_of(values: &[Value<'_>]) -> String {
    let mut sealed = Vec::with_capacity(ORDINARY_ROW);
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            sealed.push(b',');
        }
        match value {
            Value::Null => sealed.extend_from_slice(b"NULL"),
            Value::Integer(number) => quote(number.to_string().as_bytes(), &mut sealed),
            Value::Text(text) => quote(text.as_bytes(), &mut sealed),
        }
    }
    hex_digest(&sealed)
}

/// As a blob in SQL: `X'41'`.
fn quote(bytes: &[u8], sealed: &mut Vec<u8>) {
    sealed.extend_from_slice(b"X'");
    push_hex(bytes, b"0123456789ABCDEF", sealed);
    sealed.push(b'\'');
}

fn push_hex(bytes: &[u8], digits: &[u8; 16], text: &mut Vec<u8>) {
    let digit = |half: u8| digits.get(usize::from(half)).copied().unwrap_or_default();
    let begin = text.len();
    text.resize(begin + 2 * bytes.len(), 0);
    let (pairs, _) = text.get_mut(begin..).unwrap_or_default().as_chunks_mut();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = [digit(byte >> 4), digit(byte & 15)];
    }
}

fn hex_digest(bytes: &[u8]) -> String {
    let mut hex = Vec::with_capacity(64);
    push_hex(&Sha256::digest(bytes), b"0123456789abcdef", &mut hex);
    String::from_utf8(hex).unwrap_or_default()
}

/// What a row of `sealed_entries` or `sealed_calls` should have as its digest.
pub(crate) fn digest_of(sealed: &str) -> Vec<u8> {
    Sha256::digest(sealed.as_bytes()).to_vec()
}

/// The lower-case hex SHA-256 of a text.
pub(crate) fn hex_digest_of(text: &str) -> String {
    hex_digest(text.as_bytes())
}

/// Gives all rows from before the digests theirs, once.
pub(crate) async fn seal_what_came_before(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *connection).await?;
    if version >= ALL_SEALED {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    let entries = sqlx::query!(
        "SELECT id AS 'id!', sealed AS 'sealed!: String' FROM sealed_entries WHERE digest IS NULL"
    )
    .fetch_all(&mut *transaction)
    .await?;
    for entry in entries {
        let digest = digest_of(&entry.sealed);
        sqlx::query!("UPDATE entries SET digest = ?2 WHERE id = ?1", entry.id, digest)
            .execute(&mut *transaction)
            .await?;
    }
    let calls = sqlx::query!(
        "SELECT id AS 'id!', sealed AS 'sealed!: String' FROM sealed_calls WHERE digest IS NULL"
    )
    .fetch_all(&mut *transaction)
    .await?;
    for call in calls {
        let digest = digest_of(&call.sealed);
        sqlx::query!("UPDATE calls SET digest = ?2 WHERE id = ?1", call.id, digest)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("PRAGMA user_version = 2").execute(&mut *transaction).await?;
    transaction.commit().await
}
