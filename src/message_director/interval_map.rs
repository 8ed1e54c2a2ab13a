//! Ranges of channels and who is subscribed to them: disjoint segments, each with its set.

use crate::wire::Channel;
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::ops::Bound;

/// Inclusive ranges of channels, each point with a set of subscribers.
#[derive(Debug)]
pub struct IntervalMap<T> {
    /// By the first channel of the segment. Segments do not overlap and none is without subscribers.
    segments: BTreeMap<Channel, Segment<T>>,
}

#[derive(Clone, Debug)]
struct Segment<T> {
    last: Channel,
    subscribers: SmallVec<[T; 2]>,
}

impl<T> Default for IntervalMap<T> {
    fn default() -> Self {
        Self { segments: BTreeMap::new() }
    }
}

impl<T: Copy + Eq> IntervalMap<T> {
    /// The subscribers of one channel.
    pub fn at(&self, channel: Channel) -> &[T] {
        match self.segments.range(..=channel).next_back() {
            Some((_, segment)) if segment.last >= channel => &segment.subscribers,
            _ => &[],
        }
    }

    /// Subscribes to `first..=last`; an inverted range is empty.
    pub fn add(&mut self, first: Channel, last: Channel, subscriber: T) {
        if first > last {
            return;
        }
        self.split(first, last);
        let mut gaps = Vec::new();
        let mut next = Some(first);
        for (&start, segment) in self.segments.range_mut(first..=last) {
            if let Some(from) = next.filter(|&from| from < start) {
                gaps.push((from, start - 1));
            }
            next = segment.last.checked_add(1);
            if !segment.subscribers.contains(&subscriber) {
                segment.subscribers.push(subscriber);
            }
        }
        if let Some(from) = next.filter(|&from| from <= last) {
            gaps.push((from, last));
        }
        for (from, to) in gaps {
            self.segments.insert(from, Segment { last: to, subscribers: smallvec::smallvec![subscriber] });
        }
    }

    /// Ends the subscription to `first..=last`. Returns the maximal ranges on which that left nobody.
    pub fn remove(&mut self, first: Channel, last: Channel, subscriber: T) -> Vec<(Channel, Channel)> {
        if first > last {
            return Vec::new();
        }
        self.split(first, last);
        let mut silent: Vec<(Channel, Channel)> = Vec::new();
        for (&start, segment) in self.segments.range_mut(first..=last) {
            let before = segment.subscribers.len();
            segment.subscribers.retain(|other| *other != subscriber);
            if segment.subscribers.is_empty() && before > 0 {
                match silent.last_mut() {
                    Some((_, end)) if end.checked_add(1) == Some(start) => *end = segment.last,
                    _ => silent.push((start, segment.last)),
                }
            }
        }
        for &(from, to) in &silent {
            let starts: Vec<Channel> = self.segments.range(from..=to).map(|(&start, _)| start).collect();
            for start in starts {
                self.segments.remove(&start);
            }
        }
        silent
    }

    /// From the first channel that anybody covers to the last.
    pub fn hull(&self) -> Option<(Channel, Channel)> {
        let (&first, _) = self.segments.first_key_value()?;
        let (_, segment) = self.segments.last_key_value()?;
        Some((first, segment.last))
    }

    /// The parts of `first..=last` that somebody covers, each with its subscribers, in ascending order.
    ///
    /// # Panics
    /// With an inverted range.
    pub fn segments(&self, first: Channel, last: Channel) -> impl Iterator<Item = (Channel, Channel, &[T])> {
        let before = self.segments.range(..first).next_back().filter(|(_, segment)| segment.last >= first);
        before
            .into_iter()
            .chain(self.segments.range(first..=last))
            .map(move |(&start, segment)| (start.max(first), segment.last.min(last), &segment.subscribers[..]))
    }

    /// The maximal ranges that anybody covers.
    pub fn covered(&self) -> Vec<(Channel, Channel)> {
        let mut ranges: Vec<(Channel, Channel)> = Vec::new();
        for (&start, segment) in &self.segments {
            match ranges.last_mut() {
                Some((_, end)) if end.checked_add(1) == Some(start) => *end = segment.last,
                _ => ranges.push((start, segment.last)),
            }
        }
        ranges
    }

    /// The maximal ranges of one subscriber.
    pub fn ranges_of(&self, subscriber: T) -> Vec<(Channel, Channel)> {
        let mut ranges: Vec<(Channel, Channel)> = Vec::new();
        for (&start, segment) in &self.segments {
            if segment.subscribers.contains(&subscriber) {
                match ranges.last_mut() {
                    Some((_, end)) if end.checked_add(1) == Some(start) => *end = segment.last,
                    _ => ranges.push((start, segment.last)),
                }
            }
        }
        ranges
    }

    /// Makes `first` and the channel after `last` begin segments, where segments cross them.
    fn split(&mut self, first: Channel, last: Channel) {
        self.split_before(first);
        if let Some(after) = last.checked_add(1) {
            self.split_before(after);
        }
    }

    fn split_before(&mut self, channel: Channel) {
        let before = (Bound::Unbounded, Bound::Excluded(channel));
        if let Some((_, segment)) = self.segments.range_mut(before).next_back()
            && segment.last >= channel
        {
            let tail = segment.clone();
            segment.last = channel - 1;
            self.segments.insert(channel, tail);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn bounds_are_inclusive_at_both_ends() {
        let mut map = IntervalMap::default();
        map.add(1000, 1999, 'a');
        assert_eq!((map.at(999), map.at(1000), map.at(1999), map.at(2000)), (&[][..], &['a'][..], &['a'][..], &[][..]));
    }

    #[test]
    fn a_removal_splits_and_names_what_fell_silent() {
        let mut map = IntervalMap::default();
        map.add(1000, 1999, 'a');
        map.add(1500, 2500, 'b');
        assert_eq!(map.remove(1400, 1600, 'a'), [(1400, 1499)]);
        assert_eq!(map.ranges_of('a'), [(1000, 1399), (1601, 1999)]);
        assert_eq!(map.remove(0, u64::MAX, 'b'), [(1500, 1600), (2000, 2500)]);
    }

    #[test]
    fn the_whole_space_and_inverted_ranges() {
        let mut map = IntervalMap::default();
        map.add(7, 6, 'a');
        assert!(map.segments.is_empty());
        map.add(0, u64::MAX, 'a');
        assert_eq!((map.at(0), map.at(u64::MAX)), (&['a'][..], &['a'][..]));
        assert_eq!(map.remove(0, u64::MAX, 'a'), [(0, u64::MAX)]);
        assert!(map.segments.is_empty());
    }

    proptest! {
        /// Against the plainest model: a set of channels per subscriber.
        #[test]
        fn equals_a_set_per_subscriber(operations in proptest::collection::vec((any::<bool>(), 0u64..24, 0u64..24, 0u8..3), 1..40)) {
            let mut map = IntervalMap::default();
            let mut model: [BTreeSet<u64>; 3] = Default::default();
            for (add, first, last, subscriber) in operations {
                if add {
                    map.add(first, last, subscriber);
                    model[subscriber as usize].extend(first..=last);
                } else {
                    let silent = map.remove(first, last, subscriber);
                    let mut expected: BTreeSet<u64> = BTreeSet::new();
                    for channel in first..=last {
                        if model[subscriber as usize].remove(&channel) && !model.iter().any(|set| set.contains(&channel)) {
                            expected.insert(channel);
                        }
                    }
                    let told: BTreeSet<u64> = silent.iter().flat_map(|&(first, last)| first..=last).collect();
                    prop_assert_eq!(told, expected);
                }
                for channel in 0..24 {
                    let mut at: Vec<u8> = map.at(channel).to_vec();
                    at.sort_unstable();
                    let expected: Vec<u8> = (0u8..3).filter(|&who| model[who as usize].contains(&channel)).collect();
                    prop_assert_eq!(at, expected);
                }
            }
        }
    }
}
