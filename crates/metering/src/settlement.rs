//! Settlement: what is known of one call, merged from whoever reported it.
//!
//! Reports may arrive in any order and more than once (the response, a poll, a statement, a replay after a
//! restart), so merging is commutative, associative and idempotent: a fact is taken from the source with the
//! most authority, and among equals the smallest value, so that the order of arrival never decides.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::money::PicoUsd;

/// Who told a fact, the one with the most authority first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CostSource {
    /// The answer to the call itself: its last chunk or its body.
    Response,
    /// `GET /generation`.
    Generation,
    /// The operator's statement (`POST /analytics/query`).
    Statement,
}

impl CostSource {
    /// The word in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Generation => "generation",
            Self::Statement => "statement",
        }
    }
}

/// What `OpenRouter` billed for a call.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost {
    /// The amount, never negative.
    pub amount: PicoUsd,
    /// `OpenRouter`'s own text of it.
    pub text: String,
    /// False where the text had more than twelve decimal places.
    pub exact: bool,
}

impl Cost {
    /// Reads the text of a reported cost. `None` where it is no number, out of range or negative: such a cost
    /// is unknown, not zero.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let parsed = PicoUsd::parse(text).ok()?;
        let rounded_up_to_zero = text.starts_with('-') && !parsed.exact;
        if parsed.amount.is_negative() || rounded_up_to_zero {
            return None;
        }
        Some(Self { amount: parsed.amount, text: text.to_owned(), exact: parsed.exact })
    }
}

/// As `OpenRouter`'s own text.
impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Cost {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::read(&text).ok_or_else(|| serde::de::Error::custom("not a cost"))
    }
}

/// Token counts as billed; `None` was never told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Tokens {
    /// Tokens of the prompt, cached ones included.
    pub prompt: Option<u64>,
    /// Tokens of the answer, reasoning included.
    pub completion: Option<u64>,
    /// Tokens of the answer that were reasoning.
    pub reasoning: Option<u64>,
    /// Tokens of the prompt that were read from a cache.
    pub cached: Option<u64>,
}

/// What one source says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Who says it.
    pub source: CostSource,
    /// The cost; `None` where it was not told.
    pub cost: Option<Cost>,
    /// Token counts.
    pub tokens: Tokens,
    /// The model that served.
    pub model: Option<String>,
    /// The provider that served.
    pub provider: Option<String>,
}

impl Report {
    /// A report that says nothing yet.
    #[must_use]
    pub const fn empty(source: CostSource) -> Self {
        let tokens = Tokens { prompt: None, completion: None, reasoning: None, cached: None };
        Self { source, cost: None, tokens, model: None, provider: None }
    }
}

/// A fact with its source; ordered by authority, then by value.
type Sourced<T> = Option<(CostSource, T)>;

/// All that is known of a call. Merge reports into it; it is settled once the cost is known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settlement {
    cost: Sourced<Cost>,
    prompt: Sourced<u64>,
    completion: Sourced<u64>,
    reasoning: Sourced<u64>,
    cached: Sourced<u64>,
    model: Sourced<String>,
    provider: Sourced<String>,
}

impl Settlement {
    /// Nothing known, then `report` merged in.
    #[must_use]
    pub fn of(report: Report) -> Self {
        let source = report.source;
        let from = |count: Option<u64>| count.map(|count| (source, count));
        Self {
            cost: report.cost.map(|cost| (source, cost)),
            prompt: from(report.tokens.prompt),
            completion: from(report.tokens.completion),
            reasoning: from(report.tokens.reasoning),
            cached: from(report.tokens.cached),
            model: report.model.map(|model| (source, model)),
            provider: report.provider.map(|provider| (source, provider)),
        }
    }

    /// What both know together.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        Self {
            cost: better(self.cost, other.cost),
            prompt: better(self.prompt, other.prompt),
            completion: better(self.completion, other.completion),
            reasoning: better(self.reasoning, other.reasoning),
            cached: better(self.cached, other.cached),
            model: better(self.model, other.model),
            provider: better(self.provider, other.provider),
        }
    }

    /// The cost and who told it; `None` while it is unknown.
    #[must_use]
    pub fn cost(&self) -> Option<(CostSource, &Cost)> {
        self.cost.as_ref().map(|(source, cost)| (*source, cost))
    }

    /// The token counts known so far.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        let count = |fact: &Sourced<u64>| fact.map(|(_, count)| count);
        Tokens {
            prompt: count(&self.prompt),
            completion: count(&self.completion),
            reasoning: count(&self.reasoning),
            cached: count(&self.cached),
        }
    }

    /// The model that served, where told.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_ref().map(|(_, model)| model.as_str())
    }

    /// The provider that served, where told.
    #[must_use]
    pub fn provider(&self) -> Option<&str> {
        self.provider.as_ref().map(|(_, provider)| provider.as_str())
    }
}

fn better<T: Ord>(one: Sourced<T>, other: Sourced<T>) -> Sourced<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The model a call is booked under: the one that served, except that a dated name of the model that was asked
/// for (`openai/gpt-4o-2024-08-06` for `openai/gpt-4o`) is booked under the name the price list and people know.
///
/// `GET /generation` always tells the dated name and a response usually does not; without this rule one model
/// would have two rows, depending on how its calls happened to be settled.
#[must_use]
pub fn booked_model<'a>(asked: &'a str, served: Option<&'a str>) -> &'a str {
    let Some(served) = served.filter(|served| !served.is_empty()) else { return asked };
    let base = |model: &'a str| model.split_once(':').map_or(model, |(base, _)| base);
    match base(served).strip_prefix(base(asked)) {
        Some(rest) if rest.is_empty() || is_date_suffix(rest) => asked,
        _ => served,
    }
}

/// `-20260901` or `-2026-09-01`.
fn is_date_suffix(rest: &str) -> bool {
    let Some(date) = rest.strip_prefix('-') else { return false };
    let digits = date.bytes().filter(u8::is_ascii_digit).count();
    let shape = date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    shape && digits == 8 && (date.len() == 8 || date.len() == 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn report(source: CostSource, cost: Option<i64>, prompt: Option<u64>, model: Option<u8>) -> Report {
        let cost =
            cost.map(|pico| Cost { amount: PicoUsd::new(pico), text: format!("{pico}e-12"), exact: true });
        let tokens = Tokens { prompt, ..Tokens::default() };
        Report { source, cost, tokens, model: model.map(|model| format!("a/{model}")), provider: None }
    }

    fn settlements() -> impl Strategy<Value = Settlement> {
        let source = prop_oneof![
            Just(CostSource::Response),
            Just(CostSource::Generation),
            Just(CostSource::Statement)
        ];
        let facts = (
            source,
            proptest::option::of(0_i64..5),
            proptest::option::of(0_u64..5),
            proptest::option::of(0_u8..3),
        );
        facts.prop_map(|(source, cost, prompt, model)| Settlement::of(report(source, cost, prompt, model)))
    }

    #[test]
    fn the_response_has_the_last_word_and_the_poll_fills_the_gaps() {
        let response = Settlement::of(report(CostSource::Response, Some(4), None, None));
        let poll = Settlement::of(report(CostSource::Generation, Some(5), Some(7), Some(1)));
        let both = poll.merge(response);
        assert_eq!(
            both.cost().map(|(source, cost)| (source, cost.amount.pico())),
            Some((CostSource::Response, 4))
        );
        assert_eq!(both.tokens().prompt, Some(7));
        assert_eq!(both.model(), Some("a/1"));
    }

    #[test]
    fn an_unusable_cost_is_unknown() {
        for text in ["", "null", "-1", "-1e-12", "-1e-13", "1e400", "\"0.1\"", "NaN", "true"] {
            assert_eq!(Cost::read(text), None, "{text}");
        }
        assert_eq!(Cost::read("0").unwrap().amount, PicoUsd::ZERO);
        assert_eq!(Cost::read("-0").unwrap().amount, PicoUsd::ZERO);
        assert!(!Cost::read("1e-13").unwrap().exact);
    }

    #[test]
    fn a_dated_name_is_booked_under_the_name_that_was_asked_for() {
        for (asked, served, booked) in [
            ("openai/gpt-4o", Some("openai/gpt-4o"), "openai/gpt-4o"),
            ("openai/gpt-4o", Some("openai/gpt-4o-2024-08-06"), "openai/gpt-4o"),
            ("openai/gpt-4o", Some("openai/gpt-4o-20240806"), "openai/gpt-4o"),
            ("openai/gpt-4o", Some("openai/gpt-4o-mini"), "openai/gpt-4o-mini"),
            ("openai/gpt-4o", Some("openai/gpt-4o-mini-2024-07-18"), "openai/gpt-4o-mini-2024-07-18"),
            ("meta/llama:free", Some("meta/llama-20260101:free"), "meta/llama:free"),
            ("openrouter/auto", Some("google/gemini-2.5-pro"), "google/gemini-2.5-pro"),
            ("a/b", None, "a/b"),
            ("a/b", Some(""), "a/b"),
            ("a/b", Some("a/b-1-2-3-4-5"), "a/b-1-2-3-4-5"),
        ] {
            assert_eq!(booked_model(asked, served), booked, "{asked} {served:?}");
        }
    }

    proptest! {
        #[test]
        fn order_and_repetition_never_decide(a in settlements(), b in settlements(), c in settlements()) {
            prop_assert_eq!(a.clone().merge(b.clone()), b.clone().merge(a.clone()));
            prop_assert_eq!(a.clone().merge(a.clone()), a.clone());
            prop_assert_eq!(a.clone().merge(b.clone()).merge(c.clone()), a.merge(b.merge(c)));
        }
    }
}
