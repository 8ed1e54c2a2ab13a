//! The stored format: keys and values, byte for byte. It is here to stay; golden tests pin it.
//!
//! | table | key | value |
//! |---|---|---|
//! | meta | `format` | [`FORMAT_MAGIC`], then the format version, u32 little-endian |
//! | meta | `schema` | [`SchemaRecord`] |
//! | meta | `allocator` | [`AllocatorRecord`] |
//! | meta | `contract` | [`ContractRecord`] |
//! | meta | `widened` | [`WidenedRecord`] |
//! | meta | `migration` | [`MigrationRecord`], while a migration is under way |
//! | meta | `outbox` | [`OutboxRecord`], where there is a SQL sink |
//! | meta | `free` + position, u64 big-endian | a freed doid, u32 little-endian |
//! | objects | doid, u32 big-endian + 0, u32 | [`ObjectRecord`] |
//! | objects | doid, u32 big-endian + field number, u32 big-endian, not 0 | the packed value, as on the wire |
//! | outbox | number, u64 big-endian | what a batch changed ([`super::outbox`]) |
//!
//! An object's records are neighbours, its own first, so that one short scan reads it whole. Numbers of classes and
//! fields are those of the schema record, never those of a contract. Structured values are an rkyv archive behind one
//! byte that names the version of the record; they are checked before use, because disks lie. Bytes of clients are
//! only ever values of fields, and never read as an archive.

use super::storage::StorageError;
use crate::wire::Doid;
use bytes::Bytes;
use rkyv::{Archive, Deserialize, Serialize};

/// Begins the format record of every database of this program.
pub(super) const FORMAT_MAGIC: &[u8; 12] = b"donet-db\r\n\x1a\n";
/// The layout of keys, tables and records as a whole.
pub(super) const FORMAT_VERSION: u32 = 1;
/// The version of each structured record.
const RECORD_VERSION: u8 = 1;

pub(super) const FORMAT_KEY: &[u8] = b"format";
pub(super) const SCHEMA_KEY: &[u8] = b"schema";
pub(super) const CONTRACT_KEY: &[u8] = b"contract";
pub(super) const WIDENED_KEY: &[u8] = b"widened";
pub(super) const MIGRATION_KEY: &[u8] = b"migration";
pub(super) const ALLOCATOR_KEY: &[u8] = b"allocator";
pub(super) const OUTBOX_KEY: &[u8] = b"outbox";
const FREED_PREFIX: [u8; 4] = *b"free";
/// The number under which the object's own record stands.
pub(super) const OBJECT_NUMBER: u32 = 0;

/// An object, apart from its fields.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectRecord {
    /// Stable number of its class.
    pub class: u32,
}

/// Which doids may be handed out next. Freed ones wait in the records from `freed_head` up to, not including,
/// `freed_tail`.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct AllocatorRecord {
    pub minimum: u32,
    pub maximum: u32,
    /// The lowest doid that was never handed out; beyond `maximum` when the counter is spent.
    pub next: u64,
    pub freed_head: u64,
    pub freed_tail: u64,
}

/// The stable numbers of names. A number, once given, means its name for ever, so that a contract may be reordered and
/// extended without touching what is stored.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SchemaRecord {
    /// The hash of the last contract that this database was opened with.
    pub contract_hash: u32,
    pub classes: Vec<Numbered>,
    /// Field names, shared by all classes that have a field of the name.
    pub fields: Vec<Numbered>,
}

/// A name and its number; numbers start at 1.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub number: u32,
    pub name: String,
}

/// The text of the contract that values are stored under: what their bytes mean, for as long as there are any.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ContractRecord {
    pub multiple_inheritance: bool,
    pub sort_inheritance_by_file: bool,
    pub virtual_inheritance: bool,
    pub sources: Vec<SourceRecord>,
}

/// One DC file.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct SourceRecord {
    pub name: String,
    pub text: Vec<u8>,
}

/// Whole numbers whose type has got more bytes since values of it were stored. Such values stay as they are, and grow
/// when they are read.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WidenedRecord {
    pub fields: Vec<Widened>,
}

/// A former type of a field of a class, both by their stable numbers.
#[derive(Archive, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Widened {
    pub class: u32,
    pub field: u32,
    pub bytes: u8,
    pub signed: bool,
}

/// How far a migration has come.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub(super) struct MigrationRecord {
    /// Of the contract that it leads to.
    pub contract_hash: u32,
    /// The first doid that it has not looked at.
    pub next: u32,
}

/// Which entries of the outbox there are: those behind `acknowledged` up to `last`.
#[derive(Archive, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OutboxRecord {
    /// Whether changes are written there: not before a mirror has begun, nor after too much had gathered.
    pub is_recording: bool,
    /// The last entry that the mirror has, and the run that wrote it.
    pub acknowledged: u64,
    pub acknowledged_run: u64,
    /// Bytes of all entries up to that one.
    pub acknowledged_bytes: u64,
    pub last: u64,
    /// Bytes of all entries there have ever been.
    pub last_bytes: u64,
}

/// A record that is stored as an archive behind its version.
pub(super) trait StoredRecord: Sized {
    /// What the record is called in errors.
    const NAME: &'static str;

    fn encode(&self) -> Bytes;

    /// # Errors
    /// When the bytes are no archive of this record, or of a version that nobody here knows.
    fn decode(value: &[u8]) -> Result<Self, StorageError>;
}

macro_rules! stored_record {
    ($record:ident, $name:literal) => {
        impl StoredRecord for $record {
            const NAME: &'static str = $name;

            fn encode(&self) -> Bytes {
                let archive =
                    rkyv::to_bytes::<rkyv::rancor::Error>(self).expect("memory is the only resource it needs");
                let mut value = Vec::with_capacity(1 + archive.len());
                value.push(RECORD_VERSION);
                value.extend_from_slice(&archive);
                value.into()
            }

            fn decode(value: &[u8]) -> Result<Self, StorageError> {
                let damaged = |detail: String| StorageError::Damaged(format!("{}: {detail}", Self::NAME));
                let archive = match value.split_first() {
                    Some((&RECORD_VERSION, archive)) => archive,
                    Some((version, _)) => return Err(damaged(format!("version {version} is unknown"))),
                    None => return Err(damaged("it is empty".to_owned())),
                };
                // Archives are read where they are aligned; stored values are not.
                let mut aligned = rkyv::util::AlignedVec::<16>::with_capacity(archive.len());
                aligned.extend_from_slice(archive);
                rkyv::from_bytes::<Self, rkyv::rancor::Error>(&aligned).map_err(|error| damaged(error.to_string()))
            }
        }
    };
}

stored_record!(ObjectRecord, "an object");
stored_record!(AllocatorRecord, "the doid allocator");
stored_record!(SchemaRecord, "the names of classes and fields");
stored_record!(ContractRecord, "the contract");
stored_record!(WidenedRecord, "the types that have grown");
stored_record!(MigrationRecord, "the state of a migration");
stored_record!(OutboxRecord, "the state of the outbox");

/// The value of the format record.
pub(super) fn format_value() -> Bytes {
    [&FORMAT_MAGIC[..], &FORMAT_VERSION.to_le_bytes()].concat().into()
}

/// The version in a format record; `None` where it is not one of ours.
pub(super) fn format_version(value: &[u8]) -> Option<u32> {
    let version = value.strip_prefix(FORMAT_MAGIC)?;
    Some(u32::from_le_bytes(version.try_into().ok()?))
}

/// The key of an object's own record (number 0) or of one of its fields.
pub(super) fn object_key(doid: Doid, number: u32) -> [u8; 8] {
    ((u64::from(doid)) << 32 | u64::from(number)).to_be_bytes()
}

/// The doid and the number in a key.
pub(super) fn split_object_key(key: &[u8]) -> Result<(Doid, u32), StorageError> {
    let key: [u8; 8] = key
        .try_into()
        .map_err(|_| StorageError::Damaged(format!("a record of an object has a key of {} bytes", key.len())))?;
    let key = u64::from_be_bytes(key);
    Ok(((key >> 32) as Doid, key as u32))
}

/// The prefix of all records of an object.
pub(super) fn object_prefix(doid: Doid) -> [u8; 4] {
    doid.to_be_bytes()
}

/// The key of a freed doid, by its position in the queue.
pub(super) fn freed_key(position: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&FREED_PREFIX);
    key[4..].copy_from_slice(&position.to_be_bytes());
    key
}

pub(super) fn freed_value(doid: Doid) -> Bytes {
    Bytes::copy_from_slice(&doid.to_le_bytes())
}

pub(super) fn freed_doid(value: &[u8]) -> Result<Doid, StorageError> {
    let bytes = value.try_into().map_err(|_| StorageError::Damaged("a freed doid is not four bytes".to_owned()))?;
    Ok(Doid::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn golden_keys() {
        assert_eq!(hex(&object_key(1_000_000, OBJECT_NUMBER)), "000f424000000000");
        assert_eq!(hex(&object_key(1_000_000, 258)), "000f424000000102");
        assert_eq!(hex(&object_key(u32::MAX, u32::MAX)), "ffffffffffffffff");
        assert_eq!(hex(&freed_key(258)), "667265650000000000000102");
    }

    #[test]
    fn golden_format_and_freed_values() {
        assert_eq!(hex(&format_value()), "646f6e65742d64620d0a1a0a01000000");
        assert_eq!(format_version(&format_value()), Some(FORMAT_VERSION));
        assert_eq!(format_version(b"something else"), None);
        assert_eq!(hex(&freed_value(1_000_000)), "40420f00");
        assert_eq!(freed_doid(&freed_value(1_000_000)), Ok(1_000_000));
    }

    #[test]
    fn golden_records() {
        let object = ObjectRecord { class: 0x0102_0304 };
        assert_eq!(hex(&object.encode()), "0104030201");
        assert_eq!(ObjectRecord::decode(&object.encode()), Ok(object));

        let allocator =
            AllocatorRecord { minimum: 1000, maximum: u32::MAX, next: 1 << 32, freed_head: 3, freed_tail: 5 };
        assert_eq!(hex(&allocator.encode()), "01e8030000ffffffff000000000100000003000000000000000500000000000000");
        assert_eq!(AllocatorRecord::decode(&allocator.encode()), Ok(allocator));

        let schema = SchemaRecord {
            contract_hash: 0xdead_beef,
            classes: vec![Numbered { number: 1, name: "Avatar".to_owned() }],
            fields: vec![
                Numbered { number: 1, name: "setName".to_owned() },
                Numbered { number: 2, name: "setExperience".to_owned() },
            ],
        };
        let contract = ContractRecord {
            multiple_inheritance: true,
            sort_inheritance_by_file: false,
            virtual_inheritance: true,
            sources: vec![SourceRecord { name: "a.dc".to_owned(), text: b"dclass A {};".to_vec() }],
        };
        assert_eq!(ContractRecord::decode(&contract.encode()), Ok(contract));
        let widened = WidenedRecord { fields: vec![Widened { class: 1, field: 2, bytes: 1, signed: true }] };
        assert_eq!(hex(&widened.encode()), "01010000000200000001010000f4ffffff01000000");
        assert_eq!(WidenedRecord::decode(&widened.encode()), Ok(widened));
        let migration = MigrationRecord { contract_hash: 0x0102_0304, next: 5 };
        assert_eq!(hex(&migration.encode()), "010403020105000000");
        assert_eq!(MigrationRecord::decode(&migration.encode()), Ok(migration));
        let outbox = OutboxRecord {
            is_recording: true,
            acknowledged: 2,
            acknowledged_run: 3,
            acknowledged_bytes: 4,
            last: 5,
            last_bytes: 6,
        };
        let golden =
            "01010000000000000002000000000000000300000000000000040000000000000005000000000000000600000000000000";
        assert_eq!(hex(&outbox.encode()), golden);
        assert_eq!(OutboxRecord::decode(&outbox.encode()), Ok(outbox));

        let golden = "0101000000417661746172ffff736574457870657269656e6365000000010000007365744e616d65ff\
                      020000008d000000e0ffffffefbeaddec8ffffff01000000dcffffff02000000";
        assert_eq!(hex(&schema.encode()), golden);
        assert_eq!(SchemaRecord::decode(&schema.encode()), Ok(schema));
    }

    #[test]
    fn damaged_records_are_named_and_never_trusted() {
        let name = |error: StorageError| error.to_string();
        assert!(name(ObjectRecord::decode(&[]).unwrap_err()).contains("an object"));
        assert!(name(ObjectRecord::decode(&[2, 0, 0, 0, 0]).unwrap_err()).contains("version 2"));
        let value = SchemaRecord { classes: vec![Numbered { number: 1, name: "A".repeat(40) }], ..Default::default() };
        let value = value.encode();
        for cut in 0..value.len() {
            assert!(SchemaRecord::decode(&value[..cut]).is_err(), "cut at {cut}");
        }
    }
}
