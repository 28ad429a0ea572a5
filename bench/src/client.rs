//! The caller's side of the wire: kept connections, bodies made once, as little work for each call as there can be.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use openrouter_sim::send_time_ns;
use tokio::net::TcpStream;
use tokio::task::JoinError;
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

use crate::events::{Events, Heard};

/// A call that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_mins(1);

/// Why a call counts as an error.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Nobody answers there.
    #[error("cannot connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection or the answer broke.
    #[error("{0}")]
    Broken(#[from] hyper::Error),
    /// The answer is a refusal.
    #[error("status {0}")]
    Status(StatusCode),
    /// The caller himself failed.
    #[error("the caller died: {0}")]
    Caller(#[from] JoinError),
    /// It took too long.
    #[error("no end after {} s", PATIENCE.as_secs())]
    Late,
}

/// A way to the simulator, and the connections to it that are free.
#[derive(Clone, Debug)]
pub(crate) struct Road {
    way: Arc<Way>,
}

#[derive(Debug)]
struct Way {
    address: SocketAddr,
    uri: Uri,
    headers: HeaderMap,
    free: Mutex<Vec<SendRequest<Full<Bytes>>>>,
    tasks: TaskTracker,
}

impl Road {
    /// Calls are posted to `path` there, each with `headers`.
    pub(crate) fn new(address: SocketAddr, path: &str, mut headers: HeaderMap) -> anyhow::Result<Self> {
        headers.insert(header::HOST, address.to_string().parse()?);
        headers.insert(header::CONTENT_TYPE, "application/json".parse()?);
        let (uri, tasks) = (path.parse()?, TaskTracker::new());
        Ok(Self { way: Arc::new(Way { address, uri, headers, free: Mutex::default(), tasks }) })
    }

    /// One plain call to its last byte.
    pub(crate) async fn call(&self, body: &Bytes) -> Result<(), Failure> {
        let whole = async {
            let (mut answer, sender) = self.post(body).await?;
            while let Some(frame) = answer.body_mut().frame().await {
                frame?;
            }
            self.keep(sender);
            Ok(())
        };
        timeout(PATIENCE, whole).await.unwrap_or(Err(Failure::Late))
    }

    /// One stream to its end, or until `most_chunks` of content have come: then the caller leaves. What is heard is
    /// counted from `began`.
    pub(crate) async fn stream(
        &self,
        body: &Bytes,
        began: Instant,
        most_chunks: usize,
    ) -> Result<Heard, Failure> {
        let whole = async {
            let (mut answer, sender) = self.post(body).await?;
            let mut events = Events::default();
            while let Some(frame) = answer.body_mut().frame().await {
                let frame = frame?;
                if let Some(data) = frame.data_ref() {
                    events.hear(data, began.elapsed(), send_time_ns());
                }
                if events.heard().chunks >= most_chunks {
                    return Ok(events.into_heard());
                }
            }
            self.keep(sender);
            Ok(events.into_heard())
        };
        timeout(PATIENCE, whole).await.unwrap_or(Err(Failure::Late))
    }

    /// What `GET path` answers, of whatever status.
    pub(crate) async fn get(&self, path: &str) -> Result<(StatusCode, Bytes), Failure> {
        let mut sender = self.connection().await?;
        let mut request = Request::new(Full::default());
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.headers_mut() = self.way.headers.clone();
        let answer = timeout(PATIENCE, sender.send_request(request)).await.map_err(|_| Failure::Late)??;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    async fn post(&self, body: &Bytes) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>), Failure> {
        let mut sender = self.connection().await?;
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.way.uri.clone();
        *request.headers_mut() = self.way.headers.clone();
        let answer = sender.send_request(request).await?;
        match answer.status() {
            StatusCode::OK => Ok((answer, sender)),
            status => Err(Failure::Status(status)),
        }
    }

    /// A free connection that still stands, or a new one.
    async fn connection(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        while let Some(mut free) = self.take() {
            if free.ready().await.is_ok() {
                return Ok(free);
            }
        }
        let stream = TcpStream::connect(self.way.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        // How it ends is told to whoever waits for an answer.
        self.way.tasks.spawn(async { drop(connection.await) });
        Ok(sender)
    }

    fn take(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.free().pop()
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        self.free().push(sender);
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<SendRequest<Full<Bytes>>>> {
        self.way.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
