//! A running simulator: its socket, its connections, its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::inference::Named;
use crate::keyring::sha256_hex;
use crate::refusal::Refusal;
use crate::seen::{Arrived, SeenRequest, redacted};
use crate::truth::Charge;
use crate::world::World;
use crate::{Knobs, Options, account, control, inference};

/// The largest body that is read; the vendor's own limit is not known.
const LARGEST_BODY_BYTES: usize = 64 * 1024 * 1024;

/// After a failed accept (no descriptors left) the loop rests, so that it does not spin.
const ACCEPT_REST: Duration = Duration::from_millis(20);

/// A simulated OpenRouter on a socket of its own.
///
/// Dropping it leaves it running until the runtime ends; [`stop`](Self::stop) ends it.
#[derive(Debug)]
pub struct Simulator {
    world: Arc<World>,
    address: SocketAddr,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Simulator {
    /// Listens and serves. Errors are the socket's and the truth file's.
    ///
    /// # Errors
    /// The address is taken, or the truth file cannot be opened or is not a bill.
    pub async fn start(options: Options) -> io::Result<Self> {
        let world = Arc::new(World::new(&options)?);
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let tasks = TaskTracker::new();
        let stopping = CancellationToken::new();
        let router = router(&world);
        tasks.spawn(accept(listener, router, tasks.clone(), stopping.clone()));
        Ok(Self { world, address, tasks, stopping })
    }

    /// `http://127.0.0.1:PORT/api/v1`, as a client's base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("{}/api/v1", self.origin())
    }

    /// `http://127.0.0.1:PORT`, below which `/sim/` is.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The bill so far.
    #[must_use]
    pub fn truth(&self) -> Vec<Charge> {
        self.world.bill().charges()
    }

    /// The requests so far, the last 100,000 at most.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.world.log().all()
    }

    /// Replaces the faults that hold for all calls.
    pub fn set_knobs(&self, knobs: Knobs) {
        self.world.set_knobs(knobs);
    }

    /// Moves the simulator's own clock forward.
    pub fn advance(&self, by: Duration) {
        self.world.clock.advance(by);
    }

    /// What time the simulator has, in milliseconds since the epoch.
    #[must_use]
    pub fn now_ms(&self) -> i64 {
        self.world.clock.now_ms()
    }

    /// Ends all connections at once and waits for them. Streams under way are booked as cancelled.
    pub async fn stop(self) {
        self.stopping.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn router(world: &Arc<World>) -> Router {
    let unknown = || async { Refusal::html(StatusCode::NOT_FOUND).into_response() };
    let api = inference::routes().merge(account::routes());
    let api = api.method_not_allowed_fallback(unknown);
    Router::new()
        .nest("/api/v1", api)
        .nest("/sim", control::routes())
        .fallback(unknown)
        // `note` has its own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(world), note))
        .with_state(Arc::clone(world))
}

async fn accept(listener: TcpListener, router: Router, tasks: TaskTracker, stopping: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(serve(stream, router.clone(), stopping.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, router: Router, stopping: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch off delays");
    }
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = stopping.cancelled() => {}
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            }
        }
    }
}

/// Reads the whole body and logs the request, if it is one for OpenRouter.
async fn note(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let body: Bytes = match to_bytes(body, LARGEST_BODY_BYTES).await {
        Ok(body) => body,
        Err(_) => {
            return Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "Request entity too large").into_response();
        }
    };
    if !parts.uri.path().starts_with("/sim/") {
        let Named { user, model } = Named::read(&parts.headers, &body);
        let arrived_ms = world.clock.now_ms();
        parts.extensions.insert(Arrived(arrived_ms));
        let seen = SeenRequest {
            arrived_ms,
            method: parts.method.as_str().to_owned(),
            path: parts.uri.to_string(),
            headers: redacted(&parts.headers),
            body_sha256: sha256_hex(&body),
            body_bytes: body.len(),
            user,
            model,
        };
        world.log().push(seen);
    }
    next.run(Request::from_parts(parts, Body::from(body))).await
}
