//! An accept loop with limits. `axum::serve` has neither a time-out for the head nor a cap on connections: ten
//! thousand half-sent heads would hold as many buffers.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; the next one waits in the system's queue.
const CONNECTIONS: usize = 1_024;

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

/// Answers connections with `router` until `stop`; requests under way then end in peace.
pub(crate) async fn serve(listener: TcpListener, router: Router, ends: Ends, tasks: TaskTracker) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = ends.stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, permit)) => {
                let connection = connection(stream, router.clone(), ends.clone());
                tasks.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE_AFTER_REFUSAL).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // Chunks of a stream are small and must not wait for one another.
    stream.set_nodelay(true)?;
    // A client that does not read closes its window, and a write to it would wait for ever.
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_TIMEOUT))?;
    Ok((stream, permit))
}

async fn connection(stream: TcpStream, router: Router, ends: Ends) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES)
        // The buffer may grow beyond its own limit.
        .max_header_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ends.stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = ends.give_up.cancelled() => match tokio::time::timeout(LAST_WORDS, connection).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                },
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended in the middle");
    }
}
