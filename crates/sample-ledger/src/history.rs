//! Who asked which model when: three years of weekdays, by people who are not alike.

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use metering::BillingZone;

use crate::{FIRST_DAY, LAST_DAY, MODELS, USERS, now};

/// A call that was settled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    pub(crate) user: usize,
    pub(crate) model: usize,
    pub(crate) at: Timestamp,
    pub(crate) prompt_tokens: i64,
    pub(crate) completion_tokens: i64,
    pub(crate) reasoning_tokens: Option<i64>,
    pub(crate) cached_tokens: Option<i64>,
    pub(crate) cost_pico_usd: i64,
    /// Two random words, for ids.
    pub(crate) words: [u64; 2],
}

/// Pico-dollars for a token that is sent and for one that comes back, by model.
const PRICES: [(i64, i64); MODELS.len()] = [
    (150_000, 600_000),
    (3_000_000, 15_000_000),
    (300_000, 2_500_000),
    (1_250_000, 10_000_000),
    (1_250_000, 10_000_000),
    (200_000, 800_000),
    (1_000_000, 5_000_000),
    (400_000, 2_000_000),
    (130_000, 600_000),
    (200_000, 500_000),
    (38_000, 120_000),
    (20_000, 0),
];

/// A day's work: 07:00 to 19:00.
const WORK_BEGINS_S: i64 = 7 * 3_600;
const WORK_S: i64 = 12 * 3_600;

/// `SplitMix64`: a random generator of three lines is the same for ever.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    const fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Small numbers often, large ones seldom.
    fn skewed(&mut self, limit: u64) -> i64 {
        let one = self.below(limit).min(self.below(limit)).min(self.below(limit));
        i64::try_from(one).unwrap_or(0)
    }
}

/// The days with the number of their calls, `entries` together.
pub(crate) fn days(entries: u64) -> Vec<(Date, u64)> {
    let days: Vec<(Date, u64)> =
        FIRST_DAY.series(jiff::Span::new().days(1)).take_while(|day| *day <= LAST_DAY).zip(0..).collect();
    let weights: Vec<(Date, u64)> = days.iter().map(|(day, number)| (*day, weight(*day, *number))).collect();
    let whole: u64 = weights.iter().map(|(_, weight)| weight).sum();
    let (mut weight_so_far, mut calls_so_far) = (0, 0);
    let counted = weights.into_iter().map(|(day, weight)| {
        weight_so_far += weight;
        let until_here = u128::from(entries) * u128::from(weight_so_far) / u128::from(whole);
        let until_here = u64::try_from(until_here).unwrap_or(entries);
        let calls = until_here - calls_so_far;
        calls_so_far = until_here;
        (day, calls)
    });
    counted.collect()
}

/// Weekends are quiet, and every year there is more.
fn weight(day: Date, number: u64) -> u64 {
    let of_weekday = match day.weekday() {
        Weekday::Saturday => 15,
        Weekday::Sunday => 10,
        _ => 100,
    };
    of_weekday * (1_000 + number)
}

/// The calls of `day`, the earliest first.
pub(crate) fn calls_of(day: Date, calls: u64, zone: &BillingZone) -> anyhow::Result<Vec<Past>> {
    let (begins, _) = zone.bounds_of(day)?;
    let first = begins.as_millisecond() + WORK_BEGINS_S * 1_000;
    // The last day is not over.
    let last = (first + WORK_S * 1_000).min(now().as_millisecond() - 60_000);
    let seed = u64::from(day.day_of_year().unsigned_abs()) + 1_000 * u64::from(day.year().unsigned_abs());
    let (mut random, span) = (Random(seed), u64::try_from(last - first)?);
    let mut past = Vec::with_capacity(usize::try_from(calls)?);
    for number in 0..calls {
        let place = (span * number + random.below(span)) / calls;
        let at = Timestamp::from_millisecond(first + i64::try_from(place)?)?;
        past.push(call(at, &mut random));
    }
    Ok(past)
}

fn call(at: Timestamp, random: &mut Random) -> Past {
    let user = one_of(USERS, 3, random);
    let model = model_of(user, random);
    let prompt_tokens = 20 + random.skewed(8_000);
    let completion_tokens = 1 + random.skewed(2_000);
    let (prompt_price, completion_price) = PRICES.get(model).copied().unwrap_or_default();
    Past {
        user,
        model,
        at,
        prompt_tokens,
        completion_tokens,
        reasoning_tokens: (model == 4).then_some(completion_tokens / 2),
        cached_tokens: model.is_multiple_of(3).then_some(prompt_tokens / 4),
        cost_pico_usd: prompt_tokens * prompt_price + completion_tokens * completion_price,
        words: [random.next(), random.next()],
    }
}

/// Most calls ask what everybody asks, the others what this user likes. A few models he never asks.
fn model_of(user: usize, random: &mut Random) -> usize {
    loop {
        let of_everybody = random.below(10) < 6;
        let rank = one_of(MODELS.len(), 2, random);
        let model = if of_everybody { rank } else { (rank + 5 * user) % MODELS.len() };
        if !never_asks(user, model) {
            return model;
        }
    }
}

/// Whether the user with this number never asks the model with that one.
const fn never_asks(user: usize, model: usize) -> bool {
    (user + model) % 7 == 6
}

/// A number below `limit`, the low ones more often: the first of twenty about a quarter of the time, the last once in a hundred.
fn one_of(limit: usize, offset: usize, random: &mut Random) -> usize {
    let weight = |rank: usize| 1_000_000 / (rank as u64 + offset as u64).pow(2).max(1) + 1_000_000 / 200;
    let whole: u64 = (0..limit).map(weight).sum();
    let mut left = random.below(whole);
    for rank in 0..limit {
        if left < weight(rank) {
            return rank;
        }
        left -= weight(rank);
    }
    0
}
