//! The outbox: what batches have changed, kept until the SQL sink has it.
//!
//! An entry is written in the same write as the changes of its batch, so that neither is ever without the other. Decides
//! what an entry holds, from which of them a mirror may go on, and when so many wait that they are dropped. It knows
//! nothing of SQL.
//!
//! A mirror's position is the number of the last entry that it has, with the *run* that wrote it: a random number drawn
//! whenever the database is opened. Entries that a power cut took back are written anew under another run, so that a
//! mirror that had seen them is noticed; so is one that followed another folder, or a folder put back from a backup.

use super::records::{OBJECT_NUMBER, ObjectRecord, OutboxRecord, StoredRecord, split_object_key};
use super::storage::StorageError;
use crate::wire::Doid;
use bytes::{Buf, BufMut, Bytes};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// The layout of an entry.
const ENTRY_VERSION: u8 = 1;
/// The length of a value that is none.
const REMOVED: u32 = u32::MAX;

/// How far a mirror is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxPosition {
    /// Of the last entry that it has.
    pub number: u64,
    /// Of the process that wrote that entry.
    pub run: u64,
}

/// What one batch changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    pub position: OutboxPosition,
    /// When it was written, in milliseconds since 1970.
    pub written_ms: u64,
    pub objects: Vec<ObjectChange>,
}

/// What one batch made of one object. Classes and fields are stored numbers ([`super::schema`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectChange {
    pub doid: Doid,
    /// Its class before; `None` if it did not exist.
    pub before: Option<u32>,
    /// Its class now; `None` if it does not exist any more.
    pub after: Option<u32>,
    /// The fields that were set, or with `None` removed.
    pub fields: Vec<(u32, Option<Bytes>)>,
}

/// A number that no other process has drawn.
pub(super) fn draw_run() -> u64 {
    // The keys of the standard library's hash tables are the system's random numbers.
    RandomState::new().build_hasher().finish()
}

pub(super) fn entry_key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// The objects of a batch's changes, in ascending order; `class_before` tells an object's class before the batch.
pub(super) fn objects_of(
    changes: &BTreeMap<[u8; 8], Option<Bytes>>,
    mut class_before: impl FnMut(Doid) -> Result<Option<u32>, StorageError>,
) -> Result<Vec<ObjectChange>, StorageError> {
    let mut objects: Vec<ObjectChange> = Vec::new();
    for (key, value) in changes {
        let (doid, number) = split_object_key(key)?;
        if objects.last().is_none_or(|last| last.doid != doid) {
            let before = class_before(doid)?;
            objects.push(ObjectChange { doid, before, after: before, fields: Vec::new() });
        }
        let object = objects.last_mut().expect("pushed if it was missing");
        if number == OBJECT_NUMBER {
            let record = value.as_ref().map(|value| ObjectRecord::decode(value)).transpose()?;
            object.after = record.map(|record| record.class);
        } else {
            object.fields.push((number, value.clone()));
        }
    }
    Ok(objects)
}

/// An entry as it is stored; `end_bytes` are those of all entries up to this one.
pub(super) struct StoredEntry {
    pub run: u64,
    pub written_ms: u64,
    pub end_bytes: u64,
    pub objects: Vec<ObjectChange>,
}

impl StoredEntry {
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(64);
        out.put_u8(ENTRY_VERSION);
        for number in [self.run, self.written_ms, self.end_bytes] {
            out.put_u64_le(number);
        }
        for object in &self.objects {
            let numbers =
                [object.doid, object.before.unwrap_or(0), object.after.unwrap_or(0), object.fields.len() as u32];
            numbers.into_iter().for_each(|number| out.put_u32_le(number));
            for (number, value) in &object.fields {
                out.put_u32_le(*number);
                out.put_u32_le(value.as_ref().map_or(REMOVED, |value| value.len() as u32));
                out.extend_from_slice(value.as_deref().unwrap_or_default());
            }
        }
        out.into()
    }

    pub fn decode(mut value: Bytes) -> Result<Self, StorageError> {
        let damaged = || StorageError::Damaged("an entry of the outbox is cut off".to_owned());
        let version = value.try_get_u8().map_err(|_| damaged())?;
        if version != ENTRY_VERSION {
            return Err(StorageError::Damaged(format!("an entry of the outbox: version {version} is unknown")));
        }
        let mut numbers = [0; 3];
        for number in &mut numbers {
            *number = value.try_get_u64_le().map_err(|_| damaged())?;
        }
        let mut objects = Vec::new();
        while value.has_remaining() {
            objects.push(decode_object(&mut value).ok_or_else(damaged)?);
        }
        let [run, written_ms, end_bytes] = numbers;
        Ok(Self { run, written_ms, end_bytes, objects })
    }
}

fn decode_object(value: &mut Bytes) -> Option<ObjectChange> {
    let class = |number: u32| (number != 0).then_some(number);
    let mut next = || value.try_get_u32_le().ok();
    let (doid, before, after, count) = (next()?, class(next()?), class(next()?), next()?);
    let mut fields = Vec::new();
    for _ in 0..count {
        let number = value.try_get_u32_le().ok()?;
        let field = match value.try_get_u32_le().ok()? {
            REMOVED => None,
            length if length as usize <= value.len() => Some(value.split_to(length as usize)),
            _ => return None,
        };
        fields.push((number, field));
    }
    Some(ObjectChange { doid, before, after, fields })
}

/// The state of a role's outbox.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    /// As stored.
    pub record: OutboxRecord,
    pub run: u64,
    /// Bytes of entries, beyond which they are dropped.
    bytes_max: u64,
}

/// What a batch does to the outbox.
pub(super) struct Append {
    pub record: OutboxRecord,
    /// With its number; `None` if all entries are dropped instead.
    pub entry: Option<(u64, Bytes)>,
}

impl Outbox {
    pub fn new(stored: Option<OutboxRecord>, bytes_max: u64) -> Self {
        Self { record: stored.unwrap_or_default(), run: draw_run(), bytes_max }
    }

    /// The same after the storage was opened again.
    pub fn reloaded(&self, stored: Option<OutboxRecord>) -> Self {
        Self::new(stored, self.bytes_max)
    }

    /// The position behind everything so far.
    pub fn end(&self) -> OutboxPosition {
        OutboxPosition { number: self.record.last, run: self.run }
    }

    pub fn waiting_bytes(&self) -> u64 {
        self.record.last_bytes - self.record.acknowledged_bytes
    }

    pub fn waiting_entries(&self) -> u64 {
        self.record.last - self.record.acknowledged
    }

    /// What a batch with these changes does.
    pub fn append(&self, objects: Vec<ObjectChange>, written_ms: u64) -> Append {
        let number = self.record.last + 1;
        let mut entry = StoredEntry { run: self.run, written_ms, end_bytes: 0, objects };
        // The number of bytes does not change the length.
        entry.end_bytes = self.record.last_bytes + entry.encode().len() as u64;
        if entry.end_bytes - self.record.acknowledged_bytes > self.bytes_max {
            return Append { record: self.dropped(number, false), entry: None };
        }
        let record = OutboxRecord { last: number, last_bytes: entry.end_bytes, ..self.record.clone() };
        Append { record, entry: Some((number, entry.encode())) }
    }

    /// Without entries, and beginning behind a number. No mirror can go on from before.
    pub fn dropped(&self, number: u64, is_recording: bool) -> OutboxRecord {
        OutboxRecord {
            is_recording,
            acknowledged: number,
            acknowledged_run: self.run,
            acknowledged_bytes: self.record.last_bytes,
            last: number,
            last_bytes: self.record.last_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_pinned_and_damaged_ones_named() {
        let objects = vec![
            ObjectChange {
                doid: 0x0102_0304,
                before: None,
                after: Some(7),
                fields: vec![(1, Some(Bytes::from_static(b"ab"))), (2, None), (3, Some(Bytes::new()))],
            },
            ObjectChange { doid: 5, before: Some(6), after: None, fields: vec![] },
        ];
        let value = StoredEntry { run: 0x0a, written_ms: 0x0b, end_bytes: 0x0c, objects: objects.clone() }.encode();
        let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        let golden = "010a000000000000000b000000000000000c00000000000000\
                      04030201000000000700000003000000\
                      0100000002000000616202000000ffffffff0300000000000000\
                      05000000060000000000000000000000";
        assert_eq!(hex, golden);
        let again = StoredEntry::decode(value.clone()).unwrap();
        assert_eq!((again.run, again.written_ms, again.end_bytes, again.objects), (0x0a, 0x0b, 0x0c, objects));
        // Cut between objects it is shorter; anywhere else it is refused. Its count cannot be checked, RocksDB's can.
        for cut in (0..value.len()).filter(|cut| ![25, 67].contains(cut)) {
            assert!(StoredEntry::decode(value.slice(..cut)).is_err(), "cut at {cut}");
        }
        let error = StoredEntry::decode(Bytes::from_static(&[2])).err().unwrap();
        assert!(error.to_string().contains("version 2"), "{error}");
    }
}
