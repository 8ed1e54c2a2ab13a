//! The storage on disk: RocksDB in the folder of one role.
//!
//! Decides how the folder is opened, tuned and refused. It knows tables, keys and bytes, and nothing of objects.

use super::control::CONTROL_FILE;
use super::error::EngineError;
use super::storage::{Change, Storage, StorageError, Table};
use super::synced::{SYNCED_FILE, Synced, SyncedMark};
use bytes::Bytes;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode, Direction,
    IteratorMode, LogLevel, Options, PrefixRange, ReadOptions, SliceTransform, WriteBatch, WriteOptions,
};
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The column families of [`Table::Objects`] and [`Table::Outbox`]; [`Table::Meta`] is the default one.
const OBJECTS: &str = "objects";
const OUTBOX: &str = "outbox";
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
    /// `None` after a recovery that could close the folder but not open it again, not even for reading.
    database: Option<DB>,
    mark: SyncedMark,
    synced: Synced,
    /// Whether something was written that was not synced.
    unsynced: bool,
}

impl RocksStorage {
    /// Opens the folder, or creates it.
    pub fn open(directory: &Path) -> Result<Self, EngineError> {
        let unusable = |error: std::io::Error| EngineError::unusable(directory, error.to_string());
        fs::create_dir_all(directory).map_err(unusable)?;
        check_folder(directory)?;
        check_nothing_lost(directory)?;
        let database = open_database(directory).map_err(|error| classify(directory, &error))?;
        let mark = SyncedMark::open(directory).map_err(unusable)?;
        let (directory, synced) = (directory.to_owned(), Synced::default());
        let mut storage = Self { directory, database: Some(database), mark, synced, unsynced: false };
        storage.note_synced();
        Ok(storage)
    }

    fn database(&self) -> Result<&DB, StorageError> {
        self.database.as_ref().ok_or_else(|| StorageError::Failed("the folder could not be opened again".to_owned()))
    }

    /// Notes that all is synced. Whatever goes wrong here only makes the next start less able to tell a loss.
    fn note_synced(&mut self) {
        self.unsynced = false;
        let Some(database) = &self.database else { return };
        self.synced.sequence = database.latest_sequence_number();
        let noted = self.sync_manifest().and_then(|()| self.mark.note(self.synced));
        if let Err(error) = noted {
            tracing::debug!(%error, "what was synced cannot be noted");
        }
    }

    /// Looks at the manifest, which background threads extend now and then, and syncs it when they have: of what they
    /// have just written nobody else says whether it is on disk.
    fn sync_manifest(&mut self) -> std::io::Result<()> {
        let path = self.directory.join(manifest_name(self.synced.manifest));
        if fs::metadata(path).is_ok_and(|metadata| metadata.len() == self.synced.manifest_bytes) {
            return Ok(());
        }
        let (manifest, path) = current_manifest(&self.directory)?;
        let file = File::open(path)?;
        let manifest_bytes = file.metadata()?.len();
        file.sync_data()?;
        self.synced = Synced { manifest, manifest_bytes, ..self.synced };
        Ok(())
    }
}

fn manifest_name(number: u64) -> String {
    format!("MANIFEST-{number:06}")
}

/// The manifest that the file CURRENT names.
fn current_manifest(directory: &Path) -> std::io::Result<(u64, PathBuf)> {
    let name = fs::read_to_string(directory.join("CURRENT"))?;
    let number = name.trim().strip_prefix("MANIFEST-").and_then(|number| number.parse().ok());
    let number = number.ok_or_else(|| std::io::Error::new(ErrorKind::InvalidData, "CURRENT names no manifest"))?;
    Ok((number, directory.join(manifest_name(number))))
}

impl Drop for RocksStorage {
    fn drop(&mut self) {
        // A folder that was closed in order shows every later loss. Whoever wanted a last sync has asked for it.
        if let Err(error) = self.mark.sync() {
            tracing::debug!(%error, "what was synced cannot be noted");
        }
    }
}

fn family(database: &DB, table: Table) -> Result<&ColumnFamily, StorageError> {
    let name = match table {
        Table::Meta => DEFAULT,
        Table::Objects => OBJECTS,
        Table::Outbox => OUTBOX,
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

    fn page(&self, table: Table, from: &[u8], records_max: usize) -> Result<Vec<(Vec<u8>, Bytes)>, StorageError> {
        let database = self.database()?;
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        database
            .iterator_cf_opt(family(database, table)?, options, IteratorMode::From(from, Direction::Forward))
            .take(records_max)
            .map(|record| record.map(|(key, value)| (key.into_vec(), Bytes::from(value))).map_err(failed))
            .collect()
    }

    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, StorageError> {
        let database = self.database()?;
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        let mut records = database.iterator_cf_opt(family(database, table)?, options, IteratorMode::End);
        Ok(records.next().transpose().map_err(failed)?.map(|(key, _)| key.into_vec()))
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
        let sync = sync && !tests_leave_syncs_out();
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        database.write_opt(batch, &options).map_err(failed)?;
        if sync {
            self.note_synced();
        } else {
            self.unsynced = true;
        }
        Ok(())
    }

    fn clear_before(&mut self, table: Table, key: &[u8]) -> Result<(), StorageError> {
        let database = self.database()?;
        let family = family(database, table)?;
        // Whole tables go at once; what is left of the range goes with the next compaction.
        database.delete_file_in_range_cf(family, &[][..], key).map_err(failed)?;
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(family, &[][..], key);
        database.write(batch).map_err(failed)?;
        self.unsynced = true;
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        if self.unsynced && !tests_leave_syncs_out() {
            self.database()?.flush_wal(true).map_err(failed)?;
            self.note_synced();
        }
        Ok(())
    }

    fn backup(&self, target: &Path) -> Result<(), StorageError> {
        let failed_at = |error: std::io::Error| StorageError::Failed(error.to_string());
        if target.exists() {
            return Err(StorageError::Failed("it exists already; a backup makes its folder itself".to_owned()));
        }
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(failed_at)?;
        }
        // With a limit no log reaches, logs are copied and nothing is written to the folder itself, which may be full.
        let checkpoint = Checkpoint::new(self.database()?).map_err(failed)?;
        checkpoint.create_checkpoint_with_log_size(target, u64::MAX).map_err(failed)
    }

    /// After a failed write RocksDB may refuse all further ones, so the folder is closed and opened again; but not
    /// before the disk has room, because until then the open database can at least be read. Should it not be enough
    /// room after all, the folder is opened for reading only, which writes nothing.
    fn recover(&mut self) -> Result<(), StorageError> {
        let failed_at = |error: std::io::Error| StorageError::Failed(error.to_string());
        // Opening moves the log into tables, which takes as much room again.
        let needed = PROBE_BYTES as u64 + log_bytes(&self.directory).map_err(failed_at)?;
        let free = free_bytes(&self.directory).map_err(failed_at)?;
        if free < needed {
            let (free, needed) = (free >> 20, (needed >> 20) + 1);
            return Err(StorageError::Failed(format!(
                "No space left on device: {free} MiB are free, {needed} MiB are needed to write again"
            )));
        }
        probe(&self.directory).map_err(failed_at)?;
        self.database = None;
        let error = match open_database(&self.directory) {
            Ok(database) => {
                self.database = Some(database);
                return Ok(());
            }
            Err(error) => failed(error),
        };
        // What is read from here on must be on disk: the log may end in what could not be synced.
        if let Err(error) = sync_logs(&self.directory) {
            return Err(StorageError::Failed(error.to_string()));
        }
        match open_for_reading(&self.directory) {
            Ok(database) => self.database = Some(database),
            Err(error) => tracing::error!(%error, "the database cannot be opened again, not even for reading"),
        }
        Err(error)
    }
}

/// A test can leave every sync out, to see that the tests of durability notice. No other build asks.
fn tests_leave_syncs_out() -> bool {
    cfg!(test) && std::env::var_os("DONET_TEST_LEAVE_SYNCS_OUT").is_some()
}

fn sync_logs(directory: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            File::open(path)?.sync_all()?;
        }
    }
    Ok(())
}

/// Refuses a folder whose log has lost changes that had been synced, before anything is changed in it.
fn check_nothing_lost(directory: &Path) -> Result<(), EngineError> {
    let Some(synced) = SyncedMark::read(directory) else { return Ok(()) };
    // Whoever holds the folder changes files under the reader's hands.
    let lock = directory.join("LOCK");
    if holder_pid(&lock).is_some() {
        return Err(EngineError::Locked { directory: directory.to_owned(), holder: lock_holder(&lock) });
    }
    let lost = |what: String| EngineError::LostChanges { directory: directory.to_owned(), what };
    let corrupt = |detail: String| EngineError::Corrupt { directory: directory.to_owned(), detail };
    let (manifest, path) = current_manifest(directory).map_err(|error| corrupt(format!("CURRENT: {error}")))?;
    let length = fs::metadata(&path).map_err(|error| corrupt(format!("{}: {error}", path.display())))?.len();
    let needed = synced.manifest_bytes;
    if manifest < synced.manifest || manifest == synced.manifest && length < needed {
        return Err(lost(format!("{} ends after {length} bytes, and {needed} had been synced", path.display())));
    }
    let database = open_for_reading(directory).map_err(|error| classify(directory, &error))?;
    let (found, needed) = (database.latest_sequence_number(), synced.sequence);
    if found < needed {
        return Err(lost(format!("its log ends at change {found}, and change {needed} had been synced")));
    }
    Ok(())
}

fn failed(error: rocksdb::Error) -> StorageError {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => StorageError::Damaged(error.into_string()),
        _ => StorageError::Failed(error.into_string()),
    }
}

fn open_database(directory: &Path) -> Result<DB, rocksdb::Error> {
    let (options, families) = database_options();
    DB::open_cf_descriptors(&options, directory, families)
}

/// Opens the folder without writing to it; who holds it is not disturbed.
fn open_for_reading(directory: &Path) -> Result<DB, rocksdb::Error> {
    let (options, families) = database_options();
    // A folder of an earlier version, or one whose creation was cut short, lacks some.
    let found = DB::list_cf(&options, directory)?;
    let families = families.into_iter().filter(|family| found.iter().any(|name| name == family.name()));
    DB::open_cf_descriptors_read_only(&options, directory, families, false)
}

fn database_options() -> (Options, [ColumnFamilyDescriptor; 3]) {
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
    // A log that is closed has its length noted in the manifest, and is checked against it.
    options.set_track_and_verify_wals_in_manifest(true);
    let meta = ColumnFamilyDescriptor::new(DEFAULT, family_options(&cache));
    let mut objects = family_options(&cache);
    objects.set_prefix_extractor(SliceTransform::create_fixed_prefix(OBJECT_PREFIX_BYTES));
    let objects = ColumnFamilyDescriptor::new(OBJECTS, objects);
    let outbox = ColumnFamilyDescriptor::new(OUTBOX, family_options(&cache));
    (options, [meta, objects, outbox])
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
    let unusable = |detail: String| EngineError::unusable(directory, detail);
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
        (false, None, None) if SyncedMark::read(directory).is_some() => Err(EngineError::Corrupt {
            directory: directory.to_owned(),
            detail: format!("it holds {SYNCED_FILE}, which says that there were changes, and nothing else"),
        }),
        // Empty, or left by a crash while it was being created.
        (false, None, None) => Ok(()),
    }
}

/// Files that a folder may hold before it is a database.
fn is_bookkeeping(name: &str) -> bool {
    ["LOCK", "IDENTITY", PROBE_FILE, SYNCED_FILE, CONTROL_FILE, "lost+found"].contains(&name)
        || ["LOG", "MANIFEST-", "OPTIONS-"].iter().any(|prefix| name.starts_with(prefix))
        || name.ends_with(".dbtmp")
}

/// Refuses a RocksDB database of another program.
fn check_families(directory: &Path) -> Result<(), EngineError> {
    let foreign = |found: String| EngineError::Foreign { directory: directory.to_owned(), found };
    let options = Options::default();
    let families = DB::list_cf(&options, directory).map_err(|error| classify(directory, &error))?;
    if let Some(other) = families.iter().find(|name| ![DEFAULT, OBJECTS, OUTBOX].contains(&name.as_str())) {
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
        _ => EngineError::unusable(&directory, text.to_owned()),
    }
}

/// Who holds a lock file, as far as the kernel tells: a line of /proc/locks names the process and the file's number.
///
/// The file is never opened here: closing it again would give up a lock of this very process.
fn lock_holder(file: &Path) -> String {
    let unknown = || "by another process, probably a second donetd (`fuser` on its file LOCK names it)".to_owned();
    match holder_pid(file) {
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

fn holder_pid(file: &Path) -> Option<u32> {
    let inode = fs::metadata(file).ok()?.ino();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| lock_of_inode(line, inode))
}

/// The process in a line such as `1: POSIX  ADVISORY  WRITE 4242 fe:01:131090 0 EOF`, if it is about this file.
fn lock_of_inode(line: &str, inode: u64) -> Option<u32> {
    let mut words = line.split_whitespace().skip_while(|word| *word != "WRITE").skip(1);
    let pid = words.next()?.parse().ok().filter(|&pid| pid > 0)?;
    let held: u64 = words.next()?.rsplit(':').next()?.parse().ok()?;
    (held == inode).then_some(pid)
}

/// The regular files of a folder by name, with their bytes.
pub(super) fn list_files(directory: &Path) -> std::io::Result<Vec<(String, u64)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() {
            files.push((entry.file_name().to_string_lossy().into_owned(), metadata.len()));
        }
    }
    Ok(files)
}

fn log_bytes(directory: &Path) -> std::io::Result<u64> {
    Ok(list_files(directory)?.iter().filter(|(name, _)| name.ends_with(".log")).map(|(_, bytes)| bytes).sum())
}

/// Room on the disk for this user.
fn free_bytes(directory: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
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
        assert_eq!(storage.last_key(Table::Objects), Ok(Some(first.to_vec())));
        assert_eq!(storage.last_key(Table::Outbox), Ok(None));
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
