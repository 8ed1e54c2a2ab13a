//! Who has subscribed to which channel, in as few bytes as a million subscriptions deserve.
//!
//! It keeps what it is told of a channel and finds it again; what it means is [`super::subscriptions`]' matter.

use super::shard_set::ShardSet;
use crate::wire::Channel;
use donet_shards::ShardId;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use slab::Slab;
use smallvec::SmallVec;

/// A participant, by its number in the table of participants.
pub(super) type Slot = u32;

/// All that there is to know of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ChannelEntry {
    /// Participants of this executor, in ascending order.
    participants: SmallVec<[Slot; 4]>,
    /// Other executors with subscribers.
    pub shards: ShardSet,
    /// Whether the others know of the local subscribers.
    pub announced: bool,
}

impl ChannelEntry {
    pub fn participants(&self) -> &[Slot] {
        &self.participants
    }

    /// Whether it was not there.
    pub fn add(&mut self, slot: Slot) -> bool {
        let Err(place) = self.participants.binary_search(&slot) else { return false };
        self.participants.insert(place, slot);
        true
    }

    /// Whether it was there.
    pub fn remove(&mut self, slot: Slot) -> bool {
        let Ok(place) = self.participants.binary_search(&slot) else { return false };
        self.participants.remove(place);
        true
    }
}

/// How an entry is kept. Nearly all have one subscriber here, or subscribers on one other executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    One {
        slot: Slot,
        announced: bool,
    },
    Elsewhere(ShardId),
    /// Anything else: its place in [`ChannelTable::whole`].
    Whole(u32),
}

// With a byte of the table's own, at most half of it empty: 34 bytes for each.
const _: () = assert!(size_of::<(Channel, Kept)>() == 16);

/// The channels that somebody has subscribed to.
#[derive(Debug, Default)]
pub(super) struct ChannelTable {
    kept: HashMap<Channel, Kept>,
    whole: Slab<ChannelEntry>,
}

impl ChannelTable {
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// The participants of this executor, and the other executors with subscribers.
    pub fn look(&self, channel: Channel) -> (&[Slot], ShardSet) {
        match self.kept.get(&channel) {
            None => (&[], ShardSet::default()),
            Some(Kept::One { slot, .. }) => (std::slice::from_ref(slot), ShardSet::default()),
            Some(Kept::Elsewhere(shard)) => (&[], one(*shard)),
            Some(Kept::Whole(place)) => {
                let entry = &self.whole[*place as usize];
                (entry.participants(), entry.shards)
            }
        }
    }

    /// Changes what is known of a channel; nothing is known of one that is not there. What has neither participants nor
    /// executors afterwards is forgotten.
    pub fn change<T>(&mut self, channel: Channel, change: impl FnOnce(&mut ChannelEntry) -> T) -> T {
        let Self { kept, whole } = self;
        match kept.entry(channel) {
            Entry::Vacant(vacant) => {
                let mut entry = ChannelEntry::default();
                let told = change(&mut entry);
                if let Some(new) = keep(entry, None, whole) {
                    vacant.insert(new);
                }
                told
            }
            Entry::Occupied(mut occupied) => {
                let (mut entry, place) = match *occupied.get() {
                    Kept::One { slot, announced } => (
                        ChannelEntry { participants: [slot].into_iter().collect(), announced, ..Default::default() },
                        None,
                    ),
                    Kept::Elsewhere(shard) => (ChannelEntry { shards: one(shard), ..Default::default() }, None),
                    Kept::Whole(place) => (std::mem::take(&mut whole[place as usize]), Some(place)),
                };
                let told = change(&mut entry);
                match keep(entry, place, whole) {
                    Some(new) => *occupied.get_mut() = new,
                    None => drop(occupied.remove()),
                }
                told
            }
        }
    }
}

fn one(shard: ShardId) -> ShardSet {
    let mut shards = ShardSet::default();
    shards.insert(shard);
    shards
}

/// Puts an entry away; `place` is where it was taken from, if it was kept whole.
fn keep(entry: ChannelEntry, place: Option<u32>, whole: &mut Slab<ChannelEntry>) -> Option<Kept> {
    let ChannelEntry { participants, shards, announced } = &entry;
    let small = match (&participants[..], shards.len()) {
        ([], 0) => Some(None),
        (&[slot], 0) => Some(Some(Kept::One { slot, announced: *announced })),
        ([], 1) if !announced => shards.iter().next().map(|shard| Some(Kept::Elsewhere(shard))),
        _ => None,
    };
    match (small, place) {
        (Some(kept), None) => kept,
        (Some(kept), Some(place)) => {
            whole.remove(place as usize);
            kept
        }
        (None, Some(place)) => {
            whole[place as usize] = entry;
            Some(Kept::Whole(place))
        }
        (None, None) => Some(Kept::Whole(whole.insert(entry) as u32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use donet_shards::sim::Random;
    use std::collections::BTreeMap;

    /// Whatever is known of a channel comes back as it was told, however it is kept.
    #[test]
    fn it_knows_what_it_was_told() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let (mut table, mut model) = (ChannelTable::default(), BTreeMap::<Channel, ChannelEntry>::new());
            for _ in 0..2000 {
                let (channel, slot) = (random.below(4) as Channel, random.below(6) as Slot);
                let (kind, shard) = (random.below(6), ShardId(random.below(3) as u16));
                let announces = random.below(2) == 0;
                let change = |entry: &mut ChannelEntry| match kind {
                    0 => drop(entry.add(slot)),
                    1 | 2 => drop(entry.remove(slot)),
                    3 => entry.shards.insert(shard),
                    4 => entry.shards.remove(shard),
                    _ => entry.announced = announces && !entry.participants().is_empty(),
                };
                table.change(channel, change);
                let entry = model.entry(channel).or_default();
                change(entry);
                if entry.participants().is_empty() && entry.shards.is_empty() {
                    model.remove(&channel);
                }
                for channel in 0..4 {
                    let known = model.get(&channel).cloned().unwrap_or_default();
                    assert_eq!(table.look(channel), (known.participants(), known.shards));
                    assert_eq!(table.change(channel, |entry| entry.clone()), known);
                }
                assert_eq!((table.len(), table.is_empty()), (model.len(), model.is_empty()));
                let is_small = |entry: &&ChannelEntry| {
                    let size = entry.participants().len() + entry.shards.len();
                    size == 1 && (!entry.announced || entry.shards.is_empty())
                };
                assert_eq!(table.whole.len(), model.len() - model.values().filter(is_small).count());
            }
        }
    }

    #[test]
    fn participants_come_in_ascending_order_and_once() {
        let mut entry = ChannelEntry::default();
        assert_eq!([5, 1, 9, 5, 1].map(|slot| entry.add(slot)), [true, true, true, false, false]);
        assert_eq!(entry.participants(), [1, 5, 9]);
        assert_eq!([5, 5].map(|slot| entry.remove(slot)), [true, false]);
        assert_eq!(entry.participants(), [1, 9]);
    }
}
