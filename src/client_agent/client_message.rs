//! What a client may send (`protocol-md-ca-el.md` §3.4–§3.7), judged in exactly the order of the specification.
//!
//! A message is read to its end before anything is done (A7): one with trailing bytes changes nothing.

use super::interest_tables::InterestRequest;
use super::session::{End, Session, State};
use super::settings::Shared;
use crate::config::InterestPermission;
use crate::outbox::Outbox;
use crate::reason::Reason;
use crate::wire::{
    Channel, Doid, Encoder, MessageType, RESERVED_MAX, Reader, Truncated, Zone, is_reserved_doid, message_type as t,
};
use donet_dc::{Keywords, ValueErrorKind};

impl Session {
    /// One frame of the client.
    pub(super) fn on_client_message(&mut self, body: &[u8], shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        let mut reader = Reader::new(body);
        let message_type = reader.u16().map(MessageType);
        let is_heartbeat = message_type == Ok(t::CLIENT_HEARTBEAT);
        self.account(body.len(), is_heartbeat, shared, out)?;
        let message_type = message_type?;
        match (self.state, message_type) {
            (State::New, t::CLIENT_HELLO) => self.on_hello(reader, shared, out),
            (State::New, _) => Err(End::eject(Reason::NoHello, format!("{message_type} came before CLIENT_HELLO"))),
            (_, t::CLIENT_OBJECT_SET_FIELD) => self.on_set_field(reader, shared, out),
            (_, t::CLIENT_HEARTBEAT) => {
                finished(&reader)?;
                self.restart_heartbeat(shared, out);
                Ok(())
            }
            (_, t::CLIENT_DISCONNECT) => {
                finished(&reader)?;
                Err(End::Disconnected)
            }
            (State::Established, t::CLIENT_OBJECT_LOCATION) => self.on_location(reader, shared, out),
            (State::Established, t::CLIENT_ADD_INTEREST) => self.on_add_interest(reader, Zones::One, shared, out),
            (State::Established, t::CLIENT_ADD_INTEREST_MULTIPLE) => {
                self.on_add_interest(reader, Zones::Many, shared, out)
            }
            (State::Established, t::CLIENT_REMOVE_INTEREST) => self.on_remove_interest(reader, shared, out),
            (state, _) => {
                let text = format!("{message_type} is not accepted in state {state:?}");
                Err(End::eject(Reason::InvalidMessageType, text))
            }
        }
    }

    fn on_hello(&mut self, mut reader: Reader<'_>, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        self.restart_heartbeat(shared, out);
        let dc_hash = reader.u32()?;
        let version = reader.blob()?;
        finished(&reader)?;
        let agent = self.agent(shared);
        let expected = &agent.config.version_string;
        if version != expected.as_bytes() {
            let server =
                if agent.config.send_version { format!(": the server's is {expected}") } else { String::new() };
            return Err(End::eject(Reason::BadVersion, format!("the client's version does not match{server}")));
        }
        if dc_hash != agent.dc_hash {
            let server = if agent.config.send_hash {
                format!(": the server's is {:#010x}", agent.dc_hash)
            } else {
                String::new()
            };
            return Err(End::eject(Reason::BadDcHash, format!("the client's DC hash does not match{server}")));
        }
        self.write_message(Encoder::client(t::CLIENT_HELLO_RESP), out);
        self.change_state(State::Anonymous, out);
        self.greet(shared, out);
        Ok(())
    }

    /// The steps of §3.7, in their order.
    fn on_set_field(&mut self, mut reader: Reader<'_>, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        let doid = reader.doid()?;
        let field_id = reader.u16()?;
        let uberdog = shared.uberdogs.get(&doid);
        let known = self.objects.get(doid);
        let class_id = uberdog.map(|uberdog| uberdog.class).or_else(|| known.and_then(|known| known.class()));
        let Some(class) = class_id.and_then(|id| shared.contract.class(id)) else {
            return self.swallow_or_eject(doid, shared, out);
        };
        if self.state != State::Established && !uberdog.is_some_and(|uberdog| uberdog.anonymous) {
            let text = format!("object {doid} is not for clients that have not logged in");
            return Err(End::eject(Reason::AnonymousViolation, text));
        }
        let Some(field) = class.field(field_id) else {
            let text = format!("class {} of object {doid} has no field {field_id}", class.name());
            return Err(End::eject(Reason::ForbiddenField, text));
        };
        let keywords = field.keywords();
        let may_send = keywords.contains(Keywords::CLSEND)
            || (keywords.contains(Keywords::OWNSEND) && known.is_some_and(|known| known.owned.is_some()))
            || self.objects.is_sendable(doid, field_id);
        if !may_send {
            let text = format!("field {} ({field_id}) of object {doid} is not this client's to set", field.name());
            return Err(End::eject(Reason::ForbiddenField, text));
        }
        if let Err(error) = field.validate(reader.rest(), shared.text) {
            let reason = match error.kind() {
                ValueErrorKind::Truncated => Reason::Truncated,
                ValueErrorKind::Constraint => Reason::FieldConstraint,
                ValueErrorKind::Trailing => Reason::InvalidSize,
            };
            return Err(End::eject(reason, format!("field {} ({field_id}) of object {doid}: {error}", field.name())));
        }
        let update = Encoder::internal(&[Channel::from(doid)], self.client_id, t::STATESERVER_OBJECT_SET_FIELD)
            .doid(doid)
            .u16(field_id)
            .bytes(reader.rest());
        match update.datagram() {
            Ok(datagram) => out.publish(self.participant(), datagram),
            Err(error) => return Err(End::eject(Reason::InvalidSize, error.to_string())),
        }
        Ok(())
    }

    /// A message about an object that is not known: silently nothing if it was once, so that an update may cross the
    /// object's leaving; otherwise 117.
    fn swallow_or_eject(&self, doid: Doid, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        if !self.objects.is_historical(doid, out.now_us, self.agent(shared).historical_ttl_us) {
            return Err(End::eject(Reason::MissingObject, format!("object {doid} is not known to this client")));
        }
        out.metrics.historical_updates_swallowed += 1;
        Ok(())
    }

    fn on_location(&mut self, mut reader: Reader<'_>, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        if !self.agent(shared).config.relocate {
            return Err(End::eject(Reason::ForbiddenRelocate, "clients may not move objects here"));
        }
        let doid = reader.doid()?;
        if !self.objects.is_owned(doid) {
            // Historical comes first: the object may have been lost while the message was on its way.
            if self.objects.is_visible(doid)
                && !self.objects.is_historical(doid, out.now_us, self.agent(shared).historical_ttl_us)
            {
                return Err(End::eject(Reason::ForbiddenRelocate, format!("object {doid} is not this client's")));
            }
            return self.swallow_or_eject(doid, shared, out);
        }
        let parent = reader.doid()?;
        let zone = reader.zone()?;
        finished(&reader)?;
        if parent != 0 && is_reserved_doid(parent) {
            let text = format!("parent {parent} is reserved: real ones are above {RESERVED_MAX}");
            return Err(End::eject(Reason::ForbiddenRelocate, text));
        }
        let request = Encoder::internal(&[Channel::from(doid)], self.client_id, t::STATESERVER_OBJECT_SET_LOCATION);
        match request.doid(parent).zone(zone).datagram() {
            Ok(datagram) => out.publish(self.participant(), datagram),
            Err(error) => return Err(End::eject(Reason::InvalidSize, error.to_string())),
        }
        Ok(())
    }

    fn on_add_interest(
        &mut self,
        mut reader: Reader<'_>,
        form: Zones,
        shared: &Shared,
        out: &mut Outbox,
    ) -> Result<(), End> {
        let agent = self.agent(shared);
        if agent.interest_permission() == InterestPermission::Disabled {
            return Err(End::eject(Reason::ForbiddenInterest, "clients may not open interests here"));
        }
        let context = reader.u32()?;
        let id = reader.u16()?;
        let parent = reader.doid()?;
        let zones = match form {
            Zones::One => vec![reader.zone()?],
            Zones::Many => read_zones(&mut reader)?,
        };
        finished(&reader)?;
        let forbidden = |text: String| Err(End::eject(Reason::ForbiddenInterest, text));
        if is_reserved_doid(parent) {
            return forbidden(format!("parent {parent} is reserved"));
        }
        if agent.interest_permission() == InterestPermission::Visible && !self.knows(parent, shared) {
            return forbidden(format!("parent {parent} is not visible to this client"));
        }
        if let Some(zone) = zones.iter().find(|&&zone| !agent.allows_zone(zone)) {
            return forbidden(format!("zone {zone} is not open to clients"));
        }
        self.yield_interest_id(id);
        let agent = self.agent(shared);
        let request = self.with_auto_zones(InterestRequest::new(id, parent, zones, context, None), shared);
        if let Err(limit) = self.interests.check_limits(&request, agent) {
            return Err(End::eject(limit.reason(), limit.to_string()));
        }
        self.add_interest(request, out)
    }

    fn on_remove_interest(&mut self, mut reader: Reader<'_>, shared: &Shared, out: &mut Outbox) -> Result<(), End> {
        // In `visible` mode removal is always allowed: a parent that has vanished must not cost its tidy client the
        // session (§3.11 REC).
        if self.agent(shared).interest_permission() == InterestPermission::Disabled {
            return Err(End::eject(Reason::ForbiddenInterest, "clients may not close interests here"));
        }
        let context = reader.u32()?;
        let id = reader.u16()?;
        finished(&reader)?;
        self.yield_interest_id(id);
        if !self.interests.contains(id) {
            return Err(End::eject(Reason::UnknownInterest, format!("there is no interest {id}")));
        }
        self.remove_interest(id, context, None, out)
    }

    /// Whether the class of a doid can be looked up (§3.7).
    pub(super) fn knows(&self, doid: Doid, shared: &Shared) -> bool {
        let class_id = shared.uberdogs.get(&doid).map(|uberdog| uberdog.class);
        let class_id = class_id.or_else(|| self.objects.get(doid).and_then(|known| known.class()));
        class_id.is_some_and(|id| shared.contract.class(id).is_some())
    }
}

#[derive(Clone, Copy)]
enum Zones {
    One,
    Many,
}

/// A counted list of zones; nothing is allocated before all of them are there.
pub(super) fn read_zones(reader: &mut Reader<'_>) -> Result<Vec<Zone>, Truncated> {
    let count = usize::from(reader.u16()?);
    let (zones, _) = reader.take(count * size_of::<Zone>())?.as_chunks();
    Ok(zones.iter().map(|&zone| Zone::from_le_bytes(zone)).collect())
}

/// Refuses a client message with bytes behind its end.
fn finished(reader: &Reader<'_>) -> Result<(), End> {
    if reader.is_empty() {
        return Ok(());
    }
    Err(End::eject(Reason::InvalidSize, format!("{} bytes too many", reader.left())))
}
