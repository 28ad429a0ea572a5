//! An accept loop with limits. `axum::serve` has neither a time-out for the head nor a cap on connections: ten
//! thousand half-sent heads would hold as many buffers.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http_body_util::BodyExt as _;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::head_reader::HeadReader;
use crate::waiting::{Place, Waiting};

/// One place in so many is kept free for who comes next: from here on the connection that has waited longest for a head
/// leaves for each that comes.
const FREE_PART: usize = 2;

/// Pause before one more leaves, where all places are taken.
const PAUSE_WHEN_FULL: Duration = Duration::from_millis(50);

/// How long the end of an answer may take on a connection that has to leave.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// How long a head may take, the wait for the next request on a kept connection included: longer than the 15 s
/// that Open `WebUI`'s client keeps one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Headers of a request.
const HEADERS: usize = 64;

/// Bytes of a head after which nothing more of it is read; what has arrived by then may be a little more.
const HEAD_BYTES: usize = 64 * 1024;

/// How long bytes may stay unacknowledged, or the client's window closed, before the system drops the connection.
const UNREAD_TIMEOUT: Duration = Duration::from_mins(1);

/// Pause after the system refused a connection, most often for want of descriptors.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// How long a connection may still take once calls are broken off: those without a head are refused in words.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// When a listener ends.
#[derive(Clone)]
pub(crate) struct Ends {
    /// Nothing new is taken in; what is under way may end.
    pub(crate) stop: CancellationToken,
    /// What is still under way is dropped, but for its last words.
    pub(crate) give_up: CancellationToken,
}

/// What a listener may hold.
pub(crate) struct Room {
    /// Connections at once; the next one waits in the system's queue.
    pub(crate) connections: usize,
    /// The tasks of connections belong to this tracker.
    pub(crate) tasks: TaskTracker,
}

/// Places for connections.
struct Places {
    all: Arc<Semaphore>,
    /// Kept free for who comes next.
    free: usize,
}

/// Answers connections with `router` until `stop`; requests under way then end in peace.
pub(crate) async fn serve(listener: TcpListener, router: Router, ends: Ends, room: Room) {
    let Room { connections, tasks } = room;
    let places = Places { all: Arc::new(Semaphore::new(connections)), free: connections / FREE_PART };
    let waiting = Arc::new(Waiting::new(ends.stop.clone()));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places, &waiting) => accepted,
            () = ends.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, permit)) => {
                tasks.spawn(connection(stream, permit, router.clone(), ends.clone(), waiting.place()));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                waiting.dismiss_longest();
                tokio::time::sleep(PAUSE_AFTER_REFUSAL).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Places,
    waiting: &Waiting,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = make_room(places, waiting).await?;
    let (stream, _) = listener.accept().await?;
    // Chunks of a stream are small and must not wait for one another.
    stream.set_nodelay(true)?;
    // A client that does not read closes its window, and a write to it would wait for ever.
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
    Ok((stream, permit))
}

/// Waits for a place; who waits for a head makes room where places are scarce.
async fn make_room(places: &Places, waiting: &Waiting) -> std::io::Result<OwnedSemaphorePermit> {
    loop {
        if places.all.available_permits() < places.free {
            waiting.dismiss_longest();
        }
        let permit = tokio::time::timeout(PAUSE_WHEN_FULL, places.all.clone().acquire_owned()).await;
        if let Ok(permit) = permit {
            return permit.map_err(std::io::Error::other);
        }
    }
}

/// Answers one connection and gives its place back at the end.
async fn connection(
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
    router: Router,
    ends: Ends,
    place: Arc<Place>,
) {
    let (router, asking) = (TowerToHyperService::new(router), place.clone());
    let service = service_fn(move |request| {
        let (busy, answer) = (asking.busy(), router.call(request));
        async move {
            let answer = answer.await?;
            // The body keeps the place busy until its own end.
            let body_error = move |error| {
                let _busy = &busy;
                error
            };
            Ok::<_, Infallible>(answer.map(|body| body.map_err(body_error)))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES)
        // A piece is copied into one buffer and written out at once: its parts apart would each keep the whole buffer that
        // they were read into.
        .writev(false)
        // The buffer may grow beyond its own limit.
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(HeadReader::new(stream, place.clone())), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        // One wait for both: it is looked at with every piece of an answer.
        () = place.dismissed() => if ends.stop.is_cancelled() {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = ends.give_up.cancelled() => match tokio::time::timeout(LAST_WORDS, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                },
            }
        } else {
            // Half a head is nothing that could end in peace.
            if place.is_waiting() && !place.has_asked() {
                return;
            }
            connection.as_mut().graceful_shutdown();
            loop {
                tokio::select! {
                    ended = connection.as_mut() => break ended,
                    () = ends.give_up.cancelled() => return,
                    () = tokio::time::sleep(LAST_BYTES) => {
                        if place.is_waiting() {
                            return;
                        }
                    }
                }
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in the middle");
    }
}
