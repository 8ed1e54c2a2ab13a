//! What was read or set lately, on the executor that owns the object: answered without the engine's thread.
//!
//! Decides which reads need not ask the engine. Every operation on an object passes here twice, when it is submitted and
//! when it is done, both in the engine's order (`protocol-ss-dbss-db.md` §4.4: serial for each object). What is kept is the
//! object as of the last operation that is done, so nobody hears of what is less durable than configured (guarantee G7);
//! and it answers only while no write of the object is under way, so nobody misses what was written before. An answer waits
//! behind what else of its asker is under way: everybody is answered in the order of asking (guarantee G9).

use super::operation::{DatabaseCompletion, DatabaseRequest, FieldIds, FieldValues, Operation, Outcome};
use super::request::is_read;
use crate::wire::{Channel, Doid, message_type as t};
use bytes::Bytes;
use donet_dc::{Contract, FieldKind};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::collections::VecDeque;

/// What an object weighs besides its values: its places in two tables, and its share of their empty ones.
const OBJECT_BYTES: usize = 160;
/// What a value weighs besides its bytes.
const VALUE_BYTES: usize = 72;
/// So many answers may wait; beyond it the engine is asked, whose queue has a limit of its own.
const WAITING_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Cached {
    /// The class, where every stored value is known: what is not among them is not stored.
    whole: Option<u16>,
    values: FieldValues,
}

impl Cached {
    fn weight(&self) -> usize {
        OBJECT_BYTES + self.values.len() * VALUE_BYTES + self.values.payload_bytes()
    }

    /// What the engine would answer, if that is known.
    fn answer(&self, operation: &Operation) -> Option<Outcome> {
        match operation {
            Operation::GetAll { .. } => self.whole.map(|class| Outcome::Object { class, values: self.values.clone() }),
            Operation::GetFields { fields, .. } => {
                let found = fields.iter().map(|field| Some((field, self.values.get(field)?.clone())));
                found.collect::<Option<FieldValues>>().map(Outcome::Values)
            }
            _ => None,
        }
    }

    fn set(&mut self, values: &FieldValues, contract: &Contract) {
        // A molecular field is no value of its own: it would stay as it is when its parts change.
        let is_whole = |field| contract.field(field).is_none_or(|field| field.kind() != FieldKind::Molecular);
        for (field, value) in values.iter().filter(|(field, _)| is_whole(*field)) {
            // In memory of its own: it may share a whole frame.
            self.values.insert(field, Bytes::copy_from_slice(value));
        }
    }

    fn remove(&mut self, fields: &FieldIds) {
        let removed = |field| fields.iter().any(|removed| removed == field);
        let kept =
            self.values.iter().filter(|(field, _)| !removed(*field)).map(|(field, value)| (field, value.clone()));
        self.values = kept.collect();
    }
}

/// Somebody who has operations under way.
#[derive(Debug, Default)]
struct Asker {
    /// Operations that were submitted, and how many of them are done.
    submitted: u64,
    done: u64,
    /// Answers from memory, each with the number of operations that it waits behind.
    waiting: VecDeque<(u64, DatabaseCompletion)>,
}

/// What becomes of an operation.
#[derive(Debug)]
pub(super) enum Course {
    Answered(DatabaseCompletion),
    /// It is known, and waits behind what was submitted before.
    Waits,
    /// The engine has to do it.
    Submitted(DatabaseRequest),
}

/// Objects that weigh at most half of what may be kept, young and old: what is used moves to the young, and when there is no
/// room for more of these, the old are forgotten and the young become old.
#[derive(Debug, Default)]
pub(super) struct ReadCache {
    bytes_max: usize,
    young: HashMap<Doid, Cached>,
    young_bytes: usize,
    old: HashMap<Doid, Cached>,
    old_bytes: usize,
    /// Writes that were submitted and are not done, by object.
    writes: HashMap<Doid, u32>,
    /// Who has operations under way.
    askers: HashMap<Channel, Asker>,
    /// Answers that wait, of all askers.
    waiting: usize,
    /// A write has failed, and none has succeeded since: the storage may bring back what was answered with failure.
    in_doubt: bool,
}

impl ReadCache {
    /// Keeps at most so many bytes; none at all with 0.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        if bytes_max < self.bytes_max {
            self.forget_all();
        }
        self.bytes_max = bytes_max;
    }

    /// Bytes that are kept, as an estimate.
    pub(super) fn bytes(&self) -> usize {
        self.young_bytes + self.old_bytes
    }

    /// Answers what is known; the rest is submitted to the engine now.
    pub(super) fn take(&mut self, request: DatabaseRequest) -> Course {
        let DatabaseRequest { requester, context, message_type, ref operation, .. } = request;
        let doid = operation.doid();
        let is_crowded = self.waiting >= WAITING_MAX;
        let answer = if is_crowded { None } else { self.answer(operation) };
        if let Some(outcome) = answer {
            let completion = DatabaseCompletion { requester, context, message_type, doid, outcome };
            let Some(asker) = self.askers.get_mut(&requester) else { return Course::Answered(completion) };
            asker.waiting.push_back((asker.submitted, completion));
            self.waiting += 1;
            return Course::Waits;
        }
        self.askers.entry(requester).or_default().submitted += 1;
        // A new object has no number yet, and nothing is known of it.
        if operation.is_write() && !matches!(operation, Operation::Create { .. }) {
            *self.writes.entry(doid).or_default() += 1;
        }
        Course::Submitted(request)
    }

    /// The answers that need not wait any more, once an operation that was submitted is done and answered.
    pub(super) fn released(&mut self, requester: Channel) -> Vec<DatabaseCompletion> {
        let Entry::Occupied(mut entry) = self.askers.entry(requester) else { return Vec::new() };
        let asker = entry.get_mut();
        asker.done += 1;
        let done = asker.done;
        let mut released = Vec::new();
        while let Some((_, completion)) = asker.waiting.pop_front_if(|(behind, _)| *behind <= done) {
            released.push(completion);
        }
        self.waiting -= released.len();
        if asker.done == asker.submitted {
            entry.remove();
        }
        released
    }

    fn answer(&mut self, operation: &Operation) -> Option<Outcome> {
        let doid = operation.doid();
        if operation.is_write() || self.writes.contains_key(&doid) {
            return None;
        }
        if !self.young.contains_key(&doid) {
            let found = self.old.remove(&doid)?;
            self.old_bytes -= found.weight();
            self.insert(doid, found);
        }
        self.young.get(&doid)?.answer(operation)
    }

    /// The engine has done an operation that was submitted.
    pub(super) fn done(&mut self, completion: &DatabaseCompletion, contract: &Contract) {
        let DatabaseCompletion { doid, message_type, ref outcome, .. } = *completion;
        let is_write = !is_read(message_type);
        if is_write
            && message_type != t::DBSERVER_CREATE_OBJECT
            && let Entry::Occupied(mut writes) = self.writes.entry(doid)
        {
            *writes.get_mut() -= 1;
            if *writes.get() == 0 {
                writes.remove();
            }
        }
        match outcome {
            Outcome::Failed if is_write => {
                self.in_doubt = true;
                self.forget_all();
            }
            Outcome::Created(_) => self.in_doubt = false,
            Outcome::Applied { removed, set } => {
                self.in_doubt = false;
                self.change(doid, |cached| {
                    cached.remove(removed);
                    cached.set(set, contract);
                });
            }
            Outcome::Deleted => {
                self.in_doubt = false;
                self.forget(doid);
            }
            Outcome::Object { class, values } => self.change(doid, |cached| {
                *cached = Cached { whole: Some(*class), values: FieldValues::default() };
                cached.set(values, contract);
            }),
            Outcome::Values(values) => self.change(doid, |cached| cached.set(values, contract)),
            Outcome::Mismatch(_) | Outcome::Refused(_) | Outcome::Failed => {}
        }
    }

    fn forget(&mut self, doid: Doid) -> Option<Cached> {
        if let Some(young) = self.young.remove(&doid) {
            self.young_bytes -= young.weight();
            return Some(young);
        }
        let old = self.old.remove(&doid)?;
        self.old_bytes -= old.weight();
        Some(old)
    }

    fn change(&mut self, doid: Doid, change: impl FnOnce(&mut Cached)) {
        if self.bytes_max == 0 || self.in_doubt {
            return;
        }
        let mut cached = self.forget(doid).unwrap_or_default();
        change(&mut cached);
        if cached.whole.is_some() || !cached.values.is_empty() {
            self.insert(doid, cached);
        }
    }

    fn insert(&mut self, doid: Doid, cached: Cached) {
        let weight = cached.weight();
        if weight > self.bytes_max / 2 {
            return;
        }
        if self.young_bytes + weight > self.bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        self.young_bytes += weight;
        self.young.insert(doid, cached);
    }

    fn forget_all(&mut self) {
        (self.young, self.old) = Default::default();
        (self.young_bytes, self.old_bytes) = (0, 0);
    }
}
