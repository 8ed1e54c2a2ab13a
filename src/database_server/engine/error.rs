//! Why a database folder cannot be used: each says what is wrong, where, and what to do about it.

use std::path::PathBuf;

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
    /// The bytes on disk are not what was written.
    #[error(
        "the database in {} is damaged: {detail}; keep a copy of the folder, then restore a backup",
        directory.display()
    )]
    Corrupt { directory: PathBuf, detail: String },
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
