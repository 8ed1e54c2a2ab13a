//! Reading and writing the fields of one object (`protocol-ss-dbss-db.md` §2.6).
//!
//! Decides what is stored and who hears of it. It does not ask who sends: what a client may set, the Client Agent has
//! decided.

use super::object::{Announcement, Handled, Incoming, Object, Recipients};
use super::partition::Partition;
use crate::outbox::Outbox;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, MessageType, Reader};
use donet_dc::{Class, Field, FieldKind, Keywords, ValueError};
use smallvec::SmallVec;

/// Why an update or a reset of a field is refused.
#[derive(Debug, thiserror::Error)]
pub enum FieldRefusal {
    #[error("field {0} is not in the class")]
    Unknown(u16),
    #[error("field {name} ({id}): {error}")]
    Value { id: u16, name: String, error: ValueError },
}

impl FieldRefusal {
    pub fn value(field: &Field, error: ValueError) -> Self {
        Self::Value { id: field.id(), name: field.name().to_owned(), error }
    }
}

const DOID_BYTES: usize = size_of::<Doid>();
const FIELD_ID_BYTES: usize = size_of::<u16>();

impl Object {
    /// All messages about fields but GET_CLASS. They name the object that they mean, questions behind a context; what
    /// means another object is silently ignored (SS-14).
    pub fn on_field_message(&mut self, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) -> Handled {
        let mut payload = incoming.payload;
        let is_question = matches!(
            incoming.message_type,
            t::STATESERVER_OBJECT_GET_FIELD | t::STATESERVER_OBJECT_GET_FIELDS | t::STATESERVER_OBJECT_GET_ALL
        );
        let context = if is_question { payload.u32()? } else { 0 };
        if payload.doid()? != self.doid {
            return Ok(());
        }
        match incoming.message_type {
            t::STATESERVER_OBJECT_SET_FIELD => self.set_field(payload, incoming, partition, out),
            t::STATESERVER_OBJECT_SET_FIELDS => self.set_fields(payload, incoming, partition, out),
            t::STATESERVER_OBJECT_GET_FIELD | t::STATESERVER_OBJECT_GET_FIELDS => {
                self.answer_fields(context, payload, incoming, partition, out)
            }
            t::STATESERVER_OBJECT_GET_ALL => {
                self.announce(partition, out, incoming.sender, &Announcement::get_all_resp(context));
                Ok(())
            }
            t::STATESERVER_OBJECT_DELETE_FIELD_RAM => self.delete_fields(1, payload, incoming, partition, out),
            t::STATESERVER_OBJECT_DELETE_FIELDS_RAM => {
                let count = payload.u16()?;
                self.delete_fields(count, payload, incoming, partition, out)
            }
            other => unreachable!("{other} is not about fields"),
        }
    }

    fn set_field(
        &mut self,
        mut payload: Reader,
        incoming: &Incoming,
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> Handled {
        let (id, value) = (payload.u16()?, payload.rest());
        match self.apply(id, value, partition) {
            Ok((used, keywords)) => {
                // What came is what goes, but for surplus bytes at its end.
                let body = &incoming.payload.rest()[..DOID_BYTES + FIELD_ID_BYTES + used];
                let recipients = self.update_recipients(keywords, incoming.sender);
                let message_type = t::STATESERVER_OBJECT_SET_FIELD;
                self.send_large(&recipients, incoming.sender, message_type, body, partition, out);
            }
            Err(refusal) => self.refuse(&refusal, incoming, partition, out),
        }
        Ok(())
    }

    /// One update after the other, each with its own message to the observers, up to the first that is refused.
    fn set_fields(
        &mut self,
        mut payload: Reader,
        incoming: &Incoming,
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> Handled {
        for _ in 0..payload.u16()? {
            let element = payload.rest();
            let id = payload.u16()?;
            match self.apply(id, payload.rest(), partition) {
                Ok((used, keywords)) => {
                    payload.take(used)?;
                    let recipients = self.update_recipients(keywords, incoming.sender);
                    if recipients.is_empty() {
                        continue;
                    }
                    let mut body = partition.take_scratch();
                    body.extend_from_slice(&self.doid.to_le_bytes());
                    body.extend_from_slice(&element[..FIELD_ID_BYTES + used]);
                    let message_type = t::STATESERVER_OBJECT_SET_FIELD;
                    self.send_large(&recipients, incoming.sender, message_type, &body, partition, out);
                    partition.give_scratch_back(body);
                }
                Err(refusal) => {
                    self.refuse(&refusal, incoming, partition, out);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Checks a value at the beginning of `bytes` and stores what is to be stored. Returns its length, and the keywords
    /// of the field that was addressed.
    fn apply(&mut self, id: u16, bytes: &[u8], partition: &Partition) -> Result<(usize, Keywords), FieldRefusal> {
        let class = partition.class(self.class);
        let field = class.field(id).ok_or(FieldRefusal::Unknown(id))?;
        let refused = |error| FieldRefusal::value(field, error);
        let used = field.validate_prefix(bytes, partition.text).map_err(refused)?;
        if field.kind() != FieldKind::Molecular {
            self.store(id, &bytes[..used], partition);
        } else {
            let mut rest = &bytes[..used];
            for part in parts(class, field) {
                let (value, after) = rest.split_at(part.skip(rest).map_err(refused)?);
                self.store(part.id(), value, partition);
                rest = after;
            }
        }
        Ok((used, field.keywords()))
    }

    fn store(&mut self, field: u16, value: &[u8], partition: &Partition) {
        if let Some(slot) = partition.layout(self.class).slot_of(field) {
            self.values.set(slot, value);
        }
    }

    /// The database has changed a field, or deleted it.
    pub fn refresh(&mut self, id: u16, value: Option<&[u8]>, partition: &Partition) {
        let (class, layout) = (partition.class(self.class), partition.layout(self.class));
        let (Some(field), Some(slot)) = (class.field(id), layout.slot_of(id)) else { return };
        match value {
            Some(value) if field.validate(value, partition.text).is_ok() => self.values.set(slot, value),
            Some(_) => tracing::debug!(doid = self.doid, field = field.name(), "a value of the database is ignored"),
            None if layout.is_required(slot) => self.values.set(slot, field.default_value()),
            None => self.values.unset(slot),
        }
    }

    /// Who hears of a change to a field with these keywords. AI and owner do not hear of their own.
    pub fn update_recipients(&self, keywords: Keywords, sender: Channel) -> Recipients {
        let mut recipients = Recipients::new();
        if keywords.contains(Keywords::BROADCAST) {
            recipients.extend(self.location());
        }
        if keywords.contains(Keywords::AIRECV) && self.ai != 0 && self.ai != sender {
            recipients.push(self.ai);
        }
        if keywords.contains(Keywords::OWNRECV) && self.owner != 0 && self.owner != sender {
            recipients.push(self.owner);
        }
        recipients
    }

    fn refuse(&self, refusal: &FieldRefusal, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) {
        let (class, doid) = (partition.class_name(self.class), self.doid);
        let (message, sender) = (incoming.message_type, incoming.sender);
        let line = format_args!("{message} from {sender} to object {doid} of class {class} refused: {refusal}");
        partition.refusals.refuse(out, line);
    }

    /// Appends the stored value of a field; of a molecular field, those of all its parts. Returns false, and appends
    /// nothing, if any is not set.
    fn append_value(&self, class: &Class, field: &Field, partition: &Partition, payload: &mut Vec<u8>) -> bool {
        let layout = partition.layout(self.class);
        let value = |field: u16| layout.slot_of(field).and_then(|slot| self.values.get(slot));
        if field.kind() != FieldKind::Molecular {
            return value(field.id()).map(|value| payload.extend_from_slice(value)).is_some();
        }
        let before = payload.len();
        let complete =
            parts(class, field).all(|part| value(part.id()).map(|value| payload.extend_from_slice(value)).is_some());
        if !complete {
            payload.truncate(before);
        }
        complete
    }

    /// Answers GET_FIELD and GET_FIELDS.
    fn answer_fields(
        &mut self,
        context: u32,
        payload: Reader,
        incoming: &Incoming,
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> Handled {
        let mut answer = partition.take_scratch();
        answer.extend_from_slice(&context.to_le_bytes());
        let (response, written) = match incoming.message_type {
            t::STATESERVER_OBJECT_GET_FIELD => {
                (t::STATESERVER_OBJECT_GET_FIELD_RESP, self.write_field(payload, partition, &mut answer))
            }
            _ => (t::STATESERVER_OBJECT_GET_FIELDS_RESP, self.write_fields(payload, partition, &mut answer)),
        };
        if written.is_ok() {
            self.send_large(&[incoming.sender], self.doid.into(), response, &answer, partition, out);
        }
        partition.give_scratch_back(answer);
        written
    }

    fn write_field(&self, mut payload: Reader, partition: &Partition, answer: &mut Vec<u8>) -> Handled {
        let id = payload.u16()?;
        let before = answer.len();
        answer.push(1);
        answer.extend_from_slice(&id.to_le_bytes());
        let class = partition.class(self.class);
        if !class.field(id).is_some_and(|field| self.append_value(class, field, partition, answer)) {
            answer.truncate(before);
            answer.push(0);
        }
        Ok(())
    }

    /// Fields are answered in ascending order, each once; one that the class does not have fails them all.
    fn write_fields(&self, mut payload: Reader, partition: &Partition, answer: &mut Vec<u8>) -> Handled {
        let mut ids: SmallVec<[u16; 32]> = SmallVec::new();
        for _ in 0..payload.u16()? {
            ids.push(payload.u16()?);
        }
        ids.sort_unstable();
        ids.dedup();
        let class = partition.class(self.class);
        if ids.iter().any(|&id| class.field(id).is_none()) {
            answer.push(0);
            return Ok(());
        }
        answer.push(1);
        let count_at = answer.len();
        answer.extend_from_slice(&[0; 2]);
        let mut count = 0_u16;
        for field in ids.iter().filter_map(|&id| class.field(id)) {
            let before = answer.len();
            answer.extend_from_slice(&field.id().to_le_bytes());
            if self.append_value(class, field, partition, answer) {
                count += 1;
            } else {
                answer.truncate(before);
            }
        }
        answer[count_at..count_at + 2].copy_from_slice(&count.to_le_bytes());
        Ok(())
    }

    /// An extension (§5.3).
    pub fn on_get_class(&mut self, incoming: &Incoming, out: &mut Outbox) -> Handled {
        let context = { incoming.payload }.u32()?;
        let mut answer = [0; 10];
        answer[..4].copy_from_slice(&context.to_le_bytes());
        answer[4..8].copy_from_slice(&self.doid.to_le_bytes());
        answer[8..].copy_from_slice(&self.class.to_le_bytes());
        self.send(out, incoming.sender, t::STATESERVER_OBJECT_GET_CLASS_RESP, &answer);
        Ok(())
    }

    /// Deletes so many fields, up to the first that the class does not have.
    fn delete_fields(
        &mut self,
        count: u16,
        mut payload: Reader,
        incoming: &Incoming,
        partition: &mut Partition,
        out: &mut Outbox,
    ) -> Handled {
        for _ in 0..count {
            let id = payload.u16()?;
            if !self.delete_field(id, incoming, partition, out) {
                break;
            }
        }
        Ok(())
    }

    /// Unsets a `ram` field, or resets a required one to its explicit default; a molecular field stands for its parts.
    /// Returns false if the class has no such field.
    fn delete_field(&mut self, id: u16, incoming: &Incoming, partition: &mut Partition, out: &mut Outbox) -> bool {
        let contract = partition.contract.clone();
        let class = contract.class(self.class).expect("an object is created with a class of the contract");
        let Some(field) = class.field(id) else {
            self.refuse(&FieldRefusal::Unknown(id), incoming, partition, out);
            return false;
        };
        if field.kind() == FieldKind::Molecular {
            for part in parts(class, field) {
                self.delete_stored(part, incoming.sender, partition, out);
            }
        } else {
            self.delete_stored(field, incoming.sender, partition, out);
        }
        true
    }

    fn delete_stored(&mut self, field: &Field, sender: Channel, partition: &mut Partition, out: &mut Outbox) {
        let layout = partition.layout(self.class);
        let Some(slot) = layout.slot_of(field.id()) else { return };
        let (message_type, value): (MessageType, &[u8]) = if layout.is_required(slot) {
            if !field.has_explicit_default() {
                return;
            }
            self.values.set(slot, field.default_value());
            (t::STATESERVER_OBJECT_SET_FIELD, field.default_value())
        } else {
            if self.values.get(slot).is_none() {
                return;
            }
            self.values.unset(slot);
            (t::STATESERVER_OBJECT_DELETE_FIELD_RAM, &[])
        };
        let mut body = Vec::with_capacity(DOID_BYTES + FIELD_ID_BYTES + value.len());
        body.extend_from_slice(&self.doid.to_le_bytes());
        body.extend_from_slice(&field.id().to_le_bytes());
        body.extend_from_slice(value);
        let recipients = self.update_recipients(field.keywords(), sender);
        self.send_large(&recipients, sender, message_type, &body, partition, out);
    }
}

/// The parts of a molecular field, in its order.
pub fn parts<'a>(class: &'a Class, field: &'a Field) -> impl Iterator<Item = &'a Field> {
    field.parts().iter().map(|&part| class.field(part).expect("a molecular field is made of fields of its class"))
}
