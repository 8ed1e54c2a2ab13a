//! Why a database folder cannot be used: each says what is wrong, where, and what to do about it.

use std::path::{Path, PathBuf};

impl EngineError {
    /// What the operating system or the storage refused, by its own words.
    pub(super) fn unusable(directory: &Path, detail: String) -> Self {
        let directory = directory.to_owned();
        let says = |texts: &[&str]| texts.iter().any(|text| detail.contains(text));
        if says(&["No space left", "Disk quota exceeded", "File too large"]) {
            Self::DiskFull { directory, detail }
        } else if says(&["Read-only file system", "Permission denied", "Operation not permitted"]) {
            Self::ReadOnly { directory, detail }
        } else {
            Self::Unusable { directory, detail }
        }
    }
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Another process, or another role of this one, has the folder open.
    #[error(
        "the database folder {} is already open, {holder}; stop that process, or give this daemon a folder of its own \
         (`directory` in [services.database_server.rocksdb])",
        directory.display()
    )]
    Locked { directory: PathBuf, holder: String },
    /// The folder holds something that is not one of our databases.
    #[error(
        "the folder {} is not a database of this program ({found}); point `directory` in \
         [services.database_server.rocksdb] at an empty or new folder",
        directory.display()
    )]
    Foreign { directory: PathBuf, found: String },
    /// A later version wrote it.
    #[error(
        "the database folder {} has format version {found}, this program knows {supported}; start the newer donetd \
         that wrote it, or restore a backup made before it",
        directory.display()
    )]
    NewerFormat { directory: PathBuf, found: u32, supported: u32 },
    /// The DC files dropped or retyped what is stored.
    #[error(
        "the DC files do not take what is stored in {}:\n  {}\nput the old declarations back; or, where something was \
         only renamed, say so (`renames` in [services.database_server]); or convert the data: `donetd db migrate \
         --dry-run` shows what that would do, `donetd db migrate` does it",
        directory.display(), changes.join("\n  ")
    )]
    ContractChanged { directory: PathBuf, changes: Vec<String> },
    /// The bytes on disk are not what was written.
    #[error(
        "the database in {} is damaged: {detail}; keep a copy of the folder, then restore a backup",
        directory.display()
    )]
    Corrupt { directory: PathBuf, detail: String },
    /// Changes that had been on disk are not there any more.
    #[error(
        "the database in {} has lost changes that were on disk: {what}; keep a copy of the folder, then restore a backup. If an older state was put there on purpose, \
         remove the file {} to accept it",
        directory.display(), directory.join(super::synced::SYNCED_FILE).display()
    )]
    LostChanges { directory: PathBuf, what: String },
    /// No room on the disk.
    #[error(
        "the disk of the database folder {} is full: {detail}; make room there, or move the folder to a larger disk \
         (`directory` in [services.database_server.rocksdb])",
        directory.display()
    )]
    DiskFull { directory: PathBuf, detail: String },
    /// This process may not write there.
    #[error(
        "the database folder {} cannot be written: {detail}; mount its disk writable, and give the folder and all in it \
         to the user that runs donetd (`chown -R`)",
        directory.display()
    )]
    ReadOnly { directory: PathBuf, detail: String },
    /// The operating system or the storage refused.
    #[error(
        "the database folder {} cannot be used: {detail}; check that it is on a disk with room and that this user may \
         write there",
        directory.display()
    )]
    Unusable { directory: PathBuf, detail: String },
    /// The engine's thread could not be started.
    #[error("the database thread cannot be started: {0}; check the limit on threads of this user (`ulimit -u`)")]
    Thread(std::io::Error),
}
