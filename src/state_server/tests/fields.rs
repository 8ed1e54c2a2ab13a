use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{MessageType, location_channel};

const LOCATION: u64 = location_channel(5000, 1500);
const AI: u64 = 31000;
const OWNER: u64 = 32000;

/// Object 7001 of the class at (5000,1500), with AI and owner, and a link that sees location, AI, owner and sender 5.
fn observed(world: &mut World, class: u16, required: Payload) -> (LinkId, LinkId) {
    let (ai, all) = (world.link(&[]), world.link(&[5, LOCATION, AI, OWNER]));
    world.create(ai, 7001, (5000, 1500), class, required);
    world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
    world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_OWNER, Payload::new().u64(OWNER));
    world.take(all);
    (ai, all)
}

fn walker(world: &mut World) -> (LinkId, LinkId) {
    observed(world, id::WALKER, Payload::new().u8(50).u8(60))
}

fn object1(world: &mut World) -> (LinkId, LinkId) {
    observed(world, id::OBJECT1, Payload::new().u32(6789))
}

fn ask(world: &mut World, link: LinkId, message_type: MessageType, payload: Payload) {
    world.send(link, &[7001], 5, message_type, payload);
}

fn answer(message_type: MessageType, payload: Payload) -> Seen {
    seen(&[5], 7001, message_type, payload)
}

#[test]
fn ss_9_a_set_field_that_clients_do_not_see_makes_an_empty_other() {
    everywhere(|world| {
        let (ai, all) = walker(world);
        world.set(ai, 7001, id::SECRET, Payload::new().u8(3));
        world.expect(all, &[]);
        ask(world, ai, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(5000).u32(1501));
        let new = location_channel(5000, 1501);
        world.subscribe(all, new);
        ask(world, ai, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(6000).u32(1));
        ask(world, ai, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(5000).u32(1501));
        let body = Payload::new().u32(7001).u32(5000).u32(1501).u16(id::WALKER).u8(50).u16(0);
        let entered = seen(&[new], 7001, t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER, body);
        assert_eq!(world.take(all).last(), Some(&entered));
    });
}

#[test]
fn ss_10_other_is_ascending_whatever_the_order_of_setting() {
    everywhere(|world| {
        let (ai, _) = object1(world);
        world.set(ai, 7001, id::BRO1, Payload::new().u32(5));
        world.set(ai, 7001, id::BR1, Payload::new().text("three"));
        world.set(ai, 7001, id::BRA1, Payload::new().u32(4));
        let other = Payload::new().u16(3).u16(id::BR1).text("three").u16(id::BRA1).u32(4).u16(id::BRO1).u32(5);
        let all = Payload::new().u32(5000).u32(1500).u16(id::OBJECT1).u32(6789).bytes(&other.0);
        assert_eq!(world.get_all(7001), Some(all.0));
    });
}

#[test]
fn ss_11_clrecv_is_shown_in_snapshots_and_announced_to_nobody() {
    everywhere(|world| {
        let (ai, all) = walker(world);
        world.set(ai, 7001, id::CL_RECV, Payload::new().u8(7));
        world.expect(all, &[]);
        let other = Payload::new().u8(50).u16(1).u16(id::CL_RECV).u8(7);
        ask(world, ai, t::STATESERVER_OBJECT_SET_OWNER, Payload::new().u64(OWNER + 1));
        let owner = world.link(&[OWNER]);
        ask(world, ai, t::STATESERVER_OBJECT_SET_OWNER, Payload::new().u64(OWNER));
        let body = Payload::new().u32(7001).u32(5000).u32(1500).u16(id::WALKER).bytes(&other.0);
        world.expect(owner, &[seen(&[OWNER], 7001, t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED_OTHER, body)]);
        let away = world.link(&[location_channel(6000, 1)]);
        ask(world, ai, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(6000).u32(1));
        let body = Payload::new().u32(7001).u32(6000).u32(1).u16(id::WALKER).bytes(&other.0);
        let message_type = t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER;
        world.expect(away, &[seen(&[location_channel(6000, 1)], 7001, message_type, body.clone())]);
        world.take(all);
        ask(world, ai, t::STATESERVER_OBJECT_LOCATION_ACK, Payload::new().u32(6000).u32(1));
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, Payload::new().u32(9).u32(6000).u32(1));
        let message_type = t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED_OTHER;
        world.expect(all, &[answer(message_type, Payload::new().u32(9).bytes(&body.0))]);
    });
}

#[test]
fn ss_12_ownrecv_is_shown_to_the_owner_only() {
    everywhere(|world| {
        let (ai, all) = walker(world);
        world.set(ai, 7001, id::OWN, Payload::new().u8(7));
        let body = Payload::new().u32(7001).u16(id::OWN).u8(7);
        world.expect(all, &[seen(&[OWNER], 5, t::STATESERVER_OBJECT_SET_FIELD, body)]);
        ask(world, ai, t::STATESERVER_OBJECT_SET_OWNER, Payload::new().u64(0));
        world.take(all);
        ask(world, ai, t::STATESERVER_OBJECT_SET_OWNER, Payload::new().u64(OWNER));
        let body = Payload::new().u32(7001).u32(5000).u32(1500).u16(id::WALKER).u8(50).u16(1).u16(id::OWN).u8(7);
        world.expect(all, &[seen(&[OWNER], 7001, t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED_OTHER, body)]);
        let away = world.link(&[location_channel(6000, 1)]);
        ask(world, ai, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(6000).u32(1));
        let body = Payload::new().u32(7001).u32(6000).u32(1).u16(id::WALKER).u8(50).u16(0);
        let message_type = t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER;
        world.expect(away, &[seen(&[location_channel(6000, 1)], 7001, message_type, body)]);
    });
}

#[test]
fn ss_13_ai_and_get_all_see_every_stored_field() {
    everywhere(|world| {
        let (ai, all) = walker(world);
        world.set(ai, 7001, id::SECRET, Payload::new().u8(3));
        world.set(ai, 7001, id::OWN, Payload::new().u8(4));
        world.take(all);
        let fields = Payload::new().u8(50).u8(60).u16(2).u16(id::OWN).u8(4).u16(id::SECRET).u8(3);
        let second = world.link(&[AI + 1]);
        ask(world, ai, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI + 1));
        let body = Payload::new().u32(7001).u32(5000).u32(1500).u16(id::WALKER).bytes(&fields.0);
        let entered = seen(&[AI + 1], 7001, t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED_OTHER, body.clone());
        world.expect(second, &[entered]);
        assert_eq!(world.get_all(7001), Some(body.0[4..].to_vec()));
    });
}

#[test]
fn ss_14_messages_that_name_another_object_are_ignored() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        let before = world.get_all(7001);
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(1).u32(7002).u16(id::REQUIRED1));
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELDS, Payload::new().u32(1).u32(7002).u16(0));
        ask(world, ai, t::STATESERVER_OBJECT_GET_ALL, Payload::new().u32(1).u32(7002));
        ask(world, ai, t::STATESERVER_OBJECT_SET_FIELD, Payload::new().u32(7002).u16(id::REQUIRED1).u32(1));
        let one_field = Payload::new().u32(7002).u16(1).u16(id::REQUIRED1).u32(1);
        ask(world, ai, t::STATESERVER_OBJECT_SET_FIELDS, one_field);
        ask(world, ai, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(7002));
        ask(world, ai, t::STATESERVER_OBJECT_DELETE_FIELD_RAM, Payload::new().u32(7002).u16(id::REQUIRED1));
        world.expect(all, &[]);
        assert_eq!(world.get_all(7001), before);
    });
}

#[test]
fn ss_15_unset_fields_fail_alone_and_are_left_out_together() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(1).u32(7001).u16(id::BR1));
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(2).u32(7001).u16(id::REQUIRED1));
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(3).u32(7001).u16(id::NONE));
        let two = Payload::new().u32(4).u32(7001).u16(2).u16(id::BR1).u16(id::B1);
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELDS, two);
        let one = t::STATESERVER_OBJECT_GET_FIELD_RESP;
        world.expect(
            all,
            &[
                answer(one, Payload::new().u32(1).u8(0)),
                answer(one, Payload::new().u32(2).u8(1).u16(id::REQUIRED1).u32(6789)),
                answer(one, Payload::new().u32(3).u8(0)),
                answer(t::STATESERVER_OBJECT_GET_FIELDS_RESP, Payload::new().u32(4).u8(1).u16(0)),
            ],
        );
    });
}

#[test]
fn ss_16_get_fields_is_sorted_without_duplicates_and_fails_as_a_whole() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        world.set(ai, 7001, id::BRA1, Payload::new().u32(44));
        world.take(all);
        let ids = Payload::new().u32(1).u32(7001).u16(4).u16(id::BRA1).u16(id::REQUIRED1).u16(id::BRA1).u16(id::BR1);
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELDS, ids);
        let ids = Payload::new().u32(2).u32(7001).u16(2).u16(id::REQUIRED1).u16(id::X);
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELDS, ids);
        let cut = Payload::new().u32(3).u32(7001).u16(2).u16(id::REQUIRED1);
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELDS, cut);
        let pairs = Payload::new().u32(1).u8(1).u16(2).u16(id::REQUIRED1).u32(6789).u16(id::BRA1).u32(44);
        let message_type = t::STATESERVER_OBJECT_GET_FIELDS_RESP;
        world.expect(all, &[answer(message_type, pairs), answer(message_type, Payload::new().u32(2).u8(0))]);
    });
}

#[test]
fn ss_17_an_update_keeps_its_sender_and_its_bytes() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        let body = Payload::new().u32(7001).u16(id::BR1).text("as it came");
        let with_surplus = body.clone().bytes(&[1, 2, 3]);
        world.send(ai, &[7001], 0xdead_beef_0000, t::STATESERVER_OBJECT_SET_FIELD, with_surplus);
        world.expect(all, &[seen(&[LOCATION], 0xdead_beef_0000, t::STATESERVER_OBJECT_SET_FIELD, body)]);
    });
}

#[test]
fn ss_18_ai_and_owner_do_not_hear_of_their_own_updates() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        let send = |world: &mut World, from, field| {
            let payload = Payload::new().u32(7001).u16(field).u32(1);
            world.send(ai, &[7001], from, t::STATESERVER_OBJECT_SET_FIELD, payload);
            let recipients: Vec<_> = world.take(all).into_iter().map(|seen| seen.to).collect();
            recipients
        };
        assert_eq!(send(world, AI, id::BRA1), [[LOCATION]]);
        assert_eq!(send(world, OWNER, id::BRO1), [[LOCATION]]);
        assert_eq!(send(world, OWNER, id::BRA1), [[AI, LOCATION]]);
        assert_eq!(send(world, AI, id::BRO1), [[OWNER, LOCATION]]);
        assert_eq!(send(world, LOCATION, id::REQUIRED1), [[LOCATION]]);
    });
}

#[test]
fn ss_19_one_datagram_serves_all_observers() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        world.set(ai, 7001, id::BRA1, Payload::new().u32(1));
        let body = Payload::new().u32(7001).u16(id::BRA1).u32(1);
        world.expect(all, &[seen(&[AI, LOCATION], 5, t::STATESERVER_OBJECT_SET_FIELD, body)]);
    });
}

#[test]
fn ss_20_a_molecular_update_is_passed_on_whole_and_stored_in_parts() {
    everywhere(|world| {
        let (ai, all) = walker(world);
        world.set(ai, 7001, id::XY, Payload::new().u16(30).u16(40));
        let body = Payload::new().u32(7001).u16(id::XY).u16(30).u16(40);
        world.expect(all, &[seen(&[LOCATION], 5, t::STATESERVER_OBJECT_SET_FIELD, body)]);
        let fields = Payload::new().u8(50).u8(60).u16(2).u16(id::X).u16(30).u16(id::Y).u16(40);
        let stored = Payload::new().u32(5000).u32(1500).u16(id::WALKER).bytes(&fields.0);
        assert_eq!(world.get_all(7001), Some(stored.0));
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(1).u32(7001).u16(id::XY));
        let value = Payload::new().u32(1).u8(1).u16(id::XY).u16(30).u16(40);
        world.expect(all, &[answer(t::STATESERVER_OBJECT_GET_FIELD_RESP, value)]);
    });
}

#[test]
fn a_molecular_field_is_read_only_if_all_parts_are_set() {
    everywhere(|world| {
        let (ai, all) = walker(world);
        world.set(ai, 7001, id::X, Payload::new().u16(30));
        world.take(all);
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELD, Payload::new().u32(1).u32(7001).u16(id::XY));
        ask(world, ai, t::STATESERVER_OBJECT_GET_FIELDS, Payload::new().u32(2).u32(7001).u16(1).u16(id::XY));
        world.expect(
            all,
            &[
                answer(t::STATESERVER_OBJECT_GET_FIELD_RESP, Payload::new().u32(1).u8(0)),
                answer(t::STATESERVER_OBJECT_GET_FIELDS_RESP, Payload::new().u32(2).u8(1).u16(0)),
            ],
        );
    });
}

#[test]
fn ss_21_set_fields_stops_at_the_first_bad_element() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        let fields = Payload::new().u32(7001).u16(4).u16(id::BR1).text("one").u16(id::BRA1).u32(2);
        let fields = fields.u16(id::NONE).u32(3).u16(id::BRO1).u32(4);
        ask(world, ai, t::STATESERVER_OBJECT_SET_FIELDS, fields);
        let update = |to: &[u64], field: u16, value: Payload| {
            let body = Payload::new().u32(7001).u16(field).bytes(&value.0);
            seen(to, 5, t::STATESERVER_OBJECT_SET_FIELD, body)
        };
        world.expect(
            all,
            &[
                update(&[LOCATION], id::BR1, Payload::new().text("one")),
                update(&[LOCATION, AI], id::BRA1, Payload::new().u32(2)),
            ],
        );
        let other = Payload::new().u16(2).u16(id::BR1).text("one").u16(id::BRA1).u32(2);
        let stored = Payload::new().u32(5000).u32(1500).u16(id::OBJECT1).u32(6789).bytes(&other.0);
        assert_eq!(world.get_all(7001), Some(stored.0));
    });
}

#[test]
fn ss_22_a_short_update_neither_stores_nor_forwards() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        let before = world.get_all(7001);
        world.set(ai, 7001, id::BRA1, Payload::new().u16(1));
        world.set(ai, 7001, id::BR1, Payload::new().u16(9).u8(b'x'));
        world.set(ai, 7001, id::NONE, Payload::new().u32(1));
        ask(world, ai, t::STATESERVER_OBJECT_SET_FIELD, Payload::new().u32(7001));
        ask(world, ai, t::STATESERVER_OBJECT_SET_FIELD, Payload::new().u8(1));
        world.expect(all, &[]);
        assert_eq!(world.get_all(7001), before);
        assert_eq!(world.metric(|metrics| metrics.object_messages_refused), 5);
    });
}

#[test]
fn a_field_that_is_not_stored_is_forwarded_all_the_same() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        world.set(ai, 7001, id::B1, Payload::new().u8(3));
        let body = Payload::new().u32(7001).u16(id::B1).u8(3);
        world.expect(all, &[seen(&[LOCATION], 5, t::STATESERVER_OBJECT_SET_FIELD, body)]);
        let stored = Payload::new().u32(5000).u32(1500).u16(id::OBJECT1).u32(6789).u16(0);
        assert_eq!(world.get_all(7001), Some(stored.0));
    });
}

#[test]
fn ss_48_a_snapshot_beyond_a_frame_is_dropped_and_the_server_goes_on() {
    everywhere(|world| {
        let (ai, all) = observed(world, id::OBJECT3, Payload::new().u32(1).u32(2));
        let long = "x".repeat(40_000);
        world.set(ai, 7001, id::BR1, Payload::new().text(&long));
        world.set(ai, 7001, id::DB3, Payload::new().text(&long));
        world.take(all);
        assert_eq!(world.get_all(7001), None);
        assert_eq!(world.metric(|metrics| metrics.oversized_messages_dropped), 1);
        world.set(ai, 7001, id::DB3, Payload::new().text(""));
        assert!(world.get_all(7001).is_some());
    });
}

#[test]
fn delete_field_ram_unsets_ram_and_resets_required_fields_with_a_default() {
    everywhere(|world| {
        let (ai, all) = object1(world);
        world.set(ai, 7001, id::BRA1, Payload::new().u32(4));
        world.take(all);
        for field in [id::BRA1, id::BRA1, id::REQUIRED1, id::B1] {
            ask(world, ai, t::STATESERVER_OBJECT_DELETE_FIELD_RAM, Payload::new().u32(7001).u16(field));
        }
        let unset = Payload::new().u32(7001).u16(id::BRA1);
        let reset = Payload::new().u32(7001).u16(id::REQUIRED1).u32(78);
        world.expect(
            all,
            &[
                seen(&[LOCATION, AI], 5, t::STATESERVER_OBJECT_DELETE_FIELD_RAM, unset),
                seen(&[LOCATION], 5, t::STATESERVER_OBJECT_SET_FIELD, reset),
            ],
        );
        let stored = Payload::new().u32(5000).u32(1500).u16(id::OBJECT1).u32(78).u16(0);
        assert_eq!(world.get_all(7001), Some(stored.0));
    });
}

#[test]
fn delete_fields_ram_goes_by_parts_and_stops_at_an_unknown_field() {
    everywhere(|world| {
        let (ai, all) = walker(world);
        world.set(ai, 7001, id::XY, Payload::new().u16(30).u16(40));
        world.set(ai, 7001, id::SECRET, Payload::new().u8(1));
        world.take(all);
        let fields = Payload::new().u32(7001).u16(4).u16(id::RANGE).u16(id::XY).u16(id::NONE).u16(id::SECRET);
        ask(world, ai, t::STATESERVER_OBJECT_DELETE_FIELDS_RAM, fields);
        let gone = |field| {
            let body = Payload::new().u32(7001).u16(field);
            seen(&[LOCATION], 5, t::STATESERVER_OBJECT_DELETE_FIELD_RAM, body)
        };
        world.expect(all, &[gone(id::X), gone(id::Y)]);
        let stored = Payload::new().u32(5000).u32(1500).u16(id::WALKER).u8(50).u8(60);
        assert_eq!(world.get_all(7001), Some(stored.u16(1).u16(id::SECRET).u8(1).0));
    });
}

#[test]
fn get_class_names_the_class() {
    everywhere(|world| {
        let (ai, all) = walker(world);
        ask(world, ai, t::STATESERVER_OBJECT_GET_CLASS, Payload::new().u32(9));
        let body = Payload::new().u32(9).u32(7001).u16(id::WALKER);
        world.expect(all, &[answer(t::STATESERVER_OBJECT_GET_CLASS_RESP, body)]);
    });
}

#[test]
fn unknown_messages_are_ignored_and_counted() {
    everywhere(|world| {
        let (ai, all) = walker(world);
        ask(world, ai, MessageType(2999), Payload::new().u32(9));
        ask(world, ai, t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, Payload::new());
        world.send(ai, &[CONTROL], 5, MessageType(2999), Payload::new().u32(7001));
        world.expect(all, &[]);
        assert_eq!(world.metric(|metrics| metrics.unknown_messages), 2);
    });
}
