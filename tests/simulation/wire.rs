//! Frames in and out of a simulated world, and what is noted of them for a replay.

use bytes::Bytes;
use donet::wire::{Datagram, Encoder, MessageType, Reader, next_frame};
use std::cell::RefCell;

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
pub fn message(body: &[u8]) -> Option<(MessageType, Vec<u8>)> {
    let datagram = Datagram::from_body(body).ok()?;
    let (_, message_type, payload): (_, _, Reader<'_>) = datagram.message().ok()?;
    Some((message_type, payload.rest().to_vec()))
}
