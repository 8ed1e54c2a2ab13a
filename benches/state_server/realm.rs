//! One executor's State Server without a daemon: what it publishes to objects comes back to it, what it publishes to
//! anybody else is counted and dropped.

use donet::outbox::{Action, Outbox, Participant, RoleMessage};
use donet::state_server::{FanOutLimits, StateServer};
use donet::wire::{Channel, Datagram, Doid, Encoder, MessageType, Zone, message_type as t};
use donet_dc::{Contract, Options, Source, TextPolicy};
use donet_shards::{ConnectionId, ShardId};
use std::collections::VecDeque;
use std::sync::Arc;

/// Five small fields, all `required broadcast ram`: 10 bytes packed.
const CONTRACT: &str = "dclass Thing {
    setX(int16) required broadcast ram;
    setY(int16) required broadcast ram;
    setHeading(int16) required broadcast ram;
    setHealth(uint16) required broadcast ram;
    setMood(uint16) required broadcast ram;
};";
pub const CLASS: u16 = 0;
pub const SET_HEALTH: u16 = 3;
pub const PARENT: Doid = 5000;
pub const FIRST: Doid = 1_000_000;
pub const AI: Channel = 400_000_000;
const ASKER: Channel = 77;
const CHILDREN_CHANNELS: Channel = 1 << 32;

pub struct Realm {
    state_server: StateServer,
    out: Outbox,
    queue: VecDeque<(Participant, Datagram)>,
    /// Datagrams for locations, AIs and askers.
    pub left: u64,
}

impl Realm {
    pub fn new() -> Self {
        let contract = Contract::parse(&[Source::new("bench.dc", CONTRACT)], &Options::default()).expect("it is valid");
        let mut realm = Self {
            state_server: StateServer::new(Arc::new(contract), TextPolicy::Utf8, FanOutLimits::default()),
            out: Outbox::new(ShardId(0), 1),
            queue: VecDeque::new(),
            left: 0,
        };
        for parent in [PARENT, PARENT + 1] {
            realm.control(&create(parent, (0, 0)));
        }
        realm
    }

    /// A realm whose first parent has so many children in so many zones.
    pub fn with_children(children: u32, zones: u32) -> Self {
        let mut realm = Self::new();
        for child in 0..children {
            realm.control(&create(FIRST + child, (PARENT, child % zones)));
        }
        realm
    }

    pub fn objects(&self) -> usize {
        self.state_server.live_objects()
    }

    /// Handles a message to the control channel, and all that follows from it.
    pub fn control(&mut self, datagram: &Datagram) {
        self.state_server.on_control(datagram, &mut self.out);
        self.settle();
    }

    /// Handles a message to an object, and all that follows from it.
    pub fn object(&mut self, datagram: &Datagram) {
        let link = Participant::Link { shard: ShardId(0), connection: ConnectionId(1) };
        self.state_server.on_datagram(datagram, link, &mut self.out);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            let mut wants_slice = false;
            let mut messages = VecDeque::new();
            for action in self.out.drain() {
                match action {
                    Action::Publish { from, datagram } => {
                        if datagram.recipients().any(|recipient| recipient < 2 * CHILDREN_CHANNELS) {
                            self.queue.push_back((from, datagram));
                        } else {
                            self.left += 1;
                        }
                    }
                    Action::ToShard { message: RoleMessage::StateServer(message), .. } => messages.push_back(message),
                    Action::Timer { .. } => wants_slice = true,
                    other => panic!("not an action of a State Server: {other:?}"),
                }
            }
            for message in messages {
                self.state_server.on_message(ShardId(0), message, &mut self.out);
            }
            if let Some((from, datagram)) = self.queue.pop_front() {
                self.state_server.on_datagram(&datagram, from, &mut self.out);
            }
            if wants_slice {
                self.state_server.on_slice(&mut self.out);
            }
            if self.out.is_empty() && self.queue.is_empty() {
                return;
            }
        }
    }
}

pub fn create(doid: Doid, location: (Doid, Zone)) -> Datagram {
    let create = t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED;
    let header = Encoder::internal(&[102_000], AI, create).doid(doid).doid(location.0).zone(location.1).u16(CLASS);
    header.u16(1).u16(2).u16(3).u16(4).u16(5).datagram().expect("it is short")
}

fn to(doid: Doid, message_type: MessageType) -> Encoder {
    Encoder::internal(&[doid.into()], ASKER, message_type)
}

pub fn delete(doid: Doid) -> Datagram {
    to(doid, t::STATESERVER_OBJECT_DELETE_RAM).doid(doid).datagram().expect("it is short")
}

pub fn set_ai(doid: Doid) -> Datagram {
    to(doid, t::STATESERVER_OBJECT_SET_AI).channel(AI).datagram().expect("it is short")
}

pub fn set_field(doid: Doid, value: u16) -> Datagram {
    let message = to(doid, t::STATESERVER_OBJECT_SET_FIELD).doid(doid).u16(SET_HEALTH).u16(value);
    message.datagram().expect("it is short")
}

pub fn get_field(doid: Doid) -> Datagram {
    let message = to(doid, t::STATESERVER_OBJECT_GET_FIELD).u32(1).doid(doid).u16(SET_HEALTH);
    message.datagram().expect("it is short")
}

pub fn get_all(doid: Doid) -> Datagram {
    to(doid, t::STATESERVER_OBJECT_GET_ALL).u32(1).doid(doid).datagram().expect("it is short")
}

pub fn set_location(doid: Doid, location: (Doid, Zone)) -> Datagram {
    let message = to(doid, t::STATESERVER_OBJECT_SET_LOCATION).doid(location.0).zone(location.1);
    message.datagram().expect("it is short")
}

pub fn zone_query(zone: Zone) -> Datagram {
    let message = to(PARENT, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS).u32(1).doid(PARENT).zone(zone);
    message.datagram().expect("it is short")
}

pub fn delete_ai_objects() -> Datagram {
    let message = Encoder::internal(&[102_000], ASKER, t::STATESERVER_DELETE_AI_OBJECTS).channel(AI);
    message.datagram().expect("it is short")
}

/// Doids all over the realm, so that each is as cold as in a world of its size.
pub fn scattered(objects: u32, count: u32) -> impl Iterator<Item = Doid> {
    (0..count).map(move |index| FIRST + (u64::from(index) * 2_654_435_761 % u64::from(objects)) as u32)
}
