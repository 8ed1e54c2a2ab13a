//! Bells: how an executor that sleeps in its ring is woken from any thread.

use super::sleeper::Sleeper;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::OwnedFd;

/// Wakes one executor from any thread; costs a fence and a load when it is awake.
///
/// It rings through a descriptor of its own, which the executor's ring watches like a socket.
#[derive(Debug)]
pub(crate) struct Doorbell {
    pub(crate) sleeper: Sleeper,
    bell: OwnedFd,
}

impl Doorbell {
    /// # Errors
    /// When the system has no descriptor left.
    pub(crate) fn new() -> std::io::Result<Self> {
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?;
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
    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Silences the bell.
    pub(super) fn answer(&self) {
        let _ = rustix::io::read(&self.bell, &mut [0u8; 8]);
    }
}
