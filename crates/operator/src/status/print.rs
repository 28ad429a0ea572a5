//! For people.

use comfy_table::Cell;
use jiff::Timestamp;

use super::{Books, ClientStatus, Month, Total};
use crate::table::{NONE, counted, number, printed, table as with_header, text};

pub(super) fn table(clients: &[ClientStatus], total: &Total, now: Timestamp) -> String {
    let mut table = with_header([
        "CLIENT",
        "STATE",
        "VERSION",
        "TODAY",
        "CHARGE",
        "PROFIT",
        "LIMIT",
        "USED",
        "OPEN",
        "ORPHANS",
        "POLL",
        "DIFFERENCE",
        "BACKUP",
    ]);
    for client in clients {
        table.add_row(row(client, now));
    }
    let Month { charge_usd, profit_usd, .. } = total.month;
    table.add_row([
        text("TOTAL"),
        text(&format!("{} of {}", total.working, total.clients)),
        text(""),
        number(total.calls_today),
        number(charge_usd),
        number(profit_usd),
        text(""),
        text(""),
        number(total.open_calls),
        number(total.orphans),
    ]);
    let mut said =
        vec![printed(&table), "this month, amounts in USD; a poll and a backup by their age".to_owned()];
    if total.unread > 0 {
        said.push(format!("the totals lack {}, which could not be read", counted(total.unread, "client")));
    }
    for client in clients {
        said.extend(client.reasons.iter().map(|reason| format!("{}: {reason}", client.client)));
    }
    said.join("\n")
}

fn row(client: &ClientStatus, now: Timestamp) -> Vec<Cell> {
    let version = client.version.as_deref().unwrap_or(NONE);
    let mut cells = vec![text(&client.client), text(client.state.name()), text(version)];
    match &client.books {
        Some(books) => cells.extend(of_books(books, now)),
        None => cells.extend(std::iter::repeat_n(number(NONE), 9)),
    }
    cells.push(number(age(client.last_backup_at, now)));
    cells
}

fn of_books(books: &Books, now: Timestamp) -> [Cell; 9] {
    let told = |value: Option<String>| number(value.unwrap_or_else(|| NONE.to_owned()));
    let poll = books.last_poll.as_ref();
    let difference = poll.and_then(|poll| poll.difference_usd).map(|difference| difference.to_string());
    let warning = poll.and_then(|poll| poll.warning.as_deref()).map(|warning| format!(" {warning}"));
    [
        number(books.calls_today),
        number(books.month.charge_usd),
        number(books.month.profit_usd),
        told(books.limit_usd.map(|limit| limit.to_string())),
        told(books.limit_used_permille.map(percent)),
        number(books.open_calls),
        number(books.orphans),
        number(age(poll.and_then(|poll| poll.at), now)),
        told(difference.map(|difference| difference + &warning.unwrap_or_default())),
    ]
}

/// Thousandths as per cent.
fn percent(permille: i64) -> String {
    format!("{}.{} %", permille / 10, permille % 10)
}

/// How long ago, in the largest unit of which there is one.
pub(super) fn age(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return NONE.to_owned() };
    match now.duration_since(at).as_secs() {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_a_unit_that_fits() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        for (at, told) in [
            ("2026-11-22T11:59:01Z", "59 s"),
            ("2026-11-22T11:50:00Z", "10 min"),
            ("2026-11-21T10:00:00Z", "26 h"),
            ("2026-11-02T12:00:00Z", "20 d"),
        ] {
            assert_eq!(age(at.parse().ok(), now), told);
        }
        assert_eq!(age(None, now), "-");
        assert_eq!(percent(1_005), "100.5 %");
    }
}
