//! What the role asks of its engine, and what the engine answers.
//!
//! Decides nothing: these are the values that cross from an executor to the engine's thread and back. A completion
//! carries whatever the answer needs, so that nobody has to remember a request.

use crate::wire::{Channel, Doid, MessageType};
use bytes::Bytes;
use smallvec::SmallVec;

/// One operation, with what its answer needs.
#[derive(Clone, Debug)]
pub struct DatabaseRequest {
    /// Sender channel of the message: whom to answer, and the sender of broadcasts.
    pub requester: Channel,
    /// The `ctx` of the message; 0 where it has none.
    pub context: u32,
    /// The message that asked, which decides the layout of the answer.
    pub message_type: MessageType,
    pub operation: Operation,
    /// Memory that the request keeps: its values share the frame of the message.
    pub held_bytes: usize,
}

/// What is to be done. Every field named here exists in the contract and is a stored (`db`) field; whether it belongs
/// to the object's class is for the engine to find out, except in [`Operation::Create`].
#[derive(Clone, Debug)]
pub enum Operation {
    /// `values` are complete: the defaults of §4.3 are among them.
    Create {
        class: u16,
        values: FieldValues,
    },
    GetAll {
        doid: Doid,
    },
    /// Molecular fields are composed from their parts, if all of them are stored.
    GetFields {
        doid: Doid,
        fields: FieldIds,
    },
    Set {
        doid: Doid,
        values: FieldValues,
    },
    /// All or nothing: sets every field if each holds exactly the expected bytes. Fields ascending, each once.
    SetIfEquals {
        doid: Doid,
        conditions: Vec<Condition>,
    },
    /// All or nothing: sets every field if none of them holds a value.
    SetIfEmpty {
        doid: Doid,
        values: FieldValues,
    },
    /// Sets fields with an explicit default to it, and removes the others.
    DeleteFields {
        doid: Doid,
        fields: FieldIds,
    },
    Delete {
        doid: Doid,
    },
}

/// One field of a conditional update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub field: u16,
    pub expected: Bytes,
    pub value: Bytes,
}

impl Operation {
    /// The object concerned; 0 for a CREATE.
    pub fn doid(&self) -> Doid {
        match *self {
            Operation::Create { .. } => 0,
            Operation::GetAll { doid }
            | Operation::GetFields { doid, .. }
            | Operation::Set { doid, .. }
            | Operation::SetIfEquals { doid, .. }
            | Operation::SetIfEmpty { doid, .. }
            | Operation::DeleteFields { doid, .. }
            | Operation::Delete { doid } => doid,
        }
    }

    /// Whether it can change anything.
    pub fn is_write(&self) -> bool {
        !matches!(self, Operation::GetAll { .. } | Operation::GetFields { .. })
    }
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseCompletion {
    pub requester: Channel,
    pub context: u32,
    pub message_type: MessageType,
    /// The object concerned; 0 for a CREATE.
    pub doid: Doid,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Created(Doid),
    /// The whole object: its class in the contract and every stored field.
    Object {
        class: u16,
        values: FieldValues,
    },
    /// Those of the asked fields that hold a value.
    Values(FieldValues),
    /// An update was carried out: what it removed, and what it set.
    Applied {
        removed: FieldIds,
        set: FieldValues,
    },
    /// A condition did not hold; those of the named fields that hold a value.
    Mismatch(FieldValues),
    Deleted,
    Refused(Refusal),
    /// The engine could not do it for a reason of its own, which it has logged. Nothing was changed, unless the
    /// storage brings the batch back whole after a failed sync.
    Failed,
}

/// Why the engine refused an operation that the role had passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no such object")]
    MissingObject,
    #[error("field {0} does not belong to the object's class")]
    ForeignField(u16),
    #[error("every doid of the pool is in use")]
    PoolExhausted,
    #[error("the engine's queue is full")]
    QueueFull,
}

/// Packed values by field id of the contract: ascending, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldValues(SmallVec<[(u16, Bytes); 2]>);

impl FieldValues {
    /// Sets a value; of several for one field the last stays.
    ///
    /// The list never grows longer than the contract has fields, however long the message was.
    pub fn insert(&mut self, field: u16, value: Bytes) {
        match self.0.binary_search_by_key(&field, |entry| entry.0) {
            Ok(index) => self.0[index].1 = value,
            Err(index) => self.0.insert(index, (field, value)),
        }
    }

    pub fn get(&self, field: u16) -> Option<&Bytes> {
        self.0.binary_search_by_key(&field, |entry| entry.0).ok().map(|index| &self.0[index].1)
    }

    /// In ascending order of the field ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u16, &Bytes)> {
        self.0.iter().map(|(field, value)| (*field, value))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the ids and values.
    pub fn payload_bytes(&self) -> usize {
        self.0.iter().map(|(_, value)| size_of::<u16>() + value.len()).sum()
    }
}

impl FromIterator<(u16, Bytes)> for FieldValues {
    fn from_iter<I: IntoIterator<Item = (u16, Bytes)>>(entries: I) -> Self {
        let mut values = Self::default();
        for (field, value) in entries {
            values.insert(field, value);
        }
        values
    }
}

/// Field ids of the contract: ascending, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldIds(SmallVec<[u16; 8]>);

impl FieldIds {
    pub fn insert(&mut self, field: u16) {
        if let Err(index) = self.0.binary_search(&field) {
            self.0.insert(index, field);
        }
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = u16> + '_ {
        self.0.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u16> for FieldIds {
    fn from_iter<I: IntoIterator<Item = u16>>(fields: I) -> Self {
        let mut ids = Self::default();
        for field in fields {
            ids.insert(field);
        }
        ids
    }
}
