//! Who is where: the children that live on this executor, and the children that a parent has been told of.
//!
//! Two tables with two purposes. [`LocalChildren`] is the truth about this executor's objects and answers what is sent
//! to a children channel and the zone queries inside the daemon (design §3 rule 8). [`Children`] is what the protocol
//! lets a parent know (`protocol-ss-dbss-db.md` §2.7): it arrives by message, lags behind, and covers children of other
//! daemons too.

use crate::wire::{Doid, Zone};
use hashbrown::{HashMap, HashSet};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Where a child is: its zone and its doid.
pub type Place = (Zone, Doid);

/// Which children of a parent are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Zones {
    All,
    /// Those in these zones, ascending, each once.
    Listed(Arc<[Zone]>),
}

impl Zones {
    pub fn listed(zones: impl Iterator<Item = Zone>) -> Self {
        let mut zones: Vec<Zone> = zones.collect();
        zones.sort_unstable();
        zones.dedup();
        Self::Listed(zones.into())
    }

    pub fn include(&self, zone: Zone) -> bool {
        match self {
            Self::All => true,
            Self::Listed(zones) => zones.binary_search(&zone).is_ok(),
        }
    }
}

/// The live objects of this executor by parent and zone. Objects without a parent are not in it.
#[derive(Debug, Default)]
pub struct LocalChildren {
    by_parent: HashMap<Doid, BTreeSet<Place>>,
}

impl LocalChildren {
    /// Notes that an object is at a location; parent 0 is no location. Returns whether it is the parent's first child
    /// here.
    pub fn add(&mut self, parent: Doid, zone: Zone, child: Doid) -> bool {
        if parent == 0 {
            return false;
        }
        let children = self.by_parent.entry(parent).or_default();
        let is_first = children.is_empty();
        children.insert((zone, child));
        is_first
    }

    /// Notes that an object left a location. Returns whether it was the parent's last child here.
    pub fn remove(&mut self, parent: Doid, zone: Zone, child: Doid) -> bool {
        let Some(children) = self.by_parent.get_mut(&parent) else { return false };
        children.remove(&(zone, child));
        let was_last = children.is_empty();
        if was_last {
            self.by_parent.remove(&parent);
        }
        was_last
    }

    /// The parents of this executor's objects, in no order.
    pub fn parents(&self) -> impl Iterator<Item = Doid> + '_ {
        self.by_parent.keys().copied()
    }

    /// Whether a parent has any child here.
    pub fn any(&self, parent: Doid) -> bool {
        self.by_parent.contains_key(&parent)
    }

    /// Appends up to `limit` children of a parent in these zones, in the order of zone and doid, beginning behind a
    /// place.
    pub fn places_after(
        &self,
        parent: Doid,
        zones: &Zones,
        behind: Option<Place>,
        limit: usize,
        places: &mut Vec<Place>,
    ) {
        let Some(children) = self.by_parent.get(&parent) else { return };
        let behind = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let most = places.len() + limit;
        match zones {
            Zones::All => places.extend(children.range((behind, Bound::Unbounded)).take(limit)),
            Zones::Listed(zones) => {
                let first = match behind {
                    Bound::Excluded((zone, _)) => zones.partition_point(|&listed| listed < zone),
                    _ => 0,
                };
                for &zone in &zones[first..] {
                    let from = match behind {
                        Bound::Excluded(place) if place.0 == zone => behind,
                        _ => Bound::Included((zone, 0)),
                    };
                    let in_zone = children.range((from, Bound::Included((zone, Doid::MAX))));
                    places.extend(in_zone.take(most - places.len()));
                    if places.len() == most {
                        return;
                    }
                }
            }
        }
    }
}

/// The children in one zone, as far as their parent knows.
#[derive(Debug, Default)]
struct ZoneChildren {
    doids: BTreeSet<Doid>,
    foreign: u32,
}

/// The children that a parent has been told of.
///
/// Nothing here costs more than the children that it concerns, however many there are beside them.
#[derive(Debug, Default)]
pub struct Children {
    zone_of: HashMap<Doid, Zone>,
    /// Those that live in other daemons: usually few.
    foreign: HashSet<Doid>,
    /// Only zones that have children.
    zones: BTreeMap<Zone, ZoneChildren>,
}

impl Children {
    pub fn is_empty(&self) -> bool {
        self.zone_of.is_empty()
    }

    /// Notes where a child is; what was known of it before is replaced. `is_foreign` says that it lives in another
    /// daemon. Returns whether anything about its place is new.
    pub fn put(&mut self, child: Doid, zone: Zone, is_foreign: bool) -> bool {
        let before = self.zone_of.insert(child, zone);
        if let Some(before) = before {
            self.leave_zone(child, before);
        }
        let children = self.zones.entry(zone).or_default();
        children.doids.insert(child);
        if is_foreign {
            children.foreign += 1;
            self.foreign.insert(child);
        }
        before != Some(zone)
    }

    /// Forgets a child.
    pub fn remove(&mut self, child: Doid) {
        if let Some(zone) = self.zone_of.remove(&child) {
            self.leave_zone(child, zone);
        }
    }

    fn leave_zone(&mut self, child: Doid, zone: Zone) {
        let Some(children) = self.zones.get_mut(&zone) else { return };
        children.doids.remove(&child);
        children.foreign -= u32::from(self.foreign.remove(&child));
        if children.doids.is_empty() {
            self.zones.remove(&zone);
        }
    }

    /// Forgets the children in these zones. Returns whether there were any.
    pub fn clear_zones(&mut self, zones: impl Iterator<Item = Zone>) -> bool {
        let mut any = false;
        for children in zones.filter_map(|zone| self.zones.remove(&zone)).collect::<Vec<_>>() {
            any = true;
            for child in children.doids {
                self.zone_of.remove(&child);
                if children.foreign > 0 {
                    self.foreign.remove(&child);
                }
            }
        }
        any
    }

    /// The zones that have children, ascending.
    pub fn active_zones(&self) -> impl Iterator<Item = Zone> + '_ {
        self.zones.keys().copied()
    }

    /// How many zones have children.
    pub fn active_zone_count(&self) -> usize {
        self.zones.len()
    }

    /// How many children there are.
    pub fn count(&self) -> u32 {
        self.zone_of.len() as u32
    }

    /// How many children are in a zone.
    pub fn count_in(&self, zone: Zone) -> u32 {
        self.zones.get(&zone).map_or(0, |children| children.doids.len() as u32)
    }

    /// How many children live in other daemons.
    pub fn foreign(&self) -> u32 {
        self.foreign.len() as u32
    }

    /// How many children in a zone live in other daemons.
    pub fn foreign_in(&self, zone: Zone) -> u32 {
        self.zones.get(&zone).map_or(0, |children| children.foreign)
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
        let after = |parent, zones: &Zones, behind, limit| {
            let mut places = Vec::new();
            children.places_after(parent, zones, behind, limit, &mut places);
            places
        };
        let listed = |zones: &[Zone]| Zones::listed(zones.iter().copied());
        assert_eq!(after(1000, &listed(&[1]), None, 9), [(1, 5), (1, 7)]);
        assert_eq!(after(1000, &listed(&[2, 0, 2, 7]), None, 9), [(0, 9), (2, 8)]);
        assert_eq!(after(1000, &listed(&[2, 0, 1]), Some((1, 5)), 9), [(1, 7), (2, 8)]);
        assert_eq!(after(1000, &listed(&[2, 0, 1]), Some((1, 5)), 1), [(1, 7)]);
        assert_eq!(after(1000, &Zones::All, None, 9), [(0, 9), (1, 5), (1, 7), (2, 8)]);
        assert_eq!(after(1000, &Zones::All, Some((1, 5)), 1), [(1, 7)]);
        assert_eq!(after(1000, &Zones::All, Some((2, 8)), 9), []);
        assert_eq!(after(0, &Zones::All, None, 9), []);
        children.remove(1001, 1, 6);
        children.remove(1001, 1, 6);
        assert!(!children.any(1001) && children.any(1000));
    }
}
