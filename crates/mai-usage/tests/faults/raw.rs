//! Bytes on a socket, without a library that would tidy them up.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for the end of an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends `request` as it is and reads until the other side closes. The bytes that came; none where it closed at once.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let both = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // Who refuses early may close before everything is sent, and reset what was not read.
        let _ = stream.write_all(request).await;
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut piece).await {
            answer.extend_from_slice(&piece[..count]);
        }
    };
    assert!(tokio::time::timeout(PATIENCE, both).await.is_ok(), "no end of an answer to {request:?}");
    answer
}

/// The status of the first answer in `bytes`.
pub(crate) fn status(bytes: &[u8]) -> Option<u16> {
    let line = bytes.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(line).ok()?.parse().ok()
}
