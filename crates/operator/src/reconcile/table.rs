//! The comparison for people.

use comfy_table::{Cell, CellAlignment};
use metering::PicoUsd;

use super::{Day, Report};
use crate::table::{self, printed};

pub(super) fn of(report: &Report) -> String {
    let header =
        ["DAY (UTC)", "OPENROUTER", "LEDGER", "UNATTRIBUTED", "CORRECTED", "DIFFERENCE", "ACTIVITY", "STATE"];
    let mut table = table::table(header);
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

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use ledger::{StatementCounts, StatementDay};
    use metering::Told;

    use super::*;
    use crate::reconcile::Total;

    fn day(number: i8, is_final: bool) -> Day {
        let compared = StatementDay {
            day: date(2026, 11, number),
            bill: PicoUsd::new(1_500_000_000_001),
            ledger: PicoUsd::new(1_500_000_000_000),
            unattributed: PicoUsd::ZERO,
            corrected: PicoUsd::ZERO,
            difference: PicoUsd::new(i64::from(!is_final)),
            is_final,
            is_late_enough: true,
            generations: 3,
            done: StatementCounts { orphans_settled: 2, ..StatementCounts::default() },
            left: 0,
            told: Told { missing: 1, missing_cost: PicoUsd::new(5), ..Told::default() },
        };
        Day { compared, activity: None, is_over: true, is_preview: false }
    }

    #[test]
    fn every_pico_dollar_and_every_warning_is_told() {
        let report = Report {
            client: "company-a".into(),
            organisation_id: Some("mai_client_1".into()),
            organisation: Some("Company A".into()),
            days: vec![day(19, true), day(20, false)],
            total: Total { difference: PicoUsd::new(1), ..Total::default() },
            error: None,
        };
        let text = of(&report);
        let words =
            |line: usize| text.lines().nth(line).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words(0), "company-a: Company A (mai_client_1), amounts in USD");
        assert_eq!(words(1), "DAY (UTC) OPENROUTER LEDGER UNATTRIBUTED CORRECTED DIFFERENCE ACTIVITY STATE");
        assert_eq!(words(2), "2026-11-19 1.500000000001 1.5 0 0 0 - final");
        assert_eq!(words(3), "2026-11-20 1.500000000001 1.5 0 0 0.000000000001 - DIFFERS");
        assert_eq!(words(4), "total 0 0 0 0 0.000000000001");
        let remarks = remarks(&report);
        assert_eq!(remarks[0], "company-a: 2026-11-19: 2 orphans settled");
        assert!(remarks[1].contains("WARNING: 1 calls of the ledger, 0.000000000005 USD"), "{remarks:?}");
    }
}
