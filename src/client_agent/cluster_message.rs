//! What the cluster may send to a session (`protocol-md-ca-el.md` §3.8, §3.10).
//!
//! A datagram is decoded once, with the client messages that follow from it, and then given to each session that it
//! reaches. These messages come from the trusted side: a mistake is logged and costs the client nothing.

use super::client_message::read_zones;
use super::objects::Location;
use super::session::{End, Session, State, ip_text};
use super::settings::Shared;
use super::visibility::{Entry, Leaving, ObjectEvent};
use crate::outbox::{Action, Outbox};
use crate::reason::Reason;
use crate::wire::{
    CONTROL, Channel, Datagram, Doid, Encoder, FrameTooLong, MessageType, Reader, Truncated, Zone, message_type as t,
};
use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

/// A message that a session understands.
#[derive(Debug)]
pub(super) enum ClusterMessage<'a> {
    SetState(u16),
    SetClientId(Channel),
    SendDatagram(Bytes),
    Eject { code: u16, text: &'a [u8] },
    Drop,
    GetNetworkAddress { context: u32 },
    GetTlvs { context: u32 },
    DeclareObject { doid: Doid, class: u16 },
    UndeclareObject(Doid),
    AddSessionObject(Doid),
    RemoveSessionObject(Doid),
    SetFieldsSendable { doid: Doid, fields: SmallVec<[u16; 8]> },
    OpenChannel(Channel),
    CloseChannel(Channel),
    AddPostRemove(&'a [u8]),
    ClearPostRemoves,
    AddInterest { id: u16, parent: Doid, zones: Vec<Zone> },
    RemoveInterest { id: u16 },
    Object(ObjectEvent),
    SnapshotEntry { context: u32, entry: Entry },
    Count { context: u32, count: u32 },
    OwnerChanged { doid: Doid, new_owner: Channel },
    OwnerEntry(Entry),
    ClassOf { context: u32, doid: Doid, class: u16 },
}

/// Why a message to a session is ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DecodeError {
    #[error(transparent)]
    Truncated(#[from] Truncated),
    #[error(transparent)]
    FrameTooLong(#[from] FrameTooLong),
}

impl<'a> ClusterMessage<'a> {
    /// `None` for a type that sessions do not know.
    pub(super) fn decode(message_type: MessageType, mut payload: Reader<'a>) -> Result<Option<Self>, DecodeError> {
        use ClusterMessage as M;
        let reader = &mut payload;
        Ok(Some(match message_type {
            t::STATESERVER_OBJECT_SET_FIELD => M::Object(update(t::CLIENT_OBJECT_SET_FIELD, reader)?),
            t::STATESERVER_OBJECT_SET_FIELDS => M::Object(update(t::CLIENT_OBJECT_SET_FIELDS, reader)?),
            t::STATESERVER_OBJECT_CHANGING_LOCATION => M::Object(changing_location(reader)?),
            t::STATESERVER_OBJECT_DELETE_RAM => M::Object(ObjectEvent::Delete(Leaving::new(reader.doid()?))),
            t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED => {
                M::Object(ObjectEvent::Entry(entry(t::CLIENT_ENTER_OBJECT_REQUIRED, reader)?))
            }
            t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER => {
                M::Object(ObjectEvent::Entry(entry(t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER, reader)?))
            }
            t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED => {
                M::SnapshotEntry { context: reader.u32()?, entry: entry(t::CLIENT_ENTER_OBJECT_REQUIRED, reader)? }
            }
            t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED_OTHER => M::SnapshotEntry {
                context: reader.u32()?,
                entry: entry(t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER, reader)?,
            },
            t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP => M::Count { context: reader.u32()?, count: reader.u32()? },
            t::STATESERVER_OBJECT_CHANGING_OWNER => {
                M::OwnerChanged { doid: reader.doid()?, new_owner: reader.channel()? }
            }
            t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED => {
                M::OwnerEntry(entry(t::CLIENT_ENTER_OBJECT_REQUIRED_OWNER, reader)?)
            }
            t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED_OTHER => {
                M::OwnerEntry(entry(t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER_OWNER, reader)?)
            }
            t::STATESERVER_OBJECT_GET_CLASS_RESP => {
                M::ClassOf { context: reader.u32()?, doid: reader.doid()?, class: reader.u16()? }
            }
            t::CLIENTAGENT_SET_STATE => M::SetState(reader.u16()?),
            t::CLIENTAGENT_SET_CLIENT_ID => M::SetClientId(reader.channel()?),
            t::CLIENTAGENT_SEND_DATAGRAM => M::SendDatagram(frame(&[], reader.blob()?)?),
            t::CLIENTAGENT_EJECT => M::Eject { code: reader.u16()?, text: reader.blob()? },
            t::CLIENTAGENT_DROP => M::Drop,
            t::CLIENTAGENT_GET_NETWORK_ADDRESS => M::GetNetworkAddress { context: reader.u32()? },
            t::CLIENTAGENT_GET_TLVS => M::GetTlvs { context: reader.u32()? },
            t::CLIENTAGENT_DECLARE_OBJECT => M::DeclareObject { doid: reader.doid()?, class: reader.u16()? },
            t::CLIENTAGENT_UNDECLARE_OBJECT => M::UndeclareObject(reader.doid()?),
            t::CLIENTAGENT_ADD_SESSION_OBJECT => M::AddSessionObject(reader.doid()?),
            t::CLIENTAGENT_REMOVE_SESSION_OBJECT => M::RemoveSessionObject(reader.doid()?),
            t::CLIENTAGENT_SET_FIELDS_SENDABLE => {
                let doid = reader.doid()?;
                let count = usize::from(reader.u16()?);
                let (fields, _) = reader.take(count * size_of::<u16>())?.as_chunks();
                M::SetFieldsSendable { doid, fields: fields.iter().map(|&field| u16::from_le_bytes(field)).collect() }
            }
            t::CLIENTAGENT_OPEN_CHANNEL => M::OpenChannel(reader.channel()?),
            t::CLIENTAGENT_CLOSE_CHANNEL => M::CloseChannel(reader.channel()?),
            t::CLIENTAGENT_ADD_POST_REMOVE => M::AddPostRemove(reader.blob()?),
            t::CLIENTAGENT_CLEAR_POST_REMOVES => M::ClearPostRemoves,
            t::CLIENTAGENT_ADD_INTEREST => {
                M::AddInterest { id: reader.u16()?, parent: reader.doid()?, zones: vec![reader.zone()?] }
            }
            t::CLIENTAGENT_ADD_INTEREST_MULTIPLE => {
                M::AddInterest { id: reader.u16()?, parent: reader.doid()?, zones: read_zones(reader)? }
            }
            t::CLIENTAGENT_REMOVE_INTEREST => M::RemoveInterest { id: reader.u16()? },
            _ => return Ok(None),
        }))
    }
}

/// A frame of exactly these bytes, allocated once.
fn frame(head: &[u8], rest: &[u8]) -> Result<Bytes, FrameTooLong> {
    let body_bytes = head.len() + rest.len();
    let length = u16::try_from(body_bytes).map_err(|_| FrameTooLong { body_bytes })?;
    let mut frame = BytesMut::with_capacity(size_of::<u16>() + body_bytes);
    frame.put_u16_le(length);
    frame.put_slice(head);
    frame.put_slice(rest);
    Ok(frame.freeze())
}

/// The same payload as a client message: from the doid on, both protocols lay these messages out alike.
fn relay(message_type: MessageType, payload: &[u8]) -> Result<Bytes, FrameTooLong> {
    frame(&message_type.0.to_le_bytes(), payload)
}

fn update(message_type: MessageType, reader: &mut Reader<'_>) -> Result<ObjectEvent, DecodeError> {
    let payload = reader.rest();
    let doid = reader.doid()?;
    // The field, or how many there are.
    reader.u16()?;
    Ok(ObjectEvent::Update { doid, frame: relay(message_type, payload)? })
}

fn location(reader: &mut Reader<'_>) -> Result<Location, Truncated> {
    Ok(Location { parent: reader.doid()?, zone: reader.zone()? })
}

fn entry(message_type: MessageType, reader: &mut Reader<'_>) -> Result<Entry, DecodeError> {
    let payload = reader.rest();
    let (doid, location, class) = (reader.doid()?, location(reader)?, reader.u16()?);
    Ok(Entry { doid, location, class, frame: relay(message_type, payload)? })
}

fn changing_location(reader: &mut Reader<'_>) -> Result<ObjectEvent, DecodeError> {
    let payload = reader.rest();
    let (doid, to) = (reader.doid()?, location(reader)?);
    // The old location follows; clients are told the new one.
    let frame = relay(t::CLIENT_OBJECT_LOCATION, &payload[..payload.len() - reader.left()])?;
    Ok(ObjectEvent::Move { to, frame, leaving: Leaving::new(doid), in_sight: true })
}

impl Session {
    /// A message of the cluster, in any state. The session's own come back to it by its subscriptions and are ignored.
    pub(super) fn on_cluster_message(
        &mut self,
        sender: Channel,
        message: &ClusterMessage<'_>,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        use ClusterMessage as M;
        if sender == self.client_id {
            if let M::Object(ObjectEvent::Move { to, .. }) = message
                && let M::Object(event) = message
            {
                self.on_own_move(event.doid(), *to);
                self.avatar_is_at(event.doid(), *to, shared, out)?;
            }
            return Ok(());
        }
        match message {
            M::Object(event) => {
                self.on_object_event(event, shared, out)?;
                // As it comes: what is held back of it is the past when it is let out.
                if let ObjectEvent::Move { to, .. } = event {
                    self.avatar_is_at(event.doid(), *to, shared, out)?;
                }
                return self.bound_buffers(shared, out);
            }
            M::SnapshotEntry { context, entry } => {
                self.on_snapshot_entry(*context, entry, shared, out)?;
                return self.bound_buffers(shared, out);
            }
            M::Count { context, count } => return self.on_count(*context, *count, shared, out),
            M::OwnerChanged { doid, new_owner } => return self.on_owner_changed(*doid, *new_owner, shared, out),
            M::OwnerEntry(entry) => {
                self.on_owner_entry(entry, out);
                return self.avatar_is_at(entry.doid, entry.location, shared, out);
            }
            M::ClassOf { context, doid, class } => return self.on_class_of(*context, *doid, *class, shared, out),
            M::AddInterest { id, parent, zones } => {
                return self.add_interest_for(sender, (*id, *parent, zones), shared, out);
            }
            M::RemoveInterest { id } => return self.remove_interest_for(sender, *id, out),
            M::Eject { code, text } => {
                return Err(End::Eject { reason: Reason::EjectedByApplication, code: *code, text: text.to_vec() });
            }
            M::Drop => return Err(End::Dropped),
            M::SetState(state) => self.set_state(*state, out),
            M::SetClientId(client_id) => self.set_client_id(*client_id, out),
            M::SendDatagram(frame) => self.write(frame.clone(), out),
            M::GetNetworkAddress { context } => self.reply_network_address(sender, *context, out),
            M::GetTlvs { context } => {
                // Empty without a PROXY header.
                let reply = Encoder::internal(&[sender], self.client_id, t::CLIENTAGENT_GET_TLVS_RESP);
                self.reply(reply.u32(*context).blob(&self.origin.tlvs), out);
            }
            M::DeclareObject { doid, class } => self.declare_object(*doid, *class, shared),
            M::UndeclareObject(doid) => {
                let was_there = self.objects.undeclare(*doid);
                self.expect(was_there, *doid, "an object is undeclared that was not declared");
            }
            M::AddSessionObject(doid) => {
                let is_new = self.objects.add_session_object(*doid);
                self.expect(is_new, *doid, "a session object is added again");
            }
            M::RemoveSessionObject(doid) => {
                let was_there = self.objects.remove_session_object(*doid);
                self.expect(was_there, *doid, "a session object is removed that was none");
            }
            M::SetFieldsSendable { doid, fields } => self.objects.set_sendable(*doid, fields.clone()),
            M::OpenChannel(channel) => self.subscribe(*channel, out),
            M::CloseChannel(channel) => self.unsubscribe(*channel, out),
            M::AddPostRemove(body) => self.add_post_remove(body, out),
            M::ClearPostRemoves => {
                out.push(Action::ClearPostRemoves { participant: self.participant(), key: self.channel });
            }
        }
        Ok(())
    }

    /// Logs an AI's mistake.
    fn expect(&self, is_as_expected: bool, doid: Doid, mistake: &str) {
        if !is_as_expected {
            tracing::warn!(session = self.channel, doid, "{mistake}");
        }
    }

    /// Interests, objects and permissions stay (§3.4).
    fn set_state(&mut self, state: u16, out: &mut Outbox) {
        let state = match state {
            0 => State::New,
            1 => State::Anonymous,
            2 => State::Established,
            _ => {
                tracing::warn!(session = self.channel, state, "a state that does not exist; ignored");
                return;
            }
        };
        self.change_state(state, out);
        self.was_established |= self.state == State::Established;
    }

    /// The allocated channel stays subscribed for ever.
    fn set_client_id(&mut self, client_id: Channel, out: &mut Outbox) {
        if self.client_id != self.channel {
            self.unsubscribe(self.client_id, out);
        }
        self.client_id = client_id;
        self.subscribe(client_id, out);
    }

    fn declare_object(&mut self, doid: Doid, class: u16, shared: &Shared) {
        if shared.contract.class(class).is_none() {
            tracing::warn!(session = self.channel, doid, class, "an object of an unknown class is declared; ignored");
            return;
        }
        let is_new = self.objects.declare(doid, class);
        self.expect(is_new, doid, "an object is declared again");
    }

    fn reply_network_address(&self, asker: Channel, context: u32, out: &mut Outbox) {
        let reply = Encoder::internal(&[asker], self.client_id, t::CLIENTAGENT_GET_NETWORK_ADDRESS_RESP)
            .u32(context)
            .blob(ip_text(self.origin.peer).as_bytes())
            .u16(self.origin.peer.port())
            .blob(ip_text(self.origin.local).as_bytes())
            .u16(self.origin.local.port());
        self.reply(reply, out);
    }

    fn reply(&self, reply: Encoder, out: &mut Outbox) {
        out.publish(self.participant(), reply.datagram().expect("a short message fits a frame"));
    }

    fn add_post_remove(&self, body: &[u8], out: &mut Outbox) {
        let is_control = |datagram: Datagram| datagram.recipients().eq([CONTROL]);
        if Datagram::from_body(body).is_ok_and(is_control) {
            tracing::warn!(
                session = self.channel,
                "a post-remove to channel 1 alone would be a control message; refused"
            );
            return;
        }
        let body = Bytes::copy_from_slice(body);
        out.push(Action::AddPostRemove { participant: self.participant(), key: self.channel, body });
    }
}
