//! The engine of a Database Server: what is stored, in which order, and when an answer may leave.
//!
//! One thread, `db-<index>`, owns the database of one role. It takes every operation that waits, carries them out in
//! the order of arrival, each seeing what the earlier ones did, writes all changes at once, and only then lets any
//! answer of the batch leave, reads included: an answer never reveals what a crash could take back (guarantee G7).
//! One sync so covers a whole batch, and conditional updates need no locks.
//!
//! * [`handle`] is the way in and the thread's loop.
//! * [`database`] carries operations out, without thread or clock, over any [`storage::Storage`].
//! * [`records`] and [`schema`] are the stored format, pinned by golden bytes.
//! * [`rocks`] is the storage on disk, and the only module that names `rocksdb`.
//!
//! The engine never looks at a message and knows no channel but as a number to hand back.

mod allocator;
mod database;
mod error;
mod handle;
#[cfg(test)]
mod memory;
mod records;
mod rocks;
mod schema;
mod storage;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_crash;
#[cfg(test)]
mod tests_folder;

pub use error::EngineError;
pub use handle::{Engine, EngineHandle};
#[cfg(test)]
pub(super) use {database::Database, memory::MemoryStorage};
