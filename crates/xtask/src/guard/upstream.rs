//! The upstream of the guard. It sends the next piece of an answer only when it is told to, so that the sidecar reads each by
//! itself, however slow it is; the simulator sends as fast as it can, and what is read at once depends on the machine.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use anyhow::Context as _;

/// Listens until the process ends.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    asked: Receiver<TcpStream>,
}

impl Upstream {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (ask, asked) = channel();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let ask = ask.clone();
                thread::spawn(move || serve(connection, &ask));
            }
        });
        Ok(Self { address, asked })
    }

    /// The connection on which the sidecar has sent the next completion's request to its end.
    pub(super) fn next(&self) -> anyhow::Result<TcpStream> {
        self.asked.recv_timeout(super::sidecar::PATIENCE).context("no request came to the upstream")
    }
}

/// Answers questions about the key and the models, and hands completions over.
fn serve(mut connection: TcpStream, ask: &Sender<TcpStream>) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    loop {
        let head = request(&mut connection)?;
        if head.starts_with("POST ") {
            ask.send(connection.try_clone().ok()?).ok()?;
            continue;
        }
        let (status, body) = match head.split(' ').nth(1) {
            Some("/api/v1/key") => ("200 OK", r#"{"data":{"usage":0}}"#),
            Some("/api/v1/models") => ("200 OK", r#"{"data":[]}"#),
            _ => ("404 Not Found", r#"{"error":{"message":"not found","code":404}}"#),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all([&head, body].concat().as_bytes()).ok()?;
    }
}

/// Reads a request to its end and answers with its head; `None` where no more comes.
fn request(connection: &mut TcpStream) -> Option<String> {
    const PIECE_BYTES: usize = 64 * 1024;
    let (mut bytes, mut piece) = (Vec::new(), vec![0; PIECE_BYTES]);
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        read_more(connection, &mut piece, &mut bytes)?;
    };
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Some(0), |length| length.trim().parse().ok())?;
    while bytes.len() < end + length {
        read_more(connection, &mut piece, &mut bytes)?;
    }
    Some(String::from_utf8_lossy(bytes.get(..end)?).into_owned())
}

fn read_more(connection: &mut TcpStream, piece: &mut [u8], bytes: &mut Vec<u8>) -> Option<()> {
    let count = connection.read(piece).ok().filter(|count| *count > 0)?;
    bytes.extend_from_slice(piece.get(..count)?);
    Some(())
}
