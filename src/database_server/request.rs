//! Reading requests: from the bytes of a message to an [`Operation`] (`protocol-ss-dbss-db.md` §4.2, §4.3).
//!
//! Decides what a message means under the contract: which fields are stored ones, whether values fit, what is dropped
//! and what fails. It never looks at an object: what depends on the stored class is the engine's to check. Every byte
//! may be hostile; nothing is allocated from a count that a sender has claimed.

use super::operation::{Condition, DatabaseRequest, FieldIds, FieldValues, Operation};
use crate::wire::message_type as t;
use crate::wire::{MessageType, Reader, Truncated};
use bytes::Bytes;
use donet_dc::{Class, Contract, Field, FieldKind, Keywords, TextPolicy};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error(transparent)]
    Truncated(#[from] Truncated),
    #[error("the contract has no class {0}")]
    UnknownClass(u16),
    #[error("the contract has no field {0}")]
    UnknownField(u16),
    #[error("field {field} ({name}) does not belong to class {class}")]
    ForeignField { field: u16, name: String, class: String },
    #[error("field {field} ({name}) is not a single stored (db) field")]
    NotStored { field: u16, name: String },
    #[error("field {field} ({name}): {error}")]
    Value { field: u16, name: String, error: String },
    #[error("field {0} is named twice")]
    Duplicate(u16),
    #[error("no stored (db) field is named")]
    NothingLeft,
}

/// What a message turned out to be.
pub(super) enum Parsed {
    Request(DatabaseRequest),
    /// To be answered with failure if it has a context and its type has an answer.
    Refused {
        context: Option<u32>,
        error: RequestError,
    },
    /// No message type of this role.
    Unknown,
}

/// The contract's view of requests.
pub(super) struct RequestParser<'a> {
    pub contract: &'a Contract,
    pub text: TextPolicy,
    /// The explicit defaults of a class's stored fields.
    pub defaults: &'a dyn Fn(u16) -> FieldValues,
}

/// The arguments of one message: a cursor, and the frame whose bytes values share.
struct Arguments<'a> {
    reader: Reader<'a>,
    frame: &'a Bytes,
}

impl Arguments<'_> {
    fn share(&self, value: &[u8]) -> Bytes {
        self.frame.slice_ref(value)
    }
}

impl RequestParser<'_> {
    pub fn parse(&self, requester: u64, message_type: MessageType, reader: Reader<'_>, frame: &Bytes) -> Parsed {
        let mut arguments = Arguments { reader, frame };
        let mut context = None;
        if has_context(message_type) {
            match arguments.reader.u32() {
                Ok(value) => context = Some(value),
                Err(error) => return Parsed::Refused { context, error: error.into() },
            }
        }
        match self.operation(message_type, &mut arguments) {
            Ok(Some(operation)) => Parsed::Request(DatabaseRequest {
                requester,
                context: context.unwrap_or_default(),
                message_type,
                operation,
                held_bytes: frame.len(),
            }),
            Ok(None) => Parsed::Unknown,
            Err(error) => Parsed::Refused { context, error },
        }
    }

    fn operation(
        &self,
        message_type: MessageType,
        arguments: &mut Arguments<'_>,
    ) -> Result<Option<Operation>, RequestError> {
        if message_type == t::DBSERVER_CREATE_OBJECT {
            return self.create(arguments).map(Some);
        }
        if !is_about_an_object(message_type) {
            return Ok(None);
        }
        let doid = arguments.reader.doid()?;
        let operation = match message_type {
            t::DBSERVER_OBJECT_GET_ALL => Operation::GetAll { doid },
            t::DBSERVER_OBJECT_GET_FIELD => Operation::GetFields { doid, fields: self.wanted(arguments, 1)? },
            t::DBSERVER_OBJECT_GET_FIELDS => {
                let count = arguments.reader.u16()?;
                Operation::GetFields { doid, fields: self.wanted(arguments, count)? }
            }
            t::DBSERVER_OBJECT_SET_FIELD => Operation::Set { doid, values: self.values(arguments, 1)? },
            t::DBSERVER_OBJECT_SET_FIELDS => {
                let count = arguments.reader.u16()?;
                Operation::Set { doid, values: self.values(arguments, count)? }
            }
            t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS => {
                Operation::SetIfEquals { doid, conditions: self.conditions(arguments, 1)? }
            }
            t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS => {
                let count = arguments.reader.u16()?;
                Operation::SetIfEquals { doid, conditions: self.conditions(arguments, count)? }
            }
            t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY => {
                Operation::SetIfEmpty { doid, values: self.values_if_empty(arguments, 1)? }
            }
            t::DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY => {
                let count = arguments.reader.u16()?;
                Operation::SetIfEmpty { doid, values: self.values_if_empty(arguments, count)? }
            }
            t::DBSERVER_OBJECT_DELETE_FIELD => Operation::DeleteFields { doid, fields: self.removed(arguments, 1)? },
            t::DBSERVER_OBJECT_DELETE_FIELDS => {
                let count = arguments.reader.u16()?;
                Operation::DeleteFields { doid, fields: self.removed(arguments, count)? }
            }
            t::DBSERVER_OBJECT_DELETE => Operation::Delete { doid },
            _ => return Ok(None),
        };
        Ok(Some(operation))
    }

    /// CREATE: fields that are not stored are skipped, stored ones must belong to the class, defaults fill the rest.
    fn create(&self, arguments: &mut Arguments<'_>) -> Result<Operation, RequestError> {
        let id = arguments.reader.u16()?;
        let class = self.contract.class(id).ok_or(RequestError::UnknownClass(id))?;
        let count = arguments.reader.u16()?;
        let mut values = (self.defaults)(id);
        for _ in 0..count {
            let field = self.field(arguments)?;
            if !is_stored(field) {
                skip(field, arguments)?;
                continue;
            }
            if class.field(field.id()).is_none() {
                return Err(foreign(field, class));
            }
            self.insert_value(field, arguments, &mut values)?;
        }
        Ok(Operation::Create { class: id, values })
    }

    /// The fields of a GET: those that are not stored are dropped; none left fails.
    fn wanted(&self, arguments: &mut Arguments<'_>, count: u16) -> Result<FieldIds, RequestError> {
        let mut fields = FieldIds::default();
        for _ in 0..count {
            let field = self.field(arguments)?;
            if is_stored(field) {
                fields.insert(field.id());
            }
        }
        if fields.is_empty() { Err(RequestError::NothingLeft) } else { Ok(fields) }
    }

    /// The fields of a DELETE_FIELD(S): as [`Self::wanted`], molecular ones expanded.
    fn removed(&self, arguments: &mut Arguments<'_>, count: u16) -> Result<FieldIds, RequestError> {
        let mut fields = FieldIds::default();
        for field in self.wanted(arguments, count)?.iter() {
            let field = self.contract.field(field).ok_or(RequestError::UnknownField(field))?;
            match field.kind() {
                FieldKind::Molecular => field.parts().iter().for_each(|&part| fields.insert(part)),
                FieldKind::Atomic | FieldKind::Data => fields.insert(field.id()),
            }
        }
        // A molecular field without parts names nothing.
        if fields.is_empty() { Err(RequestError::NothingLeft) } else { Ok(fields) }
    }

    /// The values of a SET_FIELD(S): fields that are not stored are skipped; none left fails.
    fn values(&self, arguments: &mut Arguments<'_>, count: u16) -> Result<FieldValues, RequestError> {
        let mut values = FieldValues::default();
        for _ in 0..count {
            let field = self.field(arguments)?;
            if is_stored(field) {
                self.insert_value(field, arguments, &mut values)?;
            } else {
                skip(field, arguments)?;
            }
        }
        if values.is_empty() { Err(RequestError::NothingLeft) } else { Ok(values) }
    }

    /// The values of a SET_FIELD(S)_IF_EMPTY: every field must be a single stored one; of duplicates the last stays.
    fn values_if_empty(&self, arguments: &mut Arguments<'_>, count: u16) -> Result<FieldValues, RequestError> {
        let mut values = FieldValues::default();
        for _ in 0..count {
            let field = self.single_stored_field(arguments)?;
            let value = self.value(field, arguments)?;
            values.insert(field.id(), value);
        }
        if values.is_empty() { Err(RequestError::NothingLeft) } else { Ok(values) }
    }

    /// The conditions of a SET_FIELD(S)_IF_EQUALS: every field must be a single stored one, and named once.
    fn conditions(&self, arguments: &mut Arguments<'_>, count: u16) -> Result<Vec<Condition>, RequestError> {
        let mut expected = FieldValues::default();
        let mut values = FieldValues::default();
        for _ in 0..count {
            let field = self.single_stored_field(arguments)?;
            if expected.get(field.id()).is_some() {
                return Err(RequestError::Duplicate(field.id()));
            }
            expected.insert(field.id(), self.value(field, arguments)?);
            values.insert(field.id(), self.value(field, arguments)?);
        }
        if values.is_empty() {
            return Err(RequestError::NothingLeft);
        }
        let pairs = expected.iter().zip(values.iter());
        Ok(pairs
            .map(|((field, expected), (_, value))| Condition {
                field,
                expected: expected.clone(),
                value: value.clone(),
            })
            .collect())
    }

    fn field(&self, arguments: &mut Arguments<'_>) -> Result<&Field, RequestError> {
        let id = arguments.reader.u16()?;
        self.contract.field(id).ok_or(RequestError::UnknownField(id))
    }

    fn single_stored_field(&self, arguments: &mut Arguments<'_>) -> Result<&Field, RequestError> {
        let field = self.field(arguments)?;
        if is_stored(field) && field.kind() != FieldKind::Molecular {
            Ok(field)
        } else {
            Err(RequestError::NotStored { field: field.id(), name: field.name().to_owned() })
        }
    }

    fn value(&self, field: &Field, arguments: &mut Arguments<'_>) -> Result<Bytes, RequestError> {
        let size = field
            .validate_prefix(arguments.reader.rest(), self.text)
            .map_err(|error| bad_value(field, error.to_string()))?;
        let value = arguments.reader.take(size)?;
        Ok(arguments.share(value))
    }

    /// Reads a value; that of a molecular field is stored as the values of its parts, never as itself.
    fn insert_value(
        &self,
        field: &Field,
        arguments: &mut Arguments<'_>,
        values: &mut FieldValues,
    ) -> Result<(), RequestError> {
        if field.kind() != FieldKind::Molecular {
            values.insert(field.id(), self.value(field, arguments)?);
            return Ok(());
        }
        for &part in field.parts() {
            let part = self.contract.field(part).ok_or(RequestError::UnknownField(part))?;
            values.insert(part.id(), self.value(part, arguments)?);
        }
        Ok(())
    }
}

/// Skips a value that is to be ignored: only its length is checked (§1.4).
fn skip(field: &Field, arguments: &mut Arguments<'_>) -> Result<(), RequestError> {
    let size = field.skip(arguments.reader.rest()).map_err(|error| bad_value(field, error.to_string()))?;
    arguments.reader.take(size)?;
    Ok(())
}

fn bad_value(field: &Field, error: String) -> RequestError {
    RequestError::Value { field: field.id(), name: field.name().to_owned(), error }
}

fn foreign(field: &Field, class: &Class) -> RequestError {
    RequestError::ForeignField { field: field.id(), name: field.name().to_owned(), class: class.name().to_owned() }
}

/// Whether the Database Server stores values of this field.
pub(super) fn is_stored(field: &Field) -> bool {
    field.keywords().contains(Keywords::DB)
}

/// Whether the message starts with a context, and so has exactly one answer (DB-8).
pub(super) fn has_context(message_type: MessageType) -> bool {
    response_to(message_type).is_some()
}

/// The type of the answer, for requests that have one.
pub(super) fn response_to(message_type: MessageType) -> Option<MessageType> {
    Some(match message_type {
        t::DBSERVER_CREATE_OBJECT => t::DBSERVER_CREATE_OBJECT_RESP,
        t::DBSERVER_OBJECT_GET_FIELD => t::DBSERVER_OBJECT_GET_FIELD_RESP,
        t::DBSERVER_OBJECT_GET_FIELDS => t::DBSERVER_OBJECT_GET_FIELDS_RESP,
        t::DBSERVER_OBJECT_GET_ALL => t::DBSERVER_OBJECT_GET_ALL_RESP,
        t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS => t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS_RESP,
        t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS => t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS_RESP,
        t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY => t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY_RESP,
        t::DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY => t::DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY_RESP,
        _ => return None,
    })
}

/// Whether a request of this type changes nothing.
pub(super) fn is_read(message_type: MessageType) -> bool {
    matches!(message_type, t::DBSERVER_OBJECT_GET_FIELD | t::DBSERVER_OBJECT_GET_FIELDS | t::DBSERVER_OBJECT_GET_ALL)
}

/// Whether the message is a request whose first argument after a context is a doid.
fn is_about_an_object(message_type: MessageType) -> bool {
    (has_context(message_type) && message_type != t::DBSERVER_CREATE_OBJECT)
        || matches!(
            message_type,
            t::DBSERVER_OBJECT_SET_FIELD
                | t::DBSERVER_OBJECT_SET_FIELDS
                | t::DBSERVER_OBJECT_DELETE_FIELD
                | t::DBSERVER_OBJECT_DELETE_FIELDS
                | t::DBSERVER_OBJECT_DELETE
        )
}
