//! The storage on disk: RocksDB in the folder of one role. The only module that names `rocksdb`.
//!
//! Decides how the folder is opened, tuned and refused. It knows tables, keys and bytes, and nothing of objects.

use super::error::EngineError;
use super::storage::{Change, Storage, StorageError, Table};
use bytes::Bytes;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    IteratorMode, LogLevel, Options, PrefixRange, ReadOptions, SliceTransform, WriteBatch, WriteOptions,
};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The column family of [`Table::Objects`]; [`Table::Meta`] is the default one.
const OBJECTS: &str = "objects";
const DEFAULT: &str = "default";
/// The key prefix that all records of one object share.
const OBJECT_PREFIX_BYTES: usize = 4;
/// Blocks of the tables on disk that are kept in memory.
const BLOCK_CACHE_BYTES: usize = 64 << 20;
/// Written records that are gathered in memory before they become a table on disk.
const WRITE_BUFFER_BYTES: usize = 32 << 20;
/// The log that is replayed at start: bounds how long a start takes after a crash.
const WAL_BYTES_MAX: u64 = 64 << 20;
/// Bits of the filters that spare a read of the disk for what is not there: about one in a hundred slips through.
const FILTER_BITS_PER_KEY: f64 = 10.0;
/// Tables that are kept open; the rest of the daemon needs its descriptors for connections.
const OPEN_FILES_MAX: i32 = 256;
/// RocksDB's own text logs: how many, and how long.
const LOG_FILES: usize = 4;
const LOG_FILE_BYTES_MAX: usize = 1 << 20;
/// Background threads for flushes and compactions.
const BACKGROUND_JOBS: i32 = 2;
/// What must fit on the disk before a database that failed to write is opened again.
const PROBE_BYTES: usize = 1 << 20;
const PROBE_FILE: &str = "donet.probe";

/// A RocksDB folder.
pub(super) struct RocksStorage {
    directory: PathBuf,
    /// `None` after a recovery that could close the folder but not open it again.
    database: Option<DB>,
}

impl RocksStorage {
    /// Opens the folder, or creates it.
    pub fn open(directory: &Path) -> Result<Self, EngineError> {
        let unusable = |error: std::io::Error| EngineError::Unusable {
            directory: directory.to_owned(),
            detail: error.to_string(),
        };
        fs::create_dir_all(directory).map_err(unusable)?;
        check_folder(directory)?;
        let database = open_database(directory).map_err(|error| classify(directory, &error))?;
        Ok(Self { directory: directory.to_owned(), database: Some(database) })
    }

    fn database(&self) -> Result<&DB, StorageError> {
        self.database.as_ref().ok_or_else(|| StorageError::Failed("the folder could not be opened again".to_owned()))
    }
}

fn family(database: &DB, table: Table) -> Result<&ColumnFamily, StorageError> {
    let name = match table {
        Table::Meta => DEFAULT,
        Table::Objects => OBJECTS,
    };
    database.cf_handle(name).ok_or_else(|| StorageError::Failed(format!("the column family {name} is not open")))
}

impl Storage for RocksStorage {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StorageError> {
        let database = self.database()?;
        Ok(database.get_cf(family(database, table)?, key).map_err(failed)?.map(Bytes::from))
    }

    fn scan(&self, table: Table, prefix: [u8; 4]) -> Result<Vec<(Vec<u8>, Bytes)>, StorageError> {
        let database = self.database()?;
        let mut options = ReadOptions::default();
        options.set_iterate_range(PrefixRange(prefix));
        database
            .iterator_cf_opt(family(database, table)?, options, IteratorMode::Start)
            .map(|record| record.map(|(key, value)| (key.into_vec(), Bytes::from(value))).map_err(failed))
            .collect()
    }

    fn write(&mut self, changes: &[Change], sync: bool) -> Result<(), StorageError> {
        let database = self.database()?;
        let mut batch = WriteBatch::default();
        for change in changes {
            let family = family(database, change.table)?;
            match &change.value {
                Some(value) => batch.put_cf(family, &change.key, value),
                None => batch.delete_cf(family, &change.key),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        database.write_opt(batch, &options).map_err(failed)
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.database()?.flush_wal(true).map_err(failed)
    }

    /// After a failed write RocksDB may refuse all further ones, so the folder is closed and opened again; but not
    /// before the disk has room, because until then the open database can at least be read.
    fn recover(&mut self) -> Result<(), StorageError> {
        probe(&self.directory).map_err(|error| StorageError::Failed(error.to_string()))?;
        self.database = None;
        self.database = Some(open_database(&self.directory).map_err(failed)?);
        Ok(())
    }
}

fn failed(error: rocksdb::Error) -> StorageError {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => StorageError::Damaged(error.into_string()),
        _ => StorageError::Failed(error.into_string()),
    }
}

fn open_database(directory: &Path) -> Result<DB, rocksdb::Error> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_total_wal_size(WAL_BYTES_MAX);
    options.set_max_open_files(OPEN_FILES_MAX);
    options.set_max_background_jobs(BACKGROUND_JOBS);
    options.set_keep_log_file_num(LOG_FILES);
    options.set_max_log_file_size(LOG_FILE_BYTES_MAX);
    options.set_log_level(LogLevel::Warn);
    // The log may end in a torn write that nobody was told of; what stands before it counts.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    let meta = ColumnFamilyDescriptor::new(DEFAULT, family_options(&cache));
    let mut objects = family_options(&cache);
    objects.set_prefix_extractor(SliceTransform::create_fixed_prefix(OBJECT_PREFIX_BYTES));
    let objects = ColumnFamilyDescriptor::new(OBJECTS, objects);
    DB::open_cf_descriptors(&options, directory, [meta, objects])
}

fn family_options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_bloom_filter(FILTER_BITS_PER_KEY, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    let mut options = Options::default();
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options
}

/// Refuses folders that are not ours before anything is written there.
fn check_folder(directory: &Path) -> Result<(), EngineError> {
    let unusable = |detail: String| EngineError::Unusable { directory: directory.to_owned(), detail };
    let foreign = |found: String| EngineError::Foreign { directory: directory.to_owned(), found };
    let mut has_current = false;
    let mut has_data = None;
    let mut stranger = None;
    for entry in fs::read_dir(directory).map_err(|error| unusable(error.to_string()))? {
        let name = entry.map_err(|error| unusable(error.to_string()))?.file_name();
        let name = name.to_string_lossy();
        has_current |= name == "CURRENT";
        if [".sst", ".log", ".blob"].iter().any(|suffix| name.ends_with(suffix)) {
            has_data = Some(name.into_owned());
        } else if !is_bookkeeping(&name) {
            stranger = Some(name.into_owned());
        }
    }
    match (has_current, has_data, stranger) {
        (true, _, _) => check_families(directory),
        (false, _, Some(name)) => Err(foreign(format!("it holds {name:?} and no database"))),
        (false, Some(name), None) => Err(EngineError::Corrupt {
            directory: directory.to_owned(),
            detail: format!("it holds {name} but not the file CURRENT"),
        }),
        // Empty, or left by a crash while it was being created.
        (false, None, None) => Ok(()),
    }
}

/// Files that a folder may hold before it is a database.
fn is_bookkeeping(name: &str) -> bool {
    ["LOCK", "IDENTITY", PROBE_FILE, "lost+found"].contains(&name)
        || ["LOG", "MANIFEST-", "OPTIONS-"].iter().any(|prefix| name.starts_with(prefix))
        || name.ends_with(".dbtmp")
}

/// Refuses a RocksDB database of another program.
fn check_families(directory: &Path) -> Result<(), EngineError> {
    let foreign = |found: String| EngineError::Foreign { directory: directory.to_owned(), found };
    let options = Options::default();
    let families = DB::list_cf(&options, directory).map_err(|error| classify(directory, &error))?;
    if let Some(other) = families.iter().find(|name| ![DEFAULT, OBJECTS].contains(&name.as_str())) {
        return Err(foreign(format!("it is a RocksDB database with the column family {other:?}")));
    }
    if families.iter().any(|name| name == OBJECTS) {
        return Ok(());
    }
    // Ours, if a crash came between the creation of the folder and that of its second column family: then it is empty.
    let database = DB::open_for_read_only(&options, directory, false).map_err(|error| classify(directory, &error))?;
    match database.iterator(IteratorMode::Start).next() {
        None => Ok(()),
        Some(_) => Err(foreign("it is another program's RocksDB database".to_owned())),
    }
}

fn classify(directory: &Path, error: &rocksdb::Error) -> EngineError {
    let text: &str = error.as_ref();
    let directory = directory.to_owned();
    if text.contains("While lock file") || text.contains("lock hold by current process") {
        let holder = lock_holder(&directory.join("LOCK"));
        return EngineError::Locked { directory, holder };
    }
    match error.kind() {
        rocksdb::ErrorKind::Corruption => EngineError::Corrupt { directory, detail: text.to_owned() },
        _ => EngineError::Unusable { directory, detail: text.to_owned() },
    }
}

/// Who holds a lock file, as far as the kernel tells: a line of /proc/locks names the process and the file's number.
///
/// The file is never opened here: closing it again would give up a lock of this very process.
fn lock_holder(file: &Path) -> String {
    let unknown = || "by another process, probably a second donetd (`fuser` on its file LOCK names it)".to_owned();
    let Ok(inode) = fs::metadata(file).map(|metadata| metadata.ino()) else { return unknown() };
    let Ok(locks) = fs::read_to_string("/proc/locks") else { return unknown() };
    let pid = locks.lines().find_map(|line| lock_of_inode(line, inode));
    match pid {
        Some(pid) if pid == std::process::id() => {
            format!("by this very process ({pid}): two database roles must not share a folder")
        }
        Some(pid) => {
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let name = name.trim();
            if name.is_empty() { format!("by process {pid}") } else { format!("by process {pid} ({name})") }
        }
        None => unknown(),
    }
}

/// The process in a line such as `1: POSIX  ADVISORY  WRITE 4242 fe:01:131090 0 EOF`, if it is about this file.
fn lock_of_inode(line: &str, inode: u64) -> Option<u32> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "WRITE").skip(1);
    let pid = words.next()?.parse().ok().filter(|&pid| pid > 0)?;
    let held: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
    (held == inode).then_some(pid)
}

/// Whether the folder takes bytes, down to the disk.
fn probe(directory: &Path) -> std::io::Result<()> {
    let path = directory.join(PROBE_FILE);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0x5a; PROBE_BYTES])?;
        file.sync_all()
    });
    match fs::remove_file(&path) {
        Err(error) if written.is_ok() && error.kind() != ErrorKind::NotFound => Err(error),
        _ => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rocksdb_folder_of_another_program_is_refused_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        DB::open_default(folder.path()).unwrap().put(b"their", b"data").unwrap();
        for _ in 0..2 {
            let error = RocksStorage::open(folder.path()).err().unwrap();
            assert!(matches!(error, EngineError::Foreign { .. }), "{error}");
        }
        let mut options = Options::default();
        options.create_if_missing(true);
        let folder = tempfile::tempdir().unwrap();
        DB::open(&options, folder.path()).unwrap().create_cf("theirs", &options).unwrap();
        let error = RocksStorage::open(folder.path()).err().unwrap();
        assert!(error.to_string().contains("\"theirs\""), "{error}");
    }

    #[test]
    fn a_creation_cut_short_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        drop(DB::open_default(folder.path()).unwrap());
        let storage = RocksStorage::open(folder.path()).unwrap();
        assert_eq!(storage.get(Table::Objects, b"key"), Ok(None));
    }

    #[test]
    fn a_write_is_whole_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut storage = RocksStorage::open(folder.path()).unwrap();
        let change = |table, key: &[u8], value: Option<&[u8]>| Change {
            table,
            key: key.to_vec(),
            value: value.map(Bytes::copy_from_slice),
        };
        let first = [0xff; 8];
        let changes = [
            change(Table::Objects, &first, Some(b"a")),
            change(Table::Objects, b"aaaabbbb", Some(b"")),
            change(Table::Objects, b"aaaacccc", Some(b"c")),
            change(Table::Objects, b"aaabbbbb", Some(b"d")),
            change(Table::Meta, b"aaaabbbb", Some(b"meta")),
        ];
        storage.write(&changes, true).unwrap();
        storage.write(&[change(Table::Objects, b"aaaacccc", None)], false).unwrap();
        storage.sync().unwrap();
        storage.recover().unwrap();
        let found = storage.scan(Table::Objects, *b"aaaa").unwrap();
        assert_eq!(found, [(b"aaaabbbb".to_vec(), Bytes::new())]);
        assert_eq!(storage.scan(Table::Objects, [0xff; 4]).unwrap(), [(first.to_vec(), Bytes::from_static(b"a"))]);
        assert_eq!(storage.get(Table::Meta, b"aaaabbbb"), Ok(Some(Bytes::from_static(b"meta"))));
    }

    #[test]
    fn a_line_of_proc_locks_names_the_holder() {
        let line = "7: POSIX  ADVISORY  WRITE 4242 fe:01:131090 0 EOF";
        assert_eq!(lock_of_inode(line, 131_090), Some(4242));
        assert_eq!(lock_of_inode(line, 131_091), None);
        assert_eq!(lock_of_inode("7: FLOCK ADVISORY READ 4242 fe:01:131090 0 EOF", 131_090), None);
        assert_eq!(lock_of_inode("7: POSIX ADVISORY WRITE -1 fe:01:131090 0 EOF", 131_090), None);
    }
}
