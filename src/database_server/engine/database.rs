//! Carries operations out, one after the other, in batches that are written whole or not at all.
//!
//! Decides what every operation of `protocol-ss-dbss-db.md` §4.3 does to stored objects. Operations of a batch see what
//! earlier ones did; nothing of it is in the storage, and no completion leaves, before [`Database::commit`]. There is
//! no thread, no clock and no message in here.

use super::super::operation::{
    Condition, DatabaseCompletion, DatabaseRequest, FieldIds, FieldValues, Operation, Outcome, Refusal,
};
use super::allocator::Allocator;
use super::contract_change::{self, ContractText, OBJECT_PAGE_RECORDS, class_number, objects_from};
use super::outbox::Outbox;
use super::records::{
    self, ALLOCATOR_KEY, FORMAT_KEY, OBJECT_NUMBER, OUTBOX_KEY, ObjectRecord, SCHEMA_KEY, StoredRecord, WIDENED_KEY,
};
use super::schema::{Schema, StoredClass};
use super::storage::{Change, Storage, StorageError, Table};
use crate::database_server::sink_figures::SinkFigures;
use crate::wire::Doid;
use bytes::{Bytes, BytesMut};
use donet_dc::{Class, Contract, FieldKind, TextPolicy};
use donet_shards::ShardId;
use hashbrown::HashSet;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

mod feed;

pub use feed::OutboxPage;

/// The most operations of one batch: enough that one sync is shared by all that wait, few enough that the first of
/// them does not wait long for the last.
pub(super) const BATCH_OPERATIONS_MAX: usize = 1024;
/// Bytes read or to be written, beyond which a batch takes no further operation.
pub(super) const BATCH_BYTES_MAX: usize = 4 << 20;
/// What a record or a completion weighs besides its value.
const RECORD_OVERHEAD_BYTES: usize = 64;

/// Why a storage cannot be used as a database.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum OpenError {
    #[error("{0}")]
    Foreign(String),
    /// What is stored is not what today's contract declares: one line for each difference.
    #[error("the DC files do not take what is stored: {}", .0.join("; "))]
    ContractChanged(Vec<String>),
    #[error("format version {found}")]
    NewerFormat { found: u32 },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// One stored object, by the numbers of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    pub doid: Doid,
    pub class: u16,
    pub values: FieldValues,
}

/// Why an operation stopped.
enum Stop {
    Refused(Refusal),
    Storage(StorageError),
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Stop::Storage(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

/// The objects of one Database Server role.
pub(in super::super) struct Database<S> {
    storage: S,
    contract: Arc<Contract>,
    pool: RangeInclusive<Doid>,
    schema: Schema,
    /// With the changes of the batch.
    allocator: Allocator,
    /// As stored.
    allocator_stored: Allocator,
    /// Changes of the batch to objects and fields; `None` = removed.
    changes: BTreeMap<[u8; 8], Option<Bytes>>,
    /// Changes of the batch to the queue of freed doids, by position.
    freed: BTreeMap<u64, Option<Doid>>,
    /// What a mirror has not got yet, where there is one.
    outbox: Option<Outbox>,
    figures: Arc<SinkFigures>,
    now_ms: u64,
    completions: Vec<(ShardId, DatabaseCompletion)>,
    /// Reads of the batch, by their place in `completions`: they are carried out again if its writes fail.
    reads: Vec<(usize, Operation)>,
    batch_bytes: usize,
    /// A write has failed and the storage has not recovered since.
    broken: bool,
    /// Attempts to recover it that failed, one after the other.
    recovery_failures: u64,
}

impl<S: Storage> Database<S> {
    /// As [`Database::open_under`], for a contract whose text is not at hand: what is stored is taken to be of it.
    #[cfg(test)]
    pub fn open(storage: S, contract: Arc<Contract>, pool: RangeInclusive<Doid>) -> Result<Self, OpenError> {
        Self::open_under(storage, contract, None, pool)
    }

    /// Opens what is stored, or begins anew in an empty storage, and gives numbers to the contract's new names. Refuses
    /// what the contract does not take.
    pub fn open_under(
        mut storage: S,
        contract: Arc<Contract>,
        text: Option<&ContractText>,
        pool: RangeInclusive<Doid>,
    ) -> Result<Self, OpenError> {
        check_format(&mut storage)?;
        if let Some(text) = text {
            contract_change::accept(&mut storage, &contract, text)?;
        }
        let (schema, allocator) = load(&mut storage, &contract, &pool)?;
        Ok(Self {
            storage,
            contract,
            pool,
            schema,
            allocator_stored: allocator.clone(),
            allocator,
            changes: BTreeMap::new(),
            freed: BTreeMap::new(),
            outbox: None,
            figures: Arc::default(),
            now_ms: 0,
            completions: Vec::new(),
            reads: Vec::new(),
            batch_bytes: 0,
            broken: false,
            recovery_failures: 0,
        })
    }

    /// Whether the batch takes no further operation.
    pub fn is_full(&self) -> bool {
        self.completions.len() >= BATCH_OPERATIONS_MAX || self.batch_bytes >= BATCH_BYTES_MAX
    }

    /// Carries one operation out within the batch.
    pub fn execute(&mut self, shard: ShardId, request: DatabaseRequest) {
        let DatabaseRequest { requester, context, message_type, operation, .. } = request;
        let doid = operation.doid();
        // What is answered if this operation does not come to its end.
        let outcome = Outcome::Failed;
        self.completions.push((shard, DatabaseCompletion { requester, context, message_type, doid, outcome }));
        self.batch_bytes += RECORD_OVERHEAD_BYTES;
        let place = self.completions.len() - 1;
        if !operation.is_write() {
            self.reads.push((place, operation.clone()));
        } else if self.broken {
            return;
        }
        self.complete(place, operation);
    }

    /// Carries an operation out and notes what came of it.
    fn complete(&mut self, place: usize, operation: Operation) {
        let result = self.perform(operation);
        let completion = &mut self.completions[place].1;
        completion.outcome = match result {
            Ok(outcome) => outcome,
            Err(Stop::Refused(refusal)) => Outcome::Refused(refusal),
            Err(Stop::Storage(error)) => {
                let DatabaseCompletion { doid, message_type, .. } = *completion;
                tracing::error!(doid, %message_type, %error, "a database operation failed");
                Outcome::Failed
            }
        };
        self.batch_bytes += outcome_bytes(&completion.outcome);
    }

    /// Answers without carrying anything out, in the order of the queue.
    pub fn refuse(&mut self, shard: ShardId, completion: DatabaseCompletion) {
        self.batch_bytes += RECORD_OVERHEAD_BYTES;
        self.completions.push((shard, completion));
    }

    /// Writes what the batch has changed, and returns its completions. If the write fails, so has every operation of
    /// the batch that would change something; its reads are carried out again, on what is stored, because they may
    /// have seen what never was. Returns whether anything was written.
    pub fn commit(&mut self, sync: bool) -> (bool, Vec<(ShardId, DatabaseCompletion)>) {
        let changes = self.batch_changes();
        let mut wrote = !changes.is_empty();
        let mut reads = std::mem::take(&mut self.reads);
        if wrote {
            match self.write(changes, sync) {
                Ok(()) => {}
                Err(error) => {
                    let operations = self.completions.len() - reads.len();
                    tracing::error!(
                        %error,
                        operations,
                        "the database cannot write: these operations fail, and so do later ones that change something \
                         until it can; reads go on"
                    );
                    wrote = false;
                    self.fail_batch();
                    self.clear_batch();
                    for (place, operation) in reads.drain(..) {
                        self.complete(place, operation);
                    }
                }
            }
        }
        self.clear_batch();
        (wrote, std::mem::take(&mut self.completions))
    }

    /// Whether a write has failed and [`Database::recover`] has not succeeded since: until then nothing can be changed.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Gives the batch up after a panic within it, and returns its completions, all failed.
    pub fn abandon(&mut self) -> Vec<(ShardId, DatabaseCompletion)> {
        self.fail_batch();
        self.clear_batch();
        self.reads.clear();
        std::mem::take(&mut self.completions)
    }

    /// Brings every write so far to disk.
    pub fn sync(&mut self) {
        if let Err(error) = self.storage.sync() {
            tracing::error!(%error, "the database cannot sync; what was written last may be lost in a crash");
            self.broken = true;
        }
    }

    /// Writes the changes of the batch, with what a mirror is to know of them.
    fn write(&mut self, mut changes: Vec<Change>, sync: bool) -> Result<(), StorageError> {
        let append = self.append_to_outbox(&mut changes)?;
        self.storage.write(&changes, sync)?;
        self.allocator_stored = self.allocator.clone();
        self.appended(append);
        Ok(())
    }

    fn fail_batch(&mut self) {
        self.broken = true;
        for (_, completion) in &mut self.completions {
            completion.outcome = Outcome::Failed;
        }
    }

    fn clear_batch(&mut self) {
        self.changes.clear();
        self.freed.clear();
        self.allocator = self.allocator_stored.clone();
        self.batch_bytes = 0;
    }

    fn batch_changes(&self) -> Vec<Change> {
        let objects = self.changes.iter().map(|(key, value)| Change {
            table: Table::Objects,
            key: key.to_vec(),
            value: value.clone(),
        });
        let freed = self.freed.iter().map(|(&position, doid)| Change {
            table: Table::Meta,
            key: records::freed_key(position).to_vec(),
            value: doid.map(records::freed_value),
        });
        let allocator = (self.allocator != self.allocator_stored).then(|| Change {
            table: Table::Meta,
            key: ALLOCATOR_KEY.to_vec(),
            value: Some(self.allocator.record().encode()),
        });
        objects.chain(freed).chain(allocator).collect()
    }

    /// The stored names, for whoever reads stored numbers on another thread.
    pub(super) fn names(&self) -> Result<Schema, StorageError> {
        let stored = contract_change::stored(&self.storage, SCHEMA_KEY)?.unwrap_or_default();
        let widened = contract_change::stored(&self.storage, WIDENED_KEY)?.unwrap_or_default();
        Ok(Schema::resolve(stored, &widened, &self.contract).0)
    }

    /// A copy of all that is stored, in a folder of its own.
    pub fn backup(&self, target: &Path) -> Result<(), StorageError> {
        self.storage.backup(target)
    }

    /// Between batches: some objects in ascending order from a doid on, and where to go on; `None` at the end. Objects of
    /// classes that the contract does not have are left out.
    pub fn objects(&mut self, from: Doid) -> Result<(Vec<StoredObject>, Option<Doid>), StorageError> {
        let (found, next) = objects_from(&self.storage, from, OBJECT_PAGE_RECORDS)?;
        let mut objects = Vec::with_capacity(found.len());
        for (doid, records) in found {
            let number = class_number(&records)?
                .ok_or_else(|| StorageError::Damaged(format!("object {doid} has values, but no record of its own")))?;
            let StoredClass::Known(class) = self.schema.class(number) else { continue };
            let values = records.into_iter().filter_map(|(number, value)| {
                let field = self.contract.field(self.schema.field(class, number)?)?;
                Some((field.id(), self.schema.widen(class, field, value)))
            });
            objects.push(StoredObject { doid, class, values: values.collect() });
        }
        Ok((objects, next))
    }

    /// Between batches: writes whole objects under their own doids, and syncs them. Returns those that exist already and
    /// were left as they are.
    pub fn insert(&mut self, objects: Vec<StoredObject>, replace: bool) -> Result<Vec<Doid>, StorageError> {
        let mut left = Vec::new();
        for StoredObject { doid, class, values } in objects {
            let Some(class) = self.schema.class_number(class) else {
                self.clear_batch();
                return Err(StorageError::Failed(format!("object {doid} has no class of the contract")));
            };
            let records = self.records_of(doid)?;
            if !records.is_empty() && !replace {
                left.push(doid);
                continue;
            }
            for key in records.into_keys() {
                self.remove(key);
            }
            self.put(doid, OBJECT_NUMBER, ObjectRecord { class }.encode());
            self.apply(doid, values);
            self.allocator.skip(doid);
        }
        let changes = self.batch_changes();
        let written = self.write(changes, true);
        self.clear_batch();
        written.map(|()| left)
    }

    /// The counter's next doid, if it is not spent, and how many freed ones wait.
    pub fn pool_state(&self) -> (Option<Doid>, u64) {
        (
            self.allocator.clone().next_of_counter(),
            self.allocator.record().freed_tail - self.allocator.record().freed_head,
        )
    }

    /// Reads every record, and says what is wrong.
    pub fn verify(&mut self, text: TextPolicy, progress: &mut dyn FnMut(u64)) -> Vec<String> {
        let mut wrong = Vec::new();
        let (mut from, mut seen) = (Some(0), 0);
        while let Some(doid) = from {
            match self.objects(doid) {
                Ok((objects, next)) => {
                    seen += objects.len() as u64;
                    for object in objects {
                        self.verify_values(&object, text, &mut wrong);
                    }
                    from = next;
                }
                Err(error) => {
                    wrong.push(format!("from object {doid} on: {error}"));
                    break;
                }
            }
            progress(seen);
        }
        if let Err(error) = self.verify_pool(&mut wrong) {
            wrong.push(format!("the pool of doids: {error}"));
        }
        wrong
    }

    fn verify_values(&self, object: &StoredObject, text: TextPolicy, wrong: &mut Vec<String>) {
        for (id, value) in object.values.iter() {
            let Some(field) = self.contract.field(id) else { continue };
            if let Err(error) = field.validate(value, text) {
                wrong.push(format!("object {}, field {}: {error}", object.doid, field.name()));
            }
        }
    }

    /// Every freed doid waits once, belongs to no object, and was handed out before.
    fn verify_pool(&self, wrong: &mut Vec<String>) -> Result<(), StorageError> {
        let record = self.allocator.record();
        let mut seen = HashSet::new();
        for position in record.freed_head..record.freed_tail {
            let Some(doid) = self.freed_at(position)? else {
                wrong.push(format!("the freed doid at position {position} is missing"));
                continue;
            };
            if !seen.insert(doid) {
                wrong.push(format!("doid {doid} is freed twice"));
            }
            if self.read(doid, OBJECT_NUMBER)?.is_some() {
                wrong.push(format!("doid {doid} is freed and in use"));
            }
        }
        Ok(())
    }

    /// Between batches, after a failure: makes the storage writable again, and reads back what it holds. Returns whether
    /// it succeeded.
    pub fn recover(&mut self) -> bool {
        let loaded = self.storage.recover().and_then(|()| {
            let loaded = load(&mut self.storage, &self.contract, &self.pool)?;
            Ok((loaded, contract_change::stored(&self.storage, OUTBOX_KEY)?))
        });
        match loaded {
            Ok(((schema, allocator), outbox)) => {
                if let Some(outdated) = &mut self.outbox {
                    // Entries may be missing that a mirror has seen: what follows is another run's.
                    *outdated = outdated.reloaded(outbox);
                }
                tracing::info!("the database can write again");
                self.schema = schema;
                self.allocator_stored = allocator.clone();
                self.allocator = allocator;
                self.broken = false;
                self.recovery_failures = 0;
                true
            }
            Err(error) => {
                self.recovery_failures += 1;
                // A line for each attempt would fill what is left of the disk.
                if self.recovery_failures.is_power_of_two() {
                    let attempts = self.recovery_failures;
                    tracing::warn!(%error, attempts, "the database still cannot write");
                }
                false
            }
        }
    }

    /// Checks first and changes last: an operation that stops has changed nothing of an object.
    fn perform(&mut self, operation: Operation) -> Result<Outcome, Stop> {
        match operation {
            Operation::Create { class, values } => self.create(class, values),
            Operation::GetAll { doid } => self.get_all(doid),
            Operation::GetFields { doid, fields } => self.get_fields(doid, &fields),
            Operation::Set { doid, values } => {
                self.check_fields(doid, values.iter().map(|(field, _)| field))?;
                Ok(self.apply(doid, values))
            }
            Operation::SetIfEquals { doid, conditions } => self.set_if_equals(doid, conditions),
            Operation::SetIfEmpty { doid, values } => self.set_if_empty(doid, values),
            Operation::DeleteFields { doid, fields } => self.delete_fields(doid, &fields),
            Operation::Delete { doid } => self.delete(doid),
        }
    }

    fn create(&mut self, class: u16, values: FieldValues) -> Result<Outcome, Stop> {
        let unknown = || StorageError::Failed(format!("the engine's contract has no class {class}"));
        let class = self.schema.class_number(class).ok_or_else(unknown)?;
        let doid = self.allocate()?.ok_or(Refusal::PoolExhausted)?;
        self.put(doid, OBJECT_NUMBER, ObjectRecord { class }.encode());
        self.apply(doid, values);
        Ok(Outcome::Created(doid))
    }

    /// A doid of the pool that no object has.
    ///
    /// The counter's ids are looked up too: after a change of the pool in the configuration it may run into ids that
    /// were handed out before.
    fn allocate(&mut self) -> Result<Option<Doid>, StorageError> {
        while let Some(doid) = self.allocator.next_of_counter() {
            if self.read(doid, OBJECT_NUMBER)?.is_none() {
                return Ok(Some(doid));
            }
        }
        while let Some(position) = self.allocator.take_freed() {
            let doid = self.freed_at(position)?;
            self.freed.insert(position, None);
            let Some(doid) = doid else { continue };
            if self.allocator.is_in_pool(doid) && self.read(doid, OBJECT_NUMBER)?.is_none() {
                return Ok(Some(doid));
            }
        }
        Ok(None)
    }

    fn freed_at(&self, position: u64) -> Result<Option<Doid>, StorageError> {
        if let Some(doid) = self.freed.get(&position) {
            return Ok(*doid);
        }
        let value = self.storage.get(Table::Meta, &records::freed_key(position))?;
        value.map(|value| records::freed_doid(&value)).transpose()
    }

    fn get_all(&mut self, doid: Doid) -> Result<Outcome, Stop> {
        let records = self.records_of(doid)?;
        let object = records.get(&records::object_key(doid, OBJECT_NUMBER)).ok_or(Refusal::MissingObject)?;
        let class = self.known_class(object)?;
        // What the contract does not declare, or no longer stores, is not seen.
        let fields = records.iter().filter_map(|(key, value)| {
            let number = u32::from_be_bytes(key[4..].try_into().expect("keys of objects have eight bytes"));
            let field = self.contract.field(self.schema.field(class, number)?)?;
            Some((field.id(), self.schema.widen(class, field, value.clone())))
        });
        let values: FieldValues = fields.collect();
        self.schema.note_missing(class, &self.contract, |field| values.get(field).is_some());
        Ok(Outcome::Object { class, values })
    }

    fn get_fields(&mut self, doid: Doid, fields: &FieldIds) -> Result<Outcome, Stop> {
        let class = self.class_of(doid)?;
        let mut values = FieldValues::default();
        for field in fields.iter() {
            if let Some(value) = self.value(doid, class, field)? {
                values.insert(field, value);
            }
        }
        Ok(Outcome::Values(values))
    }

    fn set_if_equals(&mut self, doid: Doid, conditions: Vec<Condition>) -> Result<Outcome, Stop> {
        let class = self.check_fields(doid, conditions.iter().map(|condition| condition.field))?;
        let current = self.current(doid, class, conditions.iter().map(|condition| condition.field))?;
        if conditions.iter().any(|condition| current.get(condition.field) != Some(&condition.expected)) {
            return Ok(Outcome::Mismatch(current));
        }
        let values = conditions.into_iter().map(|condition| (condition.field, condition.value)).collect();
        Ok(self.apply(doid, values))
    }

    fn set_if_empty(&mut self, doid: Doid, values: FieldValues) -> Result<Outcome, Stop> {
        let class = self.check_fields(doid, values.iter().map(|(field, _)| field))?;
        let current = self.current(doid, class, values.iter().map(|(field, _)| field))?;
        if !current.is_empty() {
            return Ok(Outcome::Mismatch(current));
        }
        Ok(self.apply(doid, values))
    }

    fn delete_fields(&mut self, doid: Doid, fields: &FieldIds) -> Result<Outcome, Stop> {
        self.check_fields(doid, fields.iter())?;
        let mut removed = FieldIds::default();
        let mut set = FieldValues::default();
        for field in fields.iter() {
            match self.contract.field(field).filter(|field| field.has_explicit_default()) {
                Some(with_default) => set.insert(field, Bytes::copy_from_slice(with_default.default_value())),
                None => removed.insert(field),
            }
        }
        for field in removed.iter() {
            if let Some(number) = self.schema.field_number(field) {
                self.remove(records::object_key(doid, number));
            }
        }
        let Outcome::Applied { set, .. } = self.apply(doid, set) else { unreachable!("apply applies") };
        Ok(Outcome::Applied { removed, set })
    }

    fn delete(&mut self, doid: Doid) -> Result<Outcome, Stop> {
        self.class_of(doid)?;
        for key in self.records_of(doid)?.into_keys() {
            self.remove(key);
        }
        // Each object is removed once, so its id is freed once.
        if self.allocator.is_in_pool(doid) {
            let position = self.allocator.add_freed();
            self.freed.insert(position, Some(doid));
        }
        Ok(Outcome::Deleted)
    }

    /// Stores values of fields that belong to the object.
    fn apply(&mut self, doid: Doid, set: FieldValues) -> Outcome {
        for (field, value) in set.iter() {
            if let Some(number) = self.schema.field_number(field) {
                self.put(doid, number, value.clone());
            }
        }
        Outcome::Applied { removed: FieldIds::default(), set }
    }

    /// The class of an object all of whose named fields belong to it.
    fn check_fields(&mut self, doid: Doid, mut fields: impl Iterator<Item = u16>) -> Result<u16, Stop> {
        let id = self.class_of(doid)?;
        let class = self.class(id)?;
        match fields.find(|&field| class.field(field).is_none()) {
            Some(foreign) => Err(Refusal::ForeignField(foreign).into()),
            None => Ok(id),
        }
    }

    fn class_of(&mut self, doid: Doid) -> Result<u16, Stop> {
        let object = self.read(doid, OBJECT_NUMBER)?.ok_or(Refusal::MissingObject)?;
        self.known_class(&object)
    }

    /// The class of the contract that an object's record names. An object of a class that the contract has lost reads
    /// as missing.
    fn known_class(&mut self, object: &[u8]) -> Result<u16, Stop> {
        let number = ObjectRecord::decode(object)?.class;
        match self.schema.class(number) {
            StoredClass::Known(class) => Ok(class),
            StoredClass::Dropped => Err(Refusal::MissingObject.into()),
            StoredClass::Unnamed => {
                Err(StorageError::Damaged(format!("an object of class number {number}, which has no name")).into())
            }
        }
    }

    fn class(&self, id: u16) -> Result<&Class, StorageError> {
        self.contract.class(id).ok_or_else(|| StorageError::Failed(format!("the contract has no class {id}")))
    }

    fn current(&self, doid: Doid, class: u16, fields: impl Iterator<Item = u16>) -> Result<FieldValues, StorageError> {
        let mut current = FieldValues::default();
        for field in fields {
            if let Some(value) = self.value(doid, class, field)? {
                current.insert(field, value);
            }
        }
        Ok(current)
    }

    /// The value of a field, if it belongs to the class and is stored; of a molecular one, if all its parts are.
    fn value(&self, doid: Doid, class: u16, field: u16) -> Result<Option<Bytes>, StorageError> {
        let Some(field) = self.class(class)?.field(field) else { return Ok(None) };
        if field.kind() != FieldKind::Molecular {
            let Some(number) = self.schema.field_number(field.id()) else { return Ok(None) };
            let value = self.read(doid, number)?;
            return Ok(value.map(|value| self.schema.widen(class, field, value)));
        }
        let mut composed = BytesMut::new();
        for &part in field.parts() {
            let Some(value) = self.value(doid, class, part)? else { return Ok(None) };
            composed.extend_from_slice(&value);
        }
        Ok(Some(composed.freeze()))
    }

    /// One record, as the batch has left it.
    fn read(&self, doid: Doid, number: u32) -> Result<Option<Bytes>, StorageError> {
        let key = records::object_key(doid, number);
        match self.changes.get(&key) {
            Some(changed) => Ok(changed.clone()),
            None => self.storage.get(Table::Objects, &key),
        }
    }

    /// Every record of an object, as the batch has left it, in ascending order of the numbers.
    fn records_of(&self, doid: Doid) -> Result<BTreeMap<[u8; 8], Bytes>, StorageError> {
        let mut records = BTreeMap::new();
        for (key, value) in self.storage.scan(Table::Objects, records::object_prefix(doid))? {
            let key = <[u8; 8]>::try_from(&key[..]).map_err(|_| {
                StorageError::Damaged(format!("a record of object {doid} has a key of {} bytes", key.len()))
            })?;
            records.insert(key, value);
        }
        let all = records::object_key(doid, 0)..=records::object_key(doid, u32::MAX);
        for (&key, changed) in self.changes.range(all) {
            match changed {
                Some(value) => records.insert(key, value.clone()),
                None => records.remove(&key),
            };
        }
        Ok(records)
    }

    fn put(&mut self, doid: Doid, number: u32, value: Bytes) {
        self.batch_bytes += RECORD_OVERHEAD_BYTES + value.len();
        self.changes.insert(records::object_key(doid, number), Some(value));
    }

    fn remove(&mut self, key: [u8; 8]) {
        self.batch_bytes += RECORD_OVERHEAD_BYTES;
        self.changes.insert(key, None);
    }
}

/// What a completion holds in memory until it leaves; what was put is counted where it is put.
fn outcome_bytes(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Object { values, .. } | Outcome::Values(values) | Outcome::Mismatch(values) => values.payload_bytes(),
        _ => 0,
    }
}

/// Refuses what is not ours, and marks an empty storage as ours.
fn check_format(storage: &mut impl Storage) -> Result<(), OpenError> {
    match storage.get(Table::Meta, FORMAT_KEY)? {
        Some(value) => match records::format_version(&value) {
            Some(records::FORMAT_VERSION) => Ok(()),
            Some(found) if found > records::FORMAT_VERSION => Err(OpenError::NewerFormat { found }),
            _ => Err(OpenError::Foreign("its format record is another program's".to_owned())),
        },
        None => {
            for table in [Table::Meta, Table::Objects] {
                if !storage.page(table, &[], 1)?.is_empty() {
                    let lost = "there are records, but not the one that names the format".to_owned();
                    return Err(StorageError::Damaged(lost).into());
                }
            }
            let value = Some(records::format_value());
            let change = Change { table: Table::Meta, key: FORMAT_KEY.to_vec(), value };
            Ok(storage.write(&[change], true)?)
        }
    }
}

/// Reads names and allocator, and stores the names that are new.
fn load(
    storage: &mut impl Storage,
    contract: &Contract,
    pool: &RangeInclusive<Doid>,
) -> Result<(Schema, Allocator), StorageError> {
    let stored = storage.get(Table::Meta, SCHEMA_KEY)?.map(|value| StoredRecord::decode(&value)).transpose()?;
    let widened = contract_change::stored(storage, WIDENED_KEY)?.unwrap_or_default();
    let (schema, changed) = Schema::resolve(stored.unwrap_or_default(), &widened, contract);
    if let Some(record) = changed {
        let change = Change { table: Table::Meta, key: SCHEMA_KEY.to_vec(), value: Some(record.encode()) };
        storage.write(&[change], true)?;
    }
    let stored = storage.get(Table::Meta, ALLOCATOR_KEY)?.map(|value| StoredRecord::decode(&value)).transpose()?;
    Ok((schema, Allocator::resume(stored, pool)))
}
