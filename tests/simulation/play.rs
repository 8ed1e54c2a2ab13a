//! One simulated play: its cast, the model of what must be, and its course.
//!
//! Everything that an act changes is written down in the model at once. What several senders could change at the same
//! time without an order that the protocol promises is changed by one of them only until the next rest, so that the
//! model needs to know nothing of the interleaving: whatever it is, the outcome is the same (G9).

use crate::simulation::bus::Bus;
use crate::simulation::contract::{self, Value};
use crate::simulation::giants::Giant;
use crate::simulation::queries;
use crate::simulation::refusals::Fool;
use crate::simulation::stage::Stage;
use crate::simulation::view::{Place, View};
use crate::simulation::wire::{Answer, bodies, describe_client, describe_internal, frame, note};
use donet::daemon::{Daemon, LINK_ACCEPTOR, LINK_LISTENER, client_listener};
use donet::state_server::FanOutLimits;
use donet::wire::{ALL_STATE_SERVERS, Channel, Doid, Encoder, MessageType, Zone, message_type as t};
use donet_shards::ShardId;
use donet_shards::sim::{Peer, Random, Shape, World};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Heartbeats, and owners that may move what is theirs.
const CLIENT_AGENTS: &str = "heartbeat_timeout_ms = 1000\nrelocate = true\n";
pub const CONTROL_CHANNEL: Channel = 102_000;
const FIRST_SESSION: Channel = 1_000_000;
/// Keepers create objects and write what is not the clients'.
pub const KEEPERS: usize = 3;
const LINKS_MAX: usize = 9;
pub const KEEPER_CHANNEL: Channel = 500_000;
/// AIs: those of many objects first, then those of single ones, two for each.
pub const AI_CHANNELS: Channel = 600_000;
pub const AI_CHANNELS_END: Channel = AI_CHANNELS + 2 * 70_000;
/// AIs of many objects: one for each keeper, and behind them one that whole families are given to.
pub const CREWS: Channel = AI_CHANNELS;
pub const PRESS: Channel = CREWS + KEEPERS as Channel;
const FAREWELLS: Channel = 910_000;
pub const FAREWELL: MessageType = MessageType(60_001);
pub const BUS_CHANNELS: Channel = 900_000;
/// Parents that never move or end.
pub const ROOTS: [Doid; 2] = [20_000, 20_001];
/// Parents that are moved between zones of the roots, with their children.
pub const WANDERERS: [Doid; 2] = [20_002, 20_003];
/// Parents that are moved and end like other objects.
pub const GROVES: Range<Doid> = 21_000..22_000;
/// Objects that are too large to be shown.
pub const GIANTS: Range<Doid> = 22_000..23_000;
/// Anything else that keepers make.
pub const ORDINARY: Range<Doid> = 30_000..60_000;
/// No object.
pub const NOBODY: Doid = 77_777;
pub const ZONES: usize = 4;
/// Where session objects are; no client looks there.
pub const BACKSTAGE: Place = (ROOTS[1], 99);
/// Interests that the AI opens for clients.
pub const SERVER_INTEREST: u16 = 100;

/// The secret that objects are created with.
pub const SECRET: u16 = 7;

/// A live object.
#[derive(Clone, Debug)]
pub struct Thing {
    pub place: Place,
    pub value: u32,
    pub secret: u16,
    /// What its keeper has set of [`contract::KEPT`].
    pub set: BTreeMap<u16, Value>,
    pub keeper: usize,
    /// Set explicitly; otherwise the parent's.
    pub ai: Option<Channel>,
    pub owner: Channel,
    /// Since the last rest.
    pub owner_changed: bool,
    /// By its owner, since the last rest.
    pub used: bool,
    /// At the last rest it was there.
    pub is_settled: bool,
    /// Somebody else than its keeper relies on it until the next rest.
    pub is_pinned: bool,
    pub is_session_object: bool,
}

impl Default for Thing {
    fn default() -> Self {
        Self {
            place: (0, 0),
            value: 0,
            secret: SECRET,
            set: BTreeMap::new(),
            keeper: 0,
            ai: None,
            owner: 0,
            owner_changed: false,
            used: false,
            is_settled: false,
            is_pinned: false,
            is_session_object: false,
        }
    }
}

/// What the recorder, who covers every location, has heard of an object.
#[derive(Debug, Default)]
pub struct Record {
    pub place: Place,
    pub value: u32,
    pub history: Vec<(u16, Value)>,
    /// It has ended; another one of its doid may come.
    pub is_over: bool,
    /// The histories of those that had its doid before.
    pub former: Vec<Vec<(u16, Value)>>,
}

impl Record {
    /// The last value of each field that is set.
    pub fn set_fields(&self) -> BTreeMap<u16, Value> {
        let mut set: BTreeMap<u16, Value> = self.history.iter().copied().collect();
        set.retain(|field, value| *value != contract::UNSET && *field != contract::PING);
        set
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// HELLO is sent.
    Greeting,
    Established,
    /// Sends no heartbeats any more.
    Silent,
    Gone,
}

pub struct Client {
    pub peer: Peer,
    pub channel: Channel,
    pub stage: Phase,
    pub unread: Vec<u8>,
    pub view: View,
    pub interests: BTreeMap<u16, (Doid, BTreeSet<Zone>)>,
    pub next_context: u32,
    pub asked: BTreeSet<u32>,
    pub written: u32,
}

pub struct Link {
    pub peer: Peer,
    pub unread: Vec<u8>,
    /// Answers to queries, until they are looked at.
    pub answers: Vec<Vec<u8>>,
    /// The answers that must have come by the next rest, to what was asked since the last.
    pub expected: Vec<Answer>,
}

pub struct Play {
    pub world: World<Daemon>,
    pub random: Random,
    pub hash: u32,
    pub home: ShardId,
    pub shards: usize,
    /// The keepers first; the others come and go. Their places are those in the bus.
    pub links: Vec<Option<Link>>,
    pub recorder: Link,
    /// Stands for every AI of [`AI_CHANNELS`].
    pub ais: Link,
    /// What each of them has been told that it is responsible for.
    pub ai_views: BTreeMap<Channel, BTreeSet<Doid>>,
    pub bus: Bus,
    pub clients: Vec<Client>,
    pub things: BTreeMap<Doid, Thing>,
    pub records: BTreeMap<Doid, Record>,
    pub next_doid: Doid,
    pub next_grove: Doid,
    pub giants: BTreeMap<Doid, Giant>,
    pub next_giant: Doid,
    pub fool: Fool,
    pub next_question: u32,
    /// How many messages the State Server must have refused by now.
    pub refused: u64,
    /// How many fan-outs have been cut into slices.
    pub deferred: u64,
    /// How many messages were of no type.
    pub unknown: u64,
    /// By client: how often its post-remove has come.
    pub farewells: BTreeMap<u32, u32>,
    /// Interests that keepers have asked for, and what of that has been answered.
    pub server_interests: (usize, usize),
    /// Interests run into their time-out.
    pub has_timeouts: bool,
    pub written: u32,
}

/// How one play differs from another besides its acts.
pub fn shape_of(seed: u64) -> Shape {
    Shape {
        shards: [1, 2, 3, 4, 8][(seed % 5) as usize],
        batches: 1 + (seed / 5 % 3) as usize,
        budget: [1, 4, 512][(seed / 15 % 3) as usize],
        reads: [1, 3, 256][(seed / 45 % 3) as usize],
    }
}

/// Whatever concerns many objects is cut into slices that small worlds notice, in most plays.
fn slices_of(seed: u64) -> FanOutLimits {
    let slice_objects = [3, 256, 2, 8, 1, 3, 256][(seed % 7) as usize];
    let round_objects = [1, 2, 64][(seed / 7 % 3) as usize];
    let waiting = [65_536, 65_536, 2][(seed / 21 % 3) as usize];
    FanOutLimits { slice_objects, round_objects, waiting, ..FanOutLimits::default() }
}

impl Play {
    pub fn new(seed: u64, shape: Shape) -> Self {
        // Some interests run into their time-out; what comes late must come all the same.
        let has_timeouts = seed % 7 == 6;
        let timeout_ms = if has_timeouts { 1 } else { 60_000 };
        let client_agents = format!("interest_timeout_ms = {timeout_ms}\n{CLIENT_AGENTS}");
        let stage = Stage::whole(contract::SOURCE, &client_agents).sliced(slices_of(seed));
        let (hash, home) = (stage.hash(), stage.home(shape.shards));
        let mut world = stage.world(seed, shape);
        let recorder = Link::new(world.connect(LINK_ACCEPTOR, LINK_LISTENER));
        let ais = Link::new(world.connect(LINK_ACCEPTOR, LINK_LISTENER));
        let fool = Fool::new(Link::new(world.connect(LINK_ACCEPTOR, LINK_LISTENER)));
        let mut play = Self {
            world,
            random: Random::new(seed ^ 0x5eed),
            hash,
            home,
            has_timeouts,
            shards: shape.shards,
            links: Vec::new(),
            recorder,
            ais,
            ai_views: BTreeMap::new(),
            bus: Bus::new(LINKS_MAX),
            clients: Vec::new(),
            things: BTreeMap::new(),
            records: BTreeMap::new(),
            next_doid: ORDINARY.start,
            next_grove: GROVES.start,
            giants: BTreeMap::new(),
            next_giant: GIANTS.start,
            fool,
            next_question: 1 << 31,
            refused: 0,
            deferred: 0,
            unknown: 0,
            farewells: BTreeMap::new(),
            server_interests: (0, 0),
            written: 0,
        };
        play.set_up();
        play
    }

    fn set_up(&mut self) {
        let (first, last) = (u64::from(ROOTS[0]) << 32, u64::from(GIANTS.end) << 32);
        let record = frame(Encoder::control(t::CONTROL_ADD_RANGE).channel(first).channel(last));
        self.world.send(self.recorder.peer, &record);
        let all = frame(Encoder::control(t::CONTROL_ADD_RANGE).channel(AI_CHANNELS).channel(AI_CHANNELS_END));
        self.world.send(self.ais.peer, &all);
        let own = frame(Encoder::control(t::CONTROL_ADD_CHANNEL).channel(Fool::CHANNEL));
        self.world.send(self.fool.link.peer, &own);
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
    pub fn tell(keeper: usize, recipient: impl Into<Channel>, message_type: MessageType) -> Encoder {
        Encoder::internal(&[recipient.into()], KEEPER_CHANNEL + keeper as u64, message_type)
    }

    /// A channel of the State Server's control role.
    pub fn control(&mut self) -> Channel {
        if self.random.below(4) == 0 { ALL_STATE_SERVERS } else { CONTROL_CHANNEL }
    }

    pub fn send_as_fool(&mut self, message: Encoder) {
        let frame = frame(message);
        note(|| format!("fool → {}", describe_internal(&frame[2..])));
        self.world.send(self.fool.link.peer, &frame);
    }

    pub fn send_client(&mut self, client: usize, message: Encoder) {
        let frame = frame(message);
        note(|| format!("client {client} → {}", describe_client(&frame[2..])));
        self.world.send(self.clients[client].peer, &frame);
    }

    // ---- the cast

    pub fn add_link(&mut self) {
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
            stage: Phase::Greeting,
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
        self.clients[number].stage = Phase::Established;
    }

    /// The model of a session's end.
    pub fn client_ends(&mut self, number: usize) {
        if matches!(self.clients[number].stage, Phase::Established | Phase::Silent) {
            self.things.remove(&(60_000 + number as Doid));
            self.farewells.entry(number as u32).or_insert(0);
        }
        self.clients[number].stage = Phase::Gone;
    }

    pub fn established(&mut self) -> Option<usize> {
        let candidates: Vec<usize> =
            (0..self.clients.len()).filter(|&number| self.clients[number].stage == Phase::Established).collect();
        (!candidates.is_empty()).then(|| candidates[self.random.below(candidates.len())])
    }

    fn burst(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.random.below(8) {
            match self.random.below(12) {
                0..=4 => self.keeper_acts(),
                5..=7 => self.client_acts(),
                8 => self.fool_acts(),
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
                Phase::Established => self.send_client(number, Encoder::client(t::CLIENT_HEARTBEAT)),
                Phase::Greeting if self.clients[number].view.greeted => self.establish(number),
                _ => {}
            }
        }
        self.rest()?;
        self.world.run_until(self.world.now_us() + 400_000);
        self.hear()?;
        for number in 0..self.clients.len() {
            if self.clients[number].stage == Phase::Silent && self.clients[number].view.ejected.is_some() {
                if self.clients[number].view.ejected != Some(345) {
                    return Err(format!("client {number} was ejected for something else than its silence"));
                }
                self.client_ends(number);
            }
        }
        Ok(())
    }

    fn change_the_cast(&mut self) {
        let present = self.clients.iter().filter(|client| client.stage != Phase::Gone).count();
        if present < 3 || (present < 5 && self.random.below(3) == 0) {
            self.add_client();
        }
        if self.random.below(6) == 0
            && let Some(number) = self.established()
        {
            note(|| format!("client {number} falls silent"));
            self.clients[number].stage = Phase::Silent;
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
            queries::check(self)?;
            for _ in 0..2 {
                self.structural()?;
            }
            self.pass_time()?;
            self.change_the_cast();
        }
        self.check_at_rest()
    }

    // ---- the model

    /// The children that can be shown.
    pub fn children_in(&self, parent: Doid, zones: &[Zone]) -> Vec<Doid> {
        let is_in = |thing: &Thing| thing.place.0 == parent && zones.contains(&thing.place.1);
        self.things.iter().filter(|(_, thing)| is_in(thing)).map(|(&doid, _)| doid).collect()
    }

    pub fn children(&self, parent: Doid) -> Vec<Doid> {
        self.things.iter().filter(|(_, thing)| thing.place.0 == parent).map(|(&doid, _)| doid).collect()
    }

    /// These objects and whatever is below them.
    pub fn with_descendants(&self, mut doids: Vec<Doid>) -> Vec<Doid> {
        let mut seen = 0;
        while seen < doids.len() {
            doids.extend(self.children(doids[seen]));
            seen += 1;
        }
        doids.sort_unstable();
        doids.dedup();
        doids
    }

    /// The AI of an object: its own or that of the nearest ancestor that has one.
    pub fn ai_of(&self, doid: Doid) -> Channel {
        let Some(thing) = self.things.get(&doid) else { return 0 };
        thing.ai.unwrap_or_else(|| self.ai_of(thing.place.0))
    }
}

impl Link {
    fn new(peer: Peer) -> Self {
        Self { peer, unread: Vec::new(), answers: Vec::new(), expected: Vec::new() }
    }

    pub fn bodies(&mut self, world: &mut World<Daemon>) -> Vec<Vec<u8>> {
        self.unread.extend(world.received(self.peer));
        bodies(&mut self.unread)
    }
}
