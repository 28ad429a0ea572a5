//! What sends completions: hyper's own client. `reqwest`, which asks everything else, lets each connection read up to
//! 400 KiB ahead of whoever takes the answer, and has no setting for it; with all calls under way that is 100 MB.

use std::time::Duration;

use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tower::BoxError;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;

use crate::Pieces;

/// Most that is read of an answer before somebody takes it; a head has to fit in.
const READ_AHEAD_BYTES: usize = 32 * 1024;

/// How long a connection is kept for the next call.
const KEPT_FOR: Duration = Duration::from_secs(90);

/// The pause before and between the probes of a silent connection, and their number.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;

/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);

/// What connects, within its time.
type Connector = BoxCloneSyncService<http::Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>;

/// A pool of connections.
#[derive(Debug, Clone)]
pub(crate) struct Sender(Client<Connector, Pieces>);

impl Sender {
    /// `connect_timeout` is for name, TCP and TLS together.
    pub(crate) fn new(connect_timeout: Duration) -> Result<Self, rustls::Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // A connection whose other end is gone without a word is noticed within a minute.
        tcp.set_keepalive(Some(PROBE_AFTER));
        tcp.set_keepalive_interval(Some(PROBE_AFTER));
        tcp.set_keepalive_retries(Some(PROBES));
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT));
        // One connection a call: with HTTP/2 all calls would share one, its limit of streams and its window, and leaving a
        // stream would not close anything.
        let https = HttpsConnectorBuilder::new()
            .try_with_platform_verifier()?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT_FOR)
            .http1_max_buf_size(READ_AHEAD_BYTES)
            .build(Connector::new(Timeout::new(https, connect_timeout)));
        Ok(Self(client))
    }

    /// Sends a request once and answers with the head, the body still to come.
    pub(crate) async fn send(&self, request: http::Request<Pieces>) -> Result<reqwest::Response, Error> {
        Ok(self.0.request(request).await?.map(reqwest::Body::wrap).into())
    }
}
