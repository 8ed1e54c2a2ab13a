//! The way into an engine, and the loop of its thread.
//!
//! Decides when a batch is written, synced and answered. [`EngineHandle::submit`] never waits: what does not fit the
//! queue's limit is answered with failure, in its place in the order.

use super::super::operation::{DatabaseCompletion, DatabaseRequest, Outcome, Refusal};
use super::contract_change::ContractText;
use super::control::Control;
use super::database::{Database, OpenError};
use super::error::EngineError;
use super::outbox::OutboxEntry;
use super::reader::{OutboxReader, Question, ReaderError, Reply};
use super::records::FORMAT_VERSION;
use super::rocks::RocksStorage;
use super::schema::Schema;
use super::storage::{Storage, StorageError};
use crate::config::{self, Durability};
use crate::database_server::engine_figures::EngineFigures;
use crate::database_server::sink_figures::{SinkFigures, now_ms};
use donet_dc::Contract;
use donet_shards::ShardId;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of operations that may wait: some seconds of a slow disk's work. Beyond it operations are refused.
pub const QUEUE_BYTES_MAX: usize = 256 << 20;
/// How long the engine waits between two attempts to make a storage writable again: the first is made at once, each
/// further one waits twice as long as the one before, up to the greatest.
const RECOVERY_DELAY_LEAST: Duration = Duration::from_millis(50);
const RECOVERY_DELAY_GREATEST: Duration = Duration::from_secs(5);
/// What a waiting operation weighs besides the frame that its values share.
const OPERATION_OVERHEAD_BYTES: usize = 256;

/// Receives what the engine answers, on the engine's thread: must hand it on without waiting, and must not panic.
pub type OnCompletion = Box<dyn Fn(ShardId, DatabaseCompletion) + Send>;

/// Opens engines.
pub struct Engine;

impl Engine {
    /// Opens or creates the database folder of a role and starts its thread, `db-<index>`.
    ///
    /// The thread and those of the storage inherit the CPU affinity of the caller: open engines before pinning.
    ///
    /// # Errors
    /// [`EngineError`] when the folder is in use, foreign, damaged or not usable, or holds what the contract does not
    /// take.
    pub fn open(
        index: u8,
        settings: &config::DatabaseServer,
        contract: Arc<Contract>,
        text: &ContractText,
        on_completion: OnCompletion,
    ) -> Result<EngineHandle, EngineError> {
        let storage = RocksStorage::open(&settings.directory)?;
        let failed = |error| open_error(&settings.directory, error);
        let mut database =
            Database::open_under(storage, contract, Some(text), settings.generate.clone()).map_err(failed)?;
        let figures: Arc<SinkFigures> = Arc::default();
        let kept = settings.sql_sink.as_ref().map(|sink| sink.outbox_bytes_max);
        database.keep_outbox(kept, figures.clone()).map_err(|error| failed(error.into()))?;
        let engine = EngineHandle::start_with(index, database, settings.durability, on_completion, figures)?;
        engine.listen(index, &settings.directory);
        Ok(engine)
    }
}

pub(super) fn open_error(directory: &Path, error: OpenError) -> EngineError {
    if let OpenError::Storage(StorageError::Failed(detail)) = error {
        return EngineError::unusable(directory, detail);
    }
    let directory = directory.to_owned();
    match error {
        OpenError::ContractChanged(changes) => EngineError::ContractChanged { directory, changes },
        OpenError::Foreign(found) => EngineError::Foreign { directory, found },
        OpenError::NewerFormat { found } => EngineError::NewerFormat { directory, found, supported: FORMAT_VERSION },
        OpenError::Storage(StorageError::Damaged(detail)) => EngineError::Corrupt { directory, detail },
        OpenError::Storage(StorageError::Failed(detail)) => EngineError::Unusable { directory, detail },
    }
}

pub(super) enum Job {
    Operation {
        shard: ShardId,
        request: DatabaseRequest,
        weight_bytes: usize,
        submitted: Instant,
    },
    Refused {
        shard: ShardId,
        completion: DatabaseCompletion,
    },
    /// A copy of the folder as it is after all earlier jobs.
    Backup {
        target: PathBuf,
        done: Sender<Result<(), String>>,
    },
    /// Asked by a mirror.
    Outbox(Question),
    /// The stored names, for one.
    Names(Reply<Schema>),
    Shutdown,
}

/// The way into an engine: every executor has a clone. When the last one goes, or at [`EngineHandle::shutdown`], the
/// engine finishes what was submitted, syncs, and its thread is joined.
#[derive(Clone)]
pub struct EngineHandle(Arc<Shared>);

struct Shared {
    jobs: Sender<Job>,
    queued_bytes: Arc<AtomicUsize>,
    thread: Mutex<Option<JoinHandle<()>>>,
    control: Mutex<Option<Control>>,
    figures: Arc<SinkFigures>,
    engine_figures: Arc<EngineFigures>,
}

impl EngineHandle {
    #[cfg(test)]
    pub(super) fn start<S: Storage + Send + 'static>(
        index: u8,
        database: Database<S>,
        durability: Durability,
        on_completion: OnCompletion,
    ) -> Result<Self, EngineError> {
        Self::start_with(index, database, durability, on_completion, Arc::default())
    }

    fn start_with<S: Storage + Send + 'static>(
        index: u8,
        database: Database<S>,
        durability: Durability,
        on_completion: OnCompletion,
        figures: Arc<SinkFigures>,
    ) -> Result<Self, EngineError> {
        let (jobs, receiver) = channel();
        let engine_figures: Arc<EngineFigures> = Arc::default();
        let queued_bytes = engine_figures.queued_bytes.clone();
        let writer = Writer {
            database,
            jobs: receiver,
            queued_bytes: queued_bytes.clone(),
            figures: engine_figures.clone(),
            submitted: Vec::new(),
            durability,
            on_completion,
            recovery: None,
            waiting: None,
        };
        let thread = std::thread::Builder::new()
            .name(format!("db-{index}"))
            .spawn(move || writer.run())
            .map_err(EngineError::Thread)?;
        let (thread, control) = (Mutex::new(Some(thread)), Mutex::default());
        Ok(Self(Arc::new(Shared { jobs, queued_bytes, thread, control, figures, engine_figures })))
    }

    /// A way in to which nobody belongs yet: whoever holds the other end does what the thread would.
    pub(super) fn without_thread() -> (Self, Receiver<Job>) {
        let (jobs, receiver) = channel();
        let engine_figures: Arc<EngineFigures> = Arc::default();
        let queued_bytes = engine_figures.queued_bytes.clone();
        let (thread, control, figures) = (Mutex::default(), Mutex::default(), Arc::default());
        (Self(Arc::new(Shared { jobs, queued_bytes, thread, control, figures, engine_figures })), receiver)
    }

    /// An operation that weighs so much waits no more.
    pub(super) fn is_taken(&self, weight_bytes: usize) {
        self.0.queued_bytes.fetch_sub(weight_bytes, Ordering::Relaxed);
    }

    /// Queues an operation; its completion is handed on for `shard`. Operations are carried out in the order in which
    /// they were submitted. After a shutdown they are dropped.
    pub fn submit(&self, shard: ShardId, request: DatabaseRequest) {
        let weight_bytes = request.held_bytes + OPERATION_OVERHEAD_BYTES;
        let queued_bytes = self.0.queued_bytes.fetch_add(weight_bytes, Ordering::Relaxed) + weight_bytes;
        let job = if queued_bytes <= QUEUE_BYTES_MAX {
            Job::Operation { shard, request, weight_bytes, submitted: Instant::now() }
        } else {
            self.0.queued_bytes.fetch_sub(weight_bytes, Ordering::Relaxed);
            let completion = DatabaseCompletion {
                requester: request.requester,
                context: request.context,
                message_type: request.message_type,
                doid: request.operation.doid(),
                outcome: Outcome::Refused(Refusal::QueueFull),
            };
            Job::Refused { shard, completion }
        };
        if self.0.jobs.send(job).is_err() {
            tracing::debug!("an operation came after the database was shut down");
        }
    }

    /// Takes requests for backups from other processes.
    fn listen(&self, index: u8, directory: &Path) {
        let jobs = self.0.jobs.clone();
        let backup = move |target: &Path| {
            let (done, answer) = channel();
            let ended = |_| "the daemon is ending".to_owned();
            jobs.send(Job::Backup { target: target.to_owned(), done }).map_err(|_| ended(()))?;
            answer.recv().map_err(|_| ended(()))?
        };
        match Control::start(index, directory, Box::new(backup)) {
            Ok(control) => *self.0.control.lock().unwrap_or_else(PoisonError::into_inner) = Some(control),
            Err(error) => {
                tracing::warn!(%error, "no backup can be taken of this database while the daemon runs");
            }
        }
    }

    /// What a mirror of the database reads; the database must have been opened with a SQL sink.
    ///
    /// # Errors
    /// [`ReaderError`] when the engine has ended, or cannot be read.
    pub fn outbox_reader(&self, contract: Arc<Contract>) -> Result<OutboxReader, ReaderError> {
        let (reply, names) = channel();
        self.0.jobs.send(Job::Names(reply)).map_err(|_| ReaderError::Ended)?;
        let names = names.recv().map_err(|_| ReaderError::Ended)?;
        let names = names.map_err(|error| ReaderError::Storage(error.to_string()))?;
        Ok(OutboxReader::new(self.0.jobs.clone(), contract, names, self.0.figures.clone()))
    }

    /// What there is to say about this database's SQL sink.
    pub fn sink_figures(&self) -> &SinkFigures {
        &self.0.figures
    }

    /// What the database's thread counts.
    pub fn figures(&self) -> Arc<EngineFigures> {
        self.0.engine_figures.clone()
    }

    /// Bytes of operations that wait (gauge).
    pub fn queued_bytes(&self) -> usize {
        self.0.queued_bytes.load(Ordering::Relaxed)
    }

    /// Finishes what was submitted before, syncs, closes the folder and joins the thread. Further calls do nothing.
    pub fn shutdown(&self) {
        self.0.shutdown();
    }
}

impl Shared {
    fn shutdown(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        // Its thread would otherwise ask for what nobody does any more.
        let control = self.control.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Fails only if the thread has ended already.
        let _ = self.jobs.send(Job::Shutdown);
        // The last handle may be dropped by a completion, on the engine's own thread.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the database thread panicked");
        }
        drop(control);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// The engine's thread.
struct Writer<S> {
    database: Database<S>,
    jobs: Receiver<Job>,
    queued_bytes: Arc<AtomicUsize>,
    figures: Arc<EngineFigures>,
    /// When the operations of the batch were submitted; kept for its memory.
    submitted: Vec<Instant>,
    durability: Durability,
    on_completion: OnCompletion,
    /// While the storage cannot write: when to try again, and how long to wait after that.
    recovery: Option<(Instant, Duration)>,
    /// A mirror that waits for what follows a number.
    waiting: Option<(u64, Reply<Option<Vec<OutboxEntry>>>)>,
}

impl<S: Storage> Writer<S> {
    fn run(mut self) {
        // When what is written but not synced must be on its way to disk.
        let mut sync_at: Option<Instant> = None;
        let mut running = true;
        while running {
            let next = self.next(sync_at);
            self.recover();
            match next {
                Ok(Some(job)) => running = self.batch(job, &mut sync_at),
                Ok(None) => {}
                Err(()) => running = false,
            }
            if sync_at.is_some_and(|at| at <= Instant::now()) {
                self.database.sync();
                sync_at = None;
            }
        }
        if self.durability != Durability::Sync {
            self.database.sync();
        }
    }

    /// Tries to make a storage writable again that cannot write, when it is time to.
    fn recover(&mut self) {
        if !self.database.is_broken() {
            self.recovery = None;
            return;
        }
        let now = Instant::now();
        let (at, delay) = self.recovery.unwrap_or((now, RECOVERY_DELAY_LEAST));
        self.recovery = Some((at, delay));
        if at <= now {
            // Damage that makes the attempt panic must not take the thread with it.
            let recovered = catch_unwind(AssertUnwindSafe(|| self.database.recover())).unwrap_or(false);
            let next = (Instant::now() + delay, (2 * delay).min(RECOVERY_DELAY_GREATEST));
            self.recovery = (!recovered).then_some(next);
        }
    }

    /// Waits for a job; `None` when it is time to sync or to recover, an error when every handle is gone.
    fn next(&self, sync_at: Option<Instant>) -> Result<Option<Job>, ()> {
        let recover_at = match self.recovery {
            None if self.database.is_broken() => Some(Instant::now()),
            recovery => recovery.map(|(at, _)| at),
        };
        let Some(at) = sync_at.into_iter().chain(recover_at).min() else {
            return self.jobs.recv().map(Some).map_err(|_| ());
        };
        match self.jobs.recv_timeout(at.saturating_duration_since(Instant::now())) {
            Ok(job) => Ok(Some(job)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(()),
        }
    }

    /// Carries out a job and whatever waits behind it, as far as a batch goes. Returns whether to go on.
    fn batch(&mut self, first: Job, sync_at: &mut Option<Instant>) -> bool {
        self.database.set_clock(now_ms());
        let worked = catch_unwind(AssertUnwindSafe(|| {
            let mut running = self.take(first);
            while running && !self.database.is_full() {
                match self.jobs.try_recv() {
                    Ok(job) => running = self.take(job),
                    Err(_) => break,
                }
            }
            let began = Instant::now();
            let (wrote, completions) = self.database.commit(self.durability == Durability::Sync);
            if wrote {
                self.figures.commit_us.record_time(began.elapsed());
                self.figures.batch_operations.record(completions.len() as u64);
            }
            (running, wrote, completions)
        }));
        let (running, wrote, completions) = worked.unwrap_or_else(|_| {
            tracing::error!("the database panicked; every operation of the batch fails");
            (true, false, self.database.abandon())
        });
        if let (true, Durability::Interval(interval)) = (wrote, self.durability) {
            sync_at.get_or_insert_with(|| Instant::now() + sync_delay(interval));
        }
        for (shard, completion) in completions {
            (self.on_completion)(shard, completion);
        }
        let now = Instant::now();
        for submitted in self.submitted.drain(..) {
            self.figures.latency_us.record_time(now.saturating_duration_since(submitted));
        }
        self.tell_waiting();
        running
    }

    /// Answers the mirror that waits, when there is something.
    fn tell_waiting(&mut self) {
        let Some((number, _)) = self.waiting else { return };
        let entries = self.database.outbox_after(number);
        if matches!(&entries, Ok(Some(entries)) if entries.is_empty()) {
            return;
        }
        if let Some((_, reply)) = self.waiting.take() {
            // It may have given up; it asks again then.
            let _ = reply.send(entries);
        }
    }

    fn answer(&mut self, question: Question) {
        let told = match question {
            Question::GoesOn(position, reply) => reply.send(self.database.outbox_goes_on(position)).is_ok(),
            Question::Begin(reply) => reply.send(self.database.begin_outbox()).is_ok(),
            Question::Page(from, reply) => reply.send(self.database.outbox_page(from)).is_ok(),
            Question::After(number, reply) => {
                self.waiting = Some((number, reply));
                true
            }
            Question::Acknowledge(position) => {
                if let Err(error) = self.database.acknowledge_outbox(position) {
                    tracing::error!(%error, "the outbox cannot be shortened");
                }
                true
            }
        };
        if !told {
            tracing::debug!("the SQL sink ended before it was answered");
        }
    }

    /// What is not synced yet is in the copy too, which is synced itself.
    fn backup(&self, target: &Path) -> Result<(), String> {
        let made = self.database.backup(target);
        match &made {
            Ok(()) => tracing::info!(target = %target.display(), "a backup of the database was made"),
            Err(error) => tracing::warn!(target = %target.display(), %error, "no backup could be made"),
        }
        made.map_err(|error| error.to_string())
    }

    fn take(&mut self, job: Job) -> bool {
        match job {
            Job::Operation { shard, request, weight_bytes, submitted } => {
                self.submitted.push(submitted);
                self.queued_bytes.fetch_sub(weight_bytes, Ordering::Relaxed);
                self.database.execute(shard, request);
                true
            }
            Job::Refused { shard, completion } => {
                self.figures.refused.fetch_add(1, Ordering::Relaxed);
                self.database.refuse(shard, completion);
                true
            }
            Job::Backup { target, done } => {
                // Nobody may be waiting any more.
                let _ = done.send(self.backup(&target));
                true
            }
            Job::Outbox(question) => {
                self.answer(question);
                true
            }
            Job::Names(reply) => {
                let _ = reply.send(self.database.names());
                true
            }
            Job::Shutdown => false,
        }
    }
}

/// How long written data waits for its sync: half of what may be lost, so that the sync has the other half to finish.
fn sync_delay(interval: Duration) -> Duration {
    interval / 2
}
