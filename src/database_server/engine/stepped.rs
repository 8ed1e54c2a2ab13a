//! An engine without a thread, over a storage in memory: the simulator's, which says when a batch is written.

use super::super::operation::DatabaseCompletion;
use super::database::Database;
use super::handle::{EngineHandle, Job};
use super::memory::MemoryStorage;
use crate::wire::Doid;
use donet_dc::Contract;
use donet_shards::ShardId;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

/// What a database's thread does, done by whoever holds this.
pub struct SteppedEngine {
    handle: EngineHandle,
    jobs: Receiver<Job>,
    database: Database<MemoryStorage>,
}

impl SteppedEngine {
    /// An empty database that gives out these doids.
    pub fn new(contract: Arc<Contract>, pool: RangeInclusive<Doid>) -> Self {
        let (handle, jobs) = EngineHandle::without_thread();
        let storage = MemoryStorage::default();
        let database =
            Database::open_under(storage, contract, None, pool).expect("an empty storage takes any contract");
        Self { handle, jobs, database }
    }

    /// The way in, for the executors.
    pub fn handle(&self) -> EngineHandle {
        self.handle.clone()
    }

    /// Carries out at most so many operations of those that wait, as one batch, and returns what the executors are to be
    /// told.
    pub fn step(&mut self, operations_max: usize) -> Vec<(ShardId, DatabaseCompletion)> {
        for job in self.jobs.try_iter().take(operations_max) {
            match job {
                Job::Operation { shard, request, weight_bytes, .. } => {
                    self.handle.is_taken(weight_bytes);
                    self.database.execute(shard, request);
                }
                Job::Refused { shard, completion } => self.database.refuse(shard, completion),
                Job::Backup { .. } | Job::Outbox(_) | Job::Names(_) | Job::Shutdown => {}
            }
        }
        self.database.commit(true).1
    }
}
