//! Questions of all kinds, asked at rest: the answers must be what the model knows.

use crate::simulation::contract::{self, Value};
use crate::simulation::play::{KEEPER_CHANNEL, Play, ROOTS, Record, WANDERERS, ZONES};
use crate::simulation::wire::message;
use donet::wire::{Doid, Encoder, MessageType, Zone, message_type as t};
use std::collections::BTreeMap;

/// A message as it must come: its type and payload.
type Answer = (MessageType, Vec<u8>);

struct Payload(Vec<u8>);

impl Payload {
    fn new() -> Self {
        Self(Vec::new())
    }
    fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    fn others(self, set: BTreeMap<u16, Value>) -> Self {
        let count = self.u16(set.len() as u16);
        set.into_iter().fold(count, |payload, (field, value)| payload.u16(field).u32(value.0).u32(value.1))
    }
}

/// Asks of some objects and some parents.
pub fn check(play: &mut Play) -> Result<(), String> {
    let all: Vec<Doid> = play.things.keys().copied().collect();
    for _ in 0..4 {
        let doid = all[play.random.below(all.len())];
        ask_object(play, doid)?;
    }
    for parent in [ROOTS[play.random.below(2)], WANDERERS[play.random.below(2)]] {
        ask_parent(play, parent)?;
    }
    Ok(())
}

/// Sends a question as the second keeper; what comes must be `expected`, in any order, and nothing else.
fn ask(play: &mut Play, question: Encoder, mut expected: Vec<Answer>) -> Result<(), String> {
    play.links[1].as_mut().expect("keepers stay").answers.clear();
    play.send(1, question);
    play.rest()?;
    let answers = std::mem::take(&mut play.links[1].as_mut().expect("keepers stay").answers);
    let mut answers: Vec<Answer> = answers.iter().filter_map(|body| message(body)).collect();
    answers.sort_unstable_by(|one, other| (one.0.0, &one.1).cmp(&(other.0.0, &other.1)));
    expected.sort_unstable_by(|one, other| (one.0.0, &one.1).cmp(&(other.0.0, &other.1)));
    if answers == expected { Ok(()) } else { Err(format!("answered {answers:02x?} where {expected:02x?} is right")) }
}

fn to(doid: Doid, message_type: MessageType) -> Encoder {
    Encoder::internal(&[doid.into()], KEEPER_CHANNEL + 1, message_type)
}

fn ask_object(play: &mut Play, doid: Doid) -> Result<(), String> {
    let thing = play.things[&doid].clone();
    let context = play.random.number() as u32;
    let head = || Payload::new().u32(context).u32(doid);
    let ai = play.ai_of(doid);
    match play.random.below(8) {
        6 => {
            let (parent, zone) = thing.place;
            let answer = head().u32(parent).u32(zone).u16(contract::CLASS).u32(thing.value).u16(thing.secret);
            let answer = answer.others(play.set_fields(doid));
            let question = to(doid, t::STATESERVER_OBJECT_GET_ALL).u32(context).doid(doid);
            ask(play, question, vec![(t::STATESERVER_OBJECT_GET_ALL_RESP, answer.0)])
        }
        0 => ask(
            play,
            to(doid, t::STATESERVER_OBJECT_GET_FIELD).u32(context).doid(doid).u16(contract::VALUE),
            vec![(
                t::STATESERVER_OBJECT_GET_FIELD_RESP,
                Payload::new().u32(context).u8(1).u16(contract::VALUE).u32(thing.value).0,
            )],
        ),
        1 => {
            let question = to(doid, t::STATESERVER_OBJECT_GET_FIELDS).u32(context).doid(doid).u16(2);
            let answer = Payload::new().u32(context).u8(1).u16(2).u16(contract::VALUE).u32(thing.value);
            let answer = answer.u16(contract::SECRET).u16(thing.secret);
            ask(
                play,
                question.u16(contract::SECRET).u16(contract::VALUE),
                vec![(t::STATESERVER_OBJECT_GET_FIELDS_RESP, answer.0)],
            )
        }
        2 => ask(
            play,
            to(doid, t::STATESERVER_OBJECT_GET_LOCATION).u32(context),
            vec![(t::STATESERVER_OBJECT_GET_LOCATION_RESP, head().u32(thing.place.0).u32(thing.place.1).0)],
        ),
        3 => ask(
            play,
            to(doid, t::STATESERVER_OBJECT_GET_OWNER).u32(context),
            vec![(t::STATESERVER_OBJECT_GET_OWNER_RESP, head().u64(thing.owner).0)],
        ),
        4 => ask(
            play,
            to(doid, t::STATESERVER_OBJECT_GET_CLASS).u32(context),
            vec![(t::STATESERVER_OBJECT_GET_CLASS_RESP, head().u16(contract::CLASS).0)],
        ),
        5 => ask(
            play,
            to(doid, t::STATESERVER_OBJECT_GET_FIELD).u32(context).doid(doid).u16(999),
            vec![(t::STATESERVER_OBJECT_GET_FIELD_RESP, Payload::new().u32(context).u8(0).0)],
        ),
        _ => ask(
            play,
            to(doid, t::STATESERVER_OBJECT_GET_AI).u32(context),
            vec![(t::STATESERVER_OBJECT_GET_AI_RESP, head().u64(ai).0)],
        ),
    }
}

fn ask_parent(play: &mut Play, parent: Doid) -> Result<(), String> {
    let context = play.random.number() as u32;
    let (zone, other) = (play.random.below(ZONES) as Zone, play.random.below(ZONES) as Zone);
    let all: Vec<Doid> =
        play.things.iter().filter(|(_, thing)| thing.place.0 == parent).map(|(&doid, _)| doid).collect();
    let count = |number: usize| Payload::new().u32(context).u32(number as u32).0;
    let to = |message_type| to(parent, message_type).u32(context).doid(parent);
    match play.random.below(7) {
        0 => {
            let number = play.children_in(parent, &[zone]).len();
            let expected = vec![(t::STATESERVER_OBJECT_GET_ZONE_COUNT_RESP, count(number))];
            ask(play, to(t::STATESERVER_OBJECT_GET_ZONE_COUNT).zone(zone), expected)
        }
        1 => {
            let number = play.children_in(parent, &[zone, other]).len();
            let expected = vec![(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, count(number))];
            ask(play, to(t::STATESERVER_OBJECT_GET_ZONES_COUNT).u16(2).zone(zone).zone(other), expected)
        }
        2 => {
            let expected = vec![(t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP, count(all.len()))];
            ask(play, to(t::STATESERVER_OBJECT_GET_CHILD_COUNT), expected)
        }
        3 => {
            let mut zones: Vec<Zone> = all.iter().map(|doid| play.things[doid].place.1).collect();
            zones.sort_unstable();
            zones.dedup();
            let mut answer = Payload::new().u32(context).u16(zones.len() as u16);
            for zone in zones {
                answer = answer.u32(zone);
            }
            let question = Encoder::internal(&[parent.into()], KEEPER_CHANNEL + 1, t::STATESERVER_GET_ACTIVE_ZONES);
            ask(play, question.u32(context), vec![(t::STATESERVER_GET_ACTIVE_ZONES_RESP, answer.0)])
        }
        kind => {
            let (question, children, response) = match kind {
                4 => (
                    to(t::STATESERVER_OBJECT_GET_ZONE_OBJECTS).zone(zone),
                    play.children_in(parent, &[zone]),
                    t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP,
                ),
                5 => (
                    to(t::STATESERVER_OBJECT_GET_ZONES_OBJECTS).u16(2).zone(zone).zone(other),
                    play.children_in(parent, &[zone, other]),
                    t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP,
                ),
                _ => (to(t::STATESERVER_OBJECT_GET_CHILDREN), all, t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP),
            };
            let number = children.len();
            let mut expected = vec![(response, count(number))];
            for doid in children {
                let thing = &play.things[&doid];
                let entry = Payload::new().u32(context).u32(doid).u32(thing.place.0).u32(thing.place.1);
                let entry = entry.u16(contract::CLASS).u32(thing.value);
                expected.push(play.snapshot(doid, entry.0));
            }
            ask(play, question, expected)
        }
    }
}

impl Play {
    /// How an object answers a query, behind `head`.
    fn snapshot(&self, doid: Doid, head: Vec<u8>) -> (MessageType, Vec<u8>) {
        let set = self.set_fields(doid);
        if set.is_empty() {
            return (t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED, head);
        }
        (t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED_OTHER, Payload(head).others(set).0)
    }

    fn set_fields(&self, doid: Doid) -> BTreeMap<u16, Value> {
        self.records.get(&doid).map(Record::set_fields).unwrap_or_default()
    }
}
