//! Frames in and out of a simulated world, and what is noted of them for a replay.

use crate::simulation::contract::Value;
use bytes::Bytes;
use donet::wire::{Datagram, Encoder, MessageType, Reader, next_frame};
use std::cell::RefCell;
use std::collections::BTreeMap;

thread_local! {
    static TRACE: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Begins to note what happens on this thread, or stops, and returns what was noted.
pub fn trace(on: bool) -> Vec<String> {
    TRACE.with_borrow_mut(|trace| std::mem::replace(trace, on.then(Vec::new))).unwrap_or_default()
}

/// Notes a line, if anybody wants it.
pub fn note(line: impl FnOnce() -> String) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(trace) = trace {
            trace.push(line());
        }
    });
}

pub fn frame(encoder: Encoder) -> Bytes {
    encoder.finish().expect("small")
}

/// The bodies of the whole frames in `unread`; what is left stays.
pub fn bodies(unread: &mut Vec<u8>) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let mut used = 0;
    while let Some((body, length)) = next_frame(&unread[used..]) {
        bodies.push(body.to_vec());
        used += length;
    }
    unread.drain(..used);
    bodies
}

/// A message as it must come: its type and payload.
pub type Answer = (MessageType, Vec<u8>);

/// A payload, field by field.
pub struct Payload(pub Vec<u8>);

impl Payload {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    pub fn value(self, value: Value) -> Self {
        self.u32(value.0).u32(value.1)
    }

    pub fn others(self, set: BTreeMap<u16, Value>) -> Self {
        let count = self.u16(set.len() as u16);
        set.into_iter().fold(count, |payload, (field, value)| payload.u16(field).value(value))
    }
}

/// Some text unless the same messages came as were due, in whatever order.
pub fn compare(mut came: Vec<Answer>, mut due: Vec<Answer>) -> Result<(), String> {
    for messages in [&mut came, &mut due] {
        messages.sort_unstable_by(|one, other| (one.0.0, &one.1).cmp(&(other.0.0, &other.1)));
    }
    if came == due { Ok(()) } else { Err(format!("answered {came:02x?} where {due:02x?} is right")) }
}

/// A frame of a link, for a reader.
pub fn describe_internal(body: &[u8]) -> String {
    let Ok(datagram) = Datagram::from_body(body) else { return format!("{body:02x?}") };
    let to: Vec<u64> = datagram.recipients().collect();
    if to == [1] {
        let mut reader = Reader::new(&body[9..]);
        let message_type = reader.u16().map(MessageType);
        return format!("control {message_type:?} {:02x?}", reader.rest());
    }
    match datagram.message() {
        Ok((sender, message_type, payload)) => format!("{message_type} {sender}→{to:?} {:02x?}", payload.rest()),
        Err(_) => format!("{to:?} and nothing more"),
    }
}

/// A frame of a client, for a reader.
pub fn describe_client(body: &[u8]) -> String {
    let mut reader = Reader::new(body);
    match reader.u16() {
        Ok(number) => format!("{} {:02x?}", MessageType(number), reader.rest()),
        Err(_) => format!("{body:02x?}"),
    }
}

/// Reads a message of a role.
pub fn message(body: &[u8]) -> Option<Answer> {
    let datagram = Datagram::from_body(body).ok()?;
    let (_, message_type, payload): (_, _, Reader<'_>) = datagram.message().ok()?;
    Some((message_type, payload.rest().to_vec()))
}
