//! The reader of amounts beside another one: Python's `decimal`, which shares neither code nor author with it.

use std::path::Path;
use std::process::Command;

use metering::{DecimalError, MoneyError, PicoUsd};

use crate::dice::Dice;

/// Reads texts that are parted by NUL and says of each: `none`, `large`, or its pico-dollars and whether that is all of it.
const REFERENCE: &str = r#"
import decimal, re, sys
decimal.setcontext(decimal.Context(prec=2000, Emin=-99999, Emax=99999))
number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE]([+-]?[0-9]+))?", re.ASCII)
for text in open(sys.argv[1], encoding="utf-8", newline="").read().split("\0"):
    found = number.fullmatch(text)
    if not found or len(text.encode()) > 64:
        print("none")
        continue
    if abs(int(found[1] or 0)) > 5000:
        text = re.sub("[0-9]+$", "5000", text)
    pico = decimal.Decimal(text).scaleb(12)
    whole = pico.to_integral_value(decimal.ROUND_HALF_EVEN)
    if not -2**63 <= whole < 2**63:
        print("large")
    else:
        print(int(whole), "exact" if whole == pico else "rounded")
"#;

/// Compares both readers on `count` texts; how many were read, rounded and refused. `None` where there is no Python.
pub(crate) fn beside_python(count: usize, mut dice: Dice, folder: &Path) -> Option<String> {
    let texts: Vec<String> = (0..count).map(|_| text(&mut dice)).collect();
    let (script, values) = (folder.join("reference.py"), folder.join("values"));
    std::fs::write(&script, REFERENCE).unwrap();
    std::fs::write(&values, texts.join("\0")).unwrap();
    let output = Command::new("python3").arg(&script).arg(&values).output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told = String::from_utf8(output.stdout).unwrap();
    let (mut exact, mut rounded, mut refused, mut compared) = (0, 0, 0, 0);
    for (text, expected) in texts.iter().zip(told.lines()) {
        let read = match PicoUsd::parse(text) {
            Ok(usd) if usd.exact => format!("{} exact", usd.amount.pico()),
            Ok(usd) => format!("{} rounded", usd.amount.pico()),
            Err(MoneyError::Text(DecimalError::NotANumber)) => "none".to_owned(),
            Err(_) => "large".to_owned(),
        };
        assert_eq!(read, expected, "{text:?}");
        compared += 1;
        *match expected.split_once(' ') {
            None => &mut refused,
            Some((_, "exact")) => &mut exact,
            Some(_) => &mut rounded,
        } += 1;
    }
    assert_eq!(compared, count);
    assert!(
        exact > count / 10 && rounded > count / 10 && refused > count / 10,
        "{exact} {rounded} {refused}"
    );
    Some(format!(
        "{count} decimals ({exact} exact, {rounded} rounded, {refused} refused) as Python reads them"
    ))
}

/// One text, of a kind that chance chooses.
fn text(dice: &mut Dice) -> String {
    let sign = if dice.roll(6) == 0 { "-" } else { "" };
    match dice.roll(9) {
        // As it is billed, up to seventeen digits and beyond.
        0 => format!("{sign}0.{}", digits(dice, 1, 22)),
        1 => format!("{sign}{}.{}", whole(dice, 7), digits(dice, 1, 14)),
        2 => format!("{sign}{}e{}{}", whole(dice, 20), ["", "-", "+"][index(dice, 3)], dice.roll(30)),
        // On and beside the middle between two pico-dollars.
        3 => {
            let tail = ["5", "50", "500000", "50000000001", "49999999999", "500000000000000000000000"];
            format!("{sign}{}.{}{}", whole(dice, 3), digits(dice, 12, 12), dice.pick(&tail))
        }
        4 => format!("{sign}{}5e-13", whole(dice, 18)),
        // Around the end of what an amount holds.
        5 => {
            let near = i128::from(i64::MAX) + i128::from(dice.roll(5)) - 2;
            format!("{sign}{near}{}e-{}", ["", "4", "5", "6"][index(dice, 4)], 12 + dice.roll(2))
        }
        // Huge and tiny.
        6 => {
            let exponent = digits(dice, 1, 12);
            format!("{sign}{}.{}E{}{exponent}", whole(dice, 5), digits(dice, 1, 5), ["", "-"][index(dice, 2)])
        }
        // Zeros in all places, and as long as a text may be.
        7 => {
            let (before, behind) = (index(dice, 3), index(dice, 60));
            format!("{sign}{}0.{}{}", "0".repeat(before / 2), "0".repeat(behind), whole(dice, 6))
        }
        _ => spoilt(dice),
    }
}

/// A number with something wrong, most of the time.
fn spoilt(dice: &mut Dice) -> String {
    const WRONG: [&str; 24] = [
        "", " ", "\n", "+", "-", ".", "e", "E", "e-", "0", "00", "_", ",", "\"", "x", "0x", "NaN",
        "Infinity", "null", "١", "５", "\u{a0}", "\u{feff}", "1.",
    ];
    let mut text = format!("{}.{}e-{}", whole(dice, 4), digits(dice, 1, 8), dice.roll(9));
    for _ in 0..=dice.roll(2) {
        let place = index(dice, text.chars().count() + 1);
        let place = text.char_indices().nth(place).map_or(text.len(), |(place, _)| place);
        let wrong = *dice.pick(&WRONG);
        if dice.roll(3) == 0 {
            text.truncate(place);
        }
        text.insert_str(place.min(text.len()), wrong);
    }
    text
}

/// Digits without a zero before them.
fn whole(dice: &mut Dice, longest: u64) -> String {
    let digits = digits(dice, 1, longest);
    let trimmed = digits.trim_start_matches('0');
    if trimmed.is_empty() { "0".to_owned() } else { trimmed.to_owned() }
}

fn digits(dice: &mut Dice, shortest: u64, longest: u64) -> String {
    let length = shortest + dice.roll(longest - shortest + 1);
    (0..length).map(|_| char::from(b'0' + u8::try_from(dice.roll(10)).unwrap())).collect()
}

fn index(dice: &mut Dice, sides: usize) -> usize {
    usize::try_from(dice.roll(u64::try_from(sides).unwrap())).unwrap()
}
