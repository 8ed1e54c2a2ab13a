//! A storage in memory, for tests and the simulator: it shares its tables with its clones, so that dropping one and opening another is a
//! restart, and it fails when it is told to.

#[cfg(test)]
use super::records::{OBJECT_NUMBER, object_key};
use super::storage::{Change, Storage, StorageError, Table};
#[cfg(test)]
use crate::wire::Doid;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Default)]
pub(in super::super) struct MemoryStorage(Arc<Mutex<State>>);

#[derive(Default)]
pub(in super::super) struct State {
    records: BTreeMap<(Table, Vec<u8>), Bytes>,
    /// Whether writes, syncs and recoveries fail.
    pub disk_full: bool,
    /// Whether what a failed write wanted is there after a recovery, as after a sync that failed.
    #[cfg(test)]
    pub brings_back: bool,
    #[cfg(test)]
    lost: Vec<Change>,
    /// Whether reads fail.
    pub unreadable: bool,
    /// Number of keys in each write, and whether it was synced.
    pub writes: Vec<(usize, bool)>,
    /// Told of every sync outside a write.
    pub on_sync: Option<Sender<()>>,
    /// Told of every recovery that succeeded.
    pub on_recovery: Option<Sender<()>>,
}

impl MemoryStorage {
    /// Another storage that holds what this one holds now.
    #[cfg(test)]
    pub fn copy_of(other: &Self) -> Self {
        let records = other.state().records.clone();
        Self(Arc::new(Mutex::new(State { records, ..State::default() })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every record, as hexadecimal text: the stored format as a whole.
    #[cfg(test)]
    pub fn dump(&self) -> Vec<String> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let state = self.state();
        state.records.iter().map(|((table, key), value)| format!("{table:?} {} {}", hex(key), hex(value))).collect()
    }

    /// Puts an object there whose record is no archive.
    #[cfg(test)]
    pub fn corrupt_object(&self, doid: Doid) {
        let key = object_key(doid, OBJECT_NUMBER).to_vec();
        self.state().records.insert((Table::Objects, key), Bytes::from_static(&[9, 9]));
    }
}

impl State {
    fn fails(fails: bool, what: &str) -> Result<(), StorageError> {
        if fails { Err(StorageError::Failed(what.to_owned())) } else { Ok(()) }
    }

    #[cfg(test)]
    fn bring_back(&mut self) {
        if !self.disk_full {
            let lost = std::mem::take(&mut self.lost);
            self.apply(&lost);
        }
    }

    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            let key = (change.table, change.key.clone());
            match &change.value {
                Some(value) => self.records.insert(key, value.clone()),
                None => self.records.remove(&key),
            };
        }
    }
}

impl Storage for MemoryStorage {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let state = self.state();
        State::fails(state.unreadable, "unreadable")?;
        Ok(state.records.get(&(table, key.to_vec())).cloned())
    }

    fn scan(&self, table: Table, prefix: [u8; 4]) -> Result<Vec<(Vec<u8>, Bytes)>, StorageError> {
        let state = self.state();
        State::fails(state.unreadable, "unreadable")?;
        let from = state.records.range((table, prefix.to_vec())..);
        Ok(from
            .take_while(|((other, key), _)| *other == table && key.starts_with(&prefix))
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn page(&self, table: Table, from: &[u8], records_max: usize) -> Result<Vec<(Vec<u8>, Bytes)>, StorageError> {
        let state = self.state();
        State::fails(state.unreadable, "unreadable")?;
        let from = state.records.range((table, from.to_vec())..);
        let records = from.take_while(|((other, _), _)| *other == table).take(records_max);
        Ok(records.map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, StorageError> {
        let state = self.state();
        State::fails(state.unreadable, "unreadable")?;
        let mut keys = state.records.keys().rev().filter(|(other, _)| *other == table);
        Ok(keys.next().map(|(_, key)| key.clone()))
    }

    fn write(&mut self, changes: &[Change], sync: bool) -> Result<(), StorageError> {
        let mut state = self.state();
        #[cfg(test)]
        if state.disk_full && state.brings_back {
            state.lost.extend_from_slice(changes);
        }
        State::fails(state.disk_full, "disk full")?;
        state.writes.push((changes.len(), sync));
        state.apply(changes);
        Ok(())
    }

    fn clear_before(&mut self, table: Table, key: &[u8]) -> Result<(), StorageError> {
        let mut state = self.state();
        State::fails(state.disk_full, "disk full")?;
        state.records.retain(|(other, found), _| *other != table || &found[..] >= key);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        let state = self.state();
        State::fails(state.disk_full, "disk full")?;
        if let Some(on_sync) = &state.on_sync {
            on_sync.send(()).expect("the test waits");
        }
        Ok(())
    }

    fn recover(&mut self) -> Result<(), StorageError> {
        #[cfg(test)]
        self.state().bring_back();
        let state = self.state();
        State::fails(state.disk_full, "disk full")?;
        if let Some(on_recovery) = &state.on_recovery {
            on_recovery.send(()).expect("the test waits");
        }
        Ok(())
    }

    fn backup(&self, _: &std::path::Path) -> Result<(), StorageError> {
        Err(StorageError::Failed("what is in memory has no files".to_owned()))
    }
}
