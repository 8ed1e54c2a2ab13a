//! Which AI has authority over one object, and who owns it (`protocol-ss-dbss-db.md` §2.8, §2.9).

use super::object::{Announcement, Handled, Incoming, Object, Recipients};
use super::partition::Partition;
use crate::outbox::Outbox;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, MessageType, children_channel};

/// The body of CHANGING_AI and CHANGING_OWNER.
fn changing(doid: Doid, new: Channel, old: Channel) -> [u8; 20] {
    let mut body = [0; 20];
    body[..4].copy_from_slice(&doid.to_le_bytes());
    body[4..12].copy_from_slice(&new.to_le_bytes());
    body[12..].copy_from_slice(&old.to_le_bytes());
    body
}

impl Object {
    /// The AI procedure. The value that the object has already changes nothing, not even whether it is explicit.
    fn change_ai(
        &mut self,
        new: Channel,
        sender: Channel,
        explicit: bool,
        partition: &mut Partition,
        out: &mut Outbox,
    ) {
        let old = self.ai;
        if new == old {
            return;
        }
        if self.ai_is_explicit {
            partition.remove_explicit_ai(old, self.doid);
        }
        if explicit {
            partition.add_explicit_ai(new, self.doid);
        }
        self.ai = new;
        self.ai_is_explicit = explicit;
        let mut recipients = Recipients::new();
        if old != 0 {
            recipients.push(old);
        }
        if self.has_children() {
            recipients.push(children_channel(self.doid));
        }
        let body = changing(self.doid, new, old);
        self.send_for(out, &recipients, sender, t::STATESERVER_OBJECT_CHANGING_AI, &body);
        if new != 0 {
            self.announce(partition, out, new, &Announcement::ENTER_AI);
        }
    }

    pub fn on_set_ai(&mut self, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) -> Handled {
        let new = { incoming.payload }.channel()?;
        self.change_ai(new, incoming.sender, true, partition, out);
        Ok(())
    }

    /// What the parent's AI is: by its CHANGING_AI, or by its answer to GET_AI, which begins with a context. An explicit AI
    /// stays. What others inherit from this object goes through [`AiChanges`](super::ai_changes::AiChanges).
    pub fn on_ai_of_parent(&mut self, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) -> Handled {
        let mut payload = incoming.payload;
        let is_answer = incoming.message_type == t::STATESERVER_OBJECT_GET_AI_RESP;
        if is_answer {
            payload.u32()?;
        }
        let (parent, new) = (payload.doid()?, payload.channel()?);
        if !is_answer {
            // The old value is part of the message, and of no use here.
            payload.channel()?;
        }
        if parent != self.parent || self.ai_is_explicit || new == self.ai {
            return Ok(());
        }
        if !self.has_children() || partition.ai_changes.follows(self.doid, (self.ai, new), out) {
            self.change_ai(new, incoming.sender, false, partition, out);
        }
        Ok(())
    }

    /// Answers GET_AI and GET_OWNER.
    pub fn answer_channel(
        &self,
        incoming: &Incoming,
        response: MessageType,
        channel: Channel,
        out: &mut Outbox,
    ) -> Handled {
        let context = { incoming.payload }.u32()?;
        let mut answer = [0; 16];
        answer[..4].copy_from_slice(&context.to_le_bytes());
        answer[4..8].copy_from_slice(&self.doid.to_le_bytes());
        answer[8..].copy_from_slice(&channel.to_le_bytes());
        self.send(out, incoming.sender, response, &answer);
        Ok(())
    }

    pub fn on_set_owner(&mut self, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) -> Handled {
        let new = { incoming.payload }.channel()?;
        let old = self.owner;
        if new == old {
            return Ok(());
        }
        self.owner = new;
        if old != 0 {
            let body = changing(self.doid, new, old);
            self.send_for(out, &[old], incoming.sender, t::STATESERVER_OBJECT_CHANGING_OWNER, &body);
        }
        if new != 0 {
            self.announce(partition, out, new, &Announcement::ENTER_OWNER);
        }
        Ok(())
    }
}
