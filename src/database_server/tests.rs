//! The statements DB-1 to DB-30 (`protocol-ss-dbss-db.md` §4.7): messages in, messages out, over a storage in memory.
//! What needs the engine's thread or a disk is tested beside the engine.

use super::engine::MemoryStorage;
use super::tests_world::*;
use crate::config;
use crate::wire::message_type as t;
use crate::wire::{ALL_DATABASE_SERVERS, Datagram, Doid, MessageType};
use donet_shards::ShardId;

const NO: &[u8] = &[0];

#[test]
fn db_1_create_without_fields_stores_the_explicit_defaults_of_stored_fields() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    assert_eq!(doid, FIRST);
    assert_eq!(world.get_all(doid), args().u8(1).u16(AVATAR).u16(1).u16(LEVEL).u8(20).0);
    let doid = world.create(STORED, 0, args());
    assert_eq!(world.get_all(doid), args().u8(1).u16(STORED).u16(0).0, "required without default stays absent");
}

#[test]
fn db_2_create_ignores_fields_that_are_not_stored_and_refuses_stored_ones_of_another_class() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 3, args().u16(B1).u8(9).u16(PLAIN).u16(1).u16(LEVEL).u8(30));
    assert_eq!(world.get_all(doid), args().u8(1).u16(AVATAR).u16(1).u16(LEVEL).u8(30).0);
    assert_eq!(world.create(AVATAR, 1, args().u16(OTHER).u8(1)), 0);
    assert_eq!(world.create(STORED, 1, args().u16(LEVEL).u8(1)), 0);
}

#[test]
fn db_3_a_refused_create_answers_zero_and_uses_no_id() {
    let mut world = World::new();
    assert_eq!(world.create(77, 0, args()), 0, "unknown class");
    assert_eq!(world.create(NINE, 0, args()), 0, "a struct is not a class");
    assert_eq!(world.create(AVATAR, 1, args().u16(PERCENT).u8(101)), 0, "out of range");
    assert_eq!(world.create(AVATAR, 1, args().u16(COINS).u8(1)), 0, "short");
    assert_eq!(world.create(AVATAR, 1, args().u16(B1)), 0, "short, not stored");
    assert_eq!(world.create(AVATAR, 1, args().u16(UNKNOWN).u8(1)), 0, "unknown field");
    assert_eq!(world.create(AVATAR, 2, args().u16(LEVEL).u8(1)), 0, "fewer fields than announced");
    assert_eq!(world.ask(t::DBSERVER_CREATE_OBJECT, args().u32(3).u8(1)), args().u32(3).u32(0).0, "no class");
    assert_eq!(world.create(AVATAR, 0, args()), FIRST);
}

#[test]
fn db_4_an_exhausted_pool_answers_zero_until_an_object_is_deleted() {
    let mut world = World::new();
    let doids: Vec<Doid> = (0..11).map(|_| world.create(AVATAR, 0, args())).collect();
    assert_eq!(doids, (FIRST..=FIRST + 10).collect::<Vec<_>>());
    assert_eq!(world.create(AVATAR, 0, args()), 0);
    world.send(t::DBSERVER_OBJECT_DELETE, args().u32(FIRST + 4));
    assert_eq!(world.create(AVATAR, 0, args()), FIRST + 4);
    assert_eq!(world.create(AVATAR, 0, args()), 0);
    assert_eq!(world.out.metrics.database_failures, 2, "an operator has to know");
}

#[test]
fn db_5_get_all_is_ascending_and_says_no_more_than_no_for_a_missing_object() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 3, args().u16(COINS).u16(4).u16(NAME).text("x").u16(SCORE).u32(3117));
    let expected = args().u8(1).u16(AVATAR).u16(4);
    let expected = expected.u16(NAME).text("x").u16(SCORE).u32(3117).u16(LEVEL).u8(20).u16(COINS).u16(4);
    assert_eq!(world.get_all(doid), expected.0);
    assert_eq!(world.get_all(doid + 1), NO);
    assert_eq!(world.get_all(0), NO);
    assert_eq!(world.get_all(u32::MAX), NO);
}

#[test]
fn db_6_unset_fields() {
    let mut world = World::new();
    let doid = world.create(STORED, 0, args());
    assert_eq!(world.get(doid, NAME), NO);
    let reply = world.ask(t::DBSERVER_OBJECT_GET_FIELDS, args().u32(1).u32(doid).u16(2).u16(NAME).u16(SCORE));
    assert_eq!(reply, args().u32(1).u8(1).u16(0).0);
}

#[test]
fn db_7_fields_of_other_classes_are_absent() {
    let mut world = World::new();
    let doid = world.create(STORED, 1, args().u16(SCORE).u32(5));
    let fields = args().u32(1).u32(doid).u16(4).u16(LEVEL).u16(SCORE).u16(OTHER).u16(SCORE);
    assert_eq!(world.ask(t::DBSERVER_OBJECT_GET_FIELDS, fields), args().u32(1).u8(1).u16(1).u16(SCORE).u32(5).0);
    assert_eq!(world.get(doid, LEVEL), NO);
}

#[test]
fn db_8_every_request_with_a_context_has_exactly_one_answer() {
    let mut world = World::new();
    let doid = world.create(STORED, 0, args());
    let context = 0x0102_0304;
    let start = || args().u32(context);
    let requests = [
        (t::DBSERVER_OBJECT_GET_ALL, args()),
        (t::DBSERVER_OBJECT_GET_FIELD, args().u32(doid).u16(B1)),
        (t::DBSERVER_OBJECT_GET_FIELD, args().u32(doid).u16(UNKNOWN)),
        (t::DBSERVER_OBJECT_GET_FIELD, args().u32(doid)),
        (t::DBSERVER_OBJECT_GET_FIELD, args().u32(9).u16(NAME)),
        (t::DBSERVER_OBJECT_GET_FIELDS, args().u32(doid).u16(0)),
        (t::DBSERVER_OBJECT_GET_FIELDS, args().u32(doid).u16(1).u16(B1)),
        (t::DBSERVER_OBJECT_GET_FIELDS, args().u32(doid).u16(2).u16(NAME).u16(UNKNOWN)),
        (t::DBSERVER_OBJECT_GET_FIELDS, args().u32(doid).u16(9).u16(NAME)),
        (t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, args().u32(doid).u16(NAME).text("a")),
        (t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, args().u32(doid).u16(UNKNOWN)),
        (t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, args().u32(doid).u16(XY).u32(0).u32(0)),
        (t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS, args().u32(doid).u16(0)),
        (t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS, args().u32(doid).u16(1).u16(LEVEL).u8(1).u8(1)),
        (t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY, args().u32(doid).u16(B1).u8(1)),
        (t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY, args().u32(doid).u16(LEVEL).u8(1)),
        (t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY, args().u32(7).u16(NAME).text("a")),
        (t::DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY, args().u32(doid).u16(0)),
        (t::DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY, args().u32(doid).u16(1).u16(NAME).u16(9)),
    ];
    for (message_type, payload) in requests {
        let answer = world.ask(message_type, start().append(payload.clone()));
        assert_eq!(answer, start().u8(0).0, "{message_type} {:?}", payload.0);
    }
    assert!(
        world.send(t::DBSERVER_OBJECT_GET_ALL, args().u16(1)).is_empty(),
        "without a context nobody can be answered"
    );
}

#[test]
fn db_9_a_set_is_announced_in_the_name_of_the_requester() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(LEVEL).u8(3));
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_SET_FIELD, args().u16(LEVEL).u8(3))]);
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(3).0);
}

#[test]
fn db_10_what_is_not_stored_is_neither_stored_nor_announced() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    let fields = args().u32(doid).u16(2).u16(B1).u8(1).u16(LEVEL).u8(3);
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELDS, fields);
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_SET_FIELD, args().u16(LEVEL).u8(3))]);
    let fields = args().u32(doid).u16(2).u16(COINS).u16(1).u16(NAME).text("n");
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELDS, fields);
    let both = args().u16(2).u16(NAME).text("n").u16(COINS).u16(1);
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_SET_FIELDS, both)], "ascending");
}

#[test]
fn db_11_a_set_of_nothing_stored_does_nothing() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    assert!(world.send(t::DBSERVER_OBJECT_SET_FIELDS, args().u32(doid).u16(1).u16(B1).u8(1)).is_empty());
    assert!(world.send(t::DBSERVER_OBJECT_SET_FIELDS, args().u32(doid).u16(0)).is_empty());
    assert_eq!(world.get_all(doid), args().u8(1).u16(AVATAR).u16(1).u16(LEVEL).u8(20).0);
}

#[test]
fn db_12_a_set_of_a_foreign_field_changes_nothing() {
    let mut world = World::new();
    let doid = world.create(STORED, 0, args());
    assert!(world.send(t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(LEVEL).u8(1)).is_empty());
    let fields = args().u32(doid).u16(2).u16(SCORE).u32(1).u16(OTHER).u8(1);
    assert!(world.send(t::DBSERVER_OBJECT_SET_FIELDS, fields).is_empty());
    assert_eq!(world.get_all(doid), args().u8(1).u16(STORED).u16(0).0);
    assert!(world.send(t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid + 1).u16(SCORE).u32(1)).is_empty());
    assert_eq!(world.get_all(doid + 1), NO);
}

#[test]
fn db_13_a_bad_last_value_spoils_the_whole_set() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    for bad in [args().u16(PERCENT).u8(101), args().u16(NAME).u16(9), args().u16(UNKNOWN), args().u16(B1)] {
        let fields = args().u32(doid).u16(2).u16(LEVEL).u8(3).append(bad);
        assert!(world.send(t::DBSERVER_OBJECT_SET_FIELDS, fields).is_empty());
    }
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(20).0);
}

#[test]
fn db_14_deleting_a_field_without_default() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 1, args().u16(COINS).u16(4));
    let sent = world.send(t::DBSERVER_OBJECT_DELETE_FIELD, args().u32(doid).u16(COINS));
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_DELETE_FIELD, args().u16(COINS))]);
    assert_eq!(world.get(doid, COINS), NO);
}

#[test]
fn db_15_deleting_a_field_with_default_sets_it() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 1, args().u16(LEVEL).u8(4));
    let sent = world.send(t::DBSERVER_OBJECT_DELETE_FIELD, args().u32(doid).u16(LEVEL));
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_SET_FIELD, args().u16(LEVEL).u8(20))]);
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(20).0);
}

#[test]
fn db_16_deletions_are_announced_before_defaults_and_empty_fields_with_them() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 1, args().u16(NAME).text("x"));
    let fields = args().u32(doid).u16(4).u16(NAME).u16(LEVEL).u16(B1).u16(SCORE);
    let sent = world.send(t::DBSERVER_OBJECT_DELETE_FIELDS, fields);
    let removed = broadcast(doid, t::DBSERVER_OBJECT_DELETE_FIELDS, args().u16(2).u16(NAME).u16(SCORE));
    let set = broadcast(doid, t::DBSERVER_OBJECT_SET_FIELD, args().u16(LEVEL).u8(20));
    assert_eq!(sent, [removed, set]);
}

#[test]
fn db_17_deleting_a_foreign_field_with_default_stores_nothing() {
    let mut world = World::new();
    let doid = world.create(STORED, 1, args().u16(SCORE).u32(5));
    for foreign in [LEVEL, OTHER] {
        assert!(
            world.send(t::DBSERVER_OBJECT_DELETE_FIELDS, args().u32(doid).u16(2).u16(SCORE).u16(foreign)).is_empty()
        );
    }
    assert_eq!(world.get_all(doid), args().u8(1).u16(STORED).u16(1).u16(SCORE).u32(5).0);
}

#[test]
fn db_18_if_equals_that_matches() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    let fields = args().u32(1).u32(doid).u16(LEVEL).u8(20).u8(21);
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, fields);
    let announced = broadcast(doid, t::DBSERVER_OBJECT_SET_FIELD, args().u16(LEVEL).u8(21));
    let answered = reply(t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS_RESP, args().u32(1).u8(1));
    assert_eq!(sent, [announced, answered]);
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(21).0);
}

#[test]
fn db_19_if_equals_that_does_not_match() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    let fields = args().u32(1).u32(doid).u16(LEVEL).u8(19).u8(21);
    let reply = world.ask(t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, fields);
    assert_eq!(reply, args().u32(1).u8(0).u16(LEVEL).u8(20).0);
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(20).0);
}

#[test]
fn db_20_if_equals_on_an_unset_field() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    let fields = args().u32(1).u32(doid).u16(COINS).u16(0).u16(1);
    assert_eq!(world.ask(t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, fields), args().u32(1).u8(0).0);
    assert_eq!(world.get(doid, COINS), NO);
}

#[test]
fn db_21_plural_if_equals_shows_what_has_a_value() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    let fields = args().u32(1).u32(doid).u16(2).u16(COINS).u16(0).u16(1).u16(LEVEL).u8(20).u8(21);
    let reply = world.ask(t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS, fields);
    assert_eq!(reply, args().u32(1).u8(0).u16(1).u16(LEVEL).u8(20).0);
    assert_eq!(world.get_all(doid), args().u8(1).u16(AVATAR).u16(1).u16(LEVEL).u8(20).0);
}

#[test]
fn db_22_plural_if_equals_naming_a_field_that_is_not_stored() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    for bad in [args().u16(B1).u8(0).u8(0), args().u16(LEVEL).u8(20).u8(22)] {
        let fields = args().u32(1).u32(doid).u16(2).u16(LEVEL).u8(20).u8(21).append(bad);
        assert_eq!(world.ask(t::DBSERVER_OBJECT_SET_FIELDS_IF_EQUALS, fields), args().u32(1).u8(0).0);
    }
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(20).0);
}

#[test]
fn db_23_if_empty() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    let request = |value| args().u32(1).u32(doid).u16(COINS).u16(value);
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY, request(5));
    let announced = broadcast(doid, t::DBSERVER_OBJECT_SET_FIELD, args().u16(COINS).u16(5));
    let answered = reply(t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY_RESP, args().u32(1).u8(1));
    assert_eq!(sent, [announced, answered]);
    let second = world.ask(t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY, request(6));
    assert_eq!(second, args().u32(1).u8(0).u16(COINS).u16(5).0);
    assert_eq!(world.get(doid, COINS), args().u8(1).u16(COINS).u16(5).0);
}

#[test]
fn plural_if_empty_is_all_or_nothing() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    let fields = args().u32(1).u32(doid).u16(2).u16(COINS).u16(1).u16(LEVEL).u8(1);
    let reply_payload = world.ask(t::DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY, fields);
    assert_eq!(reply_payload, args().u32(1).u8(0).u16(1).u16(LEVEL).u8(20).0);
    assert_eq!(world.get(doid, COINS), NO);
    let fields = args().u32(1).u32(doid).u16(2).u16(COINS).u16(1).u16(NAME).text("");
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY, fields);
    let announced = args().u16(2).u16(NAME).text("").u16(COINS).u16(1);
    let answered = reply(t::DBSERVER_OBJECT_SET_FIELDS_IF_EMPTY_RESP, args().u32(1).u8(1));
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_SET_FIELDS, announced), answered]);
}

#[test]
fn db_24_delete() {
    let mut world = World::new();
    let (doid, other) = (world.create(AVATAR, 0, args()), world.create(AVATAR, 0, args()));
    let sent = world.send(t::DBSERVER_OBJECT_DELETE, args().u32(doid));
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_DELETE, args())]);
    assert_eq!(world.get_all(doid), NO);
    assert_eq!(world.get_all(other), args().u8(1).u16(AVATAR).u16(1).u16(LEVEL).u8(20).0);
    assert!(world.send(t::DBSERVER_OBJECT_DELETE, args().u32(doid)).is_empty(), "a missing object (AMB-14)");
}

#[test]
fn db_25_without_broadcasts_only_replies_leave() {
    let quiet = config::DatabaseServer { broadcast: false, ..settings(FIRST..=FIRST + 10) };
    let mut world = World::with(quiet, MemoryStorage::default(), CONTRACT);
    let doid = world.create(AVATAR, 0, args());
    let object = || args().u32(doid);
    assert!(world.send(t::DBSERVER_OBJECT_SET_FIELD, object().u16(LEVEL).u8(3)).is_empty());
    assert!(world.send(t::DBSERVER_OBJECT_SET_FIELDS, object().u16(2).u16(LEVEL).u8(3).u16(COINS).u16(1)).is_empty());
    assert!(world.send(t::DBSERVER_OBJECT_DELETE_FIELD, object().u16(COINS)).is_empty());
    assert!(world.send(t::DBSERVER_OBJECT_DELETE_FIELDS, object().u16(2).u16(COINS).u16(NAME)).is_empty());
    let equals = args().u32(1).u32(doid).u16(LEVEL).u8(3).u8(4);
    assert_eq!(world.ask(t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, equals), args().u32(1).u8(1).0);
    assert!(world.send(t::DBSERVER_OBJECT_DELETE, object()).is_empty());
    assert_eq!(world.get_all(doid), NO);
}

#[test]
fn db_26_operations_of_one_batch_see_those_before_them() {
    let mut world = World::new();
    let mut requests = world.requests(CONTROL, t::DBSERVER_CREATE_OBJECT, args().u32(1).u16(AVATAR).u16(0));
    for (message_type, payload) in [
        (t::DBSERVER_OBJECT_SET_FIELD, args().u32(FIRST).u16(COINS).u16(1)),
        (t::DBSERVER_OBJECT_GET_FIELD, args().u32(2).u32(FIRST).u16(COINS)),
        (t::DBSERVER_OBJECT_DELETE_FIELD, args().u32(FIRST).u16(COINS)),
        (t::DBSERVER_OBJECT_GET_FIELD, args().u32(3).u32(FIRST).u16(COINS)),
        (t::DBSERVER_OBJECT_GET_ALL, args().u32(4).u32(FIRST)),
        (t::DBSERVER_OBJECT_DELETE, args().u32(FIRST)),
        (t::DBSERVER_OBJECT_GET_ALL, args().u32(5).u32(FIRST)),
    ] {
        requests.extend(world.requests(CONTROL, message_type, payload));
    }
    for request in requests {
        world.database.execute(ShardId(0), request);
    }
    let sent = world.commit();
    let expected = [
        reply(t::DBSERVER_CREATE_OBJECT_RESP, args().u32(1).u32(FIRST)),
        broadcast(FIRST, t::DBSERVER_OBJECT_SET_FIELD, args().u16(COINS).u16(1)),
        reply(t::DBSERVER_OBJECT_GET_FIELD_RESP, args().u32(2).u8(1).u16(COINS).u16(1)),
        broadcast(FIRST, t::DBSERVER_OBJECT_DELETE_FIELD, args().u16(COINS)),
        reply(t::DBSERVER_OBJECT_GET_FIELD_RESP, args().u32(3).u8(0)),
        reply(t::DBSERVER_OBJECT_GET_ALL_RESP, args().u32(4).u8(1).u16(AVATAR).u16(1).u16(LEVEL).u8(20)),
        broadcast(FIRST, t::DBSERVER_OBJECT_DELETE, args()),
        reply(t::DBSERVER_OBJECT_GET_ALL_RESP, args().u32(5).u8(0)),
    ];
    assert_eq!(sent, expected);
    assert_eq!(world.storage.state().writes.last().map(|write| write.1), Some(true), "one synced write");
}

#[test]
fn db_28_the_channel_of_all_database_servers_is_served_alike() {
    let mut world = World::new();
    let sent = world.send_to(ALL_DATABASE_SERVERS, t::DBSERVER_CREATE_OBJECT, args().u32(1).u16(AVATAR).u16(0));
    assert_eq!(sent, [reply(t::DBSERVER_CREATE_OBJECT_RESP, args().u32(1).u32(FIRST))]);
}

#[test]
fn db_29_a_recreated_doid_has_nothing_of_its_predecessor() {
    let mut world = World::with(settings(FIRST..=FIRST), MemoryStorage::default(), CONTRACT);
    let doid = world.create(AVATAR, 2, args().u16(NAME).text("x").u16(COINS).u16(9));
    world.send(t::DBSERVER_OBJECT_DELETE, args().u32(doid));
    assert_eq!(world.create(STORED, 0, args()), doid);
    assert_eq!(world.get_all(doid), args().u8(1).u16(STORED).u16(0).0);
}

#[test]
fn db_30_objects_and_free_list_survive_a_restart() {
    let mut world = World::with(settings(FIRST..=FIRST + 2), MemoryStorage::default(), CONTRACT);
    for _ in 0..3 {
        world.create(AVATAR, 0, args());
    }
    world.send(t::DBSERVER_OBJECT_DELETE, args().u32(FIRST + 2));
    world.send(t::DBSERVER_OBJECT_DELETE, args().u32(FIRST));
    let mut world = world.restarted(settings(FIRST..=FIRST + 2), CONTRACT);
    assert_eq!(world.get_all(FIRST + 1), args().u8(1).u16(AVATAR).u16(1).u16(LEVEL).u8(20).0);
    assert_eq!(world.create(AVATAR, 0, args()), FIRST + 2, "first freed, first reused");
    let mut world = world.restarted(settings(FIRST..=FIRST + 2), CONTRACT);
    assert_eq!(world.create(AVATAR, 0, args()), FIRST);
    assert_eq!(world.create(AVATAR, 0, args()), 0);
}

#[test]
fn of_duplicates_the_last_counts() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 2, args().u16(LEVEL).u8(1).u16(LEVEL).u8(2));
    assert_eq!(world.get(doid, LEVEL), args().u8(1).u16(LEVEL).u8(2).0);
    let fields = args().u32(doid).u16(3).u16(COINS).u16(1).u16(LEVEL).u8(5).u16(COINS).u16(2);
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELDS, fields);
    let both = args().u16(2).u16(LEVEL).u8(5).u16(COINS).u16(2);
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_SET_FIELDS, both)]);
}

#[test]
fn a_value_without_bytes_is_a_value() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 0, args());
    assert_eq!(world.get(doid, MET), NO);
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(MET));
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_SET_FIELD, args().u16(MET))]);
    assert_eq!(world.get(doid, MET), args().u8(1).u16(MET).0);
    let again = world.ask(t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY, args().u32(1).u32(doid).u16(MET));
    assert_eq!(again, args().u32(1).u8(0).u16(MET).0);
}

#[test]
fn molecular_fields_are_stored_as_their_parts() {
    let mut world = World::new();
    let doid = world.create(AVATAR, 1, args().u16(XY).u16(1).u16(2));
    let all = args().u8(1).u16(AVATAR).u16(3).u16(LEVEL).u8(20).u16(X).u16(1).u16(Y).u16(2);
    assert_eq!(world.get_all(doid), all.0);
    assert_eq!(world.get(doid, XY), args().u8(1).u16(XY).u16(1).u16(2).0);
    let sent = world.send(t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(XY).u16(3).u16(4));
    let parts = args().u16(2).u16(X).u16(3).u16(Y).u16(4);
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_SET_FIELDS, parts)]);
    let sent = world.send(t::DBSERVER_OBJECT_DELETE_FIELD, args().u32(doid).u16(Y));
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_DELETE_FIELD, args().u16(Y))]);
    assert_eq!(world.get(doid, XY), NO, "not all parts are stored");
    let sent = world.send(t::DBSERVER_OBJECT_DELETE_FIELD, args().u32(doid).u16(XY));
    assert_eq!(sent, [broadcast(doid, t::DBSERVER_OBJECT_DELETE_FIELDS, args().u16(2).u16(X).u16(Y))]);
}

#[test]
fn an_unknown_message_is_counted_and_dropped() {
    let mut world = World::new();
    for unknown in [0, 2020, 3002, 3001, 3015, 3033, 65535] {
        assert!(world.send(MessageType(unknown), args().u32(1)).is_empty());
    }
    assert_eq!(world.out.metrics.unknown_messages, 7);
    let headless = Datagram::from_body(&[1, 0xb0, 4, 0, 0, 0, 0, 0, 0]).unwrap();
    world.role.on_datagram(&headless, &mut world.out);
    assert_eq!((world.out.is_empty(), world.out.metrics.datagrams_malformed), (true, 1));
}
