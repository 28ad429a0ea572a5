//! One JSON object of an answer, in any of the shapes `OpenRouter` has: chat, completions, responses, messages,
//! embeddings, rerank, images, transcriptions. Facts of the shapes: the API's wire captures of 2026.

use metering::{Cost, Tokens};

use crate::json::Object;

/// What one object tells of its call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) generation_id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) provider: Option<String>,
    /// Unix seconds.
    pub(crate) created: Option<u64>,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) cost: Option<Cost>,
    pub(crate) is_error: bool,
}

/// Reads one object; empty where `text` is none.
pub(crate) fn read_facts(text: &[u8]) -> Facts {
    let Some(outer) = Object::read(text) else { return Facts::default() };
    // Responses wrap it in `response`, the first event of messages in `message`.
    let inner = outer.object("response").or_else(|| outer.object("message"));
    let mut facts = facts_of(&outer);
    if let Some(inner) = inner {
        facts = facts_of(&inner).or(facts);
    }
    facts
}

fn facts_of(object: &Object<'_>) -> Facts {
    let usage = object.object("usage");
    Facts {
        generation_id: object.text("id").filter(|id| is_generation_id(id)),
        model: object.text("model"),
        provider: object.text("provider").or_else(|| object.object("provider")?.text("name")),
        created: object.count("created").or_else(|| object.count("created_at")).filter(|second| *second > 0),
        tokens: usage.as_ref().map(tokens_of),
        cost: usage.as_ref().and_then(|usage| Cost::read(usage.raw("cost")?)),
        is_error: object.raw("error").is_some(),
    }
}

/// `gen-…`; item ids such as `msg_tmp_…` are not what is billed.
fn is_generation_id(id: &str) -> bool {
    const LONGEST_ID: usize = 128;
    id.starts_with("gen-") && id.len() <= LONGEST_ID && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn tokens_of(usage: &Object<'_>) -> Tokens {
    let details = |names: [&str; 2], member: &str| {
        names.iter().find_map(|name| usage.object(name)).and_then(|details| details.count(member))
    };
    // Anthropic's shape counts cached prompt tokens beside `input_tokens`, all others within.
    let beside = ["cache_read_input_tokens", "cache_creation_input_tokens"].map(|name| usage.count(name));
    let input = usage
        .count("input_tokens")
        .map(|input| beside.iter().flatten().fold(input, |sum, count| sum.saturating_add(*count)));
    let completion = usage.count("completion_tokens").or_else(|| usage.count("output_tokens"));
    // Rerank tells a total alone; there is no completion in it.
    let total = usage.count("total_tokens").filter(|_| completion.is_none());
    Tokens {
        prompt: usage.count("prompt_tokens").or(input).or(total),
        completion,
        reasoning: details(["completion_tokens_details", "output_tokens_details"], "reasoning_tokens")
            .or_else(|| usage.object("output_tokens_details")?.count("thinking_tokens")),
        cached: details(["prompt_tokens_details", "input_tokens_details"], "cached_tokens")
            .or_else(|| usage.count("cache_read_input_tokens")),
    }
}

impl Facts {
    fn or(self, other: Self) -> Self {
        Self {
            generation_id: self.generation_id.or(other.generation_id),
            model: self.model.or(other.model),
            provider: self.provider.or(other.provider),
            created: self.created.or(other.created),
            tokens: self.tokens.or(other.tokens),
            cost: self.cost.or(other.cost),
            is_error: self.is_error || other.is_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, cost: Option<&str>, prompt: Option<u64>, completion: Option<u64>) {
        let facts = read_facts(text.as_bytes());
        assert_eq!(facts.cost.map(|cost| cost.text).as_deref(), cost, "{text}");
        let tokens = facts.tokens.unwrap_or_default();
        assert_eq!((tokens.prompt, tokens.completion), (prompt, completion), "{text}");
    }

    #[test]
    fn usage_in_every_shape() {
        check(
            r#"{"id":"gen-1","usage":{"prompt_tokens":20,"completion_tokens":2,"cost":0.000004}}"#,
            Some("0.000004"),
            Some(20),
            Some(2),
        );
        check(
            r#"{"type":"response.completed","response":{"id":"gen-1","usage":{"input_tokens":3,"output_tokens":4,"cost":8e-8}}}"#,
            Some("8e-8"),
            Some(3),
            Some(4),
        );
        check(
            r#"{"type":"message_delta","usage":{"input_tokens":3,"cache_read_input_tokens":5,"cache_creation_input_tokens":null,"output_tokens":4,"cost":1}}"#,
            Some("1"),
            Some(8),
            Some(4),
        );
        check(r#"{"usage":{"prompt_tokens":4,"total_tokens":4,"cost":8e-8}}"#, Some("8e-8"), Some(4), None);
        check(r#"{"usage":{"search_units":1,"total_tokens":7,"cost":0.1}}"#, Some("0.1"), Some(7), None);
        check(r#"{"usage":{"seconds":2.5,"cost":0.1}}"#, Some("0.1"), None, None);
    }

    #[test]
    fn a_cost_that_is_not_understood_is_unknown() {
        for cost in ["null", "\"\"", "\"0.1\"", "-1", "1e400", "true", "{}", "[1]"] {
            check(&format!(r#"{{"usage":{{"prompt_tokens":1,"cost":{cost}}}}}"#), None, Some(1), None);
        }
        check(r#"{"usage":{"prompt_tokens":1}}"#, None, Some(1), None);
        check(r#"{"usage":null}"#, None, None, None);
        check(r#"{"usage":7}"#, None, None, None);
    }

    #[test]
    fn only_generation_ids_are_ids() {
        for (text, id) in [
            (r#"{"id":"gen-1790000000-A"}"#, Some("gen-1790000000-A")),
            (r#"{"id":"msg_tmp_1"}"#, None),
            (r#"{"id":"gen-\n"}"#, None),
            (r#"{"id":7}"#, None),
            (r#"{"type":"message_start","message":{"id":"gen-1"}}"#, Some("gen-1")),
            (r#"{"choices":[],"id":"gen-2"}"#, Some("gen-2")),
        ] {
            assert_eq!(read_facts(text.as_bytes()).generation_id.as_deref(), id, "{text}");
        }
        assert!(read_facts(br#"{"error":{"message":"x"}}"#).is_error);
        assert!(!read_facts(br#"{"error":null}"#).is_error);
    }
}
