//! Database Server: durable objects (`protocol-ss-dbss-db.md` §4).
//!
//! Two halves that share [`DatabaseRequest`] and [`DatabaseCompletion`] and nothing else:
//!
//! * the *role* ([`DatabaseServer`]), one partition on each executor: decides what a message means under the contract,
//!   and what is broadcast and answered when an operation is done. It never touches storage.
//! * the *engine* ([`Engine`]), one per role and daemon, with a thread of its own: decides what is stored, in which
//!   order, and when an answer may leave (guarantee G7). It never reads a message and never sends one.
//!
//! Which executor a message goes to is the daemon's decision: that of the doid in the payload; CREATE goes to that of
//! the control channel.

mod answer;
mod engine;
mod engine_figures;
mod operation;
mod read_cache;
mod request;
mod role;
pub(crate) mod sink_figures;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_cache;
#[cfg(test)]
mod tests_vectors;
#[cfg(test)]
mod tests_world;

#[doc(hidden)]
pub use engine::{BareDatabase, SteppedEngine};
pub use engine::{
    ContractText, Engine, EngineError, EngineHandle, Export, MigrationReport, ObjectChange, OfflineDatabase,
    OutboxEntry, OutboxPage, OutboxPosition, OutboxReader, QUEUE_BYTES_MAX, ReaderError, Renames, Statistics,
    StoredObject, Walk, Walked, ask_for_backup, backup_progress, one, restore,
};
pub use engine_figures::{EngineFigures, Histogram};
pub use operation::{
    Condition, DatabaseCompletion, DatabaseRequest, FieldIds, FieldValues, Operation, Outcome, Refusal,
};
pub use role::DatabaseServer;
pub use sink_figures::SinkFigures;
