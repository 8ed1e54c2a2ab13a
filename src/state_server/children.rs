//! Who is where: the children that live on this executor, and the children that a parent has been told of.
//!
//! Two tables with two purposes. [`LocalChildren`] is the truth about this executor's objects and answers what is sent
//! to a children channel and the zone queries inside the daemon (design §3 rule 8). [`Children`] is what the protocol
//! lets a parent know (`protocol-ss-dbss-db.md` §2.7): it arrives by message, lags behind, and covers children of other
//! daemons too.

use crate::wire::{Doid, Zone};
use hashbrown::HashMap;
use std::collections::{BTreeMap, BTreeSet};

/// The live objects of this executor by parent and zone. Objects without a parent are not in it.
#[derive(Debug, Default)]
pub struct LocalChildren {
    by_parent: HashMap<Doid, BTreeSet<(Zone, Doid)>>,
}

impl LocalChildren {
    /// Notes that an object is at a location; parent 0 is no location.
    pub fn add(&mut self, parent: Doid, zone: Zone, child: Doid) {
        if parent != 0 {
            self.by_parent.entry(parent).or_default().insert((zone, child));
        }
    }

    /// Notes that an object left a location.
    pub fn remove(&mut self, parent: Doid, zone: Zone, child: Doid) {
        let Some(children) = self.by_parent.get_mut(&parent) else { return };
        children.remove(&(zone, child));
        if children.is_empty() {
            self.by_parent.remove(&parent);
        }
    }

    /// The children of a parent, by zone and doid.
    pub fn of(&self, parent: Doid) -> impl Iterator<Item = Doid> + '_ {
        self.by_parent.get(&parent).into_iter().flatten().map(|&(_, child)| child)
    }

    /// The children of a parent in one zone, by doid.
    pub fn in_zone(&self, parent: Doid, zone: Zone) -> impl Iterator<Item = Doid> + '_ {
        let children = self.by_parent.get(&parent).into_iter();
        children.flat_map(move |children| children.range((zone, 0)..=(zone, Doid::MAX))).map(|&(_, child)| child)
    }
}

/// Where a parent believes a child to be.
#[derive(Clone, Copy, Debug)]
struct Place {
    zone: Zone,
    foreign: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: u32,
    foreign: u32,
}

/// The children that a parent has been told of.
#[derive(Debug, Default)]
pub struct Children {
    place_of: HashMap<Doid, Place>,
    /// Only zones that have children.
    zones: BTreeMap<Zone, Count>,
}

impl Children {
    pub fn is_empty(&self) -> bool {
        self.place_of.is_empty()
    }

    /// Notes where a child is; what was known of it before is replaced. `foreign` says that it lives in another daemon.
    /// Returns whether anything about its place is new.
    pub fn put(&mut self, child: Doid, zone: Zone, foreign: bool) -> bool {
        let before = self.place_of.insert(child, Place { zone, foreign });
        if let Some(before) = before {
            self.uncount(before);
        }
        let count = self.zones.entry(zone).or_default();
        count.all += 1;
        count.foreign += u32::from(foreign);
        before.is_none_or(|before| before.zone != zone)
    }

    /// Forgets a child.
    pub fn remove(&mut self, child: Doid) {
        if let Some(place) = self.place_of.remove(&child) {
            self.uncount(place);
        }
    }

    fn uncount(&mut self, place: Place) {
        let Some(count) = self.zones.get_mut(&place.zone) else { return };
        count.all -= 1;
        count.foreign -= u32::from(place.foreign);
        if count.all == 0 {
            self.zones.remove(&place.zone);
        }
    }

    /// Forgets the children in these zones. Returns whether there were any.
    pub fn clear_zones(&mut self, zones: impl Iterator<Item = Zone>) -> bool {
        let mut any = false;
        for zone in zones {
            any |= self.zones.remove(&zone).is_some();
        }
        if any {
            self.place_of.retain(|_, place| self.zones.contains_key(&place.zone));
        }
        any
    }

    /// The zones that have children, ascending.
    pub fn active_zones(&self) -> impl Iterator<Item = Zone> + '_ {
        self.zones.keys().copied()
    }

    /// How many children there are.
    pub fn count(&self) -> u32 {
        self.place_of.len() as u32
    }

    /// How many children are in a zone.
    pub fn count_in(&self, zone: Zone) -> u32 {
        self.zones.get(&zone).map_or(0, |count| count.all)
    }

    /// How many children live in other daemons.
    pub fn foreign(&self) -> u32 {
        self.zones.values().map(|count| count.foreign).sum()
    }

    /// How many children in a zone live in other daemons.
    pub fn foreign_in(&self, zone: Zone) -> u32 {
        self.zones.get(&zone).map_or(0, |count| count.foreign)
    }
}

#[cfg(test)]
impl LocalChildren {
    /// Parent, zone and doid of every child.
    pub fn places(&self) -> impl Iterator<Item = (Doid, Zone, Doid)> + '_ {
        self.by_parent
            .iter()
            .flat_map(|(&parent, children)| children.iter().map(move |&(zone, child)| (parent, zone, child)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_place_replaces_the_old_one() {
        let mut children = Children::default();
        assert!(children.put(7, 10, true));
        assert!(!children.put(7, 10, false));
        assert!(children.put(7, 11, true));
        assert_eq!((children.count(), children.count_in(10), children.count_in(11)), (1, 0, 1));
        assert_eq!((children.foreign(), children.foreign_in(10), children.foreign_in(11)), (1, 0, 1));
        assert_eq!(children.active_zones().collect::<Vec<_>>(), [11]);
        children.remove(7);
        children.remove(7);
        assert!(children.is_empty() && children.active_zones().next().is_none());
    }

    #[test]
    fn clearing_zones_forgets_exactly_their_children() {
        let mut children = Children::default();
        for child in 0..10 {
            children.put(child, child % 3, false);
        }
        assert!(!children.clear_zones([8, 9].into_iter()));
        assert!(children.clear_zones([0, 2, 9].into_iter()));
        assert_eq!((children.count(), children.active_zones().collect::<Vec<_>>()), (3, vec![1]));
    }

    #[test]
    fn a_zone_holds_its_own_children_only() {
        let mut children = LocalChildren::default();
        for (parent, zone, child) in [(1000, 1, 7), (1000, 1, 5), (1000, 0, 9), (1000, 2, 8), (1001, 1, 6), (0, 1, 4)] {
            children.add(parent, zone, child);
        }
        assert_eq!(children.in_zone(1000, 1).collect::<Vec<_>>(), [5, 7]);
        assert_eq!(children.of(1000).collect::<Vec<_>>(), [9, 5, 7, 8]);
        assert_eq!(children.of(0).count(), 0);
        children.remove(1001, 1, 6);
        children.remove(1001, 1, 6);
        assert_eq!(children.of(1001).count(), 0);
    }
}
