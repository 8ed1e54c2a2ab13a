//! One message as a scenario compares it: header in parts, payload as bytes.
//!
//! Both headers of the protocol (`protocol-md-ca-el.md` §1.6) become the same shape, so that one set of expectations
//! serves internal links and clients. It decides nothing about what a message means.

use donet::wire::{Channel, Datagram, Doid, Encoder, MessageType, Reader};
use std::fmt;

/// Payload bytes shown in a failure.
const SHOWN_BYTES: usize = 40;

/// A received or expected message. Recipients are compared as a set.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Sorted, each once; empty for a client's message, which has none.
    recipients: Vec<Channel>,
    /// `None` for a client's message.
    sender: Option<Channel>,
    message_type: MessageType,
    payload: Vec<u8>,
}

impl Message {
    /// A message between client and Client Agent.
    pub fn client(message_type: MessageType, payload: &[u8]) -> Self {
        Self { recipients: Vec::new(), sender: None, message_type, payload: payload.to_vec() }
    }

    /// A message on the internal bus.
    pub fn internal(recipients: &[Channel], sender: Channel, message_type: MessageType, payload: &[u8]) -> Self {
        let mut recipients = recipients.to_vec();
        recipients.sort_unstable();
        recipients.dedup();
        Self { recipients, sender: Some(sender), message_type, payload: payload.to_vec() }
    }

    /// Reads a body that a client has received; `None` when it has no message type.
    pub fn read_client(body: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        let message_type = MessageType(reader.u16().ok()?);
        Some(Self::client(message_type, reader.rest()))
    }

    /// Reads a body that a link has received; `None` when its header is cut short.
    pub fn read_internal(body: &[u8]) -> Option<Self> {
        let datagram = Datagram::from_body(body).ok()?;
        let recipients: Vec<Channel> = datagram.recipients().collect();
        let (sender, message_type, payload) = datagram.message().ok()?;
        Some(Self::internal(&recipients, sender, message_type, payload.rest()))
    }

    pub fn message_type(&self) -> MessageType {
        self.message_type
    }

    pub fn is(&self, message_type: MessageType) -> bool {
        self.message_type == message_type
    }

    /// The sender, or 0 for a client's message.
    pub fn sender(&self) -> Channel {
        self.sender.unwrap_or_default()
    }

    pub fn recipients(&self) -> &[Channel] {
        &self.recipients
    }

    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// A cursor over the payload.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.payload)
    }

    /// The payload's first four bytes: the object, in every message that begins with one.
    pub fn doid(&self) -> Option<Doid> {
        self.reader().doid().ok()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.message_type)?;
        if let Some(sender) = self.sender {
            write!(formatter, " to {:?} from {sender}", self.recipients)?;
        }
        write!(formatter, ", {} bytes:", self.payload.len())?;
        for byte in self.payload.iter().take(SHOWN_BYTES) {
            write!(formatter, " {byte:02x}")?;
        }
        if self.payload.len() > SHOWN_BYTES {
            formatter.write_str(" …")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// A payload under construction, with the names of [`Encoder`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload(Vec<u8>);

impl Payload {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    #[must_use]
    pub fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    #[must_use]
    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    /// A `str` or `blob`.
    ///
    /// # Panics
    /// Beyond 65,535 bytes: a scenario that wants an impossible length writes its bytes itself.
    #[must_use]
    pub fn blob(self, value: &[u8]) -> Self {
        self.u16(u16::try_from(value.len()).expect("a length in 16 bits")).bytes(value)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::ops::Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A whole internal datagram as a frame.
///
/// # Panics
/// When it does not fit a frame: scenarios choose their sizes.
pub fn internal_frame(recipients: &[Channel], sender: Channel, message_type: MessageType, payload: &[u8]) -> Vec<u8> {
    let encoder = Encoder::internal(recipients, sender, message_type).bytes(payload);
    encoder.finish().expect("a scenario's message fits a frame").to_vec()
}

/// A whole client message as a frame.
///
/// # Panics
/// As [`internal_frame`].
pub fn client_frame(message_type: MessageType, payload: &[u8]) -> Vec<u8> {
    Encoder::client(message_type).bytes(payload).finish().expect("a scenario's message fits a frame").to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use donet::wire::message_type as t;

    #[test]
    fn what_is_sent_reads_back_as_what_is_expected() {
        let payload = Payload::new().u32(7).u16(1).u8(9).blob(b"x");
        let frame = internal_frame(&[9, 7, 9], 5, t::STATESERVER_OBJECT_SET_FIELD, &payload);
        let read = Message::read_internal(&frame[2..]).unwrap();
        assert_eq!(read, Message::internal(&[7, 9], 5, t::STATESERVER_OBJECT_SET_FIELD, &payload));
        assert_eq!((read.doid(), read.sender(), read.recipients()), (Some(7), 5, &[7, 9][..]));
        let frame = client_frame(t::CLIENT_OBJECT_SET_FIELD, &payload);
        assert_eq!(Message::read_client(&frame[2..]), Some(Message::client(t::CLIENT_OBJECT_SET_FIELD, &payload)));
    }

    #[test]
    fn a_body_without_a_whole_header_is_no_message() {
        assert_eq!(Message::read_client(&[1]), None);
        assert_eq!(Message::read_internal(&[]), None);
        assert_eq!(Message::read_internal(&[1, 0, 0]), None);
        assert_eq!(Message::read_internal(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1]), None);
    }

    #[test]
    fn messages_name_themselves() {
        let text = Message::internal(&[4], 5, t::CLIENTAGENT_EJECT, &[118, 0]).to_string();
        assert_eq!(text, "CLIENTAGENT_EJECT (1004) to [4] from 5, 2 bytes: 76 00");
    }
}
