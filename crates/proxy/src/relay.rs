//! The task that owns a call: it sends it, passes the answer on as it comes, reads along, and writes down what
//! the call cost. The client only holds the far end of a bounded channel, so a client that leaves takes nothing
//! with it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use ledger::NewCall;
use openrouter::{AnswerReader, Pieces, UpstreamError};
use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::books::{Books, End};
use crate::client::{Head, ToClient, refuse};
use crate::memory::{AnswerShare, Share};
use crate::refusal::Refusal;
use crate::{CALL_TIMEOUT, HEAD_TIMEOUT, Road, SILENCE_TIMEOUT, headers};

/// Most of an answer that is held back while its generation id is not known. An answer without one that is
/// longer passes on; its call becomes an orphan unless its end tells the cost.
const HELD_BYTES: usize = 16 * 1024 * 1024;

/// Longest error body that is passed on.
const LONGEST_ERROR_BYTES: usize = 1024 * 1024;

/// How long the whole body of an error may take.
const ERROR_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest generation id that is believed.
const LONGEST_ID: usize = 128;

/// A call on its way.
pub(crate) struct Relay {
    pub(crate) road: Arc<Road>,
    pub(crate) call: NewCall,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Pieces,
    pub(crate) body_memory: Share,
    pub(crate) key: SecretString,
    pub(crate) to_client: oneshot::Sender<Result<Head, Refusal>>,
    pub(crate) in_flight: OwnedSemaphorePermit,
}

/// The upstream's answer, read piece by piece.
struct Answer {
    response: reqwest::Response,
    reader: AnswerReader,
    /// What is kept of it: by the reader, and what is held back.
    memory: AnswerShare,
    deadline: Instant,
}

impl Relay {
    /// The whole call.
    pub(crate) async fn run(self) {
        let Self { road, call, headers, body, body_memory, key, to_client, in_flight } = self;
        let (endpoint, deadline) = (call.endpoint, Instant::now() + CALL_TIMEOUT);
        let books = match Books::admit(road.clone(), call, key.clone()).await {
            Ok(books) => books,
            Err(error) => return refuse(to_client, Refusal::NotRecorded(error)),
        };
        if to_client.is_closed() {
            return books.void("client-left", "the client left before it was sent".to_owned(), None).await;
        }
        let sent = timeout(HEAD_TIMEOUT, road.options.upstream.post(endpoint, headers, body, &key));
        let head = tokio::select! {
            head = sent => Some(head),
            () = books.given_up() => None,
        };
        drop(body_memory);
        match head {
            Some(Ok(Ok(response))) if response.status().is_success() => {
                let answer = Answer::new(response, road.memory.for_answer(), deadline);
                relay(books, answer, to_client).await;
            }
            Some(Ok(Ok(response))) => pass_error_on(books, response, to_client).await,
            Some(Ok(Err(error @ UpstreamError::Unreachable(_)))) => {
                let note = error.to_string();
                refuse(to_client, Refusal::Unreachable(error));
                books.void("unreachable", note, None).await;
            }
            Some(Ok(Err(error @ UpstreamError::Broken(_)))) => {
                no_head(books, error.to_string(), Refusal::Broken(error), to_client).await;
            }
            Some(Err(_)) => no_head(books, "no answer began".to_owned(), Refusal::NoHead, to_client).await,
            None => {
                no_head(books, "the program had to end".to_owned(), Refusal::Stopped, to_client).await;
            }
        }
        drop(in_flight);
    }
}

/// It was sent, and no head came. The client need not wait until that is written down.
async fn no_head(
    books: Books,
    note: String,
    refusal: Refusal,
    to_client: oneshot::Sender<Result<Head, Refusal>>,
) {
    refuse(to_client, refusal);
    books.orphan("no-head", note, None).await;
}

/// Passes an error of the upstream on. A generation id on it is no proof of a charge, nor of none: `/generation`
/// is asked.
async fn pass_error_on(
    mut books: Books,
    mut response: reqwest::Response,
    to_client: oneshot::Sender<Result<Head, Refusal>>,
) {
    let status = response.status();
    let generation_id = generation_header(&response);
    if let Some(generation_id) = &generation_id {
        books.know_generation_in_time(generation_id, status).await;
    }
    let passed = headers::to_client(response.headers());
    let (body, is_whole) = read_error(&mut response, &books).await;
    drop(response);
    let kind = passed.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_page = kind.is_empty() || kind.starts_with("text/html");
    if is_page || status.is_redirection() {
        refuse(to_client, Refusal::NotAnApiAnswer(status));
    } else {
        let mut client = ToClient::begin(to_client, status, passed);
        client.pass(body).await;
        if is_whole {
            client.finish();
        }
    }
    match generation_id {
        Some(generation_id) => {
            // Told twice it is written once; the first time may have been too slow.
            books.know_generation(generation_id, status).await;
            books.leave_open("http-error", None).await;
        }
        None if status.is_server_error() => {
            let note = format!("HTTP status {status} without a generation id");
            books.orphan("http-error", note, Some(status)).await;
        }
        None => books.void("http-error", format!("refused with HTTP status {status}"), Some(status)).await,
    }
}

/// The body of an error as far as it comes, and whether that is all of it.
async fn read_error(response: &mut reqwest::Response, books: &Books) -> (Bytes, bool) {
    let mut body = Vec::new();
    let reading = async {
        loop {
            match response.chunk().await {
                Ok(Some(piece)) if body.len() + piece.len() <= LONGEST_ERROR_BYTES => {
                    body.extend_from_slice(&piece);
                }
                Ok(Some(_)) | Err(_) => return false,
                Ok(None) => return true,
            }
        }
    };
    let is_whole = tokio::select! {
        read = timeout(ERROR_TIMEOUT, reading) => read.unwrap_or(false),
        () = books.given_up() => false,
    };
    (body.into(), is_whole)
}

fn generation_header(response: &reqwest::Response) -> Option<String> {
    let id = response.headers().get("x-generation-id")?.to_str().ok()?.trim();
    (!id.is_empty() && id.len() <= LONGEST_ID).then(|| id.to_owned())
}

/// Passes a 2xx answer on and settles the call.
async fn relay(mut books: Books, mut answer: Answer, to_client: oneshot::Sender<Result<Head, Refusal>>) {
    let (status, passed) = (answer.response.status(), headers::to_client(answer.response.headers()));
    let in_header = generation_header(&answer.response);
    let (mut held, mut end) = (Vec::new(), None);
    if in_header.is_none() {
        end = answer.hold_until_id_known(&mut held, &books).await;
    }
    let generation_id = in_header.or_else(|| answer.reader.told().generation_id.clone());
    if let Some(generation_id) = generation_id
        && !books.know_generation_in_time(&generation_id, status).await
    {
        drop((answer, held));
        refuse(to_client, Refusal::AnswerNotRecorded);
        books.know_generation(generation_id, status).await;
        books.leave_open("not-recorded", None).await;
        return;
    }
    if end == Some(End::Complete) && !books.knows_generation() {
        // Nobody could ask about it again, so it is booked before the client sees it.
        books.close(End::Complete, answer.reader.told().clone(), status).await;
        let mut client = ToClient::begin(to_client, status, passed);
        if answer.pass_held(held, &mut client).await.is_none() {
            client.finish();
        }
        return;
    }
    let end = match end {
        // It broke off while nothing had been passed on: the client can be told in words.
        Some(end) if end != End::Complete => {
            refuse(to_client, Refusal::Broken(UpstreamError::Broken(end.as_str().to_owned())));
            end
        }
        end => {
            let mut client = ToClient::begin(to_client, status, passed);
            let end = answer.pass_held(held, &mut client).await.or(end);
            if !answer.reader.keeps_body() {
                answer.memory.release();
            }
            let end = match end {
                Some(end) => end,
                None => answer.pass_on(&mut client, &books).await,
            };
            if end == End::Complete {
                client.finish();
            }
            end
        }
    };
    answer.reader.finish();
    let told = answer.reader.told().clone();
    // This closes the connection of an answer that did not end, which is what stops its bill.
    drop(answer);
    books.close(end, told, status).await;
}

impl Answer {
    fn new(response: reqwest::Response, memory: AnswerShare, deadline: Instant) -> Self {
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let reader = AnswerReader::new(content_type);
        Self { response, reader, memory, deadline }
    }

    /// Reads into `held` until the generation id is known; answers the end if that comes first.
    async fn hold_until_id_known(&mut self, held: &mut Vec<Bytes>, books: &Books) -> Option<End> {
        let mut bytes = 0;
        while self.reader.told().generation_id.is_none() && self.reader.may_tell_id() && bytes <= HELD_BYTES {
            match self.next(books).await {
                Ok(piece) => {
                    bytes += piece.len();
                    if let Err(end) = self.keep(2 * piece.len(), books).await {
                        return Some(end);
                    }
                    self.reader.feed(&piece);
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

    /// Waits for memory to hold back `bytes` more; the upstream waits as well.
    async fn keep(&mut self, bytes: usize, books: &Books) -> Result<(), End> {
        tokio::select! {
            kept = timeout(SILENCE_TIMEOUT, self.memory.grow_or_wait(bytes)) => kept.map_err(|_| End::Silent),
            () = books.given_up() => Err(End::GivenUp),
        }
    }

    /// Passes on what was held back; the end, if the deadline comes first.
    async fn pass_held(&self, held: Vec<Bytes>, client: &mut ToClient) -> Option<End> {
        for piece in held {
            if timeout_at(self.deadline, client.pass(piece)).await.is_err() {
                return Some(End::TooLong);
            }
        }
        None
    }

    /// Reads along, as long as there is memory for a body that is read as a whole; else `/generation` will be asked.
    fn read_along(&mut self, piece: &[u8]) {
        if self.reader.keeps_body() && !self.memory.grow(piece.len()) {
            self.reader.give_up();
            self.memory.release();
        }
        self.reader.feed(piece);
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
                // A client that reads slowly must not hold a call beyond its deadline.
                Ok(piece) => {
                    self.read_along(&piece);
                    if timeout_at(self.deadline, client.pass(piece)).await.is_err() {
                        return End::TooLong;
                    }
                }
                Err(end) => return end,
            }
        }
    }

    /// The next piece, or how the answer ended.
    async fn next(&mut self, books: &Books) -> Result<Bytes, End> {
        tokio::select! {
            next = self.next_in_time() => next,
            () = books.given_up() => Err(End::GivenUp),
        }
    }

    async fn next_in_time(&mut self) -> Result<Bytes, End> {
        let now = Instant::now();
        // A time-out alone never comes where there is always a next piece.
        if now >= self.deadline {
            return Err(End::TooLong);
        }
        let silent_at = now + SILENCE_TIMEOUT;
        match timeout_at(silent_at.min(self.deadline), self.response.chunk()).await {
            // A copy, as a piece that waits would keep the whole buffer that it was read into.
            Ok(Ok(Some(piece))) => Ok(Bytes::copy_from_slice(&piece)),
            Ok(Ok(None)) => Err(End::Complete),
            Ok(Err(_)) => Err(End::UpstreamCut),
            Err(_) if Instant::now() >= self.deadline => Err(End::TooLong),
            Err(_) => Err(End::Silent),
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;

    use super::*;
    use crate::memory::Memory;

    /// A flood always has a next piece, so that its time-out alone would never come.
    #[tokio::test(start_paused = true)]
    async fn a_flood_ends_at_its_deadline() {
        let piece = Full::new(Bytes::from_static(b": always there\n"));
        let response = http::Response::new(reqwest::Body::wrap(piece));
        let memory = Memory::default().for_answer();
        let mut answer = Answer::new(response.into(), memory, Instant::now() + CALL_TIMEOUT);
        tokio::time::advance(CALL_TIMEOUT).await;
        assert_eq!(answer.next_in_time().await, Err(End::TooLong));
    }
}
