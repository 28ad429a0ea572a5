//! Row 19: requests that two readers read differently.
//!
//! Every honest body is told apart by its hash: what arrives upstream must be one of them, edited as promised, and none
//! twice. Bytes that no strict reading takes for a request carry a request of their own, with a valid token and the model
//! [`SMUGGLED`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::callers::{MODEL, Seen};
use crate::checker::{check, external_user, wait_settled};
use crate::dice::Dice;
use crate::secrets::{PROMPT, TOKEN};
use crate::sidecar::Setup;
use crate::trial::{Outcome, Trial};

/// The model of requests that must not be seen as requests.
const SMUGGLED: &str = "smuggled/model";

const USER: &str = "anna";

/// How long the answers of an exchange may take; only an end to the waiting.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long a connection stays open after the answers that it must give.
const QUIET: Duration = Duration::from_millis(500);

/// Between two pieces of a request that is sent in pieces.
const BETWEEN_PIECES: Duration = Duration::from_millis(5);

/// Exchanges at once.
const AT_ONCE: usize = 16;

/// Spellings of `Transfer-Encoding: chunked` that readers have disagreed about. A strict one refuses the request or
/// takes it for chunked.
const CHUNKED: [&str; 27] = [
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "TRANSFER-ENCODING: CHUNKED",
    "Transfer-Encoding:\tchunked",
    "Transfer-Encoding:  chunked  ",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunk",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: chunked\u{b}",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding:\u{a0}chunked",
    "Transfer-Encoding: chu\r\n nked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    " Transfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\rTransfer-Encoding: chunked",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
];

/// Lengths that are no plain number, `N` being the right one.
const LENGTHS: [&str; 14] = [
    "-N",
    "+N",
    "0xN",
    "N, N",
    "N,",
    "N N",
    "N.0",
    "Ne0",
    "\"N\"",
    "",
    "N\r\nContent-Length: 0",
    "0\r\nContent-Length: N",
    "18446744073709551616",
    "99999999999999999999999999999999",
];

/// Lines that may not stand in a head.
const BAD_LINES: [&str; 9] = [
    "X : y",
    " X: y",
    "X\t: y",
    "X: y\r\n z",
    "X: y\rZ: z",
    "X: y\0",
    ": y",
    "no colon at all",
    "X\u{e9}: y",
];

/// Beginnings of a chunk that are no size, and sizes that are too large.
const BAD_SIZES: [&str; 10] =
    ["-1", "+5", "0x5", "g", "", " 5", "5 5", "ffffffffffffffffff", "7fffffffffffffff", "\r"];

/// What is written on one connection, and what may become of it.
struct Exchange {
    name: String,
    pieces: Vec<Vec<u8>>,
    /// The honest bodies, in order; each may arrive once.
    bodies: Vec<String>,
    promise: Promise,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Promise {
    /// Every body arrives, and is answered in order.
    All,
    /// A body may be refused; that is as good.
    AtMost,
    /// No body may arrive.
    None,
}

/// One answer on a connection.
#[derive(Debug)]
struct Answer {
    status: u16,
    generation_id: Option<String>,
    body: String,
    whole: bool,
}

/// Makes bodies that differ.
struct Maker {
    made: usize,
    dice: Dice,
}

impl Maker {
    /// A question that no other is like.
    fn body(&mut self) -> String {
        self.made += 1;
        let mark = mark(self.made);
        let question = json!([{ "role": "user", "content": format!("{PROMPT} {mark}") }]);
        json!({ "model": MODEL, "sim": { "content": mark }, "messages": question }).to_string()
    }
}

/// What the answer to a body says.
fn mark(number: usize) -> String {
    format!("mark-{number:06}-")
}

/// A request with these lines between the usual head and the body.
fn request(lines: &str, body: &[u8]) -> Vec<u8> {
    let lines = if lines.is_empty() { String::new() } else { format!("{lines}\r\n") };
    with_start("POST /v1/chat/completions HTTP/1.1", &lines, body)
}

fn with_start(start: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "{start}\r\nHost: sidecar\r\nAuthorization: Bearer {TOKEN}\r\nX-OpenWebUI-User-Id: {USER}\r\n\
         Content-Type: application/json\r\n{lines}\r\n"
    );
    [head.as_bytes(), body].concat()
}

fn with_length(body: &str) -> Vec<u8> {
    request(&format!("Content-Length: {}", body.len()), body.as_bytes())
}

/// `body` in chunks of at most `size` bytes.
fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut coded = Vec::new();
    for chunk in body.chunks(size) {
        coded.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        coded.extend_from_slice(chunk);
        coded.extend_from_slice(b"\r\n");
    }
    coded.extend_from_slice(b"0\r\n\r\n");
    coded
}

/// A request in order that must never be taken for one.
fn smuggled() -> Vec<u8> {
    let body = json!({ "model": SMUGGLED, "messages": [{ "role": "user", "content": "x" }] }).to_string();
    with_length(&body)
}

/// Every named case.
fn named(maker: &mut Maker) -> Vec<Exchange> {
    let mut cases = two_lengths(maker);
    cases.extend(bad_heads(maker));
    cases.extend(chunks(maker));
    cases.extend(pipelines(maker));
    cases.extend(versions_and_upgrades(maker));
    cases.extend(inside_bodies(maker));
    cases
}

fn exchange(name: impl Into<String>, bytes: Vec<u8>, bodies: Vec<String>, promise: Promise) -> Exchange {
    Exchange { name: name.into(), pieces: vec![bytes], bodies, promise }
}

/// CL.TE, TE.CL, TE.TE, and lengths that contradict one another.
fn two_lengths(maker: &mut Maker) -> Vec<Exchange> {
    let mut cases = Vec::new();
    for spelling in CHUNKED {
        cases.push(length_covers_more(maker, spelling));
        cases.push(length_covers_less(spelling));
        let body = maker.body();
        let coded = in_chunks(body.as_bytes(), 40);
        let bytes = request(spelling, &[coded.as_slice(), b"GARBAGE\r\n\r\n"].concat());
        cases.push(exchange(format!("alone: {spelling:?}"), bytes, vec![body], Promise::AtMost));
    }
    // No transfer coding by its name: a proxy in front that maps names must not matter here.
    let body = maker.body();
    let bytes =
        request(&format!("Transfer_Encoding: chunked\r\nContent-Length: {}", body.len()), body.as_bytes());
    cases.push(exchange("underscore", bytes, vec![body], Promise::All));
    for length in LENGTHS {
        let body = maker.body();
        let value = length.replace('N', &body.len().to_string());
        let bytes = request(&format!("Content-Length: {value}"), &[body.as_bytes(), &smuggled()].concat());
        cases.push(exchange(format!("length {length:?}"), bytes, vec![body], Promise::None));
    }
    for lines in [
        "Content-Length: N\r\nContent-Length: N",
        "Content-Length:N",
        "Content-Length: \t N \t",
        "Content-Length: 000N",
    ] {
        let body = maker.body();
        let bytes = request(&lines.replace('N', &body.len().to_string()), body.as_bytes());
        cases.push(exchange(format!("{lines:?}"), bytes, vec![body], Promise::AtMost));
    }
    cases
}

/// CL.TE: who believes the length sees one body, who believes the chunks a second request.
fn length_covers_more(maker: &mut Maker, spelling: &str) -> Exchange {
    let body = maker.body();
    let coded = [in_chunks(body.as_bytes(), 64), smuggled()].concat();
    let length = format!("Content-Length: {}", coded.len());
    let first = maker.dice.roll(2) == 0;
    let lines =
        if first { format!("{length}\r\n{spelling}") } else { format!("X: x\r\n{spelling}\r\n{length}") };
    exchange(format!("CL.TE {lines:?}"), request(&lines, &coded), vec![body], Promise::AtMost)
}

/// TE.CL: who believes the length sees a second request where a chunk is.
fn length_covers_less(spelling: &str) -> Exchange {
    let inner = smuggled();
    let coded = in_chunks(&inner, inner.len());
    let size_line = format!("{:x}\r\n", inner.len());
    let lines = format!("Content-Length: {}\r\n{spelling}", size_line.len());
    exchange(format!("TE.CL {lines:?}"), request(&lines, &coded), Vec::new(), Promise::None)
}

fn bad_heads(maker: &mut Maker) -> Vec<Exchange> {
    let mut cases = Vec::new();
    for line in BAD_LINES {
        let body = maker.body();
        let bytes = request(&format!("{line}\r\nContent-Length: {}", body.len()), body.as_bytes());
        cases.push(exchange(
            format!("line {line:?}"),
            [bytes, smuggled()].concat(),
            vec![body],
            Promise::None,
        ));
    }
    let body = maker.body();
    let bytes = String::from_utf8(with_length(&body)).unwrap().replace("\r\n", "\n").into_bytes();
    cases.push(exchange("bare LF", bytes, vec![body], Promise::AtMost));
    let body = maker.body();
    let bytes = String::from_utf8(with_length(&body)).unwrap().replace("\r\n", "\r").into_bytes();
    cases.push(exchange("bare CR", [bytes, smuggled()].concat(), vec![body], Promise::None));
    let body = maker.body();
    let bytes = [b"\r\n\r\n".to_vec(), with_length(&body)].concat();
    cases.push(exchange("blank lines before", bytes, vec![body], Promise::AtMost));
    for start in [
        "POST  /v1/chat/completions HTTP/1.1",
        "POST /v1/chat/completions  HTTP/1.1",
        "POST\t/v1/chat/completions\tHTTP/1.1",
        "POST /v1/chat/completions HTTP/1.1 HTTP/1.1",
        "POST /v1/chat/completions HTTP/1.2",
        "POST /v1/chat/completions HTTP/01.1",
        "POST /v1/chat/completions http/1.1",
        "post /v1/chat/completions HTTP/1.1",
        " POST /v1/chat/completions HTTP/1.1",
        "POST /v1/chat/completions#x HTTP/1.1",
        "PO ST /v1/chat/completions HTTP/1.1",
    ] {
        let body = maker.body();
        let bytes = with_start(start, &format!("Content-Length: {}\r\n", body.len()), body.as_bytes());
        // A fragment is no part of a target; dropping it is the reading of many.
        let promise = if start.contains('#') { Promise::AtMost } else { Promise::None };
        cases.push(exchange(format!("start {start:?}"), bytes, vec![body], promise));
    }
    cases
}

fn chunks(maker: &mut Maker) -> Vec<Exchange> {
    const LINE: &str = "Transfer-Encoding: chunked";
    let mut cases = Vec::new();
    let mut chunked = |name: &str, promise: Promise, code: &dyn Fn(&str) -> Vec<u8>| {
        let body = maker.body();
        cases.push(exchange(name, request(LINE, &code(&body)), vec![body], promise));
    };
    for size in [1, 7, 4096] {
        chunked(&format!("chunks of {size}"), Promise::All, &|body| in_chunks(body.as_bytes(), size));
    }
    let one = |size_line: &str, body: &str, end: &str| format!("{size_line}\r\n{body}\r\n{end}").into_bytes();
    chunked("extension", Promise::All, &|body| {
        one(&format!("{:x};a=b;c=\"d\"", body.len()), body, "0\r\n\r\n")
    });
    chunked("upper case and zeros", Promise::All, &|body| {
        one(&format!("000{:X}", body.len()), body, "0\r\n\r\n")
    });
    chunked("trailers", Promise::All, &|body| {
        let trailers =
            "0\r\nX-OpenWebUI-User-Id: eve\r\nAuthorization: Bearer other\r\nContent-Length: 5\r\n\r\n";
        one(&format!("{:x}", body.len()), body, trailers)
    });
    chunked("request in an extension", Promise::AtMost, &|body| {
        let inner = String::from_utf8(smuggled()).unwrap();
        one(&format!("{:x};a={inner}", body.len()), body, "0\r\n\r\n")
    });
    chunked("bare LF in an extension", Promise::AtMost, &|body| {
        let inner = String::from_utf8(smuggled()).unwrap();
        one(&format!("{:x};\n{inner}", body.len()), body, "0\r\n\r\n")
    });
    chunked("long extension", Promise::AtMost, &|body| {
        one(&format!("{:x};{}", body.len(), "e".repeat(64 * 1024)), body, "0\r\n\r\n")
    });
    chunked("long trailers", Promise::AtMost, &|body| {
        let trailers = "T: t\r\n".repeat(50_000);
        one(&format!("{:x}", body.len()), body, &format!("0\r\n{trailers}\r\n"))
    });
    chunked("no end", Promise::None, &|body| one(&format!("{:x}", body.len()), body, ""));
    chunked("chunk longer than told", Promise::None, &|body| {
        one(&format!("{:x}", body.len() - 1), body, "0\r\n\r\n")
    });
    chunked("chunk shorter than told", Promise::None, &|body| {
        one(&format!("{:x}", body.len() + 9), body, "0\r\n\r\n")
    });
    chunked("bare LF", Promise::AtMost, &|body| format!("{:x}\n{body}\n0\n\n", body.len()).into_bytes());
    for size in BAD_SIZES {
        chunked(&format!("size {size:?}"), Promise::None, &|body| {
            [one(size, body, "0\r\n\r\n"), smuggled()].concat()
        });
    }
    cases
}

fn pipelines(maker: &mut Maker) -> Vec<Exchange> {
    let mut cases = Vec::new();
    for count in [2, 3, 8, 20] {
        let bodies: Vec<String> = (0..count).map(|_| maker.body()).collect();
        let coded = |(number, body): (usize, &String)| match number % 2 {
            0 => with_length(body),
            _ => request("Transfer-Encoding: chunked", &in_chunks(body.as_bytes(), 50)),
        };
        let bytes = bodies.iter().enumerate().map(coded).collect::<Vec<_>>().concat();
        cases.push(exchange(format!("pipeline of {count}"), bytes, bodies, Promise::All));
    }
    // A list with a body of its own, before and after: the body of a GET is no request.
    let body = maker.body();
    let hidden = smuggled();
    let list =
        with_start("GET /v1/models HTTP/1.1", &format!("Content-Length: {}\r\n", hidden.len()), &hidden);
    cases.push(exchange(
        "request as a list's body",
        [list, with_length(&body)].concat(),
        vec![body],
        Promise::AtMost,
    ));
    // What is refused is read away whole.
    for start in ["POST /v1/keys HTTP/1.1", "PUT /v1/chat/completions HTTP/1.1", "GET / HTTP/1.1"] {
        let body = maker.body();
        let refused = with_start(start, &format!("Content-Length: {}\r\n", hidden.len()), &hidden);
        let bytes = [refused, with_length(&body)].concat();
        cases.push(exchange(format!("after a refusal of {start:?}"), bytes, vec![body], Promise::AtMost));
    }
    let refused = with_start(
        "POST /v1/keys HTTP/1.1",
        &format!("Expect: 100-continue\r\nContent-Length: {}\r\n", hidden.len()),
        &hidden,
    );
    cases.push(exchange("refused, but sent all the same", refused, Vec::new(), Promise::None));
    let body = maker.body();
    let closing = request(&format!("Connection: close\r\nContent-Length: {}", body.len()), body.as_bytes());
    cases.push(exchange("after a close", [closing, smuggled()].concat(), vec![body], Promise::All));
    cases
}

fn versions_and_upgrades(maker: &mut Maker) -> Vec<Exchange> {
    const H2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut cases = Vec::new();
    let mut one = |name: &str, promise: Promise, make: &dyn Fn(&str) -> Vec<u8>| {
        let body = maker.body();
        cases.push(exchange(name, make(&body), vec![body], promise));
    };
    let started = |start: &str, body: &str| {
        with_start(start, &format!("Content-Length: {}\r\n", body.len()), body.as_bytes())
    };
    let lined = |line: &str, body: &str| {
        request(&format!("{line}\r\nContent-Length: {}", body.len()), body.as_bytes())
    };
    one("HTTP/2 preface", Promise::None, &|body| [H2.to_vec(), with_length(body)].concat());
    one("h2c", Promise::All, &|body| {
        let line = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__";
        [lined(line, body)].concat()
    });
    one("preface after h2c", Promise::AtMost, &|body| {
        [lined("Connection: Upgrade\r\nUpgrade: h2c", body), H2.to_vec(), smuggled()].concat()
    });
    one("websocket", Promise::AtMost, &|body| lined("Connection: Upgrade\r\nUpgrade: websocket", body));
    one("HTTP/1.0", Promise::All, &|body| started("POST /v1/chat/completions HTTP/1.0", body));
    one("HTTP/1.0 is one request", Promise::All, &|body| {
        [started("POST /v1/chat/completions HTTP/1.0", body), smuggled()].concat()
    });
    one("chunks in HTTP/1.0", Promise::None, &|body| {
        let coded = in_chunks(body.as_bytes(), 30);
        with_start("POST /v1/chat/completions HTTP/1.0", "Transfer-Encoding: chunked\r\n", &coded)
    });
    one("HTTP/0.9", Promise::None, &|body| format!("POST /v1/chat/completions\r\n\r\n{body}").into_bytes());
    one("expect", Promise::All, &|body| lined("Expect: 100-continue", body));
    one("expect in capitals", Promise::All, &|body| lined("Expect: 100-CONTINUE", body));
    one("expect something else", Promise::AtMost, &|body| lined("Expect: 200-maybe", body));
    one("absolute form", Promise::All, &|body| {
        started("POST http://sidecar/v1/chat/completions HTTP/1.1", body)
    });
    one("absolute form of another", Promise::AtMost, &|body| {
        started("POST http://openrouter.example/api/v1/chat/completions HTTP/1.1", body)
    });
    one("authority form", Promise::None, &|body| started("CONNECT openrouter.example:443 HTTP/1.1", body));
    one("asterisk form", Promise::None, &|body| started("POST * HTTP/1.1", body));
    one("two hosts", Promise::AtMost, &|body| lined("Host: other", body));
    one("no length", Promise::None, &|body| request("X: y", body.as_bytes()));
    cases
}

/// Requests inside the text of a body, which arrives as it is.
fn inside_bodies(maker: &mut Maker) -> Vec<Exchange> {
    let inner = String::from_utf8(smuggled()).unwrap();
    let mut cases = Vec::new();
    let mut told = maker.body();
    told.truncate(told.len() - 1);
    told.push_str(&format!(",\"note\":{}}}", json!(inner)));
    cases.push(exchange("request in a string", with_length(&told), vec![told], Promise::All));
    // Between two members only blanks may stand: the raw request makes the body no JSON.
    let body = maker.body();
    let raw = body.replacen(',', &format!(",{inner},"), 1);
    cases.push(exchange("request between members", with_length(&raw), vec![body], Promise::None));
    let body = maker.body();
    cases.push(exchange(
        "request after the object",
        with_length(&format!("{body}{inner}")),
        vec![body],
        Promise::None,
    ));
    cases
}

/// A few faults thrown together. The request is in order, or two lengths contradict one another; what is hidden stands
/// only where no strict reading finds a request.
fn at_random(maker: &mut Maker) -> Exchange {
    let body = maker.body();
    let mut lines = Vec::new();
    let coded = match maker.dice.roll(4) {
        0 => {
            lines.push(format!("Content-Length: {}", body.len()));
            body.clone().into_bytes()
        }
        1 => {
            lines.push((*maker.dice.pick(&CHUNKED)).to_owned());
            random_chunks(maker, &body)
        }
        2 => {
            let coded = [random_chunks(maker, &body), smuggled()].concat();
            lines.push(format!("Content-Length: {}", coded.len()));
            lines.push((*maker.dice.pick(&CHUNKED)).to_owned());
            coded
        }
        _ => {
            let length = *maker.dice.pick(&LENGTHS);
            lines.push(format!("Content-Length: {}", length.replace('N', &body.len().to_string())));
            if maker.dice.roll(2) == 0 {
                lines.push((*maker.dice.pick(&CHUNKED)).to_owned());
            }
            [in_chunks(body.as_bytes(), 33), smuggled()].concat()
        }
    };
    for _ in 0..maker.dice.roll(3) {
        let harmless = [
            "X: y",
            "Expect: 100-continue",
            "Connection: close",
            "Connection: keep-alive",
            "Upgrade: h2c",
            "TE: trailers",
        ];
        let line =
            if maker.dice.roll(3) == 0 { *maker.dice.pick(&BAD_LINES) } else { *maker.dice.pick(&harmless) };
        let at = usize::try_from(maker.dice.roll(u64::try_from(lines.len()).unwrap() + 1)).unwrap();
        lines.insert(at, line.to_owned());
    }
    let mut bytes = request(&lines.join("\r\n"), &coded);
    if maker.dice.roll(4) == 0 {
        bytes = [with_start("GET /v1/models HTTP/1.1", "", b""), bytes].concat();
    }
    let pieces = in_pieces(&mut maker.dice, bytes);
    Exchange { name: format!("{lines:?}"), pieces, bodies: vec![body], promise: Promise::AtMost }
}

fn random_chunks(maker: &mut Maker, body: &str) -> Vec<u8> {
    let size = usize::try_from(1 + maker.dice.roll(200)).unwrap();
    let mut coded = in_chunks(body.as_bytes(), size);
    if maker.dice.roll(3) == 0 {
        let at = usize::try_from(maker.dice.roll(u64::try_from(coded.len()).unwrap())).unwrap();
        let fault = *maker.dice.pick(&["\r", "\n", "\0", " ", ";", "0", "\r\n", "-", "f"]);
        coded.splice(at..at, fault.bytes());
    }
    coded
}

fn in_pieces(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    for _ in 0..dice.roll(4) {
        let at = usize::try_from(dice.roll(u64::try_from(bytes.len()).unwrap())).unwrap();
        let rest = bytes.split_off(at);
        pieces.push(std::mem::replace(&mut bytes, rest));
    }
    pieces.push(bytes);
    pieces
}

/// Writes an exchange and listens until it is answered.
async fn run(proxy: SocketAddr, exchange: Exchange) -> (Exchange, Vec<Answer>) {
    let mut connection = TcpStream::connect(proxy).await.unwrap();
    connection.set_nodelay(true).unwrap();
    for (number, piece) in exchange.pieces.iter().enumerate() {
        if number > 0 {
            tokio::time::sleep(BETWEEN_PIECES).await;
        }
        if connection.write_all(piece).await.is_err() {
            break;
        }
    }
    let wanted = if exchange.promise == Promise::All { exchange.bodies.len() } else { 0 };
    let mut received = Vec::new();
    loop {
        let answers = answers(&received);
        // One answer more than wanted is what this listens for.
        let patience = if answers.len() < wanted { PATIENCE } else { QUIET };
        let read = timeout_at(Instant::now() + patience, connection.read_buf(&mut received)).await;
        if !matches!(read, Ok(Ok(1..))) {
            return (exchange, answers);
        }
    }
}

/// The final answers in what was received.
fn answers(mut received: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    while let Some(end) = memchr::memmem::find(received, b"\r\n\r\n") {
        let (head, rest) = received.split_at(end + 4);
        let head = String::from_utf8_lossy(head);
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        received = rest;
        if status < 200 {
            continue;
        }
        // The sidecar writes names in lower case.
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let length = match header("content-length:") {
            Some(length) => Some(length.parse().unwrap()),
            None if header("transfer-encoding:") == Some("chunked") => {
                memchr::memmem::find(rest, b"\r\n0\r\n\r\n").map(|end| end + 7)
            }
            None => None,
        };
        let whole = length.is_some_and(|length| rest.len() >= length);
        let (body, rest) = rest.split_at(length.unwrap_or(rest.len()).min(rest.len()));
        received = rest;
        let generation_id = header("x-generation-id:").map(str::to_owned);
        answers.push(Answer {
            status,
            generation_id,
            body: String::from_utf8_lossy(body).into_owned(),
            whole,
        });
    }
    answers
}

/// SHA-256 of `body` as it must arrive: with our `user` as its first member, and else byte for byte.
fn sha_upstream(body: &str) -> String {
    let edited = format!("{{\"user\":\"{}\",{}", external_user(USER), &body[1..]);
    Sha256::digest(edited.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The answers of a pipeline come in the order of its requests.
fn in_order(exchange: &Exchange, answers: &[Answer]) {
    let marks: Vec<&str> =
        exchange.bodies.iter().map(|body| &body[body.find("mark-").unwrap()..][..mark(0).len()]).collect();
    let good: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    if exchange.promise == Promise::All {
        assert_eq!(good.len(), marks.len(), "{}: {answers:?}", exchange.name);
        for (mark, answer) in marks.iter().zip(good) {
            assert!(answer.body.contains(mark), "{}: {mark} in {answer:?}", exchange.name);
        }
    }
}

/// Row 19.
pub(crate) async fn requests(trial: Trial) -> Outcome {
    let mut maker = Maker { made: 0, dice: trial.dice() };
    let mut exchanges = named(&mut maker);
    let cases = exchanges.len();
    exchanges.extend((0..trial.depth(100, 2_000)).map(|_| at_random(&mut maker)));
    let all = exchanges.len();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "debug"));
    let sidecar = setup.start().await;
    let mut waiting = exchanges.into_iter();
    let mut running = JoinSet::new();
    let mut done = Vec::new();
    for exchange in waiting.by_ref().take(AT_ONCE) {
        running.spawn(run(sidecar.proxy, exchange));
    }
    while let Some(ended) = running.join_next().await {
        done.push(ended.unwrap());
        if let Some(exchange) = waiting.next() {
            running.spawn(run(sidecar.proxy, exchange));
        }
    }
    assert_eq!(done.len(), all);
    let smuggled = simulator.requests().into_iter().find(|seen| seen.model.as_deref() == Some(SMUGGLED));
    assert_eq!(smuggled, None, "a smuggled request arrived");
    wait_settled(&setup.database).await;

    let mut arrived: HashMap<String, usize> = HashMap::new();
    let posts: Vec<_> = simulator.requests().into_iter().filter(|seen| seen.method == "POST").collect();
    for seen in &posts {
        assert_eq!(seen.path, "/api/v1/chat/completions");
        *arrived.entry(seen.body_sha256.clone()).or_default() += 1;
    }
    let (mut refused, mut seen) = (0, Vec::new());
    for (exchange, answers) in &done {
        in_order(exchange, answers);
        let mut count = 0;
        for body in &exchange.bodies {
            let times = arrived.remove(&sha_upstream(body)).unwrap_or(0);
            assert!(times <= 1, "{}: one request arrived {times} times", exchange.name);
            count += times;
        }
        match exchange.promise {
            Promise::All => assert_eq!(count, exchange.bodies.len(), "{}", exchange.name),
            Promise::None => assert_eq!(count, 0, "{}: {answers:?}", exchange.name),
            Promise::AtMost => {}
        }
        refused += usize::from(count == 0);
        let heads = answers.iter().map(|answer| Seen {
            user_id: USER.to_owned(),
            status: answer.status,
            generation_id: answer.generation_id.clone(),
            body: Vec::new(),
            whole: answer.whole,
        });
        seen.extend(heads);
    }
    assert!(arrived.is_empty(), "bodies arrived that nobody sent: {arrived:?}");
    assert!(refused > cases / 4 && posts.len() > cases / 4, "{refused} refused, {} sent", posts.len());
    assert_eq!(sidecar.health().await, Some(200));
    let counts = check(&setup.database, &simulator.truth(), &seen).await;
    Outcome::Counts(format!(
        "{cases} named and {} random exchanges, {} requests upstream, {refused} exchanges refused, 0 smuggled, {counts}",
        all - cases,
        posts.len()
    ))
}
