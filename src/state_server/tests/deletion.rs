use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{MessageType, children_channel, location_channel};

const LOCATION: u64 = location_channel(5000, 1500);
const AI: u64 = 31000;
const OWNER: u64 = 32000;

fn delete(world: &mut World, link: LinkId, doid: u32) {
    world.send(link, &[doid.into()], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(doid));
}

fn gone(to: &[u64], doid: u32) -> Seen {
    seen(to, 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(doid))
}

fn delete_children(doid: u32) -> Seen {
    let body = Payload::new().u32(doid);
    seen(&[children_channel(doid)], 5, t::STATESERVER_OBJECT_DELETE_CHILDREN, body)
}

/// The golden vector: DELETE_RAM of 7001 at (5000,1500), sender 5.
#[test]
fn ss_36_delete_ram_tells_the_parent_then_the_observers_then_the_children() {
    everywhere(|world| {
        let ai = world.link(&[]);
        world.create1(ai, 7001, (5000, 1500));
        world.create1(ai, 7002, (5000, 1500));
        world.create1(ai, 7003, (7002, 1));
        for (message_type, channel) in [(t::STATESERVER_OBJECT_SET_AI, AI), (t::STATESERVER_OBJECT_SET_OWNER, OWNER)] {
            world.send(ai, &[7002], 5, message_type, Payload::new().u64(channel));
        }
        let all = world.link(&[5000, LOCATION, AI, OWNER, children_channel(7001), children_channel(7002)]);
        delete(world, ai, 7001);
        let body = |text: &str| Payload(hex(text));
        world.expect(
            all,
            &[
                seen(
                    &[5000],
                    5,
                    t::STATESERVER_OBJECT_CHANGING_LOCATION,
                    body("591b0000 00000000 00000000 88130000 dc050000"),
                ),
                seen(&[0x1388000005dc], 5, t::STATESERVER_OBJECT_DELETE_RAM, body("591b0000")),
            ],
        );
        delete(world, ai, 7002);
        let left = Payload::new().u32(7002).u32(0).u32(0).u32(5000).u32(1500);
        let left = seen(&[5000], 5, t::STATESERVER_OBJECT_CHANGING_LOCATION, left);
        // The child shares the AI, so its own end is seen there too.
        let expected = [left, gone(&[LOCATION, AI, OWNER], 7002), delete_children(7002)];
        assert_eq!(world.take(all)[..3], expected);
        assert_eq!(world.live_objects(), 0);
    });
}

#[test]
fn ss_37_a_deletion_that_the_parent_ordered_is_not_reported_to_it() {
    everywhere(|world| {
        let ai = world.link(&[]);
        world.create1(ai, 7001, (5000, 1500));
        world.create1(ai, 7002, (6000, 1500));
        let all = world.link(&[5000, LOCATION]);
        let order = Payload::new().u32(5000);
        world.send(ai, &[children_channel(5000)], 5, t::STATESERVER_OBJECT_DELETE_CHILDREN, order.clone());
        world.expect(all, &[gone(&[LOCATION], 7001)]);
        world.send(ai, &[7002], 5, t::STATESERVER_OBJECT_DELETE_CHILDREN, order);
        assert!(!world.is_live(7001) && world.is_live(7002), "7002 has another parent");
    });
}

#[test]
fn ss_38_delete_children_leaves_the_parent_alive() {
    everywhere(|world| {
        let ai = world.link(&[]);
        let all = world.link(&[5, children_channel(7001)]);
        world.create1(ai, 7001, (0, 0));
        world.take(all);
        let order = |world: &mut World| {
            let payload = Payload::new().u32(7001);
            world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_DELETE_CHILDREN, payload);
            world.take(all)
        };
        assert_eq!(order(world), []);
        for child in 8001..8010 {
            world.create1(ai, child, (7001, child % 3));
        }
        assert_eq!(order(world), [delete_children(7001)]);
        assert_eq!((world.live_objects(), world.is_live(7001)), (1, true));
        assert_eq!(order(world), [], "the children are forgotten");
    });
}

#[test]
fn ss_39_a_deletion_goes_down_the_tree_in_the_name_of_who_ordered_it() {
    everywhere(|world| {
        let ai = world.link(&[]);
        world.create1(ai, 7000, (0, 0));
        for doid in 7001..7005 {
            world.create1(ai, doid, (doid - 1, 1));
        }
        let channels: Vec<u64> = (7000..7005).flat_map(|p| [children_channel(p), location_channel(p, 1)]).collect();
        let all = world.link(&channels);
        delete(world, ai, 7000);
        let mut expected = vec![delete_children(7000)];
        for doid in 7001..7005 {
            expected.push(gone(&[location_channel(doid - 1, 1)], doid));
            if doid < 7004 {
                expected.push(delete_children(doid));
            }
        }
        world.expect(all, &expected);
        assert_eq!(world.live_objects(), 0);
        assert_eq!(world.metric(|metrics| metrics.objects), 0);
    });
}

fn set_ai(world: &mut World, link: LinkId, doid: u64, ai: u64) {
    world.send(link, &[doid], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(ai));
}

fn delete_ai(world: &mut World, link: LinkId, ai: u64) {
    world.send(link, &[CONTROL], 5, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u64(ai));
}

#[test]
fn ss_44_delete_ai_objects_ends_explicit_objects_and_their_descendants() {
    everywhere(|world| {
        let ai = world.link(&[]);
        for (doid, location) in [(7001, (0, 0)), (7002, (7001, 1)), (7003, (7002, 1)), (7004, (0, 0)), (7005, (0, 0))] {
            world.create1(ai, doid, location);
        }
        set_ai(world, ai, 7001, AI);
        set_ai(world, ai, 7003, AI + 1);
        set_ai(world, ai, 7004, AI + 1);
        let all = world.link(&[7001, 7002, 7003, 7004, 7005]);
        delete_ai(world, ai, AI + 2);
        delete_ai(world, ai, 0);
        world.expect(all, &[]);
        delete_ai(world, ai, AI);
        let order = seen(&[7001], 5, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u64(AI));
        assert_eq!(world.take(all).first(), Some(&order));
        let alive: Vec<u32> = (7001..7006).filter(|&doid| world.is_live(doid)).collect();
        assert_eq!(alive, [7004, 7005], "7003 went with its parent");
    });
}

#[test]
fn an_object_that_got_another_ai_is_not_deleted_with_the_first() {
    everywhere(|world| {
        let ai = world.link(&[]);
        world.create1(ai, 7001, (0, 0));
        set_ai(world, ai, 7001, AI);
        set_ai(world, ai, 7001, AI + 1);
        delete_ai(world, ai, AI);
        assert!(world.is_live(7001));
        delete_ai(world, ai, AI + 1);
        assert!(!world.is_live(7001));
    });
}

/// Found by the fuzzer, with seed 258: it took them out of the index.
#[test]
fn deleting_the_objects_of_ai_0_leaves_objects_that_are_pinned_to_none() {
    everywhere(|world| {
        let ai = world.link(&[]);
        world.create1(ai, 7001, (0, 0));
        set_ai(world, ai, 7001, AI);
        set_ai(world, ai, 7001, 0);
        delete_ai(world, ai, 0);
        assert!(world.is_live(7001));
        world.assert_consistent();
    });
}

#[test]
fn ss_45_delete_ai_objects_works_beyond_255_objects() {
    everywhere(|world| {
        let ai = world.link(&[]);
        for doid in 10_000..11_500 {
            world.create1(ai, doid, (0, 0));
            set_ai(world, ai, doid.into(), AI);
        }
        delete_ai(world, ai, AI);
        assert_eq!(world.live_objects(), 0);
    });
}

/// Found by the simulated play: the creation came to an object that had not ended yet, and was refused.
#[test]
fn what_is_created_behind_delete_ai_objects_is_another_object() {
    everywhere(|world| {
        let (ai, all) = (world.link(&[]), world.link(&[AI]));
        world.create1(ai, 7001, (0, 0));
        set_ai(world, ai, 7001, AI);
        world.take(all);
        world.post(ai, &[CONTROL], 5, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u64(AI));
        let create = Payload::new().u32(7001).u32(0).u32(0).u16(id::OBJECT1).u32(1234);
        world.post(ai, &[CONTROL], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, create);
        world.post(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        world.run();
        let entered = Payload::new().u32(7001).u32(0).u32(0).u16(id::OBJECT1).u32(1234);
        let expected = [
            seen(&[AI], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(7001)),
            seen(&[AI], 7001, t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED, entered),
        ];
        world.expect(all, &expected);
        assert!(world.is_live(7001));
        world.assert_consistent();
    });
}

#[test]
fn delete_ai_objects_at_an_object_ends_it_whether_its_ai_is_explicit_or_not() {
    everywhere(|world| {
        let ai = world.link(&[]);
        world.create1(ai, 7001, (0, 0));
        world.create1(ai, 7002, (7001, 1));
        world.create1(ai, 7003, (0, 0));
        set_ai(world, ai, 7001, AI);
        let order = |world: &mut World, channel| {
            let payload = Payload::new().u64(channel);
            world.send(ai, &[7002, 7003], 5, t::STATESERVER_DELETE_AI_OBJECTS, payload);
        };
        order(world, 0);
        assert_eq!(world.live_objects(), 3);
        order(world, AI);
        assert!(world.is_live(7001) && !world.is_live(7002) && world.is_live(7003));
    });
}

fn delete_zones(world: &mut World, link: LinkId, message_type: MessageType, parent: u32, zones: &[u32]) {
    let mut payload = Payload::new().u32(parent);
    if message_type == t::STATESERVER_OBJECT_DELETE_ZONES {
        payload = payload.u16(zones.len() as u16);
    }
    let payload = zones.iter().fold(payload, |payload, &zone| payload.u32(zone));
    world.send(link, &[parent.into()], 5, message_type, payload);
}

#[test]
fn delete_zone_ends_the_children_in_the_zones_named() {
    everywhere(|world| {
        let ai = world.link(&[]);
        let all = world.link(&[5, children_channel(7001)]);
        world.create1(ai, 7001, (0, 0));
        for child in 8000..8020 {
            world.create1(ai, child, (7001, child % 4));
        }
        world.create1(ai, 8020, (8001, 1));
        world.take(all);
        delete_zones(world, ai, t::STATESERVER_OBJECT_DELETE_ZONE, 7001, &[9]);
        world.expect(all, &[]);
        delete_zones(world, ai, t::STATESERVER_OBJECT_DELETE_ZONE, 7001, &[1]);
        let body = Payload::new().u32(7001).u32(1);
        world.expect(all, &[seen(&[children_channel(7001)], 5, t::STATESERVER_OBJECT_DELETE_ZONE, body)]);
        assert_eq!(world.live_objects(), 16, "five children and the child of one of them are gone");
        delete_zones(world, ai, t::STATESERVER_OBJECT_DELETE_ZONES, 7001, &[0, 2, 1]);
        assert_eq!(world.live_objects(), 6);
        world.take(all);
        world.send(ai, &[7001], 5, t::STATESERVER_GET_ACTIVE_ZONES, Payload::new().u32(6));
        let body = Payload::new().u32(6).u16(1).u32(3);
        world.expect(all, &[seen(&[5], 7001, t::STATESERVER_GET_ACTIVE_ZONES_RESP, body)]);
    });
}

/// As a parent in another daemon would order it, or anybody directly.
#[test]
fn a_child_obeys_delete_zone_of_its_own_parent_and_zone_only() {
    everywhere(|world| {
        let ai = world.link(&[]);
        let all = world.link(&[5000, LOCATION]);
        world.create1(ai, 7001, (5000, 1500));
        world.take(all);
        let order = |world: &mut World, to: u64, parent: u32, zone: u32| {
            let payload = Payload::new().u32(parent).u16(2).u32(zone).u32(7);
            world.send(ai, &[to], 5, t::STATESERVER_OBJECT_DELETE_ZONES, payload);
            world.take(all)
        };
        assert_eq!(order(world, 7001, 5001, 1500), []);
        assert_eq!(order(world, children_channel(5000), 5000, 1501), []);
        assert_eq!(
            order(world, children_channel(5000), 5000, 1500),
            [gone(&[LOCATION], 7001)],
            "the parent is not told"
        );
        world.create1(ai, 7001, (5000, 1500));
        world.take(all);
        assert_eq!(order(world, 7001, 5000, 1500), [gone(&[LOCATION], 7001)]);
    });
}

#[test]
fn what_is_sent_to_a_deleted_object_is_not_answered() {
    everywhere(|world| {
        let (ai, all) = (world.link(&[]), world.link(&[5]));
        world.create1(ai, 7001, (0, 0));
        world.post(ai, &[7001], 5, t::STATESERVER_OBJECT_GET_AI, Payload::new().u32(1));
        world.post(ai, &[7001], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(7001));
        world.post(ai, &[7001], 5, t::STATESERVER_OBJECT_GET_AI, Payload::new().u32(2));
        world.run();
        assert_eq!(world.take(all).len(), 1);
    });
}
