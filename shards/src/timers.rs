//! Timers of one executor: a heap, not a future each, so that 100,000 heartbeats cost 100,000 entries.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

struct Entry<T> {
    at_us: u64,
    /// Timers of the same microsecond fire in the order they were set: a simulated run must repeat.
    sequence: u64,
    timer: T,
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at_us, self.sequence).cmp(&(other.at_us, other.sequence))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

/// Pending timers, soonest first. There is no cancelling: whoever sets a timer knows whether it still matters.
pub(crate) struct Timers<T> {
    heap: BinaryHeap<Reverse<Entry<T>>>,
    sequence: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), sequence: 0 }
    }
}

impl<T> Timers<T> {
    pub(crate) fn insert(&mut self, at_us: u64, timer: T) {
        self.sequence += 1;
        self.heap.push(Reverse(Entry { at_us, sequence: self.sequence, timer }));
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(crate) fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at_us)
    }

    pub(crate) fn pop_due(&mut self, now_us: u64) -> Option<T> {
        if self.next_us()? > now_us {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry.timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_not_early() {
        let mut timers = Timers::default();
        timers.insert(20, "second");
        timers.insert(10, "first");
        timers.insert(20, "third");
        assert_eq!(timers.pop_due(9), None);
        assert_eq!(timers.pop_due(10), Some("first"));
        assert_eq!(timers.pop_due(10), None);
        assert_eq!(timers.next_us(), Some(20));
        assert_eq!(timers.pop_due(100), Some("second"));
        assert_eq!(timers.pop_due(100), Some("third"));
        assert_eq!(timers.next_us(), None);
    }

    #[test]
    fn a_hundred_thousand_are_as_many_entries_of_a_few_words() {
        let mut timers = Timers::default();
        // Every number below the prime once, in an order that is none.
        let times = (1..100_003_u64).map(|number| number * 48_271 % 100_003);
        times.for_each(|at_us| timers.insert(at_us, at_us));
        assert_eq!((timers.len(), size_of::<Entry<u64>>()), (100_002, 24));
        let fired: Vec<u64> = std::iter::from_fn(|| timers.pop_due(u64::MAX)).collect();
        assert!(fired.iter().copied().eq(1..100_003));
    }
}
