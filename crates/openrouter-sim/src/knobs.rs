//! The faults and delays that a test may ask for.

use serde::{Deserialize, Serialize};

/// Declares the knobs once: the struct with every member optional, and how one set lies over another.
macro_rules! knobs {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// What the simulator does other than answer well and at once. Every member is optional; none set is a
        /// healthy OpenRouter.
        ///
        /// Set for all calls with [`Simulator::set_knobs`](crate::Simulator::set_knobs) or `PUT /sim/knobs`, and for one call with the body
        /// member `"sim": {…}` of its request, which wins member by member.
        #[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Knobs {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)*
        }

        impl Knobs {
            /// These knobs, and `below` where one of these is not set.
            #[must_use]
            pub fn over(self, below: &Self) -> Self {
                Self { $($name: self.$name.or_else(|| below.$name.clone()),)* }
            }
        }
    };
}

knobs! {
    /// Refuses the call: a case such as `402-credits`, `403-key-limit`, `429-upstream`, `html-404`, `html-200`
    /// (or of any other status), `error-in-200`, or any bare status such as `502`.
    error: String,
    /// Waits before the head.
    head_delay_ms: u64,
    /// Waits between the head and the first chunk (or the body).
    first_chunk_delay_ms: u64,
    /// Waits before each later content chunk.
    chunk_delay_ms: u64,
    /// Each content chunk of a chat tells when it left instead of words: [`send_time_ns`](crate::send_time_ns), in
    /// [`SEND_TIME_DIGITS`](crate::SEND_TIME_DIGITS) digits.
    send_times: bool,
    /// How many content chunks a stream has (default 6).
    chunks: usize,
    /// How many `: OPENROUTER PROCESSING` comments come before the first chunk.
    comments: usize,
    /// Writes the body in pieces of so many bytes, each flushed.
    frame_bytes: usize,
    /// Waits after each piece of the body.
    frame_delay_ms: u64,
    /// A stream never ends: its last content chunk comes again and again.
    endless: bool,
    /// Aborts the connection after so many bytes of the body.
    cut_after_bytes: usize,
    /// Falls silent, connection open, after so many bytes of the body.
    silent_after_bytes: usize,
    /// Ends the answer with a provider's error after so many content chunks.
    midstream_error_after: usize,
    /// Whether a stream ends with `[DONE]` (default: yes, unless it failed in the middle).
    done: bool,
    /// How usage is told.
    usage: UsageKnob,
    /// How the cost is told: `normal`, `missing`, `null`, or the text to put in its place. The bill stays the same.
    cost: String,
    /// Whether the head carries `X-Generation-Id` (default true).
    generation_header: bool,
    /// Whether body and events carry the id (default true).
    body_id: bool,
    /// The generation id to use, even twice.
    generation_id: String,
    /// Ends the lines of a stream with CR LF.
    crlf: bool,
    /// What a stream costs that the client left.
    charge_on_abort: AbortCharge,
    /// `GET /generation` knows the charge only so long after it, on the simulator's clock.
    settle_after_ms: i64,
    /// The first so many asks for a generation that is due answer 404 all the same.
    generation_misses: u32,
    /// `GET /generation` fails: `429`, `500` or `html`.
    generation_error: String,
    /// `/keys` fails, before anything is changed: `429`, `500`, or any other case of `error`.
    keys_error: String,
    /// `POST /keys` makes the key, and the edge in front of the API gives up before the answer: its secret is lost.
    keys_answer_lost: bool,
    /// The counters of `GET /key` and `/keys` leave out charges younger than this.
    key_counter_lag_ms: i64,
    /// Analytics leave out charges younger than this.
    analytics_lag_ms: i64,
    /// Analytics fail: `429-platform`, `500`, `408`, or any other case of `error`.
    analytics_error: String,
    /// So many asks of the analytics fail by `analytics_error`, then none; without it all do.
    analytics_failures: u32,
    /// Analytics answer with at most so many rows instead of 10,000, and say that there are more.
    analytics_most_rows: usize,
    /// Analytics answer 408 about a longer time than this.
    analytics_longest_ms: i64,
    /// What the statement says of each charge, as decimal text, instead of what was charged: a later correction.
    stated_cost: String,
    /// The provider's own key pays: cost 0, the price in `upstream_inference_cost`.
    byok: bool,
    /// The assistant's text.
    content: String,
    /// The model's name in the answer and on the bill.
    model: String,
    /// The provider's display name.
    provider: String,
    /// The charge, as decimal text, instead of tokens times price.
    true_cost: String,
    /// Token counts instead of the tokenizer's.
    prompt_tokens: i64,
    /// Completion tokens, reasoning included.
    completion_tokens: i64,
    /// Reasoning tokens, part of the completion tokens.
    reasoning_tokens: i64,
    /// Cached tokens, part of the prompt tokens.
    cached_tokens: i64,
}

/// The shapes in which usage has been seen, or could break.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UsageKnob {
    /// In one chunk that repeats the finish reason.
    #[default]
    Normal,
    /// In a chunk with `choices: []`, as the vendor's docs say.
    EmptyChoices,
    /// In a chunk that repeats the choice with `finish_reason: null`.
    NullFinish,
    /// Nowhere.
    None,
    /// In two chunks; the first tells half of the cost.
    Twice,
}

/// What the client's leaving costs, by the serving provider's habit.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AbortCharge {
    /// The prompt and the tokens sent so far; nothing where none was sent.
    #[default]
    SentTokens,
    /// The whole answer: a provider that cannot be stopped.
    Full,
    /// Nothing.
    Nothing,
}
