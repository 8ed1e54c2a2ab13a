//! Families on several State Servers: what a client sees of an object that is made at a parent of another daemon while the
//! client opens the zone. The link between the daemons is held, so that the order is always the same; the rest is drawn
//! from seeds.
//!
//! A subscription goes up without an acknowledgement; that it is in effect shows the answer to the query behind it. Where
//! the child's daemon is the parent's, or below it, the query passes wherever the child's words to the client do, and
//! whoever has spoken too early is known to its parent by then. Where the child is *above* its parent, the query does not
//! come so far: the parent may answer before the subscription has reached the child's daemon.

#[path = "simulation/stage.rs"]
mod stage;

use bytes::Bytes;
use donet::daemon::{Daemon, LINK_ACCEPTOR, LINK_LISTENER, client_listener};
use donet::wire::{Encoder, MessageType, Reader, message_type as t, next_frame};
use donet_shards::sim::{DaemonId, Peer, Shape, World};
use stage::Stage;
use std::collections::BTreeSet;

const CONTRACT: &str = "dclass Thing { setValue(uint32 value) required broadcast ram; };";
const UPPER: u64 = 102_000;
const LOWER: u64 = 102_001;
const SESSION: u64 = 1_000_000;
const AI: u64 = 500_000;
const PARENT: u32 = 20_000;
const CHILD: u32 = 30_000;
const ZONE: u32 = 7;

fn frame(encoder: Encoder) -> Bytes {
    encoder.finish().expect("small")
}

/// A State Server above, and one below with the client.
struct Scene {
    world: World<Daemon>,
    /// What the daemon below sends up.
    uplink: Peer,
    above: Peer,
    below: Peer,
    client: Peer,
    visible: BTreeSet<u32>,
    done: Vec<u32>,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let shape = Shape::new([1, 2, 4][(seed % 3) as usize], 1 + (seed / 3 % 3) as usize);
        let upper = format!(
            "[services.message_director]\nbind = \"127.0.0.1:7100\"\n[services.state_server]\ncontrol_channel = {UPPER}\n"
        );
        let lower = format!(
            "[services.message_director]\nbind = \"127.0.0.1:7101\"\nupstream = \"127.0.0.1:7100\"\n\
             [services.state_server]\ncontrol_channel = {LOWER}\n[services.client_agent]\nbind = \"127.0.0.1:7198\"\n\
             version_string = \"sim\"\nchannel_min = {SESSION}\nchannel_max = 1000999\n\
             interest_permission = \"enabled\"\ninterest_timeout_ms = 60000\n"
        );
        let mut world = Stage::new(CONTRACT, &upper).world(seed, shape);
        world.holds_dials = true;
        let stage = Stage::new(CONTRACT, &lower);
        let daemon = stage.join(&mut world, shape);
        let (_, uplink) = world.dialled[0];
        let accepted = world.connect_to(DaemonId::FIRST, LINK_ACCEPTOR, LINK_LISTENER);
        world.join(uplink, accepted);
        let above = world.connect_to(DaemonId::FIRST, LINK_ACCEPTOR, LINK_LISTENER);
        let below = world.connect_to(daemon, LINK_ACCEPTOR, LINK_LISTENER);
        let client = world.connect_to(daemon, stage.home(shape.shards), client_listener(0));
        world.send(client, &frame(Encoder::client(t::CLIENT_HELLO).u32(stage.hash()).blob(b"sim")));
        world.run();
        world.send(below, &frame(Encoder::internal(&[SESSION], AI, t::CLIENTAGENT_SET_STATE).u16(2)));
        world.run();
        Self { world, uplink, above, below, client, visible: BTreeSet::new(), done: Vec::new() }
    }

    fn create(&mut self, link: Peer, control: u64, doid: u32, place: (u32, u32)) {
        let create = Encoder::internal(&[control], AI, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED);
        self.world.send(link, &frame(create.doid(doid).doid(place.0).zone(place.1).u16(0).u32(1)));
        self.world.run();
    }

    fn open(&mut self, context: u32) {
        let add = Encoder::client(t::CLIENT_ADD_INTEREST).u32(context).u16(1).doid(PARENT).zone(ZONE);
        self.world.send(self.client, &frame(add));
        self.world.run();
    }

    fn close(&mut self, context: u32) {
        self.world.send(self.client, &frame(Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(context).u16(1)));
        self.world.run();
    }

    fn look(&mut self) -> (Vec<u32>, Vec<u32>) {
        let bytes = self.world.received(self.client);
        let mut rest = &bytes[..];
        while let Some((body, length)) = next_frame(rest) {
            let mut reader = Reader::new(body);
            let message_type = MessageType(reader.u16().expect("whole"));
            match message_type {
                t::CLIENT_ENTER_OBJECT_REQUIRED => {
                    assert!(self.visible.insert(reader.doid().expect("whole")), "it enters once");
                }
                t::CLIENT_OBJECT_LEAVING => {
                    assert!(self.visible.remove(&reader.doid().expect("whole")), "it leaves once");
                }
                t::CLIENT_DONE_INTEREST_RESP => self.done.push(reader.u32().expect("whole")),
                t::CLIENT_HELLO_RESP => {}
                other => panic!("the client is told {other}"),
            }
            rest = &rest[length..];
        }
        (self.visible.iter().copied().collect(), self.done.clone())
    }
}

/// The protocol's own race. (1) The subscription is on its way up. (2) The parent, in the client's daemon, answers that it has
/// no children there: the interest is done. (3) The child is made above, and says so to the location, where nobody listens
/// yet, and to its parent. (4) The subscription arrives. The client hears whatever the child says from now on, but was never
/// told of it; it sees the child when it opens the zone anew, as whoever else opens it does.
#[test]
fn a_child_made_above_its_parent_before_the_subscription_has_come_so_far_is_seen_when_the_zone_is_opened_anew() {
    for seed in 0..90 {
        let mut scene = Scene::new(seed);
        scene.create(scene.below, LOWER, PARENT, (0, 0));
        scene.world.stall(scene.uplink, true);
        scene.open(1);
        assert_eq!(scene.look(), (vec![], vec![1]), "seed {seed}: the parent has answered");
        scene.create(scene.above, UPPER, CHILD, (PARENT, ZONE));
        scene.world.stall(scene.uplink, false);
        scene.world.run();
        assert_eq!(scene.look(), (vec![], vec![1]), "seed {seed}: nobody has told the client of the child");
        scene.close(2);
        scene.open(3);
        assert_eq!(scene.look(), (vec![CHILD], vec![1, 2, 3]), "seed {seed}: its parent knows it by now");
    }
}

/// A move into another zone of the parent that is open is told to the location that the child comes to.
#[test]
fn a_child_made_above_its_parent_is_seen_with_its_next_move() {
    for seed in 0..30 {
        let mut scene = Scene::new(seed);
        scene.create(scene.below, LOWER, PARENT, (0, 0));
        scene.world.stall(scene.uplink, true);
        scene.open(1);
        scene.create(scene.above, UPPER, CHILD, (PARENT, ZONE));
        scene.world.stall(scene.uplink, false);
        scene.world.run();
        for zone in [ZONE + 1, ZONE] {
            let moved = Encoder::internal(&[CHILD.into()], AI, t::STATESERVER_OBJECT_SET_LOCATION);
            scene.world.send(scene.above, &frame(moved.doid(PARENT).zone(zone)));
            scene.world.run();
        }
        assert_eq!(scene.look(), (vec![CHILD], vec![1]), "seed {seed}");
    }
}

/// The same with the parent above: the query goes the way of the subscription, behind it, and the answer has the child.
#[test]
fn a_child_made_below_its_parent_while_the_zone_opens_is_seen() {
    for seed in 0..90 {
        let mut scene = Scene::new(seed);
        scene.create(scene.above, UPPER, PARENT, (0, 0));
        scene.world.stall(scene.uplink, true);
        scene.open(1);
        assert_eq!(scene.look(), (vec![], vec![]), "seed {seed}: the question has not come so far");
        scene.create(scene.below, LOWER, CHILD, (PARENT, ZONE));
        scene.world.stall(scene.uplink, false);
        scene.world.run();
        assert_eq!(scene.look(), (vec![CHILD], vec![1]), "seed {seed}");
    }
}

/// And with both above, whatever the order: before the subscription has come, or behind the question.
#[test]
fn a_child_made_beside_its_parent_while_the_zone_opens_is_seen() {
    for seed in 0..90 {
        let mut scene = Scene::new(seed);
        scene.create(scene.above, UPPER, PARENT, (0, 0));
        scene.world.stall(scene.uplink, true);
        scene.open(1);
        scene.create(scene.above, UPPER, CHILD, (PARENT, ZONE));
        scene.world.stall(scene.uplink, false);
        scene.create(scene.above, UPPER, CHILD + 1, (PARENT, ZONE));
        scene.world.run();
        assert_eq!(scene.look(), (vec![CHILD, CHILD + 1], vec![1]), "seed {seed}");
    }
}
