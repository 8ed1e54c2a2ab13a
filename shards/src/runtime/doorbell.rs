//! Bells: how an executor that sleeps in its ring is woken from any thread.

use super::sleeper::Sleeper;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Wakes one executor from any thread; costs a fence and a load when it is awake.
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
