//! Making a stored object live (`protocol-ss-dbss-db.md` §3.4).

use super::{DatabaseStateServer, DbssTimer, Incoming};
use crate::outbox::{Outbox, Participant, RoleTimer};
use crate::state_server::{Activation, StateServer, Values, parts};
use crate::wire::message_type as t;
use crate::wire::{Channel, Datagram, Doid, Reader, Truncated, Zone};
use donet_dc::{FieldKind, Keywords, ValueError};
use smallvec::{SmallVec, smallvec};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;

/// The most loads of one partition at a time.
const LOADS_MAX: usize = 100_000;

/// A doid whose stored fields have been asked for.
#[derive(Debug)]
pub struct Load {
    pub number: u64,
    /// The answer that completes it.
    context: u32,
    wanted: Wanted,
    /// What came meanwhile, in the order of arrival.
    kept: VecDeque<(Datagram, Participant)>,
}

/// How a stored object is to become live.
#[derive(Debug)]
struct Wanted {
    parent: Doid,
    zone: Zone,
    /// The S of the object's CHANGING_LOCATION.
    sender: Channel,
    /// The class that the activator expects, if it named one.
    class: Option<u16>,
    /// Values that count instead of stored ones.
    overrides: BTreeMap<u16, Vec<u8>>,
}

/// Why stored fields cannot become an object.
#[derive(Debug, thiserror::Error)]
pub enum StoredRefused {
    #[error("the database has no such object")]
    Missing,
    #[error(transparent)]
    Truncated(#[from] Truncated),
    #[error("class {0} is not in the contract")]
    UnknownClass(u16),
    #[error("it is of class {stored}, not of class {wanted}")]
    OtherClass { stored: u16, wanted: u16 },
    #[error("class {class} has no field {field}")]
    UnknownField { class: String, field: u16 },
    #[error("field {field} of class {class}: {error}")]
    Value { class: String, field: String, error: ValueError },
}

/// The stored values of one object, by the slots of its class.
pub struct Stored<'a> {
    pub class: u16,
    given: SmallVec<[Option<&'a [u8]>; 32]>,
}

impl DatabaseStateServer {
    /// ACTIVATE_WITH_DEFAULTS, and with `other` the one that names a class and brings values.
    pub(super) fn on_activate(
        &mut self,
        incoming: &Incoming,
        is_live: bool,
        other: bool,
        out: &mut Outbox,
    ) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let (doid, parent, zone) = (payload.doid()?, payload.doid()?, payload.zone()?);
        let class = other.then(|| payload.u16()).transpose()?;
        if !self.may_load(incoming, doid, is_live, out) {
            return Ok(());
        }
        let overrides = class.map_or(Ok(BTreeMap::new()), |class| self.read_overrides(&mut payload, class, out.now_us));
        match overrides {
            Ok(overrides) => {
                let wanted = Wanted { parent, zone, sender: self.settings.db_channel, class, overrides };
                self.start_load(incoming, wanted, out);
            }
            Err(refusal) => self.refuse(incoming, refusal, out),
        }
        Ok(())
    }

    /// A location for an object that is not live makes it live, where the configuration says so (§9 AMB-1).
    pub(super) fn on_location(&mut self, incoming: &Incoming, out: &mut Outbox) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let (parent, zone) = (payload.doid()?, payload.zone()?);
        if self.settings.activate_on_location && parent != 0 {
            let wanted = Wanted { parent, zone, sender: incoming.sender, class: None, overrides: BTreeMap::new() };
            self.start_load(incoming, wanted, out);
        }
        Ok(())
    }

    fn may_load(&mut self, incoming: &Incoming, doid: Doid, is_live: bool, out: &mut Outbox) -> bool {
        if doid == incoming.doid && is_live {
            self.refuse(incoming, "it is live already", out);
        }
        doid == incoming.doid && !is_live
    }

    /// Reads the OTHER section of an activation. Unlike that of a creation it may hold `required` fields.
    fn read_overrides(
        &mut self,
        payload: &mut Reader,
        class: u16,
        now_us: u64,
    ) -> Result<BTreeMap<u16, Vec<u8>>, StoredRefused> {
        let contract = self.contract.clone();
        let class = contract.class(class).ok_or(StoredRefused::UnknownClass(class))?;
        let mut overrides = BTreeMap::new();
        for _ in 0..payload.u16()? {
            let id = payload.u16()?;
            let Some(field) = class.field(id) else {
                let line =
                    format_args!("OTHER is ignored from field {id} on, which class {} does not have", class.name());
                self.refusals.note(now_us, line);
                break;
            };
            let refused =
                |error| StoredRefused::Value { class: class.name().to_owned(), field: field.name().to_owned(), error };
            if !field.keywords().intersects(Keywords::RAM | Keywords::REQUIRED) {
                tracing::debug!(class = class.name(), field = field.name(), "not stored: neither ram nor required");
                payload.take(field.skip(payload.rest()).map_err(refused)?)?;
                continue;
            }
            let value = payload.take(field.validate_prefix(payload.rest(), self.text).map_err(refused)?)?;
            if field.kind() != FieldKind::Molecular {
                overrides.insert(id, value.to_vec());
                continue;
            }
            let mut rest = value;
            for part in parts(class, field) {
                let (value, after) = rest.split_at(part.skip(rest).map_err(refused)?);
                overrides.insert(part.id(), value.to_vec());
                rest = after;
            }
        }
        Ok(overrides)
    }

    /// Asks the database for the object, unless somebody's GET_ALL has done so: one answer then serves both.
    fn start_load(&mut self, incoming: &Incoming, wanted: Wanted, out: &mut Outbox) {
        let doid = incoming.doid;
        if self.loads.len() >= LOADS_MAX {
            self.refuse(incoming, "too many objects are being loaded", out);
            return;
        }
        let context = self.requests.open_all(doid).unwrap_or_else(|| {
            let context = self.requests.next_context();
            self.ask_for_object(context, doid, out);
            context
        });
        let number = self.next_load;
        self.next_load += 1;
        let timeout_us = u64::try_from(self.settings.load_timeout.as_micros()).unwrap_or(u64::MAX);
        let timer = DbssTimer { role: self.index, doid, load: number };
        out.timer(out.now_us.saturating_add(timeout_us), RoleTimer::Dbss(timer));
        self.loads.insert(doid, Load { number, context, wanted, kept: VecDeque::new() });
    }

    pub(super) fn ask_for_object(&self, context: u32, doid: Doid, out: &mut Outbox) {
        let mut body = [0; 8];
        body[..4].copy_from_slice(&context.to_le_bytes());
        body[4..].copy_from_slice(&doid.to_le_bytes());
        self.send_to_database(out, doid, t::DBSERVER_OBJECT_GET_ALL, &body);
    }

    /// Keeps what came for a doid that is being loaded. Beyond the configured number it is lost.
    pub(super) fn keep_for_later(&mut self, doid: Doid, datagram: &Datagram, from: Participant, out: &mut Outbox) {
        let Some(load) = self.loads.get_mut(&doid) else { return };
        if load.kept.len() < self.settings.load_queue_max {
            load.kept.push_back((datagram.clone(), from));
            return;
        }
        let line = format_args!("a message to object {doid} is lost: too many wait for it to be loaded");
        self.refusals.refuse(out, line);
    }

    /// The database's answer to a load, to somebody's GET_ALL, or to both.
    pub(super) fn on_object_reply(
        &mut self,
        incoming: &Incoming,
        state_server: &mut StateServer,
        out: &mut Outbox,
    ) -> Result<(), Truncated> {
        let mut payload = incoming.payload;
        let context = payload.u32()?;
        self.answer_get_all(incoming.doid, context, payload, out);
        if self.loads.get(&incoming.doid).is_some_and(|load| load.context == context) {
            self.finish_load(incoming.doid, payload, state_server, out);
        }
        Ok(())
    }

    fn finish_load(&mut self, doid: Doid, reply: Reader, state_server: &mut StateServer, out: &mut Outbox) {
        let Some(load) = self.loads.get(&doid) else { return };
        let wanted = &load.wanted;
        let made = self.read_stored(reply).and_then(|stored| match wanted.class {
            Some(class) if class != stored.class => {
                Err(StoredRefused::OtherClass { stored: stored.class, wanted: class })
            }
            _ => Ok((stored.class, self.object_values(&stored, &wanted.overrides))),
        });
        let (class, values) = match made {
            Ok(made) => made,
            Err(refusal) => return self.fail_load(doid, refusal, state_server, out),
        };
        let Some(Load { wanted, kept, .. }) = self.loads.remove(&doid) else { return };
        let Wanted { parent, zone, sender, .. } = wanted;
        if !state_server.activate(Activation { doid, class, parent, zone, values, sender }, out) {
            tracing::warn!(doid, "created by other means while it was being loaded");
        }
        self.replay(doid, kept, state_server, out);
    }

    /// The object stays as it was: not live. Nobody is told; what was kept finds it so.
    pub(super) fn fail_load(
        &mut self,
        doid: Doid,
        reason: impl Display,
        state_server: &mut StateServer,
        out: &mut Outbox,
    ) {
        let Some(load) = self.loads.remove(&doid) else { return };
        self.refusals.refuse(out, format_args!("object {doid} cannot be made live: {reason}"));
        self.replay(doid, load.kept, state_server, out);
    }

    /// Hands on what was kept, in order, each to the object and then to the role. One of these may begin a new load, and
    /// the rest waits for that.
    fn replay(
        &mut self,
        doid: Doid,
        kept: VecDeque<(Datagram, Participant)>,
        state_server: &mut StateServer,
        out: &mut Outbox,
    ) {
        for (datagram, from) in kept {
            state_server.on_message_at(doid, datagram.body(), from, out);
            self.on_datagram_at(doid, &datagram, from, state_server, out);
        }
    }

    /// Reads a GET_ALL_RESP of the database behind its context.
    ///
    /// # Errors
    /// [`StoredRefused`]; a single value that the contract does not allow is enough (§9 AMB-13).
    pub(super) fn read_stored<'a>(&self, mut reply: Reader<'a>) -> Result<Stored<'a>, StoredRefused> {
        if !reply.bool()? {
            return Err(StoredRefused::Missing);
        }
        let class_id = reply.u16()?;
        let (Some(class), Some(layout)) = (self.contract.class(class_id), self.layouts.get(class_id)) else {
            return Err(StoredRefused::UnknownClass(class_id));
        };
        let mut given = smallvec![None; layout.slots().len()];
        for _ in 0..reply.u16()? {
            let id = reply.u16()?;
            let Some(field) = class.field(id) else {
                return Err(StoredRefused::UnknownField { class: class.name().to_owned(), field: id });
            };
            let used = field.validate_prefix(reply.rest(), self.text).map_err(|error| StoredRefused::Value {
                class: class.name().to_owned(),
                field: field.name().to_owned(),
                error,
            })?;
            let value = reply.take(used)?;
            if let Some(slot) = layout.slot_of(id) {
                given[slot] = Some(value);
            }
        }
        Ok(Stored { class: class_id, given })
    }

    /// The values of an object: an override, else what is stored, else the default of a required field.
    pub(super) fn object_values(&self, stored: &Stored, overrides: &BTreeMap<u16, Vec<u8>>) -> Values {
        let (Some(class), Some(layout)) = (self.contract.class(stored.class), self.layouts.get(stored.class)) else {
            unreachable!("read_stored has looked the class up");
        };
        let mut given: SmallVec<[Option<&[u8]>; 32]> = stored.given.iter().copied().collect();
        for (index, (slot, value)) in layout.slots().iter().zip(&mut given).enumerate() {
            if let Some(overriding) = overrides.get(&slot.field) {
                *value = Some(overriding);
            } else if value.is_none() && layout.is_required(index) {
                *value = class.field(slot.field).map(|field| field.default_value());
            }
        }
        Values::new(&given)
    }
}
