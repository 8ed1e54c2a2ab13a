//! Appendix A byte for byte, contracts that change under stored objects, replies that do not fit, disks that fail.

use super::engine::MemoryStorage;
use super::tests_world::*;
use crate::wire::message_type as t;
use crate::wire::{Doid, MAX_BODY_BYTES};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn golden_plural_if_equals_mismatch() {
    let mut world = World::new();
    let doid = world.create(STORED, 2, args().u16(NAME).text("hi").u16(SCORE).u32(5));
    let fields = args().u16(2).u16(NAME).text("hi").text("ho").u16(SCORE).u32(6).u32(7);
    let request = args().u32(8).u32(doid);
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS, request.append(fields));
    let expected = hex("08000000 00 0200 0800 02006869 0900 05000000");
    assert_eq!(sent, [(REQUESTER, CONTROL, t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS_RESP, expected)]);
}

#[test]
fn golden_delete_fields() {
    let mut world = World::new();
    assert_eq!(world.create(AVATAR, 0, args()), 1_000_000);
    let fields = args().u32(1_000_000).u16(3).u16(8).u16(20).u16(9);
    let sent = world.send(t::DBSERVER_OBJECT_DELETE_FIELDS, fields);
    let removed = (0x2_000f_4240, 5, t::DBSERVER_OBJECT_DELETE_FIELDS, hex("40420f00 0200 0800 0900"));
    let set = (0x2_000f_4240, 5, t::DBSERVER_OBJECT_SET_FIELD, hex("40420f00 1400 14"));
    assert_eq!(sent, [removed, set]);
}

/// The whole stored format of one small database.
#[test]
fn golden_folder() {
    let text = "dclass A { setName(string) db; setLevel(uint8 = 3) db; setSeen(uint8) ram; };";
    let mut world = World::with(settings(1000..=1001), MemoryStorage::default(), text);
    let doid = world.create(0, 1, args().u16(0).text("x"));
    world.create(0, 0, args());
    world.send(t::DBSERVER_OBJECT_DELETE, args().u32(1001));
    assert_eq!(doid, 1000);
    let mut dump = world.storage.dump();
    let schema = dump.iter().position(|line| line.starts_with("Meta 736368656d61 ")).unwrap();
    dump.remove(schema);
    assert_eq!(
        dump,
        [
            "Meta 616c6c6f6361746f72 01e8030000e9030000ea0300000000000000000000000000000100000000000000",
            "Meta 666f726d6174 646f6e65742d64620d0a1a0a01000000",
            "Meta 667265650000000000000000 e9030000",
            "Objects 000003e800000000 0101000000",
            "Objects 000003e800000001 010078",
            "Objects 000003e800000002 03",
        ]
    );
}

const BEFORE: &str =
    "dclass A { setName(string) db; setLevel(uint8) db; setGone(uint8) db; }; dclass B { setName(uint8) db; };";

#[test]
fn a_reordered_and_extended_contract_changes_nothing_that_is_stored() {
    let mut world = World::with(settings(1000..=1009), MemoryStorage::default(), BEFORE);
    let a = world.create(0, 3, args().u16(0).text("x").u16(1).u8(7).u16(2).u8(9));
    let b = world.create(1, 1, args().u16(3).u8(5));
    let objects = |world: &World| -> Vec<String> {
        world.storage.dump().into_iter().filter(|line| line.starts_with("Objects")).collect()
    };
    let before = objects(&world);
    let after = "dclass New { setNew(uint8) db; }; dclass B { setName(uint8) db; };
        dclass A { setMore(string = \"m\") db; setLevel(uint8) db; setName(string) db; };";
    let mut world = world.restarted(settings(1000..=1009), after);
    assert_eq!(objects(&world), before);
    assert_eq!(world.get_all(b), args().u8(1).u16(1).u16(1).u16(1).u8(5).0);
    assert_eq!(world.get_all(a), args().u8(1).u16(2).u16(2).u16(3).u8(7).u16(4).text("x").0, "setGone is not seen");
    let mut world = world.restarted(settings(1000..=1009), BEFORE);
    assert_eq!(world.get_all(a), args().u8(1).u16(0).u16(3).u16(0).text("x").u16(1).u8(7).u16(2).u8(9).0);
}

#[test]
fn objects_of_a_class_that_the_contract_lost_read_as_missing_and_are_kept() {
    let mut world = World::with(settings(1000..=1000), MemoryStorage::default(), BEFORE);
    let a = world.create(0, 1, args().u16(1).u8(7));
    let mut world = world.restarted(settings(1000..=1000), "dclass C { setLevel(uint8) db; };");
    assert_eq!(world.get_all(a), [0]);
    assert!(world.send(t::DBSERVER_OBJECT_SET_FIELD, args().u32(a).u16(0).u8(1)).is_empty());
    assert!(world.send(t::DBSERVER_OBJECT_DELETE, args().u32(a)).is_empty());
    assert_eq!(world.create(0, 0, args()), 0, "its id is still in use");
    let mut world = world.restarted(settings(1000..=1000), BEFORE);
    assert_eq!(world.get_all(a), args().u8(1).u16(0).u16(1).u16(1).u8(7).0);
}

#[test]
fn a_stored_value_that_no_longer_fits_fails_the_read() {
    let mut world = World::with(settings(1000..=1009), MemoryStorage::default(), BEFORE);
    let doid = world.create(0, 2, args().u16(0).text("x").u16(1).u8(200));
    let tight = "dclass A { setName(string) db; setLevel(uint8(0-100)) db; };";
    let mut world = world.restarted(settings(1000..=1009), tight);
    assert_eq!(world.get_all(doid), [0]);
    assert_eq!(world.get(doid, 1), [0]);
    assert_eq!(world.get(doid, 0), args().u8(1).u16(0).text("x").0);
}

#[test]
fn ids_in_use_are_skipped_after_a_change_of_the_pool() {
    let mut world = World::with(settings(1000..=1002), MemoryStorage::default(), CONTRACT);
    let created = |world: &mut World, count: usize| -> Vec<Doid> {
        (0..count).map(|_| world.create(AVATAR, 0, args())).collect()
    };
    assert_eq!(created(&mut world, 3), [1000, 1001, 1002]);
    world.send(t::DBSERVER_OBJECT_DELETE, args().u32(1001));
    let mut world = world.restarted(settings(5000..=5000), CONTRACT);
    assert_eq!(created(&mut world, 2), [5000, 0], "a freed id outside the pool is not handed out");
    world.send(t::DBSERVER_OBJECT_DELETE, args().u32(1002));
    assert_eq!(world.create(AVATAR, 0, args()), 0, "an id outside the pool is never freed");
    let mut world = world.restarted(settings(1000..=1003), CONTRACT);
    assert_eq!(created(&mut world, 4), [1001, 1002, 1003, 0], "1000 is in use");
}

#[test]
fn a_reply_that_does_not_fit_a_frame_is_a_failure() {
    let text = "dclass A { setA(blob) db; setB(blob) db; };";
    let mut world = World::with(settings(1000..=1009), MemoryStorage::default(), text);
    let doid = world.create(0, 0, args());
    for field in [0, 1] {
        let long = args().u32(doid).u16(field).text(&"x".repeat(40_000));
        assert_eq!(world.send(t::DBSERVER_OBJECT_SET_FIELD, long).len(), 1);
    }
    assert_eq!(world.get_all(doid), [0]);
    assert_eq!(world.out.metrics.oversized_messages_dropped, 1);
    assert_eq!(world.get(doid, 1).len(), 1 + 2 + 2 + 40_000);
}

#[test]
fn a_broadcast_that_does_not_fit_a_frame_is_split() {
    let long = |letter: &str| letter.repeat(30_000);
    let (a, b, c) = (long("a"), long("b"), long("c"));
    let text =
        format!("dclass A {{ setA(string = \"{a}\") db; setB(string = \"{b}\") db; setC(string = \"{c}\") db; }};");
    let mut world = World::with(settings(1000..=1009), MemoryStorage::default(), &text);
    let doid = world.create(0, 0, args());
    let sent = world.send(t::DBSERVER_OBJECT_DELETE_FIELDS, args().u32(doid).u16(3).u16(0).u16(1).u16(2));
    let both = broadcast(doid, t::DBSERVER_OBJECT_SET_FIELDS, args().u16(2).u16(0).text(&a).u16(1).text(&b));
    let one = broadcast(doid, t::DBSERVER_OBJECT_SET_FIELD, args().u16(2).text(&c));
    assert_eq!(sent, [both, one]);
    assert_eq!(world.out.metrics.oversized_messages_dropped, 0);
}

#[test]
fn the_longest_set_is_announced_whole() {
    let mut world = World::with(settings(1000..=1009), MemoryStorage::default(), "dclass A { setA(blob) db; };");
    let doid = world.create(0, 0, args());
    let longest = MAX_BODY_BYTES - (1 + 8 + 8 + 2 + 4 + 2 + 2);
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(0).text(&"x".repeat(longest)));
    assert_eq!(sent.len(), 1);
    assert_eq!(world.out.metrics.oversized_messages_dropped, 0);
}

#[test]
fn a_full_disk_fails_the_batch_and_loses_nothing() {
    let mut world = World::with(settings(1000..=1001), MemoryStorage::default(), CONTRACT);
    let doid = world.create(AVATAR, 0, args());
    world.storage.state().disk_full = true;
    let reader = world.requests(CONTROL, t::DBSERVER_OBJECT_GET_FIELD, args().u32(2).u32(doid).u16(LEVEL));
    let writer = world.requests(CONTROL, t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(LEVEL).u8(9));
    let creator = world.requests(CONTROL, t::DBSERVER_CREATE_OBJECT, args().u32(3).u16(AVATAR).u16(0));
    for request in writer.into_iter().chain(reader).chain(creator) {
        world.database.execute(donet_shards::ShardId(0), request);
    }
    let failed = [
        reply(t::DBSERVER_OBJECT_GET_FIELD_RESP, args().u32(2).u8(1).u16(LEVEL).u8(20)),
        reply(t::DBSERVER_CREATE_OBJECT_RESP, args().u32(3).u32(0)),
    ];
    assert_eq!(world.commit(), failed, "neither a broadcast nor an answer reveals what was not written");
    assert_eq!(world.out.metrics.database_failures, 2);
    assert_eq!(world.create(AVATAR, 0, args()), 0, "still full");
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(20).0, "reads go on, and see nothing of it");
    world.storage.state().disk_full = false;
    assert_eq!(world.create(AVATAR, 0, args()), doid + 1, "the id was not lost");
    assert_eq!(world.create(AVATAR, 0, args()), 0);
}

#[test]
fn an_unreadable_object_fails_its_own_operation_only() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    world.storage.state().unreadable = true;
    assert_eq!(world.get_all(doid), [0]);
    assert_eq!(world.create(AVATAR, 0, args()), 0);
    world.storage.state().unreadable = false;
    world.storage.corrupt_object(doid + 5);
    assert_eq!(world.get_all(doid + 5), [0]);
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(20).0);
}

#[test]
fn a_panic_in_a_batch_is_answered_with_failures() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    let requests = world.requests(CONTROL, t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(LEVEL).u8(9));
    for request in requests {
        world.database.execute(donet_shards::ShardId(0), request);
    }
    assert_eq!(world.database.abandon().len(), 1);
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(20).0);
    assert_eq!(world.create(AVATAR, 0, args()), doid + 1, "it recovers by itself");
}
