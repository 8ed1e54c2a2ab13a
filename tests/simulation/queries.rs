//! Questions of all kinds, asked at rest: the answers must be what the model knows.

use crate::simulation::cast::{KEEPER_CHANNEL, ROOTS, Record};
use crate::simulation::contract::{self, Value};
use crate::simulation::play::Play;
use crate::simulation::wire::{Answer, Payload, compare, message};
use donet::wire::{Channel, Doid, Encoder, MessageType, Zone, children_channel, message_type as t};
use std::collections::BTreeMap;

/// Asks of some objects and some parents.
pub fn check(play: &mut Play) -> Result<(), String> {
    let all: Vec<Doid> = play.things.keys().copied().collect();
    for _ in 0..4 {
        let doid = all[play.random.below(all.len())];
        ask_object(play, doid)?;
    }
    for parent in [ROOTS[play.random.below(2)], play.some_parent()] {
        ask_parent(play, parent)?;
    }
    Ok(())
}

/// Sends a question as the second keeper; what comes must be `expected`, in any order, and nothing else.
fn ask(play: &mut Play, question: Encoder, expected: Vec<Answer>) -> Result<(), String> {
    play.links[1].as_mut().expect("keepers stay").answers.clear();
    play.send(1, question);
    play.rest()?;
    let answers = std::mem::take(&mut play.links[1].as_mut().expect("keepers stay").answers);
    compare(answers.iter().filter_map(|body| message(body)).collect(), expected)
}

fn to(recipient: impl Into<Channel>, message_type: MessageType) -> Encoder {
    Encoder::internal(&[recipient.into()], KEEPER_CHANNEL + 1, message_type)
}

fn ask_object(play: &mut Play, doid: Doid) -> Result<(), String> {
    let thing = play.things[&doid].clone();
    let context = play.random.number() as u32;
    let head = || Payload::new().u32(context).u32(doid);
    let ai = play.ai_of(doid);
    match play.random.below(9) {
        8 => ask_child(play, doid, context),
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

/// A child that is asked by its own channel answers for itself. What has no parent answers for parent 0, and was never
/// acknowledged by it (SS-50).
fn ask_child(play: &mut Play, doid: Doid, context: u32) -> Result<(), String> {
    let (parent, zone) = play.things[&doid].place;
    let other = play.zone();
    let question = to(doid, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS).u32(context).doid(parent);
    let question = question.u16(2).zone(other).zone(zone);
    let answer = if parent == 0 { play.located(doid) } else { play.shown(doid, context) };
    ask(play, question, vec![answer])
}

fn ask_parent(play: &mut Play, parent: Doid) -> Result<(), String> {
    let context = play.random.number() as u32;
    let (zone, other) = (play.zone(), play.zone());
    let all = play.children(parent);
    // Too large to be shown, and there all the same.
    let giants: Vec<Zone> =
        play.giants.values().filter(|giant| giant.place.0 == parent).map(|giant| giant.place.1).collect();
    let giants_in = |zones: &[Zone]| giants.iter().filter(|zone| zones.contains(zone)).count();
    let count = |number: usize| Payload::new().u32(context).u32(number as u32).0;
    let to = |message_type| to(parent, message_type).u32(context).doid(parent);
    match play.random.below(9) {
        7 => ask_family(play, parent, context),
        0 => {
            let number = play.children_in(parent, &[zone]).len() + giants_in(&[zone]);
            let expected = vec![(t::STATESERVER_OBJECT_GET_ZONE_COUNT_RESP, count(number))];
            ask(play, to(t::STATESERVER_OBJECT_GET_ZONE_COUNT).zone(zone), expected)
        }
        1 => {
            let number = play.children_in(parent, &[zone, other]).len() + giants_in(&[zone, other]);
            let expected = vec![(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, count(number))];
            ask(play, to(t::STATESERVER_OBJECT_GET_ZONES_COUNT).u16(2).zone(zone).zone(other), expected)
        }
        2 => {
            let expected = vec![(t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP, count(all.len() + giants.len()))];
            ask(play, to(t::STATESERVER_OBJECT_GET_CHILD_COUNT), expected)
        }
        3 => {
            let zones = all.iter().map(|doid| play.things[doid].place.1);
            let mut zones: Vec<Zone> = zones.chain(giants).collect();
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
                expected.push(play.shown(doid, context));
            }
            ask(play, question, expected)
        }
    }
}

/// What is sent to all children of a parent, each that it concerns answers.
fn ask_family(play: &mut Play, parent: Doid, context: u32) -> Result<(), String> {
    let family = play.children(parent);
    let giants = play.giants.iter().filter(|(_, giant)| giant.place.0 == parent);
    let places = family.iter().map(|doid| (*doid, play.things[doid].place));
    let places: Vec<_> = places.chain(giants.map(|(&doid, giant)| (doid, giant.place))).collect();
    let (zone, kids) = (play.zone(), children_channel(parent));
    match play.random.below(3) {
        0 => {
            let located = places.into_iter().map(|(doid, place)| {
                let answer = Payload::new().u32(context).u32(doid).u32(place.0).u32(place.1);
                (t::STATESERVER_OBJECT_GET_LOCATION_RESP, answer.0)
            });
            let expected = located.collect();
            ask(play, to(kids, t::STATESERVER_OBJECT_GET_LOCATION).u32(context), expected)
        }
        1 => {
            let question = to(kids, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS).u32(context).doid(parent).zone(zone);
            let inside = play.children_in(parent, &[zone]);
            let expected = inside.into_iter().map(|doid| play.shown(doid, context)).collect();
            ask(play, question, expected)
        }
        _ => {
            let question = to(kids, t::STATESERVER_OBJECT_GET_CLASS).u32(context);
            let class = |(doid, _)| {
                let answer = Payload::new().u32(context).u32(doid).u16(contract::CLASS);
                (t::STATESERVER_OBJECT_GET_CLASS_RESP, answer.0)
            };
            ask(play, question, places.into_iter().map(class).collect())
        }
    }
}

impl Play {
    /// How an object answers a query of its parent's.
    fn shown(&self, doid: Doid, context: u32) -> Answer {
        let types = [
            t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED,
            t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED_OTHER,
        ];
        self.snapshot(doid, Payload::new().u32(context), types)
    }

    /// How an object announces itself.
    fn located(&self, doid: Doid) -> Answer {
        let types = [
            t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED,
            t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER,
        ];
        self.snapshot(doid, Payload::new(), types)
    }

    fn snapshot(&self, doid: Doid, head: Payload, [plain, with_other]: [MessageType; 2]) -> Answer {
        let thing = &self.things[&doid];
        let head = head.u32(doid).u32(thing.place.0).u32(thing.place.1).u16(contract::CLASS).u32(thing.value);
        let set = self.set_fields(doid);
        if set.is_empty() { (plain, head.0) } else { (with_other, head.others(set).0) }
    }

    fn set_fields(&self, doid: Doid) -> BTreeMap<u16, Value> {
        self.records.get(&doid).map(Record::set_fields).unwrap_or_default()
    }
}
