//! Keys for people.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use metering::PicoUsd;
use openrouter::KeyRecord;

use super::find::short;

/// What stands where there is nothing.
const NONE: &str = "-";

pub(super) fn list(keys: &[KeyRecord]) -> String {
    let mut table = table(["NAME", "HASH", "STATE", "LIMIT", "RESET", "LEFT", "THIS MONTH", "LAST USED"]);
    for key in keys {
        table.add_row(vec![
            text(&key.name),
            text(&short(&key.hash)),
            text(state(key)),
            amount(key.limit.as_deref()),
            text(reset(key)),
            amount(key.limit_remaining.as_deref()),
            amount(key.usage_monthly.as_deref()),
            text(day(key.last_used_at.as_deref())),
        ]);
    }
    format!("{}\n{} keys, amounts in USD", printed(&table), keys.len())
}

pub(super) fn usage(keys: &[KeyRecord]) -> String {
    let mut table = table(["NAME", "HASH", "TODAY", "THIS WEEK", "THIS MONTH", "IN ALL", "LIMIT", "LEFT"]);
    for key in keys {
        let amounts = [
            &key.usage_daily,
            &key.usage_weekly,
            &key.usage_monthly,
            &key.usage,
            &key.limit,
            &key.limit_remaining,
        ];
        let cells = amounts.map(|told| amount(told.as_deref()));
        table.add_row([text(&key.name), text(&short(&key.hash))].into_iter().chain(cells));
    }
    format!("{}\namounts in USD, days in UTC; OpenRouter's counters are minutes late", printed(&table))
}

pub(super) fn show(key: &KeyRecord) -> String {
    let usd = |told: &Option<String>| told.as_deref().map_or_else(|| NONE.to_owned(), plain);
    let told = |told: &Option<String>| told.clone().unwrap_or_else(|| NONE.to_owned());
    let mut table = Table::new();
    table.load_style(NOTHING);
    let rows = [
        ("name", key.name.clone()),
        ("hash", key.hash.clone()),
        ("label", key.label.clone()),
        ("state", state(key).to_owned()),
        ("limit (USD)", usd(&key.limit)),
        ("reset", reset(key).to_owned()),
        ("left (USD)", usd(&key.limit_remaining)),
        ("used today (USD)", usd(&key.usage_daily)),
        ("used this week (USD)", usd(&key.usage_weekly)),
        ("used this month (USD)", usd(&key.usage_monthly)),
        ("used in all (USD)", usd(&key.usage)),
        ("created", told(&key.created_at)),
        ("changed", told(&key.updated_at)),
        ("expires", told(&key.expires_at)),
        ("last used", told(&key.last_used_at)),
    ];
    for (name, value) in rows {
        table.add_row([name, value.as_str()]);
    }
    printed(&table)
}

/// As wide as its content: what is cut cannot be copied.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
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

fn amount(told: Option<&str>) -> Cell {
    Cell::new(told.map_or_else(|| NONE.to_owned(), plain)).set_alignment(CellAlignment::Right)
}

/// Every digit, without an exponent.
fn plain(told: &str) -> String {
    PicoUsd::parse(told).map_or_else(|_| told.to_owned(), |parsed| parsed.amount.to_string())
}

fn state(key: &KeyRecord) -> &'static str {
    if key.disabled { "disabled" } else { "enabled" }
}

fn reset(key: &KeyRecord) -> &str {
    key.limit_reset.as_deref().unwrap_or(if key.limit.is_some() { "never" } else { NONE })
}

/// The day of an instant.
fn day(told: Option<&str>) -> &str {
    told.map_or(NONE, |told| told.split_once('T').map_or(told, |(day, _)| day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    #[test]
    fn a_list_says_everything_in_plain_digits() {
        let mut second = key("Zakład \u{1b}[31m", "bbbbbbbbbbbbbbbbbbbb");
        (second.limit, second.limit_reset, second.disabled) = (None, None, true);
        let list = list(&[key("mAI Client: Company_A", "aaaaaaaaaaaaaaaaaaaa"), second]);
        let lines: Vec<&str> = list.lines().collect();
        assert_eq!(
            lines[0].split_whitespace().collect::<Vec<_>>().join(" "),
            "NAME HASH STATE LIMIT RESET LEFT THIS MONTH LAST USED"
        );
        assert!(lines[1].contains("Company_A") && lines[1].contains("249.999996"), "{list}");
        assert!(lines[2].contains("disabled") && !list.contains('\u{1b}'), "{list}");
        assert_eq!(lines[3], "2 keys, amounts in USD");
    }

    #[test]
    fn small_amounts_are_not_zero() {
        let usage = usage(&[key("A", "aaaaaaaaaaaaaaaaaaaa")]);
        assert_eq!(usage.matches("0.000004").count(), 4, "{usage}");
    }

    #[test]
    fn all_of_a_key_is_shown() {
        let shown = show(&key("A", "aaaaaaaaaaaaaaaaaaaa"));
        for word in ["aaaaaaaaaaaaaaaaaaaa", "sk-or-v1-0e6...1c9", "monthly", "2026-09-21T13:00:00"] {
            assert!(shown.contains(word), "{shown}");
        }
    }
}
