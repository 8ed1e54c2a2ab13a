use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{ALL_STATE_SERVERS, children_channel, location_channel};

const LOCATION: u64 = location_channel(5000, 1500);

/// The golden vector: CREATE doid 7001 at (5000,1500), sender 5.
#[test]
fn ss_1_create_emits_in_order() {
    everywhere(|world| {
        let all = world.link(&[5000, LOCATION, children_channel(7001)]);
        let ai = world.link(&[]);
        let payload = Payload::new().bytes(&hex("591b0000 88130000 dc050000 0000 851a0000"));
        world.send(ai, &[CONTROL], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, payload);
        let body = |text: &str| Payload(hex(text));
        world.expect(
            all,
            &[
                seen(&[5000], 7001, t::STATESERVER_OBJECT_GET_AI, body("00000000")),
                seen(
                    &[5000],
                    5,
                    t::STATESERVER_OBJECT_CHANGING_LOCATION,
                    body("591b0000 88130000 dc050000 00000000 00000000"),
                ),
                seen(
                    &[0x1388000005dc],
                    7001,
                    t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED,
                    body("591b0000 88130000 dc050000 0000 851a0000"),
                ),
                seen(&[0x100001b59], 7001, t::STATESERVER_OBJECT_GET_LOCATION, body("e9030000")),
            ],
        );
        assert_eq!(world.metric(|metrics| metrics.objects), 1);
    });
}

#[test]
fn ss_1_create_without_a_parent_only_wakes_children() {
    everywhere(|world| {
        let all = world.link(&[0, 1500, children_channel(7001)]);
        let ai = world.link(&[5]);
        world.create1(ai, 7001, (0, 0));
        let woken = seen(&[children_channel(7001)], 7001, t::STATESERVER_OBJECT_GET_LOCATION, Payload::new().u32(1001));
        world.expect(all, &[woken]);
    });
}

#[test]
fn ss_2_the_creator_gets_no_reply() {
    everywhere(|world| {
        let ai = world.link(&[5]);
        world.create1(ai, 7001, (5000, 1500));
        world.create1(ai, 7001, (5000, 1500));
        world.expect(ai, &[]);
    });
}

#[test]
fn ss_3_create_delete_create_in_one_burst_makes_two_in_turn() {
    everywhere(|world| {
        let observer = world.link(&[LOCATION]);
        let ai = world.link(&[]);
        for value in [1, 2] {
            let payload = Payload::new().u32(7001).u32(5000).u32(1500).u16(id::OBJECT1).u32(value);
            world.post(ai, &[CONTROL], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, payload);
            if value == 1 {
                world.post(ai, &[7001], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(7001));
            }
        }
        world.run();
        let enter = |value| {
            let body = Payload::new().u32(7001).u32(5000).u32(1500).u16(id::OBJECT1).u32(value);
            seen(&[LOCATION], 7001, t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, body)
        };
        let gone = seen(&[LOCATION], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(7001));
        world.expect(observer, &[enter(1), gone, enter(2)]);
        assert!(world.is_live(7001));
    });
}

#[test]
fn ss_4_a_duplicate_create_changes_nothing() {
    everywhere(|world| {
        let all = world.link(&[5000, 6000, LOCATION, location_channel(6000, 1), children_channel(7001)]);
        let ai = world.link(&[]);
        world.create1(ai, 7001, (5000, 1500));
        world.take(all);
        let before = world.get_all(7001);
        world.create(ai, 7001, (6000, 1), id::WALKER, Payload::new().u8(1).u8(2));
        world.expect(all, &[]);
        assert_eq!((world.get_all(7001), world.live_objects()), (before, 1));
    });
}

#[test]
fn ss_5_a_bad_create_leaves_no_object() {
    everywhere(|world| {
        let ai = world.link(&[]);
        world.create(ai, 7001, (0, 0), id::OBJECT1, Payload::new());
        world.create(ai, 7001, (0, 0), id::OBJECT1, Payload::new().u16(7));
        world.create(ai, 7001, (0, 0), id::PAIR, Payload::new().u16(7));
        world.create(ai, 7001, (0, 0), 500, Payload::new().u32(7));
        world.create(ai, 7001, (0, 0), id::WALKER, Payload::new().u8(101).u8(0));
        world.send(ai, &[CONTROL], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, Payload::new().u32(7001));
        world.create1(ai, 0, (0, 0));
        assert_eq!((world.live_objects(), world.get_all(7001)), (0, None));
        assert_eq!(world.metric(|metrics| metrics.object_messages_refused), 7);
        world.create1(ai, 7001, (0, 0));
        assert!(world.is_live(7001), "the doid is still free");
    });
}

#[test]
fn ss_6_required_fields_are_in_ascending_order_inherited_ones_included() {
    everywhere(|world| {
        let observer = world.link(&[LOCATION]);
        let ai = world.link(&[]);
        world.create(ai, 7001, (5000, 1500), id::OBJECT3, Payload::new().u32(11).u32(22));
        let body = Payload::new().u32(7001).u32(5000).u32(1500).u16(id::OBJECT3).u32(11).u32(22);
        world.expect(observer, &[seen(&[LOCATION], 7001, t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, body)]);
        world.set(ai, 7001, id::RDB3, Payload::new().u32(33));
        let all = Payload::new().u32(5000).u32(1500).u16(id::OBJECT3).u32(11).u32(33).u16(0);
        assert_eq!(world.get_all(7001), Some(all.0));
    });
}

fn create_other(world: &mut World, required_and_other: Payload) {
    let ai = world.link(&[]);
    let payload = Payload::new().u32(7001).u32(5000).u32(1500).u16(id::OBJECT1).bytes(&required_and_other.0);
    world.send(ai, &[CONTROL], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER, payload);
}

fn object1(required: u32, other: Payload) -> Option<Vec<u8>> {
    Some(Payload::new().u32(5000).u32(1500).u16(id::OBJECT1).u32(required).bytes(&other.0).0)
}

#[test]
fn ss_7_a_field_in_other_that_is_not_ram_is_skipped() {
    everywhere(|world| {
        let other = Payload::new().u32(1).u16(2).u16(id::BA1).u16(9).u16(id::BRA1).u32(8);
        create_other(world, other);
        assert_eq!(world.get_all(7001), object1(1, Payload::new().u16(1).u16(id::BRA1).u32(8)));
    });
}

#[test]
fn ss_8_an_unknown_field_ends_other_but_not_the_creation() {
    everywhere(|world| {
        let other = Payload::new().u32(1).u16(3).u16(id::BRA1).u32(8).u16(id::X).u16(9).u16(id::BRO1).u32(7);
        create_other(world, other);
        assert_eq!(world.get_all(7001), object1(1, Payload::new().u16(1).u16(id::BRA1).u32(8)));
    });
}

#[test]
fn other_that_is_cut_short_refuses_the_creation() {
    everywhere(|world| {
        create_other(world, Payload::new().u32(1).u16(1).u16(id::BRA1).u16(8));
        create_other(world, Payload::new().u32(1).u16(2).u16(id::BRA1).u32(8));
        create_other(world, Payload::new().u32(1));
        assert_eq!(world.live_objects(), 0);
    });
}

#[test]
fn the_last_of_two_values_in_other_counts_and_a_required_one_is_replaced() {
    everywhere(|world| {
        let other = Payload::new().u32(1).u16(4).u16(id::BR1).text("first").u16(id::REQUIRED1).u32(99);
        create_other(world, other.u16(id::BR1).text("second").u16(id::BRA1).u32(8));
        let expected = Payload::new().u16(2).u16(id::BR1).text("second").u16(id::BRA1).u32(8);
        assert_eq!(world.get_all(7001), object1(99, expected));
    });
}

#[test]
fn a_molecular_field_in_other_is_stored_as_its_parts() {
    everywhere(|world| {
        let ai = world.link(&[]);
        let payload = Payload::new().u32(7001).u32(5000).u32(1500).u16(id::WALKER).u8(1).u8(2);
        let payload = payload.u16(1).u16(id::XY).u16(30).u16(40);
        world.send(ai, &[CONTROL], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER, payload);
        let all = Payload::new().u32(5000).u32(1500).u16(id::WALKER).u8(1).u8(2);
        let all = all.u16(2).u16(id::X).u16(30).u16(id::Y).u16(40);
        assert_eq!(world.get_all(7001), Some(all.0));
    });
}

#[test]
fn ss_23_a_value_out_of_range_is_refused_and_the_server_goes_on() {
    everywhere(|world| {
        let (ai, observer) = (world.link(&[]), world.link(&[LOCATION]));
        world.create(ai, 7001, (5000, 1500), id::WALKER, Payload::new().u8(101).u8(0));
        assert!(!world.is_live(7001));
        world.create(ai, 7001, (5000, 1500), id::WALKER, Payload::new().u8(100).u8(0));
        world.take(observer);
        world.set(ai, 7001, id::RANGE, Payload::new().u8(101));
        world.expect(observer, &[]);
        let all = Payload::new().u32(5000).u32(1500).u16(id::WALKER).u8(100).u8(0).u16(0);
        assert_eq!(world.get_all(7001), Some(all.0));
        assert_eq!(world.metric(|metrics| metrics.panics), 0);
    });
}

#[test]
fn ss_49_channel_12_is_a_control_channel() {
    everywhere(|world| {
        let ai = world.link(&[]);
        let payload = Payload::new().u32(7001).u32(0).u32(0).u16(id::OBJECT1).u32(1);
        world.send(ai, &[ALL_STATE_SERVERS], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, payload.clone());
        assert!(world.is_live(7001));
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(31000));
        world.send(ai, &[ALL_STATE_SERVERS], 5, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u64(31000));
        assert!(!world.is_live(7001));
        world.send(ai, &[ALL_STATE_SERVERS], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED_OTHER, payload.u16(0));
        assert!(world.is_live(7001));
    });
}

#[test]
fn create_followed_at_once_by_updates_works() {
    everywhere(|world| {
        let observer = world.link(&[LOCATION]);
        let ai = world.link(&[]);
        for doid in 7000..7020 {
            let payload = Payload::new().u32(doid).u32(5000).u32(1500).u16(id::OBJECT1).u32(1);
            world.post(ai, &[CONTROL], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, payload);
            let payload = Payload::new().u32(doid).u16(id::BR1).text("at once");
            world.post(ai, &[doid.into()], 5, t::STATESERVER_OBJECT_SET_FIELD, payload);
        }
        world.run();
        let seen: Vec<_> = world.take(observer).into_iter().map(|seen| seen.message_type).collect();
        let expected = [t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, t::STATESERVER_OBJECT_SET_FIELD].repeat(20);
        assert_eq!(seen, expected);
    });
}

/// An object's state is broken on purpose; it ends, says goodbye, and its neighbour lives.
#[test]
fn a_panic_ends_its_object_only() {
    everywhere(|world| {
        let observer = world.link(&[LOCATION]);
        let ai = world.link(&[]);
        world.create1(ai, 7001, (5000, 1500));
        world.create1(ai, 7002, (5000, 1500));
        world.take(observer);
        world.state_server(7001).objects.get_mut(7001).unwrap().values = crate::state_server::Values::new(&[]);
        world.set(ai, 7001, id::REQUIRED1, Payload::new().u32(9));
        world.expect(observer, &[seen(&[LOCATION], 7001, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(7001))]);
        assert!(!world.is_live(7001) && world.is_live(7002));
        assert_eq!(world.metric(|metrics| metrics.panics), 1);
        assert_eq!(world.metric(|metrics| metrics.objects), 1);
    });
}
