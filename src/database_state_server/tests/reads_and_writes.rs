use super::*;
use crate::wire::database_broadcast_channel;

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
            let announced = seen(&[location_channel(80_000, 101)], S, t::STATESERVER_OBJECT_SET_FIELD, update);
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
        for (message_type, channel) in
            [(t::STATESERVER_OBJECT_SET_AI, 31_000), (t::STATESERVER_OBJECT_SET_OWNER, 32_000)]
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
            world.expect(location, &vec![told; if is_live { 2 } else { 0 }]);
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

/// AMB-2, which is off unless configured.
#[test]
fn a_live_object_follows_the_database_where_it_is_told_to() {
    for (follow_database, shards) in [(true, 1), (true, 4), (false, 2)] {
        let mut world = World::new(shards, vec![config::DatabaseStateServer { follow_database, ..settings() }]);
        let database = world.link(&[DATABASE]);
        made_live(&mut world, database, 9104);
        let location = world.link(&[location_channel(80_000, 101)]);
        let broadcast = |world: &mut World, sender, message_type, payload: Payload| {
            let payload = Payload::new().u32(9104).bytes(&payload.0);
            world.send(database, &[database_broadcast_channel(9104)], sender, message_type, payload);
            world.get_all(9104).unwrap()[10..].to_vec()
        };
        let all = |rdb3, rdbd5, other: Payload| Payload::new().u32(78).u32(rdb3).u8(rdbd5).bytes(&other.0).0;
        let set = t::DBSERVER_OBJECT_SET_FIELD;
        let first = broadcast(&mut world, S, set, Payload::new().u16(id::RDB3).u32(1));
        if !follow_database {
            assert_eq!(first, all(3117, 97, Payload::new().u16(0)));
            continue;
        }
        assert_eq!(first, all(1, 97, Payload::new().u16(0)));
        let echo = broadcast(&mut world, 9104, set, Payload::new().u16(id::RDB3).u32(2));
        assert_eq!(echo, all(1, 97, Payload::new().u16(0)));
        let two = Payload::new().u16(2).u16(id::DB3).text("new").u16(id::DB5).u16(3);
        let several = broadcast(&mut world, S, t::DBSERVER_OBJECT_SET_FIELDS, two);
        let with_text = Payload::new().u16(1).u16(id::DB3).text("new");
        assert_eq!(several, all(1, 97, with_text.clone()));
        let gone = broadcast(&mut world, S, t::DBSERVER_OBJECT_DELETE_FIELD, Payload::new().u16(id::RDBD5));
        assert_eq!(gone, all(1, 20, with_text));
        let two = Payload::new().u16(2).u16(id::RDB3).u16(id::DB3);
        let several = broadcast(&mut world, S, t::DBSERVER_OBJECT_DELETE_FIELDS, two);
        assert_eq!(several, all(0, 20, Payload::new().u16(0)));
        broadcast(&mut world, S, t::DBSERVER_OBJECT_DELETE, Payload::new());
        assert!(world.is_live(9104));
        world.expect(location, &[]);
    }
}

#[test]
fn a_molecular_field_goes_to_the_database_as_its_parts() {
    everywhere_with_dbss(|world, database, asker| {
        let to_database = |message_type, payload| seen(&[DATABASE], 9104, message_type, payload);
        let parts = |left, right| Payload::new().u16(id::LEFT5).u8(left).u16(id::RIGHT5).u8(right);
        let update = set_field(9104, id::BOTH5, Payload::new().u8(1).u8(2));
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELD, update);
        let body = Payload::new().u32(9104).u16(2).bytes(&parts(2, 1).0);
        world.expect(database, &[to_database(t::DBSERVER_OBJECT_SET_FIELDS, body)]);
        let updates = Payload::new().u32(9104).u16(3).u16(id::LEFT5).u8(9).u16(id::BOTH5).u8(3).u8(4);
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELDS, updates.u16(id::RDB3).u32(5));
        let body = Payload::new().u32(9104).u16(3).u16(id::RDB3).u32(5).bytes(&parts(4, 3).0);
        world.expect(database, &[to_database(t::DBSERVER_OBJECT_SET_FIELDS, body)]);
        let short = set_field(9104, id::BOTH5, Payload::new().u8(1));
        ask(world, asker, 9104, t::STATESERVER_OBJECT_SET_FIELD, short);
        world.expect(database, &[]);
        let field = Payload::new().u32(9104).u16(id::BOTH5);
        ask(world, asker, 9104, t::DBSS_OBJECT_DELETE_FIELD_DISK, field);
        let body = Payload::new().u32(9104).u16(2).u16(id::LEFT5).u16(id::RIGHT5);
        world.expect(database, &[to_database(t::DBSERVER_OBJECT_DELETE_FIELDS, body)]);
    });
}
