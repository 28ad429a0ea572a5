//! Memory for what is kept of bodies: a budget for all of a kind, and the share of each.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory for the bodies of requests that are being read or sent, in KiB: 48 MiB.
const REQUESTS_KIB: usize = 48 * 1024;

/// Memory for what is kept of answers, because it is read along as a whole or held back, in KiB: 16 MiB.
const ANSWERS_KIB: usize = 16 * 1024;

/// The budgets.
pub(crate) struct Memory {
    requests: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    /// Whoever has it may go beyond the budget of the answers, as far as a single answer may.
    beyond: Arc<Semaphore>,
}

/// What one body has of a budget. It only grows; dropped, it is given back.
pub(crate) struct Share {
    budget: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

/// What one answer has.
pub(crate) struct AnswerShare {
    share: Share,
    beyond: Arc<Semaphore>,
    is_beyond: Option<OwnedSemaphorePermit>,
}

impl Default for Memory {
    fn default() -> Self {
        let budget = |permits| Arc::new(Semaphore::new(permits));
        Self { requests: budget(REQUESTS_KIB), answers: budget(ANSWERS_KIB), beyond: budget(1) }
    }
}

impl Memory {
    pub(crate) fn for_request(&self) -> Share {
        Share::of(&self.requests)
    }

    pub(crate) fn for_answer(&self) -> AnswerShare {
        AnswerShare { share: Share::of(&self.answers), beyond: self.beyond.clone(), is_beyond: None }
    }
}

impl Share {
    fn of(budget: &Arc<Semaphore>) -> Self {
        Self { budget: budget.clone(), taken: None, bytes: 0 }
    }

    /// Takes `bytes` more; false where the budget has no more.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let taken_kib = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing_kib = (self.bytes + bytes).div_ceil(1024).saturating_sub(taken_kib);
        if missing_kib > 0 {
            let missing_kib = u32::try_from(missing_kib).unwrap_or(u32::MAX);
            let Ok(more) = self.budget.clone().try_acquire_many_owned(missing_kib) else { return false };
            match &mut self.taken {
                Some(taken) => taken.merge(more),
                None => self.taken = Some(more),
            }
        }
        self.bytes += bytes;
        true
    }
}

impl AnswerShare {
    /// Takes `bytes` more; false where the budget has no more.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        self.is_beyond.is_some() || self.share.grow(bytes)
    }

    /// Takes `bytes` more. Where the budget has no more, one answer after the other goes beyond it: if each waited for
    /// what the others have, all would wait for ever.
    pub(crate) async fn grow_or_wait(&mut self, bytes: usize) {
        if !self.grow(bytes) {
            self.is_beyond = self.beyond.clone().acquire_owned().await.ok();
        }
    }

    /// Nothing is kept any more.
    pub(crate) fn release(&mut self) {
        (self.share.taken, self.share.bytes, self.is_beyond) = (None, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_share_ends_with_the_budget_and_is_given_back() {
        let memory = Memory::default();
        let mut whole = memory.for_request();
        for _ in 0..REQUESTS_KIB / 512 {
            assert!(whole.grow(512 * 1024));
        }
        let mut late = memory.for_request();
        assert!(!late.grow(1) && !whole.grow(1));
        drop(whole);
        assert!(late.grow(1) && late.grow(1023));
        assert_eq!(memory.requests.available_permits(), REQUESTS_KIB - 1);
    }

    #[tokio::test]
    async fn one_answer_at_a_time_goes_beyond_the_budget() {
        let memory = Memory::default();
        let [mut full, mut first, mut second] = [(); 3].map(|()| memory.for_answer());
        assert!(full.grow(ANSWERS_KIB * 1024));
        assert!(!first.grow(1));
        assert!(timeout(Duration::ZERO, first.grow_or_wait(1)).await.is_ok() && first.grow(1 << 30));
        assert!(timeout(Duration::ZERO, second.grow_or_wait(1)).await.is_err());
        first.release();
        assert!(timeout(Duration::ZERO, second.grow_or_wait(1)).await.is_ok());
        full.release();
        assert!(first.grow(ANSWERS_KIB * 1024));
    }
}
