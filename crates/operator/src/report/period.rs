//! Which days a report is of.

use jiff::civil::Date;
use metering::{BillingZone, Clock};
use serde::Serialize;

use super::ReportArgs;
use crate::OperatorError;

/// The zone whose month it is where none is named: that of every organisation that names no other.
const ZONE: &str = "Europe/Warsaw";

/// The first and the last billing day, both inclusive, of each organisation's own zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Period {
    pub(super) from: Date,
    pub(super) to: Date,
}

impl Period {
    /// What `args` name; this month without that.
    pub(super) fn of(args: &ReportArgs, clock: &Clock) -> Result<Self, OperatorError> {
        if let (Some(from), Some(to)) = (&args.from, &args.to) {
            let (from, to) = (day(from, "--from")?, day(to, "--to")?);
            let rule = "must not be before --from";
            return if from <= to { Ok(Self { from, to }) } else { Err(wrong("--to", rule)) };
        }
        let first = match &args.month {
            Some(month) => first_of(month)?,
            None => today(clock).first_of_month(),
        };
        Ok(Self { from: first, to: first.last_of_month() })
    }

    pub(super) fn contains(self, day: Date) -> bool {
        (self.from..=self.to).contains(&day)
    }
}

fn today(clock: &Clock) -> Date {
    BillingZone::named(ZONE).map_or(Date::ZERO, |zone| zone.day_of(clock.now()))
}

fn first_of(month: &str) -> Result<Date, OperatorError> {
    let shaped = month.len() == "YYYY-MM".len();
    let first = shaped.then(|| format!("{month}-01").parse().ok()).flatten();
    first.ok_or_else(|| wrong("--month", "must be a month such as 2026-11"))
}

fn day(text: &str, flag: &'static str) -> Result<Date, OperatorError> {
    let shaped = text.len() == "YYYY-MM-DD".len();
    let day = shaped.then(|| text.parse().ok()).flatten();
    day.ok_or_else(|| wrong(flag, "must be a day such as 2026-11-22"))
}

const fn wrong(flag: &'static str, rule: &'static str) -> OperatorError {
    OperatorError::Value { flag, rule }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::args;

    fn of(flags: &[&str]) -> Result<(String, String), String> {
        // In Warsaw it is December.
        let clock = Clock::new(|| "2026-11-30T23:30:00Z".parse().unwrap());
        let period = Period::of(&args(flags), &clock).map_err(|error| error.to_string())?;
        Ok((period.from.to_string(), period.to.to_string()))
    }

    #[test]
    fn a_month_is_whole_and_that_of_the_zone() {
        let days = |from: &str, to: &str| Ok((from.to_owned(), to.to_owned()));
        assert_eq!(of(&[]), days("2026-12-01", "2026-12-31"));
        assert_eq!(of(&["--month", "2028-02"]), days("2028-02-01", "2028-02-29"));
        assert_eq!(of(&["--from", "2026-01-31", "--to", "2026-01-31"]), days("2026-01-31", "2026-01-31"));
        for wrong in [
            &["--month", "2026-13"][..],
            &["--month", "11-2026"],
            &["--month", "2026-1"],
            &["--from", "2026-02-30", "--to", "2026-03-01"],
            &["--from", "2026-03-02", "--to", "2026-03-01"],
            &["--from", "20260302", "--to", "2026-03-01"],
        ] {
            assert!(of(wrong).unwrap_err().contains("must"), "{wrong:?}");
        }
    }
}
