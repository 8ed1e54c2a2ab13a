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
    /// A daemon above may have forgotten it for a moment, with a range: until the next rest it holds for what comes from
    /// its own daemon only (`protocol-md-ca-el.md` §2.4.3).
    is_shaky: bool,
}

#[derive(Default)]
struct Member {
    alive: bool,
    /// Its daemon, and those above it.
    way_up: Vec<usize>,
    covers: Vec<Cover>,
    /// Channels that were covered at some time since the last rest.
    lately: Vec<(Channel, Channel)>,
    sent: u32,
    clock: Vec<u32>,
    /// By source: the numbers that must still come, with their recipients.
    due: Vec<BTreeMap<u32, Vec<Channel>>>,
    heard: Vec<BTreeSet<u32>>,
    post_removes: Vec<PostRemove>,
    /// What it has sent, with how many bytes it had sent by then.
    log: Vec<(usize, Sent)>,
    /// Post-removes that come although their link lives: a daemon between has lost its link upstream.
    early: BTreeSet<(usize, u32)>,
}

#[derive(Clone)]
struct PostRemove {
    key: Channel,
    number: u32,
    recipients: Vec<Channel>,
    clock: Vec<u32>,
}

/// What a reset may keep from arriving, beside subscriptions: those end with the link anyway.
#[derive(Clone)]
enum Sent {
    Message(u32),
    PostRemove(PostRemove),
    Clear(Channel),
}

/// A link between daemons that is broken.
struct Cut {
    /// The daemon that has lost its upstream link.
    below: usize,
    /// Both ends know.
    is_complete: bool,
    /// What those below have published since.
    lost: u64,
}

impl Cover {
    fn is_one_of(&self, channels: &[Channel]) -> bool {
        channels.iter().any(|channel| (self.first..=self.last).contains(channel))
    }
}

impl Member {
    fn daemon(&self) -> Option<usize> {
        self.way_up.first().copied()
    }

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
    cut: Option<Cut>,
    /// What was published while a link between daemons was down, by those below it or above.
    confined: BTreeMap<(usize, u32), (usize, bool)>,
    /// Post-removes that a daemon above sends for one that has crashed, with their keys: only those of one key keep their
    /// order (§2.6).
    orphaned: BTreeMap<(usize, u32), Channel>,
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
        let members = (0..most).map(|_| member()).collect();
        Self {
            members,
            recipients: BTreeMap::new(),
            cut: None,
            confined: BTreeMap::new(),
            orphaned: BTreeMap::new(),
            delivered: 0,
        }
    }

    /// Somebody comes, to the first of these daemons; the others are above it.
    pub fn join(&mut self, who: usize, way_up: Vec<usize>) {
        (self.members[who].alive, self.members[who].way_up) = (true, way_up);
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
        member.covers.push(Cover { first, last, is_range, since: member.sent + 1, is_shaky: false });
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
        self.shake(who, first, last);
    }

    /// The daemon of `who` ends a range upstream, and then says again what others below it subscribe to in there one by one.
    /// What is under way to them, or comes in between, may be lost.
    fn shake(&mut self, who: usize, first: Channel, last: Channel) {
        let branch = self.members[who].way_up.iter().rev().nth(1).copied();
        let Some(branch) = branch else { return };
        let daemons: Vec<Option<usize>> = self.members.iter().map(Member::daemon).collect();
        for member in &mut self.members {
            if !member.way_up.contains(&branch) {
                continue;
            }
            let lies_inside = |cover: &&mut Cover| !cover.is_range && (first..=last).contains(&cover.first);
            member.covers.iter_mut().filter(lies_inside).for_each(|cover| cover.is_shaky = true);
            let (covers, own) = (&member.covers, member.daemon());
            for (due, &daemon) in member.due.iter_mut().zip(&daemons) {
                let holds = |cover: &Cover| !cover.is_shaky || daemon == own;
                due.retain(|_, to| covers.iter().any(|cover| holds(cover) && cover.is_one_of(to)));
            }
        }
    }

    pub fn covers(&self, who: usize, channel: Channel) -> bool {
        self.members[who].covers.iter().any(|cover| (cover.first..=cover.last).contains(&channel))
    }

    /// A message of `who`, ready to be sent.
    pub fn publish(&mut self, who: usize, recipients: Vec<Channel>) -> Encoder {
        self.members[who].sent += 1;
        let (number, clock) = (self.members[who].sent, self.members[who].clock.clone());
        let message = encode(who, number, &clock, &recipients);
        self.members[who].log.push((usize::MAX, Sent::Message(number)));
        if let Some(Cut { below, lost, is_complete: true }) = &mut self.cut {
            let is_below = self.members[who].way_up.contains(below);
            *lost += u64::from(is_below);
            self.confined.insert((who, number), (*below, is_below));
        }
        self.is_sent(who, number, &clock, recipients);
        message
    }

    fn is_sent(&mut self, who: usize, number: u32, clock: &[u32], recipients: Vec<Channel>) {
        let daemon = self.members[who].daemon();
        let below = self.cut.as_ref().map(|cut| cut.below);
        let is_below = |way_up: &[usize]| below.is_some_and(|below| way_up.contains(&below));
        let comes_from_below = is_below(&self.members[who].way_up);
        for (other, member) in self.members.iter_mut().enumerate() {
            if is_below(&member.way_up) != comes_from_below {
                continue;
            }
            let holds = |cover: &Cover| !cover.is_shaky || member.daemon() == daemon;
            let knows = |cover: &Cover| holds(cover) && (cover.since == 0 || clock[other] >= cover.since);
            let is_due = member.alive
                && other != who
                && member.covers.iter().any(|cover| knows(cover) && cover.is_one_of(&recipients));
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
        let post_remove = PostRemove { key, number, recipients, clock };
        member.log.push((usize::MAX, Sent::PostRemove(post_remove.clone())));
        member.post_removes.push(post_remove);
        body
    }

    pub fn clear_post_removes(&mut self, who: usize, key: Channel) {
        let member = &mut self.members[who];
        member.log.push((usize::MAX, Sent::Clear(key)));
        member.post_removes.retain(|post_remove| post_remove.key != key);
    }

    /// What `who` has just done ends at this byte of what it has sent.
    pub fn has_sent(&mut self, who: usize, bytes: usize) {
        let log = self.members[who].log.iter_mut().rev();
        log.take_while(|(end, _)| *end == usize::MAX).for_each(|(end, _)| *end = bytes);
    }

    /// The connection of `who` was reset, and only so many bytes of it have arrived: what came behind them never happened.
    pub fn lose(&mut self, who: usize, arrived: usize) {
        let log = std::mem::take(&mut self.members[who].log);
        let mut post_removes: Vec<PostRemove> = Vec::new();
        for (end, sent) in log {
            match sent {
                Sent::Message(number) if end > arrived => {
                    self.recipients.remove(&(who, number));
                    self.members.iter_mut().for_each(|member| drop(member.due[who].remove(&number)));
                }
                Sent::PostRemove(post_remove) if end <= arrived => post_removes.push(post_remove),
                Sent::Clear(key) if end <= arrived => post_removes.retain(|post_remove| post_remove.key != key),
                _ => {}
            }
        }
        self.members[who].post_removes = post_removes;
    }

    /// The daemon of `who` crashes: what it has sent since the last rest may be lost. Its post-removes are not.
    pub fn crash(&mut self, who: usize) {
        self.members.iter_mut().for_each(|member| member.due[who].clear());
        let post_removes = self.members[who].post_removes.iter();
        self.orphaned.extend(post_removes.map(|one| ((who, one.number), one.key)));
        self.leave(who);
    }

    /// The upstream link of a daemon breaks: what is on its way may be lost. The daemon above sends the post-removes of those
    /// below as if they had ended.
    pub fn cut(&mut self, below: usize) {
        self.cut = Some(Cut { below, is_complete: false, lost: 0 });
        let is_below: Vec<bool> = self.members.iter().map(|member| member.way_up.contains(&below)).collect();
        let fired =
            self.members.iter().enumerate().filter(|(_, member)| member.alive && member.way_up.contains(&below));
        let fired = fired.flat_map(|(who, member)| member.post_removes.iter().map(move |one| (who, one.clone())));
        let fired: Vec<(usize, PostRemove)> = fired.collect();
        for (other, member) in self.members.iter_mut().enumerate() {
            for (source, due) in member.due.iter_mut().enumerate() {
                if is_below[source] != is_below[other] {
                    due.clear();
                }
            }
            if member.alive && !is_below[other] {
                let heard =
                    fired.iter().filter(|(_, one)| member.covers.iter().any(|it| it.is_one_of(&one.recipients)));
                member.early.extend(heard.map(|(who, one)| (*who, one.number)));
            }
        }
    }

    /// Both ends know that the link is broken: nothing crosses it any more.
    pub fn is_cut(&mut self) {
        if let Some(cut) = &mut self.cut {
            cut.is_complete = true;
        }
    }

    /// The link is to stand again. Returns how much those below have published in vain.
    pub fn heal(&mut self) -> u64 {
        self.cut.take().map_or(0, |cut| cut.lost)
    }

    /// `who` ends: its post-removes are sent.
    pub fn leave(&mut self, who: usize) {
        let member = &mut self.members[who];
        member.alive = false;
        let ranges: Vec<Cover> = member.covers.drain(..).filter(|cover| cover.is_range).collect();
        member.due.iter_mut().for_each(BTreeMap::clear);
        for PostRemove { number, recipients, clock, .. } in std::mem::take(&mut member.post_removes) {
            self.is_sent(who, number, &clock, recipients);
        }
        for range in ranges {
            self.shake(who, range.first, range.last);
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
        if self.members[source].alive && number >= POST_REMOVES {
            let is_due = self.members[who].early.remove(&(source, number));
            return if is_due { Ok(()) } else { Err(format!("{source}/{number} came before the end of its link")) };
        }
        if let Some(&(below, from_below)) = self.confined.get(&(source, number))
            && self.members[who].way_up.contains(&below) != from_below
        {
            return Err(format!("{source}/{number} has crossed a link that was down"));
        }
        let recipients = self.recipients.get(&(source, number)).ok_or(format!("{source}/{number} was never sent"))?;
        let orphaned = &self.orphaned;
        let has_order = |other: &u32| match (orphaned.get(&(source, number)), orphaned.get(&(source, *other))) {
            (Some(key), Some(other)) => key == other,
            _ => true,
        };
        let member = &mut self.members[who];
        if source == who {
            return Err(format!("{source}/{number} came back to its source (G3)"));
        }
        if member.heard[source].contains(&number) {
            return Err(format!("{source}/{number} came twice (G3)"));
        }
        if member.heard[source].range(number..).any(has_order) {
            return Err(format!("{source}/{number} came after a later one (G1)"));
        }
        let wanted = recipients
            .iter()
            .any(|channel| member.lately.iter().any(|(first, last)| (*first..=*last).contains(channel)));
        if !wanted {
            return Err(format!("{source}/{number} came to who does not cover {recipients:?}"));
        }
        member.due[source].remove(&number);
        if let Some((missed, _)) = member.due[source].range(..number).find(|(missed, _)| has_order(missed)) {
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
            if let Some((source, number)) = member.early.first() {
                return Err(format!("link {who} never got {source}/{number}, whose daemon seemed to end"));
            }
            member.covers.iter_mut().for_each(|cover| (cover.since, cover.is_shaky) = (0, false));
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
