//! `GET /generation`: what `OpenRouter` billed for one generation id.

use metering::{Cost, CostSource, Report, Tokens};

use crate::json::Object;

/// What asking for a generation came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GenerationAnswer {
    /// It is known; the report's cost may still be missing where it was not understood.
    Known(Report),
    /// 404: not yet, or never. The two look the same.
    NotFound,
    /// Any other answer, in words.
    Refused(String),
}

/// Reads the body of a 200.
pub(crate) fn read_generation(body: &[u8]) -> GenerationAnswer {
    let Some(data) = Object::read(body).and_then(|body| body.object("data")) else {
        return GenerationAnswer::Refused("the answer is not a generation record".to_owned());
    };
    // `native_*` are what is billed; the plain counts are normalised and differ.
    let tokens = Tokens {
        prompt: data.count("native_tokens_prompt"),
        completion: data.count("native_tokens_completion"),
        reasoning: data.count("native_tokens_reasoning"),
        cached: data.count("native_tokens_cached"),
    };
    let cost = data.raw("total_cost").or_else(|| data.raw("usage")).and_then(Cost::read);
    GenerationAnswer::Known(Report {
        source: CostSource::Generation,
        cost,
        tokens,
        model: data.text("model"),
        provider: data.text("provider_name"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_generation_has_its_real_cost() {
        let body = br#"{"data":{"id":"gen-1","model":"a/b-20260901","cancelled":true,"finish_reason":null,
            "total_cost":0.00003452,"usage":0.00003452,"native_tokens_prompt":64,"native_tokens_completion":98,
            "native_tokens_reasoning":null,"native_tokens_cached":0,"provider_name":"DeepInfra"}}"#;
        let GenerationAnswer::Known(report) = read_generation(body) else { panic!("not known") };
        assert_eq!(report.cost.unwrap().amount.pico(), 34_520_000);
        assert_eq!(report.tokens.completion, Some(98));
        assert_eq!(report.provider.as_deref(), Some("DeepInfra"));
    }

    #[test]
    fn a_page_is_no_record_and_a_missing_cost_is_unknown() {
        assert!(matches!(read_generation(b"<html>"), GenerationAnswer::Refused(_)));
        let GenerationAnswer::Known(report) = read_generation(br#"{"data":{}}"#) else { panic!("not known") };
        assert_eq!(report.cost, None);
    }
}
