//! The usage tables of the original Python system, as they stand in a `webui.db`: read, never written.
//!
//! The original is five generations with as many schemas, and nothing in its files is enforced. A table is used where it has the
//! columns that are needed, under whichever of their names; a row is read where every value of it can be believed, and told otherwise.

mod cells;
mod figures;
mod file;
mod tables;

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use metering::Markup;

pub use figures::OriginalFigures;
pub use tables::OriginalTable;

/// A `webui.db`, open for reading.
#[derive(Debug)]
pub struct Original {
    connection: sqlx::SqliteConnection,
    /// What is read where reading in place would leave a file behind.
    copy: Option<tempfile::TempDir>,
}

/// All that is in it and of use.
#[derive(Debug, Clone, Default)]
pub struct OriginalRows {
    /// The usage tables it has.
    pub tables: Vec<OriginalTable>,
    /// The rows of those, in the order of the file.
    pub rows: Vec<OriginalRow>,
    /// Rows that cannot be believed.
    pub unreadable: Vec<UnreadableRow>,
    /// The organisations it names.
    pub organisations: Vec<OriginalOrganisation>,
    /// Open `WebUI`'s own accounts.
    pub accounts: Vec<OriginalAccount>,
}

/// A row of a usage table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalRow {
    /// Where it stands.
    pub table: OriginalTable,
    /// Its id there.
    pub id: String,
    /// Whose usage it is; [`OriginalTable::ONLY_ORGANISATION`] where the table has no organisations.
    pub org_id: String,
    /// The day as written.
    pub day: Date,
    /// Whose, where the table tells.
    pub user_id: Option<String>,
    /// The model asked for, where the table tells.
    pub model: Option<String>,
    /// How much.
    pub figures: OriginalFigures,
    /// When it was last written, where that can be read.
    pub updated_at: Option<Timestamp>,
}

/// A row of a usage table that cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableRow {
    /// Where it stands.
    pub table: OriginalTable,
    /// Its id there.
    pub id: String,
    /// Whose usage it is, where that can be read.
    pub org_id: Option<String>,
    /// The day, where that can be read.
    pub day: Option<Date>,
    /// Why it cannot be believed.
    pub why: String,
}

/// An organisation as the file names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalOrganisation {
    /// Its id.
    pub id: String,
    /// Its name, where told.
    pub name: Option<String>,
    /// Its markup when the file was last written, where that is one.
    pub markup: Option<Markup>,
}

/// An account of Open `WebUI`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginalAccount {
    /// Its id.
    pub user_id: String,
    /// The person's name.
    pub name: Option<String>,
    /// The person's address.
    pub email: Option<String>,
    /// Its role.
    pub role: Option<String>,
}

/// Why a file cannot be read as the original's.
#[derive(Debug, thiserror::Error)]
pub enum OriginalError {
    /// The file, or a copy of it.
    #[error("cannot read {path}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Something else.
    #[error("{path} is no SQLite database; hint: it is `webui.db` in the data folder of the old mAI", path = .path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The house's own ledger, whose views have the names of the original's tables.
    #[error("{path} is a database of mai-usage; hint: --from takes the `webui.db` of the old mAI", path = .path.display())]
    OwnDatabase {
        /// The file.
        path: PathBuf,
    },
    /// No usage in it.
    #[error("{path} has none of the original's usage tables; hint: is it the right `webui.db`?", path = .path.display())]
    NoTables {
        /// The file.
        path: PathBuf,
    },
    /// More than there can be.
    #[error("{table} has more than {most} rows, which no client of the original can have")]
    TooManyRows {
        /// The table.
        table: &'static str,
        /// The most that are read.
        most: usize,
    },
    /// `SQLite` cannot read it.
    #[error("cannot read {path}: {source}; hint: stop mAI, and take the files beside it (-wal, -journal) too", path = .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: sqlx::Error,
    },
}
