//! Waking executors: the only thing that two of them touch at once besides the mesh.

use crate::sync::{AtomicBool, AtomicWaker, Ordering, fence};

/// Wakes one executor from any thread; costs two loads when it is awake.
#[derive(Debug, Default)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
    /// The executor waits for room in a ring.
    clogged: AtomicBool,
    waker: AtomicWaker,
}

impl Doorbell {
    /// Called after something was made visible to the executor.
    pub(crate) fn ring(&self) {
        // Pairs with the fence of `fall_asleep`: either this sees the executor asleep, or it sees what was made visible.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Called after batches of the executor were taken.
    pub(crate) fn ring_if_clogged(&self) {
        fence(Ordering::SeqCst);
        if self.clogged.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    /// Called by the executor before it falls asleep, whose fence makes it seen in time.
    pub(crate) fn set_clogged(&self, clogged: bool) {
        self.clogged.store(clogged, Ordering::Relaxed);
    }

    /// Called by the executor before it looks for work a last time.
    pub(crate) fn fall_asleep(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub(crate) fn wake_up(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }
}
