//! An upstream that answers with prepared bytes: what the simulator is too well-bred to send.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Between two pieces of an answer, so that each is a piece for the reader too.
const BETWEEN_PIECES: Duration = Duration::from_millis(1);

/// What `GET /generation` tells once it knows: US dollars.
pub(crate) const LATE_COST: &str = "0.0625";

/// A request for a completion, as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What is written, piece by piece; then the connection is closed.
pub(crate) type Pieces = Vec<Vec<u8>>;

type Answering = Arc<dyn Fn(&Heard) -> Pieces + Send + Sync>;

/// It listens until it is dropped.
#[derive(Debug)]
pub(crate) struct RawUpstream {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
    knows_costs: Arc<AtomicBool>,
    _listening: JoinSet<()>,
}

impl RawUpstream {
    /// Answers every POST with what `answer` makes of it.
    pub(crate) async fn start(answer: impl Fn(&Heard) -> Pieces + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, knows_costs) = (Arc::default(), Arc::default());
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener, Arc::new(answer), Arc::clone(&heard), Arc::clone(&knows_costs)));
        Self { address, heard, knows_costs, _listening: listening }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// The completions asked for so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// From now on `GET /generation` tells [`LATE_COST`] for every id; before, it knows none.
    pub(crate) fn know_costs(&self) {
        self.knows_costs.store(true, Ordering::Release);
    }
}

async fn listen(
    listener: TcpListener,
    answer: Answering,
    heard: Arc<Mutex<Vec<Heard>>>,
    knows_costs: Arc<AtomicBool>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (answer, heard, knows_costs) = (answer.clone(), heard.clone(), knows_costs.clone());
        connections.spawn(async move {
            let mut stream = stream;
            let Some(request) = read(&mut stream).await else { return };
            let pieces = if request.head.starts_with("POST ") {
                let pieces = answer(&request);
                heard.lock().unwrap().push(request);
                pieces
            } else {
                vec![question(&request.head, knows_costs.load(Ordering::Acquire))]
            };
            write(&mut stream, &pieces).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

/// A request with its body, whose length must be told; `None` where nobody asks after all.
async fn read(stream: &mut TcpStream) -> Option<Heard> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
        if bytes.len() >= end + 4 + length {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            return Some(Heard { head, body: bytes[end + 4..].to_vec() });
        }
    }
}

/// Writes until all is written or nobody reads.
async fn write(stream: &mut TcpStream, pieces: &Pieces) {
    stream.set_nodelay(true).unwrap();
    for (place, piece) in pieces.iter().enumerate() {
        if place > 0 {
            tokio::time::sleep(BETWEEN_PIECES).await;
        }
        if stream.write_all(piece).await.is_err() {
            return;
        }
    }
    // Reads until the other side closes too: what is still unread at a close would become a reset.
    if stream.shutdown().await.is_ok() {
        let _ = stream.read(&mut [0; 16]).await;
    }
}

/// The sidecar's own questions.
fn question(head: &str, knows_costs: bool) -> Vec<u8> {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let (status, body) = match path.strip_prefix("/api/v1/").unwrap_or_default() {
        "key" => ("200 OK", r#"{"data":{"usage":0}}"#.to_owned()),
        "models" => ("200 OK", r#"{"data":[]}"#.to_owned()),
        record if record.starts_with("generation?") && knows_costs => {
            ("200 OK", format!(r#"{{"data":{{"total_cost":{LATE_COST}}}}}"#))
        }
        _ => ("404 Not Found", r#"{"error":{"message":"not found","code":404}}"#.to_owned()),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
