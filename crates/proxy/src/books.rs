//! What is written down of one call, and that it is: a write that fails is tried again until the ledger can be
//! written or the program has to end.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use ledger::{CallId, Ending, GenerationKnown, LeaveOpen, NewCall, Settle, Settled, WriteError};
use metering::{Cost, Settlement};
use openrouter::Told;
use secrecy::SecretString;

use crate::Road;
use crate::memory::AnswerShare;

/// How long after a call was left open `/generation` is asked first.
const FIRST_ASK: SignedDuration = SignedDuration::from_secs(2);

/// How long a call may be under way, with room to spare: until then nobody else asks about it.
const UNDER_WAY_FOR: SignedDuration = SignedDuration::from_mins(75);

/// Between two tries of a write that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long a client waits for its generation id, or its whole call, to be written down before it is refused.
const PATIENCE: Duration = Duration::from_secs(10);

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With its last byte.
    Complete,
    /// The client left a stream.
    ClientLeft,
    /// The upstream's connection broke.
    UpstreamCut,
    /// The upstream said nothing for too long.
    Silent,
    /// The call took longer than any call may.
    TooLong,
    /// The program had to end.
    GivenUp,
}

impl End {
    /// The word in the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::ClientLeft => "client-left",
            Self::UpstreamCut => "upstream-cut",
            Self::Silent => "silent",
            Self::TooLong => "too-long",
            Self::GivenUp => "stopped",
        }
    }
}

/// Whether the client's answer waits for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    Client,
    Nobody,
}

/// One admitted call.
pub(crate) struct Books {
    road: Arc<Road>,
    call_id: CallId,
    model_asked: String,
    key: SecretString,
    generation_id: Option<String>,
}

impl Books {
    /// W1.
    pub(crate) async fn admit(road: Arc<Road>, call: NewCall, key: SecretString) -> Result<Self, WriteError> {
        let (call_id, model_asked, asker) = (call.id, call.model.clone(), call.asker.clone());
        let admission = road.options.ledger.admit(call).await?;
        if admission.first_of_user {
            let (user_id, external_user) = (asker.user_id, asker.external_user);
            tracing::info!(%user_id, %external_user, "Auto-learning: first call of this user");
        }
        Ok(Self { road, call_id, model_asked, key, generation_id: None })
    }

    /// W2, as long as a client can be expected to wait; false where it could not be written.
    pub(crate) async fn know_generation_in_time(&mut self, generation_id: &str, status: StatusCode) -> bool {
        let written = self.know_generation(generation_id.to_owned(), status);
        tokio::time::timeout(PATIENCE, written).await == Ok(true)
    }

    /// W2; false where it never will be written.
    pub(crate) async fn know_generation(&mut self, generation_id: String, status: StatusCode) -> bool {
        let known = GenerationKnown {
            call_id: self.call_id,
            generation_id: generation_id.clone(),
            http_status: status.as_u16(),
            next_ask_at: later(self.now(), UNDER_WAY_FOR),
        };
        self.generation_id = Some(generation_id);
        self.written(|| self.road.options.ledger.know_generation(known.clone())).await.is_some()
    }

    /// Whether all is told that an entry needs, so that nothing has to be asked before it is booked.
    pub(crate) fn can_settle_at_once(&self, told: &Told) -> bool {
        let upstream = &self.road.options.upstream;
        told.report.cost.is_some() && upstream.knows_name(&told.report, &self.model_asked, self.now())
    }

    /// W2 and W3 in one commit, for an answer that was whole before the client saw any of it, as long as a client can be expected
    /// to wait; false where it could not be written.
    pub(crate) async fn settle_in_time(
        &mut self,
        generation_id: String,
        told: Told,
        status: StatusCode,
    ) -> bool {
        self.generation_id = Some(generation_id);
        let closed = Box::pin(self.close(End::Complete, told, status, Waits::Client));
        tokio::time::timeout(PATIENCE, closed).await == Ok(true)
    }

    /// W3: settles the call if its cost was told, else leaves it to `/generation`, else to the operator. False where none of
    /// that will ever be written.
    pub(crate) async fn close(&self, end: End, told: Told, status: StatusCode, waits: Waits) -> bool {
        let upstream = &self.road.options.upstream;
        let report = upstream.with_known_name(told.report, &self.model_asked, &self.key, self.now()).await;
        let known = Settlement::of(report);
        // A later chunk may have told another cost: of an answer that broke off `/generation` knows the last.
        let is_final = end == End::Complete || self.generation_id.is_none();
        // An answer that is nothing but an error is most likely not billed; `/generation` is asked.
        let outcome = if told.is_error && known.cost().is_none() { "answer-error" } else { end.as_str() };
        match (known.cost(), &self.generation_id) {
            (Some((_, cost)), _) if is_final => {
                warn_if_rounded(cost);
                let organisation = self.road.options.ledger.organisation();
                let settle = Settle {
                    call_id: self.call_id,
                    generation_id: self.generation_id.clone(),
                    settlement: known,
                    outcome: Some(outcome),
                    http_status: Some(status.as_u16()),
                    created_at: told.created_at,
                    zone: organisation.zone.clone(),
                    booked_at: self.now(),
                };
                self.settle(settle, waits).await
            }
            (_, Some(_)) => self.leave_open(outcome, Some(known)).await,
            (_, None) => {
                let note = "the answer told neither a generation id nor a cost".to_owned();
                self.orphan(outcome, note, Some(status)).await
            }
        }
    }

    async fn settle(&self, settle: Settle, waits: Waits) -> bool {
        let ledger = &self.road.options.ledger;
        let settled = match waits {
            Waits::Client => self.written(|| ledger.settle(settle.clone())).await,
            Waits::Nobody => self.written(|| ledger.settle_soon(settle.clone())).await,
        };
        match settled {
            Some(Settled::Booked { charge }) => {
                tracing::debug!(call_id = %self.call_id, charge_usd = %charge, "settled by its answer");
            }
            Some(Settled::Clash) => {
                tracing::warn!(call_id = %self.call_id, "its generation id is booked for another call already");
            }
            Some(Settled::Already) | None => {}
        }
        settled.is_some()
    }

    /// The cost is not known yet: `/generation` will be asked. False where that never will be written.
    pub(crate) async fn leave_open(&self, outcome: &'static str, known: Option<Settlement>) -> bool {
        let left = LeaveOpen {
            call_id: self.call_id,
            outcome,
            known: known.unwrap_or_default(),
            closed_at: self.now(),
            next_ask_at: later(self.now(), FIRST_ASK),
        };
        let written = self.written(|| self.road.options.ledger.leave_open(left.clone())).await;
        tracing::debug!(call_id = %self.call_id, outcome, "left open");
        self.road.options.call_left_open.notify_one();
        written.is_some()
    }

    /// It may be billed, and nobody can ask what for. False where that never will be written.
    pub(crate) async fn orphan(
        &self,
        outcome: &'static str,
        note: String,
        status: Option<StatusCode>,
    ) -> bool {
        tracing::warn!(call_id = %self.call_id, outcome, note, "a call became an orphan: it may be billed, and its id is not known");
        let ending = self.ending(outcome, note, status);
        self.written(|| self.road.options.ledger.orphan(ending.clone())).await.is_some()
    }

    /// It is proved unbilled.
    pub(crate) async fn void(&self, outcome: &'static str, note: String, status: Option<StatusCode>) {
        let ending = self.ending(outcome, note, status);
        self.written(|| self.road.options.ledger.void(ending.clone())).await;
    }

    fn ending(&self, outcome: &'static str, note: String, status: Option<StatusCode>) -> Ending {
        let http_status = status.map(|status| status.as_u16());
        Ending { call_id: self.call_id, outcome, note, http_status, closed_at: self.now() }
    }

    /// Resolves when calls under way must end.
    pub(crate) fn given_up(&self) -> impl Future<Output = ()> + use<> {
        self.road.options.give_up.clone().cancelled_owned()
    }

    /// Memory for what is kept of an answer.
    pub(crate) fn memory(&self) -> AnswerShare {
        self.road.memory.for_answer()
    }

    /// Writes until it is written. `None` where it never will be: it contradicts what is recorded, or the program
    /// has to end. The generation id in the log is then what is left of the call.
    async fn written<T, F: Future<Output = Result<T, WriteError>>>(
        &self,
        write: impl Fn() -> F,
    ) -> Option<T> {
        loop {
            // In a box of its own, as a call's task is as large as the largest step that it may wait for.
            let error = match Box::pin(write()).await {
                Ok(answer) => return Some(answer),
                Err(error) => error,
            };
            let (call_id, generation_id) = (self.call_id, self.generation_id.as_deref());
            tracing::error!(%call_id, generation_id, %error, "a step of a call is not written down");
            if matches!(error, WriteError::Refused(_) | WriteError::Closed) {
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY_PAUSE) => {}
                () = self.given_up() => return None,
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.road.options.clock.now()
    }
}

fn warn_if_rounded(cost: &Cost) {
    if !cost.exact {
        tracing::warn!(
            cost = cost.text,
            "a cost has more than twelve decimal places; it is rounded half-even"
        );
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}
