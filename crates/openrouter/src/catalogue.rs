//! `GET /models`: by which name a model is asked for, and what it costs.

use std::collections::HashMap;

use serde::Deserialize;

/// The names of the models on offer, by canonical slug. `GET /generation` tells a model by that slug
/// (`anthropic/claude-4.5-sonnet-20250929`), which people never asked for and no price list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Catalogue {
    names: HashMap<String, Vec<String>>,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: Option<String>,
    canonical_slug: Option<String>,
    name: Option<String>,
    pricing: Option<Pricing>,
    context_length: Option<i64>,
}

#[derive(Deserialize, Default)]
struct Pricing {
    prompt: Option<String>,
    completion: Option<String>,
    request: Option<String>,
}

/// What `OpenRouter` asks for a model: decimal text in US dollars for a token or a request, as it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The name it is asked for by.
    pub id: String,
    /// The name people read.
    pub name: Option<String>,
    /// For a token that is sent.
    pub prompt_usd: Option<String>,
    /// For a token that comes back.
    pub completion_usd: Option<String>,
    /// For a request, beside its tokens.
    pub request_usd: Option<String>,
    /// Tokens that fit.
    pub context_length: Option<i64>,
}

impl Catalogue {
    /// The name for `slug`: `asked` where that is one of its names, else its first; `None` for an unknown slug.
    pub(crate) fn name_of(&self, slug: &str, asked: &str) -> Option<&str> {
        let names = self.names.get(slug)?;
        names.iter().find(|name| *name == asked).or_else(|| names.first()).map(String::as_str)
    }

    /// The first name of each slug.
    pub(crate) fn into_names(self) -> HashMap<String, String> {
        self.names.into_iter().filter_map(|(slug, names)| Some((slug, names.into_iter().next()?))).collect()
    }
}

/// The offers in the list; `None` where it is no list.
pub(crate) fn read_offers(body: &[u8]) -> Option<Vec<Offer>> {
    let list: List = serde_json::from_slice(body).ok()?;
    let offers = list.data.into_iter().filter_map(|model| {
        let Pricing { prompt, completion, request } = model.pricing.unwrap_or_default();
        Some(Offer {
            id: model.id?,
            name: model.name,
            prompt_usd: prompt,
            completion_usd: completion,
            request_usd: request,
            context_length: model.context_length,
        })
    });
    Some(offers.collect())
}

pub(crate) fn read_catalogue(body: &[u8]) -> Option<Catalogue> {
    let list: List = serde_json::from_slice(body).ok()?;
    let mut names: HashMap<String, Vec<String>> = HashMap::new();
    for model in list.data {
        if let (Some(slug), Some(id)) = (model.canonical_slug, model.id) {
            names.entry(slug).or_default().push(id);
        }
    }
    Some(Catalogue { names })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_named_as_it_was_asked_for() {
        let catalogue = read_catalogue(
            br#"{"data":[{"id":"a/b","canonical_slug":"a/b-v1"},{"id":"a/b:free","canonical_slug":"a/b-v1"},{"id":"c"}]}"#,
        )
        .unwrap();
        assert_eq!(catalogue.name_of("a/b-v1", "a/b:free"), Some("a/b:free"));
        assert_eq!(catalogue.name_of("a/b-v1", "openrouter/auto"), Some("a/b"));
        assert_eq!(catalogue.name_of("a/c", "a/c"), None);
        assert_eq!(read_catalogue(b"<html>"), None);
    }

    #[test]
    fn an_offer_is_read_as_far_as_it_is_told() {
        let offers = read_offers(
            br#"{"data":[{"id":"a/b","name":"A: B","context_length":8192,"pricing":{"prompt":"0.00000015","completion":"0.0000006","request":"0","image":"0"}},
                {"id":"c"},{"name":"no id"}]}"#,
        )
        .unwrap();
        assert_eq!(offers.len(), 2);
        assert_eq!(offers[0].prompt_usd.as_deref(), Some("0.00000015"));
        assert_eq!((offers[0].name.as_deref(), offers[0].context_length), (Some("A: B"), Some(8192)));
        assert_eq!((offers[1].id.as_str(), &offers[1].completion_usd), ("c", &None));
        assert_eq!(read_offers(b"<html>"), None);
    }
}
