//! What the whole daemon is subscribed to, as its upstream Message Director is told (`protocol-md-ca-el.md` §2.3, §2.4.2,
//! §2.6).
//!
//! One executor keeps it, the one that owns the upstream link; the others send it [`UpstreamNews`] of their participants.
//! Decides which control messages go upstream, byte by byte, and what has to be said again on a new link. It routes
//! nothing and knows no connection.

use super::interval_map::IntervalMap;
use super::shard_set::ShardSet;
use crate::faults::{Fault, seeded};
use crate::outbox::Participant;
use crate::wire::{Channel, Encoder, MessageType, message_type as t};
use bytes::Bytes;
use donet_shards::ShardId;
use std::collections::BTreeMap;

/// Who of an executor is reached by a channel: each kind is counted by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Links and sessions, which subscribe.
    Subscribers,
    /// Objects and control roles, which are found by placement.
    Objects,
}

/// What an executor tells the one with the upstream link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamNews {
    /// The sender's first individual subscriber of this kind has come, or its last has gone.
    Channel {
        channel: Channel,
        reached: Reached,
        present: bool,
    },
    RangeAdded {
        participant: Participant,
        first: Channel,
        last: Channel,
    },
    /// With the channels that lost their last individual subscriber on that executor by the same message.
    RangeRemoved {
        participant: Participant,
        first: Channel,
        last: Channel,
        channels: Vec<Channel>,
    },
    PostRemoveAdded {
        participant: Participant,
        key: Channel,
        body: Bytes,
    },
    PostRemovesCleared {
        participant: Participant,
        key: Channel,
    },
    /// A message for an Event Logger that this daemon does not have.
    Log(Bytes),
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    subscribers: ShardSet,
    objects: ShardSet,
}

impl Entry {
    fn is_empty(self) -> bool {
        self.subscribers.is_empty() && self.objects.is_empty()
    }
}

/// The individual subscriptions, ranges and post-removes of all participants of this daemon.
#[derive(Debug, Default)]
pub struct UpstreamTable {
    channels: BTreeMap<Channel, Entry>,
    ranges: IntervalMap<Participant>,
    /// By key, in the order of registration.
    post_removes: BTreeMap<Channel, Vec<(Participant, Bytes)>>,
}

impl UpstreamTable {
    /// Takes news of an executor in, and adds the frames that go upstream for it.
    pub fn apply(&mut self, from: ShardId, news: UpstreamNews, frames: &mut Vec<Bytes>) {
        match news {
            UpstreamNews::Channel { channel, reached, present: true } => {
                let entry = self.channels.entry(channel).or_default();
                if entry.is_empty() {
                    frames.push(control(t::CONTROL_ADD_CHANNEL, &[channel]));
                }
                set_of(entry, reached).insert(from);
            }
            UpstreamNews::Channel { channel, reached, present: false } => {
                if self.forget(channel, reached, from) {
                    frames.push(control(t::CONTROL_REMOVE_CHANNEL, &[channel]));
                }
            }
            UpstreamNews::RangeAdded { participant, first, last } => {
                self.ranges.add(first, last, participant);
                if self.ranges.segments(first, last).any(|(_, _, subscribers)| subscribers.len() == 1) {
                    frames.push(control(t::CONTROL_ADD_RANGE, &[first, last]));
                }
            }
            UpstreamNews::RangeRemoved { participant, first, last, channels } => {
                self.remove_range(from, participant, first, last, &channels, frames);
            }
            UpstreamNews::PostRemoveAdded { participant, key, body } => {
                if !seeded(Fault::PostRemovesStayHere) {
                    frames.extend(post_remove(key, &body));
                }
                self.post_removes.entry(key).or_default().push((participant, body));
            }
            UpstreamNews::PostRemovesCleared { participant, key } => {
                frames.push(control(t::CONTROL_CLEAR_POST_REMOVES, &[key]));
                // Upstream that has cleared the entries of whoever else uses the key: they are said again (§2.6 REC).
                if let Some(entries) = self.post_removes.get_mut(&key) {
                    entries.retain(|(other, _)| *other != participant);
                    frames.extend(entries.iter().filter_map(|(_, body)| post_remove(key, body)));
                    if entries.is_empty() {
                        self.post_removes.remove(&key);
                    }
                }
            }
            UpstreamNews::Log(event) => frames.extend(Encoder::control(t::CONTROL_LOG_MESSAGE).blob(&event).finish()),
        }
    }

    /// Everything that a new upstream link must be told before any data (§2.8).
    pub fn replay(&self) -> impl Iterator<Item = Bytes> + '_ {
        let ranges = self.ranges.covered();
        let ranges = ranges.into_iter().map(|(first, last)| control(t::CONTROL_ADD_RANGE, &[first, last]));
        // Before the ranges: inside of one the parent would ignore them, and a removal of the range would cost them.
        let channels = self.channels.keys().map(|&channel| control(t::CONTROL_ADD_CHANNEL, &[channel]));
        let post_removes = self.post_removes.iter();
        let post_removes =
            post_removes.flat_map(|(&key, entries)| entries.iter().filter_map(move |(_, body)| post_remove(key, body)));
        let is_forgotten = seeded(Fault::ReplayForgotten);
        channels.chain(ranges).chain(post_removes).filter(move |_| !is_forgotten)
    }

    /// Individual subscriptions, for logs.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Whether nobody has an individual subscription any more.
    fn forget(&mut self, channel: Channel, reached: Reached, from: ShardId) -> bool {
        let Some(entry) = self.channels.get_mut(&channel) else { return false };
        set_of(entry, reached).remove(from);
        let is_last = entry.is_empty();
        if is_last {
            self.channels.remove(&channel);
        }
        is_last
    }

    /// The conformance algorithm of §2.4.2, with the holes of §2.4.3 closed.
    fn remove_range(
        &mut self,
        from: ShardId,
        participant: Participant,
        first: Channel,
        last: Channel,
        channels: &[Channel],
        frames: &mut Vec<Bytes>,
    ) {
        let silent = self.silence(participant, first, last);
        for &(first, last) in &silent {
            frames.push(control(t::CONTROL_REMOVE_RANGE, &[first, last]));
        }
        let is_silent = |channel| silent.iter().any(|&(first, last)| (first..=last).contains(&channel));
        for &channel in channels {
            let is_last = self.forget(channel, Reached::Subscribers, from);
            if is_last && !is_silent(channel) && self.ranges.at(channel).is_empty() {
                frames.push(control(t::CONTROL_REMOVE_CHANNEL, &[channel]));
            }
        }
        // The parent has forgotten these with the range.
        for &(first, last) in &silent {
            let survivors = self.channels.range(first..=last);
            frames.extend(survivors.map(|(&channel, _)| control(t::CONTROL_ADD_CHANNEL, &[channel])));
        }
    }

    /// Ends a participant's coverage; the maximal intervals to be removed upstream.
    fn silence(&mut self, participant: Participant, first: Channel, last: Channel) -> Vec<(Channel, Channel)> {
        let Some((lowest, highest)) = self.ranges.hull() else { return Vec::new() };
        let (first, last) = (first.max(lowest), last.min(highest));
        if first > last {
            return Vec::new();
        }
        let mut silent = Vec::new();
        // Segments that nobody covers stay in.
        let mut next = Some(first);
        for (start, end, subscribers) in self.ranges.segments(first, last) {
            if subscribers.iter().any(|&other| other != participant) {
                match next {
                    Some(from) if from < start => silent.push((from, start - 1)),
                    _ => {}
                }
                next = end.checked_add(1);
            }
        }
        if let Some(from) = next.filter(|&from| from <= last) {
            silent.push((from, last));
        }
        self.ranges.remove(first, last, participant);
        silent
    }
}

fn set_of(entry: &mut Entry, reached: Reached) -> &mut ShardSet {
    match reached {
        Reached::Subscribers => &mut entry.subscribers,
        Reached::Objects => &mut entry.objects,
    }
}

fn control(message_type: MessageType, channels: &[Channel]) -> Bytes {
    let message = channels.iter().fold(Encoder::control(message_type), |message, &channel| message.channel(channel));
    message.finish().expect("two channels fit a frame")
}

/// None when the body came from a role and is too large to be wrapped; a link's came wrapped.
fn post_remove(key: Channel, body: &[u8]) -> Option<Bytes> {
    Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(key).blob(body).finish().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const C1: Participant = Participant::DatabaseServer(1);
    const C2: Participant = Participant::DatabaseServer(2);
    const HERE: ShardId = ShardId(0);
    const THERE: ShardId = ShardId(1);

    #[derive(Default)]
    struct Daemon(UpstreamTable);

    impl Daemon {
        fn tell(&mut self, from: ShardId, news: UpstreamNews) -> Vec<Bytes> {
            let mut frames = Vec::new();
            self.0.apply(from, news, &mut frames);
            frames
        }

        fn channel(&mut self, from: ShardId, channel: Channel, present: bool) -> Vec<Bytes> {
            self.tell(from, UpstreamNews::Channel { channel, reached: Reached::Subscribers, present })
        }

        fn object(&mut self, from: ShardId, channel: Channel, present: bool) -> Vec<Bytes> {
            self.tell(from, UpstreamNews::Channel { channel, reached: Reached::Objects, present })
        }

        fn add(&mut self, participant: Participant, first: Channel, last: Channel) -> Vec<Bytes> {
            self.tell(HERE, UpstreamNews::RangeAdded { participant, first, last })
        }

        fn remove(&mut self, participant: Participant, first: Channel, last: Channel) -> Vec<Bytes> {
            self.remove_with(participant, first, last, &[])
        }

        fn remove_with(&mut self, participant: Participant, first: u64, last: u64, channels: &[u64]) -> Vec<Bytes> {
            let channels = channels.to_vec();
            self.tell(HERE, UpstreamNews::RangeRemoved { participant, first, last, channels })
        }
    }

    fn added(first: Channel, last: Channel) -> Bytes {
        control(t::CONTROL_ADD_RANGE, &[first, last])
    }

    fn removed(first: Channel, last: Channel) -> Bytes {
        control(t::CONTROL_REMOVE_RANGE, &[first, last])
    }

    fn subscribed(channel: Channel) -> Bytes {
        control(t::CONTROL_ADD_CHANNEL, &[channel])
    }

    fn unsubscribed(channel: Channel) -> Bytes {
        control(t::CONTROL_REMOVE_CHANNEL, &[channel])
    }

    const NOTHING: [Bytes; 0] = [];

    #[test]
    fn md_6_md_7_the_first_and_the_last_of_the_whole_daemon_are_told() {
        let mut daemon = Daemon::default();
        assert_eq!(daemon.channel(HERE, 5000, true), [subscribed(5000)]);
        assert_eq!(daemon.channel(THERE, 5000, true), NOTHING);
        assert_eq!(daemon.object(THERE, 5000, true), NOTHING);
        assert_eq!(daemon.channel(HERE, 5000, false), NOTHING);
        assert_eq!(daemon.channel(HERE, 5000, false), NOTHING, "what is not there cannot go");
        assert_eq!(daemon.channel(THERE, 5000, false), NOTHING);
        assert_eq!(daemon.object(THERE, 5000, false), [unsubscribed(5000)]);
    }

    /// The table of §2.4.2, row by row.
    #[test]
    fn md_12_the_worked_sequence() {
        let mut daemon = Daemon::default();
        assert_eq!(daemon.add(C1, 1000, 1999), [added(1000, 1999)]);
        assert_eq!(daemon.remove(C1, 1300, 1700), [removed(1300, 1700)]);
        assert_eq!(daemon.add(C1, 1900, 2100), [added(1900, 2100)]);
        assert_eq!(daemon.remove(C1, 1000, 1999), [removed(1000, 1999)]);
        assert_eq!(daemon.remove(C1, 2000, 2100), [removed(2000, 2100)], "the link ends");
        assert_eq!(daemon.add(C1, 3000, 5000), [added(3000, 5000)]);
        assert_eq!(daemon.remove(C1, 2950, 3043), [removed(3000, 3043)], "clipped");
        assert_eq!(daemon.remove(C1, 4763, 6000), [removed(4763, 5000)], "clipped");
        for (first, last) in [(3951, 4049), (4030, 4070), (3891, 4040), (3700, 4200)] {
            assert_eq!(daemon.remove(C1, first, last), [removed(first, last)]);
        }
        assert_eq!(daemon.add(C2, 3500, 4500), [added(3500, 4500)]);
        assert_eq!(daemon.remove(C1, 3650, 3800), NOTHING);
        assert_eq!(daemon.remove(C1, 3475, 3525), [removed(3475, 3499)]);
        assert_eq!(daemon.remove(C2, 3620, 4300), [removed(3650, 4200)]);
        let mut ended = daemon.remove(C2, 3500, 3619);
        ended.extend(daemon.remove(C2, 4301, 4500));
        assert_eq!(ended, [removed(3500, 3525)], "the link ends: once for each of its ranges");
        assert_eq!(daemon.add(C2, 1000, 5000), [added(1000, 5000)]);
        assert_eq!(
            daemon.remove(C2, 1000, 5000),
            [removed(1000, 3043), removed(3475, 3525), removed(3650, 4200), removed(4763, 5000)]
        );
    }

    #[test]
    fn a_range_is_told_when_some_part_of_it_has_one_subscriber() {
        let mut daemon = Daemon::default();
        daemon.add(C1, 1000, 1999);
        assert_eq!(daemon.add(C1, 1000, 1999), [added(1000, 1999)], "its own again");
        assert_eq!(daemon.add(C2, 1200, 1300), NOTHING, "covered by another's");
        assert_eq!(daemon.add(C2, 1900, 2100), [added(1900, 2100)], "covered in part: whole");
        assert_eq!(daemon.add(C2, 0, u64::MAX), [added(0, u64::MAX)]);
        assert_eq!(daemon.remove(C2, 0, u64::MAX), [removed(0, 999), removed(2000, u64::MAX)]);
    }

    #[test]
    fn an_individual_subscription_outlives_a_range_around_it() {
        let mut daemon = Daemon::default();
        daemon.channel(THERE, 1500, true);
        daemon.add(C1, 1000, 1999);
        assert_eq!(daemon.remove(C1, 1000, 1999), [removed(1000, 1999), subscribed(1500)]);
        assert_eq!(daemon.channel(THERE, 1500, false), [unsubscribed(1500)]);
    }

    #[test]
    fn individual_subscriptions_that_go_with_a_range_are_told_where_the_range_is_not() {
        let mut daemon = Daemon::default();
        daemon.channel(HERE, 1500, true);
        assert_eq!(daemon.remove_with(C1, 1000, 1999, &[1500]), [unsubscribed(1500)], "without any range");
        daemon.channel(HERE, 1500, true);
        daemon.add(C1, 1400, 1600);
        assert_eq!(daemon.remove_with(C1, 1000, 1999, &[1500]), [removed(1400, 1600)], "inside what is told");
        daemon.channel(HERE, 1500, true);
        daemon.add(C1, 1800, 1900);
        daemon.add(C2, 1400, 1600);
        assert_eq!(daemon.remove_with(C1, 1500, 1899, &[1500]), [removed(1601, 1899)], "under another's range");
        assert_eq!(daemon.remove(C2, 1400, 1600), [removed(1400, 1600)], "and not said again");
    }

    #[test]
    fn md_16_md_17_post_removes_are_passed_on_and_survivors_said_again() {
        let mut daemon = Daemon::default();
        let register = |participant, body: &'static [u8]| UpstreamNews::PostRemoveAdded {
            participant,
            key: 7,
            body: Bytes::from_static(body),
        };
        let said = |body: &[u8]| post_remove(7, body).unwrap();
        let cleared = control(t::CONTROL_CLEAR_POST_REMOVES, &[7]);
        assert_eq!(daemon.tell(HERE, register(C1, b"one")), [said(b"one")]);
        assert_eq!(daemon.tell(HERE, register(C2, b"two")), [said(b"two")]);
        let clear = |participant| UpstreamNews::PostRemovesCleared { participant, key: 7 };
        assert_eq!(daemon.tell(HERE, clear(C1)), [cleared.clone(), said(b"two")]);
        assert_eq!(daemon.tell(HERE, clear(C2)), std::slice::from_ref(&cleared));
        assert_eq!(daemon.tell(HERE, clear(C2)), [cleared], "even if there are none");
    }

    #[test]
    fn a_new_link_is_told_everything() {
        let mut daemon = Daemon::default();
        daemon.channel(HERE, 1500, true);
        daemon.object(THERE, 9, true);
        daemon.add(C1, 1000, 1999);
        daemon.add(C2, 1900, 2500);
        let body = Bytes::from_static(b"bye");
        daemon.tell(HERE, UpstreamNews::PostRemoveAdded { participant: C1, key: 7, body });
        let frames: Vec<Bytes> = daemon.0.replay().collect();
        assert_eq!(frames, [subscribed(9), subscribed(1500), added(1000, 2500), post_remove(7, b"bye").unwrap()]);
    }
}
