//! Handing executors what other threads have for them.

use super::doorbell::Doorbell;
use crate::app::ShardId;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

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
