//! The key: does `OpenRouter` take it, and may it still spend.

use std::time::Duration;

use jiff::Timestamp;
use metering::PicoUsd;
use openrouter::{KeyAnswer, KeyCounter};

use super::super::check::Check;
use super::super::facts::{Facts, KeyFacts};
use crate::limit::Limit;

/// Less than so many thousandths of the limit left is told.
const LITTLE_LEFT_PERMILLE: i64 = 100;

/// A key that ends sooner than this is told.
const ENDS_SOON: Duration = Duration::from_hours(14 * 24);

/// Generation ids carry `OpenRouter`'s clock, so ours matters little until days differ.
const CLOCK_WARN_SECONDS: u64 = 5;
const CLOCK_FAIL_SECONDS: u64 = 60;

pub(in super::super) fn checks(facts: &Facts) -> Vec<Check> {
    let (answer, date) = match &facts.key {
        KeyFacts::Missing => return vec![missing(facts)],
        KeyFacts::Unreachable(why) => {
            let fix = "is the network up, and OPENROUTER_HOST right? https://status.openrouter.ai";
            return vec![Check::fail("key", format!("OpenRouter cannot be asked: {why}"), fix)];
        }
        KeyFacts::Answered { answer, date } => (answer, *date),
    };
    let mut checks = match answer {
        KeyAnswer::Accepted(counter) => accepted(facts, counter),
        KeyAnswer::Management => vec![Check::fail(
            "key",
            "OPENROUTER_API_KEY is a management key: it makes no chats, and it can delete all others",
            "take it out of .env at once, delete it at OpenRouter, and run `mai-usage setup`",
        )],
        KeyAnswer::Rejected => vec![Check::fail(
            "key",
            "OpenRouter does not accept the key: unknown, disabled or expired",
            "`mai-usage keys list` tells which; `keys enable` it, or `mai-usage setup --replace-key`",
        )],
        KeyAnswer::Refused(why) => vec![Check::warn(
            "key",
            format!("OpenRouter did not say what the key is: {why}"),
            "try again in a few minutes",
        )],
    };
    checks.extend(date.map(|date| clock(facts.now, date)));
    checks
}

fn missing(facts: &Facts) -> Check {
    if facts.books.as_ref().is_ok_and(|books| books.has_key) {
        return Check::ok("key", "none in .env; the one that was typed into mAI is known");
    }
    let fix = "`mai-usage setup` makes one";
    Check::fail("key", "there is no OpenRouter key, so nobody can chat", fix)
}

fn accepted(facts: &Facts, counter: &KeyCounter) -> Vec<Check> {
    let mut checks = vec![Check::ok("key", "OpenRouter accepts it")];
    checks.push(limit(facts, counter));
    checks.extend(left(counter));
    checks.extend(end(facts, counter));
    checks
}

fn limit(facts: &Facts, counter: &KeyCounter) -> Check {
    let text = facts.value("SPENDING_LIMIT").unwrap_or("unlimited");
    let Ok(wanted) = Limit::read(text).map(|limit| limit.amount()) else {
        return Check::warn("limit", "SPENDING_LIMIT cannot be read", "correct it in .env");
    };
    let words =
        |limit: Option<PicoUsd>| limit.map_or_else(|| "none".to_owned(), |limit| format!("{limit} USD"));
    if wanted != counter.limit {
        let found =
            format!("the key's limit is {}, SPENDING_LIMIT says {}", words(counter.limit), words(wanted));
        return Check::warn("limit", found, "`mai-usage setup --limit USD` sets both");
    }
    match (wanted, counter.limit_reset.as_deref()) {
        (Some(limit), Some("monthly")) => Check::ok("limit", format!("{limit} USD a month, here and there")),
        (Some(limit), reset) => {
            let found = format!("the limit of {limit} USD starts anew {}", reset.unwrap_or("never"));
            Check::warn("limit", found, "`mai-usage keys set-limit` makes it monthly")
        }
        (None, _) => Check::ok("limit", "none, here and there"),
    }
}

fn left(counter: &KeyCounter) -> Option<Check> {
    const FIX: &str = "`mai-usage setup --limit USD` raises it, or wait for the first of the month (UTC)";
    let left = counter.limit_remaining?;
    if left.is_negative() || left == PicoUsd::ZERO {
        return Some(Check::fail("limit left", "the limit is used up: OpenRouter refuses every call", FIX));
    }
    let permille = left.permille_of(counter.limit?)?;
    if permille < LITTLE_LEFT_PERMILLE {
        return Some(Check::warn("limit left", format!("only {left} USD of the limit are left"), FIX));
    }
    Some(Check::ok("limit left", format!("{left} USD")))
}

fn end(facts: &Facts, counter: &KeyCounter) -> Option<Check> {
    let told = counter.expires_at.as_deref()?;
    let ends: Timestamp = told.parse().ok()?;
    let left = Duration::try_from(ends.duration_since(facts.now)).unwrap_or_default();
    let fix = "`mai-usage keys rotate` makes another";
    (left < ENDS_SOON).then(|| Check::warn("key", format!("it expires at {told}"), fix))
}

/// The answer took a moment; a second is nothing.
fn clock(now: Timestamp, theirs: Timestamp) -> Check {
    let seconds = now.duration_since(theirs).as_secs().unsigned_abs();
    let found = format!("this machine's clock differs by {seconds} s from OpenRouter's");
    let fix = "`timedatectl set-ntp true`";
    match seconds {
        CLOCK_FAIL_SECONDS.. => Check::fail("clock", found, fix),
        CLOCK_WARN_SECONDS.. => Check::warn("clock", found, fix),
        _ => Check::ok("clock", "that of OpenRouter"),
    }
}
