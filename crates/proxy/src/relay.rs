//! The task that owns a call: it sends it, gives the answer to the client's connection to draw, and writes down what the call
//! cost. The answer comes back to it however it ends, so a client that leaves takes nothing with it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header, response};
use http_body_util::BodyExt as _;
use ledger::NewCall;
use openrouter::{AnswerBody, Pieces, UpstreamError};
use secrecy::SecretString;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};

use crate::answer::Answer;
use crate::books::{Books, End, Waits};
use crate::memory::Share;
use crate::passage::{Head, Passage, refuse};
use crate::refusal::Refusal;
use crate::{CALL_TIMEOUT, HEAD_TIMEOUT, Road, headers};

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

impl Relay {
    /// The whole call.
    pub(crate) async fn run(self) {
        let Self { road, call, headers, body, body_memory, key, to_client, in_flight } = self;
        let (endpoint, deadline) = (call.endpoint, Instant::now() + CALL_TIMEOUT);
        let books = match Box::pin(Books::admit(road.clone(), call, key.clone())).await {
            Ok(books) => books,
            Err(error) => return refuse(to_client, Refusal::NotRecorded(error)),
        };
        if to_client.is_closed() {
            return books.void("client-left", "the client left before it was sent".to_owned(), None).await;
        }
        let sent = timeout(HEAD_TIMEOUT, Box::pin(road.options.upstream.post(endpoint, headers, body, &key)));
        let head = tokio::select! {
            head = sent => Some(head),
            () = books.given_up() => None,
        };
        drop(body_memory);
        match head {
            Some(Ok(Ok(response))) if response.status().is_success() => {
                let (head, body) = response.into_parts();
                let answer = Answer::new(&head, body, road.memory.for_answer(), deadline);
                relay(books, head, answer, to_client).await;
            }
            Some(Ok(Ok(response))) => Box::pin(pass_error_on(books, response, to_client)).await,
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
    response: http::Response<AnswerBody>,
    to_client: oneshot::Sender<Result<Head, Refusal>>,
) {
    let (head, body) = response.into_parts();
    let status = head.status;
    let generation_id = generation_header(&head.headers);
    if let Some(generation_id) = &generation_id {
        books.know_generation_in_time(generation_id, status).await;
    }
    let passed = headers::to_client(&head.headers);
    let (body, end) = read_error(body, &books).await;
    let kind = passed.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_page = kind.is_empty() || kind.starts_with("text/html");
    if is_page || status.is_redirection() {
        refuse(to_client, Refusal::NotAnApiAnswer(status));
    } else {
        let nothing_more = Answer::over(&head, books.memory());
        Passage::begin(to_client, (status, passed), nothing_more, vec![body], Some(end));
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

/// The body of an error as far as it comes, and how it ended.
async fn read_error(mut body: AnswerBody, books: &Books) -> (Bytes, End) {
    let mut text = Vec::new();
    let reading = async {
        loop {
            match body.frame().await {
                Some(Ok(frame)) => {
                    let piece = frame.into_data().unwrap_or_default();
                    if text.len() + piece.len() > LONGEST_ERROR_BYTES {
                        return End::TooLong;
                    }
                    text.extend_from_slice(&piece);
                }
                Some(Err(_)) => return End::UpstreamCut,
                None => return End::Complete,
            }
        }
    };
    let end = tokio::select! {
        end = timeout(ERROR_TIMEOUT, reading) => end.unwrap_or(End::Silent),
        () = books.given_up() => End::GivenUp,
    };
    (text.into(), end)
}

fn generation_header(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-generation-id")?.to_str().ok()?.trim();
    (!id.is_empty() && id.len() <= LONGEST_ID).then(|| id.to_owned())
}

/// Passes a 2xx answer on and settles the call.
async fn relay(
    mut books: Books,
    upstream: response::Parts,
    mut answer: Box<Answer>,
    to_client: oneshot::Sender<Result<Head, Refusal>>,
) {
    let (status, passed) = (upstream.status, headers::to_client(&upstream.headers));
    let in_header = generation_header(&upstream.headers);
    drop(upstream);
    let (mut held, mut ended) = (Vec::new(), None);
    if in_header.is_none() {
        ended = answer.hold_until_id_known(&mut held, &books).await;
    } else if answer.reader.keeps_body() {
        ended = answer.hold_what_is_there(&mut held).await;
    }
    let is_whole = ended == Some(End::Complete);
    let generation_id = in_header.or_else(|| answer.reader.told().generation_id.clone());
    let given_up = books.given_up();
    match generation_id {
        Some(generation_id) if is_whole && books.can_settle_at_once(answer.reader.told()) => {
            let told = answer.reader.told().clone();
            if books.settle_in_time(generation_id, told.clone(), status).await {
                Passage::begin(to_client, (status, passed), answer, held, ended).end(given_up).await;
                return;
            }
            drop((answer, held));
            refuse(to_client, Refusal::AnswerNotRecorded);
            Box::pin(books.close(End::Complete, told, status, Waits::Nobody)).await;
            return;
        }
        Some(generation_id) => {
            let is_known = books.know_generation_in_time(&generation_id, status).await;
            if !is_known {
                drop((answer, held));
                refuse(to_client, Refusal::AnswerNotRecorded);
                books.know_generation(generation_id, status).await;
                Box::pin(books.leave_open("not-recorded", None)).await;
                return;
            }
        }
        // Nobody could ask about it again, so it is booked before the client sees it.
        None if is_whole => {
            let told = answer.reader.told().clone();
            Box::pin(books.close(End::Complete, told, status, Waits::Client)).await;
            Passage::begin(to_client, (status, passed), answer, held, ended).end(given_up).await;
            return;
        }
        None => {}
    }
    let end = match ended {
        // It broke off while nothing had been passed on: the client can be told in words.
        Some(end) if end != End::Complete => {
            refuse(to_client, Refusal::Broken(UpstreamError::Broken(end.as_str().to_owned())));
            end
        }
        ended => {
            let passage = Passage::begin(to_client, (status, passed), answer, held, ended);
            let end;
            (answer, end) = passage.end(given_up).await;
            // A client that leaves a stream ends it, because that stops the bill; one that leaves a plain answer does not,
            // because that is billed in full anyway.
            if end == End::ClientLeft && !answer.reader.is_stream() {
                answer.read_on(&books).await
            } else {
                end
            }
        }
    };
    answer.reader.finish();
    let told = answer.reader.told().clone();
    // This closes the connection of an answer that did not end, which is what stops its bill.
    drop(answer);
    Box::pin(books.close(end, told, status, Waits::Nobody)).await;
}
