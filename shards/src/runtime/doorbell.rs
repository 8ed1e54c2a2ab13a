//! Waking executors: the only thing that two of them touch at once besides the mesh.

use crate::sync::{AtomicBool, Ordering, fence};
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::OwnedFd;
use std::sync::Arc;

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

/// Wakes one executor from any thread; costs two loads when it is awake.
///
/// It rings through a descriptor of its own, which the executor polls like a socket. Glommio's own way (a waker called
/// from another thread) can put an executor to sleep that has tasks to run: its event descriptor completes in the ring
/// that also says "time is up", a completion that finds its message already taken looks like a task queue that ran
/// dry, and nothing more comes.
#[derive(Debug)]
pub(crate) struct Doorbell {
    pub(crate) sleeper: Sleeper,
    bell: Arc<OwnedFd>,
}

impl Doorbell {
    /// # Errors
    /// When the system has no descriptor left.
    pub(crate) fn new() -> std::io::Result<Self> {
        let bell = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        Ok(Self { sleeper: Sleeper::default(), bell })
    }

    /// Called after something was made visible to the executor.
    pub(crate) fn ring(&self) {
        if self.sleeper.must_wake() {
            self.sound();
        }
    }

    /// Called after batches of the executor were taken.
    pub(crate) fn ring_if_clogged(&self) {
        if self.sleeper.must_wake_for_room() {
            self.sound();
        }
    }

    fn sound(&self) {
        // It can only fail when it has been rung 2^64 times and not been answered: then it sounds already.
        let _ = rustix::io::write(&self.bell, &1u64.to_ne_bytes());
    }

    /// What becomes readable when the bell rings.
    pub(crate) fn bell(&self) -> Arc<OwnedFd> {
        self.bell.clone()
    }
}

/// Silences a bell that became readable.
pub(super) fn answer(bell: &OwnedFd) {
    let _ = rustix::io::read(bell, &mut [0u8; 8]);
}

/// A descriptor that is always readable: whoever waits for it lets the rings of sockets be looked at, once.
///
/// # Errors
/// When the system has no descriptor left.
pub(super) fn always_readable() -> std::io::Result<OwnedFd> {
    Ok(eventfd(1, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
}
