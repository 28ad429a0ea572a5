//! What sends completions: connections of our own, each driven by whoever waits for its answer. `reqwest` and hyper's pooled
//! client drive a connection by a task of its own: every piece of an answer would wake two tasks instead of one. And they read
//! up to 400 KiB ahead of whoever takes the answer; with all calls under way that is 400 MB.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, InvalidHeaderValue};
use http::{HeaderMap, HeaderValue, Uri};
use http_body::{Body, Frame};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt as _};

use crate::client::ClientError;
use crate::quiet::QuietWaker;

use crate::Pieces;

/// Most that is read of an answer before somebody takes it; a head has to fit in.
const READ_AHEAD_BYTES: usize = 32 * 1024;

/// How long a connection is kept for the next call.
const KEPT_FOR: Duration = Duration::from_secs(90);

/// After how long without a call a connection gives back what hyper took for its calls: 16 KiB of buffers, and the channel for
/// requests, of which a page more is in use with every 14th call, up to 18 KiB.
const RESTS_AFTER: Duration = Duration::from_secs(2);

/// The pause before and between the probes of a silent connection, and their number.
const PROBE_AFTER: Duration = Duration::from_secs(15);
const PROBES: u32 = 3;

/// How long what was sent may stay unacknowledged.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);

/// What is sent.
type Request = http::Request<Pieces>;

type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

/// What connects, within its time.
type Connector = BoxCloneSyncService<Uri, Stream, BoxError>;

/// The body of an answer. Dropped before its end, it closes the connection, which is what ends a bill.
pub type AnswerBody = UnsyncBoxBody<Bytes, Cut>;

/// The answer broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off")]
pub struct Cut;

/// The connections to one host.
#[derive(Debug, Clone)]
pub(crate) struct Sender {
    connector: Connector,
    address: Uri,
    host: HeaderValue,
    idle: Arc<Idle>,
}

/// Connections without a call and since when, the one that was used last at the end.
#[derive(Debug, Default)]
struct Idle(Mutex<Vec<(Instant, Kept)>>);

#[derive(Debug)]
enum Kept {
    Ready(Link),
    /// Has given back its memory.
    Resting(Box<Stream>),
}

/// A connection. It moves only while it is polled.
#[derive(Debug)]
struct Link {
    requests: http1::SendRequest<Pieces>,
    connection: Box<http1::Connection<Stream, Pieces>>,
}

/// An answer's body with the connection that it comes by.
struct Driven {
    body: Incoming,
    link: Option<Link>,
    waker: QuietWaker,
    idle: Arc<Idle>,
}

/// Why no head came.
#[derive(Debug)]
pub(crate) enum SendError {
    /// Nothing was sent.
    Connect(BoxError),
    /// It may have been sent.
    Sent(hyper::Error),
}

impl Sender {
    /// `base` is the address of the API; `connect_timeout` is for name, TCP and TLS together.
    pub(crate) fn new(base: &str, connect_timeout: Duration) -> Result<Self, ClientError> {
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
        let address: Uri = base.parse().map_err(http::Error::from)?;
        let host = host_of(&address).map_err(http::Error::from)?;
        let connector = Connector::new(Timeout::new(https, connect_timeout));
        Ok(Self { connector, address, host, idle: Arc::default() })
    }

    /// Posts a body once and answers with the head, the body still to come. What a kept connection could not even begin to send
    /// goes by the next one.
    pub(crate) async fn post(
        &self,
        endpoint: &str,
        mut headers: HeaderMap,
        body: Pieces,
    ) -> Result<http::Response<AnswerBody>, SendError> {
        headers.insert(header::HOST, self.host.clone());
        let mut request = http::Request::new(body);
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() =
            Uri::try_from(format!("{}/{endpoint}", self.address.path().trim_end_matches('/')))
                .map_err(|error| SendError::Connect(error.into()))?;
        *request.headers_mut() = headers;
        while let Some(link) = self.idle.take().await {
            match link.exchange(request, &self.idle).await {
                Ok(answer) => return Ok(answer),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::Sent(error.into_error())),
                },
            }
        }
        let link = self.connect().await?;
        link.exchange(request, &self.idle).await.map_err(|error| SendError::Sent(error.into_error()))
    }

    /// Closes what has been idle for too long or, before it rests, was closed by the other side; gives back memory of the others.
    pub(crate) fn tidy(&self) {
        self.idle.tidy();
    }

    async fn connect(&self) -> Result<Link, SendError> {
        let stream =
            self.connector.clone().oneshot(self.address.clone()).await.map_err(SendError::Connect)?;
        Link::over(stream).await.map_err(|error| SendError::Connect(error.into()))
    }
}

impl Idle {
    /// The connection that was used last, if the other side has left it open.
    async fn take(&self) -> Option<Link> {
        loop {
            let (since, kept) = self.kept().pop()?;
            if since.elapsed() >= KEPT_FOR {
                continue;
            }
            let link = match kept {
                Kept::Ready(link) => Some(link),
                Kept::Resting(stream) => Link::over(*stream).await.ok(),
            };
            if let Some(link) = link.and_then(Link::if_ready) {
                return Some(link);
            }
        }
    }

    fn put(&self, link: Link) {
        self.kept().push((Instant::now(), Kept::Ready(link)));
    }

    fn tidy(&self) {
        let mut all = self.kept();
        let tidied = all.drain(..).filter_map(|(since, kept)| Some((since, kept.tidied(since.elapsed())?)));
        *all = tidied.collect();
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Instant, Kept)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// What is left of it after so long without a call.
    fn tidied(self, idle: Duration) -> Option<Self> {
        if idle >= KEPT_FOR {
            return None;
        }
        match self {
            Self::Ready(link) => {
                let link = link.if_ready()?;
                Some(if idle < RESTS_AFTER { Self::Ready(link) } else { Self::Resting(link.rest()) })
            }
            // Whether it was closed shows when it is taken.
            Self::Resting(stream) => Some(Self::Resting(stream)),
        }
    }
}

impl Link {
    /// HTTP over an open connection.
    async fn over(stream: Stream) -> hyper::Result<Self> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(READ_AHEAD_BYTES);
        let (requests, connection) = builder.handshake(stream).await?;
        Ok(Self { requests, connection: Box::new(connection) })
    }

    /// Itself, if another request may be sent. Nobody has to be woken for that.
    fn if_ready(mut self) -> Option<Self> {
        let mut context = Context::from_waker(Waker::noop());
        let is_open = Pin::new(&mut self.connection).poll(&mut context).is_pending();
        (is_open && self.requests.is_ready()).then_some(self)
    }

    /// The bare connection. Of one that is ready nothing is on its way.
    fn rest(self) -> Box<Stream> {
        Box::new(self.connection.into_parts().io)
    }

    /// Sends a request and drives the connection until the head has come.
    async fn exchange(
        self,
        request: Request,
        idle: &Arc<Idle>,
    ) -> Result<http::Response<AnswerBody>, TrySendError<Request>> {
        let Self { mut requests, connection } = self;
        let mut connection = Some(connection);
        let answer = {
            let mut answer = pin!(requests.try_send_request(request));
            poll_fn(|context| {
                // Once it is over it has to go: until then it owns a request that it did not take, and nobody would hear of it.
                if connection.as_mut().is_some_and(|open| Pin::new(open).poll(context).is_ready()) {
                    connection = None;
                }
                answer.as_mut().poll(context)
            })
            .await?
        };
        let link = connection.map(|connection| Self { requests, connection });
        Ok(answer
            .map(|body| Driven { body, link, waker: QuietWaker::new(), idle: idle.clone() }.boxed_unsync()))
    }
}

impl Driven {
    /// What of the body has come already. Nothing of it comes but by the connection, which is polled after this and wakes whoever
    /// waits.
    fn poll_body(&mut self) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, waker, .. } = self;
        let take = || Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        // Who was given a piece asks for the next one, and then the connection is polled.
        waker.during(take, |taken| matches!(taken, Poll::Ready(Some(Ok(_)))))
    }

    /// The body is whole: the connection is free, if it may be used again.
    fn keep_connection(&mut self) {
        if let Some(link) = self.link.take().and_then(Link::if_ready) {
            self.idle.put(link);
        }
    }
}

impl Body for Driven {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = &mut *self;
        let mut polled = this.poll_body();
        if polled.is_pending()
            && let Some(link) = &mut this.link
        {
            let mut context = Context::from_waker(this.waker.of(context.waker()));
            if Pin::new(&mut link.connection).poll(&mut context).is_ready() {
                this.link = None;
            }
            polled = this.poll_body();
        }
        let frame = ready!(polled);
        match &frame {
            None => self.keep_connection(),
            Some(Err(_)) => self.link = None,
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|_| Cut)))
    }
}

/// As `Host` tells it: without the usual port.
fn host_of(address: &Uri) -> Result<HeaderValue, InvalidHeaderValue> {
    let host = address.host().unwrap_or_default();
    match (address.port_u16(), address.scheme_str()) {
        (None, _) | (Some(80), Some("http")) | (Some(443), Some("https")) => HeaderValue::from_str(host),
        (Some(port), _) => HeaderValue::from_str(&format!("{host}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;

    use super::*;

    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";

    /// A sender, and the host that it sends to.
    async fn ends() -> (Sender, TcpListener) {
        // Only the first test of a process chooses.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/api/v1", host.local_addr().unwrap());
        (Sender::new(&base, Duration::from_secs(5)).unwrap(), host)
    }

    async fn post(sender: &Sender) -> Result<http::Response<AnswerBody>, SendError> {
        sender.post("chat/completions", HeaderMap::new(), Pieces::new(vec![Bytes::from_static(b"{}")])).await
    }

    async fn whole(sender: &Sender) -> Bytes {
        post(sender).await.unwrap().into_body().collect().await.unwrap().to_bytes()
    }

    /// Reads one request and says `answer`.
    async fn serve(connection: &mut TcpStream, answer: &[u8]) -> String {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n{}") {
            assert!(connection.read_buf(&mut request).await.unwrap() > 0, "half a request");
        }
        connection.write_all(answer).await.unwrap();
        String::from_utf8(request).unwrap()
    }

    #[tokio::test]
    async fn a_connection_is_used_again() {
        let (sender, host) = ends().await;
        let serving = async {
            let mut connection = host.accept().await.unwrap().0;
            let requests = [serve(&mut connection, WHOLE).await, serve(&mut connection, WHOLE).await];
            for request in requests {
                assert!(request.starts_with("POST /api/v1/chat/completions HTTP/1.1\r\n"), "{request}");
                assert!(request.contains(&format!("host: {}\r\n", host.local_addr().unwrap())), "{request}");
            }
        };
        let asking = async { (whole(&sender).await, whole(&sender).await) };
        assert_eq!(tokio::join!(asking, serving).0, (Bytes::from("ok"), Bytes::from("ok")));
    }

    #[tokio::test]
    async fn a_connection_that_the_host_closed_is_not_used_again() {
        let (sender, host) = ends().await;
        for _ in 0..2 {
            let serving = async {
                let mut connection = host.accept().await.unwrap().0;
                serve(&mut connection, WHOLE).await;
                connection
            };
            let (answer, connection) = tokio::join!(whole(&sender), serving);
            assert_eq!((answer, sender.idle.kept().len()), (Bytes::from("ok"), 1));
            drop(connection);
            // That it is closed is known once the system has told.
            let let_go = async {
                while !sender.idle.kept().is_empty() {
                    tokio::task::yield_now().await;
                    sender.tidy();
                }
            };
            tokio::time::timeout(Duration::from_secs(5), let_go).await.unwrap();
        }
    }

    /// So many at once that not all can be looked at within tokio's budget of a task: what seems to be open may be closed.
    #[tokio::test]
    async fn a_call_finds_its_way_past_any_number_of_closed_connections() {
        const CONNECTIONS: usize = 300;
        let (sender, host) = ends().await;
        let serving = async {
            let mut connections = Vec::new();
            for _ in 0..CONNECTIONS {
                connections.push(host.accept().await.unwrap().0);
            }
            for connection in &mut connections {
                serve(connection, WHOLE).await;
            }
            connections
        };
        let mut asking = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let sender = sender.clone();
            asking.spawn(async move { whole(&sender).await });
        }
        let (_, connections) = tokio::join!(asking.join_all(), serving);
        assert_eq!(sender.idle.kept().len(), CONNECTIONS);
        drop(connections);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let serving = async { serve(&mut host.accept().await.unwrap().0, WHOLE).await };
        let both = async { tokio::join!(whole(&sender), serving).0 };
        assert_eq!(tokio::time::timeout(Duration::from_secs(5), both).await.unwrap(), "ok");
    }

    /// What was sent may be billed.
    #[tokio::test]
    async fn what_was_sent_is_never_sent_again() {
        let (sender, host) = ends().await;
        let serving = async {
            let mut connection = host.accept().await.unwrap().0;
            serve(&mut connection, WHOLE).await;
            serve(&mut connection, b"").await;
            drop(connection);
            tokio::time::timeout(Duration::from_millis(200), host.accept()).await.is_err()
        };
        let asking = async {
            whole(&sender).await;
            post(&sender).await
        };
        let (answer, came_once) = tokio::join!(asking, serving);
        assert!(matches!(answer, Err(SendError::Sent(_))) && came_once, "{answer:?}");
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_an_error_and_one_that_is_dropped_is_hung_up() {
        let (sender, host) = ends().await;
        let cutting = async { serve(&mut host.accept().await.unwrap().0, HALF).await };
        let reading = async { post(&sender).await.unwrap().into_body().collect().await.map(|_| ()) };
        assert_eq!(tokio::join!(reading, cutting).0, Err(Cut));
        let serving = async {
            let mut connection = host.accept().await.unwrap().0;
            serve(&mut connection, HALF).await;
            connection.read(&mut [0]).await.unwrap_or(0)
        };
        let leaving = async { drop(post(&sender).await.unwrap()) };
        assert_eq!(tokio::join!(leaving, serving).1, 0);
    }

    #[tokio::test]
    async fn a_connection_that_rests_is_used_again_unless_the_host_closed_it() {
        let (sender, host) = ends().await;
        let rest = async || {
            tokio::time::pause();
            tokio::time::advance(RESTS_AFTER).await;
            tokio::time::resume();
            sender.tidy();
            assert!(matches!(*sender.idle.kept().as_slice(), [(_, Kept::Resting(_))]));
        };
        let serving = async {
            let mut connection = host.accept().await.unwrap().0;
            serve(&mut connection, WHOLE).await;
            serve(&mut connection, WHOLE).await;
            connection
        };
        let asking = async {
            let first = whole(&sender).await;
            rest().await;
            (first, whole(&sender).await)
        };
        let (answers, connection) = tokio::join!(asking, serving);
        assert_eq!(answers, (Bytes::from("ok"), Bytes::from("ok")));
        rest().await;
        drop(connection);
        tokio::time::sleep(Duration::from_millis(100)).await;
        let serving = async { serve(&mut host.accept().await.unwrap().0, WHOLE).await };
        assert_eq!(tokio::join!(whole(&sender), serving).0, "ok");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_let_go() {
        let (sender, host) = ends().await;
        let serving = async {
            let mut connection = host.accept().await.unwrap().0;
            serve(&mut connection, WHOLE).await;
            connection
        };
        let (_, mut connection) = tokio::join!(whole(&sender), serving);
        sender.tidy();
        assert_eq!(sender.idle.kept().len(), 1);
        tokio::time::advance(KEPT_FOR).await;
        sender.tidy();
        assert_eq!(connection.read(&mut [0]).await.unwrap_or(0), 0);
    }

    #[test]
    fn the_host_is_told_without_the_usual_port() {
        for (address, host) in [
            ("https://openrouter.ai/api/v1", "openrouter.ai"),
            ("https://openrouter.ai:443/api/v1", "openrouter.ai"),
            ("http://openrouter.ai:443/api/v1", "openrouter.ai:443"),
            ("http://[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(host_of(&address.parse().unwrap()).unwrap(), host, "{address}");
        }
    }
}
