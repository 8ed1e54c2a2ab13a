//! What every operation of `protocol-ss-dbss-db.md` §4.3 does to stored objects, within a batch.

use super::super::records::{self, OBJECT_NUMBER, ObjectRecord, StoredRecord};
use super::super::schema::StoredClass;
use super::super::storage::{Storage, StorageError, Table};
use super::{Database, RECORD_OVERHEAD_BYTES, Stop};
use crate::database_server::operation::{Condition, FieldIds, FieldValues, Operation, Outcome, Refusal};
use crate::wire::Doid;
use bytes::{Bytes, BytesMut};
use donet_dc::{Class, FieldKind};
use std::collections::BTreeMap;

impl<S: Storage> Database<S> {
    /// Checks first and changes last: an operation that stops has changed nothing of an object.
    pub(super) fn perform(&mut self, operation: Operation) -> Result<Outcome, Stop> {
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

    pub(super) fn freed_at(&self, position: u64) -> Result<Option<Doid>, StorageError> {
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
    pub(super) fn apply(&mut self, doid: Doid, set: FieldValues) -> Outcome {
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
    pub(super) fn read(&self, doid: Doid, number: u32) -> Result<Option<Bytes>, StorageError> {
        let key = records::object_key(doid, number);
        match self.changes.get(&key) {
            Some(changed) => Ok(changed.clone()),
            None => self.storage.get(Table::Objects, &key),
        }
    }

    /// Every record of an object, as the batch has left it, in ascending order of the numbers.
    pub(super) fn records_of(&self, doid: Doid) -> Result<BTreeMap<[u8; 8], Bytes>, StorageError> {
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

    pub(super) fn put(&mut self, doid: Doid, number: u32, value: Bytes) {
        self.batch_bytes += RECORD_OVERHEAD_BYTES + value.len();
        self.changes.insert(records::object_key(doid, number), Some(value));
    }

    pub(super) fn remove(&mut self, key: [u8; 8]) {
        self.batch_bytes += RECORD_OVERHEAD_BYTES;
        self.changes.insert(key, None);
    }
}
