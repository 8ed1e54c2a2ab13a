//! Parenting rules (`protocol-md-ca-el.md` §7) with the State Server: a client sees what stands around its avatar, wherever
//! that is taken, and is told of objects only. With 1, 2 and 4 executors under the simulator.

#[path = "simulation/stage.rs"]
mod stage;

use donet::daemon::{Daemon, LINK_ACCEPTOR, LINK_LISTENER, client_listener};
use donet::wire::{Channel, Doid, Encoder, MessageType, Reader, Zone, message_type as t, next_frame};
use donet_shards::sim::{Peer, Shape, World};
use stage::Stage;
use std::collections::BTreeSet;

const CONTRACT: &str = r#"
dclass Street { setParentingRules(string type = "Follow", string rule = "") broadcast ram; };
dclass Field { setParentingRules(string type = "Cartesian", string rule = "1000:4:1") broadcast ram; };
dclass Thing { setValue(uint32 value) required broadcast ram; };
dclass Avatar : Thing { };
"#;
const CONFIG: &str = r#"
[services.message_director]
bind = "127.0.0.1:7199"
[services.client_agent]
bind = "127.0.0.1:7198"
version_string = "sim"
channel_min = 1000000
channel_max = 1000099
avatar_class = "Thing"
[services.state_server]
control_channel = 102000
"#;
const AI: Channel = 500_000;
const SESSION: Channel = 1_000_000;
const STREET: Doid = 20_000;
const FIELD: Doid = 20_001;
const AVATAR: Doid = 30_000;

struct Play {
    world: World<Daemon>,
    ai: Peer,
    client: Peer,
    visible: BTreeSet<Doid>,
}

impl Play {
    fn new(seed: u64, shards: usize) -> Self {
        let stage = Stage::new(CONTRACT, CONFIG);
        let mut world = stage.world(seed, Shape::new(shards, 2));
        let ai = world.connect(LINK_ACCEPTOR, LINK_LISTENER);
        let client = world.connect(stage.home(shards), client_listener(0));
        world.send(client, &Encoder::client(t::CLIENT_HELLO).u32(stage.hash()).blob(b"sim").finish().unwrap());
        world.run();
        let mut play = Self { world, ai, client, visible: BTreeSet::new() };
        play.tell(SESSION, t::CLIENTAGENT_SET_STATE, |message| message.u16(2));
        for (class, parent) in [STREET, FIELD].into_iter().enumerate() {
            play.create(parent, class as u16, 0, 0);
        }
        play
    }

    fn tell(&mut self, to: Channel, message_type: MessageType, payload: impl FnOnce(Encoder) -> Encoder) {
        let message = payload(Encoder::internal(&[to], AI, message_type));
        self.world.send(self.ai, &message.finish().unwrap());
    }

    fn create(&mut self, doid: Doid, class: u16, parent: Doid, zone: Zone) {
        self.tell(102_000, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, |message| {
            let message = message.doid(doid).doid(parent).zone(zone).u16(class);
            if class < 2 { message } else { message.u32(7) }
        });
    }

    fn move_avatar(&mut self, parent: Doid, zone: Zone) {
        self.tell(AVATAR.into(), t::STATESERVER_OBJECT_SET_LOCATION, |message| message.doid(parent).zone(zone));
    }

    /// What the client sees when everything has come to rest.
    fn sees(&mut self) -> BTreeSet<Doid> {
        self.world.run();
        let bytes = self.world.received(self.client);
        let mut rest = &bytes[..];
        while let Some((body, length)) = next_frame(rest) {
            rest = &rest[length..];
            let mut reader = Reader::new(body);
            let message_type = MessageType(reader.u16().unwrap());
            let doid = |reader: &mut Reader<'_>| reader.doid().unwrap();
            match message_type {
                t::CLIENT_ENTER_OBJECT_REQUIRED => assert!(self.visible.insert(doid(&mut reader)), "once"),
                t::CLIENT_OBJECT_LEAVING => assert!(self.visible.remove(&doid(&mut reader)), "what was there"),
                t::CLIENT_HELLO_RESP | t::CLIENT_ENTER_OBJECT_REQUIRED_OWNER | t::CLIENT_OBJECT_LOCATION => {}
                other => panic!("the client is told of objects only, not {other}"),
            }
        }
        self.visible.clone()
    }
}

#[test]
fn a_client_sees_what_stands_around_its_avatar() {
    for seed in 0..40 {
        for shards in [1, 2, 4] {
            let mut play = Play::new(seed, shards);
            for zone in 1..=3 {
                play.create(40_000 + zone, 2, STREET, zone);
            }
            for zone in 1000..1016 {
                play.create(40_000 + zone, 2, FIELD, zone);
            }
            play.create(AVATAR, 3, STREET, 1);
            play.tell(AVATAR.into(), t::STATESERVER_OBJECT_SET_OWNER, |message| message.channel(SESSION));
            assert_eq!(play.sees(), [AVATAR, 40_001].into(), "seed {seed}, {shards} executors");
            play.move_avatar(STREET, 2);
            play.move_avatar(STREET, 3);
            assert_eq!(play.sees(), [AVATAR, 40_003].into(), "seed {seed}, {shards} executors");
            play.move_avatar(FIELD, 1000);
            let corner = [AVATAR, 41_000, 41_001, 41_004, 41_005];
            assert_eq!(play.sees(), corner.into(), "seed {seed}, {shards} executors");
            play.move_avatar(FIELD, 999);
            assert_eq!(play.sees(), BTreeSet::new(), "seed {seed}, {shards} executors: beyond the square");
            play.move_avatar(STREET, 2);
            assert_eq!(play.sees(), [AVATAR, 40_002].into(), "seed {seed}, {shards} executors");
            play.tell(AVATAR.into(), t::STATESERVER_OBJECT_DELETE_RAM, |message| message.doid(AVATAR));
            play.world.run();
        }
    }
}
