//! Tables for people.

use std::fmt;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

/// What stands where there is nothing.
pub(crate) const NONE: &str = "-";

/// With a header.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = plain_table();
    table.set_header(header);
    table
}

/// As wide as its content: what is cut cannot be copied.
pub(crate) fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// Without blanks at the ends of lines, and without the one that every line begins with.
pub(crate) fn printed(table: &Table) -> String {
    let lines: Vec<String> =
        table.lines().map(|line| line.strip_prefix(' ').unwrap_or(&line).trim_end().to_owned()).collect();
    lines.join("\n")
}

/// A name comes from outside: what would move the cursor is shown as it is not.
pub(crate) fn text(text: &str) -> Cell {
    let shown: String = text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    Cell::new(shown)
}

/// An amount or a count.
pub(crate) fn number(number: impl fmt::Display) -> Cell {
    Cell::new(number).set_alignment(CellAlignment::Right)
}

/// `1 call`, `2 calls`.
pub(crate) fn counted(count: impl fmt::Display, what: &str) -> String {
    let count = count.to_string();
    let end = if count == "1" { "" } else { "s" };
    format!("{count} {what}{end}")
}
