//! The billing day: which calendar day of the organisation a call belongs to.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// First second that is believed: 2020-01-01.
const EARLIEST_SECOND: i64 = 1_577_836_800;

/// First second that is not believed any more: 2100-01-01.
const LATEST_SECOND: i64 = 4_102_444_800;

/// The organisation's time zone: its days are the billing days.
#[derive(Debug, Clone, PartialEq)]
pub struct BillingZone {
    zone: TimeZone,
    name: String,
}

/// A zone name that the bundled IANA database does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone {name:?}; use a name such as Europe/Warsaw")]
pub struct UnknownZone {
    /// The name as it was given.
    pub name: String,
}

impl BillingZone {
    /// The zone named `name` in the IANA database that is compiled in.
    ///
    /// # Errors
    /// [`UnknownZone`] where there is none.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        match TimeZone::get(name) {
            Ok(zone) => Ok(Self { zone, name: name.to_owned() }),
            Err(_) => Err(UnknownZone { name: name.to_owned() }),
        }
    }

    /// The zone's IANA name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The billing day of `instant`. Days of 23 and 25 hours need no special case: the zone decides.
    #[must_use]
    pub fn day_of(&self, instant: Timestamp) -> Date {
        self.civil(instant).date()
    }

    /// The wall clock of the zone at `instant`.
    #[must_use]
    pub fn civil(&self, instant: Timestamp) -> jiff::civil::DateTime {
        self.zone.to_datetime(instant)
    }

    /// The first and the last instant (exclusive) of `day`.
    ///
    /// # Errors
    /// Where `day` is at the edge of the calendar (years -9999 and 9999).
    pub fn bounds_of(&self, day: Date) -> Result<(Timestamp, Timestamp), jiff::Error> {
        let start = day.to_zoned(self.zone.clone())?.timestamp();
        let end = day.checked_add(1.day())?.to_zoned(self.zone.clone())?.timestamp();
        Ok((start, end))
    }
}

/// The instant inside a generation id (`gen-<unix seconds>-…`, also `gen-img-<unix seconds>-…`): the biller's
/// own clock, which wins over ours. `None` where the id carries none that is plausible.
#[must_use]
pub fn instant_of_generation(id: &str) -> Option<Timestamp> {
    let mut parts = id.split('-');
    if parts.next() != Some("gen") {
        return None;
    }
    let second: i64 = parts
        .take(2)
        .find(|part| part.len() >= 10 && part.bytes().all(|byte| byte.is_ascii_digit()))?
        .parse()
        .ok()?;
    plausible_instant(second)
}

/// The instant of a Unix second that somebody else told. `None` before 2020 and from 2100 on: no clock said that.
#[must_use]
pub fn plausible_instant(second: i64) -> Option<Timestamp> {
    let plausible = (EARLIEST_SECOND..LATEST_SECOND).contains(&second);
    plausible.then(|| Timestamp::from_second(second).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_day(zone: &str, instant: &str, day: &str) {
        let zone = BillingZone::named(zone).unwrap();
        let instant: Timestamp = instant.parse().unwrap();
        assert_eq!(zone.day_of(instant).to_string(), day, "{instant}");
    }

    #[track_caller]
    fn check_hours(day: &str, hours: i64) {
        let zone = BillingZone::named("Europe/Warsaw").unwrap();
        let (start, end) = zone.bounds_of(day.parse().unwrap()).unwrap();
        assert_eq!(end.as_second() - start.as_second(), hours * 3_600, "{day}");
        assert_eq!(zone.day_of(start).to_string(), day);
        assert_ne!(zone.day_of(end).to_string(), day);
    }

    #[test]
    fn evening_usage_belongs_to_the_day_of_the_zone() {
        check_day("Europe/Warsaw", "2026-07-31T21:59:59Z", "2026-07-31");
        check_day("Europe/Warsaw", "2026-07-31T22:00:00Z", "2026-08-01");
        check_day("Europe/Warsaw", "2026-01-31T22:59:59Z", "2026-01-31");
        check_day("Europe/Warsaw", "2026-01-31T23:00:00Z", "2026-02-01");
        check_day("Etc/UTC", "2028-02-29T23:59:59Z", "2028-02-29");
        check_day("America/New_York", "2027-01-01T04:59:59Z", "2026-12-31");
    }

    #[test]
    fn days_of_23_24_and_25_hours() {
        check_hours("2026-03-29", 23);
        check_hours("2026-10-25", 25);
        check_hours("2026-10-26", 24);
        check_hours("2028-02-29", 24);
    }

    #[test]
    fn an_unknown_zone_is_named() {
        let error = BillingZone::named("Europe/Warszawa").unwrap_err();
        assert!(error.to_string().contains("Europe/Warszawa"));
    }

    #[test]
    fn the_instant_is_the_second_in_the_id() {
        let second = |id| instant_of_generation(id).map(Timestamp::as_second);
        assert_eq!(second("gen-1790000000-AAAAbbbbCCCCddddEEEE"), Some(1_790_000_000));
        assert_eq!(second("gen-img-1790000000-AAAAbbbbCCCCddddEEEE"), Some(1_790_000_000));
        for id in [
            "gen-AAAA",
            "gen-17-x",
            "chatcmpl-1790000000-x",
            "gen-99999999999999999999-x",
            "gen-0000000001-x",
            "",
        ] {
            assert_eq!(second(id), None, "{id}");
        }
    }
}
