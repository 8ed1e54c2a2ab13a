//! A parent on one daemon and its children on another, each on its own State Server, below one Message Director
//! (`protocol-ss-dbss-db.md` §2.7, §2.8, §2.10): over real sockets, with 1, 2 and 4 executors each.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Node;
use donet::wire::{MessageType, message_type as t};
use donet_perf::contract::Names;
use donet_perf::daemon::EXAMPLE_DC;
use donet_perf::internal::Internal;
use donet_perf::message::{Message, Payload};
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use std::collections::BTreeSet;

const UPPER: u64 = 102_000;
const LOWER: u64 = 102_001;
const PARENT: u32 = 50_000;
const FIRST: u32 = 51_000;
const CHILDREN: u32 = 20;
const ZONES: u32 = 4;
const AI: u64 = 80_000;
const OTHER_AI: u64 = 80_001;

fn create(link: &Internal, state_server: u64, class: u16, doid: u32, location: (u32, u32)) {
    let payload = Payload::new().u32(doid).u32(location.0).u32(location.1).u16(class).blob(b"a district");
    link.publish(&[state_server], t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, &payload);
}

fn ask(link: &Internal, message_type: MessageType, more: &Payload) {
    link.publish(&[PARENT.into()], message_type, &Payload::new().u32(1).u32(PARENT).bytes(more.as_bytes()));
}

/// The objects that so many messages of a type speak of.
fn doids(link: &Internal, what: &str, message_type: MessageType, count: u32) -> Result<BTreeSet<u32>, Failure> {
    let (gathered, _) = link.gather(what, count as usize, |message| message.is(message_type))?;
    Ok(gathered.iter().filter_map(Message::doid).collect())
}

fn counted(link: &Internal, response: MessageType) -> Result<u32, Failure> {
    let (_, answer) = link.until("a count", |message| message.is(response))?;
    let mut reader = answer.reader();
    assert_eq!(reader.u32(), Ok(1), "the context");
    Ok(reader.u32().expect("a count"))
}

#[test]
fn a_parent_and_its_children_are_one_world_on_two_daemons() -> Result<(), Failure> {
    let class = Names::parse("example.dc", EXAMPLE_DC)?.class("District")?;
    for shards in [1, 2, 4] {
        let director = "[services.message_director]\nbind = \"127.0.0.1:0\"\n";
        let role = |channel: u64| format!("[services.state_server]\ncontrol_channel = {channel}\n");
        let upper = Node::start(shards, &format!("{director}{}", role(UPPER)))?;
        let joined = format!("{director}upstream = \"{}\"\n{}", upper.director(), role(LOWER));
        let lower = Node::start(shards, &joined)?;
        let hub = Hub::new(wait::PATIENCE)?;
        let watcher = Internal::connect(&hub, "the watcher", upper.director(), 70_000)?;
        let keeper = Internal::connect(&hub, "the keeper", lower.director(), 70_001)?;
        watcher.subscribe(AI);
        watcher.subscribe(OTHER_AI);
        create(&watcher, UPPER, class, PARENT, (0, 0));
        watcher.publish(&[PARENT.into()], t::STATESERVER_OBJECT_SET_AI, &Payload::new().u64(AI));
        let parent = doids(&watcher, "the parent", t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED, 1)?;
        assert_eq!(parent, [PARENT].into());

        // Each child asks its parent for the AI, and is the AI's then.
        let children: BTreeSet<u32> = (FIRST..FIRST + CHILDREN).collect();
        for &child in &children {
            create(&keeper, LOWER, class, child, (PARENT, child % ZONES));
        }
        let entered = doids(&watcher, "the children", t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED, CHILDREN)?;
        assert_eq!(entered, children, "{shards} executors");

        // A query of a zone goes to the parent, and those below answer.
        let in_zone =
            |zone: u32| children.iter().copied().filter(|child| child % ZONES == zone).collect::<BTreeSet<_>>();
        ask(&watcher, t::STATESERVER_OBJECT_GET_ZONE_OBJECTS, &Payload::new().u32(1));
        let (answers, _) = watcher.gather("the zone's objects", 5, |message| {
            message.is(t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED)
        })?;
        let doid_of = |message: &Message| {
            let mut reader = message.reader();
            reader.u32().and_then(|_| reader.doid()).expect("a context and a doid")
        };
        let found: BTreeSet<u32> = answers.iter().map(doid_of).collect();
        assert_eq!(found, in_zone(1), "{shards} executors");

        // The parent's new AI becomes that of all.
        watcher.publish(&[PARENT.into()], t::STATESERVER_OBJECT_SET_AI, &Payload::new().u64(OTHER_AI));
        let entered = doids(&watcher, "all, anew", t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED, CHILDREN + 1)?;
        assert_eq!(entered, children.iter().copied().chain([PARENT]).collect(), "{shards} executors");

        // A child moves to a zone of its own; the AI hears of it, and the parent has counted it by then or does so before
        // it can answer: both go up on one link.
        let place = Payload::new().u32(PARENT).u32(9);
        keeper.publish(&[FIRST.into()], t::STATESERVER_OBJECT_SET_LOCATION, &place);
        watcher.until("the move", |message| message.is(t::STATESERVER_OBJECT_CHANGING_LOCATION))?;
        ask(&watcher, t::STATESERVER_OBJECT_GET_ZONE_COUNT, &Payload::new().u32(9));
        assert_eq!(counted(&watcher, t::STATESERVER_OBJECT_GET_ZONE_COUNT_RESP)?, 1);
        ask(&watcher, t::STATESERVER_OBJECT_GET_CHILD_COUNT, &Payload::new());
        assert_eq!(counted(&watcher, t::STATESERVER_OBJECT_GET_CHILD_COUNT_RESP)?, CHILDREN);

        // The end of a zone, then that of the parent with all that are left.
        let zone = Payload::new().u32(PARENT).u32(1);
        watcher.publish(&[PARENT.into()], t::STATESERVER_OBJECT_DELETE_ZONE, &zone);
        let gone = in_zone(1);
        assert_eq!(doids(&watcher, "the zone's end", t::STATESERVER_OBJECT_DELETE_RAM, gone.len() as u32)?, gone);
        let end = Payload::new().u32(PARENT);
        watcher.publish(&[PARENT.into()], t::STATESERVER_OBJECT_DELETE_RAM, &end);
        let left: BTreeSet<u32> = children.difference(&gone).copied().chain([PARENT]).collect();
        assert_eq!(doids(&watcher, "the end of all", t::STATESERVER_OBJECT_DELETE_RAM, left.len() as u32)?, left);
        lower.daemon.stop()?;
        upper.daemon.stop()?;
    }
    Ok(())
}
