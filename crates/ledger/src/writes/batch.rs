//! Statements that go to `SQLite` together: each trip there and back is two switches of threads, which cost more than `SQLite` takes
//! for a row.

use futures_util::TryStreamExt as _;
use sqlx::{AssertSqlSafe, Either, Executor as _, Row as _, SqliteConnection};

use crate::error::WriteError;

/// Statements in their order, each with its parameters, which are texts.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    sql: String,
    parameters: Vec<String>,
}

/// The rows that the statements of a batch answered, in their order. Each is a word that says what it tells, and a text.
#[derive(Debug, Default)]
pub(crate) struct Told(Vec<(String, String)>);

impl Batch {
    /// Adds a statement, or some, with a parameter for each `?`.
    pub(crate) fn push<const PARAMETERS: usize>(
        &mut self,
        statements: &'static str,
        parameters: [String; PARAMETERS],
    ) {
        self.sql.push_str(statements);
        self.sql.push_str(";\n");
        self.parameters.extend(parameters);
    }

    /// Has the batch end here with an error where a condition holds.
    pub(crate) fn stop_where(&mut self, condition: &'static str, parameter: String) {
        // A text that is no JSON is an error; `raise` is for triggers alone.
        self.sql.push_str("SELECT json('') WHERE ");
        self.push(condition, [parameter]);
    }

    /// Has the batch end here with an error unless the statement before this wrote so many rows.
    pub(crate) fn expect_rows(&mut self, rows: usize) {
        self.stop_where("changes() <> CAST(? AS INTEGER)", rows.to_string());
    }

    /// Runs all up to the first that fails, which undoes nothing of those before it.
    pub(crate) async fn run(self, connection: &mut SqliteConnection) -> Result<Told, WriteError> {
        let mut query = sqlx::query(AssertSqlSafe(self.sql));
        for parameter in self.parameters {
            query = query.bind(parameter);
        }
        let mut steps = connection.fetch_many(query);
        let mut told = Vec::new();
        while let Some(step) = steps.try_next().await? {
            if let Either::Right(row) = step {
                told.push((row.try_get(0)?, row.try_get(1)?));
            }
        }
        Ok(Told(told))
    }
}

impl Told {
    /// What was told under this word.
    pub(crate) fn of<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(told, _)| told == word).map(|(_, text)| text.as_str())
    }
}
