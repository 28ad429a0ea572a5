//! When a chunk left, told in the chunk itself, so that a benchmark can tell the way's share of its delay.

use std::time::UNIX_EPOCH;

use bytes::Bytes;

/// Digits of a send time: enough until the year 2286.
pub const SEND_TIME_DIGITS: usize = 19;

/// What stands in the place of the time until the chunk leaves. No other member of a chunk is that many zeros.
pub(crate) const NOT_SENT_YET: &str = "0000000000000000000";

/// Nanoseconds since the epoch on the machine's clock, which other processes of the machine share; the clock that
/// tests move forward does not count.
#[must_use]
pub fn send_time_ns() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "delays on the wire are real time")]
    let now = std::time::SystemTime::now();
    u64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

/// The piece with its send time in the place that was kept for it.
pub(crate) fn stamped(piece: &Bytes, now_ns: u64) -> Bytes {
    let Some(place) = memchr::memmem::find(piece, NOT_SENT_YET.as_bytes()) else { return piece.clone() };
    let mut stamped = piece.to_vec();
    let digits = format!("{now_ns:0SEND_TIME_DIGITS$}");
    stamped.splice(place..place + NOT_SENT_YET.len(), digits.bytes());
    stamped.into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{NOT_SENT_YET, SEND_TIME_DIGITS, stamped};

    #[test]
    fn the_time_stands_in_its_place() {
        assert_eq!(NOT_SENT_YET.len(), SEND_TIME_DIGITS);
        let piece = Bytes::from(format!("data: \"{NOT_SENT_YET}\"\n\n"));
        assert_eq!(stamped(&piece, 1_764_012_345_678_901_234), "data: \"1764012345678901234\"\n\n");
        assert_eq!(stamped(&piece, 7), "data: \"0000000000000000007\"\n\n");
        assert_eq!(stamped(&Bytes::from_static(b"data: [DONE]\n\n"), 7), "data: [DONE]\n\n");
    }
}
