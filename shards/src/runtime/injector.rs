//! Waking executors, and handing them what other threads have for them.

use crate::app::ShardId;
use atomic_waker::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::mpsc::{Receiver, Sender, channel};

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

/// Sends values from threads that are no executors into executors. Cheap to clone.
///
/// The queue has no bound of its own: what is sent answers requests that were bounded where they were made.
#[derive(Debug)]
pub struct Injector<E> {
    lanes: Arc<[Lane<E>]>,
}

#[derive(Debug)]
struct Lane<E> {
    sender: Sender<E>,
    doorbell: Arc<Doorbell>,
}

impl<E> Clone for Injector<E> {
    fn clone(&self) -> Self {
        Self { lanes: self.lanes.clone() }
    }
}

impl<E> Injector<E> {
    pub(crate) fn new(doorbells: &[Arc<Doorbell>]) -> (Self, Vec<Receiver<E>>) {
        let (lanes, receivers): (Vec<_>, Vec<_>) = doorbells
            .iter()
            .map(|doorbell| {
                let (sender, receiver) = channel();
                (Lane { sender, doorbell: doorbell.clone() }, receiver)
            })
            .unzip();
        (Self { lanes: lanes.into() }, receivers)
    }

    /// Hands a value to an executor, in order per calling thread. An executor that has ended drops it.
    ///
    /// # Panics
    /// With an executor that does not exist.
    pub fn send(&self, to: ShardId, value: E) {
        let lane = &self.lanes[to.index()];
        // Only the receiver's end can fail this, and then nobody is left to care.
        let _ = lane.sender.send(value);
        lane.doorbell.ring();
    }
}
