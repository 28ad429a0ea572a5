//! A waker that can be kept quiet while its own task does something that would wake it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

/// Wakes at once.
const LOUD: u8 = 0;
/// Remembers being woken.
const QUIET: u8 = 1;
/// Was woken while it was quiet.
const MISSED: u8 = 2;

/// The waker of a task. Taking a piece of a body tells the connection that there is room, by waking whoever drives it: the task
/// that has just taken it, and is going to ask for the next one anyway. It would be polled twice for every piece.
#[derive(Debug)]
pub(crate) struct QuietWaker {
    bell: Arc<Bell>,
    waker: Waker,
}

#[derive(Debug)]
struct Bell {
    state: AtomicU8,
    task: Mutex<Waker>,
}

impl QuietWaker {
    pub(crate) fn new() -> Self {
        let bell = Arc::new(Bell { state: AtomicU8::new(LOUD), task: Mutex::new(Waker::noop().clone()) });
        Self { waker: Waker::from(bell.clone()), bell }
    }

    /// The waker to hand out, which wakes `task` from now on.
    pub(crate) fn of(&self, task: &Waker) -> &Waker {
        self.bell.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(task);
        &self.waker
    }

    /// Does something during which nobody is woken. Where `is_forgotten` says so of what came of it, the task asks again by
    /// itself; else it is woken now, if it should have been.
    pub(crate) fn during<T>(
        &self,
        something: impl FnOnce() -> T,
        is_forgotten: impl FnOnce(&T) -> bool,
    ) -> T {
        self.bell.state.store(QUIET, Ordering::SeqCst);
        let done = something();
        let missed = self.bell.state.swap(LOUD, Ordering::SeqCst) == MISSED;
        if missed && !is_forgotten(&done) {
            self.bell.ring();
        }
        done
    }
}

impl Bell {
    fn ring(&self) {
        self.task.lock().unwrap_or_else(PoisonError::into_inner).wake_by_ref();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let was = self.state.compare_exchange(QUIET, MISSED, Ordering::SeqCst, Ordering::SeqCst);
        if was == Err(LOUD) {
            self.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn only_a_wake_that_is_forgotten_is_kept_quiet() {
        let (quiet, count) = (QuietWaker::new(), Arc::<Count>::default());
        let waker = quiet.of(&Waker::from(count.clone())).clone();
        let woken = |wanted| assert_eq!(count.0.load(Ordering::SeqCst), wanted);
        waker.wake_by_ref();
        woken(1);
        quiet.during(|| waker.wake_by_ref(), |()| true);
        woken(1);
        quiet.during(|| (waker.wake_by_ref(), waker.wake_by_ref()), |_| false);
        woken(2);
        quiet.during(|| (), |()| false);
        woken(2);
        waker.wake();
        woken(3);
    }
}
