//! Datagrams that are routed when a participant ends (`protocol-md-ca-el.md` §2.6).

use crate::outbox::Participant;
use crate::wire::{CONTROL, Channel, Datagram};
use bytes::Bytes;
use hashbrown::HashMap;

/// Bytes of post-removes that one participant may register, with what keeping each costs: an AI registers a handful of
/// small messages, and what a peer makes us keep must be bounded.
pub const POST_REMOVE_BYTES_MAX: usize = 1 << 20;

/// Why a post-remove was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostRemoveError {
    #[error("a post-remove addressed to the control channel alone would be a control message upstream")]
    Control,
    #[error("the participant has registered {POST_REMOVE_BYTES_MAX} bytes of post-removes already")]
    TooMany,
}

/// The post-removes of one executor's participants.
#[derive(Debug, Default)]
pub struct PostRemoves {
    by_participant: HashMap<Participant, Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    list: Vec<(Channel, Bytes)>,
    /// What they cost together.
    bytes: usize,
}

fn cost_bytes(body: &Bytes) -> usize {
    size_of::<(Channel, Bytes)>() + body.len()
}

impl PostRemoves {
    /// Registers a datagram body. It is not checked further: a broken one is dropped when it is routed.
    ///
    /// # Errors
    /// [`PostRemoveError`].
    pub fn add(&mut self, participant: Participant, key: Channel, body: Bytes) -> Result<(), PostRemoveError> {
        if let Ok(datagram) = Datagram::from_body(&body)
            && datagram.recipients().eq([CONTROL])
        {
            return Err(PostRemoveError::Control);
        }
        let entries = self.by_participant.entry(participant).or_default();
        if entries.bytes + cost_bytes(&body) > POST_REMOVE_BYTES_MAX {
            return Err(PostRemoveError::TooMany);
        }
        entries.bytes += cost_bytes(&body);
        entries.list.push((key, body));
        Ok(())
    }

    /// Forgets the participant's entries of one key.
    pub fn clear(&mut self, participant: Participant, key: Channel) {
        if let Some(entries) = self.by_participant.get_mut(&participant) {
            entries.list.retain(|(other, _)| *other != key);
            entries.bytes = entries.list.iter().map(|(_, body)| cost_bytes(body)).sum();
            if entries.list.is_empty() {
                self.by_participant.remove(&participant);
            }
        }
    }

    /// The entries of a participant that has ended, key and body, in the order of their registration.
    pub fn fire(&mut self, participant: Participant) -> Vec<(Channel, Bytes)> {
        self.by_participant.remove(&participant).unwrap_or_default().list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Encoder, MessageType};

    fn body(recipients: &[Channel]) -> Bytes {
        Encoder::internal(recipients, 0, MessageType(60)).datagram().unwrap().frame().slice(2..)
    }

    #[test]
    fn entries_fire_once_in_order_and_cleared_ones_never() {
        let who = Participant::Session(7);
        let mut post_removes = PostRemoves::default();
        for (key, recipient) in [(1, 5000), (2, 5001), (1, 5002)] {
            post_removes.add(who, key, body(&[recipient])).unwrap();
        }
        post_removes.clear(who, 2);
        assert_eq!(post_removes.fire(who), [(1, body(&[5000])), (1, body(&[5002]))]);
        assert_eq!(post_removes.fire(who), []);
    }

    #[test]
    fn a_disguised_control_message_is_refused_and_memory_is_bounded() {
        let who = Participant::Session(7);
        let mut post_removes = PostRemoves::default();
        assert_eq!(post_removes.add(who, 1, body(&[CONTROL])), Err(PostRemoveError::Control));
        let large = Bytes::from(vec![9; 60_000]);
        let taken = (0..100).take_while(|_| post_removes.add(who, 1, large.clone()).is_ok()).count();
        assert_eq!(taken, POST_REMOVE_BYTES_MAX / 60_000);
        let empty = Participant::Session(8);
        let taken = (0..100_000).take_while(|_| post_removes.add(empty, 1, Bytes::new()).is_ok()).count();
        assert_eq!(taken, POST_REMOVE_BYTES_MAX / size_of::<(Channel, Bytes)>());
        post_removes.clear(empty, 1);
        assert_eq!(post_removes.add(empty, 1, Bytes::new()), Ok(()));
    }
}
