//! The objects of the load: their numbers, where they are, and the messages about them.

use crate::calls::Heard;
use crate::contract::{FieldId, Names};
use crate::daemon::numbers;
use crate::failure::{Failure, ensure};
use donet::wire::{Channel, Doid, Encoder, MessageType, Zone, message_type as t};

/// Objects that stay, and are asked whether what came before them has been served: with them a server of up to some
/// sixteen executors has one on each.
pub(crate) const PROBES: u32 = 64;
const ROOT: Doid = 299_999_999;
const FIRST_PROBE: Doid = 299_000_000;
const FIRST_OBJECT: Doid = 300_000_000;

/// Where the numbers come from.
#[derive(Debug)]
pub(crate) struct World {
    /// Who plays their AI.
    caller: Channel,
    objects: u32,
    zone_size: u32,
    root: u16,
    crate_class: u16,
    state: FieldId,
    values: Vec<u8>,
}

impl World {
    /// Of a contract that has the classes of `contracts/objects.dc`.
    pub(crate) fn new(names: &Names, caller: Channel, objects: u32, zone_size: u32) -> Result<Self, Failure> {
        let fields = ["setKind", "setX", "setY", "setCount", "setState"];
        let values = fields.iter().map(|field| Ok(names.default_value(names.field("Crate", field)?)));
        Ok(Self {
            caller,
            objects,
            zone_size,
            root: names.class("Root")?,
            crate_class: names.class("Crate")?,
            state: names.field("Crate", "setState")?,
            values: values.collect::<Result<Vec<_>, Failure>>()?.concat(),
        })
    }

    /// The default of the field that is read.
    pub(crate) const FRESH: u32 = 5;

    pub(crate) fn probe(number: u32) -> Doid {
        FIRST_PROBE + number
    }

    pub(crate) fn object(number: u32) -> Doid {
        FIRST_OBJECT + number
    }

    /// The number of an object.
    pub(crate) fn number(doid: Doid) -> Option<u32> {
        doid.checked_sub(FIRST_OBJECT)
    }

    /// An object for a call, from all over.
    pub(crate) fn scattered(&self, call: u64) -> Doid {
        let mixed = (call + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        Self::object(((mixed * u64::from(self.objects)) >> 32) as u32)
    }

    /// How many zones the objects have at home: 1 and those that follow. The probes are in zone 0.
    pub(crate) fn zones(&self) -> u32 {
        self.objects.div_ceil(self.zone_size)
    }

    /// The zone in which an object is made.
    pub(crate) fn home(&self, doid: Doid) -> Zone {
        1 + (doid - FIRST_OBJECT) / self.zone_size
    }

    /// What is said of objects in the first zone is said on this channel.
    pub(crate) fn first_location(&self) -> Channel {
        (Channel::from(ROOT) << 32) | 1
    }

    fn message(&self, recipient: Channel, message_type: MessageType) -> Encoder {
        Encoder::internal(&[recipient], self.caller, message_type)
    }

    pub(crate) fn create_root(&self) -> Encoder {
        let create = self.message(numbers::STATE_SERVER, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED);
        create.doid(ROOT).doid(0).zone(0).u16(self.root)
    }

    pub(crate) fn create(&self, doid: Doid, zone: Zone) -> Encoder {
        let create = self.message(numbers::STATE_SERVER, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED);
        create.doid(doid).doid(ROOT).zone(zone).u16(self.crate_class).bytes(&self.values)
    }

    pub(crate) fn delete(&self, doid: Doid) -> Encoder {
        self.message(doid.into(), t::STATESERVER_OBJECT_DELETE_RAM).doid(doid)
    }

    pub(crate) fn get(&self, doid: Doid, context: u32) -> Encoder {
        self.message(doid.into(), t::STATESERVER_OBJECT_GET_FIELD).u32(context).doid(doid).u16(self.state.0)
    }

    pub(crate) fn set(&self, doid: Doid, value: u32) -> Encoder {
        self.message(doid.into(), t::STATESERVER_OBJECT_SET_FIELD).doid(doid).u16(self.state.0).u32(value)
    }

    pub(crate) fn set_location(&self, doid: Doid, zone: Zone) -> Encoder {
        self.message(doid.into(), t::STATESERVER_OBJECT_SET_LOCATION).doid(ROOT).zone(zone)
    }

    pub(crate) fn zone_query(&self, zone: Zone, context: u32) -> Encoder {
        self.message(ROOT.into(), t::STATESERVER_OBJECT_GET_ZONE_OBJECTS).u32(context).doid(ROOT).zone(zone)
    }

    /// The answer to [`World::get`] of a field that has not been set since: the call that it completes.
    pub(crate) fn answer(&self, heard: Heard<'_>) -> Result<Option<u64>, Failure> {
        let (context, value) = self.value(heard)?;
        ensure(value == Self::FRESH, || format!("question {context} was answered with {value}"))?;
        Ok(Some(context.into()))
    }

    /// The answer to [`World::get`]: its context, and the value.
    pub(crate) fn value(&self, heard: Heard<'_>) -> Result<(u32, u32), Failure> {
        let Heard { message_type, mut payload, .. } = heard;
        let bytes = payload.rest();
        let (context, found) = (payload.u32()?, payload.u8()?);
        let as_it_should = message_type == t::STATESERVER_OBJECT_GET_FIELD_RESP
            && found == 1
            && payload.u16()? == self.state.0
            && payload.rest().len() == size_of::<u32>();
        ensure(as_it_should, || format!("{} was answered {message_type}, {bytes:02x?}", self.caller))?;
        Ok((context, payload.u32()?))
    }
}
