//! What an executor has told the others of its subscriptions, until all have acknowledged it.

use super::shard_set::ShardSet;
use super::subscriptions::Span;
use crate::outbox::Participant;
use crate::wire::Channel;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::VecDeque;

/// So many places are kept for the next announcements when none is open.
const KEPT_PLACES: usize = 64;

#[derive(Debug)]
pub(super) struct Announcement {
    pub span: Span,
    /// Who has not acknowledged it.
    pub missing: ShardSet,
    pub waiting: SmallVec<[Participant; 2]>,
}

/// The open announcements of one executor. They are numbered in their order, and end nearly in it: their places stand side
/// by side, so that neither a beginning nor an end searches for one.
#[derive(Debug)]
pub(super) struct Announcements {
    /// The number of the first place.
    first: u64,
    /// What is over leaves its place until that is the first.
    places: VecDeque<Option<Announcement>>,
    open: usize,
    /// The open announcement of a channel. Apart from the table of channels, where it would make every entry larger.
    of_channel: HashMap<Channel, u64>,
}

impl Default for Announcements {
    fn default() -> Self {
        Self { first: 1, places: VecDeque::new(), open: 0, of_channel: HashMap::new() }
    }
}

impl Announcements {
    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// The numbers of those that are open, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u64> + '_ {
        (self.first..).zip(&self.places).filter(|(_, place)| place.is_some()).map(|(number, _)| number)
    }

    pub fn of_channel(&self, channel: Channel) -> Option<u64> {
        self.of_channel.get(&channel).copied()
    }

    /// Begins an announcement. Where nobody has to acknowledge it, it is over at once.
    pub fn begin(&mut self, span: Span, missing: ShardSet) -> u64 {
        let number = self.first + self.places.len() as u64;
        if missing.is_empty() {
            self.places.push_back(None);
            self.trim();
            return number;
        }
        if let Span::Channel(channel) = span {
            self.of_channel.insert(channel, number);
        }
        self.places.push_back(Some(Announcement { span, missing, waiting: SmallVec::new() }));
        self.open += 1;
        number
    }

    pub fn get_mut(&mut self, number: u64) -> Option<&mut Announcement> {
        self.place_mut(number)?.as_mut()
    }

    fn place_mut(&mut self, number: u64) -> Option<&mut Option<Announcement>> {
        self.places.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Ends an announcement, if it is open.
    pub fn end(&mut self, number: u64) -> Option<Announcement> {
        let ended = self.place_mut(number)?.take()?;
        self.open -= 1;
        if let Span::Channel(channel) = ended.span
            && self.of_channel(channel) == Some(number)
        {
            self.of_channel.remove(&channel);
        }
        self.trim();
        Some(ended)
    }

    fn trim(&mut self) {
        while self.places.front().is_some_and(Option::is_none) {
            self.places.pop_front();
            self.first += 1;
        }
        if self.places.is_empty() && self.places.capacity() > 2 * KEPT_PLACES {
            self.places.shrink_to(KEPT_PLACES);
            self.of_channel.shrink_to(KEPT_PLACES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use donet_shards::sim::Random;
    use std::collections::BTreeMap;

    /// Whatever begins and ends in whatever order is found while it is open, under its number and its channel.
    #[test]
    fn open_announcements_are_found_and_ended_ones_are_not() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let (mut announcements, mut open) = (Announcements::default(), BTreeMap::<u64, Span>::new());
            let mut last = 0;
            for _ in 0..1000 {
                let channel = random.below(5) as Channel;
                match random.below(4) {
                    0 | 1 => {
                        let is_channel = random.below(2) == 0;
                        let span = if is_channel { Span::Channel(channel) } else { Span::Range(channel, channel + 9) };
                        let missing = ShardSet::all(random.below(3));
                        let number = announcements.begin(span, missing);
                        assert_eq!(number, last + 1, "numbers follow each other");
                        last = number;
                        if !missing.is_empty() {
                            open.insert(number, span);
                        }
                    }
                    _ => {
                        let number = last.saturating_sub(random.below(8) as u64);
                        let ended = announcements.end(number).map(|announcement| announcement.span);
                        assert_eq!(ended, open.remove(&number));
                    }
                }
                assert!(announcements.numbers().eq(open.keys().copied()));
                assert_eq!(announcements.is_empty(), open.is_empty());
                let newest =
                    open.iter().rev().find(|(_, span)| **span == Span::Channel(channel)).map(|(&number, _)| number);
                let found = announcements.of_channel(channel);
                assert!(found.is_none_or(|found| Some(found) == newest), "{found:?} {newest:?}");
                assert!(announcements.get_mut(last + 1).is_none());
            }
            for number in open.into_keys() {
                announcements.end(number).expect("it is open");
            }
            assert!(announcements.is_empty() && announcements.places.is_empty() && announcements.of_channel.is_empty());
        }
    }
}
