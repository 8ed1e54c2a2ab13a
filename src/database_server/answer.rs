//! What leaves when an operation is done: update broadcasts and replies (`protocol-ss-dbss-db.md` §4.1 to §4.3).
//!
//! Decides layouts, and whether stored values may still be shown under today's contract. Field lists come ascending.

use super::operation::{DatabaseCompletion, FieldIds, FieldValues, Outcome};
use super::request::response_to;
use super::role::DatabaseServer;
use crate::outbox::Outbox;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, Encoder, MAX_BODY_BYTES, MessageType, database_broadcast_channel};

/// Room for values in a broadcast of several fields: one recipient, sender, type, doid and count come first.
const BROADCAST_VALUES_BYTES_MAX: usize = MAX_BODY_BYTES - (1 + 8 + 8 + 2 + 4 + 2);

/// The reply that says no: `doid` 0 to a CREATE, `ok` = 0 without a tail to everything else; `None` for requests
/// that are never answered.
pub(super) fn failure(
    requester: Channel,
    control: Channel,
    message_type: MessageType,
    context: u32,
) -> Option<Encoder> {
    let reply = Encoder::internal(&[requester], control, response_to(message_type)?).u32(context);
    Some(if message_type == t::DBSERVER_CREATE_OBJECT { reply.doid(0) } else { reply.bool(false) })
}

impl DatabaseServer {
    /// Announces a change on the object's database channel, with the requester as sender: deletions before sets.
    pub(super) fn broadcast(&self, completion: &DatabaseCompletion, out: &mut Outbox) {
        let start = |message_type| {
            let recipient = database_broadcast_channel(completion.doid);
            Encoder::internal(&[recipient], completion.requester, message_type).doid(completion.doid)
        };
        match &completion.outcome {
            Outcome::Applied { removed, set } => {
                self.broadcast_removed(removed, &start, out);
                self.broadcast_set(set, &start, out);
            }
            Outcome::Deleted => self.publish(Some(start(t::DBSERVER_OBJECT_DELETE)), out),
            _ => {}
        }
    }

    fn broadcast_removed(&self, removed: &FieldIds, start: &dyn Fn(MessageType) -> Encoder, out: &mut Outbox) {
        let mut fields = removed.iter();
        let encoder = match (removed.len(), fields.next()) {
            (_, None) => return,
            (1, Some(field)) => start(t::DBSERVER_OBJECT_DELETE_FIELD).u16(field),
            (count, Some(_)) => {
                let start = start(t::DBSERVER_OBJECT_DELETE_FIELDS).u16(count as u16);
                removed.iter().fold(start, Encoder::u16)
            }
        };
        self.publish(Some(encoder), out);
    }

    /// One message, unless defaults or the parts of molecular fields have made it longer than a frame: then as many
    /// as it takes, in order.
    fn broadcast_set(&self, set: &FieldValues, start: &dyn Fn(MessageType) -> Encoder, out: &mut Outbox) {
        let mut part = FieldValues::default();
        let mut part_bytes = 0;
        for (field, value) in set.iter() {
            let bytes = 2 + value.len();
            if part_bytes + bytes > BROADCAST_VALUES_BYTES_MAX {
                self.publish(set_message(&part, start), out);
                (part, part_bytes) = Default::default();
            }
            part_bytes += bytes;
            part.insert(field, value.clone());
        }
        self.publish(set_message(&part, start), out);
    }

    /// Answers the requester, if the request has an answer. A reply that would not fit a frame, and one that would
    /// show a value which the contract no longer allows (§9 AMB-13), becomes a failure.
    pub(super) fn reply(&self, completion: &DatabaseCompletion, out: &mut Outbox) {
        let Some(message_type) = response_to(completion.message_type) else { return };
        let control = self.settings.control_channel;
        let start = Encoder::internal(&[completion.requester], control, message_type).u32(completion.context);
        if let Some(reply) = self.reply_tail(completion, start) {
            match self.try_publish(reply, out) {
                Ok(()) => return,
                Err(error) => {
                    out.metrics.oversized_messages_dropped += 1;
                    tracing::warn!(doid = completion.doid, %message_type, %error, "answered with failure");
                }
            }
        }
        self.publish(failure(completion.requester, control, completion.message_type, completion.context), out);
    }

    /// What follows the context; `None` for a failure without a tail.
    fn reply_tail(&self, completion: &DatabaseCompletion, start: Encoder) -> Option<Encoder> {
        let shown = |values: &FieldValues| self.may_show(completion.doid, values);
        let request = completion.message_type;
        match &completion.outcome {
            Outcome::Created(doid) => Some(start.doid(*doid)),
            Outcome::Object { class, values } if shown(values) => {
                Some(pairs(start.bool(true).u16(*class).u16(values.len() as u16), values))
            }
            Outcome::Values(values) if shown(values) && request == t::DBSERVER_OBJECT_GET_FIELD => {
                let (field, value) = values.iter().next()?;
                Some(start.bool(true).u16(field).bytes(value))
            }
            Outcome::Values(values) if shown(values) => Some(pairs(start.bool(true).u16(values.len() as u16), values)),
            Outcome::Applied { .. } => Some(start.bool(true)),
            Outcome::Mismatch(values) if shown(values) && is_singular(request) => {
                Some(pairs(start.bool(false), values))
            }
            Outcome::Mismatch(values) if shown(values) => {
                Some(pairs(start.bool(false).u16(values.len() as u16), values))
            }
            _ => None,
        }
    }

    fn may_show(&self, doid: Doid, values: &FieldValues) -> bool {
        values.iter().all(|(id, value)| {
            let Some(field) = self.contract.field(id) else { return false };
            match field.validate(value, self.text) {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(
                        doid,
                        field = field.name(),
                        %error,
                        "a stored value does not fit the contract; the read fails"
                    );
                    false
                }
            }
        })
    }
}

fn set_message(values: &FieldValues, start: &dyn Fn(MessageType) -> Encoder) -> Option<Encoder> {
    match values.len() {
        0 => None,
        1 => Some(pairs(start(t::DBSERVER_OBJECT_SET_FIELD), values)),
        count => Some(pairs(start(t::DBSERVER_OBJECT_SET_FIELDS).u16(count as u16), values)),
    }
}

fn pairs(start: Encoder, values: &FieldValues) -> Encoder {
    values.iter().fold(start, |encoder, (field, value)| encoder.u16(field).bytes(value))
}

fn is_singular(request: MessageType) -> bool {
    matches!(request, t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS | t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY)
}
