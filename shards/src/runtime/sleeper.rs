//! Falling asleep and waking: the atomics of it, apart from what carries the waking, so that they can be model-checked.

use crate::sync::{AtomicBool, Ordering, fence};

/// Whether an executor sleeps, as others see it: decides who has to wake it.
#[derive(Debug, Default)]
pub(crate) struct Sleeper {
    asleep: AtomicBool,
    /// The executor waits for room in a ring.
    clogged: AtomicBool,
}

impl Sleeper {
    /// Called after something was made visible to the executor. Whether the caller must wake it: one of several gets
    /// that answer, and none while it is awake.
    pub(crate) fn must_wake(&self) -> bool {
        // Pairs with the fence of `fall_asleep`: either this sees the executor asleep, or it sees what was made visible.
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel)
    }

    /// Like [`Sleeper::must_wake`], after batches of the executor were taken.
    pub(crate) fn must_wake_for_room(&self) -> bool {
        fence(Ordering::SeqCst);
        self.clogged.load(Ordering::Relaxed) && self.must_wake()
    }

    /// Called by the executor before it falls asleep, whose fence makes it seen in time.
    pub(crate) fn set_clogged(&self, clogged: bool) {
        self.clogged.store(clogged, Ordering::Relaxed);
    }

    /// Called by the executor before it looks for work a last time.
    pub(crate) fn fall_asleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}
