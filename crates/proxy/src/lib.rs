//! The road from Open `WebUI` to `OpenRouter`.
//!
//! A request comes in at [`router`]; [`route`] says whether it may go on, [`caller`] who pays, [`body`],
//! [`edit`] and [`form`] what is sent, and [`call`] is the task that owns the upstream's answer until its cost is written
//! down. What is refused, and how a person is told, is in [`refusal`].

mod answer;
mod body;
mod books;
mod call;
mod caller;
mod edit;
mod form;
mod headers;
mod lists;
mod memory;
mod passage;
mod refusal;
mod relay;
mod route;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header;
use http::request::Parts;
use ledger::Ledger;
use metering::Clock;
use open_webui::IdentitySource;
use secrecy::SecretString;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::refusal::Refusal;
use crate::route::Route;

/// Everything the road needs, made by the daemon.
#[derive(Debug)]
pub struct RoadOptions {
    /// Where calls are written down.
    pub ledger: Ledger,
    /// The way to `OpenRouter`.
    pub upstream: openrouter::Client,
    /// What is believed about who asks.
    pub identity: IdentitySource,
    /// The token of the mAI container, where one is set.
    pub token: Option<SecretString>,
    /// True where the organisation's key is set by the operator: then no other is learned.
    pub key_is_pinned: bool,
    /// Calls that may be under way; one more is refused with 503.
    pub calls_at_once: usize,
    /// The time.
    pub clock: Clock,
    /// The tasks of calls belong to this tracker.
    pub tasks: TaskTracker,
    /// Cancelled when calls under way must end, whatever is still to come.
    pub give_up: CancellationToken,
    /// Told whenever a call was left open, so that upkeep asks soon.
    pub call_left_open: Arc<Notify>,
    /// Told when a key was learned, so that upkeep polls at once.
    pub key_learned: Arc<Notify>,
}

/// The state behind [`router`].
struct Road {
    options: RoadOptions,
    in_flight: Arc<Semaphore>,
    memory: memory::Memory,
    lists: lists::Lists,
    keys: caller::KeyChecks,
}

/// The proxy's routes: the listed pairs of method and path, and 404 for everything else.
pub fn router(options: RoadOptions) -> Router {
    let road = Road {
        in_flight: Arc::new(Semaphore::new(options.calls_at_once)),
        options,
        memory: memory::Memory::default(),
        lists: lists::Lists::default(),
        keys: caller::KeyChecks::default(),
    };
    Router::new().fallback(handle).with_state(Arc::new(road))
}

/// A single entry instead of the router's own paths: those decode and normalise what they match, and nothing
/// may reach `OpenRouter` that is not spelt exactly as listed.
async fn handle(State(road): State<Arc<Road>>, request: Request) -> Response {
    let (Parts { method, uri, headers, .. }, mut body) = request.into_parts();
    let route = Route::of(&method, &uri);
    // A client that asks first (`Expect: 100-continue`) has sent nothing and need not.
    let has_sent = !headers.contains_key(header::EXPECT);
    // A call that waits keeps nothing of the head as it came; `call::answer` says why.
    drop(uri);
    let outcome = match route {
        None => Err(Refusal::NoSuchRoute),
        Some(Route::List(path_and_query)) => lists::answer(&road, &headers, &path_and_query).await,
        Some(Route::Completion(endpoint)) => call::answer(road, endpoint, headers, &mut body).await,
    };
    match outcome {
        Ok(response) => response,
        Err(refusal) => {
            if has_sent {
                body::discard(&mut body, refusal.is_of_a_stranger()).await;
            }
            refusal.into_response()
        }
    }
}

/// How long a request's next piece may take.
const REQUEST_PIECE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the upstream may take to its head: some models think long before the first token.
const HEAD_TIMEOUT: Duration = Duration::from_mins(10);

/// How long the upstream may be silent between two pieces; its comments count as pieces.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(5);

/// How long a whole call may take.
const CALL_TIMEOUT: Duration = Duration::from_hours(1);

/// How long a client may leave what was sent to it unread.
const UNREAD_TIMEOUT: Duration = Duration::from_mins(1);
