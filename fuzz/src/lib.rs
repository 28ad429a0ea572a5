//! What each target does with its bytes. The faults' row 6 includes this file and replays the corpora without libFuzzer, on
//! the stable compiler.

use metering::{Cost, Markup, MoneyError, ParsedUsd, PicoUsd};
use openrouter::{AnswerReader, Told};
use settings::{DECLARED, Settings};

/// The first byte chooses the content type, the second the cuts, the rest is an answer: where it is cut must not matter, and
/// what it tells has limits.
pub fn sse(data: &[u8]) {
    const KINDS: [&str; 4] =
        ["text/event-stream", "application/json", "text/event-stream; charset=utf-8", "audio/mpeg"];
    let [kind, cuts, answer @ ..] = data else { return };
    let kind = KINDS[usize::from(*kind) % KINDS.len()];
    let whole = read(kind, [answer]);
    let length = usize::from(*cuts) % 16 + 1;
    assert_eq!(whole, read(kind, answer.chunks(length)), "in pieces of {length}");
    let cut = usize::from(*cuts) * answer.len() / 256;
    let (one, other) = answer.split_at(cut);
    assert_eq!(whole, read(kind, [one, &[], other]), "cut at {cut}");
    if let Some(id) = &whole.generation_id {
        assert!(id.starts_with("gen-") && id.len() <= 128 && id.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Some(cost) = &whole.report.cost {
        assert!(!cost.amount.is_negative() && cost.text.len() <= 64);
        assert_eq!(Cost::read(&cost.text).as_ref(), Some(cost));
    }
}

fn read<'a>(kind: &str, pieces: impl IntoIterator<Item = &'a [u8]>) -> Told {
    let mut reader = AnswerReader::new(Some(kind));
    for piece in pieces {
        reader.feed(piece);
    }
    reader.finish();
    reader.told().clone()
}

/// The bytes are an amount: read as a reader of texts would read it, digit by digit.
pub fn decimal(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = PicoUsd::parse(text).map_err(in_one_word);
    assert_eq!(parsed, by_text(text), "{text:?}");
    if let Ok(ParsedUsd { amount, .. }) = parsed {
        assert_eq!(PicoUsd::parse(&amount.to_string()), Ok(ParsedUsd { amount, exact: true }), "{text:?}");
        let charge = Markup::DEFAULT.charge(amount);
        let tenfold = i128::from(amount.pico()) * 13;
        assert!(charge.map_or(tenfold.abs() > 9 * i128::from(i64::MAX), |charge| {
            (i128::from(charge.pico()) * 10 - tenfold).abs() <= 5
        }));
    }
    if let Some(cost) = Cost::read(text) {
        assert!(!cost.amount.is_negative() && cost.text == text);
    }
    if let Ok(markup) = Markup::parse(text) {
        assert_eq!(Markup::parse(&markup.to_string()), Ok(markup), "{text:?}");
    }
}

/// The rule a second time: the point is moved in the text, and what stands behind it is compared as text.
fn by_text(text: &str) -> Result<ParsedUsd, MoneyError> {
    const NONE: MoneyError = MoneyError::Text(metering::DecimalError::NotANumber);
    const LONGEST: usize = 64;
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let fits = are_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && (!mantissa.contains('.') || are_digits(fraction))
        && are_digits(unsigned);
    if !fits || text.len() > LONGEST {
        return Err(NONE);
    }
    let exponent: i64 = match unsigned.trim_start_matches('0') {
        "" => 0,
        digits if digits.len() > 4 => 9_999,
        digits => digits.parse().map_err(|_| NONE)?,
    };
    let exponent = if rest.contains("e-") || rest.contains("E-") { -exponent } else { exponent };
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let point = i64::try_from(all.len() - digits.len()).map_err(|_| NONE)?;
    let point = i64::try_from(whole.len()).map_err(|_| NONE)? + exponent + 12 - point;
    if digits.is_empty() {
        return Ok(ParsedUsd { amount: PicoUsd::ZERO, exact: true });
    }
    if point > 20 {
        return Err(MoneyError::Overflow);
    }
    let (before, behind) = match usize::try_from(point) {
        Ok(point) if point >= digits.len() => (format!("{digits:0<point$}"), String::new()),
        Ok(point) => (digits[..point].to_owned(), digits[point..].to_owned()),
        Err(_) => (String::new(), format!("0{digits}")),
    };
    let behind = behind.trim_end_matches('0');
    let kept: i128 = if before.is_empty() { 0 } else { before.parse().map_err(|_| NONE)? };
    let up = behind > "5" || (behind == "5" && kept % 2 == 1);
    let value = (kept + i128::from(up)) * if negative { -1 } else { 1 };
    let pico = i64::try_from(value).map_err(|_| MoneyError::Overflow)?;
    Ok(ParsedUsd { amount: PicoUsd::new(pico), exact: behind.is_empty() })
}

/// Too large for the digits that are looked at, or for a ledger: here that is one thing.
fn in_one_word(error: MoneyError) -> MoneyError {
    if error == MoneyError::Text(metering::DecimalError::OutOfRange) { MoneyError::Overflow } else { error }
}

/// The bytes are the lines of an `.env` file. What cannot be used is told without a panic, and in the same words whatever the
/// secrets are.
pub fn env(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables = variables(&text);
    let masked = variables.iter().map(|(name, value)| {
        let secret = DECLARED.iter().any(|setting| setting.secret && setting.name == name);
        (name.clone(), if secret { mask(value) } else { value.clone() })
    });
    let (told, told_masked) = (Settings::from_variables(variables.clone()), Settings::from_variables(masked));
    match (told, told_masked) {
        (Ok(settings), Ok(masked)) => assert_eq!(format!("{settings:?}"), format!("{masked:?}")),
        (Err(invalid), Err(masked)) => assert_eq!(invalid.to_string(), masked.to_string()),
        (told, masked) => panic!("a secret's letters decide: {told:?} {masked:?}"),
    }
}

/// Every printable letter as `x`: as long and as usable as before.
fn mask(secret: &str) -> String {
    secret.chars().map(|letter| if letter.is_ascii_graphic() { 'x' } else { letter }).collect()
}

/// `NAME=value` lines; of two with one name the last counts. `export`, comments and quotes as Docker Compose reads them.
fn variables(text: &str) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        let value = value.trim();
        let unquoted = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
        let value = unquoted.unwrap_or(value).replace("\\n", "\n");
        variables.retain(|(known, _)| known != name);
        variables.push((name.to_owned(), value));
    }
    variables
}
