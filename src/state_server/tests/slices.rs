//! What is for many objects is done slice by slice: others come in between, and nobody can tell a half-done deletion from
//! one that is still on its way.

use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, Zone, children_channel, location_channel};

const AI: Channel = 31_000;
const PARENT: Doid = 8000;
const BYSTANDER: Doid = 7777;
const FIRST: Doid = 1_000_000;

fn post(world: &mut World, link: LinkId, to: Channel, message_type: crate::wire::MessageType, payload: Payload) {
    world.post(link, &[to], 5, message_type, payload);
}

fn post_create(world: &mut World, link: LinkId, doid: Doid, location: (Doid, Zone)) {
    let payload = Payload::new().u32(doid).u32(location.0).u32(location.1).u16(id::OBJECT1).u32(6789);
    post(world, link, CONTROL, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, payload);
}

fn children(world: &mut World, link: LinkId, parent: Doid, count: u32) {
    world.create1(link, parent, (0, 0));
    for child in FIRST..FIRST + count {
        post_create(world, link, child, (parent, child % 10));
    }
    world.run();
}

/// The most messages that executors handle between two looks at their sockets while something large is under way: a slice
/// of each lane, as many objects again at once, a datagram's worth of an AI's objects, and a few messages that follow from
/// each. Without slices it would be several for each of the objects.
const HANDLED_MAX_PER_EXECUTOR: usize = 5 * (4 * 256 + 255);

/// Runs to the end, with a question to a bystander at every intake, and asserts that it is answered before the next, and
/// how much an executor handles between two. Returns the number of intakes.
fn with_bystander(world: &mut World, shards: usize) -> usize {
    let (asker, answers) = (world.link(&[]), world.link(&[66]));
    let mut intakes = 0;
    loop {
        let handled = world.handled;
        let payload = Payload::new().u32(intakes as u32).u32(BYSTANDER).u16(id::REQUIRED1);
        world.post(asker, &[BYSTANDER.into()], 66, t::STATESERVER_OBJECT_GET_FIELD, payload);
        world.run_turn();
        assert_eq!(world.take(answers).len(), 1, "answered in the turn that brought the question");
        intakes += 1;
        let goes_on = world.begin_slices();
        world.run_turn();
        let handled = world.handled - handled;
        assert!(handled <= shards * HANDLED_MAX_PER_EXECUTOR, "{handled} between two intakes");
        if !goes_on {
            world.assert_consistent();
            return intakes;
        }
    }
}

/// Runs a test with one executor and with more. The bystander is there already.
fn everywhere_with(test: impl Fn(&mut World, usize)) {
    for shards in [1, 2, 4] {
        let mut world = World::new(shards, Vec::new());
        let link = world.link(&[]);
        world.create1(link, BYSTANDER, (0, 0));
        test(&mut world, shards);
    }
}

/// The number that the claim is about, and fewer where it is only about more executors: creating them takes the time.
fn many(shards: usize) -> u32 {
    if shards == 1 { 100_000 } else { 20_000 }
}

#[test]
fn deleting_an_ais_100_000_objects_lets_others_in_between() {
    everywhere_with(|world, shards| {
        let ai = world.link(&[]);
        world.create1(ai, PARENT, (0, 0));
        for doid in FIRST..FIRST + many(shards) {
            post_create(world, ai, doid, (PARENT, doid % 10));
            post(world, ai, doid.into(), t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        }
        world.run();
        post(world, ai, CONTROL, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u64(AI));
        let intakes = with_bystander(world, shards);
        assert_eq!(world.live_objects(), 2, "parent and bystander");
        assert!(intakes >= many(shards) as usize / shards / 256, "{intakes}");
        world.assert_parents_know_their_children();
    });
}

#[test]
fn moving_a_parent_of_100_000_children_lets_others_in_between() {
    everywhere_with(|world, shards| {
        let ai = world.link(&[]);
        children(world, ai, PARENT, many(shards));
        world.create1(ai, 8001, (0, 0));
        post(world, ai, 8001, t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        world.run();
        let observer = world.link(&[AI]);
        // The parent comes under another AI, and every child with it.
        post(world, ai, PARENT.into(), t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(8001).u32(1));
        let intakes = with_bystander(world, shards);
        assert!(intakes >= many(shards) as usize / shards / 512, "{intakes}");
        assert_eq!(world.take(observer).len(), many(shards) as usize + 1, "the AI is shown the parent and every child");
    });
}

#[test]
fn deleting_a_tree_of_depth_50_lets_others_in_between() {
    everywhere_with(|world, shards| {
        let ai = world.link(&[]);
        world.create1(ai, PARENT, (0, 0));
        // 50 levels; below each object of the first 49, a stem that goes on and 400 leaves.
        let mut stem = PARENT;
        let mut next = FIRST;
        for _ in 0..50 {
            for leaf in next..next + 401 {
                post_create(world, ai, leaf, (stem, 1));
            }
            stem = next;
            next += 401;
        }
        world.run();
        assert_eq!(world.live_objects(), 50 * 401 + 2);
        let order = world.link(&[location_channel(PARENT, 1)]);
        post(world, ai, PARENT.into(), t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(PARENT));
        let intakes = with_bystander(world, shards);
        assert_eq!((world.live_objects(), world.take(order).len()), (1, 401));
        assert!(intakes >= 50 * 401 / shards / 512, "{intakes}");
    });
}

#[test]
fn a_binary_tree_is_deleted_in_slices_as_well() {
    everywhere_with(|world, shards| {
        let ai = world.link(&[]);
        world.create1(ai, FIRST, (0, 0));
        for doid in 1..(1 << 14) {
            post_create(world, ai, FIRST + doid, (FIRST + (doid - 1) / 2, 1));
        }
        world.run();
        post(world, ai, FIRST.into(), t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(FIRST));
        let intakes = with_bystander(world, shards);
        assert_eq!(world.live_objects(), 1);
        assert!(intakes >= (1 << 14) / shards / 512, "{intakes}");
    });
}

/// A zone query is not made to wait behind the deletion of everything else in the same parent.
#[test]
fn a_query_is_answered_in_its_turn_while_the_parents_children_are_being_told_of_something() {
    everywhere(|world| {
        let (ai, answers) = (world.link(&[]), world.link(&[66]));
        children(world, ai, PARENT, 4000);
        for child in 0..100 {
            world.create1(ai, child + 50_000, (PARENT, 99));
        }
        post(world, ai, PARENT.into(), t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        world.run_turn();
        let mut context = 0;
        while world.begin_slices() {
            world.run_turn();
            context += 1;
            let payload = Payload::new().u32(context).u32(PARENT).u32(99);
            world.post(ai, &[PARENT.into()], 66, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, payload);
            world.run_turn();
            assert_eq!(world.take(answers).len(), 101, "a hundred children and their number");
        }
        assert!(context > 2);
    });
}

/// Deletes the children of the parent, and stops in the middle of it.
fn half_deleted(world: &mut World) -> LinkId {
    let ai = world.link(&[]);
    children(world, ai, PARENT, 4000);
    post(world, ai, PARENT.into(), t::STATESERVER_OBJECT_DELETE_CHILDREN, Payload::new().u32(PARENT));
    world.run_turn();
    let left = world.live_objects() - 1;
    assert!((1000..4000).contains(&left), "{left}");
    ai
}

/// A child that the deletion has not come to yet.
fn not_yet_deleted(world: &World) -> Doid {
    (FIRST..FIRST + 4000).rev().find(|&doid| world.is_live(doid)).expect("half are left")
}

#[test]
fn whoever_looks_at_an_object_of_a_half_done_deletion_finds_it_gone() {
    everywhere(|world| {
        let ai = half_deleted(world);
        let child = not_yet_deleted(world);
        let seen_by = world.link(&[66, location_channel(PARENT, child % 10)]);
        let payload = Payload::new().u32(1).u32(child).u16(id::REQUIRED1);
        world.post(ai, &[child.into()], 66, t::STATESERVER_OBJECT_GET_FIELD, payload);
        world.run_turn();
        assert!(!world.is_live(child));
        let gone = seen(
            &[location_channel(PARENT, child % 10)],
            5,
            t::STATESERVER_OBJECT_DELETE_RAM,
            Payload::new().u32(child),
        );
        world.expect(seen_by, &[gone]);
        world.run();
        assert_eq!(world.live_objects(), 1);
        world.assert_consistent();
    });
}

#[test]
fn a_doid_of_a_half_done_deletion_is_free_and_the_new_object_stays() {
    everywhere(|world| {
        let ai = half_deleted(world);
        let child = not_yet_deleted(world);
        let seen_by = world.link(&[location_channel(PARENT, child % 10)]);
        post_create(world, ai, child, (PARENT, child % 10));
        // Another comes by a move, to a place that the deletion has still to pass.
        world.create1(ai, BYSTANDER, (0, 0));
        post(world, ai, BYSTANDER.into(), t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(PARENT).u32(9));
        world.run_turn();
        let of_child: Vec<_> = world
            .take(seen_by)
            .into_iter()
            .filter(|seen| seen.body[..4] == child.to_le_bytes())
            .map(|seen| seen.message_type)
            .collect();
        assert_eq!(
            of_child,
            [t::STATESERVER_OBJECT_DELETE_RAM, t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED],
            "one ends, then the other comes"
        );
        world.run();
        assert!(world.is_live(child) && world.is_live(BYSTANDER));
        assert_eq!(world.live_objects(), 3);
        world.assert_consistent();
        world.assert_parents_know_their_children();
    });
}

#[test]
fn a_query_in_a_half_done_deletion_finds_nobody() {
    everywhere(|world| {
        let ai = half_deleted(world);
        let zone = not_yet_deleted(world) % 10;
        let answers = world.link(&[66]);
        let payload = Payload::new().u32(3).u32(PARENT).u32(zone);
        world.post(ai, &[PARENT.into()], 66, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, payload);
        world.run();
        let none = Payload::new().u32(3).u32(0);
        world.expect(answers, &[seen(&[66], PARENT.into(), t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, none)]);
        world.assert_consistent();
    });
}

/// Two messages to the children, the second sent while the first is half handed out: each child has them in order.
#[test]
fn each_child_has_what_was_sent_to_all_in_the_order_sent() {
    everywhere(|world| {
        let ai = world.link(&[]);
        children(world, ai, PARENT, 3000);
        let observer = world.link(&[AI, AI + 1, AI + 2]);
        for step in 0..3 {
            post(world, ai, PARENT.into(), t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI + step));
            world.run_turn();
            world.begin_slices();
            world.run_turn();
        }
        post(world, ai, children_channel(PARENT), t::STATESERVER_OBJECT_DELETE_CHILDREN, Payload::new().u32(PARENT));
        world.run();
        let mut history: std::collections::HashMap<Doid, Vec<u16>> = std::collections::HashMap::new();
        for seen in world.take(observer) {
            let doid = Doid::from_le_bytes(seen.body[..4].try_into().unwrap());
            history.entry(doid).or_default().push(seen.message_type.0);
        }
        let (enter, change) = (t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED.0, t::STATESERVER_OBJECT_CHANGING_AI.0);
        let gone = t::STATESERVER_OBJECT_DELETE_RAM.0;
        for child in FIRST..FIRST + 3000 {
            assert_eq!(history[&child], [enter, change, enter, change, enter, gone], "{child}");
        }
        assert_eq!(world.live_objects(), 1);
        world.assert_consistent();
    });
}

/// DELETE_AI_OBJECTS arrived before whatever is sent to one of the objects meanwhile.
#[test]
fn an_object_of_a_half_deleted_ai_ends_before_what_comes_later_and_may_come_again() {
    everywhere(|world| {
        let ai = world.link(&[]);
        for doid in FIRST..FIRST + 4000 {
            post_create(world, ai, doid, (0, 0));
            post(world, ai, doid.into(), t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        }
        world.run();
        post(world, ai, CONTROL, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u64(AI));
        world.run_turn();
        world.begin_slices();
        world.run_turn();
        let [saved, again] = [FIRST + 3999, FIRST + 3998];
        assert!(world.is_live(saved) && world.is_live(again));
        let seen_by = world.link(&[saved.into()]);
        // Too late to save it from its AI's end.
        post(world, ai, saved.into(), t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI + 1));
        // In time: a new object of the same doid and the same AI.
        post_create(world, ai, again, (0, 0));
        post(world, ai, again.into(), t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        world.run_turn();
        assert!(!world.is_live(saved) && world.is_live(again));
        let order = seen(&[saved.into()], 5, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u64(AI));
        assert!(world.take(seen_by).contains(&order), "others see the order as if it had come in its turn");
        world.run();
        assert!(world.is_live(again));
        assert_eq!(world.live_objects(), 1);
        world.assert_consistent();
        post(world, ai, CONTROL, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u64(AI));
        world.run();
        assert_eq!(world.live_objects(), 0);
    });
}

/// An object that ends otherwise while its AI's objects are being ended leaves no order for the next one of its doid.
#[test]
fn an_order_of_a_half_deleted_ai_does_not_find_another_object_of_the_doid() {
    everywhere(|world| {
        let ai = world.link(&[]);
        world.create1(ai, PARENT, (0, 0));
        for doid in FIRST..FIRST + 2000 {
            post_create(world, ai, doid, (PARENT, 1));
            post(world, ai, doid.into(), t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        }
        world.run();
        let last = FIRST + 1999;
        post(world, ai, CONTROL, t::STATESERVER_DELETE_AI_OBJECTS, Payload::new().u64(AI));
        post(world, ai, last.into(), t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(last));
        post_create(world, ai, last, (PARENT, 1));
        post(world, ai, last.into(), t::STATESERVER_OBJECT_SET_AI, Payload::new().u64(AI));
        world.run();
        assert_eq!(world.live_objects(), 2);
        world.assert_consistent();
        world.assert_parents_know_their_children();
    });
}

/// Half handed out to some, a message still reaches each object once, whatever other recipients it names.
#[test]
fn one_datagram_reaches_each_once_by_whichever_channels() {
    everywhere(|world| {
        let ai = world.link(&[]);
        children(world, ai, PARENT, 1000);
        let answers = world.link(&[66]);
        let last = FIRST + 999;
        let to = [children_channel(PARENT), last.into(), FIRST.into(), PARENT.into()];
        world.post(ai, &to, 66, t::STATESERVER_OBJECT_GET_LOCATION, Payload::new().u32(4));
        world.run_turn();
        world.post(ai, &to, 66, t::STATESERVER_OBJECT_GET_LOCATION, Payload::new().u32(5));
        world.run();
        let answers = world.take(answers);
        for context in [4_u32, 5] {
            let mut senders: Vec<Channel> =
                answers.iter().filter(|seen| seen.body[..4] == context.to_le_bytes()).map(|seen| seen.from).collect();
            senders.sort_unstable();
            let mut expected: Vec<Channel> = (FIRST..FIRST + 1000).map(Channel::from).collect();
            expected.insert(0, PARENT.into());
            assert_eq!(senders, expected, "{context}");
        }
    });
}

#[test]
fn a_mass_move_by_the_children_channel_moves_each_once() {
    everywhere(|world| {
        let ai = half_deleted(world);
        children(world, ai, 8001, 0);
        for doid in 0..1000 {
            post_create(world, ai, 200_000 + doid, (8001, doid % 7));
        }
        world.run_turn();
        let to = [children_channel(8001), children_channel(PARENT)];
        world.post(ai, &to, 5, t::STATESERVER_OBJECT_SET_LOCATION, Payload::new().u32(PARENT).u32(3));
        world.run();
        assert_eq!(world.live_objects(), 1002);
        world.assert_consistent();
        world.assert_parents_know_their_children();
    });
}

/// At the limit nothing more is kept: the executor takes the time instead of the memory.
#[test]
fn beyond_the_limit_of_what_may_wait_a_message_is_handed_out_whole() {
    everywhere_with(|world, shards| {
        for (fan_outs, bytes) in [(0, 1 << 20), (1 << 20, 0)] {
            world.let_wait(fan_outs, bytes);
            let ai = world.link(&[]);
            children(world, ai, PARENT, 4000);
            post(world, ai, PARENT.into(), t::STATESERVER_OBJECT_DELETE_CHILDREN, Payload::new().u32(PARENT));
            world.run_turn();
            assert_eq!(world.live_objects(), 2, "parent and bystander, with {shards}");
            assert!(!world.begin_slices());
            world.run();
            world.assert_consistent();
            world.send(ai, &[PARENT.into()], 5, t::STATESERVER_OBJECT_DELETE_RAM, Payload::new().u32(PARENT));
        }
    });
}

/// 100 of 50,000 children in 500 zones are found by looking at these 100, as they are among 100 children.
#[test]
fn a_zone_query_looks_at_what_it_returns() {
    let visited = |children: u32, zones: u32| {
        let mut world = World::new(1, Vec::new());
        let ai = world.link(&[]);
        world.create1(ai, PARENT, (0, 0));
        for child in 0..children {
            post_create(&mut world, ai, FIRST + child, (PARENT, child % zones));
        }
        world.run();
        let answers = world.link(&[66]);
        let visited = |world: &World| world.metric(|metrics| metrics.children_visited);
        let (before, handled) = (visited(&world), world.handled);
        let payload = Payload::new().u32(1).u32(PARENT).u32(0);
        world.send(ai, &[PARENT.into()], 66, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, payload);
        assert_eq!(world.take(answers).len(), 101);
        (visited(&world) - before, world.handled - handled)
    };
    assert_eq!(visited(100, 1), (100, visited(50_000, 500).1));
    assert_eq!(visited(50_000, 500).0, 100);
}

/// The same of what is sent to the children of some zones, by the parent or by its relay from another daemon.
#[test]
fn what_is_for_the_children_of_some_zones_is_shown_to_these() {
    everywhere(|world| {
        let ai = world.link(&[]);
        children(world, ai, PARENT, 1000);
        let visited = |world: &World| world.metric(|metrics| metrics.children_visited);
        let before = visited(world);
        let relay = Payload::new().u32(1).u32(PARENT).u16(2).u32(3).u32(50);
        world.send(ai, &[children_channel(PARENT)], 66, t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, relay);
        assert_eq!(visited(world) - before, 100);
        let before = visited(world);
        let payload = Payload::new().u32(PARENT).u32(4);
        world.send(ai, &[PARENT.into()], 5, t::STATESERVER_OBJECT_DELETE_ZONE, payload);
        assert_eq!((visited(world) - before, world.live_objects()), (100, 901));
    });
}
