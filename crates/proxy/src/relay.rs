//! The task that owns a call: it sends it, passes the answer on as it comes, reads along, and writes down what
//! the call cost. The client only holds the far end of a bounded channel, so a client that leaves takes nothing
//! with it.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use ledger::NewCall;
use openrouter::{AnswerReader, UpstreamError};
use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::books::{Books, End};
use crate::refusal::Refusal;
use crate::{CALL_TIMEOUT, HEAD_TIMEOUT, Road, SILENCE_TIMEOUT, UNREAD_TIMEOUT, headers};

/// Pieces of an answer that wait for the client.
const WAITING_PIECES: usize = 16;

/// Most of an answer that is held back while its generation id is not known. An answer without one that is
/// longer passes on; its call becomes an orphan unless its end tells the cost.
const HELD_BYTES: usize = 16 * 1024 * 1024;

/// Longest error body that is passed on.
const LONGEST_ERROR_BYTES: usize = 1024 * 1024;

/// What a client gets of an answer.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: mpsc::Receiver<std::io::Result<Bytes>>,
}

/// A call on its way.
pub(crate) struct Relay {
    pub(crate) road: Arc<Road>,
    pub(crate) call: NewCall,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) body_memory: Option<OwnedSemaphorePermit>,
    pub(crate) key: SecretString,
    pub(crate) to_client: oneshot::Sender<Result<Head, Refusal>>,
    pub(crate) in_flight: OwnedSemaphorePermit,
}

/// The upstream's answer, read piece by piece.
struct Answer {
    response: reqwest::Response,
    reader: AnswerReader,
    deadline: Instant,
}

/// The near end of the client's body; `None` once the client has left.
struct ToClient(Option<mpsc::Sender<std::io::Result<Bytes>>>);

impl Relay {
    /// The whole call.
    pub(crate) async fn run(self) {
        let Self { road, call, headers, body, body_memory, key, to_client, in_flight } = self;
        let endpoint = call.endpoint;
        let books = match Books::admit(road.clone(), call).await {
            Ok(books) => books,
            Err(error) => {
                // Nobody listening: the client left before anything was sent.
                let _ = to_client.send(Err(Refusal::NotRecorded(error)));
                return;
            }
        };
        let sent = timeout(HEAD_TIMEOUT, road.options.upstream.post(endpoint, headers, body, &key));
        let head = tokio::select! {
            head = sent => Some(head),
            () = road.options.give_up.cancelled() => None,
        };
        drop(body_memory);
        match head {
            Some(Ok(Ok(response))) if response.status().is_success() => {
                relay(books, response, to_client).await;
            }
            Some(Ok(Ok(response))) => pass_error_on(books, response, to_client).await,
            Some(Ok(Err(error))) => without_head(books, error, to_client).await,
            Some(Err(_)) => no_head(books, "no-head", Refusal::NoHead, to_client).await,
            None => no_head(books, "stopped", Refusal::Stopping, to_client).await,
        }
        drop(in_flight);
    }
}

async fn without_head(books: Books, error: UpstreamError, to_client: oneshot::Sender<Result<Head, Refusal>>) {
    match error {
        UpstreamError::Unreachable(_) => {
            books.void("unreachable", error.to_string(), None).await;
            let _ = to_client.send(Err(Refusal::Unreachable(error)));
        }
        UpstreamError::Broken(_) => {
            books.orphan("no-head", error.to_string(), None).await;
            let _ = to_client.send(Err(Refusal::Broken(error)));
        }
    }
}

async fn no_head(
    books: Books,
    outcome: &'static str,
    refusal: Refusal,
    to_client: oneshot::Sender<Result<Head, Refusal>>,
) {
    books.orphan(outcome, "it was sent and no answer began".to_owned(), None).await;
    let _ = to_client.send(Err(refusal));
}

/// Passes an error of the upstream on. A generation id on it is no proof of a charge, nor of none: `/generation`
/// is asked.
async fn pass_error_on(
    books: Books,
    mut response: reqwest::Response,
    to_client: oneshot::Sender<Result<Head, Refusal>>,
) {
    let status = response.status();
    let passed = headers::to_client(response.headers());
    let body = read_error(&mut response).await;
    match generation_header(&response) {
        Some(generation_id) => {
            let mut books = books;
            books.know_generation(generation_id, status).await;
            books.leave_open("http-error", None).await;
        }
        None if status.is_server_error() => {
            books
                .orphan("http-error", format!("HTTP status {status} without a generation id"), Some(status))
                .await;
        }
        None => books.void("http-error", format!("refused with HTTP status {status}"), Some(status)).await,
    }
    let kind = passed.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_page = kind.is_empty() || kind.starts_with("text/html");
    let answer = if is_page || status.is_redirection() {
        Err(Refusal::NotAnApiAnswer(status))
    } else {
        let (sender, receiver) = mpsc::channel(1);
        // The channel is new and has room for one.
        let _ = sender.try_send(Ok(body));
        Ok(Head { status, headers: passed, body: receiver })
    };
    let _ = to_client.send(answer);
}

/// The body of an error, as far as it comes.
async fn read_error(response: &mut reqwest::Response) -> Bytes {
    let mut body = Vec::new();
    while let Ok(Ok(Some(piece))) = timeout(SILENCE_TIMEOUT, response.chunk()).await {
        if body.len() + piece.len() > LONGEST_ERROR_BYTES {
            break;
        }
        body.extend_from_slice(&piece);
    }
    body.into()
}

fn generation_header(response: &reqwest::Response) -> Option<String> {
    let id = response.headers().get("x-generation-id")?.to_str().ok()?.trim();
    (!id.is_empty() && id.len() <= 128).then(|| id.to_owned())
}

/// Passes a 2xx answer on and settles the call.
async fn relay(
    mut books: Books,
    response: reqwest::Response,
    to_client: oneshot::Sender<Result<Head, Refusal>>,
) {
    let (status, passed) = (response.status(), headers::to_client(response.headers()));
    let in_header = generation_header(&response);
    let mut answer = Answer::new(response);
    let (mut held, mut end) = (Vec::new(), None);
    if in_header.is_none() {
        end = answer.hold_until_id_known(&mut held, &books).await;
    }
    let generation_id = in_header.or_else(|| answer.reader.told().generation_id.clone());
    if let Some(generation_id) = generation_id
        && !books.know_generation_in_time(&generation_id, status).await
    {
        let _ = to_client.send(Err(Refusal::AnswerNotRecorded));
        drop(answer);
        books.know_generation(generation_id, status).await;
        books.leave_open("not-recorded", None).await;
        return;
    }
    let mut client = match end {
        Some(End::UpstreamCut) => {
            let error = UpstreamError::Broken("it was cut".to_owned());
            let _ = to_client.send(Err(Refusal::Broken(error)));
            ToClient(None)
        }
        _ => ToClient::begin(to_client, status, passed),
    };
    for piece in held {
        client.pass(piece).await;
    }
    let end = match end {
        Some(end) => end,
        None => answer.pass_on(&mut client, &books).await,
    };
    if end == End::Complete {
        client.finish();
    } else {
        client.break_off().await;
    }
    answer.reader.finish();
    let told = answer.reader.told().clone();
    drop(answer);
    books.close(end, told, status).await;
}

impl Answer {
    fn new(response: reqwest::Response) -> Self {
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let reader = AnswerReader::new(content_type);
        Self { reader, response, deadline: Instant::now() + CALL_TIMEOUT }
    }

    /// Reads into `held` until the generation id is known; answers the end if that comes first.
    async fn hold_until_id_known(&mut self, held: &mut Vec<Bytes>, books: &Books) -> Option<End> {
        let mut bytes = 0;
        while self.reader.told().generation_id.is_none() && self.reader.may_tell_id() && bytes <= HELD_BYTES {
            match self.next(books).await {
                Ok(piece) => {
                    bytes += piece.len();
                    held.push(piece);
                }
                Err(end) => {
                    self.reader.finish();
                    return Some(end);
                }
            }
        }
        None
    }

    /// Passes piece after piece on. A client that leaves a stream ends it, because that stops the bill; one that
    /// leaves a plain answer does not, because that is billed in full anyway.
    async fn pass_on(&mut self, client: &mut ToClient, books: &Books) -> End {
        loop {
            let next = if self.reader.is_stream() {
                tokio::select! {
                    next = self.next(books) => next,
                    () = client.left() => return End::ClientLeft,
                }
            } else {
                self.next(books).await
            };
            match next {
                Ok(piece) => client.pass(piece).await,
                Err(end) => return end,
            }
        }
    }

    /// The next piece, read along; or how the answer ended.
    async fn next(&mut self, books: &Books) -> Result<Bytes, End> {
        let silent_at = Instant::now() + SILENCE_TIMEOUT;
        let next = tokio::select! {
            next = timeout_at(silent_at.min(self.deadline), self.response.chunk()) => next,
            () = books.given_up() => return Err(End::GivenUp),
        };
        match next {
            Ok(Ok(Some(piece))) => {
                self.reader.feed(&piece);
                Ok(piece)
            }
            Ok(Ok(None)) => Err(End::Complete),
            Ok(Err(_)) => Err(End::UpstreamCut),
            Err(_) if Instant::now() >= self.deadline => Err(End::TooLong),
            Err(_) => Err(End::Silent),
        }
    }
}

impl ToClient {
    fn begin(
        to_client: oneshot::Sender<Result<Head, Refusal>>,
        status: StatusCode,
        headers: HeaderMap,
    ) -> Self {
        let (sender, body) = mpsc::channel(WAITING_PIECES);
        let there = to_client.send(Ok(Head { status, headers, body })).is_ok();
        Self(there.then_some(sender))
    }

    /// Passes a piece on, unless the client has left or does not read.
    async fn pass(&mut self, piece: Bytes) {
        if let Some(sender) = &self.0
            && sender.send_timeout(Ok(piece), UNREAD_TIMEOUT).await.is_err()
        {
            self.0 = None;
        }
    }

    /// Resolves when the client has left.
    async fn left(&self) {
        if let Some(sender) = &self.0 {
            sender.closed().await;
        }
    }

    /// A whole answer: the client sees a clean end.
    fn finish(&mut self) {
        self.0 = None;
    }

    /// A broken answer: the client must not take it for a whole one.
    async fn break_off(&mut self) {
        if let Some(sender) = self.0.take() {
            let broken = std::io::Error::other("the answer broke off upstream");
            let _ = sender.send_timeout(Err(broken), UNREAD_TIMEOUT).await;
        }
    }
}
