//! The simulator's clock: the machine's, moved forward by as much as a test says.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;

/// The latest instant that the clock shows: the end of the year 9999, where the text form ends.
const LATEST_MS: i64 = 253_402_300_799_999;

const MS_A_DAY: i64 = 86_400_000;

/// What time it is for the simulated OpenRouter. Delays on the wire stay real time.
#[derive(Debug, Default)]
pub(crate) struct MovableClock {
    ahead_ms: AtomicI64,
}

impl MovableClock {
    pub(crate) fn now_ms(&self) -> i64 {
        #[expect(clippy::disallowed_methods, reason = "the one place where the simulator meets real time")]
        let machine = std::time::SystemTime::now();
        let machine_ms = machine.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let machine_ms = i64::try_from(machine_ms).unwrap_or(LATEST_MS);
        machine_ms.saturating_add(self.ahead_ms.load(Ordering::Relaxed)).min(LATEST_MS)
    }

    pub(crate) fn advance(&self, by: Duration) {
        let by_ms = i64::try_from(by.as_millis()).unwrap_or(LATEST_MS);
        let _ = self.ahead_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |ahead_ms| {
            Some(ahead_ms.saturating_add(by_ms).min(LATEST_MS))
        });
    }
}

/// `2026-09-21T13:33:21.123Z`.
pub(crate) fn instant_text(ms: i64) -> String {
    format!("{:.3}", timestamp(ms))
}

/// `2026-09-21T13:33:21Z`.
pub(crate) fn second_text(ms: i64) -> String {
    format!("{:.0}", timestamp(ms))
}

/// `2026-09-21T13:00:00.000000+00:00`, the older of the two spellings on the wire.
pub(crate) fn offset_text(ms: i64) -> String {
    format!("{:.6}", timestamp(ms)).replace('Z', "+00:00")
}

/// `2026-09-21`, the UTC day.
pub(crate) fn day_text(ms: i64) -> String {
    timestamp(ms).strftime("%Y-%m-%d").to_string()
}

/// Reads an instant in UTC that includes the seconds.
pub(crate) fn parse_instant(text: &str) -> Option<i64> {
    let utc = text.ends_with('Z') || text.ends_with("+00:00");
    if !utc || text.matches(':').count() < 2 {
        return None;
    }
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

pub(crate) const fn start_of_day(ms: i64) -> i64 {
    ms - ms.rem_euclid(MS_A_DAY)
}

/// Monday, midnight UTC.
pub(crate) const fn start_of_week(ms: i64) -> i64 {
    const DAYS_A_WEEK: i64 = 7;
    /// The first day of the epoch was a Thursday.
    const EPOCH_WEEKDAY: i64 = 3;
    let day = ms.div_euclid(MS_A_DAY);
    (day - (day + EPOCH_WEEKDAY).rem_euclid(DAYS_A_WEEK)) * MS_A_DAY
}

pub(crate) fn start_of_month(ms: i64) -> i64 {
    let day_of_month = i64::from(jiff::tz::Offset::UTC.to_datetime(timestamp(ms)).day());
    start_of_day(ms) - (day_of_month - 1) * MS_A_DAY
}

pub(crate) fn start_of_next_month(ms: i64) -> i64 {
    const LONGER_THAN_A_MONTH_MS: i64 = 32 * MS_A_DAY;
    start_of_month(start_of_month(ms) + LONGER_THAN_A_MONTH_MS)
}

pub(crate) const fn days(count: i64) -> i64 {
    count * MS_A_DAY
}

fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::{instant_text, offset_text, parse_instant, second_text, start_of_month, start_of_week};

    #[test]
    fn prints_and_cuts_instants() {
        let ms = parse_instant("2026-09-23T13:33:21.123Z").unwrap();
        assert_eq!(instant_text(ms), "2026-09-23T13:33:21.123Z");
        assert_eq!(second_text(ms), "2026-09-23T13:33:21Z");
        assert_eq!(offset_text(ms), "2026-09-23T13:33:21.123000+00:00");
        assert_eq!(second_text(start_of_week(ms)), "2026-09-21T00:00:00Z");
        assert_eq!(second_text(start_of_month(ms)), "2026-09-01T00:00:00Z");
        assert_eq!(parse_instant("2026-09-23T13:33Z"), None);
        assert_eq!(parse_instant("2026-09-23T13:33:21+02:00"), None);
    }
}
