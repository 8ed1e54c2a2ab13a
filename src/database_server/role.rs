//! One executor's partition of a Database Server role: messages in, operations and answers out.
//!
//! Decides who is answered what, in the order of `protocol-ss-dbss-db.md` §4.3: delete-broadcast, set-broadcast, reply.
//! Holds no pending request, and of objects only what [`ReadCache`] may forget: a completion brings everything that its
//! answer needs.

use super::answer;
use super::operation::{DatabaseCompletion, DatabaseRequest, FieldValues, Outcome, Refusal};
use super::read_cache::{Course, ReadCache};
use super::request::{Parsed, RequestError, RequestParser, is_stored};
use crate::config;
use crate::outbox::{Action, Outbox, Participant};
use crate::wire::{ALL_DATABASE_SERVERS, Channel, Datagram, Encoder, FrameTooLong, MessageType};
use bytes::Bytes;
use donet_dc::{Contract, FieldKind, TextPolicy};
use hashbrown::HashMap;
use std::sync::Arc;

/// One executor's partition of a Database Server role.
pub struct DatabaseServer {
    pub(super) index: u8,
    pub(super) settings: config::DatabaseServer,
    pub(super) contract: Arc<Contract>,
    pub(super) text: TextPolicy,
    /// What CREATE adds to what it was given, by class (§4.3): the explicit defaults of stored fields.
    defaults: HashMap<u16, FieldValues>,
    cache: ReadCache,
}

impl DatabaseServer {
    /// The partition of the role with this index in the configuration, one of so many.
    pub fn new(
        index: u8,
        settings: config::DatabaseServer,
        contract: Arc<Contract>,
        text: TextPolicy,
        shards: usize,
    ) -> Self {
        let mut defaults = HashMap::new();
        for class in contract.classes() {
            let fields = class.fields().filter(|field| is_stored(field) && field.kind() != FieldKind::Molecular);
            let values: FieldValues = fields
                .filter(|field| field.has_explicit_default())
                .map(|field| (field.id(), Bytes::copy_from_slice(field.default_value())))
                .collect();
            if !values.is_empty() {
                defaults.insert(class.id(), values);
            }
        }
        let cache = ReadCache::new(settings.cache_bytes / shards);
        Self { index, settings, contract, text, defaults, cache }
    }

    /// Goes on with other settings, of the same database.
    pub fn reload(&mut self, settings: config::DatabaseServer, shards: usize) {
        self.cache.set_bytes_max(settings.cache_bytes / shards);
        self.settings = settings;
    }

    /// Bytes that this partition keeps in memory for reads, about.
    pub fn cached_bytes(&self) -> usize {
        self.cache.bytes()
    }

    /// The participant that this role's messages come from.
    pub(super) fn participant(&self) -> Participant {
        Participant::DatabaseServer(self.index)
    }

    /// Whether a datagram is for this role, of all database roles of the daemon.
    pub fn is_addressed(&self, datagram: &Datagram) -> bool {
        let channels = [self.settings.control_channel, ALL_DATABASE_SERVERS];
        datagram.recipients().any(|recipient| channels.contains(&recipient))
    }

    /// A datagram for the control channel or for all Database Servers. What can be judged without the object is judged
    /// here and answered at once; the rest becomes an operation of the engine.
    pub fn on_datagram(&mut self, datagram: &Datagram, out: &mut Outbox) {
        let (requester, message_type, reader) = match datagram.message() {
            Ok(message) => message,
            Err(error) => {
                out.metrics.datagrams_malformed += 1;
                tracing::warn!(%error, "a message to the database server has no type");
                return;
            }
        };
        let parser = RequestParser {
            contract: &self.contract,
            text: self.text,
            defaults: &|class| self.defaults.get(&class).cloned().unwrap_or_default(),
        };
        match parser.parse(requester, message_type, reader, datagram.frame()) {
            Parsed::Request(request) => self.carry_out(request, out),
            Parsed::Refused { context, error } => self.refuse(requester, message_type, context, &error, out),
            Parsed::Unknown => {
                out.metrics.unknown_messages += 1;
                tracing::warn!(%message_type, requester, "a message that the database server does not know");
            }
        }
    }

    /// Answers what is known, and asks the engine for the rest.
    fn carry_out(&mut self, request: DatabaseRequest, out: &mut Outbox) {
        match self.cache.take(request) {
            Course::Answered(completion) => self.answer_from_memory(&completion, out),
            Course::Waits => {}
            Course::Submitted(request) => out.push(Action::Database { server: self.index, request }),
        }
    }

    fn answer_from_memory(&self, completion: &DatabaseCompletion, out: &mut Outbox) {
        out.metrics.database_reads_cached += 1;
        self.reply(completion, out);
    }

    fn refuse(
        &self,
        requester: Channel,
        message_type: MessageType,
        context: Option<u32>,
        error: &RequestError,
        out: &mut Outbox,
    ) {
        // Naming nothing that is stored is legal (DB-11); everything else is a mistake of the sender's.
        if matches!(error, RequestError::NothingLeft) {
            tracing::debug!(%message_type, requester, %error, "database request without effect");
        } else {
            out.metrics.object_messages_refused += 1;
            tracing::warn!(%message_type, requester, %error, "database request refused");
        }
        if let Some(context) = context {
            let failure = answer::failure(requester, self.settings.control_channel, message_type, context);
            self.publish(failure, out);
        }
    }

    /// What the engine answers: broadcasts, then the reply.
    pub fn on_completion(&mut self, completion: DatabaseCompletion, out: &mut Outbox) {
        self.count(&completion, out);
        self.cache.done(&completion, &self.contract);
        if self.settings.broadcast {
            self.broadcast(&completion, out);
        }
        self.reply(&completion, out);
        for waited in self.cache.released(completion.requester) {
            self.answer_from_memory(&waited, out);
        }
    }

    fn count(&self, completion: &DatabaseCompletion, out: &mut Outbox) {
        let DatabaseCompletion { doid, message_type, requester, .. } = *completion;
        match &completion.outcome {
            Outcome::Failed => out.metrics.database_failures += 1,
            Outcome::Refused(refusal @ (Refusal::PoolExhausted | Refusal::QueueFull)) => {
                out.metrics.database_failures += 1;
                tracing::warn!(%message_type, requester, %refusal, "database request failed");
            }
            Outcome::Refused(refusal @ Refusal::ForeignField(_)) => {
                out.metrics.object_messages_refused += 1;
                tracing::warn!(doid, %message_type, requester, %refusal, "database request refused");
            }
            // Asking whether an object exists is no mistake.
            Outcome::Refused(refusal @ Refusal::MissingObject) => {
                tracing::debug!(doid, %message_type, requester, %refusal, "database request without effect");
            }
            _ => {}
        }
    }

    pub(super) fn publish(&self, encoder: Option<Encoder>, out: &mut Outbox) {
        let Some(encoder) = encoder else { return };
        if let Err(error) = self.try_publish(encoder, out) {
            out.metrics.oversized_messages_dropped += 1;
            tracing::warn!(%error, "a message of the database server was dropped");
        }
    }

    pub(super) fn try_publish(&self, encoder: Encoder, out: &mut Outbox) -> Result<(), FrameTooLong> {
        let datagram = encoder.datagram()?;
        out.publish(self.participant(), datagram);
        Ok(())
    }
}
