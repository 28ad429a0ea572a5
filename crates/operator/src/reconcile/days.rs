//! Which UTC days are compared.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use ledger::StatementFacts;
use metering::REACH;

use super::ReconcileArgs;
use crate::OperatorError;

/// Reading takes its time: the oldest day must still be whole when it is asked about.
const READING: SignedDuration = SignedDuration::from_hours(1);

/// Refuses days that nobody can tell anything of.
pub(super) fn check(args: &ReconcileArgs, now: Timestamp) -> Result<(), OperatorError> {
    let (today, first) = (day_of(now), first_told(now));
    let wrong = |flag, rule| Err(OperatorError::Value { flag, rule });
    let to = args.to.unwrap_or(today);
    if to > today {
        return wrong("--to", "must not be after today");
    }
    if args.from.is_some_and(|from| from > to) {
        return wrong("--from", "must not be after --to");
    }
    if args.from.unwrap_or(to) < first || to < first {
        return wrong("--from", "must be one of the last 30 days: OpenRouter tells no more");
    }
    Ok(())
}

/// The days that were named; else all that are over and not final, and today.
pub(super) fn wanted(args: &ReconcileArgs, facts: &StatementFacts, now: Timestamp) -> Vec<Date> {
    let today = day_of(now);
    let is_named = args.from.is_some() || args.to.is_some();
    let began = facts.began_at.map_or(today, day_of);
    let first = args.from.unwrap_or_else(|| began.max(first_told(now)));
    let last = args.to.unwrap_or(today);
    let is_final = |day: &Date| facts.days.iter().any(|known| known.day == *day && known.is_final);
    let days = std::iter::successors(Some(first), |day| day.checked_add(1.day()).ok());
    days.take_while(|day| *day <= last).filter(|day| is_named || !is_final(day)).collect()
}

/// The first day of which generations are still told one by one.
fn first_told(now: Timestamp) -> Date {
    let reach = now.checked_sub(REACH - READING).unwrap_or(Timestamp::MIN);
    let day = day_of(reach);
    day.checked_add(1.day()).unwrap_or(day)
}

fn day_of(instant: Timestamp) -> Date {
    instant.to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use ledger::RecordedDay;
    use metering::PicoUsd;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ReconcileArgs,
    }

    fn args(line: &[&str]) -> ReconcileArgs {
        let line = ["reconcile"].iter().chain(line);
        <Line as clap::Parser>::try_parse_from(line).unwrap().args
    }

    fn now() -> Timestamp {
        "2026-11-22T23:30:00Z".parse().unwrap()
    }

    fn facts(began_at: &str) -> StatementFacts {
        let recorded = |day, is_final| RecordedDay {
            day,
            bill: PicoUsd::ZERO,
            ledger: PicoUsd::ZERO,
            unattributed: PicoUsd::ZERO,
            difference: PicoUsd::ZERO,
            is_final,
            fetched_at: now(),
        };
        StatementFacts {
            organisation_id: "mai_client_1".into(),
            organisation: "A".into(),
            began_at: Some(began_at.parse().unwrap()),
            key_hashes: Vec::new(),
            days: vec![recorded(date(2026, 11, 20), true), recorded(date(2026, 11, 21), false)],
        }
    }

    #[test]
    fn without_a_word_all_that_is_not_final_is_compared() {
        let facts = facts("2026-11-19T10:00:00Z");
        let days = wanted(&args(&[]), &facts, now());
        assert_eq!(days, [date(2026, 11, 19), date(2026, 11, 21), date(2026, 11, 22)]);
        let named = wanted(&args(&["--from", "2026-11-20", "--to", "2026-11-20"]), &facts, now());
        assert_eq!(named, [date(2026, 11, 20)]);
    }

    #[test]
    fn no_day_is_asked_about_that_is_not_told_whole() {
        let first = wanted(&args(&[]), &facts("2026-01-01T00:00:00Z"), now())[0];
        let start = first.to_zoned(TimeZone::UTC).unwrap().timestamp();
        assert!(now().duration_since(start) <= REACH - READING, "{first}");
        assert!(check(&args(&["--from", &first.to_string()]), now()).is_ok());
        for (line, words) in [
            (&["--to", "2026-11-23"][..], "--to must not be after today"),
            (&["--from", "2026-11-22", "--to", "2026-11-21"], "--from must not be after --to"),
            (&["--from", "2026-10-22"], "--from must be one of the last 30 days"),
            (&["--to", "2026-10-01"], "--from must be one of the last 30 days"),
        ] {
            let error = check(&args(line), now()).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
