use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{Doid, MessageType, Zone, children_channel, location_channel};

/// A parent 8000 and its children here, and a link that sees what reaches the asker 5 and the children channel.
fn family(world: &mut World, children: &[(Doid, Zone)]) -> (LinkId, LinkId) {
    let (ai, all) = (world.link(&[]), world.link(&[5, children_channel(8000)]));
    world.create1(ai, 8000, (0, 0));
    for &(child, zone) in children {
        world.create1(ai, child, (8000, zone));
    }
    world.take(all);
    (ai, all)
}

fn zones_objects(context: u32, parent: Doid, zones: &[Zone]) -> Payload {
    let payload = Payload::new().u32(context).u32(parent).u16(zones.len() as u16);
    zones.iter().fold(payload, |payload, &zone| payload.u32(zone))
}

fn ask(world: &mut World, link: LinkId, message_type: MessageType, payload: Payload) {
    world.send(link, &[8000], 5, message_type, payload);
}

fn entry(context: u32, child: Doid, zone: Zone) -> Seen {
    let body = Payload::new().u32(context).u32(child).u32(8000).u32(zone).u16(id::OBJECT1).u32(6789);
    seen(&[5], child.into(), t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED, body)
}

fn count(message_type: MessageType, context: u32, count: u32) -> Seen {
    seen(&[5], 8000, message_type, Payload::new().u32(context).u32(count))
}

/// The golden vector: GET_ZONES_OBJECTS ctx 3 on 8000, zone 10, one child 8001 — in another daemon, so that the count is
/// followed by the relay.
#[test]
fn ss_32_a_child_elsewhere_is_counted_and_asked_by_relay() {
    everywhere(|world| {
        let (ai, all) = family(world, &[]);
        let elsewhere = world.link(&[8001]);
        let body = Payload::new().u32(8001).u32(8000).u32(10).u32(0).u32(0);
        world.send(elsewhere, &[8000], 5, t::STATESERVER_OBJECT_CHANGING_LOCATION, body);
        for message_type in [t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS] {
            let query = if message_type == t::STATESERVER_OBJECT_GET_ZONES_OBJECTS {
                zones_objects(3, 8000, &[10])
            } else {
                Payload::new().u32(3).u32(8000).u32(10)
            };
            ask(world, ai, message_type, query);
            let body = |text: &str| Payload(hex(text));
            world.expect(
                all,
                &[
                    seen(&[5], 8000, t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, body("03000000 01000000")),
                    seen(
                        &[0x100001f40],
                        5,
                        t::STATESERVER_OBJECT_GET_ZONES_OBJECTS,
                        body("03000000 401f0000 0100 0a000000"),
                    ),
                ],
            );
        }
    });
}

/// The golden vector's third line: what the relay of a parent elsewhere makes a synchronized child answer.
#[test]
fn ss_31_a_child_answers_its_distant_parent_by_whether_it_is_synchronized() {
    everywhere(|world| {
        let (ai, all) = (world.link(&[8000]), world.link(&[5]));
        world.create(ai, 8001, (8000, 10), id::OBJECT1, Payload::new().u32(0));
        let relay = |world: &mut World, message_type: MessageType, payload: Payload| {
            world.send(ai, &[children_channel(8000)], 5, message_type, payload);
            world.take(all)
        };
        let query = || zones_objects(3, 8000, &[9, 10]);
        let body = Payload(hex("411f0000 401f0000 0a000000 0000 00000000"));
        let unsynchronized = [seen(&[5], 8001, t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, body)];
        assert_eq!(relay(world, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, query()), unsynchronized);
        let ack = Payload::new().u32(8000).u32(10);
        world.send(ai, &[8001], 8000, t::STATESERVER_OBJECT_LOCATION_ACK, ack);
        let body = Payload(hex("03000000 411f0000 401f0000 0a000000 0000 00000000"));
        let synchronized = [seen(&[5], 8001, t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED, body)];
        assert_eq!(relay(world, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, query()), synchronized);
        let singular = Payload::new().u32(3).u32(8000).u32(10);
        assert_eq!(relay(world, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, singular), synchronized);
        let children = Payload::new().u32(3).u32(8000);
        assert_eq!(relay(world, t::STATESERVER_OBJECT_GET_CHILDREN, children), synchronized);
        let elsewhere = zones_objects(3, 8000, &[9, 11]);
        assert_eq!(relay(world, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, elsewhere), []);
        let stranger = zones_objects(3, 8002, &[10]);
        assert_eq!(relay(world, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, stranger), []);
    });
}

#[test]
fn a_query_here_is_answered_by_every_child_and_then_by_their_exact_number() {
    everywhere(|world| {
        let children: Vec<(Doid, Zone)> = (8001..8041).map(|child| (child, child % 4)).collect();
        let (ai, all) = family(world, &children);
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones_objects(7, 8000, &[3, 1, 3, 99]));
        let mut answers = world.take(all);
        assert_eq!(answers.pop(), Some(count(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, 7, 20)));
        answers.sort_by_key(|seen| seen.from);
        let in_view = children.iter().filter(|(_, zone)| zone % 2 == 1);
        assert_eq!(answers, in_view.map(|&(child, zone)| entry(7, child, zone)).collect::<Vec<_>>());
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, Payload::new().u32(8).u32(8000).u32(99));
        world.expect(all, &[count(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, 8, 0)]);
    });
}

#[test]
fn children_here_and_elsewhere_are_counted_together_and_answer_once_each() {
    everywhere(|world| {
        let (ai, all) = family(world, &[(8001, 10), (8002, 10), (8003, 11)]);
        let elsewhere = world.link(&[8500]);
        let body = Payload::new().u32(8500).u32(8000).u32(10).u32(0).u32(0);
        world.send(elsewhere, &[8000], 5, t::STATESERVER_OBJECT_CHANGING_LOCATION, body);
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones_objects(7, 8000, &[10]));
        let relay =
            seen(&[children_channel(8000)], 5, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones_objects(7, 8000, &[10]));
        let counted = count(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, 7, 3);
        world.expect_unordered(all, &[entry(7, 8001, 10), entry(7, 8002, 10), counted, relay]);
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones_objects(8, 8000, &[11]));
        let counted = count(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, 8, 1);
        world.expect(all, &[entry(8, 8003, 11), counted]);
    });
}

/// Children move to and fro while queries are on their way: whatever the count says has been shown, and nothing else.
#[test]
fn a_count_is_exact_while_children_move() {
    everywhere(|world| {
        let children: Vec<(Doid, Zone)> = (8001..8031).map(|child| (child, child % 2)).collect();
        let (ai, all) = family(world, &children);
        for round in 0..20 {
            for child in 8001..8031_u32 {
                let payload = Payload::new().u32(8000).u32((child + round) % 3);
                world.post(ai, &[child.into()], 5, t::STATESERVER_OBJECT_SET_LOCATION, payload);
                if child % 10 == 0 {
                    let query = zones_objects(round, 8000, &[1]);
                    world.post(ai, &[8000], 5, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, query);
                }
            }
        }
        world.run();
        let (mut shown, mut counted, mut answers) = (0, 0, 0);
        for seen in world.take(all) {
            match seen.message_type {
                t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED => shown += 1,
                t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP => {
                    counted += u32::from_le_bytes(seen.body[4..].try_into().unwrap());
                    answers += 1;
                }
                other => panic!("{other}"),
            }
        }
        assert_eq!((answers, shown), (60, counted));
        assert!(shown > 0);
    });
}

#[test]
fn a_parent_that_dies_does_not_answer() {
    everywhere(|world| {
        let (ai, all) = family(world, &[(8001, 10)]);
        world.post(ai, &[8000], 5, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones_objects(7, 8000, &[10]));
        world.post(ai, &[8000], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(8000));
        let payload = Payload::new().u32(8000).u32(0).u32(0).u16(id::OBJECT1).u32(1);
        world.post(ai, &[CONTROL], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, payload);
        world.run();
        let types: Vec<_> = world.take(all).into_iter().map(|seen| seen.message_type).collect();
        assert!(!types.contains(&t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP), "{types:?}");
        assert!(world.state_server(8000).partition.queries.is_empty());
    });
}

#[test]
fn ss_33_children_of_children_are_not_counted() {
    everywhere(|world| {
        let (ai, all) = family(world, &[(8001, 10)]);
        world.create1(ai, 8002, (8001, 10));
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones_objects(7, 8000, &[10]));
        world.expect(all, &[entry(7, 8001, 10), count(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, 7, 1)]);
        ask(world, ai, t::STATESERVER_OBJECT_GET_CHILD_COUNT, Payload::new().u32(8).u32(8000));
        world.expect(all, &[count(t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP, 8, 1)]);
    });
}

#[test]
fn ss_34_a_child_that_left_or_died_is_not_counted() {
    everywhere(|world| {
        let (ai, all) = family(world, &[(8001, 10), (8002, 10), (8003, 10), (8004, 10)]);
        world.send(ai, &[8001], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(8001));
        world.send(ai, &[8002], 5, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(9000).u32(10));
        world.send(ai, &[8003], 5, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(8000).u32(11));
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONE_COUNT, Payload::new().u32(7).u32(8000).u32(10));
        world.expect(all, &[count(t::STATESERVER_OBJECT_GET_ZONE_COUNT_RESP, 7, 1)]);
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones_objects(8, 8000, &[10]));
        world.expect(all, &[entry(8, 8004, 10), count(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, 8, 1)]);
    });
}

#[test]
fn ss_35_active_zones_are_those_with_children_ascending() {
    everywhere(|world| {
        let (ai, all) = family(world, &[(8001, 900), (8002, 10), (8003, 900), (8004, 0), (8005, 77)]);
        world.send(ai, &[8005], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(8005));
        // Asking about an empty zone does not make it one.
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones_objects(8, 8000, &[50]));
        world.take(all);
        ask(world, ai, t::STATESERVER_GET_ACTIVE_ZONES, Payload::new().u32(6));
        let body = Payload::new().u32(6).u16(3).u32(0).u32(10).u32(900);
        world.expect(all, &[seen(&[5], 8000, t::STATESERVER_GET_ACTIVE_ZONES_RESP, body)]);
    });
}

/// A frame cannot name more (§2.10 [R]).
#[test]
fn active_zones_beyond_a_frame_are_cut_off() {
    let mut world = World::new(1, Vec::new());
    let (ai, all) = family(&mut world, &[]);
    for child in 0..17_000 {
        let body = Payload::new().u32(20_000 + child).u32(8000).u32(child).u32(0).u32(0);
        world.send(ai, &[8000], 5, t::STATESERVER_OBJECT_CHANGING_LOCATION, body);
    }
    ask(&mut world, ai, t::STATESERVER_GET_ACTIVE_ZONES, Payload::new().u32(6));
    let [answer] = &world.take(all)[..] else { panic!("one answer") };
    let zones = u16::from_le_bytes(answer.body[4..6].try_into().unwrap());
    assert_eq!((zones, answer.body.len()), (16_377, 6 + 4 * 16_377));
    assert_eq!(answer.body[answer.body.len() - 4..], 16_376_u32.to_le_bytes());
}

#[test]
fn counts_are_answered_for_the_object_itself_only() {
    everywhere(|world| {
        let (ai, all) = family(world, &[(8001, 10), (8002, 10), (8003, 11)]);
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_COUNT, zones_objects(1, 8000, &[10, 11, 10, 12]));
        world.expect(all, &[count(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, 1, 3)]);
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_COUNT, zones_objects(1, 8001, &[10]));
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONE_COUNT, Payload::new().u32(1).u32(8001).u32(10));
        ask(world, ai, t::STATESERVER_OBJECT_GET_CHILD_COUNT, Payload::new().u32(1).u32(8001));
        world.expect(all, &[]);
    });
}

#[test]
fn get_children_is_answered_by_every_child_here_and_asks_those_elsewhere() {
    everywhere(|world| {
        let (ai, all) = family(world, &[(8001, 10), (8002, 11)]);
        ask(world, ai, t::STATESERVER_OBJECT_GET_CHILDREN, Payload::new().u32(7).u32(8000));
        let response = t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP;
        world.expect_unordered(all, &[entry(7, 8001, 10), entry(7, 8002, 11), count(response, 7, 2)]);
        let elsewhere = world.link(&[8500]);
        let body = Payload::new().u32(8500).u32(8000).u32(12).u32(0).u32(0);
        world.send(elsewhere, &[8000], 5, t::STATESERVER_OBJECT_CHANGING_LOCATION, body);
        let query = Payload::new().u32(7).u32(8000);
        ask(world, ai, t::STATESERVER_OBJECT_GET_CHILDREN, query.clone());
        let relay = seen(&[children_channel(8000)], 5, t::STATESERVER_OBJECT_GET_CHILDREN, query);
        let answers = [entry(7, 8001, 10), entry(7, 8002, 11), count(response, 7, 3), relay];
        world.expect_unordered(all, &answers);
    });
}

#[test]
fn ss_50_a_query_that_names_parent_0_is_answered_by_a_root() {
    everywhere(|world| {
        let (ai, all) = family(world, &[]);
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, Payload::new().u32(7).u32(0).u32(0));
        let body = Payload::new().u32(8000).u32(0).u32(0).u16(id::OBJECT1).u32(6789);
        world.expect(all, &[seen(&[5], 8000, t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, body)]);
    });
}

#[test]
fn cut_queries_are_refused() {
    everywhere(|world| {
        let (ai, all) = family(world, &[(8001, 10)]);
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, Payload::new().u32(7).u32(8000).u16(2).u32(10));
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, Payload::new().u32(7).u32(8000));
        ask(world, ai, t::STATESERVER_OBJECT_GET_CHILDREN, Payload::new().u32(7));
        world.expect(all, &[]);
        assert_eq!(world.metric(|metrics| metrics.object_messages_refused), 3);
    });
}

/// A snapshot that fits no frame is not sent, and so not counted either.
#[test]
fn a_child_too_large_to_be_shown_is_not_counted() {
    everywhere(|world| {
        let (ai, all) = family(world, &[(8001, 10)]);
        let location = world.link(&[location_channel(8000, 10)]);
        world.create(ai, 8002, (8000, 10), id::OBJECT3, Payload::new().u32(1).u32(2));
        world.set(ai, 8002, id::BR1, Payload::new().text(&"x".repeat(65_500)));
        world.take(all);
        assert_eq!(world.take(location).len(), 2, "the update itself fits");
        ask(world, ai, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, zones_objects(7, 8000, &[10]));
        world.expect(all, &[entry(7, 8001, 10), count(t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, 7, 1)]);
    });
}
