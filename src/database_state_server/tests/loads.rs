use super::*;

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
fn dbss_10_dbss_11_what_came_during_the_load_is_applied_in_order_and_forwarded_once() {
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
        let announced =
            |value| seen(&[location_channel(80_000, 101)], S, t::STATESERVER_OBJECT_SET_FIELD, update(value));
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

/// A write between the two goes to the database before the load asks, so that the object wakes with it.
#[test]
fn a_get_all_that_something_was_written_behind_does_not_serve_an_activation() {
    everywhere_with_dbss(|world, database, asker| {
        ask(world, asker, 9104, t::STATESERVER_OBJECT_GET_ALL, Payload::new().u32(1).u32(9104));
        let asked = get_all_context(world, database, 9104);
        ask(world, asker, 9104, t::DBSS_OBJECT_DELETE_DISK, Payload::new().u32(9104));
        activate(world, asker, 9104, (80_000, 101));
        let types: Vec<_> = world.take(database).iter().map(|seen| seen.message_type).collect();
        assert_eq!(types, [t::DBSERVER_OBJECT_DELETE, t::DBSERVER_OBJECT_GET_ALL]);
        reply_object(world, database, 9104, asked, id::OBJECT5, stored());
        assert_eq!(is_activated(world, 9104), None, "the load waits for an answer of its own");
        reply(world, database, 9104, t::DBSERVER_OBJECT_GET_ALL_RESP, Payload::new().u32(asked + 1).u8(0));
        assert_eq!(is_activated(world, 9104), Some(false));
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

#[test]
fn overrides_are_read_by_parts_skip_what_is_not_kept_and_end_at_an_unknown_field() {
    everywhere_with_dbss(|world, database, asker| {
        let others = Payload::new().u16(5).u16(id::DB5).u16(9).u16(id::BOTH5).u8(1).u8(2).u16(id::RDBD5).u8(3);
        activate_other(world, asker, 9104, id::OBJECT5, others.u16(id::NONE).u8(1).u16(id::RDBD5).u8(4));
        let context = get_all_context(world, database, 9104);
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        let fields = Payload::new().u32(78).u32(3117).u8(3).u16(2).u16(id::LEFT5).u8(2).u16(id::RIGHT5).u8(1);
        let all = Payload::new().u32(80_000).u32(101).u16(id::OBJECT5).bytes(&fields.0);
        assert_eq!(world.get_all(9104), Some(all.0));
        activate_other(world, asker, 9105, id::OBJECT5, Payload::new().u16(1).u16(id::RDBD5));
        activate_other(world, asker, 9105, id::WALKER, Payload::new().u16(1).u16(id::RANGE).u8(101));
        world.expect(database, &[]);
    });
}

#[test]
fn an_object_created_by_other_means_during_its_load_stays_as_it_is() {
    everywhere_with_dbss(|world, database, asker| {
        activate(world, asker, 9104, (80_000, 101));
        let context = get_all_context(world, database, 9104);
        world.create1(asker, 9104, (5000, 1));
        let location = world.link(&[location_channel(5000, 1), location_channel(80_000, 101)]);
        world.set(asker, 9104, id::REQUIRED1, Payload::new().u32(1));
        reply_object(world, database, 9104, context, id::OBJECT5, stored());
        assert_eq!(world.take(location).len(), 1, "the update is handled once");
        let all = Payload::new().u32(5000).u32(1).u16(id::OBJECT1).u32(1).u16(0);
        assert_eq!(world.get_all(9104), Some(all.0));
    });
}
