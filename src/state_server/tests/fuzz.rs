//! Random and mutated messages at the handlers, with what must hold checked after each.
//!
//! The test-suite runs a few seeds. A longer run: `DONET_FUZZ_SECONDS=600 cargo nextest run -p donet --lib
//! state_server::tests::fuzz`; a failure names its seed, and `DONET_FUZZ_SEED=N` begins there.

use crate::state_server::layout::{Filter, Layouts};
use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{Channel, Datagram, Doid, Encoder, MessageType, children_channel};
use donet_dc::{Contract, TextPolicy};
use donet_shards::sim::Random;
use std::time::{Duration, Instant};

/// Few doids, so that they meet.
const DOIDS: [Doid; 8] = [7000, 7001, 7002, 7003, 7004, 7005, 7006, 7007];
const AIS: [Channel; 3] = [31_000, 31_001, 0];
const SEEDS: u64 = 40;
const MESSAGES: usize = 250;
/// More than one message causes among so few objects.
const MESSAGES_CAUSED_MAX: usize = 20_000;

fn pick<T: Copy>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())]
}

/// Everything that the catalogue knows (§2.3), and what only a DBSS or a location understands.
const MESSAGE_TYPES: &[MessageType] = &[
    t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED,
    t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER,
    t::STATESERVER_DELETE_AI_OBJECTS,
    t::STATESERVER_OBJECT_GET_FIELD,
    t::STATESERVER_OBJECT_GET_FIELDS,
    t::STATESERVER_OBJECT_GET_ALL,
    t::STATESERVER_OBJECT_GET_CLASS,
    t::STATESERVER_OBJECT_SET_FIELD,
    t::STATESERVER_OBJECT_SET_FIELDS,
    t::STATESERVER_OBJECT_DELETE_FIELD_RAM,
    t::STATESERVER_OBJECT_DELETE_FIELDS_RAM,
    t::STATESERVER_OBJECT_DELETE_RAM,
    t::STATESERVER_OBJECT_SET_LOCATION,
    t::STATESERVER_OBJECT_CHANGING_LOCATION,
    t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED,
    t::STATESERVER_OBJECT_GET_LOCATION,
    t::STATESERVER_OBJECT_GET_LOCATION_RESP,
    t::STATESERVER_OBJECT_LOCATION_ACK,
    t::STATESERVER_OBJECT_SET_AI,
    t::STATESERVER_OBJECT_CHANGING_AI,
    t::STATESERVER_OBJECT_GET_AI,
    t::STATESERVER_OBJECT_GET_AI_RESP,
    t::STATESERVER_OBJECT_SET_OWNER,
    t::STATESERVER_OBJECT_GET_OWNER,
    t::STATESERVER_OBJECT_GET_ZONE_OBJECTS,
    t::STATESERVER_OBJECT_GET_ZONES_OBJECTS,
    t::STATESERVER_OBJECT_GET_CHILDREN,
    t::STATESERVER_OBJECT_GET_ZONE_COUNT,
    t::STATESERVER_OBJECT_GET_ZONES_COUNT,
    t::STATESERVER_OBJECT_GET_CHILD_COUNT,
    t::STATESERVER_OBJECT_DELETE_ZONE,
    t::STATESERVER_OBJECT_DELETE_ZONES,
    t::STATESERVER_OBJECT_DELETE_CHILDREN,
    t::STATESERVER_GET_ACTIVE_ZONES,
    t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS,
    MessageType(2998),
];

/// A few fields with values, of any class; lengths and ranges are right.
fn field(random: &mut Random, payload: Payload) -> Payload {
    match random.below(8) {
        0 => payload.u16(id::REQUIRED1).u32(random.number() as u32),
        1 => payload.u16(id::BR1).text(&"x".repeat(random.below(40))),
        2 => payload.u16(id::BRA1).u32(5),
        3 => payload.u16(id::XY).u16(1).u16(2),
        4 => payload.u16(id::RANGE).u8(random.below(101) as u8),
        5 => payload.u16(id::SECRET).u8(9),
        6 => payload.u16(id::DB3).text(&"y".repeat(random.below(30_000))),
        _ => payload.u16(id::BRO1).u32(6),
    }
}

fn required(random: &mut Random, payload: Payload) -> Payload {
    match pick(random, &[id::OBJECT1, id::OBJECT3, id::WALKER]) {
        id::OBJECT1 => payload.u16(id::OBJECT1).u32(1),
        id::OBJECT3 => payload.u16(id::OBJECT3).u32(1).u32(2),
        _ => payload.u16(id::WALKER).u8(random.below(101) as u8).u8(3),
    }
}

/// A payload that is right for its message type.
fn valid(random: &mut Random, message_type: MessageType, doid: Doid) -> Payload {
    let new = Payload::new;
    let place = |random: &mut Random, payload: Payload| {
        payload.u32(pick(random, &[7000, 7001, 7002, 7003, 7004, 0, 9000])).u32(random.below(3) as u32)
    };
    let counted = random.below(4) as u16;
    let other = pick(random, &DOIDS);
    match message_type {
        t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED => {
            let payload = place(random, new().u32(other));
            required(random, payload)
        }
        t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER => {
            let payload = place(random, new().u32(other));
            let payload = required(random, payload).u16(counted);
            (0..counted).fold(payload, |payload, _| field(random, payload))
        }
        t::STATESERVER_DELETE_AI_OBJECTS | t::STATESERVER_OBJECT_SET_AI | t::STATESERVER_OBJECT_SET_OWNER => {
            new().u64(pick(random, &AIS))
        }
        t::STATESERVER_OBJECT_GET_FIELD => field(random, new().u32(1).u32(doid)),
        t::STATESERVER_OBJECT_GET_FIELDS => {
            (0..counted).fold(new().u32(1).u32(doid).u16(counted), |payload, _| payload.u16(random.below(30) as u16))
        }
        t::STATESERVER_OBJECT_SET_FIELD | t::STATESERVER_OBJECT_DELETE_FIELD_RAM => field(random, new().u32(doid)),
        t::STATESERVER_OBJECT_SET_FIELDS => {
            (0..counted).fold(new().u32(doid).u16(counted), |payload, _| field(random, payload))
        }
        t::STATESERVER_OBJECT_DELETE_FIELDS_RAM => {
            (0..counted).fold(new().u32(doid).u16(counted), |payload, _| payload.u16(random.below(30) as u16))
        }
        t::STATESERVER_OBJECT_DELETE_RAM | t::STATESERVER_OBJECT_DELETE_CHILDREN => new().u32(doid),
        t::STATESERVER_OBJECT_SET_LOCATION => place(random, new()),
        t::STATESERVER_OBJECT_LOCATION_ACK | t::STATESERVER_OBJECT_DELETE_ZONE => place(random, new()),
        t::STATESERVER_OBJECT_CHANGING_LOCATION => {
            let payload = place(random, new().u32(other));
            place(random, payload)
        }
        t::STATESERVER_OBJECT_GET_LOCATION => new().u32(pick(random, &[1, 1001])),
        t::STATESERVER_OBJECT_GET_LOCATION_RESP => place(random, new().u32(1001).u32(other)),
        t::STATESERVER_OBJECT_CHANGING_AI => new().u32(pick(random, &DOIDS)).u64(pick(random, &AIS)).u64(0),
        t::STATESERVER_OBJECT_GET_AI_RESP => new().u32(1).u32(pick(random, &DOIDS)).u64(pick(random, &AIS)),
        t::STATESERVER_OBJECT_GET_ZONE_OBJECTS | t::STATESERVER_OBJECT_GET_ZONE_COUNT => {
            new().u32(1).u32(doid).u32(random.below(3) as u32)
        }
        t::STATESERVER_OBJECT_GET_ZONES_OBJECTS | t::STATESERVER_OBJECT_GET_ZONES_COUNT => {
            (0..counted).fold(new().u32(1).u32(doid).u16(counted), |payload, _| payload.u32(random.below(3) as u32))
        }
        t::STATESERVER_OBJECT_DELETE_ZONES => {
            (0..counted).fold(new().u32(doid).u16(counted), |payload, _| payload.u32(random.below(3) as u32))
        }
        _ => new().u32(1).u32(doid),
    }
}

/// A datagram: right, or broken somewhere.
fn datagram(random: &mut Random) -> Option<Datagram> {
    let message_type = match random.below(20) {
        0 => MessageType(2000 + random.below(300) as u16),
        _ => pick(random, MESSAGE_TYPES),
    };
    let doid = pick(random, &DOIDS);
    let is_control = matches!(
        message_type,
        t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED | t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER
    );
    let mut to = match random.below(10) {
        0 => vec![children_channel(doid)],
        1 => vec![children_channel(doid), pick(random, &DOIDS).into()],
        2 => DOIDS.map(Channel::from).to_vec(),
        3 => vec![CONTROL],
        _ => vec![doid.into()],
    };
    if is_control && random.below(10) > 0 {
        to = vec![CONTROL];
    }
    let sender = pick(random, &[5, 31_000, 32_000, doid.into(), 0]);
    let payload = valid(random, message_type, doid);
    let datagram = Encoder::internal(&to, sender, message_type).bytes(&payload.0).datagram().ok()?;
    if random.below(2) == 0 {
        return Some(datagram);
    }
    let mut body = datagram.body().to_vec();
    // Most often behind the recipients, or nothing arrives.
    let first = if random.below(8) == 0 { 0 } else { 1 + to.len() * size_of::<Channel>() };
    for _ in 0..=random.below(3) {
        let place = (first + random.below(body.len().saturating_sub(first).max(1))).min(body.len().saturating_sub(1));
        match random.below(5) {
            0 => body.truncate(place),
            1 => body.extend(std::iter::repeat_n(random.number() as u8, random.below(20))),
            2 if !body.is_empty() => body[place] ^= 1 << random.below(8),
            3 if !body.is_empty() => body[place] = pick(random, &[0, 1, 0x7f, 0x80, 0xff]),
            _ => {
                let bytes = random.number().to_le_bytes();
                body.splice(place..place, bytes[..random.below(8)].iter().copied());
            }
        }
    }
    body.truncate(65_535);
    Datagram::from_body(&body).ok()
}

/// Reads a message that shows an object, to its last byte: others must be able to.
fn assert_snapshot_is_whole(contract: &Contract, layouts: &Layouts, seen: &Seen) {
    let (head, filter, with_other) = match seen.message_type {
        t::STATESERVER_OBJECT_GET_ALL_RESP => (4, Filter::All, true),
        t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED => (0, Filter::Client, false),
        t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER => (0, Filter::Client, true),
        t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED => (4, Filter::Client, false),
        t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED_OTHER => (4, Filter::Client, true),
        t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED => (0, Filter::All, false),
        t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED_OTHER => (0, Filter::All, true),
        t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED => (0, Filter::Owner, false),
        t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED_OTHER => (0, Filter::Owner, true),
        _ => return,
    };
    let (class, mut after) = seen.body[head + 12..].split_at(2);
    let class = contract.class(u16::from_le_bytes(class.try_into().unwrap())).expect("its class");
    let value = |after: &[u8], field: u16| {
        class.field(field).expect("a field of the class").validate_prefix(after, TextPolicy::Utf8).expect("a value")
    };
    for slot in layouts.get(class.id()).unwrap().required().iter().filter(|slot| slot.is_shown(filter)) {
        after = &after[value(after, slot.field)..];
    }
    if with_other {
        let mut before = None;
        let (count, mut pairs) = after.split_at(2);
        for _ in 0..u16::from_le_bytes(count.try_into().unwrap()) {
            let (id, rest) = pairs.split_at(2);
            let id = u16::from_le_bytes(id.try_into().unwrap());
            assert!(before.is_none_or(|before| before < id), "ascending: {seen:?}");
            before = Some(id);
            pairs = &rest[value(rest, id)..];
        }
        after = pairs;
    }
    assert!(after.is_empty(), "more than a snapshot: {seen:?}");
}

fn play(seed: u64) {
    let mut random = Random::new(seed);
    let contract = contract();
    let layouts = Layouts::new(&contract);
    let mut world = World::new(1 + random.below(4), Vec::new());
    world.slice(pick(&mut random, &[1, 2, 256]));
    if random.below(4) == 0 {
        world.let_wait(random.below(3), 1 << 20);
    }
    let (link, all) = (world.link(&[]), world.eavesdropper());
    for message in 0..MESSAGES {
        let Some(datagram) = datagram(&mut random) else { continue };
        world.take(all);
        world.post_datagram(link, datagram);
        // The link's own words may be anything.
        world.take(all);
        match random.below(4) {
            0 => {
                assert!(world.run_at_most(MESSAGES_CAUSED_MAX), "messages cause each other without an end");
                world.assert_consistent();
            }
            1 => {
                world.run_turn();
                world.begin_slices();
                world.run_turn();
                world.assert_indexes();
            }
            _ => {
                world.run_turn();
                world.assert_indexes();
            }
        }
        for seen in world.take(all) {
            assert_snapshot_is_whole(&contract, &layouts, &seen);
        }
        assert!(world.live_objects() <= 400, "seed {seed}, message {message}");
    }
    assert!(world.run_at_most(MESSAGES_CAUSED_MAX), "messages cause each other without an end");
    // Who no longer followed its parent asks it.
    world.pass(2_000_000);
    world.assert_consistent();
}

/// Says which seed it was.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("DONET_FUZZ_SEED={}", self.0);
        }
    }
}

#[test]
fn no_message_breaks_an_object_an_index_or_another_message() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = number("DONET_FUZZ_SEED").unwrap_or(0);
    let until = number("DONET_FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut seed = first;
    let goes_on = |seed: u64| until.map_or(seed < first + SEEDS, |until| Instant::now() < until);
    while goes_on(seed) {
        let named = Named(seed);
        play(seed);
        drop(named);
        seed += 1;
    }
    println!("{} seeds of {MESSAGES} messages", seed - first);
}
