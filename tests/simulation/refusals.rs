//! Somebody who does everything wrong: messages that must be refused, or that mean nothing (`protocol-ss-dbss-db.md` §1.4,
//! §2.3, §2.12, §9).
//!
//! What it sends would be noticed by the others if it had an effect: its values are nobody's, its places and channels are
//! nowhere. It hears exactly the answers that there are, and the State Server counts exactly these refusals.

use crate::simulation::cast::{CREWS, KEEPERS, Link, NOBODY, ORDINARY, ROOTS, SECRET};
use crate::simulation::contract;
use crate::simulation::play::Play;
use crate::simulation::wire::{Answer, Payload};
use donet::wire::{Channel, Doid, Encoder, MessageType, message_type as t};

/// Nobody has it, and whoever hears it would have to be told by this.
const POISON: u32 = 0xdead_beef;
/// An AI of no object.
const NO_AI: Channel = CREWS + KEEPERS as Channel + 1;
/// A message type that is none.
const NO_TYPE: MessageType = MessageType(2998);

pub struct Fool {
    pub link: Link,
}

/// A message that goes wrong.
struct Wrong {
    to: Channel,
    message_type: MessageType,
    payload: Payload,
    /// How many executors refuse it.
    refusals: u64,
    answer: Option<Answer>,
}

impl Fool {
    pub const CHANNEL: Channel = 800_000;

    pub fn new(link: Link) -> Self {
        Self { link }
    }
}

impl Wrong {
    /// Nothing comes of it, not even a refusal.
    fn unheard(to: impl Into<Channel>, message_type: MessageType, payload: Payload) -> Self {
        Self { to: to.into(), message_type, payload, refusals: 0, answer: None }
    }

    fn refused(to: impl Into<Channel>, message_type: MessageType, payload: Payload) -> Self {
        Self { refusals: 1, ..Self::unheard(to, message_type, payload) }
    }

    fn answered(to: Doid, question: (MessageType, Payload), answer: (MessageType, Payload)) -> Self {
        Self { answer: Some((answer.0, answer.1.0)), ..Self::unheard(to, question.0, question.1) }
    }

    /// Ends before it should.
    fn cut(mut self, bytes: usize) -> Self {
        self.payload.0.truncate(bytes);
        self.answer = None;
        self
    }
}

impl Play {
    /// An object that was there at the last rest, and stays until the next.
    fn reliable(&mut self) -> Doid {
        let stays = |doid: &Doid| !(60_000..70_000).contains(doid);
        let settled = self.things.iter().filter(|(doid, thing)| thing.is_settled && stays(doid));
        let all: Vec<Doid> = settled.map(|(&doid, _)| doid).collect();
        let doid = all[self.random.below(all.len())];
        self.things.get_mut(&doid).expect("drawn").is_pinned = true;
        doid
    }

    pub fn fool_acts(&mut self) {
        if !self.things[&ROOTS[0]].is_settled {
            return;
        }
        let doid = self.reliable();
        let wrong = match self.random.below(7) {
            0 | 1 => self.wrong_creation(doid),
            2 => self.truncated(doid),
            3 => self.wrong_field(doid),
            4 => self.for_somebody_else(doid),
            5 => self.of_a_stranger(doid),
            _ => self.at_a_childless(doid),
        };
        self.play_wrong(wrong);
    }

    fn play_wrong(&mut self, wrong: Wrong) {
        self.refused += wrong.refusals;
        if wrong.message_type == NO_TYPE {
            self.unknown += 1;
        }
        self.fool.link.expected.extend(wrong.answer);
        let message = Encoder::internal(&[wrong.to], Fool::CHANNEL, wrong.message_type).bytes(&wrong.payload.0);
        self.send_as_fool(message);
    }

    /// A doid that exists, no doid, no class, a value that is none, too little: there is no object of it, and whoever has or
    /// takes the doid is not touched.
    fn wrong_creation(&mut self, existing: Doid) -> Wrong {
        let free = if self.random.below(2) == 0 { NOBODY } else { self.next_doid };
        let with_other = self.random.below(2) == 0;
        let message_type = match with_other {
            true => t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER,
            false => t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED,
        };
        let server = self.things[&existing].server;
        let control = self.control(server);
        let head = |doid: Doid, class: u16| Payload::new().u32(doid).u32(ROOTS[0]).u32(1).u16(class);
        let whole = |head: Payload, secret: u16| head.u32(POISON).u16(secret);
        let paired = |payload: Payload| match with_other {
            true => payload.u16(1).u16(contract::PAIRED).u32(POISON).u32(POISON),
            false => payload,
        };
        let payload = match self.random.below(7) {
            0 => paired(whole(head(0, contract::CLASS), SECRET)),
            1 => paired(whole(head(existing, contract::CLASS), SECRET)),
            2 => paired(whole(head(free, contract::STRUCT), SECRET)),
            3 => paired(whole(head(free, 999), SECRET)),
            4 => paired(whole(head(free, contract::CLASS), contract::SECRET_MAX + 1)),
            5 if with_other => {
                let payload = whole(head(free, contract::CLASS), SECRET).u16(1).u16(contract::SECRET);
                payload.u16(contract::SECRET_MAX + 1)
            }
            _ => {
                let payload = paired(whole(head(free, contract::CLASS), SECRET));
                let bytes = self.random.below(payload.0.len());
                return Wrong::refused(control, message_type, payload).cut(bytes);
            }
        };
        Wrong::refused(control, message_type, payload)
    }

    /// A message of any kind, right but for its end.
    fn truncated(&mut self, doid: Doid) -> Wrong {
        let (context, zone) = (self.random.number() as u32, self.zone());
        let field = |payload: Payload| payload.u32(doid).u16(contract::SHARED);
        let value = |payload: Payload| payload.u32(POISON).u32(POISON);
        let new = Payload::new;
        let place = || new().u32(doid).u32(zone);
        let asked = || new().u32(context);
        let kinds = [
            (t::STATESERVER_OBJECT_SET_FIELD, value(field(new()))),
            (t::STATESERVER_OBJECT_SET_FIELDS, value(new().u32(doid).u16(1).u16(contract::SHARED))),
            (t::STATESERVER_OBJECT_GET_FIELD, field(asked())),
            (t::STATESERVER_OBJECT_GET_FIELDS, asked().u32(doid).u16(1).u16(contract::VALUE)),
            (t::STATESERVER_OBJECT_GET_ALL, asked().u32(doid)),
            (t::STATESERVER_OBJECT_GET_CLASS, asked()),
            (t::STATESERVER_OBJECT_DELETE_FIELD_RAM, field(new())),
            (t::STATESERVER_OBJECT_DELETE_FIELDS_RAM, new().u32(doid).u16(1).u16(contract::SHARED)),
            (t::STATESERVER_OBJECT_DELETE_RAM, new().u32(doid)),
            (t::STATESERVER_OBJECT_SET_LOCATION, new().u32(ROOTS[0]).u32(zone)),
            (t::STATESERVER_OBJECT_CHANGING_LOCATION, place().u32(doid).u32(zone).u32(NOBODY)),
            (t::STATESERVER_OBJECT_GET_LOCATION, asked()),
            (t::STATESERVER_OBJECT_GET_LOCATION_RESP, asked().u32(NOBODY).u32(doid).u32(zone)),
            (t::STATESERVER_OBJECT_LOCATION_ACK, place()),
            (t::STATESERVER_OBJECT_SET_AI, new().u64(NO_AI)),
            (t::STATESERVER_OBJECT_CHANGING_AI, new().u32(ROOTS[0]).u64(NO_AI).u64(NO_AI)),
            (t::STATESERVER_OBJECT_GET_AI, asked()),
            (t::STATESERVER_OBJECT_GET_AI_RESP, asked().u32(ROOTS[0]).u64(NO_AI)),
            (t::STATESERVER_OBJECT_SET_OWNER, new().u64(Fool::CHANNEL)),
            (t::STATESERVER_OBJECT_GET_OWNER, asked()),
            (t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, asked().u32(doid).u32(zone)),
            (t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, asked().u32(doid).u16(2).u32(zone).u32(zone + 1)),
            (t::STATESERVER_OBJECT_GET_CHILDREN, asked().u32(doid)),
            (t::STATESERVER_OBJECT_GET_ZONE_COUNT, asked().u32(doid).u32(zone)),
            (t::STATESERVER_OBJECT_GET_ZONES_COUNT, asked().u32(doid).u16(1).u32(zone)),
            (t::STATESERVER_OBJECT_GET_CHILD_COUNT, asked().u32(doid)),
            (t::STATESERVER_GET_ACTIVE_ZONES, asked()),
            (t::STATESERVER_OBJECT_DELETE_ZONE, place()),
            (t::STATESERVER_OBJECT_DELETE_ZONES, new().u32(doid).u16(2).u32(zone).u32(zone + 1)),
            (t::STATESERVER_OBJECT_DELETE_CHILDREN, new().u32(doid)),
            (t::STATESERVER_DELETE_AI_OBJECTS, new().u64(NO_AI)),
        ];
        let number = self.random.below(kinds.len());
        let (message_type, payload) = kinds.into_iter().nth(number).expect("drawn of them");
        let bytes = self.random.below(payload.0.len());
        if message_type == t::STATESERVER_DELETE_AI_OBJECTS && self.random.below(2) == 0 {
            // Every executor is told.
            let server = self.things[&doid].server;
            let (control, refusals) = (self.tree.control_of(server), self.tree.executors_of(server) as u64);
            return Wrong { refusals, ..Wrong::refused(control, message_type, payload).cut(bytes) };
        }
        Wrong::refused(doid, message_type, payload).cut(bytes)
    }

    /// Fields that the object does not have, or has no value for, and values that its fields do not take.
    fn wrong_field(&mut self, doid: Doid) -> Wrong {
        let context = self.random.number() as u32;
        let unknown = [999, contract::OF_STRUCT, u16::MAX][self.random.below(3)];
        let new = Payload::new;
        let bad = |payload: Payload| payload.u16(contract::SECRET).u16(contract::SECRET_MAX + 1);
        let poison = |payload: Payload| payload.u32(POISON).u32(POISON);
        let get = |payload: Payload| (t::STATESERVER_OBJECT_GET_FIELD, payload);
        let get_all = |payload: Payload| (t::STATESERVER_OBJECT_GET_FIELDS, payload);
        let none = || (t::STATESERVER_OBJECT_GET_FIELD_RESP, new().u32(context).u8(0));
        let question = || new().u32(context).u32(doid);
        match self.random.below(11) {
            0 => Wrong::refused(doid, t::STATESERVER_OBJECT_SET_FIELD, poison(new().u32(doid).u16(unknown))),
            1 => Wrong::refused(doid, t::STATESERVER_OBJECT_SET_FIELD, bad(new().u32(doid))),
            2 => {
                let payload = bad(new().u32(doid).u16(2)).u16(contract::SHARED);
                Wrong::refused(doid, t::STATESERVER_OBJECT_SET_FIELDS, poison(payload))
            }
            3 => {
                let payload = poison(new().u32(doid).u16(2).u16(unknown)).u16(contract::SHARED);
                Wrong::refused(doid, t::STATESERVER_OBJECT_SET_FIELDS, poison(payload))
            }
            4 => Wrong::refused(doid, t::STATESERVER_OBJECT_DELETE_FIELD_RAM, new().u32(doid).u16(unknown)),
            5 => {
                let payload = new().u32(doid).u16(2).u16(unknown).u16(contract::SHARED);
                Wrong::refused(doid, t::STATESERVER_OBJECT_DELETE_FIELDS_RAM, payload)
            }
            // Required without a default, never set, not kept.
            6 => {
                let payload = new().u32(doid).u16(3).u16(contract::VALUE).u16(contract::BULK).u16(contract::PING);
                Wrong::unheard(doid, t::STATESERVER_OBJECT_DELETE_FIELDS_RAM, payload)
            }
            7 => Wrong::answered(doid, get(question().u16(unknown)), none()),
            8 => {
                let field = [contract::BULK, contract::PING][self.random.below(2)];
                Wrong::answered(doid, get(question().u16(field)), none())
            }
            9 => Wrong::answered(
                doid,
                get_all(question().u16(2).u16(contract::VALUE).u16(unknown)),
                (t::STATESERVER_OBJECT_GET_FIELDS_RESP, new().u32(context).u8(0)),
            ),
            _ => Wrong::answered(
                doid,
                get_all(question().u16(3).u16(contract::PING).u16(contract::BULK).u16(contract::PING)),
                (t::STATESERVER_OBJECT_GET_FIELDS_RESP, new().u32(context).u8(1).u16(0)),
            ),
        }
    }

    /// What names another object than the one that it reaches, and what reaches none.
    fn for_somebody_else(&mut self, doid: Doid) -> Wrong {
        let context = self.random.number() as u32;
        let new = Payload::new;
        let field = |payload: Payload| payload.u32(NOBODY).u16(contract::SHARED);
        let kinds = [
            (t::STATESERVER_OBJECT_SET_FIELD, field(new()).u32(POISON).u32(POISON)),
            (t::STATESERVER_OBJECT_SET_FIELDS, new().u32(NOBODY).u16(1).u16(contract::VALUE).u32(POISON)),
            (t::STATESERVER_OBJECT_GET_FIELD, field(new().u32(context))),
            (t::STATESERVER_OBJECT_GET_FIELDS, new().u32(context).u32(NOBODY).u16(1).u16(contract::VALUE)),
            (t::STATESERVER_OBJECT_GET_ALL, new().u32(context).u32(NOBODY)),
            (t::STATESERVER_OBJECT_DELETE_FIELD_RAM, field(new())),
            (t::STATESERVER_OBJECT_DELETE_FIELDS_RAM, new().u32(NOBODY).u16(1).u16(contract::SHARED)),
            (t::STATESERVER_OBJECT_DELETE_RAM, new().u32(NOBODY)),
        ];
        let number = self.random.below(kinds.len());
        let (message_type, payload) = kinds.into_iter().nth(number).expect("drawn of them");
        Wrong::unheard(if self.random.below(3) == 0 { NOBODY } else { doid }, message_type, payload)
    }

    /// What only a parent, a child or an AI of the object could say, and what no object understands.
    fn of_a_stranger(&mut self, doid: Doid) -> Wrong {
        let (context, zone) = (2000, self.zone());
        let new = Payload::new;
        let stranger = || new().u32(NOBODY);
        let asked = || new().u32(context).u32(NOBODY);
        let kinds = [
            (t::STATESERVER_OBJECT_CHANGING_AI, stranger().u64(NO_AI).u64(0)),
            (t::STATESERVER_OBJECT_GET_AI_RESP, asked().u64(NO_AI)),
            (t::STATESERVER_OBJECT_LOCATION_ACK, stranger().u32(zone)),
            (t::STATESERVER_OBJECT_CHANGING_LOCATION, stranger().u32(NOBODY + 1).u32(1).u32(NOBODY + 2).u32(1)),
            (t::STATESERVER_OBJECT_GET_LOCATION_RESP, asked().u32(doid).u32(zone)),
            (t::STATESERVER_OBJECT_DELETE_CHILDREN, stranger()),
            (t::STATESERVER_OBJECT_DELETE_ZONE, stranger().u32(zone)),
            (t::STATESERVER_OBJECT_DELETE_ZONES, stranger().u16(1).u32(zone)),
            (t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, asked().u32(zone)),
            (t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, asked().u16(1).u32(zone)),
            (t::STATESERVER_OBJECT_GET_CHILDREN, asked()),
            (t::STATESERVER_OBJECT_GET_ZONE_COUNT, asked().u32(zone)),
            (t::STATESERVER_OBJECT_GET_ZONES_COUNT, asked().u16(1).u32(zone)),
            (t::STATESERVER_OBJECT_GET_CHILD_COUNT, asked()),
            (t::STATESERVER_DELETE_AI_OBJECTS, new().u64(NO_AI)),
            (t::STATESERVER_DELETE_AI_OBJECTS, new().u64(0)),
            // Its own parent it cannot be.
            (t::STATESERVER_OBJECT_SET_LOCATION, new().u32(doid).u32(zone)),
            (t::STATESERVER_OBJECT_GET_ALL_RESP, asked()),
            (t::STATESERVER_OBJECT_CHANGING_OWNER, stranger().u64(1).u64(2)),
            (t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, stranger()),
            (NO_TYPE, stranger()),
        ];
        let number = self.random.below(kinds.len());
        let (message_type, payload) = kinds.into_iter().nth(number).expect("drawn of them");
        let is_for_all = message_type == t::STATESERVER_DELETE_AI_OBJECTS && self.random.below(2) == 0;
        let to = if is_for_all { self.control_of_all() } else { doid.into() };
        Wrong::unheard(to, message_type, payload)
    }

    /// Questions about children that there are none of, and the value that something has already.
    fn at_a_childless(&mut self, doid: Doid) -> Wrong {
        let (context, zone) = (self.random.number() as u32, self.zone());
        if !ORDINARY.contains(&doid) {
            // The first of the roots is nowhere and nobody's, and its AI never changes.
            let root = ROOTS[0];
            let (message_type, payload) = match self.random.below(3) {
                0 => (t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(0).u32(0)),
                1 => (t::STATESERVER_OBJECT_SET_OWNER, Payload::new().u64(0)),
                _ => (t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(self.things[&root].ai.unwrap_or_default())),
            };
            return Wrong::unheard(root, message_type, payload);
        }
        let asked = || Payload::new().u32(context).u32(doid);
        let none = |message_type| (message_type, Payload::new().u32(context).u32(0));
        let zones = |payload: Payload| payload.u16(2).u32(zone).u32(zone);
        let (question, answer) = match self.random.below(9) {
            0 => (
                (t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, asked().u32(zone)),
                none(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP),
            ),
            1 => (
                (t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones(asked())),
                none(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP),
            ),
            2 => ((t::STATESERVER_OBJECT_GET_CHILDREN, asked()), none(t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP)),
            3 => (
                (t::STATESERVER_OBJECT_GET_ZONE_COUNT, asked().u32(zone)),
                none(t::STATESERVER_OBJECT_GET_ZONE_COUNT_RESP),
            ),
            4 => (
                (t::STATESERVER_OBJECT_GET_ZONES_COUNT, zones(asked())),
                none(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP),
            ),
            5 => ((t::STATESERVER_OBJECT_GET_CHILD_COUNT, asked()), none(t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP)),
            6 => (
                (t::STATESERVER_GET_ACTIVE_ZONES, Payload::new().u32(context)),
                (t::STATESERVER_GET_ACTIVE_ZONES_RESP, Payload::new().u32(context).u16(0)),
            ),
            7 => {
                let payload = zones(Payload::new().u32(doid));
                return Wrong::unheard(doid, t::STATESERVER_OBJECT_DELETE_ZONES, payload);
            }
            _ => return Wrong::unheard(doid, t::STATESERVER_OBJECT_DELETE_CHILDREN, Payload::new().u32(doid)),
        };
        Wrong::answered(doid, question, answer)
    }
}
