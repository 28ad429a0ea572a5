//! The connections that wait for a head, in the order in which they began to. Where places get scarce the first of them
//! leaves: somebody who opens thousands and says nothing must not keep out who has something to say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Bytes of heads that have not ended, of all connections together; beyond that the one that has waited longest leaves.
/// A buffer may be twice as large as what is in it.
const HEADS_BYTES: usize = 16 * 1024 * 1024;

/// Everybody who waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Cancelled when everybody has to leave.
    stop: CancellationToken,
    line: Mutex<Line>,
    head_bytes: AtomicUsize,
}

#[derive(Debug, Default)]
struct Line {
    last_number: u64,
    places: BTreeMap<u64, CancellationToken>,
}

/// One connection, which waits or is busy with a request.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Arc<Waiting>,
    /// Its number in the line; 0 while it is busy.
    number: AtomicU64,
    has_asked: AtomicBool,
    /// Bytes that have come of the head it waits for.
    head_bytes: AtomicUsize,
    dismissed: CancellationToken,
}

/// A request with its answer. Dropped, the connection waits again.
#[derive(Debug)]
pub(crate) struct Busy(Arc<Place>);

impl Waiting {
    /// Nobody yet; `stop` dismisses all.
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Self { stop, line: Mutex::default(), head_bytes: AtomicUsize::new(0) }
    }

    /// A place for a connection that has just come; it waits.
    pub(crate) fn place(self: &Arc<Self>) -> Arc<Place> {
        let dismissed = self.stop.child_token();
        let number = AtomicU64::new(self.line().join(dismissed.clone()));
        let (waiting, has_asked, head_bytes) = (self.clone(), AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Place { waiting, number, has_asked, head_bytes, dismissed })
    }

    /// Sends away who has waited longest, if anybody waits.
    pub(crate) fn dismiss_longest(&self) {
        let first = self.line().places.pop_first();
        if let Some((_, dismissed)) = first {
            dismissed.cancel();
        }
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn join(&mut self, dismissed: CancellationToken) -> u64 {
        self.last_number += 1;
        self.places.insert(self.last_number, dismissed);
        self.last_number
    }
}

impl Place {
    /// A request has come.
    pub(crate) fn busy(self: &Arc<Self>) -> Busy {
        self.has_asked.store(true, Ordering::Relaxed);
        self.leave_line();
        Busy(self.clone())
    }

    /// `bytes` have come: of a head, while it waits for one.
    pub(crate) fn has_read(&self, bytes: usize) {
        if bytes == 0 || !self.is_waiting() {
            return;
        }
        self.head_bytes.fetch_add(bytes, Ordering::Relaxed);
        if self.waiting.head_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > HEADS_BYTES {
            self.waiting.dismiss_longest();
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.number.load(Ordering::Relaxed) != 0
    }

    /// Whether there was a request yet.
    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// Resolves when the connection has to leave, or all have to.
    pub(crate) async fn dismissed(&self) {
        self.dismissed.cancelled().await;
    }

    fn leave_line(&self) {
        let number = self.number.swap(0, Ordering::Relaxed);
        let head_bytes = self.head_bytes.swap(0, Ordering::Relaxed);
        self.waiting.head_bytes.fetch_sub(head_bytes, Ordering::Relaxed);
        self.waiting.line().places.remove(&number);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Place { waiting, number, dismissed, .. } = &*self.0;
        number.store(waiting.line().join(dismissed.clone()), Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave_line();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_longest_leaves_and_who_is_busy_stays() {
        let waiting = Arc::new(Waiting::new(CancellationToken::new()));
        let [first, second, third] = [(); 3].map(|()| waiting.place());
        let busy = first.busy();
        assert!(!first.is_waiting() && first.has_asked());
        waiting.dismiss_longest();
        assert!(second.dismissed.is_cancelled() && !third.dismissed.is_cancelled());
        // Its answer has ended: it waits again, behind the others.
        drop(busy);
        assert!(first.is_waiting());
        waiting.dismiss_longest();
        assert!(third.dismissed.is_cancelled() && !first.dismissed.is_cancelled());
        waiting.dismiss_longest();
        assert!(first.dismissed.is_cancelled());
        waiting.dismiss_longest();
    }

    #[test]
    fn heads_that_never_end_have_a_budget() {
        let waiting = Arc::new(Waiting::new(CancellationToken::new()));
        let [longest, asks, late] = [(); 3].map(|()| waiting.place());
        longest.has_read(HEADS_BYTES / 2);
        asks.has_read(HEADS_BYTES / 2);
        assert!(!longest.dismissed.is_cancelled());
        // A head that has ended counts no more, nor what comes behind it.
        let busy = asks.busy();
        asks.has_read(HEADS_BYTES);
        late.has_read(HEADS_BYTES / 2);
        assert!(!longest.dismissed.is_cancelled());
        late.has_read(1);
        assert!(longest.dismissed.is_cancelled() && !late.dismissed.is_cancelled());
        drop((longest, late, busy, asks));
        assert_eq!(waiting.head_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn who_is_gone_is_not_in_the_line() {
        let waiting = Arc::new(Waiting::new(CancellationToken::new()));
        let (gone, stays) = (waiting.place(), waiting.place());
        drop(gone);
        waiting.dismiss_longest();
        assert!(stays.dismissed.is_cancelled());
        drop(stays);
        assert!(waiting.line().places.is_empty());
    }
}
