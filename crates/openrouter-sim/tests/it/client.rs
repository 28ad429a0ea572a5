//! A client that sees every byte, and the lack of one.

use std::time::Duration;

use openrouter_sim::{DEFAULT_KEY, DEFAULT_MANAGEMENT_KEY, Options, Simulator};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Far longer than anything takes that works.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// An answer, read to the end of the connection.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// The length of each chunk of the transfer encoding.
    pub(crate) chunks: Vec<usize>,
    /// Whether the answer ended as it should.
    pub(crate) complete: bool,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The JSON of the `data:` lines.
    pub(crate) fn events(&self) -> Vec<Value> {
        let lines = self.text().lines().filter_map(|line| line.strip_prefix("data: "));
        lines.filter(|data| *data != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    fn parse(bytes: &[u8]) -> Self {
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
        let head = std::str::from_utf8(&bytes[..split]).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Self { status, headers, body: Vec::new(), chunks: Vec::new(), complete: false };
        let rest = &bytes[split + 4..];
        if reply.header("transfer-encoding") == Some("chunked") {
            reply.read_chunks(rest);
        } else {
            let length = reply.header("content-length").map_or(0, |length| length.parse().unwrap());
            reply.body = rest.to_vec();
            reply.complete = rest.len() == length;
        }
        reply
    }

    fn read_chunks(&mut self, mut rest: &[u8]) {
        while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
            let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
            if length == 0 {
                self.complete = true;
                return;
            }
            let data = &rest[end + 2..];
            self.body.extend_from_slice(&data[..length.min(data.len())]);
            self.chunks.push(length);
            let Some(after) = data.get(length + 2..) else { return };
            rest = after;
        }
    }
}

pub(crate) async fn start() -> Simulator {
    Simulator::start(Options::default()).await.unwrap()
}

/// Connects and sends; the answer is the caller's to read.
pub(crate) async fn send(sim: &Simulator, head: &str, body: &[u8]) -> TcpStream {
    let address = sim.origin().strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let head =
        format!("{head}\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    stream
}

pub(crate) async fn exchange(sim: &Simulator, head: &str, body: &[u8]) -> Reply {
    let mut stream = send(sim, head, body).await;
    let mut bytes = Vec::new();
    // A reset after the last byte is an end like any other here.
    let _ = timeout(LONGEST_WAIT, stream.read_to_end(&mut bytes)).await.expect("the answer ends");
    Reply::parse(&bytes)
}

pub(crate) async fn post(sim: &Simulator, path: &str, body: &Value) -> Reply {
    with_key(sim, "POST", path, DEFAULT_KEY, Some(body)).await
}

pub(crate) async fn read(sim: &Simulator, path: &str) -> Reply {
    with_key(sim, "GET", path, DEFAULT_KEY, None).await
}

/// A call with the management key.
pub(crate) async fn manage(sim: &Simulator, method: &str, path: &str, body: Option<&Value>) -> Reply {
    with_key(sim, method, path, DEFAULT_MANAGEMENT_KEY, body).await
}

pub(crate) async fn with_key(
    sim: &Simulator,
    method: &str,
    path: &str,
    key: &str,
    body: Option<&Value>,
) -> Reply {
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nauthorization: Bearer {key}\r\ncontent-type: application/json"
    );
    exchange(sim, &head, body.as_bytes()).await
}

/// A chat of the cheap model with faults of its own.
pub(crate) fn chat(stream: bool, sim: &Value) -> Value {
    json!({
        "model": "example/small-model",
        "stream": stream,
        "user": "org_user_1",
        "messages": [{"role": "user", "content": "hello there"}],
        "sim": sim,
    })
}

/// Waits until the bill has `count` charges: the end of a connection is noticed by another task.
pub(crate) async fn charged(sim: &Simulator, count: usize) {
    let enough = async {
        while sim.truth().len() < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(LONGEST_WAIT, enough).await.expect("the charge is on the bill");
}
