//! What is on its way to many objects at once: messages to all children of a parent, zone queries, deletions of an AI's
//! objects. They are handed out in slices, so that one of 100,000 objects does not stall the executor.
//!
//! This module keeps what waits and knows who has had it; [`super::slices`] hands it out. The rule that keeps the story of
//! every object whole:
//!
//! > Whatever touches an object — a message, a query, a creation of the same doid — first gives it everything that
//! > reached this executor for it before, in the order of arrival.
//!
//! An object in a half-done deletion is therefore gone for everybody who looks: the look itself completes the deletion for
//! that object. Nobody can tell a message that waits here from one that is still on its way (guarantees G1, G2 and G6).
//! An object that comes to a parent later does not get what was sent to the parent's children before.
//!
//! The children of a parent are served in the order of zone and doid. Whoever is served out of that order, or comes later,
//! is noted beside the position; for each child, what it has had is always a beginning of what there is.

use super::children::{Place, Zones};
use super::object::Object;
use crate::outbox::Participant;
use crate::wire::{Channel, Datagram, Doid, MAX_RECIPIENTS};
use donet_shards::ShardId;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How much of what is for many objects one executor does at once, and how much of it may wait.
#[derive(Clone, Copy, Debug)]
pub struct FanOutLimits {
    /// How many objects one slice serves in each [`Lane`], and how many more are served at once between two slices.
    pub slice_objects: usize,
    /// How many objects of one fan-out are served before it is another's turn.
    pub round_objects: usize,
    /// How many fan-outs of one executor may wait, and how many bytes of messages with them. Beyond either, a message is
    /// handed out whole at once: whoever sends so many waits for the executor, and not its memory for them.
    pub waiting: usize,
    pub waiting_bytes: usize,
}

impl Default for FanOutLimits {
    fn default() -> Self {
        Self {
            // A deletion costs a microsecond or two with all that follows from it: others wait for about a millisecond.
            slice_objects: 256,
            round_objects: 64,
            // A tree that is deleted level by level has one for each of its parents.
            waiting: 65_536,
            waiting_bytes: 64 << 20,
        }
    }
}

/// What shares the allowance of a slice. Somebody waits for the answer to a query: it does not stand behind deletions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Messages,
    Queries,
}

impl Lane {
    pub const ALL: [Self; 2] = [Self::Messages, Self::Queries];
}

/// What is handed to each object.
#[derive(Clone, Debug)]
pub enum Task {
    Message {
        datagram: Datagram,
        from: Participant,
    },
    /// A query of the parent's: see [`super::StateServerMessage::ZoneQuery`].
    Query {
        query: u64,
        asked_by: ShardId,
        context: u32,
        requester: Channel,
    },
}

impl Task {
    pub fn lane(&self) -> Lane {
        match self {
            Self::Message { .. } => Lane::Messages,
            Self::Query { .. } => Lane::Queries,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Message { datagram, .. } => datagram.frame().len(),
            Self::Query { .. } => 0,
        }
    }
}

/// Something for many children of one parent.
#[derive(Debug)]
pub struct FanOut {
    /// The order of arrival at this executor.
    pub number: u64,
    pub parent: Doid,
    pub zones: Zones,
    pub task: Task,
    /// Children that get it by their own channel, ascending.
    pub except: SmallVec<[Doid; 4]>,
    /// The children up to here have had it.
    pub served_to: Option<Place>,
    /// How many have answered, if it is a query.
    pub answered: u32,
}

impl FanOut {
    fn has_passed(&self, place: Place) -> bool {
        self.served_to.is_some_and(|served| place <= served)
    }

    fn concerns(&self, place: Place) -> bool {
        self.zones.include(place.0) && self.except.binary_search(&place.1).is_err()
    }
}

/// What waits for the children of one parent.
#[derive(Debug, Default)]
struct Family {
    /// In the order of arrival.
    waiting: VecDeque<FanOut>,
    /// Children that have had everything up to this number, wherever the positions stand.
    served: HashMap<Doid, u64>,
}

/// Objects that were given an AI, and are to end with it.
#[derive(Debug)]
pub struct AiDeletion {
    pub number: u64,
    pub ai: Channel,
    pub sender: Channel,
    left: BTreeSet<Doid>,
}

/// What an object has to be given first.
#[derive(Debug)]
pub enum Due {
    Task { number: u64, task: Task },
    AiDeletion { ai: Channel, sender: Channel },
}

/// Everything that waits on one executor.
#[derive(Debug)]
pub struct FanOuts {
    next_number: u64,
    by_parent: HashMap<Doid, Family>,
    /// By lane, the fan-outs whose turn comes, by parent and number.
    round: [VecDeque<(Doid, u64)>; Lane::ALL.len()],
    ai_deletions: BTreeMap<(Channel, u64), AiDeletion>,
    ai_round: VecDeque<(Channel, u64)>,
    /// By lane, how many objects may be served at once until the next slice.
    allowance: [usize; Lane::ALL.len()],
    waiting: usize,
    waiting_bytes: usize,
    is_slice_due: bool,
    limits: FanOutLimits,
}

impl FanOuts {
    pub fn new(limits: FanOutLimits) -> Self {
        Self {
            next_number: 1,
            by_parent: HashMap::new(),
            round: Default::default(),
            ai_deletions: BTreeMap::new(),
            ai_round: VecDeque::new(),
            allowance: [limits.slice_objects; Lane::ALL.len()],
            waiting: 0,
            waiting_bytes: 0,
            is_slice_due: false,
            limits,
        }
    }

    pub fn limits(&self) -> FanOutLimits {
        self.limits
    }

    /// Whether nothing waits.
    pub fn is_idle(&self) -> bool {
        self.by_parent.is_empty() && self.ai_deletions.is_empty()
    }

    /// How many fan-outs wait.
    pub fn waiting(&self) -> usize {
        self.waiting + self.ai_deletions.len()
    }

    /// A number behind all earlier ones.
    pub fn next_number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number - 1
    }

    /// How many objects of a lane may be served at once.
    pub fn allowance(&mut self, lane: Lane) -> &mut usize {
        &mut self.allowance[lane as usize]
    }

    /// Whether a slice must be asked for: something waits, and none is due.
    pub fn wants_slice(&mut self) -> bool {
        let wants = !self.is_idle() && !self.is_slice_due;
        self.is_slice_due |= wants;
        wants
    }

    /// A slice begins.
    pub fn begin_slice(&mut self) {
        self.is_slice_due = false;
        self.allowance = [self.limits.slice_objects; Lane::ALL.len()];
    }

    /// Whether one more may wait.
    pub fn has_room_for(&self, fan_out: &FanOut) -> bool {
        self.waiting < self.limits.waiting && self.waiting_bytes + fan_out.task.bytes() <= self.limits.waiting_bytes
    }

    /// Keeps a fan-out until its turn comes.
    pub fn wait(&mut self, fan_out: FanOut) {
        self.waiting += 1;
        self.waiting_bytes += fan_out.task.bytes();
        self.round[fan_out.task.lane() as usize].push_back((fan_out.parent, fan_out.number));
        let waiting = &mut self.by_parent.entry(fan_out.parent).or_default().waiting;
        let place = waiting.partition_point(|other| other.number < fan_out.number);
        waiting.insert(place, fan_out);
    }

    /// Takes the fan-out whose turn it is. It comes back by [`FanOuts::wait`], or is [`FanOuts::finish`]ed.
    pub fn take_next(&mut self, lane: Lane) -> Option<FanOut> {
        let (parent, number) = self.round[lane as usize].pop_front()?;
        let waiting = &mut self.by_parent.get_mut(&parent)?.waiting;
        let place = waiting.binary_search_by_key(&number, |fan_out| fan_out.number).ok()?;
        let fan_out = waiting.remove(place)?;
        self.waiting -= 1;
        self.waiting_bytes -= fan_out.task.bytes();
        Some(fan_out)
    }

    /// Every child has had it.
    pub fn finish(&mut self, parent: Doid) {
        if self.by_parent.get(&parent).is_some_and(|family| family.waiting.is_empty()) {
            self.by_parent.remove(&parent);
        }
    }

    /// Whether a child has had, out of turn, everything up to this number.
    pub fn is_served(&self, parent: Doid, child: Doid, number: u64) -> bool {
        let served = self.by_parent.get(&parent).and_then(|family| family.served.get(&child));
        served.is_some_and(|&served| served >= number)
    }

    /// An object has come to a place: what was sent to the children before is not for it.
    pub fn note_arrival(&mut self, parent: Doid, child: Doid) {
        if let Some(family) = self.by_parent.get_mut(&parent) {
            family.served.insert(child, self.next_number - 1);
        }
    }

    /// A child has answered a query that waits.
    pub fn count_answer(&mut self, parent: Doid, number: u64) {
        let Some(family) = self.by_parent.get_mut(&parent) else { return };
        if let Ok(place) = family.waiting.binary_search_by_key(&number, |fan_out| fan_out.number) {
            family.waiting[place].answered += 1;
        }
    }

    /// What an object has to be given next of all that arrived before `number`. It counts as given.
    pub fn next_due(&mut self, object: &Object, number: u64) -> Option<Due> {
        let task = self.next_task(object, number);
        let deletion = self.deletion_of(object).filter(|&due| due < task.as_ref().map_or(number, |task| task.0));
        if let Some(deletion) = deletion {
            let deletion = self.ai_deletions.get_mut(&(object.ai, deletion))?;
            deletion.left.remove(&object.doid);
            return Some(Due::AiDeletion { ai: deletion.ai, sender: deletion.sender });
        }
        let (number, task) = task?;
        self.by_parent.get_mut(&object.parent)?.served.insert(object.doid, number);
        Some(Due::Task { number, task })
    }

    fn next_task(&self, object: &Object, number: u64) -> Option<(u64, Task)> {
        let place = (object.zone, object.doid);
        let family = self.by_parent.get(&object.parent)?;
        let served = family.served.get(&object.doid).copied().unwrap_or(0);
        let due = family
            .waiting
            .iter()
            .take_while(|fan_out| fan_out.number < number)
            .find(|fan_out| fan_out.number > served && !fan_out.has_passed(place) && fan_out.concerns(place))?;
        Some((due.number, due.task.clone()))
    }

    /// The number of the deletion that is on its way to an object.
    fn deletion_of(&self, object: &Object) -> Option<u64> {
        if !object.ai_is_explicit || self.ai_deletions.is_empty() {
            return None;
        }
        let of_ai = self.ai_deletions.range((object.ai, 0)..=(object.ai, u64::MAX));
        of_ai.map(|(_, deletion)| deletion).find(|deletion| deletion.left.contains(&object.doid)).map(|due| due.number)
    }

    /// Keeps the objects of an AI, to be ended part by part.
    pub fn delete_ai(&mut self, ai: Channel, sender: Channel, objects: BTreeSet<Doid>) {
        let number = self.next_number();
        self.ai_round.push_back((ai, number));
        self.ai_deletions.insert((ai, number), AiDeletion { number, ai, sender, left: objects });
    }

    /// How many objects end with their AI at once: as many as a slice has and one datagram can name.
    pub fn ai_part_objects(&self) -> usize {
        self.limits.slice_objects.min(MAX_RECIPIENTS)
    }

    /// The next objects that end with their AI.
    pub fn take_ai_part(&mut self) -> Option<AiDeletion> {
        let most = self.ai_part_objects();
        let key = self.ai_round.pop_front()?;
        let deletion = self.ai_deletions.get_mut(&key)?;
        let mut left = BTreeSet::new();
        left.extend(std::iter::from_fn(|| deletion.left.pop_first()).take(most));
        let part = AiDeletion { left, ..*deletion };
        if deletion.left.is_empty() {
            self.ai_deletions.remove(&key);
        } else {
            self.ai_round.push_back(key);
        }
        Some(part)
    }

    /// An object with an AI of its own has ended: no deletion is to find another one of its doid.
    pub fn forget_ai_of(&mut self, object: &Object) {
        if let Some(number) = self.deletion_of(object)
            && let Some(deletion) = self.ai_deletions.get_mut(&(object.ai, number))
        {
            deletion.left.remove(&object.doid);
        }
    }
}

impl AiDeletion {
    pub fn objects(&self) -> impl Iterator<Item = Doid> + '_ {
        self.left.iter().copied()
    }
}

#[cfg(test)]
impl FanOuts {
    /// Other limits, from now on.
    pub fn limit(&mut self, limits: FanOutLimits) {
        self.limits = limits;
        self.begin_slice();
    }

    /// AI and doid of the objects that are to end with their AI.
    pub fn ending_with_ai(&self) -> impl Iterator<Item = (Channel, Doid)> + '_ {
        self.ai_deletions.values().flat_map(|deletion| deletion.objects().map(|doid| (deletion.ai, doid)))
    }
}
