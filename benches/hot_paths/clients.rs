//! The hot paths of clients, through a whole daemon under the simulator: an update from its sender's bytes to its
//! viewers' (permission, contract, State Server, fan-out, encoding), and an interest.

use super::{Work, world};
use donet::daemon::{Daemon, LINK_ACCEPTOR, LINK_LISTENER, client_listener};
use donet::wire::{Channel, Doid, Encoder, Zone, message_type as t};
use donet_dc::Source;
use donet_shards::ShardId;
use donet_shards::sim::{Peer, World};

const CONTRACT: &str = "dclass Avatar {
    setName(string(1-32) name = \"nobody\") required broadcast ram;
    setX(int16/10 x) ownsend broadcast ram;
    setY(int16/10 y) ownsend broadcast ram;
    setH(int16(-360-360) h) ownsend broadcast ram;
    setXYH : setX, setY, setH;
};
dclass District {
};";
const AVATAR: u16 = 0;
const DISTRICT_CLASS: u16 = 1;
const SET_XYH: u16 = 4;
const CONFIG: &str = "
[services.message_director]
bind = \"127.0.0.1:7199\"
[services.state_server]
control_channel = 102000
[services.client_agent]
bind = \"127.0.0.1:7198\"
version_string = \"bench\"
channel_min = 1000000
channel_max = 1999999
interest_permission = \"enabled\"
[services.client_agent.limits]
hello_timeout_ms = 0
messages_per_second = 0
";
const STATE_SERVER: Channel = 102_000;
const FIRST_SESSION: Channel = 1_000_000;
const AI: Channel = 3_000_000;
const DISTRICT: Doid = 5000;
const FIRST_AVATAR: Doid = 6000;
/// Where the avatars stand, and where nobody does.
const ZONE: Zone = 7;

pub fn all() -> Vec<Work> {
    let mut all = Vec::new();
    for shards in [1, 2] {
        for viewers in [1, 20] {
            all.push(updates(shards, viewers));
        }
        all.push(interests(shards));
    }
    all
}

/// A daemon with an AI, a district, and clients.
struct Game {
    world: World<Daemon>,
    home: ShardId,
    hash: u32,
    ai: Peer,
    clients: Vec<Peer>,
}

impl Game {
    fn new(shards: usize) -> Self {
        let source = Source { name: "bench.dc".to_owned(), text: CONTRACT.into() };
        let (mut world, shared) = world(&[source], CONFIG, shards);
        let home = donet::client_agent::pool_home(&shared.config.client_agents[0].channels, shards);
        let hash = shared.contract.hash();
        let ai = world.connect(LINK_ACCEPTOR, LINK_LISTENER);
        let mut game = Self { world, home, hash, ai, clients: Vec::new() };
        game.tell(STATE_SERVER, |to| {
            to(t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED).doid(DISTRICT).doid(0).zone(0).u16(DISTRICT_CLASS)
        });
        game
    }

    /// The AI says something, and everything that follows from it happens.
    fn tell(
        &mut self,
        recipient: Channel,
        message: impl FnOnce(&dyn Fn(donet::wire::MessageType) -> Encoder) -> Encoder,
    ) {
        let frame = message(&|message_type| Encoder::internal(&[recipient], AI, message_type));
        self.world.send(self.ai, &frame.finish().expect("a short message"));
        self.world.run();
    }

    /// A client that has said hello.
    fn connect(&mut self) -> Peer {
        let client = self.world.connect(self.home, client_listener(0));
        let hello = Encoder::client(t::CLIENT_HELLO).u32(self.hash).blob(b"bench");
        self.world.send(client, &hello.finish().expect("a short message"));
        self.world.run();
        assert_eq!(self.world.received(client).len(), 4, "the answer to the hello");
        client
    }

    /// A client that is let in, and owns an avatar in the zone.
    fn join(&mut self) {
        let number = self.clients.len() as u32;
        let client = self.connect();
        self.clients.push(client);
        let (session, avatar) = (FIRST_SESSION + Channel::from(number), FIRST_AVATAR + number);
        self.tell(session, |to| to(t::CLIENTAGENT_SET_STATE).u16(2));
        self.tell(STATE_SERVER, |to| {
            let create = to(t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED).doid(avatar).doid(DISTRICT).zone(ZONE);
            create.u16(AVATAR).blob(b"somebody")
        });
        self.tell(avatar.into(), |to| to(t::STATESERVER_OBJECT_SET_OWNER).channel(session));
    }

    fn see(&mut self, number: usize) {
        let session = FIRST_SESSION + number as Channel;
        self.tell(session, |to| to(t::CLIENTAGENT_ADD_INTEREST).u16(1).doid(DISTRICT).zone(ZONE));
    }

    /// What each client has got since the last call, in bytes.
    fn got(&mut self) -> Vec<usize> {
        self.clients.iter().map(|&client| self.world.received(client).len()).collect()
    }
}

/// Updates of one client, each a molecule of three numbers, that so many others see: per delivery.
fn updates(shards: usize, viewers: u64) -> Work {
    const UPDATES: u64 = 16;
    let mut game = Game::new(shards);
    (0..=viewers).for_each(|_| game.join());
    (0..=viewers as usize).for_each(|number| game.see(number));
    let mut bytes = Vec::new();
    for number in 0..UPDATES as u16 {
        let update = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(FIRST_AVATAR).u16(SET_XYH);
        bytes.extend(update.u16(number).u16(200 + number).u16(359).finish().expect("a short message"));
    }
    game.got();
    let name = format!("client update, {viewers} viewers, {shards} executors, per delivery");
    Work::new(name, UPDATES * viewers, move || {
        game.world.send(game.clients[0], &bytes);
        game.world.run();
        // The sender does not hear itself; the others get what it has sent, to the byte.
        let got = game.got();
        assert!(got[0] == 0 && got[1..].iter().all(|&got| got == bytes.len()), "{got:?}");
    })
}

/// A client opens an interest in a zone of 20 and closes it.
fn interests(shards: usize) -> Work {
    let mut game = Game::new(shards);
    (0..20).for_each(|_| game.join());
    let number = game.clients.len();
    game.join();
    game.tell((FIRST_AVATAR + number as Doid).into(), |to| {
        to(t::STATESERVER_OBJECT_SET_LOCATION).doid(DISTRICT).zone(ZONE + 1)
    });
    let client = game.clients[number];
    let open = Encoder::client(t::CLIENT_ADD_INTEREST).u32(1).u16(3).doid(DISTRICT).zone(ZONE);
    let open = open.finish().expect("a short message");
    let close = Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(2).u16(3).finish().expect("a short message");
    game.got();
    Work::new(format!("interest in a zone of 20, {shards} executors, opened and closed"), 1, move || {
        game.world.send(client, &open);
        game.world.run();
        let entries = game.world.received(client).len();
        assert!(entries > 20 * 20, "{entries} bytes tell of twenty objects");
        game.world.send(client, &close);
        game.world.run();
        assert!(game.world.received(client).len() > 20 * 6, "and tell that they are gone");
    })
}
