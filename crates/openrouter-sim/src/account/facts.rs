//! What the analytics can say of one charge.

use super::WORKSPACE_ID;
use crate::clock;
use crate::truth::Generation;

/// Fields to group and filter by.
pub(super) const DIMENSIONS: &[&str] = &[
    "model",
    "variant",
    "api_key_id",
    "user",
    "workspace",
    "app",
    "generation_id",
    "provider",
    "origin",
    "country",
    "finish_reason",
    "external_user",
    "context_length_bucket",
];

/// Those of them that are kept for 31 days only.
pub(super) const NEAR_DIMENSIONS: &[&str] = &[
    "generation_id",
    "provider",
    "origin",
    "country",
    "finish_reason",
    "external_user",
    "context_length_bucket",
];

/// Fields to sum.
pub(super) const METRICS: &[(&str, MetricKind)] = &[
    ("total_usage", MetricKind::TotalUsage),
    ("credits_usage", MetricKind::CreditsUsage),
    ("openrouter_usage", MetricKind::CreditsUsage),
    ("byok_usage", MetricKind::ByokUsage),
    ("usage_upstream", MetricKind::TotalUsage),
    ("byok_fees", MetricKind::NoMoney),
    ("usage_cache", MetricKind::NoMoney),
    ("usage_data", MetricKind::NoMoney),
    ("usage_web", MetricKind::NoMoney),
    ("usage_file", MetricKind::NoMoney),
    ("request_count", MetricKind::Requests),
    ("tokens_total", MetricKind::Tokens),
    ("tokens_prompt", MetricKind::PromptTokens),
    ("tokens_completion", MetricKind::CompletionTokens),
    ("reasoning_tokens", MetricKind::ReasoningTokens),
    ("cached_tokens", MetricKind::CachedTokens),
];

/// What a metric counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum MetricKind {
    TotalUsage,
    CreditsUsage,
    ByokUsage,
    /// An amount that the simulator never charges.
    NoMoney,
    Requests,
    Tokens,
    PromptTokens,
    CompletionTokens,
    ReasoningTokens,
    CachedTokens,
}

impl MetricKind {
    pub(super) fn of(name: &str) -> Option<Self> {
        METRICS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    pub(super) const fn is_what_is_billed(self) -> bool {
        matches!(self, Self::TotalUsage | Self::CreditsUsage)
    }

    pub(super) const fn is_money(self) -> bool {
        matches!(self, Self::TotalUsage | Self::CreditsUsage | Self::ByokUsage | Self::NoMoney)
    }

    /// Pico-dollars, or a count.
    pub(super) fn value(self, generation: &Generation) -> i128 {
        let charge = &generation.charge;
        let byok = generation.byok_pico_usd.unwrap_or_default();
        match self {
            Self::TotalUsage => generation.cost().plus(byok).0,
            Self::CreditsUsage => generation.cost().0,
            Self::ByokUsage => byok.0,
            Self::NoMoney => 0,
            Self::Requests => 1,
            Self::Tokens => i128::from(charge.prompt_tokens) + i128::from(charge.completion_tokens),
            Self::PromptTokens => charge.prompt_tokens.into(),
            Self::CompletionTokens => charge.completion_tokens.into(),
            Self::ReasoningTokens => charge.reasoning_tokens.into(),
            Self::CachedTokens => charge.cached_tokens.into(),
        }
    }
}

/// The width of a time bucket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Granularity {
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

impl Granularity {
    pub(super) const ALL: [Self; 5] = [Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    pub(super) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|granularity| granularity.text() == name)
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The start of the bucket that holds an instant.
    pub(super) fn bucket(self, ms: i64) -> i64 {
        const MS_A_MINUTE: i64 = 60_000;
        const MS_AN_HOUR: i64 = 3_600_000;
        match self {
            Self::Minute => ms - ms.rem_euclid(MS_A_MINUTE),
            Self::Hour => ms - ms.rem_euclid(MS_AN_HOUR),
            Self::Day => clock::start_of_day(ms),
            Self::Week => clock::start_of_week(ms),
            Self::Month => clock::start_of_month(ms),
        }
    }
}

/// A field of a charge, raw: a key is its hash.
pub(super) fn dimension(generation: &Generation, name: &str) -> Option<String> {
    let charge = &generation.charge;
    let text = match name {
        "model" => generation.dated_slug.as_str(),
        "variant" if charge.model.ends_with(":free") => "free",
        "variant" => "standard",
        "api_key_id" => charge.key_hash.as_str(),
        "user" => super::CREATOR_USER_ID,
        "workspace" => WORKSPACE_ID,
        "generation_id" => charge.generation_id.as_str(),
        "provider" => generation.provider.as_str(),
        "origin" => generation.http_referer.as_deref()?,
        "country" => "PL",
        "finish_reason" => generation.finish_reason?,
        "external_user" => charge.external_user.as_deref()?,
        "context_length_bucket" => "0-8k",
        _ => return None,
    };
    Some(text.to_owned())
}
