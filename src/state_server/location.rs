//! Where one object is, and what a parent learns of its children (`protocol-ss-dbss-db.md` §2.7).

use super::object::{Announcement, Handled, Incoming, Object, Recipients};
use super::partition::Partition;
use crate::outbox::{Outbox, Participant};
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, Zone, children_channel, location_channel};

/// The context by which a new object asks for its children and knows their answers (§2.4 step 7).
const WAKE_CONTEXT: u32 = 1001;

/// The body of CHANGING_LOCATION.
fn changing_location(child: Doid, new: (Doid, Zone), old: (Doid, Zone)) -> [u8; 20] {
    let mut body = [0; 20];
    for (place, number) in body.chunks_exact_mut(4).zip([child, new.0, new.1, old.0, old.1]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    body
}

impl Object {
    /// The location procedure. `sender` is whoever caused the move.
    pub fn move_to(&mut self, new: (Doid, Zone), sender: Channel, partition: &mut Partition, out: &mut Outbox) {
        let old = (self.parent, self.zone);
        if new.0 == self.doid {
            tracing::debug!(doid = self.doid, sender, "an object cannot be its own parent");
            return;
        }
        if new == old {
            return;
        }
        let mut recipients = Recipients::new();
        self.add_ai_and_owner(&mut recipients);
        if old.0 != 0 {
            recipients.extend([Channel::from(old.0), location_channel(old.0, old.1)]);
        }
        // First where it comes, so that a move inside a parent never leaves it without children.
        if partition.children.add(new.0, new.1, self.doid) {
            out.reach(children_channel(new.0));
        }
        if partition.children.remove(old.0, old.1, self.doid) {
            out.unreach(children_channel(old.0));
        }
        partition.fan_outs.note_arrival(new.0, self.doid);
        (self.parent, self.zone) = new;
        self.parent_synchronized = false;
        if new.0 != old.0 {
            if new.0 != 0 {
                recipients.push(new.0.into());
            }
            if !self.ai_is_explicit {
                if new.0 != 0 {
                    self.ask_parent_for_ai(out);
                } else {
                    // Without a message: the AI has had CHANGING_LOCATION.
                    self.ai = 0;
                }
            }
        }
        let body = changing_location(self.doid, new, old);
        self.send_for(out, &recipients, sender, t::STATESERVER_OBJECT_CHANGING_LOCATION, &body);
        if let Some(location) = self.location() {
            self.announce(partition, out, location, &Announcement::ENTER_LOCATION);
        }
    }

    /// Tells the parent, and nobody else, that the object leaves it for good (§2.5).
    pub fn leave_parent(&self, sender: Channel, out: &mut Outbox) {
        if self.parent != 0 {
            let body = changing_location(self.doid, (0, 0), (self.parent, self.zone));
            let parent = [Channel::from(self.parent)];
            self.send_for(out, &parent, sender, t::STATESERVER_OBJECT_CHANGING_LOCATION, &body);
        }
    }

    /// Asks whoever believes to be a child of this object to say so: children may have come before their parent.
    pub fn wake_children(&self, out: &mut Outbox) {
        let context = WAKE_CONTEXT.to_le_bytes();
        self.send(out, children_channel(self.doid), t::STATESERVER_OBJECT_GET_LOCATION, &context);
    }

    pub fn ask_parent_for_ai(&mut self, out: &mut Outbox) {
        let context = self.next_context;
        self.next_context = self.next_context.wrapping_add(1);
        self.send(out, self.parent.into(), t::STATESERVER_OBJECT_GET_AI, &context.to_le_bytes());
    }

    pub fn on_set_location(&mut self, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) -> Handled {
        let mut payload = incoming.payload;
        let new = (payload.doid()?, payload.zone()?);
        self.move_to(new, incoming.sender, partition, out);
        Ok(())
    }

    pub fn on_get_location(&mut self, incoming: &Incoming, out: &mut Outbox) -> Handled {
        let context = { incoming.payload }.u32()?;
        let mut answer = [0; 16];
        for (place, number) in answer.chunks_exact_mut(4).zip([context, self.doid, self.parent, self.zone]) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        self.send(out, incoming.sender, t::STATESERVER_OBJECT_GET_LOCATION_RESP, &answer);
        let is_woken = context == WAKE_CONTEXT && self.parent != 0 && incoming.sender == Channel::from(self.parent);
        if is_woken && !self.ai_is_explicit {
            // Behind the answer, so that the parent knows the child before it says which AI it has (§2.7 [R]).
            self.ask_parent_for_ai(out);
        }
        Ok(())
    }

    pub fn on_location_ack(&mut self, incoming: &Incoming) -> Handled {
        let mut payload = incoming.payload;
        if (payload.doid()?, payload.zone()?) == (self.parent, self.zone) {
            self.parent_synchronized = true;
        }
        Ok(())
    }

    /// CHANGING_LOCATION at a parent, old or new; also at whatever else shares the channel.
    pub fn on_child_moved(&mut self, incoming: &Incoming, out: &mut Outbox) -> Handled {
        let mut payload = incoming.payload;
        let child = payload.doid()?;
        let new = (payload.doid()?, payload.zone()?);
        let old = (payload.doid()?, payload.zone()?);
        if new.0 == self.doid {
            if new != old {
                self.children.get_or_insert_default().put(child, new.1, is_foreign(incoming));
                self.acknowledge(child, new.1, out);
            }
        } else if old.0 == self.doid {
            if let Some(children) = &mut self.children {
                children.remove(child);
            }
        } else {
            tracing::debug!(doid = self.doid, child, "told of a move between other parents");
        }
        Ok(())
    }

    /// GET_LOCATION_RESP: a child answers the call of [`Object::wake_children`].
    pub fn on_child_answered(&mut self, incoming: &Incoming, out: &mut Outbox) -> Handled {
        let mut payload = incoming.payload;
        let (context, child) = (payload.u32()?, payload.doid()?);
        let (parent, zone) = (payload.doid()?, payload.zone()?);
        if context == WAKE_CONTEXT && parent == self.doid {
            let is_new = self.children.get_or_insert_default().put(child, zone, is_foreign(incoming));
            if is_new {
                self.acknowledge(child, zone, out);
            }
        }
        Ok(())
    }

    fn acknowledge(&self, child: Doid, zone: Zone, out: &mut Outbox) {
        let mut body = [0; 8];
        body[..4].copy_from_slice(&self.doid.to_le_bytes());
        body[4..].copy_from_slice(&zone.to_le_bytes());
        self.send(out, child.into(), t::STATESERVER_OBJECT_LOCATION_ACK, &body);
    }
}

/// Whether the child that a message speaks of lives in another daemon: its words came over a link.
fn is_foreign(incoming: &Incoming) -> bool {
    matches!(incoming.from, Participant::Link { .. })
}
