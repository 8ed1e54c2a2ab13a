//! Which AI has authority over one object, and who owns it (`protocol-ss-dbss-db.md` §2.8, §2.9).

use super::object::{Announcement, Incoming, Object, Recipients};
use super::partition::Partition;
use crate::outbox::Outbox;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, Truncated, children_channel};

/// The body of CHANGING_AI and CHANGING_OWNER.
fn changing(doid: Doid, new: Channel, old: Channel) -> [u8; 20] {
    let mut body = [0; 20];
    body[..4].copy_from_slice(&doid.to_le_bytes());
    body[4..12].copy_from_slice(&new.to_le_bytes());
    body[12..].copy_from_slice(&old.to_le_bytes());
    body
}

/// The body of GET_AI_RESP and GET_OWNER_RESP.
fn channel_answer(context: u32, doid: Doid, channel: Channel) -> [u8; 16] {
    let mut body = [0; 16];
    body[..4].copy_from_slice(&context.to_le_bytes());
    body[4..8].copy_from_slice(&doid.to_le_bytes());
    body[8..].copy_from_slice(&channel.to_le_bytes());
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

    pub fn on_set_ai(
        &mut self,
        incoming: &Incoming,
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> Result<(), Truncated> {
        let new = { incoming.payload }.channel()?;
        self.change_ai(new, incoming.sender, true, partition, out);
        Ok(())
    }

    pub fn on_get_ai(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<(), Truncated> {
        let context = { incoming.payload }.u32()?;
        let answer = channel_answer(context, self.doid, self.ai);
        self.send(out, incoming.sender, t::STATESERVER_OBJECT_GET_AI_RESP, &answer);
        Ok(())
    }

    /// CHANGING_AI of the parent.
    pub fn on_changing_ai(
        &mut self,
        incoming: &Incoming,
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let (parent, new) = (payload.doid()?, payload.channel()?);
        // The old value is part of the message, and of no use here.
        payload.channel()?;
        self.inherit_ai(parent, new, incoming.sender, partition, out);
        Ok(())
    }

    /// The parent's answer to GET_AI.
    pub fn on_get_ai_resp(
        &mut self,
        incoming: &Incoming,
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        payload.u32()?;
        let (parent, new) = (payload.doid()?, payload.channel()?);
        self.inherit_ai(parent, new, incoming.sender, partition, out);
        Ok(())
    }

    fn inherit_ai(&mut self, parent: Doid, new: Channel, sender: Channel, partition: &mut Partition, out: &mut Outbox) {
        if parent == self.parent && !self.ai_is_explicit {
            self.change_ai(new, sender, false, partition, out);
        }
    }

    pub fn on_set_owner(
        &mut self,
        incoming: &Incoming,
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> Result<(), Truncated> {
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

    pub fn on_get_owner(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<(), Truncated> {
        let context = { incoming.payload }.u32()?;
        let answer = channel_answer(context, self.doid, self.owner);
        self.send(out, incoming.sender, t::STATESERVER_OBJECT_GET_OWNER_RESP, &answer);
        Ok(())
    }
}
