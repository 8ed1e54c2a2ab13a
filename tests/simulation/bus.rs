//! What links must hear of each other: the oracle of the Message Director (guarantees G1 to G4, post-removes).
//!
//! Every message carries its source, a number, and how far its source had heard every other (a vector clock). Whoever
//! covers a recipient, and has since before the message could be caused, is *due* it: exactly once, after everything of
//! the same source and after every cause of it that is due here too.

use donet::wire::{Channel, Encoder, MessageType, Reader};
use std::collections::{BTreeMap, BTreeSet};

/// No role knows it: it is relayed.
pub const BUS: MessageType = MessageType(60_000);
/// What a post-remove is numbered from: behind everything that its link sent itself.
const POST_REMOVES: u32 = 1_000_000;

/// What somebody covers, and since which number of their own messages; 0 = since long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cover {
    pub first: Channel,
    pub last: Channel,
    is_range: bool,
    since: u32,
}

#[derive(Default)]
struct Member {
    alive: bool,
    covers: Vec<Cover>,
    /// Channels that were covered at some time since the last rest.
    lately: Vec<(Channel, Channel)>,
    sent: u32,
    clock: Vec<u32>,
    /// By source: the numbers that must still come, with their recipients.
    due: Vec<BTreeMap<u32, Vec<Channel>>>,
    heard: Vec<BTreeSet<u32>>,
    post_removes: Vec<(Channel, u32, Vec<Channel>, Vec<u32>)>,
}

impl Member {
    fn forget_what_is_not_covered(&mut self) {
        let covers = &self.covers;
        let is_covered = |channel: &Channel| covers.iter().any(|cover| (cover.first..=cover.last).contains(channel));
        for due in &mut self.due {
            due.retain(|_, recipients| recipients.iter().any(is_covered));
        }
    }
}

/// All links that take part.
pub struct Bus {
    members: Vec<Member>,
    /// By source and number: who may get it.
    recipients: BTreeMap<(usize, u32), Vec<Channel>>,
    pub delivered: usize,
}

impl Bus {
    pub fn new(most: usize) -> Self {
        let member = || Member {
            clock: vec![0; most],
            due: vec![BTreeMap::new(); most],
            heard: vec![BTreeSet::new(); most],
            ..Member::default()
        };
        Self { members: (0..most).map(|_| member()).collect(), recipients: BTreeMap::new(), delivered: 0 }
    }

    pub fn join(&mut self, who: usize) {
        self.members[who].alive = true;
    }

    pub fn has_room_for(&self, who: usize) -> bool {
        who < self.members.len()
    }

    /// One channel; nothing happens where it is covered.
    pub fn subscribe(&mut self, who: usize, channel: Channel) {
        if !self.covers(who, channel) {
            self.cover(who, channel, channel, false);
        }
    }

    pub fn subscribe_range(&mut self, who: usize, first: Channel, last: Channel) {
        self.cover(who, first, last, true);
    }

    fn cover(&mut self, who: usize, first: Channel, last: Channel, is_range: bool) {
        let member = &mut self.members[who];
        member.covers.push(Cover { first, last, is_range, since: member.sent + 1 });
        member.lately.push((first, last));
    }

    /// The end of an individual subscription; a range is not touched.
    pub fn unsubscribe(&mut self, who: usize, channel: Channel) {
        let member = &mut self.members[who];
        member.covers.retain(|cover| cover.is_range || cover.first != channel);
        member.forget_what_is_not_covered();
    }

    /// What `who` loses by a removal of an interval is due it no more; it may come all the same.
    pub fn unsubscribe_range(&mut self, who: usize, first: Channel, last: Channel) {
        let member = &mut self.members[who];
        let mut left = Vec::new();
        for cover in member.covers.drain(..) {
            if cover.last < first || cover.first > last {
                left.push(cover);
                continue;
            }
            if cover.first < first {
                left.push(Cover { last: first - 1, ..cover });
            }
            if cover.last > last {
                left.push(Cover { first: last + 1, ..cover });
            }
        }
        member.covers = left;
        member.forget_what_is_not_covered();
    }

    pub fn covers(&self, who: usize, channel: Channel) -> bool {
        self.members[who].covers.iter().any(|cover| (cover.first..=cover.last).contains(&channel))
    }

    /// A message of `who`, ready to be sent.
    pub fn publish(&mut self, who: usize, recipients: Vec<Channel>) -> Encoder {
        self.members[who].sent += 1;
        let (number, clock) = (self.members[who].sent, self.members[who].clock.clone());
        let message = encode(who, number, &clock, &recipients);
        self.is_sent(who, number, &clock, recipients);
        message
    }

    fn is_sent(&mut self, who: usize, number: u32, clock: &[u32], recipients: Vec<Channel>) {
        for (other, member) in self.members.iter_mut().enumerate() {
            let knows = |cover: &Cover| cover.since == 0 || clock[other] >= cover.since;
            let is_due = member.alive
                && other != who
                && member.covers.iter().any(|cover| {
                    knows(cover) && recipients.iter().any(|channel| (cover.first..=cover.last).contains(channel))
                });
            if is_due {
                member.due[who].insert(number, recipients.clone());
            }
        }
        self.recipients.insert((who, number), recipients);
    }

    /// Registers a message of `who` for its end; returns its body.
    pub fn add_post_remove(&mut self, who: usize, key: Channel, recipients: Vec<Channel>) -> Vec<u8> {
        let member = &mut self.members[who];
        let number = POST_REMOVES + member.sent;
        let clock = member.clock.clone();
        let body = encode(who, number, &clock, &recipients).finish().expect("small")[2..].to_vec();
        member.sent += 1;
        member.post_removes.push((key, number, recipients, clock));
        body
    }

    pub fn clear_post_removes(&mut self, who: usize, key: Channel) {
        self.members[who].post_removes.retain(|(other, ..)| *other != key);
    }

    /// `who` ends: its post-removes are sent.
    pub fn leave(&mut self, who: usize) {
        let member = &mut self.members[who];
        member.alive = false;
        member.covers.clear();
        member.due.iter_mut().for_each(BTreeMap::clear);
        for (_, number, recipients, clock) in std::mem::take(&mut member.post_removes) {
            self.is_sent(who, number, &clock, recipients);
        }
    }

    /// `who` hears a message.
    pub fn hear(&mut self, who: usize, mut payload: Reader<'_>) -> Result<(), String> {
        let short = |error: donet::wire::Truncated| error.to_string();
        let source = payload.u32().map_err(short)? as usize;
        let number = payload.u32().map_err(short)?;
        let mut clock = Vec::new();
        for _ in 0..self.members.len() {
            clock.push(payload.u32().map_err(short)?);
        }
        self.delivered += 1;
        let recipients = self.recipients.get(&(source, number)).ok_or(format!("{source}/{number} was never sent"))?;
        let member = &mut self.members[who];
        if source == who {
            return Err(format!("{source}/{number} came back to its source (G3)"));
        }
        if member.heard[source].last().is_some_and(|&last| last == number) || member.heard[source].contains(&number) {
            return Err(format!("{source}/{number} came twice (G3)"));
        }
        if member.heard[source].last().is_some_and(|&last| last > number) {
            return Err(format!("{source}/{number} came after a later one (G1)"));
        }
        let wanted = recipients
            .iter()
            .any(|channel| member.lately.iter().any(|(first, last)| (*first..=*last).contains(channel)));
        if !wanted {
            return Err(format!("{source}/{number} came to who does not cover {recipients:?}"));
        }
        member.due[source].remove(&number);
        if let Some((missed, _)) = member.due[source].range(..number).next() {
            return Err(format!("{source}/{number} came before {source}/{missed} (G1)"));
        }
        for (other, &known) in clock.iter().enumerate() {
            if let Some((missed, _)) = member.due[other].range(..=known).next() {
                return Err(format!("{source}/{number} came before its cause {other}/{missed} (G2)"));
            }
        }
        member.heard[source].insert(number);
        for (mine, theirs) in member.clock.iter_mut().zip(&clock) {
            *mine = (*mine).max(*theirs);
        }
        if number < POST_REMOVES {
            member.clock[source] = member.clock[source].max(number);
        }
        Ok(())
    }

    /// At rest everything that was due has come, and every subscription is in effect.
    pub fn check_at_rest(&mut self) -> Result<(), String> {
        for (who, member) in self.members.iter_mut().enumerate() {
            for (source, due) in member.due.iter().enumerate() {
                if let Some((number, recipients)) = due.iter().next() {
                    return Err(format!("link {who} never got {source}/{number} to {recipients:?} (G4)"));
                }
            }
            member.covers.iter_mut().for_each(|cover| cover.since = 0);
            member.lately = member.covers.iter().map(|cover| (cover.first, cover.last)).collect();
        }
        Ok(())
    }
}

fn encode(who: usize, number: u32, clock: &[u32], recipients: &[Channel]) -> Encoder {
    let mut message = Encoder::internal(recipients, 0, BUS).u32(who as u32).u32(number);
    for &heard in clock {
        message = message.u32(heard);
    }
    message
}
