//! What a mirror of the database asks of it: from where on, what has changed, and a page of all there is.

use super::super::outbox::{Append, OutboxEntry, OutboxPosition, StoredEntry, entry_key, objects_of};
use super::super::records::{self, OBJECT_NUMBER, OUTBOX_KEY, ObjectRecord, OutboxRecord, StoredRecord};
use super::super::storage::{Change, Storage, StorageError, Table};
use super::super::walk::{ObjectRecords, class_number, objects_from};
use super::Database;
use crate::database_server::sink_figures::SinkFigures;
use crate::wire::Doid;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Entries that are read at a time, and bytes of them beyond which no further one is.
const READ_ENTRIES_MAX: usize = 64;
const READ_BYTES_MAX: usize = 4 << 20;
/// Records of a page: so few that reading them does not delay the operations that wait meanwhile.
const PAGE_RECORDS: usize = 1024;

/// Some objects, as they are after the entry at `end`.
#[derive(Clone, Debug)]
pub struct OutboxPage {
    /// Each with its stored class and its fields, by stored numbers.
    pub objects: Vec<(Doid, u32, ObjectRecords)>,
    /// The first doid that was not looked at; `None` at the end.
    pub next: Option<Doid>,
    /// The number of that entry.
    pub end: u64,
    /// No object of the pool has a higher doid, as far as the counter tells.
    pub highest: Doid,
}

impl<S: Storage> Database<S> {
    /// Keeps changes for a mirror from here on, or with `None` forgets what was kept: a mirror could not go on.
    pub fn keep_outbox(&mut self, bytes_max: Option<u64>, figures: Arc<SinkFigures>) -> Result<(), StorageError> {
        self.figures = figures;
        let stored: Option<OutboxRecord> = super::contract_change::stored(&self.storage, OUTBOX_KEY)?;
        match (bytes_max, stored) {
            (None, None) => return Ok(()),
            (None, Some(_)) => {
                let change = Change { table: Table::Meta, key: OUTBOX_KEY.to_vec(), value: None };
                self.storage.write(&[change], true)?;
                self.storage.clear_before(Table::Outbox, &entry_key(u64::MAX))?;
            }
            (Some(bytes_max), None) => {
                self.storage.clear_before(Table::Outbox, &entry_key(u64::MAX))?;
                self.outbox = Some(super::Outbox::new(None, bytes_max));
            }
            (Some(bytes_max), stored) => {
                let outbox = super::Outbox::new(stored, bytes_max);
                let first = outbox.record.acknowledged + 1;
                // Left over where a crash came between dropping entries and removing them.
                let left = self.storage.page(Table::Outbox, &[], 1)?;
                if left.first().is_some_and(|(key, _)| key[..] < entry_key(first)[..]) {
                    self.storage.clear_before(Table::Outbox, &entry_key(first))?;
                }
                self.outbox = Some(outbox);
            }
        }
        self.tell_lag(self.oldest_waiting());
        Ok(())
    }

    /// The time of the entries that are written from here on, in milliseconds since 1970.
    pub fn set_clock(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// Adds what the batch's changes make of the outbox to them.
    pub(super) fn append_to_outbox(&self, changes: &mut Vec<Change>) -> Result<Option<Append>, StorageError> {
        let Some(outbox) = self.outbox.as_ref().filter(|outbox| outbox.record.is_recording) else { return Ok(None) };
        if self.changes.is_empty() {
            return Ok(None);
        }
        let class_before = |doid| {
            let own = self.storage.get(Table::Objects, &records::object_key(doid, OBJECT_NUMBER))?;
            own.map(|own| ObjectRecord::decode(&own).map(|record| record.class)).transpose()
        };
        let append = outbox.append(objects_of(&self.changes, class_before)?, self.now_ms);
        if let Some((number, entry)) = &append.entry {
            changes.push(Change { table: Table::Outbox, key: entry_key(*number).to_vec(), value: Some(entry.clone()) });
        }
        changes.push(record_change(&append.record));
        Ok(Some(append))
    }

    /// After a batch was written.
    pub(super) fn appended(&mut self, append: Option<Append>) {
        let Some(Append { record, entry }) = append else { return };
        let Some(outbox) = &mut self.outbox else { return };
        if entry.is_none() {
            tracing::warn!(
                entries = outbox.waiting_entries(),
                bytes = outbox.waiting_bytes(),
                "the changes that wait for the SQL sink have reached `outbox_max_bytes` and are dropped; the sink will \
                 copy everything anew"
            );
        }
        let last = record.last;
        let was_empty = outbox.waiting_entries() == 0;
        outbox.record = record;
        if entry.is_none() {
            // What is left is removed at the next start.
            if let Err(error) = self.storage.clear_before(Table::Outbox, &entry_key(last + 1)) {
                tracing::warn!(%error, "the dropped changes cannot be removed from the disk yet");
            }
            self.tell_lag(0);
        } else {
            let known = self.figures.oldest_ms.load(Ordering::Relaxed);
            self.tell_lag(if was_empty { self.now_ms } else { known });
        }
    }

    /// Whether a mirror at this position can go on.
    pub fn outbox_goes_on(&self, position: OutboxPosition) -> Result<bool, StorageError> {
        let Some(outbox) = self.outbox.as_ref().filter(|outbox| outbox.record.is_recording) else { return Ok(false) };
        let OutboxPosition { number, run } = position;
        if number == outbox.record.acknowledged {
            return Ok(run == outbox.record.acknowledged_run);
        }
        if number < outbox.record.acknowledged || number > outbox.record.last {
            return Ok(false);
        }
        let entry = self.storage.get(Table::Outbox, &entry_key(number))?;
        Ok(entry.map(StoredEntry::decode).transpose()?.is_some_and(|entry| entry.run == run))
    }

    /// Begins anew: forgets all entries, and keeps those that follow. A mirror that has copied everything as it is now or
    /// later goes on from the position.
    pub fn begin_outbox(&mut self) -> Result<OutboxPosition, StorageError> {
        let outbox = self.outbox.as_mut().ok_or_else(no_outbox)?;
        let record = outbox.dropped(outbox.record.last, true);
        let written = self.storage.write(&[record_change(&record)], false);
        if let Err(error) = written {
            self.broken = true;
            return Err(error);
        }
        outbox.record = record;
        let end = outbox.end();
        self.storage.clear_before(Table::Outbox, &entry_key(end.number + 1))?;
        self.tell_lag(0);
        Ok(end)
    }

    /// The first entries behind a number; none when there are none yet. `None` if they are not kept any more.
    pub fn outbox_after(&self, number: u64) -> Result<Option<Vec<OutboxEntry>>, StorageError> {
        let Some(outbox) = self.outbox.as_ref().filter(|outbox| outbox.record.is_recording) else { return Ok(None) };
        if number < outbox.record.acknowledged || number > outbox.record.last {
            return Ok(None);
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        for next in number + 1..=outbox.record.last {
            let value = self.storage.get(Table::Outbox, &entry_key(next))?;
            let value = value.ok_or_else(|| StorageError::Damaged(format!("entry {next} of the outbox is missing")))?;
            bytes += value.len();
            let StoredEntry { run, written_ms, objects, .. } = StoredEntry::decode(value)?;
            entries.push(OutboxEntry { position: OutboxPosition { number: next, run }, written_ms, objects });
            if entries.len() >= READ_ENTRIES_MAX || bytes >= READ_BYTES_MAX {
                break;
            }
        }
        Ok(Some(entries))
    }

    /// The mirror has everything up to this position: the entries are not needed any more.
    pub fn acknowledge_outbox(&mut self, position: OutboxPosition) -> Result<(), StorageError> {
        let outbox = self.outbox.as_mut().ok_or_else(no_outbox)?;
        let OutboxRecord { acknowledged, last, .. } = outbox.record;
        if position.number <= acknowledged || position.number > last {
            return Ok(());
        }
        let value = self.storage.get(Table::Outbox, &entry_key(position.number))?;
        let missing = || StorageError::Damaged(format!("entry {} of the outbox is missing", position.number));
        let entry = StoredEntry::decode(value.ok_or_else(missing)?)?;
        let record = OutboxRecord {
            acknowledged: position.number,
            acknowledged_run: entry.run,
            acknowledged_bytes: entry.end_bytes,
            ..outbox.record.clone()
        };
        let removed = (acknowledged + 1..=position.number).map(|number| Change {
            table: Table::Outbox,
            key: entry_key(number).to_vec(),
            value: None,
        });
        let changes: Vec<Change> = removed.chain([record_change(&record)]).collect();
        if let Err(error) = self.storage.write(&changes, false) {
            self.broken = true;
            return Err(error);
        }
        outbox.record = record;
        self.tell_lag(self.oldest_waiting());
        Ok(())
    }

    /// Some objects from a doid on, as all that is written has left them.
    pub fn outbox_page(&self, from: Doid) -> Result<OutboxPage, StorageError> {
        let outbox = self.outbox.as_ref().ok_or_else(no_outbox)?;
        let (found, next) = objects_from(&self.storage, from, PAGE_RECORDS)?;
        let mut objects = Vec::with_capacity(found.len());
        for (doid, mut records) in found {
            // What has no record of its own is no object; `donetd db verify` tells of it.
            if let Some(class) = class_number(&records)? {
                objects.push((doid, class, records.split_off(1)));
            }
        }
        let highest = match self.allocator_stored.clone().next_of_counter() {
            Some(next) => next.saturating_sub(1),
            None => *self.pool.end(),
        };
        Ok(OutboxPage { objects, next, end: outbox.record.last, highest })
    }

    /// Brings the figures of the lag up to date; `oldest_ms` is when the oldest entry was written.
    fn tell_lag(&self, oldest_ms: u64) {
        let lag = self.outbox.as_ref().map(|outbox| (outbox.waiting_entries(), outbox.waiting_bytes()));
        let (entries, bytes) = lag.unwrap_or_default();
        self.figures.lag_bytes.store(bytes, Ordering::Relaxed);
        self.figures.oldest_ms.store(oldest_ms, Ordering::Relaxed);
        // The last: whoever sees that nothing waits sees the others so.
        self.figures.lag_entries.store(entries, Ordering::Release);
    }

    /// When the first entry that waits was written; 0 if there is none.
    fn oldest_waiting(&self) -> u64 {
        let Some(outbox) = self.outbox.as_ref().filter(|outbox| outbox.waiting_entries() > 0) else { return 0 };
        let first = self.storage.get(Table::Outbox, &entry_key(outbox.record.acknowledged + 1)).ok().flatten();
        first.and_then(|first| StoredEntry::decode(first).ok()).map_or(0, |entry| entry.written_ms)
    }
}

fn record_change(record: &OutboxRecord) -> Change {
    Change { table: Table::Meta, key: OUTBOX_KEY.to_vec(), value: Some(record.encode()) }
}

fn no_outbox() -> StorageError {
    StorageError::Failed("this database keeps no outbox".to_owned())
}
