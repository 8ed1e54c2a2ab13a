//! What a client is told of objects: entering, updates, moving, leaving, ownership (`protocol-md-ca-el.md` §3.10–§3.12).
//!
//! Decides by the session's tables alone and never asks the State Server. An object enters the ordinary view once and
//! leaves it once; what is pending in an interest operation is held back there ([`super::interest`]).

use super::objects::{Location, View};
use super::session::{End, Session};
use super::settings::Shared;
use crate::outbox::Outbox;
use crate::reason::Reason;
use crate::wire::{Channel, Doid, Encoder, message_type as t};
use bytes::Bytes;
use std::cell::OnceCell;

/// An object as it enters a view, with the client message that says so.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) doid: Doid,
    pub(super) location: Location,
    pub(super) class: u16,
    pub(super) frame: Bytes,
}

impl Entry {
    fn view(&self) -> View {
        View { class: self.class, location: self.location }
    }

    /// What holding it back costs.
    pub(super) fn cost_bytes(&self) -> usize {
        size_of::<ObjectEvent>() + self.frame.len()
    }
}

/// A CLIENT_OBJECT_LEAVING that is built when the first session needs it, and shared by the others.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    doid: Doid,
    frame: OnceCell<Bytes>,
}

impl Leaving {
    pub(super) fn new(doid: Doid) -> Self {
        Self { doid, frame: OnceCell::new() }
    }

    fn frame(&self) -> Bytes {
        let build = || Encoder::client(t::CLIENT_OBJECT_LEAVING).doid(self.doid).finish();
        self.frame.get_or_init(|| build().expect("a short message fits a frame")).clone()
    }
}

/// What happens to an object, with the client messages ready to be sent: one of them serves every session.
#[derive(Clone, Debug)]
pub(super) enum ObjectEvent {
    /// 2020, 2021: 120, 121.
    Update { doid: Doid, frame: Bytes },
    /// 2042, 2043: 142, 143.
    Entry(Entry),
    /// 2041: 140 or 132. `in_sight`: it came when the session heard all that is said where the object goes.
    Move { to: Location, frame: Bytes, leaving: Leaving, in_sight: bool },
    /// 2032: 132 and 161.
    Delete(Leaving),
}

impl ObjectEvent {
    pub(super) fn doid(&self) -> Doid {
        match self {
            ObjectEvent::Update { doid, .. } => *doid,
            ObjectEvent::Entry(entry) => entry.doid,
            ObjectEvent::Move { leaving, .. } | ObjectEvent::Delete(leaving) => leaving.doid,
        }
    }

    /// What holding it back costs.
    pub(super) fn cost_bytes(&self) -> usize {
        let frame_bytes = match self {
            ObjectEvent::Update { frame, .. } | ObjectEvent::Move { frame, .. } => frame.len(),
            ObjectEvent::Entry(entry) => entry.frame.len(),
            ObjectEvent::Delete(_) => 0,
        };
        size_of::<Self>() + frame_bytes
    }
}

impl Session {
    pub(super) fn on_object_event(
        &mut self,
        event: &ObjectEvent,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        match event {
            ObjectEvent::Update { doid, frame } => {
                self.on_update(*doid, event, frame, shared, out);
                Ok(())
            }
            ObjectEvent::Entry(entry) => self.enter(entry, shared, out),
            ObjectEvent::Move { to, frame, leaving, in_sight } => {
                let in_sight = *in_sight && self.interests.hears(*to);
                self.on_move((*to, in_sight), frame, leaving, out)
            }
            ObjectEvent::Delete(leaving) => self.on_delete(event, leaving, shared, out),
        }
    }

    /// The client's own move comes back: nothing for the client, but the zones are right from now on (A16). A place that
    /// no interest covers is not remembered for the view: closing the old zone must still end it (§3.7, self-echo trap).
    pub(super) fn on_own_move(&mut self, doid: Doid, to: Location) {
        if self.interests.covers(to) {
            self.objects.relocate(doid, to);
        } else {
            self.objects.relocate_owned(doid, to);
        }
    }

    /// Whether all that an update of this object asks for is that the client is told: the view of it is open, and nothing
    /// lies around the connection's bytes. What is so nearly always is found out without a change to the session.
    pub(super) fn passes_on(&self, sender: Channel, doid: Doid) -> bool {
        sender != self.client_id && !self.origin.is_wrapped && self.objects.is_visible(doid)
    }

    fn on_update(&mut self, doid: Doid, event: &ObjectEvent, frame: &Bytes, shared: &Shared, out: &mut Outbox) {
        let known = self.objects.get(doid);
        let is_visible = known.is_some_and(|known| known.visible.is_some());
        if !is_visible && self.interests.is_pending(doid) {
            // Also of an owned or declared object: told at once, the update would be followed by an older entry.
            self.interests.hold(doid, event);
        } else if known.is_some() || shared.uberdogs.contains_key(&doid) {
            self.write(frame.clone(), out);
        } else {
            // The snapshot that is on its way holds it already, or the object has just left.
            tracing::trace!(session = self.channel, doid, "an update of an object that the client does not see");
        }
    }

    /// An object enters a location, outside any count.
    pub(super) fn enter(&mut self, entry: &Entry, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        self.set_aside(entry.doid, out);
        self.leave_where_missed(entry, out);
        if self.has_or_gets_no_view(entry.doid) {
            return Ok(());
        }
        if self.interests.is_opening(entry.location) {
            self.interests.hold_entry(entry);
            return Ok(());
        }
        self.interests.forget(entry.doid);
        self.entrance(entry, shared, out)
    }

    /// Whether an entry changes nothing: the object is visible, or it is a session object that the client owns, and
    /// such an object has no ordinary view (§3.10 "Entrance").
    pub(super) fn has_or_gets_no_view(&self, doid: Doid) -> bool {
        self.objects.get(doid).is_some_and(|known| {
            known.visible.is_some() || (known.owned.is_some() && self.objects.is_session_object(doid))
        })
    }

    /// Begins the ordinary view of an object.
    pub(super) fn entrance(&mut self, entry: &Entry, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        if self.has_or_gets_no_view(entry.doid) {
            return Ok(());
        }
        if self.agent(shared).config.strict_entrance && !self.interests.covers(entry.location) {
            tracing::debug!(session = self.channel, doid = entry.doid, "an entry that no interest covers; dropped");
            return Ok(());
        }
        if self.objects.visible() >= self.agent(shared).visible_objects_max {
            return Err(End::eject(Reason::TooManyObjects, "more objects in view than allowed"));
        }
        self.objects.set_visible(entry.doid, entry.view());
        self.doubt_entry(entry.doid, entry.location);
        self.write(entry.frame.clone(), out);
        Ok(())
    }

    /// The table of §3.10, CHANGING_LOCATION.
    fn on_move(
        &mut self,
        (to, in_sight): (Location, bool),
        frame: &Bytes,
        leaving: &Leaving,
        out: &mut Outbox,
    ) -> Result<(), End> {
        let doid = leaving.doid;
        if self.interests.is_pending(doid) {
            // What is in sight when it is told later says nothing of what was heard in between.
            let (frame, leaving) = (frame.clone(), leaving.clone());
            self.interests.hold(doid, &ObjectEvent::Move { to, frame, leaving, in_sight });
            return Ok(());
        }
        self.set_aside(doid, out);
        let Some(known) = self.objects.relocate(doid, to) else { return Ok(()) };
        let (is_visible, is_owned) = (known.visible.is_some(), known.owned.is_some());
        if !is_visible && !is_owned {
            return Ok(());
        }
        let is_session_object = self.objects.is_session_object(doid);
        // Where updates may be missed it leaves the view until the snapshot has it again: a gap that nobody notices would
        // be worse. (A session object stays: the client would be ejected for what it did not do.)
        let is_covered = in_sight || (is_session_object && self.interests.covers(to));
        if !is_visible || is_covered || (is_session_object && is_owned) {
            self.write(frame.clone(), out);
            if is_visible && !is_owned && !is_session_object {
                self.doubt_entry(doid, to);
            }
        } else if is_session_object {
            let text = format!("session object {doid} has left the open zones");
            return Err(End::eject(Reason::SessionObjectDeleted, text));
        } else {
            self.leave_view(doid, out);
            self.write(leaving.frame(), out);
        }
        Ok(())
    }

    /// STATESERVER_OBJECT_DELETE_RAM.
    fn on_delete(
        &mut self,
        event: &ObjectEvent,
        leaving: &Leaving,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        let doid = leaving.doid;
        let Some(known) =
            self.objects.get(doid).copied().or_else(|| shared.uberdogs.contains_key(&doid).then(Default::default))
        else {
            if self.interests.is_pending(doid) {
                self.interests.hold(doid, event);
            }
            return Ok(());
        };
        self.interests.forget(doid);
        self.interests.doubted.remove(&doid);
        if self.objects.remove_session_object(doid) {
            return Err(End::eject(Reason::SessionObjectDeleted, format!("session object {doid} was deleted")));
        }
        if known.visible.is_some() {
            self.objects.clear_visible(doid);
            self.write(leaving.frame(), out);
        }
        if known.owned.is_some() {
            self.end_ownership(doid, shared, out)?;
        }
        self.objects.remember(doid, out.now_us);
        Ok(())
    }

    /// Ends the ordinary view; the client is told by the caller.
    pub(super) fn leave_view(&mut self, doid: Doid, out: &Outbox) {
        self.interests.doubted.remove(&doid);
        self.objects.clear_visible(doid);
        self.objects.remember(doid, out.now_us);
    }

    fn end_ownership(&mut self, doid: Doid, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        self.objects.clear_owned(doid);
        self.objects.remember(doid, out.now_us);
        if self.agent(shared).config.leaving_owner {
            self.write_message(Encoder::client(t::CLIENT_OBJECT_LEAVING_OWNER).doid(doid), out);
        }
        self.avatar_is_gone(doid, out)
    }

    /// STATESERVER_OBJECT_CHANGING_OWNER. The ordinary view is untouched.
    pub(super) fn on_owner_changed(
        &mut self,
        doid: Doid,
        new_owner: Channel,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        if new_owner == self.client_id {
            return Ok(());
        }
        if !self.objects.is_owned(doid) {
            tracing::debug!(session = self.channel, doid, "the owner of an object changed that is not the client's");
            return Ok(());
        }
        if self.objects.is_session_object(doid) {
            let text = format!("session object {doid} is not the client's any more");
            return Err(End::eject(Reason::SessionObjectDeleted, text));
        }
        self.end_ownership(doid, shared, out)
    }

    /// STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED(_OTHER): the client is told each time.
    pub(super) fn on_owner_entry(&mut self, entry: &Entry, out: &mut Outbox) {
        // A deletion that is held back is that of an earlier object of this doid: it must not end this ownership.
        self.interests.forget_ended(entry.doid);
        self.objects.set_owned(entry.doid, entry.view());
        self.write(entry.frame.clone(), out);
    }
}
