//! What a link sends to one live object takes a shorter way. If the object is of the link's own executor, it is handled where
//! it lies in the receive buffer: it needs no memory of its own, and no place in the FIFO. If it is of another, it crosses
//! together with what the link sends to further objects there, and is handled where it lies then.
//!
//! Nobody can tell it from a message that went through the FIFO. Nothing waits there that it would overtake, nobody else
//! receives it, and what the object has to say stands behind it either way. As soon as anything of this is not so, it takes
//! the way of all (`Daemon::publish`).

use super::links::makes_sessions_subscribe;
use super::{Daemon, Message};
use crate::outbox::Participant;
use crate::wire::{Channel, Datagram, Doid, next_frame, only_recipient};
use donet_shards::{ShardId, Turn, shard_of};

/// Frames whose objects are looked at together.
const AHEAD: usize = 16;
/// Frames that cross together weigh at most so much: each may be a handler of the turn that takes them.
const CROSSING_BYTES_MAX: usize = 4096;

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
            let here = self.object_of(body, turn).filter(|(_, home)| *home == turn.shard());
            doids[frames] = here.map(|(doid, _)| doid).unwrap_or_default();
            used += length;
            frames += 1;
        }
        if frames > 1 {
            self.state_server.look_at(&doids[..frames]);
        }
        frames
    }

    /// The object that a body is for, if it is for one alone, and its executor.
    fn object_of(&self, body: &[u8], turn: &Turn<Self>) -> Option<(Doid, ShardId)> {
        let recipient = only_recipient(body)?;
        let doid = self.router.homes.as_live_object(recipient)?;
        Some((doid, shard_of(recipient, turn.shards())))
    }

    fn has_subscribers(&self, doid: Doid) -> bool {
        !self.router.subscriptions.executors(Channel::from(doid)).is_empty()
    }

    /// Handles a frame of a link at the one object that it is for, or lets it cross to that. Returns false, with nothing
    /// done, where it cannot. `here` says whether the link's own executor may handle it: nothing must be overtaken.
    pub(super) fn handle_at_once(&mut self, from: Participant, body: &[u8], here: bool, turn: &mut Turn<Self>) -> bool {
        let Some((doid, home)) = self.object_of(body, turn) else { return false };
        let is_here = home == turn.shard();
        if self.has_upstream || (is_here && !here) || self.has_subscribers(doid) {
            return false;
        }
        // Whoever has subscribed on the object's own executor has not told this one: then the link has to wait behind it.
        if !is_here && makes_sessions_subscribe(body) {
            return false;
        }
        if is_here && !turn.may_handle_at_once() {
            return false;
        }
        self.outbox.metrics.datagrams_published += 1;
        if is_here {
            self.state_server.on_message_at(doid, body, from, &mut self.outbox);
            self.carry_out(turn);
        } else {
            self.outbox.metrics.datagrams_crossed += 1;
            self.cross(from, body, home, turn);
        }
        true
    }

    /// Sends a frame to the executor of its object, behind all that was sent there before.
    fn cross(&mut self, from: Participant, body: &[u8], to: ShardId, turn: &mut Turn<Self>) {
        let length = (body.len() as u16).to_le_bytes();
        if let Some(Message::ToObjects { from: sender, frames, source }) = turn.last_sent_mut(to)
            && (*sender, *source) == (from, self.source)
            && frames.len() + length.len() + body.len() <= CROSSING_BYTES_MAX
        {
            frames.extend_from_slice(&length);
            frames.extend_from_slice(body);
            return;
        }
        let frames = [&length, body].concat();
        turn.send(to, Message::ToObjects { from, frames, source: self.source });
    }

    /// Handles frames that have crossed, each at its object.
    pub(super) fn hand_to_objects(&mut self, from: Participant, mut frames: &[u8], turn: &mut Turn<Self>) {
        let (mut looked_at, mut handled) = (0, 0_usize);
        while let Some((body, length)) = next_frame(frames) {
            if looked_at == 0 {
                looked_at = self.look_ahead(frames, turn);
            }
            looked_at -= 1;
            frames = &frames[length..];
            handled += 1;
            match self.object_of(body, turn) {
                // Somebody here may have subscribed meanwhile.
                Some((doid, _)) if !self.has_subscribers(doid) => {
                    self.state_server.on_message_at(doid, body, from, &mut self.outbox);
                    self.carry_out(turn);
                }
                _ => {
                    if let Ok(datagram) = Datagram::from_body(body) {
                        self.deliver(from, &datagram, turn);
                    }
                }
            }
        }
        turn.count_handlers(handled.saturating_sub(1));
    }
}
