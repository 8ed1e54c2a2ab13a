//! Which doid a new object gets (`protocol-ss-dbss-db.md` §4.4): a counter first, then freed ids in the order of their
//! deletion. Reuse is put off as long as possible, because somebody may still hold the old id.
//!
//! Decides numbers only; whether a candidate is free is asked of the storage by [`super::database`], so that not even a
//! pool that was changed in the configuration hands out an id in use.

use super::records::AllocatorRecord;
use crate::wire::Doid;
use std::ops::RangeInclusive;

/// The allocator's state, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Allocator {
    record: AllocatorRecord,
}

impl Allocator {
    /// Continues from what is stored, under the pool of today's configuration.
    ///
    /// The counter stays where it stands within the new pool, or begins at its lowest id.
    pub fn resume(stored: Option<AllocatorRecord>, pool: &RangeInclusive<Doid>) -> Self {
        let (minimum, maximum) = (*pool.start(), *pool.end());
        let fresh = AllocatorRecord { minimum, maximum, next: minimum.into(), freed_head: 0, freed_tail: 0 };
        let record = match stored {
            None => fresh,
            Some(stored) => {
                let in_pool = stored.next >= u64::from(minimum) && stored.next <= u64::from(maximum) + 1;
                let next = if in_pool { stored.next } else { fresh.next };
                AllocatorRecord { next, ..stored }
            }
        };
        Self { record: AllocatorRecord { minimum, maximum, ..record } }
    }

    pub fn record(&self) -> &AllocatorRecord {
        &self.record
    }

    /// Whether deleting the object gives its id back.
    pub fn is_in_pool(&self, doid: Doid) -> bool {
        (self.record.minimum..=self.record.maximum).contains(&doid)
    }

    /// The counter's next id; `None` when it is spent. 64 bits wide, so that it cannot wrap at 2^32 - 1.
    pub fn next_of_counter(&mut self) -> Option<Doid> {
        if self.record.next > u64::from(self.record.maximum) {
            return None;
        }
        let doid = self.record.next as Doid;
        self.record.next += 1;
        Some(doid)
    }

    /// Leaves out an id that was put to use from outside, if it is the counter's next.
    pub fn skip(&mut self, doid: Doid) {
        if u64::from(doid) == self.record.next && self.is_in_pool(doid) {
            self.record.next += 1;
        }
    }

    /// The position of the id that was freed first; the caller takes it away. `None` when none is waiting.
    pub fn take_freed(&mut self) -> Option<u64> {
        if self.record.freed_head == self.record.freed_tail {
            return None;
        }
        self.record.freed_head += 1;
        Some(self.record.freed_head - 1)
    }

    /// The position at which a freed id is to be stored.
    pub fn add_freed(&mut self) -> u64 {
        self.record.freed_tail += 1;
        self.record.freed_tail - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend(allocator: &mut Allocator) -> Vec<Doid> {
        std::iter::from_fn(|| allocator.next_of_counter()).collect()
    }

    #[test]
    fn the_counter_stops_at_the_largest_doid_there_is() {
        let mut allocator = Allocator::resume(None, &(u32::MAX - 1..=u32::MAX));
        assert_eq!(spend(&mut allocator), [u32::MAX - 1, u32::MAX]);
        assert_eq!(allocator.next_of_counter(), None);
        let mut again = Allocator::resume(Some(allocator.record().clone()), &(u32::MAX - 1..=u32::MAX));
        assert_eq!(again.next_of_counter(), None, "a restart does not begin anew");
    }

    #[test]
    fn freed_positions_are_first_in_first_out() {
        let mut allocator = Allocator::resume(None, &(1000..=1001));
        assert_eq!((allocator.take_freed(), allocator.add_freed(), allocator.add_freed()), (None, 0, 1));
        let mut again = Allocator::resume(Some(allocator.record().clone()), &(1000..=1001));
        assert_eq!((again.take_freed(), again.take_freed(), again.take_freed()), (Some(0), Some(1), None));
    }

    #[test]
    fn a_pool_that_grows_continues_and_one_that_moves_begins_at_its_minimum() {
        let mut allocator = Allocator::resume(None, &(1000..=1001));
        assert_eq!(spend(&mut allocator), [1000, 1001]);
        let stored = Some(allocator.record().clone());
        assert_eq!(Allocator::resume(stored.clone(), &(1000..=1003)).next_of_counter(), Some(1002));
        assert_eq!(Allocator::resume(stored.clone(), &(5000..=5003)).next_of_counter(), Some(5000));
        assert_eq!(Allocator::resume(stored, &(900..=999)).next_of_counter(), Some(900));
    }
}
