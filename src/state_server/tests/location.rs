use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{MessageType, children_channel, location_channel};

const LOCATION: u64 = location_channel(5000, 1500);
const AI: u64 = 31000;
const OWNER: u64 = 32000;

/// Every channel that a move of object 7001 may concern.
const OBSERVED: [u64; 13] = [
    0,
    5,
    1,
    1500,
    1501,
    5000,
    6000,
    LOCATION,
    location_channel(5000, 1501),
    location_channel(6000, 1),
    AI,
    OWNER,
    children_channel(7001),
];

fn created(world: &mut World, location: (u32, u32)) -> (LinkId, LinkId) {
    let (ai, all) = (world.link(&[]), world.link(&OBSERVED));
    world.create1(ai, 7001, location);
    world.take(all);
    (ai, all)
}

fn move_to(world: &mut World, link: LinkId, parent: u32, zone: u32) {
    let payload = Payload::new().u32(parent).u32(zone);
    world.send(link, &[7001], 5, t::STATESERVER_OBJECT_SET_LOCATION, payload);
}

fn moved(to: &[u64], new: (u32, u32), old: (u32, u32)) -> Seen {
    let body = Payload::new().u32(7001).u32(new.0).u32(new.1).u32(old.0).u32(old.1);
    seen(to, 5, t::STATESERVER_OBJECT_CHANGING_LOCATION, body)
}

fn entered(parent: u32, zone: u32) -> Seen {
    let body = Payload::new().u32(7001).u32(parent).u32(zone).u16(id::OBJECT1).u32(6789);
    let message_type = t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED;
    seen(&[location_channel(parent, zone)], 7001, message_type, body)
}

fn from_object(to: u64, message_type: MessageType, payload: Payload) -> Seen {
    seen(&[to], 7001, message_type, payload)
}

#[test]
fn ss_24_a_move_to_the_present_location_is_silent() {
    everywhere(|world| {
        let (ai, all) = created(world, (5000, 1500));
        move_to(world, ai, 5000, 1500);
        world.expect(all, &[]);
    });
}

#[test]
fn ss_25_a_zone_change_tells_parent_location_ai_and_owner() {
    everywhere(|world| {
        let (ai, all) = created(world, (5000, 1500));
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_OWNER, Payload::new().u64(OWNER));
        world.take(all);
        move_to(world, ai, 5000, 1501);
        let told = moved(&[5000, LOCATION, AI, OWNER], (5000, 1501), (5000, 1500));
        world.expect(all, &[told, entered(5000, 1501)]);
    });
}

#[test]
fn ss_26_old_parent_old_location_and_new_parent_get_the_same_datagram() {
    everywhere(|world| {
        let (ai, all) = created(world, (5000, 1500));
        move_to(world, ai, 6000, 1);
        let asked = from_object(6000, t::STATESERVER_OBJECT_GET_AI, Payload::new().u32(1));
        let told = moved(&[5000, LOCATION, 6000], (6000, 1), (5000, 1500));
        world.expect(all, &[asked, told, entered(6000, 1)]);
    });
}

#[test]
fn an_explicit_ai_is_not_asked_for_again() {
    everywhere(|world| {
        let (ai, all) = created(world, (5000, 1500));
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        world.take(all);
        move_to(world, ai, 6000, 1);
        world.expect(all, &[moved(&[5000, LOCATION, 6000, AI], (6000, 1), (5000, 1500)), entered(6000, 1)]);
    });
}

#[test]
fn ss_27_without_a_parent_there_is_no_location_channel() {
    everywhere(|world| {
        let (ai, all) = created(world, (0, 1500));
        move_to(world, ai, 0, 1501);
        world.set(ai, 7001, id::REQUIRED1, Payload::new().u32(1));
        world.expect(all, &[]);
        move_to(world, ai, 5000, 1500);
        world.set(ai, 7001, id::REQUIRED1, Payload::new().u32(6789));
        world.take(all);
        move_to(world, ai, 0, 1);
        world.expect(all, &[moved(&[5000, LOCATION], (0, 1), (5000, 1500))]);
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(7001));
        world.expect(all, &[]);
    });
}

#[test]
fn leaving_for_nowhere_drops_an_inherited_ai_silently_and_keeps_an_explicit_one() {
    everywhere(|world| {
        let (ai, all) = created(world, (5000, 1500));
        let answer = Payload::new().u32(0).u32(5000).u64(AI);
        world.send(ai, &[7001], 5000, t::STATESERVER_OBJECT_GET_AI_RESP, answer);
        world.take(all);
        move_to(world, ai, 0, 0);
        world.expect(all, &[moved(&[5000, LOCATION, AI], (0, 0), (5000, 1500))]);
        let ask = |world: &mut World| {
            world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_GET_AI, Payload::new().u32(3));
            world.take(all)
        };
        let none = Payload::new().u32(3).u32(7001).u64(0);
        assert_eq!(ask(world), [from_object(5, t::STATESERVER_OBJECT_GET_AI_RESP, none)]);
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        move_to(world, ai, 5000, 1500);
        move_to(world, ai, 0, 0);
        world.take(all);
        let kept = Payload::new().u32(3).u32(7001).u64(AI);
        assert_eq!(ask(world), [from_object(5, t::STATESERVER_OBJECT_GET_AI_RESP, kept)]);
    });
}

#[test]
fn ss_28_an_object_is_not_its_own_parent_and_longer_cycles_end() {
    everywhere(|world| {
        let (ai, all) = created(world, (7001, 5));
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_GET_LOCATION, Payload::new().u32(9));
        let nowhere = Payload::new().u32(9).u32(7001).u32(0).u32(0);
        world.expect(all, &[from_object(5, t::STATESERVER_OBJECT_GET_LOCATION_RESP, nowhere)]);
        world.create1(ai, 7002, (7001, 1));
        move_to(world, ai, 7002, 1);
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        world.send(ai, &[7002], 5, t::STATESERVER_OBJECT_GET_AI, Payload::new().u32(3));
        let answer = Payload::new().u32(3).u32(7002).u64(AI);
        assert_eq!(world.take(all).last(), Some(&seen(&[5], 7002, t::STATESERVER_OBJECT_GET_AI_RESP, answer)));
        world.send(ai, &[7002], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(7002));
        assert_eq!(world.live_objects(), 0);
    });
}

#[test]
fn ss_29_a_parents_move_does_not_concern_its_children() {
    everywhere(|world| {
        let (ai, all) = created(world, (5000, 1500));
        world.create1(ai, 7002, (7001, 3));
        let child = world.link(&[7002, location_channel(7001, 3), children_channel(7002), children_channel(7001)]);
        world.take(all);
        move_to(world, ai, 6000, 1);
        move_to(world, ai, 6000, 2);
        world.expect(child, &[]);
        world.create1(ai, 7003, (7001, 3));
        let count = world.take(child).len();
        assert!(count > 0, "the link sees what concerns the children");
    });
}

#[test]
fn ss_30_only_the_right_acknowledgement_synchronizes() {
    everywhere(|world| {
        let (ai, all) = created(world, (5000, 1500));
        let ask = |world: &mut World| {
            let payload = Payload::new().u32(4).u32(5000).u32(1500);
            world.send(ai, &[children_channel(5000)], 5, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, payload);
            world.take(all).pop().map(|seen| (seen.message_type, seen.body))
        };
        let snapshot = Payload::new().u32(7001).u32(5000).u32(1500).u16(id::OBJECT1).u32(6789);
        let unsynchronized = (t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, snapshot.0.clone());
        for (parent, zone) in [(5001, 1500), (5000, 1501)] {
            let payload = Payload::new().u32(parent).u32(zone);
            world.send(ai, &[7001], 5000, t::STATESERVER_OBJECT_LOCATION_ACK, payload);
            assert_eq!(ask(world), Some(unsynchronized.clone()));
        }
        let payload = Payload::new().u32(5000).u32(1500);
        world.send(ai, &[7001], 5000, t::STATESERVER_OBJECT_LOCATION_ACK, payload);
        let with_context = Payload::new().u32(4).bytes(&snapshot.0);
        assert_eq!(ask(world), Some((t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED, with_context.0)));
        move_to(world, ai, 6000, 1);
        move_to(world, ai, 5000, 1500);
        world.take(all);
        assert_eq!(ask(world), Some(unsynchronized));
    });
}

#[test]
fn ss_47_get_location_answers_anybody() {
    everywhere(|world| {
        let (ai, all) = created(world, (5000, 1500));
        for sender in [5, 1] {
            world.send(ai, &[7001], sender, t::STATESERVER_OBJECT_GET_LOCATION, Payload::new().u32(9));
            let body = Payload::new().u32(9).u32(7001).u32(5000).u32(1500);
            world.expect(all, &[from_object(sender, t::STATESERVER_OBJECT_GET_LOCATION_RESP, body)]);
        }
    });
}

#[test]
fn one_set_location_moves_every_object_that_it_is_addressed_to_once() {
    everywhere(|world| {
        let ai = world.link(&[]);
        for doid in 7001..7005 {
            world.create1(ai, doid, (5000, 1500));
        }
        let all = world.link(&OBSERVED);
        let to = [7001, 7002, 7003, children_channel(5000)];
        world.send(ai, &to, 5, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(6000).u32(1));
        let mut moved: Vec<u64> = world.take(all).into_iter().map(|seen| seen.from).filter(|&from| from != 5).collect();
        moved.sort_unstable();
        assert_eq!(moved, [7001, 7001, 7002, 7002, 7003, 7003, 7004, 7004], "each asks for its AI, and enters");
    });
}

#[test]
fn a_parent_acknowledges_and_keeps_one_place_for_each_child() {
    everywhere(|world| {
        let (ai, _) = created(world, (0, 0));
        let child = world.link(&[8001, 5]);
        let tell = |world: &mut World, new: (u32, u32), old: (u32, u32)| {
            let body = Payload::new().u32(8001).u32(new.0).u32(new.1).u32(old.0).u32(old.1);
            world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_CHANGING_LOCATION, body);
            world.take(child)
        };
        let ack = |zone| {
            let body = Payload::new().u32(7001).u32(zone);
            vec![from_object(8001, t::STATESERVER_OBJECT_LOCATION_ACK, body)]
        };
        let zones = |world: &mut World| {
            world.send(ai, &[7001], 5, t::STATESERVER_GET_ACTIVE_ZONES, Payload::new().u32(6));
            world.take(child).pop().unwrap().body
        };
        assert_eq!(tell(world, (7001, 3), (0, 0)), ack(3));
        assert_eq!(tell(world, (7001, 3), (7001, 3)), []);
        assert_eq!(tell(world, (7001, 4), (7001, 77)), ack(4));
        assert_eq!(zones(world), Payload::new().u32(6).u16(1).u32(4).0);
        assert_eq!(tell(world, (6000, 4), (6001, 4)), []);
        assert_eq!(zones(world), Payload::new().u32(6).u16(1).u32(4).0);
        assert_eq!(tell(world, (6000, 4), (7001, 4)), []);
        assert_eq!(zones(world), Payload::new().u32(6).u16(0).0);
    });
}

/// The parent comes last: it calls its children, knows and synchronizes them, and they take its AI (§2.7 [R]).
#[test]
fn a_late_parent_wakes_its_children() {
    everywhere(|world| {
        let ai = world.link(&[]);
        for child in 8001..8004 {
            world.create1(ai, child, (7001, 3));
        }
        world.create1(ai, 7001, (0, 0));
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        let asker = world.link(&[5]);
        for child in 8001..8004 {
            world.send(ai, &[child], 5, t::STATESERVER_OBJECT_GET_AI, Payload::new().u32(1));
            let body = Payload::new().u32(1).u32(child as u32).u64(AI);
            world.expect(asker, &[seen(&[5], child, t::STATESERVER_OBJECT_GET_AI_RESP, body)]);
        }
        let payload = Payload::new().u32(4).u32(7001).u32(3);
        world.send(ai, &[children_channel(7001)], 5, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, payload);
        let types: Vec<_> = world.take(asker).into_iter().map(|seen| seen.message_type).collect();
        assert_eq!(types, [t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED; 3], "they are synchronized");
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_GET_ZONE_COUNT, Payload::new().u32(9).u32(7001).u32(3));
        world.expect(asker, &[from_object(5, t::STATESERVER_OBJECT_GET_ZONE_COUNT_RESP, Payload::new().u32(9).u32(3))]);
    });
}

#[test]
fn a_child_that_the_parent_wakes_asks_for_the_ai_behind_its_answer() {
    everywhere(|world| {
        let (ai, all) = created(world, (5000, 1500));
        let wake = |world: &mut World, from| {
            world.send(
                ai,
                &[children_channel(5000)],
                from,
                t::STATESERVER_OBJECT_GET_LOCATION,
                Payload::new().u32(1001),
            );
            world.take(all).into_iter().map(|seen| (seen.to[0], seen.message_type)).collect::<Vec<_>>()
        };
        let (answer, question) = (t::STATESERVER_OBJECT_GET_LOCATION_RESP, t::STATESERVER_OBJECT_GET_AI);
        assert_eq!(wake(world, 5000), [(5000, answer), (5000, question)]);
        assert_eq!(wake(world, 6000), [(6000, answer)], "not its parent");
        world.send(ai, &[7001], 5, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        world.take(all);
        assert_eq!(wake(world, 5000), [(5000, answer)], "its AI is its own");
    });
}
