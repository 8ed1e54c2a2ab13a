//! What the engine asks of a storage: ordered records in three tables, and batches written whole or not at all.
//!
//! The daemon's storage is [`super::rocks`]. The trait stands between so that operations can be tested, and later
//! simulated, against a storage in memory that fails when it is told to.

use bytes::Bytes;
use std::path::Path;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// Format, names, allocator, freed doids.
    Meta,
    /// Objects and their fields.
    Objects,
    /// Changes that the SQL sink has not got yet.
    Outbox,
}

/// One record to write, or with no value to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub table: Table,
    pub key: Vec<u8>,
    pub value: Option<Bytes>,
}

/// What went wrong beneath the engine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StorageError {
    #[error("{0}")]
    Failed(String),
    /// What was read is not what was written.
    #[error("damaged record: {0}")]
    Damaged(String),
}

/// Ordered records. Reads see every successful write at once.
pub(crate) trait Storage {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError>;

    /// Every record whose key starts with the four bytes `prefix`, in ascending order.
    fn scan(&self, table: Table, prefix: [u8; 4]) -> Result<Vec<(Vec<u8>, Bytes)>, StorageError>;

    /// The first records whose keys are `from` or come after it, at most so many, in ascending order.
    fn page(&self, table: Table, from: &[u8], records_max: usize) -> Result<Vec<(Vec<u8>, Bytes)>, StorageError>;

    /// The greatest key of a table; `None` if it is empty.
    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, StorageError>;

    /// Writes all changes or none. With `sync` they are on disk when it returns.
    ///
    /// After an error none of them is visible to reads; but a write whose sync failed may come back, whole, after a
    /// restart or [`Storage::recover`].
    fn write(&mut self, changes: &[Change], sync: bool) -> Result<(), StorageError>;

    /// Removes every record of a table whose key comes before `key`, and gives the room back. It may come back after a
    /// crash.
    fn clear_before(&mut self, table: Table, key: &[u8]) -> Result<(), StorageError>;

    /// Brings every earlier write to disk.
    fn sync(&mut self) -> Result<(), StorageError>;

    /// Makes the storage writable again after a failed write or sync. Until it succeeds reads still work, as far as
    /// they can.
    fn recover(&mut self) -> Result<(), StorageError>;

    /// Makes a folder that holds everything as it is now, by itself. The folder must not exist.
    fn backup(&self, target: &Path) -> Result<(), StorageError>;
}
