//! How one object ends (`protocol-ss-dbss-db.md` §2.5).
//!
//! A deletion goes down the tree by messages, one level at a time, and never by recursion.

use super::object::{Fate, Incoming, Object, Recipients};
use crate::outbox::Outbox;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, Reader, Truncated, Zone, children_channel};

impl Object {
    /// Tells everybody concerned that the object ends; the partition then forgets it. `tells_parent` is false where the
    /// parent itself has ordered it.
    pub fn annihilate(&mut self, sender: Channel, tells_parent: bool, out: &mut Outbox) -> Fate {
        if tells_parent {
            self.leave_parent(sender, out);
        }
        let mut recipients: Recipients = self.location().into_iter().collect();
        self.add_ai_and_owner(&mut recipients);
        let body = self.doid.to_le_bytes();
        self.send_for(out, &recipients, sender, t::STATESERVER_OBJECT_DELETE_RAM, &body);
        self.delete_children(sender, out);
        Fate::Ends
    }

    /// Orders every known child to end. They do not report back, so they are forgotten here.
    fn delete_children(&mut self, sender: Channel, out: &mut Outbox) {
        if self.has_children() {
            let (kids, body) = ([children_channel(self.doid)], self.doid.to_le_bytes());
            self.send_for(out, &kids, sender, t::STATESERVER_OBJECT_DELETE_CHILDREN, &body);
            self.children = None;
        }
    }

    /// Whether any child is known.
    pub fn has_children(&self) -> bool {
        self.children.as_ref().is_some_and(|children| !children.is_empty())
    }

    pub fn on_delete_ram(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<Fate, Truncated> {
        let is_target = { incoming.payload }.doid()? == self.doid;
        Ok(if is_target { self.annihilate(incoming.sender, true, out) } else { Fate::Lives })
    }

    /// Sent to the object itself, by whomever; AI 0 is no AI.
    pub fn on_delete_ai_objects(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<Fate, Truncated> {
        let ai = { incoming.payload }.channel()?;
        let is_meant = ai != 0 && ai == self.ai;
        Ok(if is_meant { self.annihilate(incoming.sender, true, out) } else { Fate::Lives })
    }

    pub fn on_delete_children(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<Fate, Truncated> {
        let parent = { incoming.payload }.doid()?;
        if parent == self.doid {
            self.delete_children(incoming.sender, out);
        } else if self.is_child_of(parent) {
            return Ok(self.annihilate(incoming.sender, false, out));
        }
        Ok(Fate::Lives)
    }

    /// DELETE_ZONE and DELETE_ZONES: at the parent, to be passed on; at a child, to be obeyed.
    pub fn on_delete_zones(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<Fate, Truncated> {
        let mut payload = incoming.payload;
        let parent = payload.doid()?;
        let is_plural = incoming.message_type == t::STATESERVER_OBJECT_DELETE_ZONES;
        let zones = zone_list(&mut payload, is_plural)?;
        if parent == self.doid {
            let any = self.children.as_mut().is_some_and(|children| children.clear_zones(zones));
            if any {
                let body = &incoming.payload.rest()[..payload.offset()];
                let kids = [children_channel(self.doid)];
                self.send_for(out, &kids, incoming.sender, incoming.message_type, body);
            }
        } else if self.is_child_of(parent) && { zones }.any(|zone| zone == self.zone) {
            return Ok(self.annihilate(incoming.sender, false, out));
        }
        Ok(Fate::Lives)
    }

    fn is_child_of(&self, parent: Doid) -> bool {
        parent != 0 && parent == self.parent
    }
}

/// Reads one zone, or a count and so many zones.
///
/// # Errors
/// [`Truncated`] if fewer are there than announced.
pub fn zone_list<'a>(
    payload: &mut Reader<'a>,
    is_plural: bool,
) -> Result<impl Iterator<Item = Zone> + Clone + use<'a>, Truncated> {
    let count = if is_plural { payload.u16()? as usize } else { 1 };
    let bytes = payload.take(count * size_of::<Zone>())?;
    let zone = |bytes: &[u8]| Zone::from_le_bytes(bytes.try_into().expect("chunks of four bytes"));
    Ok(bytes.chunks_exact(size_of::<Zone>()).map(zone))
}
