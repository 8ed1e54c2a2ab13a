//! What is stored, under a contract that has changed.
//!
//! Decides whether a database may be opened with today's DC files, and converts it when somebody asks for that. The
//! text of the contract that values were stored under lies beside them, so that every type is known for as long as a
//! value of it is stored. Nothing is converted or removed by opening a database.

use super::allocator::Allocator;
use super::compatibility::{Difference, Fate, Loss, Renames, difference};
use super::database::OpenError;
use super::records::{
    self, ALLOCATOR_KEY, AllocatorRecord, CONTRACT_KEY, ContractRecord, MIGRATION_KEY, MigrationRecord, OBJECT_NUMBER,
    OUTBOX_KEY, SCHEMA_KEY, SchemaRecord, SourceRecord, StoredRecord, WIDENED_KEY, WidenedRecord,
};
use super::schema::widen;
use super::storage::{Change, Storage, StorageError, Table};
use super::walk::{ObjectRecords, Walk, Walked, class_number};
use crate::wire::Doid;
use bytes::Bytes;
use donet_dc::{Contract, Field, FieldKind, Options, Scalar, Source, TextPolicy, Value};
use hashbrown::{HashMap, HashSet};
use std::io;
use std::ops::RangeInclusive;

/// The text of a contract, and what it says about the one before it.
#[derive(Clone, Debug)]
pub struct ContractText {
    pub sources: Vec<Source>,
    pub options: Options,
    pub renames: Renames,
}

/// Where a migration puts what it removes.
pub trait Export {
    /// One object, or some fields of one.
    ///
    /// # Errors
    /// Those of the file; the migration stops then, and what was not exported is still stored.
    fn removed(&mut self, doid: Doid, class: &str, fields: &[(&Field, Bytes)]) -> io::Result<()>;

    /// Brings what was exported to disk; called before it is removed.
    ///
    /// # Errors
    /// As [`Export::removed`].
    fn sync(&mut self) -> io::Result<()>;
}

/// What a migration has done, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MigrationReport {
    /// One line for each class and field that the contract does not take.
    pub changes: Vec<String>,
    pub objects_removed: u64,
    pub values_removed: u64,
    pub values_converted: u64,
    /// Values that today's type cannot hold; they are exported and removed.
    pub values_unconvertible: u64,
}

fn record_of(text: &ContractText) -> ContractRecord {
    let sources = text.sources.iter();
    ContractRecord {
        multiple_inheritance: text.options.multiple_inheritance,
        sort_inheritance_by_file: text.options.sort_inheritance_by_file,
        virtual_inheritance: text.options.virtual_inheritance,
        sources: sources.map(|source| SourceRecord { name: source.name.clone(), text: source.text.clone() }).collect(),
    }
}

fn parse(record: ContractRecord) -> Result<Contract, StorageError> {
    let options = Options {
        multiple_inheritance: record.multiple_inheritance,
        sort_inheritance_by_file: record.sort_inheritance_by_file,
        virtual_inheritance: record.virtual_inheritance,
    };
    let sources: Vec<Source> =
        record.sources.into_iter().map(|source| Source { name: source.name, text: source.text }).collect();
    Contract::parse(&sources, &options)
        .map_err(|error| StorageError::Damaged(format!("the contract that the database was written under: {error}")))
}

pub(super) fn stored<R: StoredRecord>(storage: &impl Storage, key: &[u8]) -> Result<Option<R>, StorageError> {
    storage.get(Table::Meta, key)?.map(|value| R::decode(&value)).transpose()
}

fn meta(key: &[u8], value: Option<Bytes>) -> Change {
    Change { table: Table::Meta, key: key.to_vec(), value }
}

/// Everything there is to know before a change of contract.
struct Comparison {
    /// `None` if nothing has changed, or nothing was known before.
    old: Option<Contract>,
    difference: Difference,
    schema: SchemaRecord,
    widened: WidenedRecord,
    renames: Renames,
}

fn compare(storage: &impl Storage, contract: &Contract, text: &ContractText) -> Result<Comparison, StorageError> {
    let before: Option<ContractRecord> = stored(storage, CONTRACT_KEY)?;
    let schema: SchemaRecord = stored(storage, SCHEMA_KEY)?.unwrap_or_default();
    let widened = stored(storage, WIDENED_KEY)?.unwrap_or_default();
    let changed = before.filter(|before| *before != record_of(text));
    let Some(old) = changed.map(parse).transpose()? else {
        return Ok(Comparison {
            old: None,
            difference: Difference::default(),
            schema,
            widened,
            renames: Renames::default(),
        });
    };
    let renames = text.renames.in_effect(&old, contract);
    let difference = difference(&old, contract, &schema, &renames);
    Ok(Comparison { old: Some(old), difference, schema, widened, renames })
}

/// The records that make today's contract the one that the database is under.
fn adopt(comparison: Comparison, text: &ContractText) -> Vec<Change> {
    let Comparison { difference, mut schema, mut widened, renames, .. } = comparison;
    for (entries, renames) in [(&mut schema.classes, &renames.classes), (&mut schema.fields, &renames.fields)] {
        for (from, to) in renames {
            // A name that was in use long ago and is no more: no DC file can write it so.
            for entry in entries.iter_mut().filter(|entry| entry.name == *to) {
                entry.name = format!("{to} #{}", entry.number);
            }
            for entry in entries.iter_mut().filter(|entry| entry.name == *from) {
                entry.name = to.clone();
            }
        }
    }
    let lost: HashSet<(u32, u32)> =
        difference.losses.iter().map(|loss| (loss.class_number, loss.field_number)).collect();
    widened.fields.retain(|field| !lost.contains(&(field.class, field.field)));
    for field in difference.widened {
        if !widened.fields.contains(&field) {
            widened.fields.push(field);
        }
    }
    vec![
        meta(CONTRACT_KEY, Some(record_of(text).encode())),
        meta(SCHEMA_KEY, Some(schema.encode())),
        meta(WIDENED_KEY, Some(widened.encode())),
        meta(MIGRATION_KEY, None),
    ]
}

/// Makes today's contract the database's, if it takes all that is stored.
pub(super) fn accept(storage: &mut impl Storage, contract: &Contract, text: &ContractText) -> Result<(), OpenError> {
    if stored::<MigrationRecord>(storage, MIGRATION_KEY)?.is_some() {
        let unfinished = "a migration was begun and is not finished: run `donetd db migrate` again".to_owned();
        return Err(OpenError::ContractChanged(vec![unfinished]));
    }
    let comparison = compare(storage, contract, text)?;
    if comparison.old.is_some() {
        let changes = affected(storage, &comparison.difference.losses)?;
        if !changes.is_empty() {
            return Err(OpenError::ContractChanged(changes));
        }
        tracing::info!("the DC files have changed; all that is stored can be read as it stands");
    } else if stored::<ContractRecord>(storage, CONTRACT_KEY)?.is_some() {
        return Ok(());
    }
    Ok(storage.write(&adopt(comparison, text), true)?)
}

/// One line for each loss that anything stored is touched by.
fn affected(storage: &impl Storage, losses: &[Loss]) -> Result<Vec<String>, StorageError> {
    if losses.is_empty() {
        return Ok(Vec::new());
    }
    let places: HashMap<(u32, u32), usize> =
        losses.iter().enumerate().map(|(place, loss)| ((loss.class_number, loss.field_number), place)).collect();
    let mut counts = vec![0_u64; losses.len()];
    let mut walk = Walk::begin(storage, 0)?;
    while let Some(objects) = walk.next(storage)? {
        for (_, records) in objects {
            let Some(class) = class_number(&records)? else { continue };
            for (number, _) in records {
                if let Some(&place) = places.get(&(class, number)) {
                    counts[place] += 1;
                }
            }
        }
    }
    Ok(losses.iter().zip(counts).filter(|(_, count)| *count > 0).map(|(loss, count)| loss.describe(count)).collect())
}

/// Converts what is stored to today's contract: values of another type are converted, and what the contract has no
/// place for is exported and removed. With `dry_run` nothing is written, and `export` is not called.
///
/// A migration that was cut short goes on where it was when it is called again with the same contract.
pub(super) fn migrate(
    storage: &mut impl Storage,
    contract: &Contract,
    text: &ContractText,
    pool: &RangeInclusive<Doid>,
    dry_run: bool,
    export: &mut dyn Export,
    progress: &mut dyn FnMut(Walked),
) -> Result<MigrationReport, OpenError> {
    let begun: Option<MigrationRecord> = stored(storage, MIGRATION_KEY)?;
    if begun.as_ref().is_some_and(|begun| begun.contract_hash != contract.hash()) {
        let other = "a migration to other DC files was begun: finish it with those first".to_owned();
        return Err(OpenError::ContractChanged(vec![other]));
    }
    let comparison = compare(storage, contract, text)?;
    let mut report =
        MigrationReport { changes: affected(storage, &comparison.difference.losses)?, ..MigrationReport::default() };
    let work = Work::new(&comparison, contract);
    let mut walk = Walk::begin(storage, begun.map_or(0, |begun| begun.next))?;
    while work.is_any() {
        let Some(objects) = walk.next(storage)? else { break };
        let mut batch = Batch { changes: Vec::new(), freed: Vec::new() };
        for (doid, records) in objects {
            work.object(doid, records, &mut batch, &mut report, (!dry_run).then_some(&mut *export))?;
        }
        progress(walk.reached());
        if !dry_run {
            export.sync().map_err(exporting)?;
            batch.free(storage, pool)?;
            let record =
                MigrationRecord { contract_hash: contract.hash(), next: walk.goes_on_at().unwrap_or(Doid::MAX) };
            batch.changes.push(meta(MIGRATION_KEY, Some(record.encode())));
            storage.write(&batch.changes, true)?;
        }
    }
    let has_converted = work.is_any();
    drop(work);
    if !dry_run {
        let mut changes = adopt(comparison, text);
        if has_converted {
            // A mirror has to copy everything anew: it was not told.
            changes.push(meta(OUTBOX_KEY, None));
        }
        storage.write(&changes, true)?;
    }
    Ok(report)
}

fn exporting(error: io::Error) -> StorageError {
    StorageError::Failed(format!("what is removed cannot be exported: {error}"))
}

/// Changes of some objects.
struct Batch {
    changes: Vec<Change>,
    freed: Vec<Doid>,
}

impl Batch {
    /// Gives the ids of removed objects back.
    fn free(&mut self, storage: &impl Storage, pool: &RangeInclusive<Doid>) -> Result<(), StorageError> {
        let mut allocator = Allocator::resume(stored::<AllocatorRecord>(storage, ALLOCATOR_KEY)?, pool);
        let freed: Vec<Doid> = self.freed.drain(..).filter(|&doid| allocator.is_in_pool(doid)).collect();
        if freed.is_empty() {
            return Ok(());
        }
        for doid in freed {
            let key = records::freed_key(allocator.add_freed());
            self.changes.push(meta(&key, Some(records::freed_value(doid))));
        }
        self.changes.push(meta(ALLOCATOR_KEY, Some(allocator.record().encode())));
        Ok(())
    }
}

/// What is to be done to which stored numbers.
struct Work<'a> {
    dropped: HashMap<u32, &'a str>,
    fields: HashMap<(u32, u32), FieldWork<'a>>,
    /// Fields of the old contract, by stored class and field.
    old_fields: HashMap<(u32, u32), &'a Field>,
    widened: &'a WidenedRecord,
}

struct FieldWork<'a> {
    class: &'a str,
    old: &'a Field,
    /// `None` if it is to be removed.
    new: Option<&'a Field>,
}

impl<'a> Work<'a> {
    fn new(comparison: &'a Comparison, contract: &'a Contract) -> Self {
        let mut work = Self {
            dropped: HashMap::new(),
            fields: HashMap::new(),
            old_fields: HashMap::new(),
            widened: &comparison.widened,
        };
        let Some(old) = &comparison.old else { return work };
        let number = |entries: &[records::Numbered], name: &str| {
            entries.iter().find(|entry| entry.name == name).map(|entry| entry.number)
        };
        for class in old.classes() {
            let Some(class_number) = number(&comparison.schema.classes, class.name()) else { continue };
            for field in class.fields() {
                if let Some(field_number) = number(&comparison.schema.fields, field.name()) {
                    work.old_fields.insert((class_number, field_number), field);
                }
            }
        }
        for loss in &comparison.difference.losses {
            let key = (loss.class_number, loss.field_number);
            let (Some(name), Some(&old)) = (&loss.field, work.old_fields.get(&key)) else {
                work.dropped.insert(loss.class_number, &loss.class);
                continue;
            };
            let new = contract
                .class_by_name(comparison.renames.class(&loss.class))
                .and_then(|class| class.field_by_name(comparison.renames.field(name)))
                .filter(|_| matches!(loss.fate, Fate::Retyped { .. }));
            work.fields.insert(key, FieldWork { class: &loss.class, old, new });
        }
        work
    }

    fn is_any(&self) -> bool {
        !self.dropped.is_empty() || !self.fields.is_empty()
    }

    /// A stored value as a value of its old type.
    fn old_value(&self, key: (u32, u32), field: &Field, value: Bytes) -> Bytes {
        let former = self.widened.fields.iter().filter(|widened| (widened.class, widened.field) == key);
        widen(former.map(|widened| (widened.bytes, widened.signed)), field, value)
    }

    fn object(
        &self,
        doid: Doid,
        records: ObjectRecords,
        batch: &mut Batch,
        report: &mut MigrationReport,
        mut export: Option<&mut dyn Export>,
    ) -> Result<(), StorageError> {
        let Some(class) = class_number(&records)? else { return Ok(()) };
        let mut write = |number: u32, value: Option<Bytes>| {
            let key = records::object_key(doid, number).to_vec();
            batch.changes.push(Change { table: Table::Objects, key, value });
        };
        let mut removed: Vec<(&Field, Bytes)> = Vec::new();
        let dropped = self.dropped.get(&class);
        let mut class_name = dropped.copied().unwrap_or_default();
        for (number, value) in records {
            let key = (class, number);
            if dropped.is_some() {
                write(number, None);
                if let Some(&field) = self.old_fields.get(&key).filter(|_| number != OBJECT_NUMBER) {
                    removed.push((field, self.old_value(key, field, value)));
                }
                continue;
            }
            let Some(work) = self.fields.get(&key) else { continue };
            class_name = work.class;
            let old = self.old_value(key, work.old, value);
            match work.new.map(|new| convert(work.old, new, &old)) {
                Some(Some(converted)) => {
                    report.values_converted += 1;
                    write(number, Some(converted));
                }
                other => {
                    report.values_removed += 1;
                    report.values_unconvertible += u64::from(other.is_some());
                    write(number, None);
                    removed.push((work.old, old));
                }
            }
        }
        if dropped.is_some() {
            report.objects_removed += 1;
            batch.freed.push(doid);
        }
        if let Some(export) = export.as_mut().filter(|_| dropped.is_some() || !removed.is_empty()) {
            export.removed(doid, class_name, &removed).map_err(exporting)?;
        }
        Ok(())
    }
}

/// The same value in another type, if that can hold it.
fn convert(old: &Field, new: &Field, value: &[u8]) -> Option<Bytes> {
    let value = old.unpack(value, TextPolicy::Bytes).ok()?;
    let packed = match new.pack(&value) {
        Ok(packed) => packed,
        Err(_) => new.pack(&in_other_words(&value, old, new)?).ok()?,
    };
    new.validate(&packed, TextPolicy::Bytes).ok()?;
    Some(packed.into())
}

/// A single number as the text that writes it, or such a text as the number; alone, or as the parameter of a method.
fn in_other_words(value: &Value, old: &Field, new: &Field) -> Option<Value> {
    let only = match value {
        Value::List(items) => match &items[..] {
            [only] => only,
            _ => return None,
        },
        plain => plain,
    };
    let changed = match (old.scalar()?, new.scalar()?, only) {
        (_, Scalar::Text, Value::Int(number)) => Value::Text(number.to_string().into()),
        (_, Scalar::Text, Value::Uint(number)) => Value::Text(number.to_string().into()),
        (_, Scalar::Text, Value::Real(number)) => Value::Text(number.to_string().into()),
        (Scalar::Text, to, Value::Text(text)) => {
            let text = std::str::from_utf8(text).ok()?.trim();
            match to {
                Scalar::Signed(_) => Value::Int(text.parse().ok()?),
                Scalar::Unsigned(_) => Value::Uint(text.parse().ok()?),
                Scalar::Real => Value::Real(text.parse().ok().filter(|number: &f64| number.is_finite())?),
                Scalar::Text | Scalar::Bytes => return None,
            }
        }
        (.., plain) => plain.clone(),
    };
    Some(if new.kind() == FieldKind::Data { changed } else { Value::List(vec![changed]) })
}
