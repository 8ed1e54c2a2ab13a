//! One executor's subscriptions: its participants, and which other executors have any (design §2, §3 rule 7).
//!
//! Decides who receives and when a subscription is in effect everywhere. It never sees a message.

use super::announcements::Announcements;
use super::channel_table::{ChannelEntry, ChannelTable, Slot};
use super::homes::Homes;
use super::interval_map::IntervalMap;
use super::shard_set::ShardSet;
use super::upstream::{Reached, UpstreamNews};
use crate::faults::{Fault, seeded};
use crate::outbox::Participant;
use crate::wire::Channel;
use donet_shards::{ShardId, shard_of};
use hashbrown::HashMap;
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};
use std::ops::RangeInclusive;

/// What an executor tells the others of its subscribers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    Channel(Channel),
    /// Inclusive.
    Range(Channel, Channel),
}

/// Between the subscription tables of one daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionNews {
    /// The sender has subscribers now. Answered with [`SubscriptionNews::Acknowledged`].
    Announced {
        span: Span,
        announcement: u64,
    },
    /// The sender has none any more.
    Withdrawn {
        span: Span,
    },
    Acknowledged {
        announcement: u64,
    },
}

/// What a change asks for.
#[derive(Debug, Default)]
pub struct Changes {
    /// To every other executor, in order.
    pub news: Vec<SubscriptionNews>,
    /// To the executor with the upstream link, in order.
    pub upstream: Vec<UpstreamNews>,
    /// Participants whose awaited subscriptions are in effect everywhere now.
    pub effective: Vec<(Participant, u64)>,
}

#[derive(Debug)]
struct ParticipantEntry {
    participant: Participant,
    /// The channels that it has subscribed to, and some that it has left since; a channel may stand here twice. Which it
    /// is subscribed to stands in the table of channels alone: a second set of a million would weigh as much again.
    channels: Vec<Channel>,
    /// To how many channels it is subscribed.
    subscribed: usize,
    has_ranges: bool,
    /// Announcements that this participant's subscriptions wait for. They are numbered in their order.
    pending: BTreeSet<u64>,
    /// Tokens in the order given, each with the last announcement that was pending then. It is in effect when none up to
    /// that is pending any more: one look at the first of each for an acknowledgement, however many wait.
    awaited: VecDeque<(u64, u64)>,
}

impl ParticipantEntry {
    fn new(participant: Participant) -> Self {
        Self {
            participant,
            channels: Vec::new(),
            subscribed: 0,
            has_ranges: false,
            pending: BTreeSet::new(),
            awaited: VecDeque::new(),
        }
    }
}

const EVERY_CHANNEL: RangeInclusive<Channel> = 0..=Channel::MAX;
/// The list of a participant's channels may hold so many that it has left, beside as many as it is subscribed to.
const LEFT_CHANNELS: usize = 16;

/// The subscriptions of one executor.
#[derive(Debug)]
pub struct Subscriptions {
    shard: ShardId,
    others: ShardSet,
    /// Whether an upstream Message Director is to be told.
    upstream: bool,
    channels: ChannelTable,
    ranges: IntervalMap<Participant>,
    /// Ranges in which other executors have subscribers.
    remote_ranges: IntervalMap<ShardId>,
    participants: Slab<ParticipantEntry>,
    slots: HashMap<Participant, Slot>,
    announcements: Announcements,
}

impl Subscriptions {
    pub fn new(shard: ShardId, shards: usize, upstream: bool) -> Self {
        Self {
            shard,
            others: ShardSet::all(shards).without(shard),
            upstream,
            channels: ChannelTable::default(),
            ranges: IntervalMap::default(),
            remote_ranges: IntervalMap::default(),
            participants: Slab::new(),
            slots: HashMap::new(),
            announcements: Announcements::default(),
        }
    }

    /// Channels with subscribers anywhere, for metrics.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    pub fn is_empty(&self) -> bool {
        self.channels.is_empty()
    }

    /// The executors with subscribers of this channel, this one included: one look at each table.
    pub fn executors(&self, channel: Channel) -> ShardSet {
        let (participants, mut executors) = self.channels.look(channel);
        for &shard in self.remote_ranges.at(channel) {
            executors.insert(shard);
        }
        if !participants.is_empty() || !self.ranges.at(channel).is_empty() {
            executors.insert(self.shard);
        }
        executors
    }

    /// Adds the subscribers of this channel here; a participant may come up more than once.
    pub fn collect_local(&self, channel: Channel, receivers: &mut Vec<Participant>) {
        let (slots, _) = self.channels.look(channel);
        receivers.extend(slots.iter().map(|&slot| self.participants[slot as usize].participant));
        receivers.extend_from_slice(self.ranges.at(channel));
    }

    /// Subscribes to one channel; nothing happens where the participant covers it already (`protocol-md-ca-el.md` §2.3).
    pub fn subscribe(&mut self, participant: Participant, channel: Channel, homes: &Homes) -> Changes {
        let mut changes = Changes::default();
        if self.ranges.at(channel).contains(&participant) {
            self.wait_for_channel(participant, channel);
            return changes;
        }
        let slot = self.slot(participant);
        let is_told = !self.others.is_empty() && !homes.is_home(channel, self.shard);
        let (is_new, is_first, is_announced) = self.channels.change(channel, |entry| {
            let is_new = entry.add(slot);
            let is_announced = entry.announced;
            entry.announced |= is_new && is_told;
            (is_new, entry.participants().len() == 1, is_announced)
        });
        if is_new {
            let entry = &mut self.participants[slot as usize];
            entry.channels.push(channel);
            entry.subscribed += 1;
            if self.upstream && is_first {
                changes.upstream.push(UpstreamNews::Channel { channel, reached: Reached::Subscribers, present: true });
            }
        }
        // What others are told of already may still wait for their acknowledgements; then so does whoever asks again.
        if is_announced {
            self.wait_for_channel(participant, channel);
        } else if is_new && is_told {
            self.announce(Span::Channel(channel), participant, &mut changes);
        }
        changes
    }

    /// The number of a participant, which it gets when it has none.
    fn slot(&mut self, participant: Participant) -> Slot {
        *self.slots.entry(participant).or_insert_with(|| {
            let entry = ParticipantEntry::new(participant);
            Slot::try_from(self.participants.insert(entry)).expect("connections are fewer than 2^32")
        })
    }

    fn of(&mut self, participant: Participant) -> &mut ParticipantEntry {
        let slot = self.slot(participant);
        &mut self.participants[slot as usize]
    }

    fn known(&self, participant: Participant) -> Option<&ParticipantEntry> {
        Some(&self.participants[*self.slots.get(&participant)? as usize])
    }

    fn is_subscribed(&self, slot: Slot, channel: Channel) -> bool {
        self.channels.look(channel).0.binary_search(&slot).is_ok()
    }

    /// Takes the channels of a range out of a participant's list: those that it is subscribed to, in ascending order and
    /// once each.
    fn take_channels(&mut self, slot: Slot, range: RangeInclusive<Channel>) -> Vec<Channel> {
        let list = &mut self.participants[slot as usize].channels;
        let mut channels: Vec<Channel> = if range == EVERY_CHANNEL {
            std::mem::take(list)
        } else {
            list.extract_if(.., |channel| range.contains(channel)).collect()
        };
        channels.retain(|&channel| self.is_subscribed(slot, channel));
        // Nothing may depend on the order of subscribing and leaving: this is the order in which others are told.
        channels.sort_unstable();
        channels.dedup();
        channels
    }

    /// Notes that a participant has left so many channels.
    fn note_left(&mut self, slot: Slot, count: usize) {
        let entry = &mut self.participants[slot as usize];
        entry.subscribed -= count;
        if entry.channels.len() > 2 * entry.subscribed + LEFT_CHANNELS {
            self.participants[slot as usize].channels = self.take_channels(slot, EVERY_CHANNEL);
        }
    }

    pub fn unsubscribe(&mut self, participant: Participant, channel: Channel) -> Changes {
        let mut changes = Changes::default();
        let Some(&slot) = self.slots.get(&participant) else { return changes };
        if let Some(is_last) = self.drop_channel(slot, channel, &mut changes) {
            self.note_left(slot, 1);
            if is_last {
                self.tell_upstream_of_last(channel, &mut changes);
            }
        }
        changes
    }

    fn tell_upstream_of_last(&self, channel: Channel, changes: &mut Changes) {
        if self.upstream {
            changes.upstream.push(UpstreamNews::Channel { channel, reached: Reached::Subscribers, present: false });
        }
    }

    pub fn subscribe_range(&mut self, participant: Participant, first: Channel, last: Channel) -> Changes {
        let mut changes = Changes::default();
        if first > last {
            return changes;
        }
        self.ranges.add(first, last, participant);
        self.of(participant).has_ranges = true;
        if !self.others.is_empty() {
            self.announce(Span::Range(first, last), participant, &mut changes);
        }
        if self.upstream {
            changes.upstream.push(UpstreamNews::RangeAdded { participant, first, last });
        }
        changes
    }

    /// Ends the coverage of `first..=last`, individual subscriptions inside it included (§2.3, 9003).
    pub fn unsubscribe_range(&mut self, participant: Participant, first: Channel, last: Channel) -> Changes {
        let mut changes = Changes::default();
        let mut last_ones = Vec::new();
        if let Some(&slot) = self.slots.get(&participant) {
            let inside = self.take_channels(slot, first..=last);
            for &channel in &inside {
                if self.drop_channel(slot, channel, &mut changes) == Some(true) {
                    last_ones.push(channel);
                }
            }
            self.note_left(slot, inside.len());
        }
        self.drop_range(participant, first, last, last_ones, &mut changes);
        changes
    }

    /// Ends everything of a participant.
    pub fn remove_participant(&mut self, participant: Participant) -> Changes {
        let mut changes = Changes::default();
        let Some(slot) = self.slots.remove(&participant) else { return changes };
        for channel in self.take_channels(slot, EVERY_CHANNEL) {
            if self.drop_channel(slot, channel, &mut changes) == Some(true) {
                self.tell_upstream_of_last(channel, &mut changes);
            }
        }
        let entry = self.participants.remove(slot as usize);
        if entry.has_ranges {
            for (first, last) in self.ranges.ranges_of(participant) {
                self.drop_range(participant, first, last, Vec::new(), &mut changes);
            }
        }
        changes
    }

    /// Whether something that the participant has subscribed to is not in effect everywhere yet.
    pub fn is_waiting(&self, participant: Participant) -> bool {
        // Nobody waits where nothing is announced, which is nearly always: no look at the table.
        !self.announcements.is_empty() && self.known(participant).is_some_and(|entry| !entry.pending.is_empty())
    }

    /// Asks to be told when everything subscribed so far is in effect everywhere.
    pub fn await_effect(&mut self, participant: Participant, token: u64) -> Changes {
        let entry = self.of(participant);
        if entry.pending.is_empty() {
            return Changes { effective: vec![(participant, token)], ..Changes::default() };
        }
        let last = entry.pending.last().copied().unwrap_or_default();
        // Not before those that were asked for earlier.
        let last = entry.awaited.back().map_or(last, |&(_, earlier)| last.max(earlier));
        entry.awaited.push_back((token, last));
        Changes::default()
    }

    /// Asks to be told when everything that anybody here has subscribed to so far is in effect everywhere.
    pub fn await_everything(&mut self, participant: Participant, token: u64) -> Changes {
        let pending: Vec<u64> = self.announcements.numbers().collect();
        for announcement in pending {
            self.wait_for(participant, announcement);
        }
        self.await_effect(participant, token)
    }

    /// Forgets a participant that has only waited.
    pub fn release(&mut self, participant: Participant) {
        let is_idle = |entry: &ParticipantEntry| {
            entry.subscribed == 0 && !entry.has_ranges && entry.pending.is_empty() && entry.awaited.is_empty()
        };
        if self.known(participant).is_some_and(is_idle)
            && let Some(slot) = self.slots.remove(&participant)
        {
            self.participants.remove(slot as usize);
        }
    }

    /// News of another executor. The answer, if any, goes to it alone.
    pub fn on_news(&mut self, from: ShardId, news: SubscriptionNews) -> (Option<SubscriptionNews>, Changes) {
        let mut changes = Changes::default();
        let answer = match news {
            SubscriptionNews::Announced { span, announcement } => {
                match span {
                    Span::Channel(channel) => self.channels.change(channel, |entry| entry.shards.insert(from)),
                    Span::Range(first, last) => self.remote_ranges.add(first, last, from),
                }
                Some(SubscriptionNews::Acknowledged { announcement })
            }
            SubscriptionNews::Withdrawn { span } => {
                match span {
                    Span::Channel(channel) => self.channels.change(channel, |entry| entry.shards.remove(from)),
                    Span::Range(first, last) => {
                        self.remote_ranges.remove(first, last, from);
                    }
                }
                None
            }
            SubscriptionNews::Acknowledged { announcement } => {
                let complete = self.announcements.get_mut(announcement).is_some_and(|pending| {
                    pending.missing.remove(from);
                    pending.missing.is_empty()
                });
                if complete {
                    self.complete(announcement, &mut changes);
                }
                None
            }
        };
        (answer, changes)
    }

    fn announce(&mut self, span: Span, participant: Participant, changes: &mut Changes) {
        let announcement = self.announcements.begin(span, self.acknowledges(span));
        self.wait_for(participant, announcement);
        changes.news.push(SubscriptionNews::Announced { span, announcement });
    }

    /// Who must have acknowledged an announcement before it counts: everybody else.
    fn acknowledges(&self, span: Span) -> ShardSet {
        if seeded(Fault::NoAcknowledgement) {
            return ShardSet::default();
        }
        if let Span::Channel(channel) = span
            && channel >> 32 != 0
            && seeded(Fault::AcknowledgementOfParentOnly)
        {
            let mut parent = ShardSet::default();
            parent.insert(shard_of(channel >> 32, self.others.iter().count() + 1));
            return parent.without(self.shard);
        }
        self.others
    }

    fn wait_for(&mut self, participant: Participant, announcement: u64) {
        let slot = self.slot(participant);
        if let Some(pending) = self.announcements.get_mut(announcement)
            && self.participants[slot as usize].pending.insert(announcement)
        {
            pending.waiting.push(participant);
        }
    }

    fn wait_for_channel(&mut self, participant: Participant, channel: Channel) {
        if let Some(pending) = self.announcements.of_channel(channel) {
            self.wait_for(participant, pending);
        }
    }

    /// An announcement that is acknowledged by all, or that has become pointless.
    fn complete(&mut self, announcement: u64, changes: &mut Changes) {
        let Some(done) = self.announcements.end(announcement) else { return };
        for participant in done.waiting {
            let Some(&slot) = self.slots.get(&participant) else { continue };
            let entry = &mut self.participants[slot as usize];
            entry.pending.remove(&announcement);
            let first = entry.pending.first().copied();
            while let Some((token, _)) =
                entry.awaited.pop_front_if(|&mut (_, last)| first.is_none_or(|first| first > last))
            {
                changes.effective.push((participant, token));
            }
        }
    }

    /// Whether the participant was the last one of this executor; `None` if it was none of them.
    fn drop_channel(&mut self, slot: Slot, channel: Channel, changes: &mut Changes) -> Option<bool> {
        let (was_there, is_last, withdrawn) = self.channels.change(channel, |entry: &mut ChannelEntry| {
            let was_there = entry.remove(slot);
            let is_last = was_there && entry.participants().is_empty();
            (was_there, is_last, is_last && std::mem::take(&mut entry.announced))
        });
        if withdrawn {
            changes.news.push(SubscriptionNews::Withdrawn { span: Span::Channel(channel) });
        }
        if withdrawn && let Some(announcement) = self.announcements.of_channel(channel) {
            self.complete(announcement, changes);
        }
        was_there.then_some(is_last)
    }

    /// `channels` are those that lost their last individual subscriber here by the same message.
    fn drop_range(
        &mut self,
        participant: Participant,
        first: Channel,
        last: Channel,
        channels: Vec<Channel>,
        changes: &mut Changes,
    ) {
        if self.upstream && first <= last {
            changes.upstream.push(UpstreamNews::RangeRemoved { participant, first, last, channels });
        }
        let silent = self.ranges.remove(first, last, participant);
        if !self.others.is_empty() {
            let withdrawn = silent.into_iter().map(|(first, last)| Span::Range(first, last));
            changes.news.extend(withdrawn.map(|span| SubscriptionNews::Withdrawn { span }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use std::path::Path;

    const LINK: Participant = Participant::DatabaseServer(1);
    const OTHER: Participant = Participant::DatabaseServer(2);

    fn table(shards: usize) -> (Subscriptions, Homes) {
        let text =
            "[services.message_director]\nbind = \"127.0.0.1\"\n[services.state_server]\ncontrol_channel = 2000\n";
        let config = config::parse(Path::new("/x.toml"), text).unwrap_or_else(|error| panic!("{error}"));
        (Subscriptions::new(ShardId(0), shards, false), Homes::new(&config, shards))
    }

    /// A channel that no placement owns.
    const OPEN: Channel = 77 << 32;

    #[test]
    fn a_first_subscriber_is_announced_and_the_last_withdrawn() {
        let (mut table, homes) = table(3);
        let announced = table.subscribe(LINK, OPEN, &homes).news;
        let [SubscriptionNews::Announced { span: Span::Channel(OPEN), .. }] = announced[..] else {
            panic!("{announced:?}");
        };
        assert_eq!(table.subscribe(OTHER, OPEN, &homes).news, []);
        assert_eq!(table.unsubscribe(LINK, OPEN).news, []);
        assert_eq!(table.unsubscribe(OTHER, OPEN).news, [SubscriptionNews::Withdrawn { span: Span::Channel(OPEN) }]);
        assert!(table.is_empty());
    }

    #[test]
    fn it_is_in_effect_when_every_other_executor_has_acknowledged() {
        let (mut table, homes) = table(3);
        table.subscribe(LINK, OPEN, &homes);
        table.subscribe(OTHER, OPEN, &homes);
        assert!(table.is_waiting(LINK) && table.is_waiting(OTHER), "whoever comes later waits for the same ones");
        assert_eq!(table.await_effect(LINK, 7).effective, []);
        let acknowledged = SubscriptionNews::Acknowledged { announcement: 1 };
        assert_eq!(table.on_news(ShardId(1), acknowledged).1.effective, []);
        assert_eq!(table.on_news(ShardId(1), acknowledged).1.effective, [], "twice the same one is not two");
        assert_eq!(table.on_news(ShardId(2), acknowledged).1.effective, [(LINK, 7)]);
        assert!(!table.is_waiting(OTHER));
        assert_eq!(table.await_effect(OTHER, 8).effective, [(OTHER, 8)]);
    }

    #[test]
    fn an_old_acknowledgement_does_not_satisfy_a_new_subscription() {
        let (mut table, homes) = table(2);
        table.subscribe(LINK, OPEN, &homes);
        table.unsubscribe(LINK, OPEN);
        table.subscribe(LINK, OPEN, &homes);
        table.await_effect(LINK, 1);
        assert_eq!(table.on_news(ShardId(1), SubscriptionNews::Acknowledged { announcement: 1 }).1.effective, []);
        assert_eq!(
            table.on_news(ShardId(1), SubscriptionNews::Acknowledged { announcement: 2 }).1.effective,
            [(LINK, 1)]
        );
    }

    #[test]
    fn a_token_waits_for_what_was_asked_before_it_only() {
        let (mut table, homes) = table(2);
        table.subscribe(LINK, OPEN, &homes);
        table.await_effect(LINK, 1);
        table.subscribe(LINK, OPEN + 1, &homes);
        assert_eq!(
            table.on_news(ShardId(1), SubscriptionNews::Acknowledged { announcement: 1 }).1.effective,
            [(LINK, 1)]
        );
        assert!(table.is_waiting(LINK));
    }

    #[test]
    fn a_burst_of_tokens_takes_effect_one_by_one_in_order() {
        let (mut table, homes) = table(2);
        for number in 0..20_000_u64 {
            table.subscribe(LINK, OPEN + number, &homes);
            assert_eq!(table.await_effect(LINK, number).effective, []);
        }
        // With a copy of all that is pending for each token this would be 10^12 steps.
        for number in 0..20_000_u64 {
            let acknowledged = SubscriptionNews::Acknowledged { announcement: number + 1 };
            assert_eq!(table.on_news(ShardId(1), acknowledged).1.effective, [(LINK, number)]);
        }
        assert!(!table.is_waiting(LINK));
    }

    #[test]
    fn channels_with_a_home_are_not_announced_there() {
        let (mut table, homes) = table(2);
        let here = (5000..).find(|&channel| homes.is_home(channel, ShardId(0))).expect("half of them");
        assert_eq!(table.subscribe(LINK, here, &homes).news, []);
        assert!(!table.is_waiting(LINK));
        let there = (5000..).find(|&channel| !homes.is_home(channel, ShardId(0))).expect("half of them");
        assert_eq!(table.subscribe(LINK, there, &homes).news.len(), 1);
    }

    #[test]
    fn others_are_remembered_by_channel_and_range() {
        let (mut table, _) = table(3);
        let announce = |span| SubscriptionNews::Announced { span, announcement: 5 };
        let (answer, _) = table.on_news(ShardId(2), announce(Span::Range(10, 20)));
        assert_eq!(answer, Some(SubscriptionNews::Acknowledged { announcement: 5 }));
        table.on_news(ShardId(1), announce(Span::Channel(15)));
        assert_eq!(table.executors(15).iter().collect::<Vec<_>>(), [ShardId(1), ShardId(2)]);
        table.on_news(ShardId(1), SubscriptionNews::Withdrawn { span: Span::Channel(15) });
        table.on_news(ShardId(2), SubscriptionNews::Withdrawn { span: Span::Range(12, 18) });
        assert!(table.executors(15).is_empty());
        assert_eq!(table.executors(20).iter().collect::<Vec<_>>(), [ShardId(2)]);
    }

    #[test]
    fn coming_and_going_leaves_no_list_behind() {
        let (mut table, homes) = table(1);
        for _ in 0..1000 {
            table.subscribe(LINK, OPEN, &homes);
            table.unsubscribe(LINK, OPEN);
            table.subscribe(LINK, OPEN + 1, &homes);
        }
        let entry = table.known(LINK).expect("it is subscribed");
        assert_eq!((entry.subscribed, table.len()), (1, 1));
        assert!(entry.channels.len() <= 2 + LEFT_CHANNELS, "{}", entry.channels.len());
        table.subscribe(OTHER, OPEN + 1, &homes);
        table.subscribe(LINK, OPEN, &homes);
        table.unsubscribe_range(LINK, OPEN, OPEN + 1);
        let mut receivers = Vec::new();
        table.collect_local(OPEN, &mut receivers);
        table.collect_local(OPEN + 1, &mut receivers);
        assert_eq!(receivers, [OTHER]);
        table.remove_participant(OTHER);
        table.release(LINK);
        assert!(table.is_empty() && table.participants.is_empty() && table.slots.is_empty());
    }

    #[test]
    fn a_participant_that_ends_leaves_nothing() {
        let (mut table, homes) = table(2);
        table.subscribe(LINK, OPEN, &homes);
        table.subscribe_range(LINK, 1 << 40, 1 << 41);
        table.await_effect(LINK, 1);
        let changes = table.remove_participant(LINK);
        assert_eq!(
            changes.news,
            [
                SubscriptionNews::Withdrawn { span: Span::Channel(OPEN) },
                SubscriptionNews::Withdrawn { span: Span::Range(1 << 40, 1 << 41) },
            ]
        );
        assert_eq!(table.on_news(ShardId(1), SubscriptionNews::Acknowledged { announcement: 2 }).1.effective, []);
        assert!(table.is_empty() && table.executors(OPEN).is_empty() && table.executors(1 << 40).is_empty());
    }
}
