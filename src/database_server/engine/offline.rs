//! A database folder without a daemon: what the commands `donetd db …` do to it.
//!
//! Decides nothing about how anything looks to people. Whatever changes an object goes through the same operations as in
//! the daemon.

use super::super::operation::{DatabaseRequest, FieldValues, Operation, Outcome};
use super::contract_change::{self, ContractText, Export, MigrationReport};
use super::database::{Database, StoredObject};
use super::error::EngineError;
use super::handle::open_error;
use super::rocks::{RocksStorage, list_files};
use super::storage::StorageError;
use super::walk::{Walk, Walked};
use crate::config;
use crate::database_server::sink_figures::now_ms;
use crate::wire::{Doid, MessageType};
use donet_dc::{Contract, TextPolicy};
use donet_shards::ShardId;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Objects by the name of their class.
    pub classes: Vec<(String, u64)>,
    pub objects: u64,
    pub values: u64,
    /// Bytes of packed values.
    pub value_bytes: u64,
    /// Bytes of all files in the folder.
    pub disk_bytes: u64,
    /// The next doid of the counter; `None` when it is spent.
    pub next_doid: Option<Doid>,
    /// Freed doids that wait to be used again.
    pub freed_doids: u64,
}

/// An open folder that no daemon holds.
pub struct OfflineDatabase {
    database: Database<RocksStorage>,
    directory: PathBuf,
    contract: Arc<Contract>,
}

impl OfflineDatabase {
    /// Opens the folder of a role. With `must_exist` a folder without a database is refused, and not made one.
    ///
    /// # Errors
    /// [`EngineError`], as for the daemon: also when a daemon holds the folder, or its contract does not take what is
    /// stored.
    pub fn open(
        settings: &config::DatabaseServer,
        contract: Arc<Contract>,
        text: &ContractText,
        must_exist: bool,
    ) -> Result<Self, EngineError> {
        let directory = settings.directory.clone();
        if must_exist && !directory.join("CURRENT").exists() {
            let found = "it holds no database".to_owned();
            return Err(EngineError::Foreign { directory, found });
        }
        let storage = RocksStorage::open(&directory)?;
        let failed = |error| open_error(&directory, error);
        let mut database =
            Database::open_under(storage, contract.clone(), Some(text), settings.generate.clone()).map_err(failed)?;
        // What is changed here the SQL sink learns when the daemon runs again.
        let kept = settings.sql_sink.as_ref().map(|sink| sink.outbox_bytes_max);
        database.keep_outbox(kept, Arc::default()).map_err(|error| failed(error.into()))?;
        Ok(Self { database, directory, contract })
    }

    /// Converts the folder to the contract.
    ///
    /// # Errors
    /// As [`OfflineDatabase::open`].
    pub fn migrate(
        settings: &config::DatabaseServer,
        contract: &Contract,
        text: &ContractText,
        dry_run: bool,
        export: &mut dyn Export,
        progress: &mut dyn FnMut(Walked),
    ) -> Result<MigrationReport, EngineError> {
        let directory = &settings.directory;
        let mut storage = RocksStorage::open(directory)?;
        contract_change::migrate(&mut storage, contract, text, &settings.generate, dry_run, export, progress)
            .map_err(|error| open_error(directory, error))
    }

    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// Carries one operation out and syncs it.
    pub fn perform(&mut self, operation: Operation) -> Outcome {
        let request =
            DatabaseRequest { requester: 0, context: 0, message_type: MessageType(0), operation, held_bytes: 0 };
        self.database.set_clock(now_ms());
        self.database.execute(ShardId(0), request);
        let (_, mut completions) = self.database.commit(true);
        completions.pop().map_or(Outcome::Failed, |(_, completion)| completion.outcome)
    }

    /// Begins a walk through all objects, in ascending order of their doids.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn walk(&self) -> Result<Walk, EngineError> {
        self.database.walk().map_err(|error| self.error(error))
    }

    /// The next objects of a walk, perhaps none; `None` at its end.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn objects(&mut self, walk: &mut Walk) -> Result<Option<Vec<StoredObject>>, EngineError> {
        self.database.objects(walk).map_err(|error| self.error(error))
    }

    /// Puts objects there under their own doids: whole, or not at all. One that exists is replaced, or with
    /// `replace = false` left as it is, and its doid returned.
    ///
    /// # Errors
    /// When they cannot be written: then none of them is.
    pub fn insert(&mut self, objects: Vec<StoredObject>, replace: bool) -> Result<Vec<Doid>, EngineError> {
        self.database.set_clock(now_ms());
        self.database.insert(objects, replace).map_err(|error| self.error(error))
    }

    /// Counts what there is.
    ///
    /// # Errors
    /// When what is stored cannot be read.
    pub fn statistics(&mut self, progress: &mut dyn FnMut(Walked)) -> Result<Statistics, EngineError> {
        let mut statistics = Statistics::default();
        let mut by_class = std::collections::BTreeMap::<String, u64>::new();
        let mut walk = self.walk()?;
        while let Some(objects) = self.objects(&mut walk)? {
            for object in objects {
                let name = self.contract.class(object.class).map_or("", |class| class.name());
                *by_class.entry(name.to_owned()).or_default() += 1;
                statistics.objects += 1;
                statistics.values += object.values.len() as u64;
                statistics.value_bytes += object.values.iter().map(|(_, value)| value.len() as u64).sum::<u64>();
            }
            progress(walk.reached());
        }
        statistics.classes = by_class.into_iter().collect();
        statistics.disk_bytes = folder_bytes(&self.directory);
        (statistics.next_doid, statistics.freed_doids) = self.database.pool_state();
        Ok(statistics)
    }

    /// Reads everything and says what is wrong with it: nothing, if the list is empty.
    pub fn verify(&mut self, text: TextPolicy, progress: &mut dyn FnMut(Walked)) -> Vec<String> {
        self.database.verify(text, progress)
    }

    /// Makes a folder that holds the database as it is now.
    ///
    /// # Errors
    /// When the target exists or cannot be written.
    pub fn backup(&mut self, target: &Path) -> Result<(), EngineError> {
        self.database.backup(target).map_err(|error| match error {
            StorageError::Failed(detail) => EngineError::unusable(target, detail),
            damaged => self.error(damaged),
        })
    }

    fn error(&self, error: StorageError) -> EngineError {
        open_error(&self.directory, error.into())
    }
}

/// Bytes of a backup that is being made, by this process or another, and of the folder that it is made of.
pub fn backup_progress(directory: &Path, target: &Path) -> (u64, u64) {
    // RocksDB gives the folder its name when it is whole.
    let mut unfinished = target.as_os_str().to_owned();
    unfinished.push(".tmp");
    (folder_bytes(Path::new(&unfinished)) + folder_bytes(target), folder_bytes(directory))
}

/// What cannot be looked at counts nothing.
fn folder_bytes(directory: &Path) -> u64 {
    list_files(directory).map(|files| files.iter().map(|(_, bytes)| bytes).sum()).unwrap_or_default()
}

/// Makes the folder of a role what a backup is. The folder must not hold a database.
///
/// # Errors
/// [`EngineError`] when the backup is not one, or the folder is not empty or cannot be written.
pub fn restore(backup: &Path, directory: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<(), EngineError> {
    let unreadable = |error: std::io::Error| EngineError::unusable(backup, error.to_string());
    let files = list_files(backup).map_err(unreadable)?;
    if !files.iter().any(|(name, _)| name == "CURRENT") {
        let found = "it is no backup: it has no file CURRENT".to_owned();
        return Err(EngineError::Foreign { directory: backup.to_owned(), found });
    }
    let unusable = |error: std::io::Error| EngineError::unusable(directory, error.to_string());
    fs::create_dir_all(directory).map_err(unusable)?;
    if fs::read_dir(directory).map_err(unusable)?.next().is_some() {
        let found = "it is not empty; a backup is restored into an empty folder".to_owned();
        return Err(EngineError::Foreign { directory: directory.to_owned(), found });
    }
    let total: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    let mut copied = 0;
    // CURRENT comes last: before it is there, the folder is no database.
    let (last, first): (Vec<_>, Vec<_>) = files.into_iter().partition(|(name, _)| name == "CURRENT");
    for (name, bytes) in first.into_iter().chain(last) {
        let target = directory.join(&name);
        fs::copy(backup.join(&name), &target).map_err(unusable)?;
        fs::File::open(&target).and_then(|file| file.sync_all()).map_err(unusable)?;
        copied += bytes;
        progress(copied, total);
    }
    fs::File::open(directory).and_then(|folder| folder.sync_all()).map_err(unusable)
}

/// One value, for the commands that set a field.
pub fn one(field: u16, value: Vec<u8>) -> FieldValues {
    [(field, value.into())].into_iter().collect()
}
