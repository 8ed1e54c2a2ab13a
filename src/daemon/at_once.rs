//! What a link sends to one live object of its own executor is handled where it lies in the receive buffer: it needs no
//! memory of its own, and no place in the FIFO.
//!
//! Nobody can tell it from a message that went through the FIFO. Nothing waits there that it would overtake, nobody else
//! receives it, and what the object has to say stands behind it either way. As soon as anything of this is not so, it takes
//! the way of all (`Daemon::publish`).

use super::Daemon;
use crate::outbox::Participant;
use crate::wire::only_recipient;
use donet_shards::{Turn, shard_of};

impl Daemon {
    /// Handles a frame's body at the object that it is for. Returns false, with nothing done, where it cannot.
    pub(super) fn handle_at_once(&mut self, from: Participant, body: &[u8], turn: &mut Turn<Self>) -> bool {
        let Some(recipient) = only_recipient(body) else { return false };
        let Some(doid) = self.router.homes.as_live_object(recipient) else { return false };
        let is_here = shard_of(recipient, turn.shards()) == turn.shard() && !self.has_upstream;
        if !is_here || !self.router.subscriptions.executors(recipient).is_empty() || !turn.may_handle_at_once() {
            return false;
        }
        self.outbox.metrics.datagrams_published += 1;
        self.state_server.on_message_at(doid, body, from, &mut self.outbox);
        self.carry_out(turn);
        true
    }
}
