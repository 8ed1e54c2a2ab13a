//! What a link sends to one live object of its own executor is handled where it lies in the receive buffer: it needs no
//! memory of its own, and no place in the FIFO.
//!
//! Nobody can tell it from a message that went through the FIFO. Nothing waits there that it would overtake, nobody else
//! receives it, and what the object has to say stands behind it either way. As soon as anything of this is not so, it takes
//! the way of all (`Daemon::publish`).

use super::Daemon;
use crate::outbox::Participant;
use crate::wire::{Channel, Doid, next_frame, only_recipient};
use donet_shards::{Turn, shard_of};

/// Frames whose objects are looked at together.
const AHEAD: usize = 16;

impl Daemon {
    /// Looks at the objects that the next frames are for, and returns how many frames that were. Objects lie far apart, and
    /// most of the time of a change is waiting for the memory of one: of several that do not depend on each other the
    /// processor waits for all at once.
    pub(super) fn look_ahead(&self, bytes: &[u8], turn: &Turn<Self>) -> usize {
        let (mut used, mut frames) = (0, 0);
        let mut doids = [0; AHEAD];
        while frames < AHEAD
            && let Some((body, length)) = next_frame(&bytes[used..])
        {
            doids[frames] = self.object_here(body, turn).unwrap_or_default();
            used += length;
            frames += 1;
        }
        if frames > 1 {
            self.state_server.look_at(&doids[..frames]);
        }
        frames
    }

    /// The object of this executor that a body is for, if it is for one alone.
    fn object_here(&self, body: &[u8], turn: &Turn<Self>) -> Option<Doid> {
        let recipient = only_recipient(body)?;
        let doid = self.router.homes.as_live_object(recipient)?;
        (shard_of(recipient, turn.shards()) == turn.shard()).then_some(doid)
    }

    /// Handles a frame's body at the object that it is for. Returns false, with nothing done, where it cannot.
    pub(super) fn handle_at_once(&mut self, from: Participant, body: &[u8], turn: &mut Turn<Self>) -> bool {
        let Some(doid) = self.object_here(body, turn) else { return false };
        let has_subscribers = || !self.router.subscriptions.executors(Channel::from(doid)).is_empty();
        if self.has_upstream || has_subscribers() || !turn.may_handle_at_once() {
            return false;
        }
        self.outbox.metrics.datagrams_published += 1;
        self.state_server.on_message_at(doid, body, from, &mut self.outbox);
        self.carry_out(turn);
        true
    }
}
