//! A process of the cluster, an AI or an UberDOG, on a link to a Message Director.
//!
//! It puts what such a process says into frames (`protocol-md-ca-el.md` §2.3); what it says and when is the scenario's.

use crate::failure::Failure;
use crate::message::{Payload, internal_frame};
use crate::peer::{Dialect, Hub, Peer};
use crate::wait;
use donet::wire::{Channel, Encoder, MessageType, message_type as t};
use std::net::SocketAddr;
use std::ops::Deref;

/// A link, with the channel that it sends as. Receiving is the [`Peer`]'s.
#[derive(Clone, Debug)]
pub struct Internal {
    peer: Peer,
    channel: Channel,
}

impl Deref for Internal {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl Internal {
    /// Connects, and subscribes the channel that the process is reached at.
    ///
    /// # Errors
    /// When the connection is refused.
    pub fn connect(hub: &Hub, name: &str, address: SocketAddr, channel: Channel) -> Result<Self, Failure> {
        let link = Self { peer: hub.connect(name, address, Dialect::Internal)?, channel };
        link.control(t::CONTROL_SET_CON_NAME, &Payload::new().blob(name.as_bytes()));
        link.subscribe(channel);
        Ok(link)
    }

    /// The channel that the process sends as.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Sends a control message.
    pub fn control(&self, message_type: MessageType, payload: &[u8]) {
        let frame = Encoder::control(message_type).bytes(payload).finish();
        self.send(&frame.expect("a scenario's message fits a frame"));
    }

    pub fn subscribe(&self, channel: Channel) {
        self.control(t::CONTROL_ADD_CHANNEL, &Payload::new().u64(channel));
    }

    pub fn unsubscribe(&self, channel: Channel) {
        self.control(t::CONTROL_REMOVE_CHANNEL, &Payload::new().u64(channel));
    }

    /// Leaves a datagram that is routed when this link ends.
    pub fn post_remove(&self, key: Channel, recipients: &[Channel], message_type: MessageType, payload: &[u8]) {
        let frame = internal_frame(recipients, self.channel, message_type, payload);
        self.control(t::CONTROL_ADD_POST_REMOVE, &Payload::new().u64(key).blob(&frame[2..]));
    }

    pub fn clear_post_removes(&self, key: Channel) {
        self.control(t::CONTROL_CLEAR_POST_REMOVES, &Payload::new().u64(key));
    }

    /// Sends an event to the Event Logger by way of the Message Director.
    pub fn log(&self, packed_event: &[u8]) {
        self.control(t::CONTROL_LOG_MESSAGE, &Payload::new().blob(packed_event));
    }

    /// Sends a datagram in this process's own name.
    pub fn publish(&self, recipients: &[Channel], message_type: MessageType, payload: &[u8]) {
        self.send(&internal_frame(recipients, self.channel, message_type, payload));
    }

    /// Speaks on a channel until another link hears it: its subscription is in effect all the way between the two. The
    /// listener has heard all of it when this returns; what else it hears meanwhile is passed over.
    ///
    /// # Errors
    /// When the listener never hears.
    pub fn until_heard(&self, listener: &Internal, channel: Channel) -> Result<(), Failure> {
        const PROBE: MessageType = MessageType(60_999);
        const LAST: &[u8] = b"last";
        let what = format!("{} to hear {}", listener.name(), self.name());
        wait::until(&what, || {
            self.publish(&[channel], PROBE, b"");
            self.flush()?;
            Ok(listener.try_next()?.is_some_and(|message| message.is(PROBE)))
        })?;
        self.publish(&[channel], PROBE, LAST);
        listener.until("the last probe", |message| message.payload() == LAST).map(|_| ())
    }
}
