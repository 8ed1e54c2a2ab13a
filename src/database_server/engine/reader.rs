//! The mirror's way to the outbox: questions that the engine's thread answers between operations.

use super::database::OutboxPage;
use super::handle::Job;
use super::outbox::{OutboxEntry, OutboxPosition};
use super::schema::Schema;
use super::storage::StorageError;
use crate::database_server::sink_figures::SinkFigures;
use crate::wire::Doid;
use bytes::Bytes;
use donet_dc::Contract;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Where an answer goes; whoever asked may have given up.
pub(super) type Reply<T> = Sender<Result<T, StorageError>>;

/// What a mirror asks.
pub(super) enum Question {
    GoesOn(OutboxPosition, Reply<bool>),
    Begin(Reply<OutboxPosition>),
    /// Answered when there is something.
    After(u64, Reply<Option<Vec<OutboxEntry>>>),
    Acknowledge(OutboxPosition),
    Page(Doid, Reply<OutboxPage>),
}

/// Why the engine gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReaderError {
    #[error("the database has ended")]
    Ended,
    #[error("the database cannot be read: {0}")]
    Storage(String),
}

/// Reads the outbox of an engine, from another thread.
pub struct OutboxReader {
    jobs: Sender<Job>,
    pub contract: Arc<Contract>,
    names: Schema,
    pub figures: Arc<SinkFigures>,
}

impl OutboxReader {
    pub(super) fn new(jobs: Sender<Job>, contract: Arc<Contract>, names: Schema, figures: Arc<SinkFigures>) -> Self {
        Self { jobs, contract, names, figures }
    }

    fn ask<T>(
        &self,
        question: impl FnOnce(Reply<T>) -> Question,
    ) -> Result<Receiver<Result<T, StorageError>>, ReaderError> {
        let (reply, answer) = channel();
        self.jobs.send(Job::Outbox(question(reply))).map_err(|_| ReaderError::Ended)?;
        Ok(answer)
    }

    fn answer<T>(&self, question: impl FnOnce(Reply<T>) -> Question) -> Result<T, ReaderError> {
        self.ask(question)?.recv().map_err(|_| ReaderError::Ended)?.map_err(storage)
    }

    /// Whether the entries behind this position are all there.
    ///
    /// # Errors
    /// As all of these: when the database has ended, or cannot be read.
    pub fn goes_on(&self, position: OutboxPosition) -> Result<bool, ReaderError> {
        self.answer(|reply| Question::GoesOn(position, reply))
    }

    /// Forgets all entries and keeps those that follow; the position that they follow.
    pub fn begin(&self) -> Result<OutboxPosition, ReaderError> {
        self.answer(Question::Begin)
    }

    /// The first entries behind a number, as soon as there are any; none when there were none for so long. `None` if they
    /// are not kept any more.
    pub fn after(&self, number: u64, patience: Duration) -> Result<Option<Vec<OutboxEntry>>, ReaderError> {
        match self.ask(|reply| Question::After(number, reply))?.recv_timeout(patience) {
            Ok(entries) => entries.map_err(storage),
            Err(RecvTimeoutError::Timeout) => Ok(Some(Vec::new())),
            Err(RecvTimeoutError::Disconnected) => Err(ReaderError::Ended),
        }
    }

    /// Lets go of the entries up to this position.
    pub fn acknowledge(&self, position: OutboxPosition) -> Result<(), ReaderError> {
        self.jobs.send(Job::Outbox(Question::Acknowledge(position))).map_err(|_| ReaderError::Ended)
    }

    /// Some objects in ascending order from a doid on.
    pub fn page(&self, from: Doid) -> Result<OutboxPage, ReaderError> {
        self.answer(|reply| Question::Page(from, reply))
    }

    /// The number that a class of the contract is stored under.
    pub fn class_number(&self, class: u16) -> Option<u32> {
        self.names.class_number(class)
    }

    /// The fields of a class of the contract that are stored, with their stored numbers.
    pub fn stored_fields(&self, class: u16) -> Vec<(u32, u16)> {
        let Some(class) = self.contract.class(class) else { return Vec::new() };
        let fields = class.fields().filter(|field| super::compatibility::is_stored(field));
        fields.filter_map(|field| Some((self.names.field_number(field.id())?, field.id()))).collect()
    }

    /// A stored value as today's type has it; `None` if the class has no such field any more.
    pub fn value(&self, class: u16, number: u32, value: &Bytes) -> Option<(u16, Bytes)> {
        let field = self.contract.field(self.names.field(class, number)?)?;
        Some((field.id(), self.names.widen(class, field, value.clone())))
    }
}

fn storage(error: StorageError) -> ReaderError {
    ReaderError::Storage(error.to_string())
}
