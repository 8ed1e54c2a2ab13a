//! What must hold after any messages whatever: no panic, indexes that agree with the objects, no query left open; and,
//! when every operation has come to rest before the next, parents that know exactly their children.

use crate::state_server::testing::*;
use crate::wire::message_type as t;
use crate::wire::{Doid, MessageType, Zone, children_channel};
use proptest::prelude::*;

/// Few doids, so that they meet.
const DOIDS: std::ops::Range<Doid> = 7000..7008;

#[derive(Clone, Debug)]
enum Operation {
    Create(Doid, Doid, Zone),
    Move(Doid, Doid, Zone),
    SetAi(Doid, u64),
    DeleteAi(u64),
    Delete(Doid),
    DeleteChildren(Doid),
    DeleteZone(Doid, Zone),
    Query(Doid, Zone),
    Set(Doid, String),
}

fn operation() -> impl Strategy<Value = Operation> {
    let parent = || prop_oneof![DOIDS, Just(0), Just(8000)];
    let (zone, ai) = (|| 0..3_u32, || 31_000..31_002_u64);
    prop_oneof![
        4 => (DOIDS, parent(), zone()).prop_map(|(doid, parent, zone)| Operation::Create(doid, parent, zone)),
        4 => (DOIDS, parent(), zone()).prop_map(|(doid, parent, zone)| Operation::Move(doid, parent, zone)),
        2 => (DOIDS, ai()).prop_map(|(doid, ai)| Operation::SetAi(doid, ai)),
        1 => ai().prop_map(Operation::DeleteAi),
        1 => DOIDS.prop_map(Operation::Delete),
        1 => DOIDS.prop_map(Operation::DeleteChildren),
        1 => (DOIDS, zone()).prop_map(|(doid, zone)| Operation::DeleteZone(doid, zone)),
        2 => (DOIDS, zone()).prop_map(|(doid, zone)| Operation::Query(doid, zone)),
        1 => (DOIDS, "[a-z]{0,20}").prop_map(|(doid, text)| Operation::Set(doid, text)),
    ]
}

fn post(world: &mut World, link: LinkId, operation: Operation) {
    let new = Payload::new;
    let (to, message_type, payload) = match operation {
        Operation::Create(doid, parent, zone) => {
            let payload = new().u32(doid).u32(parent).u32(zone).u16(id::OBJECT1).u32(1);
            (CONTROL, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, payload)
        }
        Operation::Move(doid, parent, zone) => {
            (doid.into(), t::STATESERVER_OBJECT_SET_LOCATION, new().u32(parent).u32(zone))
        }
        Operation::SetAi(doid, ai) => (doid.into(), t::STATESERVER_OBJECT_SET_AI, new().u64(ai)),
        Operation::DeleteAi(ai) => (CONTROL, t::STATESERVER_DELETE_AI_OBJECTS, new().u64(ai)),
        Operation::Delete(doid) => (doid.into(), t::STATESERVER_OBJECT_DELETE_RAM, new().u32(doid)),
        Operation::DeleteChildren(doid) => (doid.into(), t::STATESERVER_OBJECT_DELETE_CHILDREN, new().u32(doid)),
        Operation::DeleteZone(doid, zone) => {
            (doid.into(), t::STATESERVER_OBJECT_DELETE_ZONE, new().u32(doid).u32(zone))
        }
        Operation::Query(doid, zone) => {
            (doid.into(), t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, new().u32(1).u32(doid).u32(zone))
        }
        Operation::Set(doid, text) => {
            (doid.into(), t::STATESERVER_OBJECT_SET_FIELD, new().u32(doid).u16(id::BR1).text(&text))
        }
    };
    world.post(link, &[to], 5, message_type, payload);
}

/// Messages that mean something to an object, a State Server or a DBSS.
const MESSAGE_TYPES: std::ops::RangeInclusive<u16> = 2000..=2240;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn parents_know_their_children_when_all_is_at_rest(
        operations in prop::collection::vec(operation(), 1..60),
        shards in 1..4_usize,
        slice in 1..4_usize,
    ) {
        let mut world = World::new(shards, Vec::new());
        world.slice(slice);
        let link = world.link(&[]);
        for operation in operations {
            post(&mut world, link, operation);
            world.run();
            world.assert_consistent();
            world.assert_parents_know_their_children();
        }
    }

    #[test]
    fn bursts_leave_consistent_indexes(
        operations in prop::collection::vec((operation(), any::<bool>()), 1..60),
        shards in 1..4_usize,
        slice in 1..4_usize,
    ) {
        let mut world = World::new(shards, Vec::new());
        world.slice(slice);
        let link = world.link(&[5]);
        for (operation, is_intake) in operations {
            post(&mut world, link, operation);
            if is_intake {
                world.run_turn();
                world.begin_slices();
            }
        }
        world.run();
        world.assert_consistent();
    }

    #[test]
    fn hostile_bytes_cost_nothing_but_themselves(
        messages in prop::collection::vec(
            (MESSAGE_TYPES, prop::collection::vec(any::<u8>(), 0..24), DOIDS, any::<bool>(), 0..4_u8), 1..60),
        shards in 1..4_usize,
    ) {
        let mut world = World::new(shards, Vec::new());
        let link = world.link(&[]);
        for doid in DOIDS {
            world.create1(link, doid, (DOIDS.start.min(doid - 1), 1));
        }
        for (message_type, bytes, doid, names_target, to) in messages {
            let to = [doid.into(), children_channel(doid), CONTROL, 7003][to as usize];
            let prefix = if names_target { doid.to_le_bytes().to_vec() } else { Vec::new() };
            let payload = Payload::new().bytes(&prefix).bytes(&bytes);
            world.send(link, &[to], 5, MessageType(message_type), payload);
        }
        world.assert_consistent();
    }
}
