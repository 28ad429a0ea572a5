//! Values whose type the schema says and the file need not keep: each is read for what it is, or refused in words.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use metering::{Cost, PicoUsd, plausible_instant};
use sqlx::sqlite::SqliteRow;
use sqlx::{Error, Row as _};

/// Most bytes of a text that are read; ids and names of models have a tenth of it.
const LONGEST_TEXT: usize = 512;

/// Numbers from here on are milliseconds, below it seconds: 1973 in the one, 5138 in the other.
const FIRST_MILLISECONDS: i64 = 100_000_000_000;

/// The most tokens or calls that one row is believed: a thousand million million.
const LARGEST_COUNT: i64 = 1_000_000_000_000_000;

/// The largest amount that one row is believed: a million US dollars for a day.
const LARGEST_AMOUNT: PicoUsd = PicoUsd::new(1_000_000_000_000_000_000);

/// The columns of a result that one cell takes.
pub(super) const WIDTH: usize = 4;

/// A value as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Integer(i64),
    /// The shortest decimal text that reads back as the same double, with an exponent. The house never calculates with the double.
    Real(String),
    Text(String),
    /// Bytes, text that is too long, or text that is no UTF-8.
    Other,
}

/// What is asked of a column so that its value comes as it is stored: its type, and the value for each of three types.
pub(super) fn question(column: &str) -> String {
    let name = column.replace('"', "\"\"");
    let text = LONGEST_TEXT + 1;
    format!(
        "typeof(\"{name}\"), iif(typeof(\"{name}\") = 'integer', \"{name}\", NULL), \
         iif(typeof(\"{name}\") = 'real', \"{name}\", NULL), \
         iif(typeof(\"{name}\") = 'text', substr(CAST(\"{name}\" AS BLOB), 1, {text}), NULL)"
    )
}

impl Cell {
    /// Reads the cell that begins in column `first` of the result.
    pub(super) fn read(row: &SqliteRow, first: usize) -> Result<Self, Error> {
        let kind: String = row.try_get(first)?;
        Ok(match kind.as_str() {
            "null" => Self::Null,
            "integer" => Self::Integer(row.try_get(first + 1)?),
            "real" => {
                let double: f64 = row.try_get(first + 2)?;
                Self::Real(format!("{double:e}"))
            }
            "text" => {
                let bytes: Vec<u8> = row.try_get(first + 3)?;
                let text = (bytes.len() <= LONGEST_TEXT).then(|| String::from_utf8(bytes).ok()).flatten();
                text.map_or(Self::Other, Self::Text)
            }
            _ => Self::Other,
        })
    }

    /// For people; what is no number or text is named.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Null => "NULL".to_owned(),
            Self::Integer(number) => number.to_string(),
            Self::Real(text) => text.clone(),
            Self::Text(text) => format!("{text:?}"),
            Self::Other => "no text".to_owned(),
        }
    }

    /// A text that is not empty, without control characters; a number is its digits.
    pub(super) fn name(&self) -> Option<String> {
        match self {
            Self::Integer(number) => Some(number.to_string()),
            Self::Text(text) => {
                let text = text.trim();
                (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
            }
            _ => None,
        }
    }

    /// Tokens or calls. A double is taken where it is a whole number.
    pub(super) fn count(&self) -> Option<i64> {
        let (Self::Real(text) | Self::Text(text)) = self else {
            let Self::Integer(count) = self else { return None };
            return (0..=LARGEST_COUNT).contains(count).then_some(*count);
        };
        // A count is not above a million million dollars in pico-dollars, so that the rule for amounts reads it: 1e3 is 1000.
        let read = PicoUsd::parse(&format!("{}e-12", without_exponent(text)?)).ok()?;
        let count = read.amount.pico();
        (read.exact && (0..=LARGEST_COUNT).contains(&count)).then_some(count)
    }

    /// US dollars, half-even to the pico-dollar.
    pub(super) fn amount(&self) -> Option<PicoUsd> {
        let text = match self {
            Self::Integer(number) => number.to_string(),
            Self::Real(text) => text.clone(),
            Self::Text(text) => text.trim().to_owned(),
            Self::Null | Self::Other => return None,
        };
        let amount = Cost::read(&text)?.amount;
        (amount <= LARGEST_AMOUNT).then_some(amount)
    }

    /// A day: its text, that of an instant that begins with it, or seconds or milliseconds, in UTC as the original's containers were.
    pub(super) fn day(&self) -> Option<Date> {
        let day = match self {
            Self::Text(text) => {
                let (day, rest) = text.trim().split_at_checked(10)?;
                let date_alone = rest.is_empty() || rest.starts_with(['T', ' ']);
                date_alone.then(|| day.parse::<Date>().ok()).flatten()?
            }
            _ => TimeZone::UTC.to_datetime(self.instant()?).date(),
        };
        let noon = day.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).ok()?;
        plausible_instant(noon.timestamp().as_second()).map(|_| day)
    }

    /// An instant: seconds, milliseconds, or ISO text, in UTC where it names no zone.
    pub(super) fn instant(&self) -> Option<Timestamp> {
        let number = match self {
            Self::Integer(number) => *number,
            Self::Real(text) => {
                let text = without_exponent(text)?;
                text.split('.').next()?.parse().ok()?
            }
            Self::Text(text) => return instant_of(text.trim()),
            Self::Null | Self::Other => return None,
        };
        plausible_instant(if number >= FIRST_MILLISECONDS { number / 1_000 } else { number })
    }
}

fn instant_of(text: &str) -> Option<Timestamp> {
    if let Ok(number) = text.parse() {
        return Cell::Integer(number).instant();
    }
    let in_utc = || text.parse::<DateTime>().ok()?.to_zoned(TimeZone::UTC).ok();
    let instant = text.parse::<Timestamp>().ok().or_else(|| in_utc().map(|zoned| zoned.timestamp()))?;
    plausible_instant(instant.as_second())
}

/// `1.5e3` as `1500`, so that another exponent can be put behind it; `None` where it is no number, or longer than any that is believed.
fn without_exponent(text: &str) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: usize = match exponent.parse::<i64>().ok()? {
        // A small double is no count, and no instant of this century.
        below if below < 0 => return None,
        exponent => usize::try_from(exponent).ok().filter(|exponent| *exponent < 20)?,
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let padded = format!("{fraction:0<exponent$}");
    let (moved, rest) = padded.split_at_checked(exponent)?;
    let whole = format!("{whole}{moved}");
    Some(if rest.is_empty() { whole } else { format!("{whole}.{rest}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    fn real(double: f64) -> Cell {
        Cell::Real(format!("{double:e}"))
    }

    #[test]
    fn an_amount_is_the_shortest_text_of_its_double() {
        for (double, amount) in [
            (0.001_54, "0.00154"),
            (0.002_002, "0.002002"),
            (0.1 + 0.2, "0.3"),
            (0.000_126_255_304, "0.000126255304"),
            (8e-8, "0.00000008"),
            (1e-13, "0"),
            (0.0, "0"),
            (123_456.789, "123456.789"),
            (5e-324, "0"),
        ] {
            assert_eq!(real(double).amount().map(|amount| amount.to_string()).as_deref(), Some(amount));
        }
        assert_eq!(Cell::Integer(3).amount(), Some(PicoUsd::new(3_000_000_000_000)));
        assert_eq!(text(" 0.5 ").amount(), Some(PicoUsd::new(500_000_000_000)));
        for cell in [
            real(-0.1),
            real(-1e-13),
            real(f64::NAN),
            real(f64::INFINITY),
            real(1e300),
            real(1_000_000.1),
            text("free"),
            text("1,5"),
            Cell::Integer(i64::MIN),
            Cell::Null,
            Cell::Other,
        ] {
            assert_eq!(cell.amount(), None, "{cell:?}");
        }
    }

    #[test]
    fn a_count_is_whole_and_believable() {
        for (cell, count) in
            [(Cell::Integer(7), 7), (real(1751.0), 1751), (text("12"), 12), (real(1e6), 1_000_000)]
        {
            assert_eq!(cell.count(), Some(count), "{cell:?}");
        }
        for cell in
            [Cell::Integer(-1), Cell::Integer(i64::MAX), real(1.5), real(-2.0), real(1e300), text("x")]
        {
            assert_eq!(cell.count(), None, "{cell:?}");
        }
    }

    #[test]
    fn times_are_seconds_milliseconds_or_text() {
        let instant = "2025-07-28T10:00:00Z".parse().ok();
        for cell in [
            Cell::Integer(1_753_696_800),
            Cell::Integer(1_753_696_800_000),
            real(1_753_696_800.0),
            text("1753696800"),
            text("2025-07-28T10:00:00"),
            text("2025-07-28 10:00:00.000000"),
            text("2025-07-28T12:00:00+02:00"),
        ] {
            assert_eq!(cell.instant(), instant, "{cell:?}");
        }
        for cell in [Cell::Integer(0), Cell::Integer(i64::MAX), text("yesterday"), Cell::Null] {
            assert_eq!(cell.instant(), None, "{cell:?}");
        }
    }

    #[test]
    fn a_day_is_one_of_the_calendar() {
        let day = "2025-07-28".parse().ok();
        for cell in [
            text("2025-07-28"),
            text("2025-07-28 00:00:00.000000"),
            text("2025-07-28T23:59:59"),
            Cell::Integer(1_753_696_800),
            Cell::Integer(1_753_696_800_000),
        ] {
            assert_eq!(cell.day(), day, "{cell:?}");
        }
        for cell in [
            text("2025-02-30"),
            text("2025-07-280"),
            text("28.07.2025"),
            text("0001-01-01"),
            text(""),
            Cell::Null,
            Cell::Other,
        ] {
            assert_eq!(cell.day(), None, "{cell:?}");
        }
    }
}
