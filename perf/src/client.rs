//! A client of the game, on a connection to a Client Agent (`protocol-md-ca-el.md` §3.6).
//!
//! It puts what a client says into frames; what it says and when is the scenario's.

use crate::failure::{Failure, ensure};
use crate::message::{Message, Payload, client_frame};
use crate::net::End;
use crate::peer::{Dialect, Hub, Peer};
use donet::wire::{Doid, MessageType, Zone, message_type as t};
use std::net::SocketAddr;
use std::ops::Deref;

/// A client connection. Receiving is the [`Peer`]'s.
#[derive(Clone, Debug)]
pub struct Client {
    peer: Peer,
}

impl Deref for Client {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Client {
    /// # Errors
    /// When the connection is refused.
    pub fn connect(hub: &Hub, name: &str, address: SocketAddr) -> Result<Self, Failure> {
        Ok(Self { peer: hub.connect(name, address, Dialect::Client)? })
    }

    /// Sends one message.
    pub fn tell(&self, message_type: MessageType, payload: &[u8]) {
        self.send(&client_frame(message_type, payload));
    }

    pub fn say_hello(&self, dc_hash: u32, version: &str) {
        self.tell(t::CLIENT_HELLO, &Payload::new().u32(dc_hash).blob(version.as_bytes()));
    }

    /// Says hello, and takes the answer: exactly one, and empty.
    ///
    /// # Errors
    /// When the answer is another.
    pub fn hello(&self, dc_hash: u32, version: &str) -> Result<(), Failure> {
        self.say_hello(dc_hash, version);
        self.expect_message("the answer to hello", &Message::client(t::CLIENT_HELLO_RESP, &[]))
    }

    pub fn set_field(&self, doid: Doid, field: u16, value: &[u8]) {
        self.tell(t::CLIENT_OBJECT_SET_FIELD, &Payload::new().u32(doid).u16(field).bytes(value));
    }

    pub fn set_location(&self, doid: Doid, parent: Doid, zone: Zone) {
        self.tell(t::CLIENT_OBJECT_LOCATION, &Payload::new().u32(doid).u32(parent).u32(zone));
    }

    pub fn add_interest(&self, context: u32, interest: u16, parent: Doid, zones: &[Zone]) {
        let head = Payload::new().u32(context).u16(interest).u32(parent);
        match zones {
            [zone] => self.tell(t::CLIENT_ADD_INTEREST, &head.u32(*zone)),
            zones => {
                let count = u16::try_from(zones.len()).expect("a scenario's zones fit a frame");
                let body = zones.iter().fold(head.u16(count), |body, &zone| body.u32(zone));
                self.tell(t::CLIENT_ADD_INTEREST_MULTIPLE, &body);
            }
        }
    }

    pub fn remove_interest(&self, context: u32, interest: u16) {
        self.tell(t::CLIENT_REMOVE_INTEREST, &Payload::new().u32(context).u16(interest));
    }

    pub fn heartbeat(&self) {
        self.tell(t::CLIENT_HEARTBEAT, &[]);
    }

    pub fn disconnect(&self) {
        self.tell(t::CLIENT_DISCONNECT, &[]);
    }

    /// An eject with this code as the next message, then the end of the stream and nothing between. Returns the reason
    /// text, which must not be empty.
    ///
    /// # Errors
    /// When anything else happens.
    pub fn expect_eject(&self, code: u16) -> Result<String, Failure> {
        let what = format!("an eject with code {code}");
        let message = self.expect(&what, |message| message.is(t::CLIENT_EJECT))?;
        let mut reader = message.reader();
        let seen = reader.u16()?;
        let reason = reader.blob()?;
        ensure(reader.is_empty(), || format!("{}: bytes after the reason: {message}", self.name()))?;
        let reason = String::from_utf8(reason.to_vec())
            .map_err(|error| Failure::new(format!("{}: the reason is no text: {error}", self.name())))?;
        ensure(seen == code, || format!("{} awaited {what}, got code {seen}: {reason}", self.name()))?;
        ensure(!reason.is_empty(), || format!("{}: an eject without a reason", self.name()))?;
        let end = self.expect_end("the end of the stream after the eject")?;
        ensure(end == End::EndOfFile, || format!("{}: the stream ended with {end:?}", self.name()))?;
        Ok(reason)
    }
}
