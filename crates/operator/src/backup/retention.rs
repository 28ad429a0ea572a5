//! Which backups may go.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    /// All of so many days of 24 hours.
    pub(crate) days: u16,
    /// The first of each of so many calendar months (UTC), the present one included.
    pub(crate) months: u16,
}

/// Those of `backups` that may go at `now`. The newest never goes, nor one that seems to be from the future.
pub(crate) fn superseded(backups: &[Timestamp], keep: Keep, now: Timestamp) -> Vec<Timestamp> {
    let days = SignedDuration::from_hours(24 * i64::from(keep.days));
    let newest = backups.iter().max();
    let may_go = |at: &&Timestamp| {
        let is_recent = now.duration_since(**at) < days;
        let is_first = is_of_the_months(**at, keep.months, now) && is_first_of_its_month(**at, backups);
        !is_recent && !is_first && Some(*at) != newest && **at < now
    };
    backups.iter().filter(may_go).copied().collect()
}

fn is_of_the_months(at: Timestamp, months: u16, now: Timestamp) -> bool {
    month(now) - month(at) < i32::from(months)
}

fn is_first_of_its_month(at: Timestamp, backups: &[Timestamp]) -> bool {
    !backups.iter().any(|other| *other < at && month(*other) == month(at))
}

/// Months since the year 0.
fn month(at: Timestamp) -> i32 {
    let date: Date = at.to_zoned(TimeZone::UTC).date();
    i32::from(date.year()) * 12 + i32::from(date.month())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 24 * 60 * 60;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn all_of_the_last_days_and_the_first_of_each_month() {
        let now = at("2026-11-22T12:00:00Z");
        let daily: Vec<Timestamp> =
            (0..400).map(|days| now - SignedDuration::from_hours(24 * days)).collect();
        let gone = superseded(&daily, Keep { days: 14, months: 3 }, now);
        let mut left: Vec<String> =
            daily.iter().filter(|at| !gone.contains(at)).map(|at| at.strftime("%m-%d").to_string()).collect();
        left.sort();
        let mut wanted: Vec<String> = (9..=22).map(|day| format!("11-{day:02}")).collect();
        wanted.splice(0..0, ["09-01", "10-01", "11-01"].map(str::to_owned));
        assert_eq!(left, wanted);
    }

    #[test]
    fn the_last_one_stays_however_old() {
        let old = [at("2020-01-01T00:00:00Z"), at("2020-01-02T00:00:00Z")];
        let gone = superseded(&old, Keep { days: 0, months: 0 }, at("2026-11-22T12:00:00Z"));
        assert_eq!(gone, [old[0]]);
    }

    fn made() -> impl Strategy<Value = (Vec<Timestamp>, Timestamp)> {
        let instant = (0..1_500 * DAY).prop_map(|s| Timestamp::from_second(1_700_000_000 + s).unwrap());
        (proptest::collection::vec(instant.clone(), 0..60), instant)
    }

    proptest! {
        #[test]
        fn what_must_stay_stays((backups, now) in made(), days in 0u16..60, months in 0u16..30) {
            let keep = Keep { days, months };
            let gone = superseded(&backups, keep, now);
            for at in &gone {
                prop_assert!(backups.contains(at));
                prop_assert!(backups.iter().any(|newer| newer > at), "the newest went");
                prop_assert!(now.as_second() - at.as_second() >= i64::from(days) * DAY);
                let same_month = |other: &&Timestamp| month(**other) == month(*at);
                let first = backups.iter().filter(same_month).min();
                prop_assert!(first != Some(at) || month(now) - month(*at) >= i32::from(months));
            }
            // Run again, nothing more goes: the first of a month does not become another.
            let left: Vec<Timestamp> = backups.iter().filter(|at| !gone.contains(at)).copied().collect();
            prop_assert_eq!(superseded(&left, keep, now), []);
            prop_assert!(backups.is_empty() || !left.is_empty());
        }

        /// What goes today would go tomorrow too.
        #[test]
        fn nothing_comes_back((backups, now) in made(), days in 0u16..60, months in 0u16..30) {
            let later = now + SignedDuration::from_hours(24);
            let keep = Keep { days, months };
            let gone_later = superseded(&backups, keep, later);
            let gone = superseded(&backups, keep, now);
            prop_assert!(gone.iter().all(|at| gone_later.contains(at)));
        }
    }
}
