//! `GET /models`: by which name a model is asked for.

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
}

impl Catalogue {
    /// The name for `slug`: `asked` where that is one of its names, else its first; `None` for an unknown slug.
    pub(crate) fn name_of(&self, slug: &str, asked: &str) -> Option<&str> {
        let names = self.names.get(slug)?;
        names.iter().find(|name| *name == asked).or_else(|| names.first()).map(String::as_str)
    }
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
}
