//! One simulated play: the cast, the acts drawn from a seed, and the model of what must come of them.
//!
//! Everything that an act changes is written down in the model at once. What several senders could change at the same
//! time without an order that the protocol promises is changed by one of them only until the next rest, so that the
//! model needs to know nothing of the interleaving: whatever it is, the outcome is the same (G9).

use crate::bus::{BUS, Bus};
use crate::contract::{self, Value};
use crate::view::{Place, Seen, View};
use crate::wire::{bodies, describe_client, describe_internal, frame, note};
use donet::config;
use donet::daemon::{Daemon, LINK_ACCEPTOR, LINK_LISTENER, Shared, client_listener};
use donet::wire::{Channel, Datagram, Doid, Encoder, MessageType, Reader, Zone, message_type as t};
use donet_dc::{Contract, Options, Source, TextPolicy};
use donet_shards::ShardId;
use donet_shards::sim::{Peer, Random, Shape, World};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

const CONFIG: &str = r#"
[global]
dc_multiple_inheritance = true
[services.message_director]
bind = "127.0.0.1:7199"
[services.client_agent]
bind = "127.0.0.1:7198"
version_string = "sim"
channel_min = 1000000
channel_max = 1000999
interest_permission = "enabled"
interest_timeout_ms = 60000
heartbeat_timeout_ms = 1000
relocate = true
[services.state_server]
control_channel = 102000
"#;
pub const CONTROL_CHANNEL: Channel = 102_000;
const FIRST_SESSION: Channel = 1_000_000;
/// Keepers create objects and write what is not the clients'.
pub const KEEPERS: usize = 3;
const LINKS_MAX: usize = 9;
pub const KEEPER_CHANNEL: Channel = 500_000;
const FAREWELLS: Channel = 910_000;
const FAREWELL: MessageType = MessageType(60_001);
const BUS_CHANNELS: Channel = 900_000;
/// Parents that never move or end.
pub const ROOTS: [Doid; 2] = [20_000, 20_001];
/// Parents that are moved between zones of the roots, with their children.
pub const WANDERERS: [Doid; 2] = [20_002, 20_003];
pub const ZONES: usize = 4;
/// Where session objects are; no client looks there.
const BACKSTAGE: Place = (ROOTS[1], 99);
/// Interests that the AI opens for clients.
const SERVER_INTEREST: u16 = 100;

/// A live object.
#[derive(Clone, Debug)]
pub struct Thing {
    pub place: Place,
    pub value: u32,
    pub secret: u16,
    pub keeper: usize,
    /// Set explicitly; otherwise the parent's.
    pub ai: Option<Channel>,
    pub owner: Channel,
    /// Since the last rest.
    owner_changed: bool,
    /// By its owner, since the last rest.
    used: bool,
    is_session_object: bool,
}

/// What the recorder, who covers every location, has heard of an object.
#[derive(Debug, Default)]
struct Record {
    place: Place,
    value: u32,
    history: Vec<(u16, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// HELLO is sent.
    Greeting,
    Established,
    /// Sends no heartbeats any more.
    Silent,
    Gone,
}

struct Client {
    peer: Peer,
    channel: Channel,
    stage: Stage,
    unread: Vec<u8>,
    view: View,
    interests: BTreeMap<u16, (Doid, BTreeSet<Zone>)>,
    next_context: u32,
    asked: BTreeSet<u32>,
    written: u32,
}

pub struct Link {
    pub peer: Peer,
    unread: Vec<u8>,
    /// Answers to queries, until they are looked at.
    pub answers: Vec<Vec<u8>>,
}

pub struct Play {
    pub world: World<Daemon>,
    pub random: Random,
    hash: u32,
    home: ShardId,
    /// The keepers first; the others come and go. Their places are those in the bus.
    pub links: Vec<Option<Link>>,
    recorder: Link,
    pub bus: Bus,
    clients: Vec<Client>,
    pub things: BTreeMap<Doid, Thing>,
    records: BTreeMap<Doid, Record>,
    next_doid: Doid,
    /// By client: how often its post-remove has come.
    farewells: BTreeMap<u32, u32>,
    /// Interests that keepers have asked for, and what of that has been answered.
    server_interests: (usize, usize),
    written: u32,
}

/// How one play differs from another besides its acts.
pub fn shape_of(seed: u64) -> Shape {
    Shape {
        shards: [1, 2, 3, 4, 8][(seed % 5) as usize],
        batches: 1 + (seed / 5 % 3) as usize,
        budget: [1, 4, 512][(seed / 15 % 3) as usize],
    }
}

impl Play {
    pub fn new(seed: u64, shape: Shape) -> Self {
        let sources = [Source { name: "sim.dc".into(), text: contract::SOURCE.into() }];
        let contract = Contract::parse(&sources, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        let hash = contract.hash();
        let config = config::parse(Path::new("/sim/daemon.toml"), CONFIG).unwrap_or_else(|error| panic!("{error}"));
        let home = donet::client_agent::pool_home(&config.client_agents[0].channels, shape.shards);
        let shared = Shared {
            config: Arc::new(config),
            contract: Arc::new(contract),
            text: TextPolicy::Utf8,
            databases: Vec::new(),
            reloadable: Default::default(),
        };
        let mut world = World::shaped(seed, shape, |shard| Daemon::new(shared.clone(), shard, shape.shards));
        let recorder = Link::new(world.connect(LINK_ACCEPTOR, LINK_LISTENER));
        let mut play = Self {
            world,
            random: Random::new(seed ^ 0x5eed),
            hash,
            home,
            links: Vec::new(),
            recorder,
            bus: Bus::new(LINKS_MAX),
            clients: Vec::new(),
            things: BTreeMap::new(),
            records: BTreeMap::new(),
            next_doid: 30_000,
            farewells: BTreeMap::new(),
            server_interests: (0, 0),
            written: 0,
        };
        play.set_the_stage();
        play
    }

    fn set_the_stage(&mut self) {
        let (first, last) = (u64::from(ROOTS[0]) << 32, (u64::from(ROOTS[0]) + 100) << 32);
        let record = frame(Encoder::control(t::CONTROL_ADD_RANGE).channel(first).channel(last));
        self.world.send(self.recorder.peer, &record);
        for keeper in 0..KEEPERS {
            self.add_link();
            let own = Encoder::control(t::CONTROL_ADD_CHANNEL).channel(KEEPER_CHANNEL + keeper as u64);
            self.send(keeper, own);
        }
        self.send(0, Encoder::control(t::CONTROL_ADD_CHANNEL).channel(FAREWELLS));
        self.world.run();
        for (number, root) in ROOTS.into_iter().enumerate() {
            self.create(0, root, (0, 0));
            let set_ai = Encoder::internal(&[root.into()], KEEPER_CHANNEL, t::STATESERVER_OBJECT_SET_AI);
            self.send(0, set_ai.channel(KEEPER_CHANNEL + number as u64));
            self.things.get_mut(&root).expect("just made").ai = Some(KEEPER_CHANNEL + number as u64);
        }
        for wanderer in WANDERERS {
            let place = (ROOTS[self.random.below(2)], self.random.below(ZONES) as Zone);
            self.create(0, wanderer, place);
        }
        for _ in 0..3 {
            self.add_client();
        }
    }

    // ---- sending

    /// Sends as a link.
    pub fn send(&mut self, link: usize, message: Encoder) {
        let frame = frame(message);
        note(|| format!("link {link} → {}", describe_internal(&frame[2..])));
        if let Some(link) = &self.links[link] {
            self.world.send(link.peer, &frame);
        }
    }

    /// Begins a message of a keeper.
    fn tell(keeper: usize, recipient: impl Into<Channel>, message_type: MessageType) -> Encoder {
        Encoder::internal(&[recipient.into()], KEEPER_CHANNEL + keeper as u64, message_type)
    }

    fn send_client(&mut self, client: usize, message: Encoder) {
        let frame = frame(message);
        note(|| format!("client {client} → {}", describe_client(&frame[2..])));
        self.world.send(self.clients[client].peer, &frame);
    }

    // ---- the cast

    fn add_link(&mut self) {
        let who = self.links.len();
        self.links.push(Some(Link::new(self.world.connect(LINK_ACCEPTOR, LINK_LISTENER))));
        self.bus.join(who);
    }

    fn add_client(&mut self) {
        let number = self.clients.len();
        let peer = self.world.connect(self.home, client_listener(0));
        self.clients.push(Client {
            peer,
            channel: FIRST_SESSION + number as u64,
            stage: Stage::Greeting,
            unread: Vec::new(),
            view: View::default(),
            interests: BTreeMap::new(),
            next_context: 1_000_000,
            asked: BTreeSet::new(),
            written: 0,
        });
        self.send_client(number, Encoder::client(t::CLIENT_HELLO).u32(self.hash).blob(b"sim"));
    }

    /// The keeper lets a client in, with an object that shall not survive it and a message for its end.
    fn establish(&mut self, number: usize) {
        let channel = self.clients[number].channel;
        self.send(0, Self::tell(0, channel, t::CLIENTAGENT_SET_STATE).u16(2));
        let doid = 60_000 + number as Doid;
        self.create(0, doid, BACKSTAGE);
        self.things.get_mut(&doid).expect("just made").is_session_object = true;
        self.send(0, Self::tell(0, channel, t::CLIENTAGENT_ADD_SESSION_OBJECT).doid(doid));
        let farewell = frame(Encoder::internal(&[FAREWELLS], channel, FAREWELL).u32(number as u32));
        self.send(0, Self::tell(0, channel, t::CLIENTAGENT_ADD_POST_REMOVE).blob(&farewell[2..]));
        self.clients[number].stage = Stage::Established;
    }

    /// The model of a session's end.
    fn client_ends(&mut self, number: usize) {
        if matches!(self.clients[number].stage, Stage::Established | Stage::Silent) {
            self.things.remove(&(60_000 + number as Doid));
            self.farewells.entry(number as u32).or_insert(0);
        }
        self.clients[number].stage = Stage::Gone;
    }

    fn established(&mut self) -> Option<usize> {
        let candidates: Vec<usize> =
            (0..self.clients.len()).filter(|&number| self.clients[number].stage == Stage::Established).collect();
        (!candidates.is_empty()).then(|| candidates[self.random.below(candidates.len())])
    }

    // ---- acts

    fn place(&mut self) -> Place {
        let parents = [ROOTS[0], ROOTS[1], WANDERERS[0], WANDERERS[1]];
        (parents[self.random.below(parents.len())], self.random.below(ZONES) as Zone)
    }

    fn create(&mut self, keeper: usize, doid: Doid, place: Place) {
        let create = Self::tell(keeper, CONTROL_CHANNEL, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED)
            .doid(doid)
            .doid(place.0)
            .zone(place.1)
            .u16(contract::CLASS)
            .u32(0)
            .u16(7);
        self.send(keeper, create);
        let thing = Thing {
            place,
            value: 0,
            secret: 7,
            keeper,
            ai: None,
            owner: 0,
            owner_changed: false,
            used: false,
            is_session_object: false,
        };
        self.things.insert(doid, thing);
    }

    /// An object that keepers may do anything to.
    fn ordinary(&mut self) -> Option<Doid> {
        let all: Vec<Doid> = self.things.range(30_000..60_000).map(|(&doid, _)| doid).collect();
        (!all.is_empty()).then(|| all[self.random.below(all.len())])
    }

    fn set_value(&mut self, doid: Doid) {
        let Some(thing) = self.things.get_mut(&doid) else { return };
        thing.value += 1;
        let (keeper, value) = (thing.keeper, thing.value);
        if self.random.below(3) != 0 {
            let set = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_FIELD);
            return self.send(keeper, set.doid(doid).u16(contract::VALUE).u32(value));
        }
        self.written += 1;
        let paired = (1000 + keeper as u32, self.written);
        let set = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_FIELDS).doid(doid).u16(2);
        let set = set.u16(contract::VALUE).u32(value).u16(contract::PAIRED);
        self.send(keeper, contract::write(set, paired));
    }

    fn keeper_acts(&mut self) {
        let Some(doid) = self.ordinary() else { return self.create_one() };
        let thing = self.things[&doid].clone();
        let keeper = thing.keeper;
        match self.random.below(14) {
            0 | 1 => self.create_one(),
            2..=4 => self.set_value(doid),
            5 => {
                let secret = self.random.below(60_000) as u16;
                let set = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_FIELD);
                self.send(keeper, set.doid(doid).u16(contract::SECRET).u16(secret));
                self.things.get_mut(&doid).expect("drawn").secret = secret;
            }
            6..=8 => {
                // What is a client's is moved by the client; what just was may still be on its way.
                #[allow(clippy::collapsible_match, reason = "the arm is the operation, the condition its own")]
                if thing.owner == 0 && !thing.owner_changed {
                    let place = self.place();
                    self.move_to(keeper, doid, place);
                }
            }
            9 => {
                let wanderer = WANDERERS[self.random.below(2)];
                let place = (ROOTS[self.random.below(2)], self.random.below(ZONES) as Zone);
                self.move_to(0, wanderer, place);
                self.set_value(wanderer);
            }
            10 => {
                let delete = Self::tell(keeper, doid, t::STATESERVER_OBJECT_DELETE_RAM);
                self.send(keeper, delete.doid(doid));
                self.things.remove(&doid);
            }
            // What its owner has sent must find it the owner still.
            11 if !thing.used => {
                let owner = match self.random.below(3) {
                    0 => 0,
                    _ => self.established().map_or(0, |client| self.clients[client].channel),
                };
                self.send(keeper, Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_OWNER).channel(owner));
                let thing = self.things.get_mut(&doid).expect("drawn");
                thing.owner_changed |= thing.owner != owner;
                thing.owner = owner;
            }
            12 => {
                // Never one that it could have inherited: the value that an object has already pins nothing.
                let (target, keeper) =
                    if self.random.below(4) == 0 { (WANDERERS[self.random.below(2)], 0) } else { (doid, keeper) };
                let ai = 600_000 + Channel::from(target) * 2 + self.random.below(2) as u64;
                self.send(keeper, Self::tell(keeper, target, t::STATESERVER_OBJECT_SET_AI).channel(ai));
                self.things.get_mut(&target).expect("lives").ai = Some(ai);
            }
            13 => self.change_server_interest(),
            _ => {}
        }
    }

    fn create_one(&mut self) {
        let (doid, place) = (self.next_doid, self.place());
        self.next_doid += 1;
        let keeper = self.random.below(KEEPERS);
        self.create(keeper, doid, place);
        if self.random.below(2) == 0 {
            self.set_value(doid); // In the same burst: it must find the object.
        }
    }

    fn move_to(&mut self, keeper: usize, doid: Doid, place: Place) {
        let moved = Self::tell(keeper, doid, t::STATESERVER_OBJECT_SET_LOCATION).doid(place.0).zone(place.1);
        self.send(keeper, moved);
        self.things.get_mut(&doid).expect("lives").place = place;
    }

    fn change_server_interest(&mut self) {
        let Some(number) = self.established() else { return };
        let (parent, zone) = self.place();
        let other = self.random.below(ZONES) as Zone;
        let channel = self.clients[number].channel;
        if self.clients[number].interests.remove(&SERVER_INTEREST).is_some() && self.random.below(2) == 0 {
            self.send(0, Self::tell(0, channel, t::CLIENTAGENT_REMOVE_INTEREST).u16(SERVER_INTEREST));
        } else {
            let add = Self::tell(0, channel, t::CLIENTAGENT_ADD_INTEREST_MULTIPLE).u16(SERVER_INTEREST).doid(parent);
            self.send(0, add.u16(2).zone(zone).zone(other));
            self.clients[number].interests.insert(SERVER_INTEREST, (parent, [zone, other].into()));
        }
        self.server_interests.0 += 1;
    }

    fn client_acts(&mut self) {
        let Some(number) = self.established() else { return };
        match self.random.below(12) {
            0..=4 => self.change_interest(number),
            5..=7 => self.write_shared(number),
            8 | 9 => self.use_own(number),
            10 => self.send_client(number, Encoder::client(t::CLIENT_HEARTBEAT)),
            _ if self.random.below(6) == 0 => {
                if self.random.below(2) == 0 {
                    self.send_client(number, Encoder::client(t::CLIENT_DISCONNECT));
                }
                self.world.disconnect(self.clients[number].peer);
                note(|| format!("client {number} goes"));
                self.client_ends(number);
            }
            _ => {}
        }
    }

    fn change_interest(&mut self, number: usize) {
        let id = self.random.below(3) as u16;
        let (parent, zone) = self.place();
        let other = self.random.below(ZONES) as Zone;
        let (close, single) = (self.random.below(3) == 0, self.random.below(3) == 0);
        let client = &mut self.clients[number];
        client.next_context += 1;
        let context = client.next_context;
        let message = if close {
            if client.interests.remove(&id).is_none() {
                return;
            }
            Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(context).u16(id)
        } else if single {
            client.interests.insert(id, (parent, [zone].into()));
            Encoder::client(t::CLIENT_ADD_INTEREST).u32(context).u16(id).doid(parent).zone(zone)
        } else {
            client.interests.insert(id, (parent, [zone, other].into()));
            let message = Encoder::client(t::CLIENT_ADD_INTEREST_MULTIPLE).u32(context).u16(id).doid(parent);
            message.u16(2).zone(zone).zone(other)
        };
        client.asked.insert(context);
        self.send_client(number, message);
    }

    /// A client writes what everybody may, on something that it sees.
    fn write_shared(&mut self, number: usize) {
        let visible: Vec<Doid> = self.clients[number].view.visible.keys().copied().collect();
        if visible.is_empty() {
            return;
        }
        let doid = visible[self.random.below(visible.len())];
        let value = self.next_value(number);
        let set = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(doid).u16(contract::SHARED);
        self.send_client(number, contract::write(set, value));
    }

    fn next_value(&mut self, number: usize) -> Value {
        self.clients[number].written += 1;
        (1 + number as u32, self.clients[number].written)
    }

    /// A client writes on, or moves, what is surely its own.
    fn use_own(&mut self, number: usize) {
        let channel = self.clients[number].channel;
        let is_own =
            |doid: &Doid| self.things.get(doid).is_some_and(|thing| thing.owner == channel && !thing.owner_changed);
        let own: Vec<Doid> = self.clients[number].view.owned.keys().copied().filter(is_own).collect();
        if own.is_empty() {
            return;
        }
        let doid = own[self.random.below(own.len())];
        self.things.get_mut(&doid).expect("its own").used = true;
        if self.random.below(2) == 0 {
            let value = self.next_value(number);
            let set = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(doid).u16(contract::OWN);
            return self.send_client(number, contract::write(set, value));
        }
        let place = self.place();
        self.send_client(number, Encoder::client(t::CLIENT_OBJECT_LOCATION).doid(doid).doid(place.0).zone(place.1));
        self.things.get_mut(&doid).expect("its own").place = place;
        self.clients[number].view.moved.insert(doid);
    }

    fn link_acts(&mut self) {
        let alive: Vec<usize> = (0..self.links.len()).filter(|&link| self.links[link].is_some()).collect();
        let who = alive[self.random.below(alive.len())];
        let channel = BUS_CHANNELS + self.random.below(20) as u64;
        let end = channel + 1 + self.random.below(6) as u64;
        match self.random.below(20) {
            0..=8 => self.publish(who),
            9..=11 => {
                self.send(who, Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel));
                self.bus.subscribe(who, channel);
            }
            12 => {
                self.send(who, Encoder::control(t::CONTROL_REMOVE_CHANNEL).channel(channel));
                self.bus.unsubscribe(who, channel);
            }
            13 => {
                self.send(who, Encoder::control(t::CONTROL_ADD_RANGE).channel(channel).channel(end));
                self.bus.subscribe_range(who, channel, end);
            }
            14 => {
                self.send(who, Encoder::control(t::CONTROL_REMOVE_RANGE).channel(channel).channel(end));
                self.bus.unsubscribe_range(who, channel, end);
            }
            15 | 16 => {
                let key = self.random.below(2) as u64;
                let recipients = self.recipients();
                let body = self.bus.add_post_remove(who, key, recipients);
                self.send(who, Encoder::control(t::CONTROL_ADD_POST_REMOVE).channel(key).blob(&body));
            }
            17 => {
                let key = self.random.below(2) as u64;
                self.bus.clear_post_removes(who, key);
                self.send(who, Encoder::control(t::CONTROL_CLEAR_POST_REMOVES).channel(key));
            }
            18 if self.bus.has_room_for(self.links.len()) => {
                self.add_link();
                note(|| "a link comes".to_owned());
            }
            19 if who >= KEEPERS => {
                let link = self.links[who].take().expect("alive");
                self.world.disconnect(link.peer);
                self.bus.leave(who);
                note(|| format!("link {who} goes"));
            }
            _ => {}
        }
    }

    fn recipients(&mut self) -> Vec<Channel> {
        (0..1 + self.random.below(4)).map(|_| BUS_CHANNELS + self.random.below(26) as u64).collect()
    }

    fn publish(&mut self, who: usize) {
        let recipients = self.recipients();
        let message = self.bus.publish(who, recipients);
        self.send(who, message);
    }

    // ---- hearing

    /// Reads what everybody was sent, checks it, and lets links answer.
    fn hear(&mut self) -> Result<(), String> {
        for body in self.recorder.bodies(&mut self.world) {
            self.record(&body)?;
        }
        for who in 0..self.links.len() {
            let Some(link) = self.links[who].as_mut() else { continue };
            for body in link.bodies(&mut self.world) {
                note(|| format!("link {who} ← {}", describe_internal(&body)));
                self.link_hears(who, body).map_err(|error| format!("link {who}: {error}"))?;
            }
        }
        for number in 0..self.clients.len() {
            let client = &mut self.clients[number];
            client.unread.extend(self.world.received(client.peer));
            for body in bodies(&mut client.unread) {
                note(|| format!("client {number} ← {}", describe_client(&body)));
                client.view.read(&body).map_err(|error| format!("client {number}: {error}"))?;
            }
        }
        Ok(())
    }

    fn link_hears(&mut self, who: usize, body: Vec<u8>) -> Result<(), String> {
        let datagram = Datagram::from_body(&body).map_err(|error| error.to_string())?;
        let (_, message_type, mut payload) = datagram.message().map_err(|error| error.to_string())?;
        match message_type {
            BUS => {
                self.bus.hear(who, payload)?;
                if self.random.below(3) == 0 {
                    self.publish(who);
                }
            }
            FAREWELL => {
                let number = payload.u32().map_err(|error| error.to_string())?;
                let Some(count) = self.farewells.get_mut(&number) else {
                    return Err(format!("the post-remove of client {number} came before its end"));
                };
                *count += 1;
            }
            t::CLIENTAGENT_DONE_INTEREST_RESP => self.server_interests.1 += 1,
            _ => {
                let link = self.links[who].as_mut().expect("it hears");
                link.answers.push(body);
            }
        }
        Ok(())
    }

    /// What the recorder hears of an object is its history.
    fn record(&mut self, body: &[u8]) -> Result<(), String> {
        let short = |error: donet::wire::Truncated| error.to_string();
        let datagram = Datagram::from_body(body).map_err(|error| error.to_string())?;
        let (_, message_type, mut payload) = datagram.message().map_err(short)?;
        let doid = payload.doid().map_err(short)?;
        note(|| format!("recorder ← {}", describe_internal(body)));
        match message_type {
            t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED
            | t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER => {
                let place = (payload.doid().map_err(short)?, payload.zone().map_err(short)?);
                payload.u16().map_err(short)?;
                let record = self.records.entry(doid).or_default();
                record.place = place;
                record.value = payload.u32().map_err(short)?;
            }
            t::STATESERVER_OBJECT_SET_FIELD => {
                let field = payload.u16().map_err(short)?;
                let value = contract::read(field, &mut payload).map_err(short)?;
                let record = self.records.get_mut(&doid).ok_or(format!("the recorder does not know {doid}"))?;
                if field == contract::VALUE {
                    if value.1 != record.value + 1 {
                        return Err(format!("recorder: {doid} went from {} to {}", record.value, value.1));
                    }
                    record.value = value.1;
                    return Ok(());
                }
                let last = record.history.iter().rev().find(|(_, other)| other.0 == value.0);
                if last.is_some_and(|(_, other)| other.1 >= value.1) {
                    return Err(format!("recorder: {doid} got {value:?} after {last:?} (G1)"));
                }
                record.history.push((field, value));
            }
            _ => {}
        }
        Ok(())
    }

    // ---- rest

    /// Lets everything come to rest, links' answers to each other included.
    pub fn rest(&mut self) -> Result<(), String> {
        for client in &self.clients {
            self.world.stall(client.peer, false);
        }
        for _ in 0..200 {
            self.world.run();
            let before = self.bus.delivered;
            self.hear()?;
            if self.bus.delivered == before && !self.world.advance(1) {
                return Ok(());
            }
        }
        Err("links answer each other for ever".to_owned())
    }

    fn check_at_rest(&mut self) -> Result<(), String> {
        self.rest()?;
        note(|| "--- rest".to_owned());
        self.bus.check_at_rest()?;
        let (asked, answered) = self.server_interests;
        let has_ended = self.clients.iter().any(|client| client.stage == Stage::Gone);
        if answered > asked || (answered < asked && !has_ended) {
            return Err(format!("{asked} interests were asked for by keepers, {answered} answered"));
        }
        let is_gone = |number: u32| self.clients[number as usize].stage == Stage::Gone;
        let mut ended = self.farewells.iter().filter(|&(&number, _)| is_gone(number));
        if let Some((number, count)) = ended.find(|(_, count)| **count != 1) {
            return Err(format!("the post-remove of client {number} came {count} times"));
        }
        for (doid, thing) in self.things.iter().filter(|(_, thing)| thing.place.0 != 0) {
            let record = self.records.get(doid).ok_or(format!("the recorder never heard of {doid}"))?;
            if (record.place, record.value) != (thing.place, thing.value) {
                return Err(format!("recorder: {doid} is {record:?}, not {thing:?}"));
            }
        }
        for number in 0..self.clients.len() {
            self.check_client(number).map_err(|error| format!("client {number}: {error}"))?;
        }
        for thing in self.things.values_mut() {
            (thing.owner_changed, thing.used) = (false, false);
        }
        Ok(())
    }

    fn check_client(&mut self, number: usize) -> Result<(), String> {
        let client = &mut self.clients[number];
        if client.stage == Stage::Gone {
            client.view.windows.clear();
            return Ok(());
        }
        if let Some(code) = client.view.ejected {
            return Err(format!("ejected with {code}"));
        }
        if self.world.is_closed(client.peer) {
            return Err("closed".to_owned());
        }
        if client.view.done != client.asked {
            let missing: Vec<_> = client.asked.symmetric_difference(&client.view.done).collect();
            return Err(format!("interests {missing:?} are not done"));
        }
        if !client.view.announced.is_empty() {
            return Err(format!("interests of the server {:?} are not done", client.view.announced));
        }
        let covers = |place: &Place| {
            client.interests.values().any(|(parent, zones)| *parent == place.0 && zones.contains(&place.1))
        };
        let moved = &client.view.moved;
        let expected: BTreeMap<Doid, (Place, u32)> = self
            .things
            .iter()
            .filter(|(doid, thing)| covers(&thing.place) && !moved.contains(doid))
            .map(|(&doid, thing)| (doid, (thing.place, thing.value)))
            .collect();
        let state = |seen: &Seen| (seen.place, seen.value);
        let visible: BTreeMap<Doid, (Place, u32)> = client
            .view
            .visible
            .iter()
            .filter(|(doid, _)| !moved.contains(doid))
            .map(|(&doid, seen)| (doid, state(seen)))
            .collect();
        if visible != expected {
            let differ = |doid: &&Doid| visible.get(doid) != expected.get(doid);
            let all: BTreeSet<Doid> = visible.keys().chain(expected.keys()).copied().collect();
            let text: Vec<String> = all
                .iter()
                .filter(differ)
                .map(|doid| format!("{doid}: sees {:?}, should {:?}", visible.get(doid), expected.get(doid)))
                .collect();
            return Err(format!("(G5) {}", text.join("; ")));
        }
        let owned: BTreeSet<Doid> = client.view.owned.keys().copied().collect();
        let own = self.things.iter().filter(|(_, thing)| thing.owner == client.channel).map(|(&doid, _)| doid);
        let own: BTreeSet<Doid> = own.collect();
        if owned != own {
            return Err(format!("owns {owned:?}, should own {own:?}"));
        }
        let own_writer = 1 + number as u32;
        let open = client.view.visible.iter().map(|(&doid, seen)| (doid, seen.clone(), true));
        let ended = std::mem::take(&mut client.view.windows);
        let windows = ended.into_iter().map(|window| (window.doid, window.seen, window.is_open)).chain(open);
        for (doid, seen, is_open) in windows.filter(|(doid, ..)| !client.view.moved.contains(doid)) {
            let history = self.records.get(&doid).map_or(&[][..], |record| &record.history);
            check_window(&seen, is_open, history, own_writer).map_err(|error| format!("{doid}: {error} (G6)"))?;
        }
        Ok(())
    }

    // ---- the whole

    fn burst(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.random.below(8) {
            match self.random.below(10) {
                0..=3 => self.keeper_acts(),
                4..=6 => self.client_acts(),
                _ => self.link_acts(),
            }
        }
        if self.random.below(8) == 0 {
            let number = self.random.below(self.clients.len());
            let stalled = self.random.below(2) == 0;
            self.world.stall(self.clients[number].peer, stalled);
        }
        match self.random.below(4) {
            0 => self.world.run(),
            _ => {
                let steps = self.random.below(120);
                self.world.advance(steps);
            }
        }
        self.hear()
    }

    /// Time passes: whoever sends heartbeats stays.
    fn pass_time(&mut self) -> Result<(), String> {
        for number in 0..self.clients.len() {
            match self.clients[number].stage {
                Stage::Established => self.send_client(number, Encoder::client(t::CLIENT_HEARTBEAT)),
                Stage::Greeting if self.clients[number].view.greeted => self.establish(number),
                _ => {}
            }
        }
        self.rest()?;
        self.world.run_until(self.world.now_us() + 400_000);
        self.hear()?;
        for number in 0..self.clients.len() {
            if self.clients[number].stage == Stage::Silent && self.clients[number].view.ejected.is_some() {
                if self.clients[number].view.ejected != Some(345) {
                    return Err(format!("client {number} was ejected for something else than its silence"));
                }
                self.client_ends(number);
            }
        }
        Ok(())
    }

    fn change_the_cast(&mut self) {
        let present = self.clients.iter().filter(|client| client.stage != Stage::Gone).count();
        if present < 3 || (present < 5 && self.random.below(3) == 0) {
            self.add_client();
        }
        if self.random.below(6) == 0
            && let Some(number) = self.established()
        {
            note(|| format!("client {number} falls silent"));
            self.clients[number].stage = Stage::Silent;
            self.farewells.insert(number as u32, 0);
        }
    }

    /// Plays; some text when a guarantee is not kept.
    pub fn run(&mut self) -> Result<(), String> {
        self.check_at_rest()?;
        self.pass_time()?;
        for _ in 0..4 {
            for _ in 0..10 {
                self.burst()?;
            }
            self.check_at_rest()?;
            crate::queries::check(self)?;
            self.structural()?;
            self.pass_time()?;
            self.change_the_cast();
        }
        self.check_at_rest()
    }
}

/// What a client was told while an object was in view must be what happened to it, in that order, but for what the client
/// wrote itself; if it is in view still, all of it.
fn check_window(seen: &Seen, is_open: bool, history: &[(u16, Value)], own: u32) -> Result<(), String> {
    let mut from = 0;
    for (field, value) in &seen.entered_with {
        let place = history.iter().position(|entry| entry == &(*field, *value));
        from = from.max(1 + place.ok_or(format!("entered with {value:?}, which never was"))?);
    }
    for (index, (field, value)) in history[..from].iter().enumerate() {
        let is_last = !history[index + 1..from].iter().any(|(other, _)| other == field);
        if is_last && seen.entered_with.get(field) != Some(value) {
            return Err(format!("entered without {value:?}"));
        }
    }
    let mut expected = history[from..].iter().filter(|(_, value)| value.0 != own);
    for told in &seen.told {
        let next = expected.next();
        if next != Some(told) {
            return Err(format!("told of {told:?} where {next:?} was due; of {history:?} it was told {:?}", seen.told));
        }
    }
    match expected.next() {
        Some(missed) if is_open => Err(format!("never told of {missed:?}")),
        _ => Ok(()),
    }
}

impl Link {
    fn new(peer: Peer) -> Self {
        Self { peer, unread: Vec::new(), answers: Vec::new() }
    }

    fn bodies(&mut self, world: &mut World<Daemon>) -> Vec<Vec<u8>> {
        self.unread.extend(world.received(self.peer));
        bodies(&mut self.unread)
    }
}

// ---- acts that need rest around them

impl Play {
    /// Deletions of many at once: what a parent knows of its children is settled only at rest.
    fn structural(&mut self) -> Result<(), String> {
        let parent = WANDERERS[self.random.below(2)];
        let zone = self.random.below(ZONES) as Zone;
        let other = self.random.below(ZONES) as Zone;
        let doomed = match self.random.below(6) {
            0 => {
                self.send(0, Self::tell(0, parent, t::STATESERVER_OBJECT_DELETE_ZONE).doid(parent).zone(zone));
                self.children_in(parent, &[zone])
            }
            1 => {
                let delete = Self::tell(0, parent, t::STATESERVER_OBJECT_DELETE_ZONES).doid(parent).u16(2);
                self.send(0, delete.zone(zone).zone(other));
                self.children_in(parent, &[zone, other])
            }
            2 => {
                self.send(0, Self::tell(0, parent, t::STATESERVER_OBJECT_DELETE_CHILDREN).doid(parent));
                let all: Vec<Zone> = (0..ZONES as Zone).collect();
                self.children_in(parent, &all)
            }
            3 | 4 => {
                let Some(ai) = self.ordinary().and_then(|doid| self.things[&doid].ai) else { return Ok(()) };
                let delete = Self::tell(0, CONTROL_CHANNEL, t::STATESERVER_DELETE_AI_OBJECTS).channel(ai);
                self.send(0, delete);
                let its = self.things.iter().filter(|(_, thing)| thing.ai == Some(ai));
                its.map(|(&doid, _)| doid).collect()
            }
            _ => return Ok(()),
        };
        for doid in doomed {
            self.things.remove(&doid);
        }
        // Meanwhile clients look elsewhere and write, but move nothing in or out.
        for _ in 0..4 {
            let Some(number) = self.established() else { break };
            match self.random.below(2) {
                0 => self.change_interest(number),
                _ => self.write_shared(number),
            }
        }
        self.check_at_rest()
    }

    pub fn children_in(&self, parent: Doid, zones: &[Zone]) -> Vec<Doid> {
        let is_in = |thing: &Thing| thing.place.0 == parent && zones.contains(&thing.place.1);
        self.things.iter().filter(|(_, thing)| is_in(thing)).map(|(&doid, _)| doid).collect()
    }

    /// The AI of an object: its own or that of the nearest ancestor that has one.
    pub fn ai_of(&self, doid: Doid) -> Channel {
        let Some(thing) = self.things.get(&doid) else { return 0 };
        thing.ai.unwrap_or_else(|| self.ai_of(thing.place.0))
    }
}

/// Reads a message of a role.
pub fn message(body: &[u8]) -> Option<(MessageType, Vec<u8>)> {
    let datagram = Datagram::from_body(body).ok()?;
    let (_, message_type, payload): (_, _, Reader<'_>) = datagram.message().ok()?;
    Some((message_type, payload.rest().to_vec()))
}

impl Play {
    /// How an object answers a query, behind `head`.
    pub fn snapshot(&self, doid: Doid, head: Vec<u8>) -> (MessageType, Vec<u8>) {
        let mut set: BTreeMap<u16, Value> = BTreeMap::new();
        for &(field, value) in self.records.get(&doid).map_or(&[][..], |record| &record.history) {
            set.insert(field, value);
        }
        if set.is_empty() {
            return (t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED, head);
        }
        let mut payload = head;
        payload.extend((set.len() as u16).to_le_bytes());
        for (field, value) in set {
            payload.extend(field.to_le_bytes());
            payload.extend(value.0.to_le_bytes());
            payload.extend(value.1.to_le_bytes());
        }
        (t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED_OTHER, payload)
    }
}
