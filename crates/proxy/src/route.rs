//! The list of what may reach `OpenRouter`: method and path, compared byte for byte.

use http::{Method, Uri};

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// A call that is billed.
    Completion(Endpoint),
    /// A free list, by its upstream path and query.
    List(String),
}

/// An endpoint that is billed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// The path below `OpenRouter`'s base.
    pub(crate) upstream: &'static str,
    /// How its request carries the user.
    pub(crate) body: BodyKind,
}

/// The forms of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// A JSON object.
    Json,
    /// A JSON object or a form with a file.
    JsonOrForm,
}

/// Paths below the base, and the endpoint each one reaches.
const COMPLETIONS: [(&str, Endpoint); 10] = [
    ("chat/completions", Endpoint { upstream: "chat/completions", body: BodyKind::Json }),
    ("completions", Endpoint { upstream: "completions", body: BodyKind::Json }),
    ("responses", Endpoint { upstream: "responses", body: BodyKind::Json }),
    ("messages", Endpoint { upstream: "messages", body: BodyKind::Json }),
    ("embeddings", Endpoint { upstream: "embeddings", body: BodyKind::Json }),
    ("rerank", Endpoint { upstream: "rerank", body: BodyKind::Json }),
    ("images", Endpoint { upstream: "images", body: BodyKind::Json }),
    // What OpenAI's clients and Open WebUI ask for.
    ("images/generations", Endpoint { upstream: "images", body: BodyKind::Json }),
    ("audio/speech", Endpoint { upstream: "audio/speech", body: BodyKind::Json }),
    ("audio/transcriptions", Endpoint { upstream: "audio/transcriptions", body: BodyKind::JsonOrForm }),
];

/// Longest query that is passed on with a list.
const LONGEST_QUERY: usize = 512;

/// Longest author or slug of a model.
const LONGEST_SEGMENT: usize = 128;

impl Route {
    /// The route of a request; `None` where it is not on the list.
    pub(crate) fn of(method: &Method, uri: &Uri) -> Option<Self> {
        let below = ["/api/v1/", "/v1/"].iter().find_map(|base| uri.path().strip_prefix(base))?;
        // Open WebUI sends `//models` where the address was typed with a slash at its end.
        let path = below.strip_prefix('/').unwrap_or(below);
        if method == Method::POST {
            let (_, endpoint) = COMPLETIONS.iter().find(|(listed, _)| *listed == path)?;
            return Some(Self::Completion(*endpoint));
        }
        if method != Method::GET {
            return None;
        }
        let list = if path == "models" { path.to_owned() } else { model_endpoints(path)? };
        match uri.query() {
            None | Some("") => Some(Self::List(list)),
            Some(query) if is_plain_query(query) => Some(Self::List(format!("{list}?{query}"))),
            Some(_) => None,
        }
    }
}

/// `models/{author}/{slug}/endpoints`, where a colon in the slug may be written `%3A`.
fn model_endpoints(path: &str) -> Option<String> {
    let mut segments = path.split('/');
    let (models, author, slug, endpoints) =
        (segments.next()?, segments.next()?, segments.next()?, segments.next()?);
    if models != "models" || endpoints != "endpoints" || segments.next().is_some() {
        return None;
    }
    let slug = slug.replace("%3A", ":").replace("%3a", ":");
    let sound = |segment: &str| {
        (1..=LONGEST_SEGMENT).contains(&segment.len())
            && !segment.starts_with('.')
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:~".contains(&byte))
    };
    (sound(author) && sound(&slug)).then(|| format!("models/{author}/{slug}/endpoints"))
}

fn is_plain_query(query: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~=&,%+:".contains(&byte);
    query.len() <= LONGEST_QUERY && query.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, uri: &str) -> Option<Route> {
        Route::of(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn listed_pairs_go_on() {
        for base in ["/v1", "/api/v1", "/api/v1/"] {
            for (path, endpoint) in COMPLETIONS {
                assert_eq!(route("POST", &format!("{base}/{path}")), Some(Route::Completion(endpoint)));
            }
            assert_eq!(route("GET", &format!("{base}/models")), Some(Route::List("models".into())));
        }
        assert_eq!(route("GET", "/v1/models?limit=5"), Some(Route::List("models?limit=5".into())));
        assert_eq!(
            route("GET", "/v1/models/a/b%3Afree/endpoints"),
            Some(Route::List("models/a/b:free/endpoints".into()))
        );
    }

    #[test]
    fn everything_else_stays() {
        for uri in [
            "/",
            "/v1",
            "/v1/",
            "/v2/models",
            "/v1/models/",
            "/v1/key",
            "/v1/keys",
            "/v1/credits",
            "/v1/activity",
            "/v1/generation?id=gen-1",
            "/v1/models/user",
            "/v1/models/../key",
            "/v1/models/../../keys/endpoints",
            "/v1/%6dodels",
            "/v1/models%2f..%2fkey",
            "/v1///models",
            "/V1/models",
            "/v1/Models",
            "/v1/models;x",
            "/api/v1/v1/models",
            "/v1/models/a/b/c/endpoints",
            "/v1/models/a/%2e%2e/endpoints",
            "/v1/models\\",
            "/v1/models?x=<y>",
        ] {
            if let Ok(uri) = uri.parse::<Uri>() {
                assert_eq!(Route::of(&Method::GET, &uri), None, "{uri}");
            }
        }
        for method in ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "post"] {
            assert_eq!(route(method, "/v1/chat/completions"), None, "{method}");
        }
        for path in
            ["keys", "keys/", "credits", "chat/completions/", "chat//completions", "batches", "videos"]
        {
            assert_eq!(route("POST", &format!("/v1/{path}")), None, "{path}");
        }
    }
}
