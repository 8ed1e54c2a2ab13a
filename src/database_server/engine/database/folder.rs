//! The objects as a whole, for the commands `donetd db …`: all of them in order, put there, copied, checked. Between
//! batches only.

use super::super::records::{OBJECT_NUMBER, ObjectRecord, StoredRecord};
use super::super::schema::StoredClass;
use super::super::storage::{Storage, StorageError};
use super::super::walk::{Walk, Walked, class_number};
use super::{Database, StoredObject};
use crate::wire::Doid;
use donet_dc::TextPolicy;
use hashbrown::HashSet;
use std::path::Path;

impl<S: Storage> Database<S> {
    /// A copy of all that is stored, in a folder of its own.
    pub fn backup(&self, target: &Path) -> Result<(), StorageError> {
        self.storage.backup(target)
    }

    /// Begins a walk through all objects.
    pub fn walk(&self) -> Result<Walk, StorageError> {
        Walk::begin(&self.storage, 0)
    }

    /// The next objects of a walk, perhaps none; `None` at its end. Objects of classes that the contract does not have are
    /// left out.
    pub fn objects(&mut self, walk: &mut Walk) -> Result<Option<Vec<StoredObject>>, StorageError> {
        let Some(found) = walk.next(&self.storage)? else { return Ok(None) };
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
        Ok(Some(objects))
    }

    /// Writes whole objects under their own doids, and syncs them. Returns those that exist already and
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
    pub fn verify(&mut self, text: TextPolicy, progress: &mut dyn FnMut(Walked)) -> Vec<String> {
        let mut wrong = Vec::new();
        if let Err(error) = self.verify_objects(text, &mut wrong, progress) {
            wrong.push(error.to_string());
        }
        if let Err(error) = self.verify_pool(&mut wrong) {
            wrong.push(format!("the pool of doids: {error}"));
        }
        wrong
    }

    fn verify_objects(
        &mut self,
        text: TextPolicy,
        wrong: &mut Vec<String>,
        progress: &mut dyn FnMut(Walked),
    ) -> Result<(), StorageError> {
        let mut walk = self.walk()?;
        loop {
            let from = walk.goes_on_at();
            match self.objects(&mut walk) {
                Ok(Some(objects)) => objects.iter().for_each(|object| self.verify_values(object, text, wrong)),
                Ok(None) => return Ok(()),
                Err(error) => {
                    wrong.push(format!("from object {} on: {error}", from.unwrap_or_default()));
                    return Ok(());
                }
            }
            progress(walk.reached());
        }
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
}
