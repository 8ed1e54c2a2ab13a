//! What one session knows of objects (`protocol-md-ca-el.md` §3.2, §3.7): visible, owned, declared, session objects,
//! granted fields, and those that left. Tables only: who is told what stands in [`super::visibility`].

use super::settings::MAX_HISTORICAL;
use crate::wire::{Channel, Doid, Zone, location_channel};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::{BTreeSet, VecDeque};

/// Where an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) parent: Doid,
    pub(super) zone: Zone,
}

impl Location {
    pub(super) const fn channel(self) -> Channel {
        location_channel(self.parent, self.zone)
    }
}

/// One view of an object: the ordinary one or the owner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) class: u16,
    pub(super) location: Location,
}

/// An object that the session knows in at least one way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Known {
    pub(super) visible: Option<View>,
    pub(super) owned: Option<View>,
    /// The class that an AI has declared.
    pub(super) declared: Option<u16>,
}

impl Known {
    /// The class by the order of §3.7; an uberdog of the same doid comes before.
    pub(super) fn class(&self) -> Option<u16> {
        self.owned.or(self.visible).map(|view| view.class).or(self.declared)
    }

    fn is_empty(&self) -> bool {
        self.visible.is_none() && self.owned.is_none() && self.declared.is_none()
    }
}

/// The object tables of one session.
#[derive(Debug, Default)]
pub(super) struct Objects {
    known: HashMap<Doid, Known>,
    /// How many have an ordinary view.
    visible: usize,
    /// Ordered, so that a session ends the same way on every run.
    session_objects: BTreeSet<Doid>,
    /// Fields that this client may set by an AI's leave, sorted. By the full doid: grants must not leak (§3.15.2).
    sendable: HashMap<Doid, SmallVec<[u16; 8]>>,
    historical: Historical,
}

impl Objects {
    pub(super) fn get(&self, doid: Doid) -> Option<&Known> {
        self.known.get(&doid)
    }

    pub(super) fn is_visible(&self, doid: Doid) -> bool {
        self.known.get(&doid).is_some_and(|known| known.visible.is_some())
    }

    pub(super) fn is_owned(&self, doid: Doid) -> bool {
        self.known.get(&doid).is_some_and(|known| known.owned.is_some())
    }

    /// The objects that the client owns, in no order.
    pub(super) fn owned_doids(&self) -> impl Iterator<Item = Doid> + '_ {
        self.known.iter().filter(|(_, known)| known.owned.is_some()).map(|(&doid, _)| doid)
    }

    pub(super) fn set_visible(&mut self, doid: Doid, view: View) {
        let old = self.known.entry(doid).or_default().visible.replace(view);
        self.visible += usize::from(old.is_none());
    }

    /// How many objects have an ordinary view.
    pub(super) fn visible(&self) -> usize {
        self.visible
    }

    /// Ends the ordinary view.
    pub(super) fn clear_visible(&mut self, doid: Doid) {
        self.visible -= usize::from(self.is_visible(doid));
        self.change(doid, |known| known.visible = None);
    }

    /// Begins the owner's view, unless there is one.
    pub(super) fn set_owned(&mut self, doid: Doid, view: View) {
        self.known.entry(doid).or_default().owned.get_or_insert(view);
    }

    pub(super) fn clear_owned(&mut self, doid: Doid) {
        self.change(doid, |known| known.owned = None);
    }

    /// Declares an object; false when it was declared before, whatever its class.
    pub(super) fn declare(&mut self, doid: Doid, class: u16) -> bool {
        let declared = &mut self.known.entry(doid).or_default().declared;
        let is_new = declared.is_none();
        declared.get_or_insert(class);
        is_new
    }

    /// False when it was not declared.
    pub(super) fn undeclare(&mut self, doid: Doid) -> bool {
        let declared = self.known.get(&doid).is_some_and(|known| known.declared.is_some());
        self.change(doid, |known| known.declared = None);
        declared
    }

    fn change(&mut self, doid: Doid, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.known.get_mut(&doid) {
            change(known);
            if known.is_empty() {
                self.known.remove(&doid);
            }
        }
    }

    /// Updates the remembered location of every view of an object; returns what is known of it.
    pub(super) fn relocate(&mut self, doid: Doid, to: Location) -> Option<Known> {
        let known = self.known.get_mut(&doid)?;
        for view in [&mut known.visible, &mut known.owned].into_iter().flatten() {
            view.location = to;
        }
        Some(*known)
    }

    /// Moves the owner's record of an object, and leaves its ordinary view where it is.
    pub(super) fn relocate_owned(&mut self, doid: Doid, to: Location) {
        if let Some(view) = self.known.get_mut(&doid).and_then(|known| known.owned.as_mut()) {
            view.location = to;
        }
    }

    /// The visible objects and where they are, in no order.
    pub(super) fn visible_places(&self) -> impl Iterator<Item = (Doid, Location)> + '_ {
        self.known.iter().filter_map(|(&doid, known)| Some((doid, known.visible?.location)))
    }

    /// The visible objects in some zones (sorted) of a parent, ascending.
    pub(super) fn visible_in(&self, parent: Doid, zones: &[Zone]) -> Vec<Doid> {
        let inside = |view: View| view.location.parent == parent && zones.binary_search(&view.location.zone).is_ok();
        let mut found: Vec<Doid> =
            self.known.iter().filter(|(_, known)| known.visible.is_some_and(inside)).map(|(&doid, _)| doid).collect();
        found.sort_unstable();
        found
    }

    pub(super) fn is_session_object(&self, doid: Doid) -> bool {
        self.session_objects.contains(&doid)
    }

    /// False when it was one already.
    pub(super) fn add_session_object(&mut self, doid: Doid) -> bool {
        self.session_objects.insert(doid)
    }

    /// False when it was none.
    pub(super) fn remove_session_object(&mut self, doid: Doid) -> bool {
        self.session_objects.remove(&doid)
    }

    pub(super) fn session_objects(&self) -> impl Iterator<Item = Doid> + '_ {
        self.session_objects.iter().copied()
    }

    /// Replaces the granted fields of an object; none clears them.
    pub(super) fn set_sendable(&mut self, doid: Doid, mut fields: SmallVec<[u16; 8]>) {
        fields.sort_unstable();
        if fields.is_empty() {
            self.sendable.remove(&doid);
        } else {
            self.sendable.insert(doid, fields);
        }
    }

    pub(super) fn is_sendable(&self, doid: Doid, field: u16) -> bool {
        self.sendable.get(&doid).is_some_and(|fields| fields.binary_search(&field).is_ok())
    }

    /// Remembers an object that has left.
    pub(super) fn remember(&mut self, doid: Doid, now_us: u64) {
        self.historical.insert(doid, now_us);
    }

    /// Whether an object has left within the time to live (`None` = for ever).
    pub(super) fn is_historical(&self, doid: Doid, now_us: u64, ttl_us: Option<u64>) -> bool {
        self.historical.contains(doid, now_us, ttl_us)
    }
}

/// Objects that have left, with the time of their last leaving; the oldest are forgotten beyond [`MAX_HISTORICAL`].
#[derive(Debug, Default)]
struct Historical {
    left_us: HashMap<Doid, u64>,
    /// One entry per leaving, oldest first; outdated where the object has left again since.
    order: VecDeque<(Doid, u64)>,
}

impl Historical {
    fn insert(&mut self, doid: Doid, now_us: u64) {
        if self.left_us.insert(doid, now_us) == Some(now_us) {
            return;
        }
        self.order.push_back((doid, now_us));
        while self.order.len() > MAX_HISTORICAL {
            if let Some((oldest, left_us)) = self.order.pop_front()
                && self.left_us.get(&oldest) == Some(&left_us)
            {
                self.left_us.remove(&oldest);
            }
        }
    }

    fn contains(&self, doid: Doid, now_us: u64, ttl_us: Option<u64>) -> bool {
        self.left_us.get(&doid).is_some_and(|left| ttl_us.is_none_or(|ttl| now_us.saturating_sub(*left) < ttl))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_historical_set_is_bounded_and_forgets_the_oldest() {
        let mut objects = Objects::default();
        for index in 0..=MAX_HISTORICAL as u32 {
            objects.remember(2000 + index, u64::from(index));
        }
        assert!(!objects.is_historical(2000, 0, None));
        assert!(objects.is_historical(2001, 0, None));
        assert_eq!(objects.historical.left_us.len(), MAX_HISTORICAL);
        assert_eq!(objects.historical.order.len(), MAX_HISTORICAL);
    }

    #[test]
    fn a_historical_object_expires() {
        let mut objects = Objects::default();
        objects.remember(2000, 100);
        assert!(objects.is_historical(2000, 599, Some(500)));
        assert!(!objects.is_historical(2000, 600, Some(500)));
    }

    #[test]
    fn ca_sec_2_grants_do_not_leak_between_doids_with_equal_low_bits() {
        let mut objects = Objects::default();
        objects.set_sendable(0x1_0005, SmallVec::from_slice(&[7]));
        assert!(objects.is_sendable(0x1_0005, 7));
        assert!(!objects.is_sendable(0x2_0005, 7));
        objects.set_sendable(0x1_0005, SmallVec::new());
        assert!(!objects.is_sendable(0x1_0005, 7));
    }
}
