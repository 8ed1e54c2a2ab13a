//! A set of executors.

use donet_shards::{MAX_SHARDS, ShardId};

const _: () = assert!(MAX_SHARDS <= u128::BITS as usize);

/// A set of executors, as bits.
///
/// Aligned as a word, so that a table of these wastes nothing beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(Rust, packed(8))]
pub struct ShardSet(u128);

impl ShardSet {
    pub fn all(shards: usize) -> Self {
        Self(if shards == MAX_SHARDS { u128::MAX } else { (1 << shards) - 1 })
    }

    pub fn insert(&mut self, shard: ShardId) {
        self.0 |= 1 << shard.0;
    }

    pub fn remove(&mut self, shard: ShardId) {
        self.0 &= !(1 << shard.0);
    }

    pub fn contains(self, shard: ShardId) -> bool {
        self.0 >> shard.0 & 1 == 1
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn without(mut self, shard: ShardId) -> Self {
        self.remove(shard);
        self
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let shard = left.trailing_zeros() as u16;
            left &= left - 1;
            Some(ShardId(shard))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_executors() {
        let mut set = ShardSet::default();
        set.insert(ShardId(127));
        set.insert(ShardId(0));
        assert_eq!(set.iter().collect::<Vec<_>>(), [ShardId(0), ShardId(127)]);
        assert!(set.contains(ShardId(127)) && !set.contains(ShardId(1)));
        assert!(set.without(ShardId(0)).without(ShardId(127)).is_empty());
        assert_eq!(ShardSet::all(MAX_SHARDS).iter().count(), MAX_SHARDS);
        assert_eq!(ShardSet::all(3).iter().count(), 3);
    }
}
