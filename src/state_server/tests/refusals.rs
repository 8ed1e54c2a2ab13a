//! What is refused or dropped costs nothing but itself, and leaves a line that says who sent what to whom; a flood of it
//! leaves a few lines (§1.4, §2.12, §9).

use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{Channel, MessageType, location_channel};
use std::io::Write;
use std::sync::{Arc, Mutex};

const SENDER: Channel = 5551;
const LOCATION: Channel = location_channel(5000, 1500);

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The lines that are logged meanwhile, as an operator sees them.
fn logged(test: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, test);
    String::from_utf8(lines.0.lock().unwrap().clone()).unwrap().lines().map(str::to_owned).collect()
}

/// Two walkers at a location, a link to send by, and one that sees the location and what reaches the sender.
fn walkers(world: &mut World) -> (LinkId, LinkId) {
    let (ai, all) = (world.link(&[]), world.link(&[SENDER, LOCATION]));
    for doid in [7001, 7002] {
        world.create(ai, doid, (5000, 1500), id::WALKER, Payload::new().u8(50).u8(60));
    }
    world.take(all);
    (ai, all)
}

/// Asserts that a message changes nothing, is answered by nobody, is counted, and is logged in one line with all of these
/// words.
#[track_caller]
fn refused(to: Channel, message_type: MessageType, payload: Payload, words: &[&str]) {
    everywhere(|world| {
        let (ai, all) = walkers(world);
        let before = (world.get_all(7001), world.get_all(7002), world.live_objects());
        let count = world.metric(|metrics| metrics.object_messages_refused);
        let lines = logged(|| world.send(ai, &[to], SENDER, message_type, payload.clone()));
        world.expect(all, &[]);
        assert_eq!((world.get_all(7001), world.get_all(7002), world.live_objects()), before);
        assert_eq!(world.metric(|metrics| metrics.object_messages_refused), count + 1);
        let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
        let sender = format!("from {SENDER}");
        for word in words.iter().chain([&sender.as_str(), &"refused"]) {
            assert!(line.contains(word), "{line:?} does not say {word:?}");
        }
        world.assert_consistent();
    });
}

#[test]
fn a_value_out_of_range_is_refused() {
    let payload = Payload::new().u32(7001).u16(id::RANGE).u8(101);
    refused(7001, t::STATESERVER_OBJECT_SET_FIELD, payload, &["object 7001", "class Walker", "setRange", "17"]);
}

#[test]
fn a_value_cut_short_is_refused() {
    let payload = Payload::new().u32(7001).u16(id::X).u8(1);
    refused(7001, t::STATESERVER_OBJECT_SET_FIELD, payload, &["object 7001", "class Walker", "setX"]);
}

#[test]
fn a_part_of_a_molecular_value_cut_short_is_refused_whole() {
    let payload = Payload::new().u32(7001).u16(id::XY).u16(1).u8(1);
    refused(7001, t::STATESERVER_OBJECT_SET_FIELD, payload, &["object 7001", "class Walker", "setXY"]);
}

#[test]
fn an_unknown_field_is_refused() {
    for message_type in [t::STATESERVER_OBJECT_SET_FIELD, t::STATESERVER_OBJECT_DELETE_FIELD_RAM] {
        let payload = Payload::new().u32(7001).u16(id::NONE).u8(1);
        refused(7001, message_type, payload, &["object 7001", "class Walker", "field 999"]);
    }
    // Another class has it.
    let payload = Payload::new().u32(7001).u16(id::REQUIRED1).u32(1);
    refused(7001, t::STATESERVER_OBJECT_SET_FIELD, payload, &["object 7001", "class Walker", "field 0"]);
}

#[test]
fn a_body_cut_short_is_refused() {
    let words = &["object 7001", "class Walker"];
    for (message_type, payload) in [
        (t::STATESERVER_OBJECT_SET_FIELD, Payload::new().u16(7001)),
        (t::STATESERVER_OBJECT_SET_FIELD, Payload::new().u32(7001).u8(1)),
        (t::STATESERVER_OBJECT_SET_FIELDS, Payload::new().u32(7001).u8(1)),
        (t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(1).u32(7001)),
        (t::STATESERVER_OBJECT_GET_FIELDS, Payload::new().u32(1).u32(7001).u16(2).u16(id::X)),
        (t::STATESERVER_OBJECT_GET_ALL, Payload::new().u32(1)),
        (t::STATESERVER_OBJECT_GET_CLASS, Payload::new()),
        (t::STATESERVER_OBJECT_DELETE_FIELD_RAM, Payload::new().u32(7001)),
        (t::STATESERVER_OBJECT_DELETE_FIELDS_RAM, Payload::new().u32(7001).u16(1)),
        (t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u16(7001)),
        (t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(6000)),
        (t::STATESERVER_OBJECT_CHANGING_LOCATION, Payload::new().u32(1).u32(7001).u32(1).u32(1)),
        (t::STATESERVER_OBJECT_GET_LOCATION, Payload::new().u16(1)),
        (t::STATESERVER_OBJECT_GET_LOCATION_RESP, Payload::new().u32(1001).u32(1).u32(7001)),
        (t::STATESERVER_OBJECT_LOCATION_ACK, Payload::new().u32(5000)),
        (t::STATESERVER_OBJECT_SET_AI, Payload::new().u32(1)),
        (t::STATESERVER_OBJECT_CHANGING_AI, Payload::new().u32(5000).u64(1)),
        (t::STATESERVER_OBJECT_GET_AI, Payload::new()),
        (t::STATESERVER_OBJECT_GET_AI_RESP, Payload::new().u32(1).u32(5000)),
        (t::STATESERVER_OBJECT_SET_OWNER, Payload::new().u32(1)),
        (t::STATESERVER_OBJECT_GET_OWNER, Payload::new()),
        (t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, Payload::new().u32(1).u32(7001)),
        (t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, Payload::new().u32(1).u32(7001).u16(2).u32(1)),
        (t::STATESERVER_OBJECT_GET_CHILDREN, Payload::new().u32(1)),
        (t::STATESERVER_OBJECT_GET_ZONE_COUNT, Payload::new().u32(1).u32(7001)),
        (t::STATESERVER_OBJECT_GET_ZONES_COUNT, Payload::new().u32(1).u32(7001).u16(1)),
        (t::STATESERVER_OBJECT_GET_CHILD_COUNT, Payload::new().u32(1)),
        (t::STATESERVER_OBJECT_DELETE_ZONE, Payload::new().u32(7001)),
        (t::STATESERVER_OBJECT_DELETE_ZONES, Payload::new().u32(7001).u16(2).u32(1)),
        (t::STATESERVER_OBJECT_DELETE_CHILDREN, Payload::new().u16(1)),
        (t::STATESERVER_GET_ACTIVE_ZONES, Payload::new()),
        (t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u32(1)),
    ] {
        refused(7001, message_type, payload, words);
    }
}

#[test]
fn a_bad_creation_is_refused() {
    let plain = t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED;
    let create = |doid: u32, class: u16| Payload::new().u32(doid).u32(5000).u32(1500).u16(class);
    refused(CONTROL, plain, create(0, id::WALKER).u8(1).u8(1), &["doid 0"]);
    refused(CONTROL, plain, create(7003, 500), &["object 7003", "class 500"]);
    refused(CONTROL, plain, create(7003, id::PAIR).u8(1).u8(1), &["object 7003", "class 1"]);
    refused(CONTROL, plain, create(7001, id::WALKER).u8(1).u8(1), &["object 7001 exists"]);
    refused(CONTROL, plain, create(7003, id::WALKER).u8(101).u8(1), &["object 7003", "class Walker", "setRange"]);
    refused(CONTROL, plain, create(7003, id::WALKER).u8(1), &["object 7003", "class Walker", "setRequiredSecret"]);
    refused(CONTROL, plain, Payload::new().u32(7003).u32(5000), &[]);
    let other = t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER;
    let required = || create(7003, id::WALKER).u8(1).u8(1);
    refused(CONTROL, other, required(), &["object 7003", "class Walker"]);
    refused(CONTROL, other, required().u16(1).u8(0), &["object 7003", "class Walker"]);
    refused(CONTROL, other, required().u16(1).u16(id::X).u8(0), &["object 7003", "class Walker", "setX"]);
    // Left out of OTHER because it is not ram: it must still be whole.
    refused(CONTROL, other, required().u16(1).u16(id::RANGE), &["object 7003", "class Walker", "setRange"]);
}

/// It goes to every executor, and each refuses it.
#[test]
fn an_order_to_delete_an_ais_objects_that_is_cut_short_is_refused() {
    let mut world = World::new(1, Vec::new());
    let (ai, _) = walkers(&mut world);
    let lines = logged(|| {
        world.send(ai, &[CONTROL], SENDER, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u32(1));
    });
    assert!(matches!(&lines[..], [line] if line.contains("from 5551") && line.contains("refused")), "{lines:?}");
    assert_eq!((world.live_objects(), world.metric(|metrics| metrics.object_messages_refused)), (2, 1));
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    everywhere(|world| {
        let ai = world.link(&[]);
        world.create1(ai, 7001, (5000, 1500));
        let payload = Payload::new().u32(7001).u16(id::BR1).u16(2).bytes(&[0xc3, 0x28]);
        let lines = logged(|| world.send(ai, &[7001], SENDER, t::STATESERVER_OBJECT_SET_FIELD, payload.clone()));
        assert!(matches!(&lines[..], [line] if line.contains("object 7001") && line.contains("setBR1")), "{lines:?}");
        let stored = Payload::new().u32(5000).u32(1500).u16(id::OBJECT1).u32(6789).u16(0);
        assert_eq!(world.get_all(7001), Some(stored.0));
    });
}

#[test]
fn a_reserved_doid_is_created_and_logged() {
    everywhere(|world| {
        let ai = world.link(&[]);
        let payload = Payload::new().u32(500).u32(0).u32(0).u16(id::OBJECT1).u32(1);
        let lines =
            logged(|| world.send(ai, &[CONTROL], SENDER, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, payload.clone()));
        assert!(world.is_live(500));
        assert!(matches!(&lines[..], [line] if line.contains("object 500 of 5551")), "{lines:?}");
        assert_eq!(world.metric(|metrics| metrics.object_messages_refused), 0);
    });
}

#[test]
fn what_a_creation_leaves_out_is_logged() {
    everywhere(|world| {
        let ai = world.link(&[]);
        let payload = Payload::new().u32(7001).u32(0).u32(0).u16(id::WALKER).u8(1).u8(1);
        let payload = payload.u16(3).u16(id::RANGE).u8(3).u16(id::X).u16(4).u16(id::NONE);
        let lines = logged(|| {
            world.send(ai, &[CONTROL], SENDER, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER, payload.clone());
        });
        assert!(world.is_live(7001));
        let [not_kept, unknown] = &lines[..] else { panic!("{lines:?}") };
        for (line, field) in [(not_kept, "field 17"), (unknown, "field 999")] {
            for word in ["from 5551", "object 7001", "class Walker", field] {
                assert!(line.contains(word), "{line:?} does not say {word:?}");
            }
        }
    });
}

#[test]
fn what_fits_no_frame_is_dropped_with_a_line_that_names_the_object() {
    everywhere(|world| {
        let (ai, all) = (world.link(&[]), world.link(&[SENDER, LOCATION]));
        world.create(ai, 7001, (5000, 1500), id::OBJECT3, Payload::new().u32(1).u32(2));
        world.create1(ai, 7002, (5000, 1500));
        // As long as a SET_FIELD can be; the answer to GET_FIELD is a byte longer.
        let longest = "x".repeat(65_535 - (1 + 8 + 8 + 2) - (4 + 2) - 2);
        world.set(ai, 7001, id::BR1, Payload::new().text(&longest));
        assert_eq!(world.take(all).pop().map(|seen| seen.message_type), Some(t::STATESERVER_OBJECT_SET_FIELD));
        let ask = |world: &mut World, message_type, payload: Payload| {
            let dropped = world.metric(|metrics| metrics.oversized_messages_dropped);
            let lines = logged(|| world.send(ai, &[7001], SENDER, message_type, payload));
            let [line] = &lines[..] else { panic!("{lines:?}") };
            for word in ["object 7001", "class Object3", "5551", "dropped"] {
                assert!(line.contains(word), "{line:?} does not say {word:?}");
            }
            assert_eq!(world.metric(|metrics| metrics.oversized_messages_dropped), dropped + 1);
        };
        let question = || Payload::new().u32(1).u32(7001);
        ask(world, t::STATESERVER_OBJECT_GET_FIELD, question().u16(id::BR1));
        ask(world, t::STATESERVER_OBJECT_GET_FIELDS, question().u16(1).u16(id::BR1));
        ask(world, t::STATESERVER_OBJECT_GET_ALL, question());
        world.expect(all, &[]);
        // Its neighbour notices nothing, and it can still be read in parts and moved.
        world.send(ai, &[7001], SENDER, t::STATESERVER_OBJECT_GET_FIELD, question().u16(id::RDB3));
        world.send(ai, &[7002], SENDER, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(1).u32(7002).u16(0));
        assert_eq!(world.take(all).len(), 2);
        let lines = logged(|| {
            world.send(ai, &[7001], SENDER, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(5000).u32(1));
        });
        assert!(matches!(&lines[..], [line] if line.contains("object 7001")), "{lines:?}");
        assert_eq!(world.take(all).pop().map(|seen| seen.message_type), Some(t::STATESERVER_OBJECT_CHANGING_LOCATION));
        world.assert_consistent();
    });
}

#[test]
fn a_flood_of_refusals_is_counted_and_leaves_ten_lines_a_second() {
    let mut world = World::new(1, Vec::new());
    let (ai, _) = walkers(&mut world);
    let flood = |world: &mut World| {
        for _ in 0..1000 {
            let payload = Payload::new().u32(7001).u16(id::RANGE).u8(101);
            world.send(ai, &[7001], SENDER, t::STATESERVER_OBJECT_SET_FIELD, payload);
        }
    };
    assert_eq!(logged(|| flood(&mut world)).len(), 10);
    world.now_us += 1_000_000;
    let lines = logged(|| flood(&mut world));
    assert_eq!(lines.len(), 10);
    assert!(lines[0].contains("990"), "the first line says how many were left out: {}", lines[0]);
    assert_eq!(world.metric(|metrics| metrics.object_messages_refused), 2000);
}
