//! The OpenAPI 3.1 document, made from the table of routes and the types of the answers.

use axum::Json;
use serde_json::{Map, Value, json};
use utoipa::OpenApi as _;

use crate::routes::{Answer, Audience, BASE, Kind, Parameter, ROUTES, Route, TRACKING, TRACKING_ROUTES};
use crate::{books, calls, tracking, usage};

/// The shapes of the answers.
#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(
    books::Me,
    books::Reconciled,
    books::Prices,
    books::Subscription,
    calls::CallsPage,
    calls::AwaitingPage,
    usage::Overview,
    usage::Summary,
    usage::ByDay,
    usage::ByUser,
    usage::ByModel,
    usage::ByUserAndModel,
    tracking::TrackingSummary,
    tracking::TrackingByUser,
    tracking::TrackingByModel,
    tracking::TrackingSubscription,
    tracking::TrackingPricing,
)))]
struct Shapes;

/// Shapes of the ledger's own types; their examples show them.
const STATEMENT_SHAPES: [(&str, &str); 3] = [
    (
        "StatementFacts",
        "The keys that were ever used, when the ledger began to watch, and the days that were compared.",
    ),
    ("StatementOrder", "A statement of one UTC day, each generation once, and whether to write nothing."),
    (
        "StatementDay",
        "What the statement came to: the sums of the day in US dollars, what was done, and what is left.",
    ),
];

pub(crate) async fn openapi() -> Json<Value> {
    Json(document())
}

/// The document. `docs/openapi.json` is made from it.
#[must_use]
pub fn document() -> Value {
    let mut shapes = serde_json::to_value(Shapes::openapi()).unwrap_or_default();
    if let Some(Value::Object(schemas)) = shapes.pointer_mut("/components/schemas") {
        let plain = |(name, words): (&str, &str)| {
            (name.to_owned(), json!({ "type": "object", "description": words }))
        };
        schemas.extend(STATEMENT_SHAPES.map(plain));
    }
    let mut paths = Map::new();
    for (base, routes) in [(BASE, ROUTES), (TRACKING, TRACKING_ROUTES)] {
        for route in routes {
            paths.insert(format!("{base}{}", route.path), path_item(route, route.path));
            if route.audience == Audience::OrganisationAndOneself {
                let own = format!("me/{}", route.path);
                paths.insert(format!("{base}{own}"), path_item(route, &own));
            }
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "mai-usage: usage and charges",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Money is decimal text in US dollars, exact; a field that is null is unknown, not 0. `charge` is what the \
                            organisation pays, `cost` what OpenRouter bills; `cost` is there only where the caller may see it. Days are \
                            those of the organisation's time zone, instants are RFC 3339 in UTC. JSON answers carry an `ETag`. Errors are \
                            problem details (RFC 9457). Under `/api/v1/usage-tracking/` money is a JSON number, as the original has it.",
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "paths": paths,
        "components": {
            "schemas": shapes.pointer("/components/schemas"),
            "securitySchemes": {
                "session": { "type": "apiKey", "in": "cookie", "name": "token", "description": "A session of Open WebUI." },
                "bearer": {
                    "type": "http", "scheme": "bearer",
                    "description": "A session of Open WebUI, or the operator's USAGE_ADMIN_TOKEN.",
                },
            },
        },
        "security": [{ "session": [] }, { "bearer": [] }],
    })
}

fn path_item(route: &Route, path: &str) -> Value {
    let is_own = path.starts_with("me/");
    // Under `me/` the user is given.
    let parameters = route.parameters.iter().filter(|parameter| !(is_own && parameter.name == "user_id"));
    let parameters: Vec<Value> = parameters.map(described).collect();
    let who = match route.audience {
        _ if is_own => "Every account, about its own usage.",
        Audience::Anybody => "Every account, and the operator.",
        Audience::Operator => "The operator alone.",
        Audience::Organisation | Audience::OrganisationAndOneself => "Administrators and the operator.",
    };
    let problem = |status: &str, words: &str| {
        let content = json!({ "application/problem+json": { "schema": { "type": "object" } } });
        (status.to_owned(), json!({ "description": words, "content": content }))
    };
    let responses = Map::from_iter([
        ("200".to_owned(), json!({ "description": "The answer.", "content": content(&route.answer) })),
        problem("400", "The question cannot be read; `detail` says why."),
        problem("401", "Nobody is signed in."),
        problem("403", "The caller may not see that."),
        problem("503", "Open WebUI or the ledger cannot be asked just now."),
    ]);
    let id = path.replace(['/', '-'], "_");
    let get = json!({
        "operationId": id, "summary": route.doc, "description": who, "parameters": parameters, "responses": responses,
    });
    let mut item = Map::from_iter([("get".to_owned(), get)]);
    if let Some(posted) = &route.posted {
        let mut responses = responses;
        let answer =
            json!({ "description": "The answer.", "content": content(&Answer::Json(posted.answer)) });
        responses.insert("200".to_owned(), answer);
        responses.extend([problem(
            "409",
            "It contradicts what is recorded; `detail` says why. Nothing was written.",
        )]);
        let post = json!({
            "operationId": format!("{id}_post"), "summary": posted.doc, "description": who, "responses": responses,
            "requestBody": { "required": true, "content": content(&Answer::Json(posted.body)) },
        });
        item.insert("post".to_owned(), post);
    }
    Value::Object(item)
}

fn described(parameter: &Parameter) -> Value {
    let schema = match parameter.kind {
        Kind::Day => json!({ "type": "string", "format": "date" }),
        Kind::Text => json!({ "type": "string" }),
        Kind::Integer { least, most } => json!({ "type": "integer", "minimum": least, "maximum": most }),
        Kind::OneOf(values) => json!({ "type": "string", "enum": values }),
    };
    json!({
        "name": parameter.name, "in": "query", "required": parameter.is_needed, "description": parameter.doc, "schema": schema,
    })
}

fn content(answer: &Answer) -> Value {
    let binary = json!({ "schema": { "type": "string", "format": "binary" } });
    match answer {
        Answer::Json(name) => {
            let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
            json!({ "application/json": { "schema": schema, "example": example(name) } })
        }
        Answer::File => json!({
            "text/csv": { "schema": { "type": "string" } },
            "application/json": { "schema": { "type": "array", "items": { "type": "object" } } },
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": binary,
        }),
        Answer::Events => json!({ "text/event-stream": { "schema": { "type": "string" } } }),
    }
}

/// The answers of `tests/it/examples.rs`, which keeps them true.
#[derive(rust_embed::RustEmbed)]
#[folder = "examples/"]
struct Examples;

fn example(schema: &str) -> Option<Value> {
    serde_json::from_slice(&Examples::get(&format!("{schema}.json"))?.data).ok()
}
