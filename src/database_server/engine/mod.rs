//! The engine of a Database Server: what is stored, in which order, and when an answer may leave.
//!
//! One thread, `db-<index>`, owns the database of one role. It takes every operation that waits, carries them out in
//! the order of arrival, each seeing what the earlier ones did, writes all changes at once, and only then lets any
//! answer of the batch leave, reads included: an answer never reveals what a crash could take back (guarantee G7).
//! One sync so covers a whole batch, and conditional updates need no locks.
//!
//! * [`handle`] is the way in and the thread's loop.
//! * [`database`] carries operations out, without thread or clock, over any [`storage::Storage`].
//! * [`contract_change`] and [`compatibility`] say what a changed contract makes of what is stored.
//! * [`offline`] is the folder without a daemon, for the commands `donetd db …`; [`control`] is how these ask a daemon.
//! * [`records`] and [`schema`] are the stored format, pinned by golden bytes.
//! * [`walk`] goes through all stored objects.
//! * [`outbox`] is what the SQL sink has not got yet, and [`reader`] how it reads that.
//! * [`stepped`] is an engine without a thread, over [`memory`]: the simulator's.
//! * [`rocks`] is the storage on disk, and with [`bare`], which the benchmark compares it with, all that names `rocksdb`; [`synced`] is how it finds out that a
//!   disk has lost what it had promised to keep.
//!
//! The engine never looks at a message and knows no channel but as a number to hand back.

mod allocator;
mod bare;
mod compatibility;
mod contract_change;
mod control;
mod database;
mod error;
mod handle;
mod memory;
mod offline;
mod outbox;
mod reader;
mod records;
mod rocks;
mod schema;
mod stepped;
mod storage;
mod synced;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_contract;
#[cfg(test)]
mod tests_crash;
#[cfg(test)]
mod tests_folder;
#[cfg(test)]
mod tests_outbox;
#[cfg(test)]
mod tests_power;
mod walk;

pub use bare::BareDatabase;
pub use compatibility::Renames;
pub use contract_change::{ContractText, Export, MigrationReport};
pub use control::ask_for_backup;
pub use database::{OutboxPage, StoredObject};
pub use error::EngineError;
pub use handle::{Engine, EngineHandle, QUEUE_BYTES_MAX};
pub use offline::{OfflineDatabase, Statistics, backup_progress, one, restore};
pub use outbox::{ObjectChange, OutboxEntry, OutboxPosition};
pub use reader::{OutboxReader, ReaderError};
pub use stepped::SteppedEngine;
pub use walk::{Walk, Walked};
#[cfg(test)]
pub(super) use {database::Database, memory::MemoryStorage};
