//! When `/generation` is asked again about a call whose cost is not known.

use jiff::{SignedDuration, Timestamp};

/// The pauses after the asks that follow a call closely. `OpenRouter` knows most generations within seconds,
/// some after minutes, a few after most of an hour.
const SOON: [SignedDuration; 6] = [
    SignedDuration::from_secs(5),
    SignedDuration::from_secs(15),
    SignedDuration::from_secs(30),
    SignedDuration::from_secs(60),
    SignedDuration::from_secs(120),
    SignedDuration::from_secs(300),
];

/// Asks that follow a call closely: the first one, and one after each pause. Later ones wait for the poll.
pub(crate) const SOON_ASKS: u32 = 7;

/// How long every poll asks.
const EVERY_POLL_FOR: SignedDuration = SignedDuration::from_hours(24);

/// How long it is asked at all, once a day. `OpenRouter`'s statements reach back 31 days.
const ASKED_FOR: SignedDuration = SignedDuration::from_hours(24 * 30);

/// What follows an ask in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Ask again, not before then.
    At(Timestamp),
    /// Do not ask again; the call stays open, visibly, for the operator.
    Never,
    /// An error that still has no record after a day was not billed.
    Unbilled,
}

/// What follows the ask number `asks` (from 1), of a call admitted at `admitted_at` whose answer was an HTTP
/// error or not. `not_found` tells that this ask answered 404.
pub(crate) fn next_ask(
    asks: u32,
    admitted_at: Timestamp,
    was_error: bool,
    not_found: bool,
    now: Timestamp,
) -> Next {
    let age = now.duration_since(admitted_at);
    let pause = usize::try_from(asks).ok().and_then(|asks| SOON.get(asks.saturating_sub(1)));
    let pause = match pause {
        Some(pause) => *pause,
        None if age < EVERY_POLL_FOR => SignedDuration::ZERO,
        // Only what `OpenRouter` has said counts as said: while it cannot be asked, every poll tries.
        None if !not_found => SignedDuration::ZERO,
        None if was_error => return Next::Unbilled,
        None if age < ASKED_FOR => SignedDuration::from_hours(24),
        None => return Next::Never,
    };
    Next::At(now.checked_add(pause).unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(asks: u32, hours: i64, was_error: bool, not_found: bool) -> Next {
        let admitted_at = Timestamp::UNIX_EPOCH;
        let now = admitted_at + SignedDuration::from_hours(hours);
        match next_ask(asks, admitted_at, was_error, not_found, now) {
            // As if asked at the epoch, to read the pause alone.
            Next::At(at) => Next::At(Timestamp::UNIX_EPOCH + at.duration_since(now)),
            other => other,
        }
    }

    fn pause(seconds: i64) -> Next {
        Next::At(Timestamp::from_second(seconds).unwrap())
    }

    #[test]
    fn soon_then_every_poll_then_daily_then_never() {
        for (asks, seconds) in [(1, 5), (2, 15), (3, 30), (4, 60), (5, 120), (6, 300), (7, 0), (100, 0)] {
            assert_eq!(after(asks, 0, false, true), pause(seconds), "{asks}");
        }
        assert_eq!(after(100, 24, false, true), pause(86_400));
        assert_eq!(after(100, 24 * 29, false, true), pause(86_400));
        assert_eq!(after(100, 24 * 30, false, true), Next::Never);
        assert_eq!(SOON.len() + 1, usize::try_from(SOON_ASKS).unwrap());
    }

    #[test]
    fn an_error_without_a_record_after_a_day_was_not_billed() {
        assert_eq!(after(100, 23, true, true), pause(0));
        assert_eq!(after(100, 24, true, true), Next::Unbilled);
        assert_eq!(after(100, 24, true, false), pause(0));
        assert_eq!(after(100, 24 * 31, false, false), pause(0));
    }
}
