//! One test for each statement of `protocol-ss-dbss-db.md` §3.7, by its number, with one executor and with more; the
//! golden vectors of its appendix A, byte for byte; and the recommended resolutions. A link plays the database.

use crate::config;
use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, MessageType, Zone, children_channel, location_channel};
use std::time::Duration;

const FIRST: Doid = 9000;
const LAST: Doid = 9999;
/// The asker.
const S: Channel = 5;

fn settings() -> config::DatabaseStateServer {
    config::DatabaseStateServer {
        db_channel: DATABASE,
        ranges: vec![FIRST..=LAST, 20_000..=20_000],
        activate_on_location: true,
        follow_database: false,
        load_timeout: Duration::from_secs(10),
        load_queue_max: 5,
    }
}

/// A daemon with a DBSS: the world, the database's link, and a link that is subscribed to 5.
fn everywhere_with_dbss(test: impl Fn(&mut World, LinkId, LinkId)) {
    for shards in [1, 2, 4] {
        let mut world = World::new(shards, vec![settings()]);
        let (database, asker) = (world.link(&[DATABASE]), world.link(&[S]));
        test(&mut world, database, asker);
    }
}

fn activate(world: &mut World, link: LinkId, doid: Doid, location: (Doid, Zone)) {
    let payload = Payload::new().u32(doid).u32(location.0).u32(location.1);
    world.send(link, &[doid.into()], S, t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS, payload);
}

fn activate_other(world: &mut World, link: LinkId, doid: Doid, class: u16, other: Payload) {
    let payload = Payload::new().u32(doid).u32(80_000).u32(101).u16(class).bytes(&other.0);
    world.send(link, &[doid.into()], S, t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS_OTHER, payload);
}

/// The context of the only request that the database got, which must be a GET_ALL of this doid.
#[track_caller]
fn get_all_context(world: &mut World, database: LinkId, doid: Doid) -> u32 {
    let requests = world.take(database);
    let [request] = &requests[..] else { panic!("one request: {requests:?}") };
    let context = u32::from_le_bytes(request.body[..4].try_into().unwrap());
    let expected = seen(&[DATABASE], doid.into(), t::DBSERVER_OBJECT_GET_ALL, Payload::new().u32(context).u32(doid));
    assert_eq!(*request, expected);
    context
}

fn reply(world: &mut World, database: LinkId, doid: Doid, message_type: MessageType, payload: Payload) {
    world.send(database, &[doid.into()], DATABASE, message_type, payload);
}

fn reply_object(world: &mut World, database: LinkId, doid: Doid, context: u32, class: u16, fields: Payload) {
    let payload = Payload::new().u32(context).u8(1).u16(class).bytes(&fields.0);
    reply(world, database, doid, t::DBSERVER_OBJECT_GET_ALL_RESP, payload);
}

fn reply_missing(world: &mut World, database: LinkId, doid: Doid, context: u32) {
    reply(world, database, doid, t::DBSERVER_OBJECT_GET_ALL_RESP, Payload::new().u32(context).u8(0));
}

/// The fields that the golden vectors store: 9=3117, 20=97.
fn stored() -> Payload {
    Payload::new().u16(2).u16(id::RDB3).u32(3117).u16(id::RDBD5).u8(97)
}

/// Makes a doid live at (80000,101), as class 4 with the fields of [`stored`].
fn made_live(world: &mut World, database: LinkId, doid: Doid) {
    activate(world, database, doid, (80_000, 101));
    let context = get_all_context(world, database, doid);
    reply_object(world, database, doid, context, id::OBJECT5, stored());
    assert!(world.is_live(doid));
    world.take(database);
}

fn ask(world: &mut World, link: LinkId, doid: Doid, message_type: MessageType, payload: Payload) {
    world.send(link, &[doid.into()], S, message_type, payload);
}

/// What GET_ACTIVATED answers; `None` while it does not.
fn is_activated(world: &mut World, doid: Doid) -> Option<bool> {
    let asker = world.link(&[77]);
    world.send(asker, &[doid.into()], 77, t::DBSS_OBJECT_GET_ACTIVATED, Payload::new().u32(8).u32(doid));
    world.take(asker).pop().map(|answer| {
        let expected = |active| {
            let body = Payload::new().u32(8).u32(doid).u8(active);
            seen(&[77], doid.into(), t::DBSS_OBJECT_GET_ACTIVATED_RESP, body)
        };
        assert!(answer == expected(0) || answer == expected(1), "{answer:?}");
        answer == expected(1)
    })
}

fn set_field(doid: Doid, field: u16, value: Payload) -> Payload {
    Payload::new().u32(doid).u16(field).bytes(&value.0)
}

#[test]
fn dbss_1_the_role_answers_for_the_doids_of_its_ranges_only() {
    everywhere_with_dbss(|world, _, _| {
        for inside in [FIRST, LAST, 20_000] {
            assert_eq!(is_activated(world, inside), Some(false));
        }
        for outside in [FIRST - 1, LAST + 1, 19_999, 20_001] {
            assert_eq!(is_activated(world, outside), None);
        }
    });
}

#[test]
fn dbss_2_an_activation_asks_the_database_once() {
    everywhere_with_dbss(|world, database, asker| {
        activate(world, asker, 9104, (80_000, 101));
        get_all_context(world, database, 9104);
        activate(world, asker, 9104, (80_001, 102));
        activate_other(world, asker, 9104, id::OBJECT5, Payload::new().u16(0));
        world.expect(database, &[]);
    });
}

/// The golden vector: ACTIVATE 9104 at (80000,101); the DB returns fields 9=3117, 20=97, 8="x", 21=4.
#[test]
fn dbss_6_activation_emits_like_creation_in_the_name_of_the_database() {
    everywhere_with_dbss(|world, database, asker| {
        let all = world.link(&[80_000, location_channel(80_000, 101), children_channel(9104)]);
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        let fields = Payload::new().u16(4).u16(id::DB3).text("x").u16(id::RDB3).u32(3117);
        let fields = fields.u16(id::RDBD5).u8(97).u16(id::DB5).u16(4);
        reply_object(world, database, 9104, context, id::OBJECT5, fields);
        let body = |text: &str| Payload(hex(text));
        world.expect(
            all,
            &[
                seen(&[80000], 9104, t::STATESERVER_OBJECT_GET_AI, body("00000000")),
                seen(
                    &[80000],
                    1200,
                    t::STATESERVER_OBJECT_CHANGING_LOCATION,
                    body("90230000 80380100 65000000 00000000 00000000"),
                ),
                seen(
                    &[0x1388000000065],
                    9104,
                    t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER,
                    body("90230000 80380100 65000000 0400 4e000000 2d0c0000 0000"),
                ),
                seen(&[0x100002390], 9104, t::STATESERVER_OBJECT_GET_LOCATION, body("e9030000")),
            ],
        );
        assert_eq!(is_activated(world, 9104), Some(true));
    });
}

#[test]
fn dbss_3_activating_a_live_object_does_nothing() {
    everywhere_with_dbss(|world, database, asker| {
        made_live(world, database, 9104);
        let before = world.get_all(9104);
        let all = world.link(&[80_000, 80_001, location_channel(80_001, 5)]);
        activate(world, asker, 9104, (80_001, 5));
        activate_other(world, asker, 9104, id::OBJECT5, Payload::new().u16(0));
        world.expect(all, &[]);
        world.expect(database, &[]);
        assert_eq!(world.get_all(9104), before);
    });
}

#[test]
fn dbss_4_overrides_beat_stored_values_and_those_beat_defaults() {
    everywhere_with_dbss(|world, database, asker| {
        let others = Payload::new().u16(4).u16(id::RDBD5).u8(1).u16(id::DB5).u16(9);
        let others = others.u16(id::DB3).text("over").u16(id::RDBD5).u8(2);
        activate_other(world, asker, 9104, id::OBJECT5, others);
        let context = get_all_context(world, database, 9104);
        let fields = Payload::new().u16(2).u16(id::RDBD5).u8(97).u16(id::DB3).text("stored");
        reply_object(world, database, 9104, context, id::OBJECT5, fields);
        let required = Payload::new().u32(80_000).u32(101).u16(id::OBJECT5).u32(78).u32(0).u8(2);
        assert_eq!(world.get_all(9104), Some(required.u16(1).u16(id::DB3).text("over").0));
        world.expect(database, &[]);

        activate(world, asker, 9105, (80_000, 101));
        let context = get_all_context(world, database, 9105);
        reply_object(world, database, 9105, context, id::OBJECT5, Payload::new().u16(1).u16(id::RDB3).u32(7));
        let required = Payload::new().u32(80_000).u32(101).u16(id::OBJECT5).u32(78).u32(7).u8(20);
        assert_eq!(world.get_all(9105), Some(required.u16(0).0));
    });
}

#[test]
fn dbss_5_only_a_ram_value_makes_the_longer_announcement() {
    everywhere_with_dbss(|world, database, asker| {
        let location = world.link(&[location_channel(80_000, 101)]);
        for (doid, other, expected) in [
            (9104, Payload::new().u16(0), t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED),
            (
                9105,
                Payload::new().u16(1).u16(id::BR1).text(""),
                t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER,
            ),
        ] {
            activate_other(world, asker, doid, id::OBJECT5, other);
            let context = get_all_context(world, database, doid);
            reply_object(world, database, doid, context, id::OBJECT5, stored());
            let types: Vec<_> = world.take(location).into_iter().map(|seen| seen.message_type).collect();
            assert_eq!(types, [expected]);
        }
    });
}

#[test]
fn dbss_7_a_failed_load_is_silent_and_may_be_tried_again() {
    everywhere_with_dbss(|world, database, asker| {
        let all = world.link(&[80_000, location_channel(80_000, 101), children_channel(9104)]);
        let bad_replies = [
            Payload::new().u8(0),
            Payload::new().u8(1).u16(500).u16(0),
            Payload::new().u8(1).u16(id::PAIR).u16(0),
            Payload::new().u8(1).u16(id::OBJECT3).u16(1).u16(id::RDBD5).u8(1),
            Payload::new().u8(1).u16(id::WALKER).u16(1).u16(id::RANGE).u8(101),
            Payload::new().u8(1).u16(id::OBJECT5).u16(2).u16(id::RDBD5).u8(1),
            Payload::new(),
        ];
        for bad in bad_replies {
            activate(world, asker, 9104, (80_000, 101));
            let context = get_all_context(world, database, 9104);
            let payload = Payload::new().u32(context).bytes(&bad.0);
            reply(world, database, 9104, t::DBSERVER_OBJECT_GET_ALL_RESP, payload);
            world.expect(all, &[]);
            assert_eq!(is_activated(world, 9104), Some(false));
        }
        world.expect(asker, &[]);
        made_live(world, database, 9104);
    });
}

#[test]
fn dbss_8_an_object_of_another_class_than_expected_is_not_made_live() {
    everywhere_with_dbss(|world, database, asker| {
        activate_other(world, asker, 9104, id::OBJECT3, Payload::new().u16(0));
        let context = get_all_context(world, database, 9104);
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        assert_eq!(is_activated(world, 9104), Some(false));
        for unknown in [500, id::PAIR] {
            activate_other(world, asker, 9104, unknown, Payload::new().u16(0));
        }
        world.expect(database, &[]);
    });
}

#[test]
fn dbss_9_get_activated_is_answered_after_the_load_with_its_outcome() {
    everywhere_with_dbss(|world, database, asker| {
        for (doid, succeeds) in [(9104, true), (9105, false)] {
            activate(world, asker, doid, (80_000, 101));
            let context = get_all_context(world, database, doid);
            let question = Payload::new().u32(3).u32(doid);
            ask(world, database, doid, t::DBSS_OBJECT_GET_ACTIVATED, question);
            world.expect(asker, &[]);
            if succeeds {
                reply_object(world, database, doid, context, id::OBJECT5, stored());
            } else {
                reply_missing(world, database, doid, context);
            }
            let body = Payload::new().u32(3).u32(doid).u8(succeeds.into());
            world.expect(asker, &[seen(&[S], doid.into(), t::DBSS_OBJECT_GET_ACTIVATED_RESP, body)]);
        }
    });
}

#[test]
fn dbss_10_and_11_what_came_during_the_load_is_applied_in_order_and_forwarded_once() {
    everywhere_with_dbss(|world, database, asker| {
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        let location = world.link(&[location_channel(80_000, 101)]);
        for value in [1, 2] {
            let update = set_field(9104, id::RDB3, Payload::new().u32(value));
            ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELD, update);
        }
        world.expect(database, &[]);
        let payload = Payload::new().u32(context).u8(1).u16(id::OBJECT5).bytes(&stored().0);
        world.post(database, &[9104], DATABASE, t::DBSERVER_OBJECT_GET_ALL_RESP, payload);
        let update = |value| set_field(9104, id::RDB3, Payload::new().u32(value));
        world.post(asker, &[9104], S, t::STATESERVER_OBJECT_SET_FIELD, update(3));
        world.run();
        let announced = |value| seen(&[location_channel(80_000, 101)], S, t::STATESERVER_OBJECT_SET_FIELD, update(value));
        assert_eq!(world.take(location)[1..], [announced(1), announced(2), announced(3)]);
        let forwarded = |value| seen(&[DATABASE], 9104, t::DBSERVER_OBJECT_SET_FIELD, update(value));
        world.expect(database, &[forwarded(1), forwarded(2), forwarded(3)]);
        let all = Payload::new().u32(80_000).u32(101).u16(id::OBJECT5).u32(78).u32(3).u8(97).u16(0);
        assert_eq!(world.get_all(9104), Some(all.0));
    });
}

#[test]
fn dbss_12_reads_kept_before_and_after_a_deletion_are_answered_once_each() {
    everywhere_with_dbss(|world, database, asker| {
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        let question = |context| Payload::new().u32(context).u32(9104).u16(id::RDB3);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_FIELD, question(1));
        ask(world, asker, 9104, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(9104));
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_FIELD, question(2));
        let asker_2 = world.link(&[S]);
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        let answer = |context, value| {
            let body = Payload::new().u32(context).u8(1).u16(id::RDB3).u32(value);
            seen(&[S], 9104, t::STATESERVER_OBJECT_GET_FIELD_RESP, body)
        };
        world.expect(asker_2, &[answer(1, 3117)]);
        let requests = world.take(database);
        let [request] = &requests[..] else { panic!("{requests:?}") };
        assert_eq!(request.message_type, t::DBSERVER_OBJECT_GET_FIELD);
        let payload = Payload::new().bytes(&request.body[..4]).u8(1).u16(id::RDB3).u32(4000);
        reply(world, database, 9104, t::DBSERVER_OBJECT_GET_FIELD_RESP, payload);
        world.expect(asker_2, &[answer(2, 4000)]);
    });
}

/// The golden vector: GET_ALL ctx 1 on inactive 9100 (DB: 9=3117, 20=97).
#[test]
fn dbss_13_get_all_of_a_stored_object_is_answered_from_the_database() {
    everywhere_with_dbss(|world, database, asker| {
        let ask_all = |world: &mut World, context| {
            let payload = Payload::new().u32(context).u32(9100);
            world.send(database, &[9100], S, t::STATESERVER_OBJECT_GET_ALL, payload);
        };
        let questioner = world.link(&[DATABASE]);
        ask_all(world, 1);
        world.expect(questioner, &[seen(&[1200], 9100, t::DBSERVER_OBJECT_GET_ALL, Payload(hex("00000000 8c230000")))]);
        reply_object(world, database, 9100, 0, id::OBJECT5, stored());
        let body = Payload(hex("01000000 8c230000 00000000 00000000 0400 4e000000 2d0c0000 61 0000"));
        world.expect(asker, &[seen(&[S], 9100, t::STATESERVER_OBJECT_GET_ALL_RESP, body)]);
        ask_all(world, 2);
        reply_missing(world, database, 9100, 1);
        ask_all(world, 3);
        reply_object(world, database, 9100, 2, id::OBJECT5, Payload::new().u16(1).u16(id::X).u16(1));
        world.expect(asker, &[]);
        ask_all(world, 4);
        let fields = Payload::new().u16(3).u16(id::ADB3).text("b").u16(id::DB5).u16(4).u16(id::DB3).text("a");
        reply_object(world, database, 9100, 3, id::OBJECT5, fields);
        let body = Payload::new().u32(4).u32(9100).u32(0).u32(0).u16(id::OBJECT5).u32(78).u32(0).u8(20);
        let body = body.u16(2).u16(id::DB3).text("a").u16(id::ADB3).text("b");
        world.expect(asker, &[seen(&[S], 9100, t::STATESERVER_OBJECT_GET_ALL_RESP, body)]);
    });
}

#[test]
fn dbss_14_one_answer_serves_a_get_all_and_the_activation_behind_it() {
    everywhere_with_dbss(|world, database, asker| {
        let watcher = world.link(&[S]);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_ALL, Payload::new().u32(1).u32(9104));
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        assert_eq!(world.take(watcher).len(), 1);
        assert_eq!(is_activated(world, 9104), Some(true));
    });
}

#[test]
fn dbss_15_an_answered_get_all_does_not_serve_a_later_activation() {
    everywhere_with_dbss(|world, database, asker| {
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_ALL, Payload::new().u32(1).u32(9104));
        let context = get_all_context(world, database, 9104);
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        assert_eq!(is_activated(world, 9104), Some(true));
    });
}

#[test]
fn dbss_16_and_the_other_reads_of_one_field_of_a_stored_object() {
    everywhere_with_dbss(|world, database, _| {
        let asker = world.link(&[]);
        let answers = world.link(&[S]);
        let read = |world: &mut World, field| {
            let payload = Payload::new().u32(6).u32(9100).u16(field);
            ask(world, asker, 9100, t::STATESERVER_OBJECT_GET_FIELD, payload);
            world.take(answers).pop().map(|answer| answer.body)
        };
        let failed = Some(Payload::new().u32(6).u8(0).0);
        assert_eq!(read(world, id::DB5), failed, "db only");
        assert_eq!(read(world, id::B1), failed, "neither ram nor required");
        assert_eq!(read(world, id::NONE), failed);
        assert_eq!(read(world, id::BR1), failed, "no default");
        assert_eq!(read(world, id::REQUIRED1), Some(Payload::new().u32(6).u8(1).u16(id::REQUIRED1).u32(78).0));
        world.expect(database, &[]);
        assert_eq!(read(world, id::RDB3), None);
        let body = Payload::new().u32(0).u32(9100).u16(id::RDB3);
        world.expect(database, &[seen(&[DATABASE], 9100, t::DBSERVER_OBJECT_GET_FIELD, body)]);
        let payload = Payload::new().u32(0).u8(1).u16(id::RDB3).u32(3117);
        reply(world, database, 9100, t::DBSERVER_OBJECT_GET_FIELD_RESP, payload);
        let body = Payload::new().u32(6).u8(1).u16(id::RDB3).u32(3117);
        world.expect(answers, &[seen(&[S], 9100, t::STATESERVER_OBJECT_GET_FIELD_RESP, body)]);
        read(world, id::DB3);
        reply(world, database, 9100, t::DBSERVER_OBJECT_GET_FIELD_RESP, Payload::new().u32(1).u8(0));
        let body = Payload::new().u32(6).u8(0);
        world.expect(answers, &[seen(&[S], 9100, t::STATESERVER_OBJECT_GET_FIELD_RESP, body)]);
    });
}

#[test]
fn dbss_17_and_the_other_reads_of_several_fields_of_a_stored_object() {
    everywhere_with_dbss(|world, database, _| {
        let (asker, answers) = (world.link(&[]), world.link(&[S]));
        let read = |world: &mut World, fields: &[u16]| {
            let payload = Payload::new().u32(6).u32(9100).u16(fields.len() as u16);
            let payload = fields.iter().fold(payload, |payload, &field| payload.u16(field));
            ask(world, asker, 9100, t::STATESERVER_OBJECT_GET_FIELDS, payload);
        };
        let answer = |payload| seen(&[S], 9100, t::STATESERVER_OBJECT_GET_FIELDS_RESP, payload);
        read(world, &[id::RDB3, id::NONE, id::RDBD5]);
        world.expect(answers, &[answer(Payload::new().u32(6).u8(0))]);
        read(world, &[id::BRA1, id::B1, id::REQUIRED1, id::DB5]);
        let defaults = Payload::new().u32(6).u8(1).u16(2).u16(id::BRA1).u32(0).u16(id::REQUIRED1).u32(78);
        world.expect(answers, &[answer(defaults)]);
        world.expect(database, &[]);
        read(world, &[id::RDBD5, id::DB5, id::REQUIRED1, id::RDB3]);
        let request = Payload::new().u32(0).u32(9100).u16(2).u16(id::RDBD5).u16(id::RDB3);
        world.expect(database, &[seen(&[DATABASE], 9100, t::DBSERVER_OBJECT_GET_FIELDS, request)]);
        // What follows the count is passed on unread.
        let payload = Payload::new().u32(0).u8(1).u16(2).bytes(&[1, 2, 3, 4, 5]);
        reply(world, database, 9100, t::DBSERVER_OBJECT_GET_FIELDS_RESP, payload);
        let pairs = Payload::new().u32(6).u8(1).u16(3).u16(id::REQUIRED1).u32(78).bytes(&[1, 2, 3, 4, 5]);
        world.expect(answers, &[answer(pairs)]);
        for (context, failure) in [(1, Payload::new().u8(0)), (2, Payload::new().u8(1)), (3, Payload::new())] {
            read(world, &[id::RDB3]);
            let payload = Payload::new().u32(context).bytes(&failure.0);
            reply(world, database, 9100, t::DBSERVER_OBJECT_GET_FIELDS_RESP, payload);
            world.expect(answers, &[answer(Payload::new().u32(6).u8(0))]);
        }
    });
}

#[test]
fn dbss_18_fields_that_are_not_stored_do_not_reach_the_database() {
    everywhere_with_dbss(|world, database, asker| {
        made_live(world, database, 9104);
        for doid in [9104, 9105] {
            let update = set_field(doid, id::BRA1, Payload::new().u32(1));
            ask(world, asker, doid, t::STATESERVER_OBJECT_SET_FIELD, update);
            let updates = Payload::new().u32(doid).u16(2).u16(id::BRA1).u32(1).u16(id::B1).u8(2);
            ask(world, asker, doid, t::STATESERVER_OBJECT_SET_FIELDS, updates);
            let unknown = Payload::new().u32(doid).u16(2).u16(id::RDB3).u32(1).u16(id::NONE).u8(2);
            ask(world, asker, doid, t::STATESERVER_OBJECT_SET_FIELDS, unknown);
        }
        world.expect(database, &[]);
    });
}

#[test]
fn dbss_19_set_fields_goes_to_the_database_ascending_and_always_as_a_list() {
    everywhere_with_dbss(|world, database, asker| {
        let updates = Payload::new().u32(9104).u16(5).u16(id::DB5).u16(7).u16(id::BRA1).u32(1);
        let updates = updates.u16(id::DB3).text("last").u16(id::RDB3).u32(2).u16(id::DB5).u16(8);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELDS, updates);
        let body = Payload::new().u32(9104).u16(3).u16(id::DB3).text("last").u16(id::RDB3).u32(2).u16(id::DB5).u16(8);
        world.expect(database, &[seen(&[DATABASE], 9104, t::DBSERVER_OBJECT_SET_FIELDS, body)]);
        let one = Payload::new().u32(9104).u16(2).u16(id::BRA1).u32(1).u16(id::RDB3).u32(2);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELDS, one);
        let body = Payload::new().u32(9104).u16(1).u16(id::RDB3).u32(2);
        world.expect(database, &[seen(&[DATABASE], 9104, t::DBSERVER_OBJECT_SET_FIELDS, body)]);
        let cut = Payload::new().u32(9104).u16(2).u16(id::RDB3).u32(2).u16(id::DB5).u8(2);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELDS, cut);
        world.expect(database, &[]);
    });
}

#[test]
fn dbss_20_an_update_of_a_live_object_is_applied_announced_and_stored() {
    everywhere_with_dbss(|world, database, asker| {
        made_live(world, database, 9104);
        let location = world.link(&[location_channel(80_000, 101)]);
        for (field, value) in [(id::RDB3, Payload::new().u32(5)), (id::DB5, Payload::new().u16(6))] {
            let update = set_field(9104, field, value);
            ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELD, update.clone());
            world.expect(database, &[seen(&[DATABASE], 9104, t::DBSERVER_OBJECT_SET_FIELD, update.clone())]);
            let announced =
                seen(&[location_channel(80_000, 101)], S, t::STATESERVER_OBJECT_SET_FIELD, update);
            world.expect(location, if field == id::RDB3 { std::slice::from_ref(&announced) } else { &[] });
        }
        let all = Payload::new().u32(80_000).u32(101).u16(id::OBJECT5).u32(78).u32(5).u8(97).u16(0);
        assert_eq!(world.get_all(9104), Some(all.0));
    });
}

#[test]
fn dbss_21_reads_of_a_live_object_do_not_reach_the_database() {
    everywhere_with_dbss(|world, database, _| {
        made_live(world, database, 9104);
        let (asker, answers) = (world.link(&[]), world.link(&[S]));
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(1).u32(9104).u16(id::RDB3));
        let two = Payload::new().u32(1).u32(9104).u16(2).u16(id::RDB3).u16(id::DB5);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_FIELDS, two);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_ALL, Payload::new().u32(1).u32(9104));
        assert_eq!(world.take(answers).len(), 3, "the object answers, and nobody else");
        world.expect(database, &[]);
    });
}

#[test]
fn dbss_22_ram_and_disk_are_deleted_apart() {
    everywhere_with_dbss(|world, database, asker| {
        made_live(world, database, 9104);
        for (message_type, channel) in [(t::STATESERVER_OBJECT_SET_AI, 31_000), (t::STATESERVER_OBJECT_SET_OWNER, 32_000)]
        {
            ask(world, asker, 9104, message_type, Payload::new().u64(channel));
        }
        let all = world.link(&[location_channel(80_000, 101), 31_000, 32_000]);
        ask(world, asker, 9104, t::DBSS_OBJECT_DELETE_DISK, Payload::new().u32(9104));
        let to = [location_channel(80_000, 101), 31_000, 32_000];
        world.expect(all, &[seen(&to, S, t::DBSS_OBJECT_DELETE_DISK, Payload::new().u32(9104))]);
        world.expect(database, &[seen(&[DATABASE], 9104, t::DBSERVER_OBJECT_DELETE, Payload::new().u32(9104))]);
        assert_eq!(is_activated(world, 9104), Some(true));
        ask(world, asker, 9104, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(9104));
        world.expect(database, &[]);
        assert_eq!(is_activated(world, 9104), Some(false));
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_ALL, Payload::new().u32(1).u32(9104));
        get_all_context(world, database, 9104);
    });
}

#[test]
fn dbss_23_deleting_a_stored_object_that_is_not_live_only_tells_the_database() {
    everywhere_with_dbss(|world, database, asker| {
        let watcher = world.link(&[S, location_channel(80_000, 101)]);
        ask(world, asker, 9104, t::DBSS_OBJECT_DELETE_DISK, Payload::new().u32(9104));
        world.expect(watcher, &[]);
        world.expect(database, &[seen(&[DATABASE], 9104, t::DBSERVER_OBJECT_DELETE, Payload::new().u32(9104))]);
    });
}

#[test]
fn dbss_24_answers_that_nobody_waits_for_are_ignored() {
    everywhere_with_dbss(|world, database, asker| {
        let watcher = world.link(&[S]);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(1).u32(9104).u16(id::RDB3));
        activate(world, asker, 9105, (80_000, 101));
        world.take(database);
        let field = Payload::new().u8(1).u16(id::RDB3).u32(1);
        let with = |context: u32| Payload::new().u32(context).bytes(&field.0);
        reply(world, database, 9104, t::DBSERVER_OBJECT_GET_FIELD_RESP, with(700));
        reply(world, database, 9104, t::DBSERVER_OBJECT_GET_FIELDS_RESP, with(0));
        reply(world, database, 9106, t::DBSERVER_OBJECT_GET_FIELD_RESP, with(0));
        reply_object(world, database, 9105, 700, id::OBJECT5, stored());
        reply_object(world, database, 9104, 700, id::OBJECT5, stored());
        world.expect(watcher, &[]);
        assert_eq!(world.live_objects(), 0);
        reply(world, database, 9104, t::DBSERVER_OBJECT_GET_FIELD_RESP, with(0));
        assert_eq!(world.take(watcher).len(), 1, "the question was still open");
        reply(world, database, 9104, t::DBSERVER_OBJECT_GET_FIELD_RESP, with(0));
        world.expect(watcher, &[]);
    });
}

#[test]
fn dbss_25_class_0_is_a_class() {
    everywhere_with_dbss(|world, database, asker| {
        activate_other(world, asker, 9104, id::OBJECT1, Payload::new().u16(0));
        let context = get_all_context(world, database, 9104);
        reply_object(world, database, 9104, context, id::OBJECT1, Payload::new().u16(0));
        assert_eq!(is_activated(world, 9104), Some(true));
    });
}

#[test]
fn a_load_that_takes_too_long_fails() {
    everywhere_with_dbss(|world, database, asker| {
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        world.pass(9_999_999);
        assert_eq!(is_activated(world, 9104), None, "still being loaded");
        world.pass(1);
        assert_eq!(is_activated(world, 9104), Some(false));
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        assert_eq!(is_activated(world, 9104), Some(false));
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        world.pass(60_000_000);
        assert_eq!(is_activated(world, 9104), Some(true), "the timer of a finished load does nothing");
    });
}

#[test]
fn what_waits_for_a_load_is_limited() {
    everywhere_with_dbss(|world, database, asker| {
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        for value in 0..8 {
            let update = set_field(9104, id::RDB3, Payload::new().u32(value));
            ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELD, update);
        }
        assert_eq!(world.metric(|metrics| metrics.object_messages_refused), 3);
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        assert_eq!(world.take(database).len(), 5);
    });
}

#[test]
fn a_location_makes_a_stored_object_live_in_the_name_of_its_sender() {
    everywhere_with_dbss(|world, database, asker| {
        let parent = world.link(&[80_000]);
        let place = |parent: u32| Payload::new().u32(parent).u32(101);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_LOCATION, place(0));
        world.expect(database, &[]);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_LOCATION, place(80_000));
        let context = get_all_context(world, database, 9104);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(80_000).u32(102));
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        let moved = |new: u32, old: (u32, u32)| {
            let body = Payload::new().u32(9104).u32(80_000).u32(new).u32(old.0).u32(old.1);
            (S, body.0)
        };
        let told: Vec<_> = world.take(parent).into_iter().skip(1).map(|seen| (seen.from, seen.body)).collect();
        assert_eq!(told, [moved(101, (0, 0)), moved(102, (80_000, 101))]);
        world.expect(database, &[]);
    });
    let mut strict = World::new(2, vec![config::DatabaseStateServer { activate_on_location: false, ..settings() }]);
    let (database, asker) = (strict.link(&[DATABASE]), strict.link(&[]));
    let place = Payload::new().u32(80_000).u32(101);
    ask(&mut strict, asker, 9104, t::STATESERVER_OBJECT_SET_LOCATION, place);
    strict.expect(database, &[]);
}

#[test]
fn fields_are_deleted_on_disk_and_observers_of_a_live_object_are_told() {
    everywhere_with_dbss(|world, database, asker| {
        let one = Payload::new().u32(9104).u16(id::RDB3);
        let three = Payload::new().u32(9104).u16(3).u16(id::RDBD5).u16(id::BRA1).u16(id::RDB3);
        let unknown = Payload::new().u32(9104).u16(2).u16(id::RDBD5).u16(id::NONE);
        let on_disk = |message_type, payload| seen(&[DATABASE], 9104, message_type, payload);
        let location = world.link(&[location_channel(80_000, 101)]);
        for is_live in [false, true] {
            if is_live {
                made_live(world, database, 9104);
                world.take(location);
            }
            ask(world, asker, 9104, t::DBSS_OBJECT_DELETE_FIELD_DISK, one.clone());
            world.expect(database, &[on_disk(t::DBSERVER_OBJECT_DELETE_FIELD, one.clone())]);
            ask(world, asker, 9104, t::DBSS_OBJECT_DELETE_FIELDS_DISK, three.clone());
            let both = Payload::new().u32(9104).u16(2).u16(id::RDB3).u16(id::RDBD5);
            world.expect(database, &[on_disk(t::DBSERVER_OBJECT_DELETE_FIELDS, both)]);
            ask(world, asker, 9104, t::DBSS_OBJECT_DELETE_FIELDS_DISK, unknown.clone());
            world.expect(database, &[]);
            let told = seen(&[location_channel(80_000, 101)], S, t::DBSS_OBJECT_DELETE_FIELD_DISK, one.clone());
            world.expect(location, if is_live { &[told.clone(), told] } else { &[] });
        }
        let all = Payload::new().u32(80_000).u32(101).u16(id::OBJECT5).u32(78).u32(3117).u8(97).u16(0);
        assert_eq!(world.get_all(9104), Some(all.0), "RAM stays");
    });
}

#[test]
fn the_role_acts_for_the_doid_that_is_named_and_addressed() {
    everywhere_with_dbss(|world, database, asker| {
        for elsewhere in [9105, 500] {
            activate(world, asker, elsewhere, (80_000, 101));
            world.take(database);
            let payload = Payload::new().u32(elsewhere).u32(80_000).u32(101);
            ask(world, asker, 9104, t::DBSS_OBJECT_ACTIVATE_WITH_DEFAULTS, payload);
            let update = set_field(elsewhere, id::RDB3, Payload::new().u32(1));
            ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELD, update);
            world.expect(database, &[]);
        }
        let update = set_field(9106, id::RDB3, Payload::new().u32(1));
        let to: Vec<Channel> = (9100..9110).collect();
        world.send(asker, &to, S, t::STATESERVER_OBJECT_SET_FIELD, update.clone());
        world.expect(database, &[seen(&[DATABASE], 9106, t::DBSERVER_OBJECT_SET_FIELD, update)]);
    });
}

#[test]
fn a_failed_load_hands_on_what_was_kept_as_to_an_object_that_is_not_live() {
    everywhere_with_dbss(|world, database, asker| {
        let watcher = world.link(&[S]);
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        let update = set_field(9104, id::RDB3, Payload::new().u32(1));
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELD, update.clone());
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(1).u32(9104).u16(id::REQUIRED1));
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(80_000).u32(5));
        ask(world, asker, 9104, t::DBSS_OBJECT_GET_ACTIVATED, Payload::new().u32(2).u32(9104));
        reply_missing(world, database, 9104, context);
        let types: Vec<_> = world.take(watcher).into_iter().map(|seen| seen.message_type).collect();
        assert_eq!(types, [t::STATESERVER_OBJECT_GET_FIELD_RESP], "the location has begun another load");
        let requests = world.take(database);
        let types: Vec<_> = requests.iter().map(|seen| seen.message_type).collect();
        assert_eq!(types, [t::DBSERVER_OBJECT_SET_FIELD, t::DBSERVER_OBJECT_GET_ALL]);
        let context = u32::from_le_bytes(requests[1].body[..4].try_into().unwrap());
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        let body = Payload::new().u32(2).u32(9104).u8(1);
        world.expect(watcher, &[seen(&[S], 9104, t::DBSS_OBJECT_GET_ACTIVATED_RESP, body)]);
    });
}
