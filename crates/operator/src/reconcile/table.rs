//! The comparison for people.

use comfy_table::{Cell, CellAlignment};
use metering::PicoUsd;

use super::{Day, Report};
use crate::keys::{empty_table, printed};

pub(super) fn of(report: &Report) -> String {
    let header =
        ["DAY (UTC)", "OPENROUTER", "LEDGER", "UNATTRIBUTED", "CORRECTED", "DIFFERENCE", "ACTIVITY", "STATE"];
    let mut table = empty_table(header);
    for day in &report.days {
        let compared = &day.compared;
        let amounts = [
            Some(compared.bill),
            Some(compared.ledger),
            Some(compared.unattributed),
            Some(compared.corrected),
            Some(compared.difference),
            day.activity,
        ];
        let first = [Cell::new(compared.day)];
        table.add_row(first.into_iter().chain(amounts.map(amount)).chain([Cell::new(state(day))]));
    }
    let total = &report.total;
    let amounts = [total.bill, total.ledger, total.unattributed, total.corrected, total.difference];
    table.add_row([Cell::new("total")].into_iter().chain(amounts.map(|sum| amount(Some(sum)))));
    let (name, id) = (report.organisation.as_deref(), report.organisation_id.as_deref());
    format!(
        "{}: {} ({}), amounts in USD\n{}",
        report.client,
        name.unwrap_or_default(),
        id.unwrap_or_default(),
        printed(&table)
    )
}

/// What was done, and what has to be looked at.
pub(super) fn remarks(report: &Report) -> Vec<String> {
    report.days.iter().flat_map(remarks_of).map(|remark| format!("{}: {remark}", report.client)).collect()
}

fn remarks_of(day: &Day) -> Vec<String> {
    let (date, done, told) = (day.compared.day, &day.compared.done, &day.compared.told);
    let counts = [
        (done.settled, "open calls settled"),
        (done.orphans_settled, "orphans settled"),
        (done.recognised, "entries without an id recognised"),
        (done.unattributed, "generations booked as unattributed"),
        (done.corrected, "costs corrected"),
        (done.voided, "orphans proved unbilled"),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let mut remarks = Vec::new();
    if !counts.is_empty() {
        let would = if day.is_preview { "would be " } else { "" };
        remarks.push(format!("{date}: {would}{}", counts.join(", ")));
    }
    if told.missing > 0 && day.compared.is_late_enough {
        remarks.push(format!(
            "{date}: WARNING: {} calls of the ledger, {} USD together, are not in OpenRouter's statement; nothing was taken back",
            told.missing, told.missing_cost
        ));
    }
    if told.young > 0 {
        remarks.push(format!(
            "{date}: {} generations are younger than two hours and were left alone",
            told.young
        ));
    }
    if told.before > 0 {
        remarks.push(format!(
            "{date}: {} generations are from before this ledger began and do not count",
            told.before
        ));
    }
    if told.orphans > 0 && day.compared.is_late_enough {
        remarks.push(format!("{date}: {} orphans are left: the days beside are not final", told.orphans));
    }
    if day.activity.is_some_and(|activity| activity != day.compared.bill) && day.compared.is_late_enough {
        remarks.push(format!("{date}: OpenRouter's two statements of this day differ"));
    }
    remarks
}

fn amount(sum: Option<PicoUsd>) -> Cell {
    Cell::new(sum.map_or_else(|| "-".to_owned(), |sum| sum.to_string())).set_alignment(CellAlignment::Right)
}

fn state(day: &Day) -> &'static str {
    match &day.compared {
        compared if compared.is_final && !day.is_preview => "final",
        _ if day.differs() => "DIFFERS",
        _ if day.is_preview => "only shown",
        _ => "not final yet",
    }
}
