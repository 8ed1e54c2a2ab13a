//! Carries operations out, one after the other, in batches that are written whole or not at all.
//!
//! Operations of a batch see what earlier ones did; nothing of it is in the storage, and no completion leaves, before
//! [`Database::commit`]. There is no thread, no clock and no message in here.
//!
//! * [`operations`]: what each operation does to stored objects.
//! * [`folder`]: all objects, for the commands `donetd db …`.
//! * [`feed`]: what a mirror asks of the database.

use super::super::operation::{DatabaseCompletion, DatabaseRequest, FieldValues, Operation, Outcome, Refusal};
use super::allocator::Allocator;
use super::contract_change::{self, ContractText};
use super::outbox::Outbox;
use super::records::{self, ALLOCATOR_KEY, FORMAT_KEY, OUTBOX_KEY, SCHEMA_KEY, StoredRecord, WIDENED_KEY};
use super::schema::Schema;
use super::storage::{Change, Storage, StorageError, Table};
use crate::database_server::sink_figures::SinkFigures;
use crate::wire::Doid;
use bytes::Bytes;
use donet_dc::Contract;
use donet_shards::ShardId;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

mod feed;
mod folder;
mod operations;

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
