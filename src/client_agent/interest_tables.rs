//! The tables of interests and their operations (`protocol-md-ca-el.md` §3.11): what one session has open, what is being
//! opened, and what is held back meanwhile. Tables only: who is told what stands in [`super::interest`].

use super::objects::Location;
use super::review::Review;
use super::settings::{Agent, MAX_REQUESTS};
use super::visibility::{Entry, ObjectEvent};
use crate::faults::{Fault, seeded};
use crate::reason::Reason;
use crate::wire::{Channel, Doid, Zone, location_channel};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::{BTreeMap, VecDeque};

/// What somebody asks for: the zones of an interest, sorted, each once.
#[derive(Debug)]
pub(super) struct InterestRequest {
    pub(super) id: u16,
    pub(super) parent: Doid,
    pub(super) zones: Vec<Zone>,
    pub(super) context: u32,
    pub(super) caller: Option<Channel>,
    /// The session's own: nobody is answered.
    pub(super) is_silent: bool,
}

impl InterestRequest {
    /// `context` is echoed to the client; `caller` is who gets the 1204.
    pub(super) fn new(id: u16, parent: Doid, mut zones: Vec<Zone>, context: u32, caller: Option<Channel>) -> Self {
        zones.sort_unstable();
        zones.dedup();
        Self { id, parent, zones, context, caller, is_silent: false }
    }
}

/// Why an interest is more than a session may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InterestLimit {
    #[error("more than {0} interests")]
    Interests(usize),
    #[error("more than {0} zones in all interests together")]
    Zones(usize),
    #[error("more than {MAX_REQUESTS} interests being opened at once")]
    Requests,
}

impl InterestLimit {
    pub(super) fn reason(self) -> Reason {
        match self {
            InterestLimit::Interests(_) | InterestLimit::Requests => Reason::TooManyInterests,
            InterestLimit::Zones(_) => Reason::TooManyZones,
        }
    }
}

#[derive(Debug)]
pub(super) struct Interest {
    pub(super) parent: Doid,
    pub(super) zones: Vec<Zone>,
}

/// What is opening some zones.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) parent: Doid,
    /// The zones that it opens. Those closed meanwhile are the ones that [`Interests::opening`] no longer has under
    /// this context; they are cleared out before they are more than the others.
    pub(super) zones: Vec<Zone>,
    pub(super) open_zones: usize,
    /// When it finishes with what has come; `None` until the parent has been asked. The wait before that is for this
    /// daemon's own executors, and without the question the zones would stay empty.
    pub(super) deadline_us: Option<u64>,
    /// The parent's count; the first answer wins.
    pub(super) expected: Option<u32>,
    /// Snapshot entries so far, also those that were not kept.
    pub(super) received: u32,
    /// In the order of arrival; those taken out leave their place.
    pub(super) snapshot: Vec<Option<Entry>>,
    pub(super) snapshot_bytes: usize,
    pub(super) backlog: Vec<Option<ObjectEvent>>,
    pub(super) buffered_bytes: usize,
    /// It is complete, and its entries leave as the client takes them.
    pub(super) is_paced: bool,
    /// Its subscriptions are acknowledged by every executor; where there are daemons above, its query has been answered.
    pub(super) in_effect: bool,
    /// So many events of the backlog came before that: they may have been sent when the daemons above knew of an earlier
    /// subscription, and what followed them may have been missed.
    doubtful: usize,
    /// So many places of the snapshot have been looked at by then.
    pub(super) passed: usize,
    /// The requests that wait for it.
    pub(super) requests: SmallVec<[u32; 1]>,
}

impl Operation {
    pub(super) fn new(parent: Doid, zones: Vec<Zone>) -> Self {
        Self {
            parent,
            open_zones: zones.len(),
            zones,
            deadline_us: None,
            expected: None,
            received: 0,
            snapshot: Vec::new(),
            snapshot_bytes: 0,
            backlog: Vec::new(),
            buffered_bytes: 0,
            is_paced: false,
            in_effect: false,
            doubtful: 0,
            passed: 0,
            requests: SmallVec::new(),
        }
    }

    fn is_answered(&mut self) {
        if !std::mem::replace(&mut self.in_effect, true) && !seeded(Fault::LateEntriesBelieved) {
            self.doubtful = self.backlog.len();
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.expected.is_some_and(|expected| self.received >= expected)
    }
}

/// Whoever waits for an interest to be open.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: u16,
    pub(super) context: u32,
    pub(super) caller: Option<Channel>,
    pub(super) is_silent: bool,
    /// Operations that it still waits for.
    pub(super) waiting_for: usize,
}

/// Where the entry of an object is held back, and from where on what is held back counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub(super) operation: u32,
    /// Index of its entry in the snapshot, when it has one.
    pub(super) snapshot: Option<usize>,
    /// What the backlog holds of it before this index has been replaced.
    pub(super) backlog_from: usize,
    /// Where it is according to what is held back.
    pub(super) location: Location,
}

/// The interests of one session.
#[derive(Debug, Default)]
pub(super) struct Interests {
    pub(super) by_id: BTreeMap<u16, Interest>,
    /// How many interests cover a location; none with 0.
    pub(super) cover: HashMap<Channel, u32>,
    /// Zones of all interests, those that several cover several times.
    pub(super) zones: usize,
    /// The locations that an operation is opening. A location is in one operation at most.
    pub(super) opening: HashMap<Channel, u32>,
    /// The locations whose operation has run into its time-out before any answer came, with its context: the daemons above
    /// may not know of the subscription yet.
    unanswered: HashMap<Channel, u32>,
    /// Questions about zones that are open, by context: [`super::review`].
    pub(super) reviews: BTreeMap<u32, Review>,
    /// Visible objects that may be gone, or have changed unnoticed, with the context of the question whose answer says so.
    pub(super) doubted: HashMap<Doid, u32>,
    /// By context, so in the order of their beginnings.
    pub(super) operations: BTreeMap<u32, Operation>,
    pub(super) requests: BTreeMap<u32, Request>,
    pub(super) next_request: u32,
    pub(super) pending: HashMap<Doid, Pending>,
    pub(super) buffered_bytes: usize,
    /// When the next timer fires; none with 0.
    pub(super) timer_at_us: u64,
    /// Complete operations whose entries have not all left, in the order in which they will.
    pub(super) paced: VecDeque<u32>,
    /// Bytes of entries written since everything was last known to have left.
    pub(super) in_flight_bytes: usize,
    /// Whether the session will be told when everything has left.
    pub(super) will_be_told: bool,
}

impl Interests {
    pub(super) fn contains(&self, id: u16) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Whether an interest is just this.
    pub(super) fn has(&self, id: u16, parent: Doid, zones: &[Zone]) -> bool {
        self.by_id.get(&id).is_some_and(|interest| interest.parent == parent && interest.zones == zones)
    }

    pub(super) fn is_running(&self, context: u32) -> bool {
        self.operations.contains_key(&context)
    }

    /// Whether some interest has this location.
    pub(super) fn covers(&self, location: Location) -> bool {
        self.cover.contains_key(&location.channel())
    }

    pub(super) fn is_opening(&self, location: Location) -> bool {
        self.opening.contains_key(&location.channel())
    }

    pub(super) fn is_pending(&self, doid: Doid) -> bool {
        !self.pending.is_empty() && self.pending.contains_key(&doid)
    }

    /// Forgets what is held back of an object.
    pub(super) fn forget(&mut self, doid: Doid) {
        self.pending.remove(&doid);
    }

    /// Forgets what is held back of an object up to its last end: another one of its doid has come, and the client knows
    /// of that one already.
    pub(super) fn forget_ended(&mut self, doid: Doid) {
        let Some(pending) = self.pending.get_mut(&doid) else { return };
        let Some(operation) = self.operations.get(&pending.operation) else { return };
        let is_of = |held: &&Option<ObjectEvent>| held.as_ref().is_some_and(|event| event.doid() == doid);
        let is_end = |held: &Option<ObjectEvent>| is_of(&held) && matches!(held, Some(ObjectEvent::Delete(_)));
        let Some(end) = operation.backlog.iter().rposition(is_end).filter(|&end| end >= pending.backlog_from) else {
            return;
        };
        pending.snapshot = None;
        pending.backlog_from = end + 1;
        if !operation.backlog[end + 1..].iter().any(|held| is_of(&held)) {
            self.pending.remove(&doid);
        }
    }

    /// Bounds what one session may hold (§3.15.3).
    pub(super) fn check_limits(&self, request: &InterestRequest, agent: &Agent) -> Result<(), InterestLimit> {
        let replaced = self.by_id.get(&request.id);
        if replaced.is_none() && self.by_id.len() >= agent.interests_max {
            return Err(InterestLimit::Interests(agent.interests_max));
        }
        if self.zones - replaced.map_or(0, |interest| interest.zones.len()) + request.zones.len() > agent.zones_max {
            return Err(InterestLimit::Zones(agent.zones_max));
        }
        if self.requests.len() >= MAX_REQUESTS {
            return Err(InterestLimit::Requests);
        }
        Ok(())
    }

    pub(super) fn insert(&mut self, id: u16, interest: Interest) -> Option<Interest> {
        self.zones += interest.zones.len();
        for &zone in &interest.zones {
            *self.cover.entry(location_channel(interest.parent, zone)).or_insert(0) += 1;
        }
        self.by_id.insert(id, interest)
    }

    /// Takes back an interest's cover; returns the zones that nothing covers any more.
    pub(super) fn uncover(&mut self, interest: &Interest) -> Vec<Zone> {
        self.zones -= interest.zones.len();
        let mut dead = Vec::new();
        for &zone in &interest.zones {
            let location = location_channel(interest.parent, zone);
            if let Some(count) = self.cover.get_mut(&location) {
                *count -= 1;
                if *count == 0 {
                    self.cover.remove(&location);
                    dead.push(zone);
                }
            }
        }
        dead
    }

    /// Takes closed zones (sorted) out of the operations that are opening them, and forgets what is pending there.
    pub(super) fn forget_zones(&mut self, parent: Doid, zones: &[Zone]) {
        if !self.reviews.is_empty() {
            let cover = &self.cover;
            let is_open = |review: &Review, zone: &Zone| cover.contains_key(&location_channel(review.parent, *zone));
            self.reviews.retain(|_, review| review.zones.iter().any(|zone| is_open(review, zone)));
        }
        for &zone in zones {
            self.unanswered.remove(&location_channel(parent, zone));
            let Some(context) = self.opening.remove(&location_channel(parent, zone)) else { continue };
            let Some(operation) = self.operations.get_mut(&context) else { continue };
            operation.open_zones -= 1;
            if operation.zones.len() > 2 * operation.open_zones {
                let opening = &self.opening;
                operation.zones.retain(|&zone| opening.get(&location_channel(parent, zone)) == Some(&context));
            }
        }
        let is_closed = |location: Location| location.parent == parent && zones.binary_search(&location.zone).is_ok();
        self.pending.retain(|_, pending| !is_closed(pending.location));
    }

    /// Whether some interest has this location and nothing that is sent there is missed: the subscription to it is in
    /// effect everywhere.
    pub(super) fn hears(&self, location: Location) -> bool {
        let channel = location.channel();
        let opening = self.opening.get(&channel).and_then(|context| self.operations.get(context));
        self.cover.contains_key(&channel)
            && opening.is_none_or(|operation| operation.in_effect)
            && !self.unanswered.contains_key(&channel)
    }

    /// The query of an operation has been answered, so that its subscriptions are in effect in the daemons above, too.
    /// Returns the locations of an operation that had given up waiting for this.
    pub(super) fn is_answered(&mut self, context: u32) -> Vec<Channel> {
        if let Some(operation) = self.operations.get_mut(&context) {
            operation.is_answered();
            return Vec::new();
        }
        let late = self.unanswered.extract_if(|_, other| *other == context);
        let mut late: Vec<Channel> = late.map(|(location, _)| location).collect();
        late.sort_unstable();
        late
    }

    /// Whatever is in doubt will be asked for anew.
    pub(super) fn forget_doubts(&mut self) {
        self.reviews.clear();
        self.doubted.clear();
        self.unanswered.clear();
    }

    /// The operations that have asked.
    pub(super) fn asked(&self) -> Vec<u32> {
        let has_asked = |operation: &Operation| operation.deadline_us.is_some() || operation.is_paced;
        self.operations.iter().filter(|(_, operation)| has_asked(operation)).map(|(&context, _)| context).collect()
    }

    /// Lets an operation begin again with nothing, under another context: some of the answer may be lost, the rest may come
    /// still, and what has come may not be so any more.
    pub(super) fn begin_again(&mut self, context: u32, next: u32) {
        let Some(before) = self.operations.remove(&context) else { return };
        let Operation { parent, zones, open_zones, buffered_bytes, requests, .. } = before;
        self.buffered_bytes -= buffered_bytes;
        for &zone in &zones {
            if let Some(opening) = self.opening.get_mut(&location_channel(parent, zone)).filter(|by| **by == context) {
                *opening = next;
            }
        }
        self.pending.retain(|_, pending| pending.operation != context);
        self.paced.retain(|paced| *paced != context);
        self.operations.insert(next, Operation { open_zones, requests, ..Operation::new(parent, zones) });
    }

    /// Holds an entry back in the backlog of the operation that is opening its location: it is not counted.
    pub(super) fn hold_entry(&mut self, entry: &Entry) {
        let Some(&context) = self.opening.get(&entry.location.channel()) else { return };
        let Some(operation) = self.operations.get_mut(&context) else { return };
        match self.pending.get_mut(&entry.doid) {
            Some(pending) if pending.operation == context => pending.location = entry.location,
            // The object has come from a location that another operation is opening: this entry is newer.
            _ => {
                let pending = Pending {
                    operation: context,
                    snapshot: None,
                    backlog_from: operation.backlog.len(),
                    location: entry.location,
                };
                self.pending.insert(entry.doid, pending);
            }
        }
        let event = ObjectEvent::Entry(entry.clone());
        operation.buffered_bytes += event.cost_bytes();
        self.buffered_bytes += event.cost_bytes();
        operation.backlog.push(Some(event));
    }

    /// Holds back what happens to a pending object.
    pub(super) fn hold(&mut self, doid: Doid, event: &ObjectEvent) {
        let Some(pending) = self.pending.get_mut(&doid) else { return };
        let Some(operation) = self.operations.get_mut(&pending.operation) else { return };
        if let ObjectEvent::Move { to, .. } = event {
            pending.location = *to;
        }
        operation.buffered_bytes += event.cost_bytes();
        self.buffered_bytes += event.cost_bytes();
        operation.backlog.push(Some(event.clone()));
    }

    /// Forgets what an operation has held back so far. Before its subscriptions are in effect everywhere, something may
    /// come that was sent when an earlier subscription to the same zone was, and what followed it may have been missed in
    /// between; who is there is in the snapshot.
    pub(super) fn forget_held(&mut self, context: u32) {
        let Some(operation) = self.operations.get_mut(&context) else { return };
        if !operation.backlog.is_empty() {
            operation.backlog.clear();
            self.buffered_bytes -= std::mem::take(&mut operation.buffered_bytes);
            self.pending.retain(|_, pending| pending.operation != context);
        }
    }

    /// Takes an entry into the snapshot of a running operation, unless its zone has been closed meanwhile; it replaces
    /// whatever was held back of the object (design §3 rule 8).
    pub(super) fn hold_snapshot(&mut self, context: u32, entry: &Entry) {
        let location = entry.location.channel();
        let is_elsewhere = self.opening.get(&location).is_some_and(|&opening| opening != context);
        if is_elsewhere || !self.cover.contains_key(&location) {
            return;
        }
        let Some(operation) = self.operations.get_mut(&context) else { return };
        let pending = Pending {
            operation: context,
            snapshot: Some(operation.snapshot.len()),
            backlog_from: if seeded(Fault::BacklogNotReplaced) { 0 } else { operation.backlog.len() },
            location: entry.location,
        };
        self.pending.insert(entry.doid, pending);
        operation.buffered_bytes += entry.cost_bytes();
        self.buffered_bytes += entry.cost_bytes();
        operation.snapshot_bytes += entry.frame.len();
        operation.snapshot.push(Some(entry.clone()));
    }

    /// Takes a finished operation out: its snapshot and backlog without what was replaced or forgotten, and the
    /// requests that waited for it alone by now.
    pub(super) fn take(&mut self, context: u32) -> Option<Finished> {
        let operation = self.operations.remove(&context)?;
        self.buffered_bytes -= operation.buffered_bytes;
        for &zone in &operation.zones {
            let location = location_channel(operation.parent, zone);
            if self.opening.get(&location) == Some(&context) {
                self.opening.remove(&location);
                if !operation.in_effect {
                    self.unanswered.insert(location, context);
                }
            }
        }
        let is_doubtful = |pending: &Pending| pending.snapshot.is_none() && pending.backlog_from < operation.doubtful;
        let doubtful = self.pending.extract_if(|_, pending| pending.operation == context && is_doubtful(pending));
        let mut doubtful: Vec<Channel> = doubtful.map(|(_, pending)| pending.location.channel()).collect();
        doubtful.sort_unstable();
        doubtful.dedup();
        let pending = &self.pending;
        let here = |doid: Doid| pending.get(&doid).filter(|pending| pending.operation == context);
        let snapshot = operation.snapshot.into_iter().enumerate();
        let snapshot: Vec<Entry> = snapshot
            .filter_map(|(index, entry)| {
                entry.filter(|entry| here(entry.doid).is_some_and(|pending| pending.snapshot == Some(index)))
            })
            .collect();
        let backlog = operation.backlog.into_iter().enumerate();
        let backlog: Vec<ObjectEvent> = backlog
            .filter_map(|(index, event)| {
                event.filter(|event| here(event.doid()).is_some_and(|pending| pending.backlog_from <= index))
            })
            .collect();
        let entered = snapshot.iter().map(|entry| entry.doid);
        for doid in entered.chain(backlog.iter().map(ObjectEvent::doid)) {
            self.pending.remove(&doid);
        }
        let mut done = SmallVec::new();
        for number in &operation.requests {
            if let Some(request) = self.requests.get_mut(number) {
                request.waiting_for -= 1;
                if request.waiting_for == 0 {
                    done.extend(self.requests.remove(number));
                }
            }
        }
        let is_counted = operation.expected.is_some();
        self.give_back();
        Some(Finished { snapshot, backlog, done, doubtful, is_counted })
    }

    /// Gives back the memory of tables that are empty once nothing is being opened. They would keep it: an empty
    /// `BTreeMap` a node for eleven operations, a hash table the places of everybody who was ever held back in it; 4 KB
    /// of a client that stands in a zone of twenty.
    fn give_back(&mut self) {
        if self.operations.is_empty() {
            self.operations = BTreeMap::new();
            if self.requests.is_empty() {
                self.requests = BTreeMap::new();
            }
            self.opening.shrink_to_fit();
            self.unanswered.shrink_to_fit();
            self.pending.shrink_to_fit();
            self.paced.shrink_to_fit();
        }
    }

    /// Takes the next entries out of a paced operation, until they are `bytes` or more, with what was held back of their
    /// objects: told behind its entry, nothing of it is left that a later update could overtake.
    pub(super) fn next_part(&mut self, context: u32, bytes: usize) -> Part {
        let mut part = Part { entries: Vec::new(), events: Vec::new(), is_last: true };
        let Some(operation) = self.operations.get_mut(&context) else { return part };
        let mut backlog_from: HashMap<Doid, usize> = HashMap::new();
        let (mut taken, mut freed) = (0, 0);
        while taken < bytes && operation.passed < operation.snapshot.len() {
            let index = operation.passed;
            operation.passed += 1;
            let Some(entry) = operation.snapshot[index].take() else { continue };
            freed += entry.cost_bytes();
            let is_current = |pending: &&Pending| pending.operation == context && pending.snapshot == Some(index);
            let Some(pending) = self.pending.get(&entry.doid).filter(is_current) else { continue };
            backlog_from.insert(entry.doid, pending.backlog_from);
            self.pending.remove(&entry.doid);
            taken += entry.frame.len();
            part.entries.push(entry);
        }
        for (index, held) in operation.backlog.iter_mut().enumerate() {
            let is_of_part =
                |event: &mut ObjectEvent| backlog_from.get(&event.doid()).is_some_and(|from| *from <= index);
            if let Some(event) = held.take_if(is_of_part) {
                freed += event.cost_bytes();
                part.events.push(event);
            }
        }
        operation.buffered_bytes -= freed;
        self.buffered_bytes -= freed;
        part.is_last = operation.passed == operation.snapshot.len();
        part
    }
}

/// Some entries of a paced operation, and what happened to their objects since.
pub(super) struct Part {
    pub(super) entries: Vec<Entry>,
    pub(super) events: Vec<ObjectEvent>,
    pub(super) is_last: bool,
}

pub(super) struct Finished {
    pub(super) snapshot: Vec<Entry>,
    pub(super) backlog: Vec<ObjectEvent>,
    pub(super) done: SmallVec<[Request; 1]>,
    /// Where something has been forgotten that may be there or not.
    pub(super) doubtful: Vec<Channel>,
    pub(super) is_counted: bool,
}
