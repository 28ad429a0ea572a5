//! Every question of the API: where it is asked, by whom, and what is answered. The router and the OpenAPI document are both
//! made from this table.

use std::sync::Arc;

use axum::routing::{MethodRouter, get};

use crate::{UsageApi, books, calls, events, export, statement, tracking, usage};

/// Who may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody with an account that is activated, and the operator.
    Anybody,
    /// Administrators and the operator.
    Organisation,
    /// The operator alone.
    Operator,
    /// As [`Organisation`](Self::Organisation); and under `me/` everybody with an account, about himself.
    OrganisationAndOneself,
}

/// What is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// JSON, by the name of its schema.
    Json(&'static str),
    /// A file.
    File,
    /// Server-sent events.
    Events,
}

/// What can be said in the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) is_needed: bool,
    pub(crate) kind: Kind,
    pub(crate) doc: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Day,
    Text,
    Integer { least: u32, most: u32 },
    OneOf(&'static [&'static str]),
}

/// What can be sent to the same address.
pub(crate) struct Posted {
    pub(crate) doc: &'static str,
    /// The schema of what is sent, and of what is answered.
    pub(crate) body: &'static str,
    pub(crate) answer: &'static str,
}

/// One question.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) audience: Audience,
    pub(crate) handler: fn() -> MethodRouter<Arc<UsageApi>>,
    pub(crate) doc: &'static str,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) answer: Answer,
    pub(crate) posted: Option<Posted>,
}

/// Where this API begins.
pub(crate) const BASE: &str = "/api/v1/usage/";

/// Where the original's begins.
pub(crate) const TRACKING: &str = "/api/v1/usage-tracking/";

const FROM: Parameter = Parameter {
    name: "from",
    is_needed: false,
    kind: Kind::Day,
    doc: "The first billing day; without it the first of the month of `to`.",
};
const TO: Parameter = Parameter {
    name: "to",
    is_needed: false,
    kind: Kind::Day,
    doc: "The last billing day, inclusive; without it today. At most 3,660 days after `from`.",
};
const USER: Parameter =
    Parameter { name: "user_id", is_needed: false, kind: Kind::Text, doc: "Only this user's." };
const MODEL: Parameter =
    Parameter { name: "model", is_needed: false, kind: Kind::Text, doc: "Only this model's, as booked." };
const LIMIT: Parameter = Parameter {
    name: "limit",
    is_needed: false,
    kind: Kind::Integer { least: 1, most: 500 },
    doc: "At most so many; 50 without it.",
};
const AFTER: Parameter =
    Parameter { name: "after", is_needed: false, kind: Kind::Text, doc: "The `next` of the page before." };
const WHAT: Parameter = Parameter {
    name: "what",
    is_needed: true,
    kind: Kind::OneOf(&["by-day", "by-user", "by-model", "by-user-and-model", "calls"]),
    doc: "Which table; those of users are not under `me/`.",
};
const FORMAT: Parameter = Parameter {
    name: "format",
    is_needed: true,
    kind: Kind::OneOf(&["csv", "json", "xlsx"]),
    doc: "Which file; a sheet (`xlsx`) has at most 10,000 rows.",
};

const PERIOD: &[Parameter] = &[FROM, TO];

/// The questions, in the order of the documents.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        path: "me",
        audience: Audience::Anybody,
        handler: || get(books::me),
        doc: "Who is asking, and what he is shown.",
        parameters: &[],
        answer: Answer::Json("Me"),
        posted: None,
    },
    Route {
        path: "overview",
        audience: Audience::OrganisationAndOneself,
        handler: || get(usage::overview),
        doc: "Today, this month beside last month and the limit, the projected charge of the month, and what awaits a cost.",
        parameters: &[],
        answer: Answer::Json("Overview"),
        posted: None,
    },
    Route {
        path: "summary",
        audience: Audience::OrganisationAndOneself,
        handler: || get(usage::summary),
        doc: "The sums of a period.",
        parameters: PERIOD,
        answer: Answer::Json("Summary"),
        posted: None,
    },
    Route {
        path: "by-day",
        audience: Audience::OrganisationAndOneself,
        handler: || get(usage::by_day),
        doc: "The days of a period that have an entry, the oldest first.",
        parameters: PERIOD,
        answer: Answer::Json("ByDay"),
        posted: None,
    },
    Route {
        path: "by-user",
        audience: Audience::Organisation,
        handler: || get(usage::by_user),
        doc: "Every known user in a period, the highest charge first.",
        parameters: PERIOD,
        answer: Answer::Json("ByUser"),
        posted: None,
    },
    Route {
        path: "by-model",
        audience: Audience::OrganisationAndOneself,
        handler: || get(usage::by_model),
        doc: "Every model with an entry in a period, the highest charge first.",
        parameters: PERIOD,
        answer: Answer::Json("ByModel"),
        posted: None,
    },
    Route {
        path: "by-user-and-model",
        audience: Audience::Organisation,
        handler: || get(usage::by_user_and_model),
        doc: "Every user with every model he used in a period, the highest charge first.",
        parameters: PERIOD,
        answer: Answer::Json("ByUserAndModel"),
        posted: None,
    },
    Route {
        path: "calls",
        audience: Audience::OrganisationAndOneself,
        handler: || get(calls::calls),
        doc: "Settled calls and corrections, the newest first, in pages.",
        parameters: &[FROM, TO, USER, MODEL, LIMIT, AFTER],
        answer: Answer::Json("CallsPage"),
        posted: None,
    },
    Route {
        path: "awaiting",
        audience: Audience::OrganisationAndOneself,
        handler: || get(calls::awaiting),
        doc: "Calls whose cost is not known yet, the newest first, in pages.",
        parameters: &[LIMIT, AFTER],
        answer: Answer::Json("AwaitingPage"),
        posted: None,
    },
    Route {
        path: "reconciliation",
        audience: Audience::Organisation,
        handler: || get(books::reconciliation),
        doc: "When OpenRouter was asked last, and whether its sum agrees with the ledger's.",
        parameters: &[],
        answer: Answer::Json("Reconciled"),
        posted: None,
    },
    Route {
        path: "statement",
        audience: Audience::Operator,
        handler: statement::handler,
        doc: "What whoever fetches OpenRouter's statement has to know: the keys that were used, and the days that were compared.",
        parameters: &[],
        answer: Answer::Json("StatementFacts"),
        posted: Some(Posted {
            doc: "Compares a whole statement of a UTC day with the ledger and books what is missing, once; `left` says how many \
                  bookings wait for the same statement to be sent again. With `dry_run` nothing is written.",
            body: "StatementOrder",
            answer: "StatementDay",
        }),
    },
    Route {
        path: "prices",
        audience: Audience::Anybody,
        handler: || get(books::prices),
        doc: "What the organisation pays for each model, markup applied.",
        parameters: &[],
        answer: Answer::Json("Prices"),
        posted: None,
    },
    Route {
        path: "subscription",
        audience: Audience::Organisation,
        handler: || get(books::subscription),
        doc: "What the organisation pays for seats; not configured yet.",
        parameters: &[],
        answer: Answer::Json("Subscription"),
        posted: None,
    },
    Route {
        path: "export",
        audience: Audience::OrganisationAndOneself,
        handler: || get(export::export),
        doc: "A table as a file. What a spreadsheet would take for a formula is led by an apostrophe.",
        parameters: &[WHAT, FORMAT, FROM, TO, USER, MODEL],
        answer: Answer::File,
        posted: None,
    },
    Route {
        path: "events",
        audience: Audience::OrganisationAndOneself,
        handler: || get(events::events),
        doc: "Every entry within a second after it was written: events `hello`, `entry` (with its number as id), `awaiting`, \
              and `reload` where more than 1,000 were missed since `Last-Event-ID`.",
        parameters: &[],
        answer: Answer::Events,
        posted: None,
    },
];

/// The original's questions.
pub(crate) const TRACKING_ROUTES: &[Route] = &[
    Route {
        path: "my-organization/usage-summary",
        audience: Audience::Organisation,
        handler: || get(tracking::usage_summary),
        doc: "This month, by day.",
        parameters: &[],
        answer: Answer::Json("TrackingSummary"),
        posted: None,
    },
    Route {
        path: "my-organization/usage-by-user",
        audience: Audience::Organisation,
        handler: || get(tracking::usage_by_user),
        doc: "This month, by user.",
        parameters: &[],
        answer: Answer::Json("TrackingByUser"),
        posted: None,
    },
    Route {
        path: "my-organization/usage-by-model",
        audience: Audience::Organisation,
        handler: || get(tracking::usage_by_model),
        doc: "This month, by model.",
        parameters: &[],
        answer: Answer::Json("TrackingByModel"),
        posted: None,
    },
    Route {
        path: "my-organization/subscription-billing",
        audience: Audience::Organisation,
        handler: || get(tracking::subscription_billing),
        doc: "What the organisation pays for seats; not configured yet.",
        parameters: &[],
        answer: Answer::Json("TrackingSubscription"),
        posted: None,
    },
    Route {
        path: "model-pricing",
        audience: Audience::Anybody,
        handler: || get(tracking::model_pricing),
        doc: "What the organisation pays for each model, in US dollars for a million tokens.",
        parameters: &[],
        answer: Answer::Json("TrackingPricing"),
        posted: None,
    },
];
