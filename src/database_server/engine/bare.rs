//! RocksDB as it comes, for the benchmark that compares the engine with it (`benches/database/`). Nothing else uses it.

use rocksdb::{DB, DBCompressionType, Options, WriteBatch, WriteOptions};
use std::path::Path;

/// A RocksDB folder without anything of ours.
pub struct BareDatabase {
    database: DB,
    options: WriteOptions,
}

impl BareDatabase {
    /// Opens a new folder; with `sync` each write is on disk when it returns.
    ///
    /// # Errors
    /// As all of these: what RocksDB says.
    pub fn open(directory: &Path, sync: bool) -> Result<Self, String> {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_compression_type(DBCompressionType::Lz4);
        let database = DB::open(&options, directory).map_err(|error| error.to_string())?;
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        Ok(Self { database, options })
    }

    /// Writes all records at once.
    pub fn write<'a>(&self, records: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<(), String> {
        let mut batch = WriteBatch::default();
        records.for_each(|(key, value)| batch.put(key, value));
        self.database.write_opt(batch, &self.options).map_err(|error| error.to_string())
    }

    /// Brings everything that was written to disk.
    pub fn sync(&self) -> Result<(), String> {
        self.database.flush_wal(true).map_err(|error| error.to_string())
    }

    /// Reads a record.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.database.get(key).map_err(|error| error.to_string())
    }
}
