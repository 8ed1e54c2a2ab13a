//! One simulated play and its course.
//!
//! Everything that an act changes is written down in the model at once. What several senders could change at the same
//! time without an order that the protocol promises is changed by one of them only until the next rest, so that the
//! model needs to know nothing of the interleaving: whatever it is, the outcome is the same (G9).

use crate::simulation::bus::Bus;
use crate::simulation::cast::{
    AI_CHANNELS, AI_CHANNELS_END, BACKSTAGE, Client, FAREWELL, FAREWELLS, GIANTS, GROVES, HALL, KEEPER_CHANNEL,
    KEEPERS, LARGE_BUDGET, LINKS_MAX, Link, ORDINARY, Phase, ROOTS, Record, SMALL_BUDGET, Thing, WANDERERS, ZONES,
};
use crate::simulation::giants::Giant;
use crate::simulation::queries;
use crate::simulation::refusals::Fool;
use crate::simulation::stored::Archivist;
use crate::simulation::tree::Tree;
use crate::simulation::view::View;
use crate::simulation::wire::{describe_client, describe_internal, frame, note};
use donet::daemon::Daemon;
use donet::state_server::FanOutLimits;
use donet::wire::{ALL_STATE_SERVERS, Channel, Doid, Encoder, MessageType, Zone, message_type as t};
use donet_shards::sim::{Random, Shape, World};
use std::collections::{BTreeMap, BTreeSet};

pub struct Play {
    pub world: World<Daemon>,
    pub random: Random,
    pub tree: Tree,
    /// The keepers first; the others come and go. Their places are those in the bus.
    pub links: Vec<Option<Link>>,
    pub recorder: Link,
    /// Stands for every AI of [`AI_CHANNELS`].
    pub ais: Link,
    /// What each of them has been told that it is responsible for.
    pub ai_views: BTreeMap<Channel, BTreeSet<Doid>>,
    /// AIs of single objects: whose, and whether it has been told so. Those who inherit it come behind.
    pub single_ais: Vec<(Doid, bool)>,
    pub bus: Bus,
    /// How many more answers are given in the hall.
    pub hall_answers: usize,
    pub clients: Vec<Client>,
    pub things: BTreeMap<Doid, Thing>,
    pub records: BTreeMap<Doid, Record>,
    pub next_doid: Doid,
    pub next_grove: Doid,
    pub giants: BTreeMap<Doid, Giant>,
    pub next_giant: Doid,
    pub fool: Fool,
    pub archivist: Archivist,
    pub next_question: u32,
    /// How many messages the State Server must have refused by now.
    pub refused: u64,
    /// How many fan-outs have been cut into slices.
    pub deferred: u64,
    /// How many messages were of no type.
    pub unknown: u64,
    /// By client: how often its post-remove has come.
    pub farewells: BTreeMap<u32, u32>,
    /// Clients whose post-remove is due although they live: a daemon between has lost its link upstream.
    pub early_farewells: BTreeSet<u32>,
    /// Those that may be lost.
    pub lost_farewells: BTreeSet<u32>,
    /// Datagrams that have not gone upstream for want of a link.
    pub lost_upstream: u64,
    /// What may wait for a client that does not read, and how many have had more.
    pub write_budget: usize,
    pub dropped: u64,
    /// Daemons that have crashed, and links between daemons that were lost.
    pub crashes: u64,
    pub breaks: u64,
    /// Losses during which objects changed.
    pub changed_unheard: u64,
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
        let write_budget = if seed % 4 == 2 { SMALL_BUDGET } else { LARGE_BUDGET };
        let client_agents = format!("interest_timeout_ms = {timeout_ms}\nwrite_buffer_size = {write_budget}\n");
        let (tree, mut world) = Tree::plant(seed, shape, slices_of(seed), &client_agents);
        let mut random = Random::new(seed ^ 0x5eed);
        let mut connect = || {
            let sturdy: Vec<usize> = (0..tree.nodes.len()).filter(|&node| tree.frail() != Some(node)).collect();
            let node = sturdy[random.below(sturdy.len())];
            Link::new(node, tree.connect(node, &mut world))
        };
        let (recorder, ais, fool) = (connect(), connect(), Fool::new(connect()));
        let archivist = Archivist::new(connect());
        let mut play = Self {
            world,
            random,
            tree,
            has_timeouts,
            links: Vec::new(),
            recorder,
            ais,
            ai_views: BTreeMap::new(),
            single_ais: Vec::new(),
            bus: Bus::new(LINKS_MAX),
            hall_answers: 0,
            clients: Vec::new(),
            things: BTreeMap::new(),
            records: BTreeMap::new(),
            next_doid: ORDINARY.start,
            next_grove: GROVES.start,
            giants: BTreeMap::new(),
            next_giant: GIANTS.start,
            fool,
            archivist,
            next_question: 1 << 31,
            refused: 0,
            deferred: 0,
            unknown: 0,
            farewells: BTreeMap::new(),
            early_farewells: BTreeSet::new(),
            lost_farewells: BTreeSet::new(),
            lost_upstream: 0,
            write_budget,
            dropped: 0,
            crashes: 0,
            breaks: 0,
            changed_unheard: 0,
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
        self.open_the_archive();
        self.world.run();
        for (number, root) in ROOTS.into_iter().enumerate() {
            let servers = self.tree.servers_of(0);
            self.create_on(servers[number % servers.len()], 0, root, (0, 0));
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
        if let Some(sender) = &mut self.links[link] {
            self.world.send(sender.peer, &frame);
            sender.sent_bytes += frame.len();
            self.bus.has_sent(link, sender.sent_bytes);
        }
    }

    /// Begins a message of a keeper.
    pub fn tell(keeper: usize, recipient: impl Into<Channel>, message_type: MessageType) -> Encoder {
        Encoder::internal(&[recipient.into()], KEEPER_CHANNEL + keeper as u64, message_type)
    }

    /// A channel of a State Server's control role.
    pub fn control(&mut self, server: usize) -> Channel {
        // Where there are several, each of them would do it.
        let is_only_one = self.tree.servers() == 1;
        if is_only_one && self.random.below(4) == 0 { ALL_STATE_SERVERS } else { self.tree.control_of(server) }
    }

    /// A channel that reaches all State Servers.
    pub fn control_of_all(&mut self) -> Channel {
        if self.tree.servers() == 1 { self.control(0) } else { ALL_STATE_SERVERS }
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
        let node = if who < KEEPERS { self.tree.keeper_home(who) } else { self.random.below(self.tree.nodes.len()) };
        self.links.push(Some(Link::new(node, self.tree.connect(node, &mut self.world))));
        self.bus.join(who, self.tree.way_up(node));
        self.send(who, Encoder::control(t::CONTROL_ADD_CHANNEL).channel(HALL));
        self.bus.subscribe(who, HALL);
    }

    fn add_client(&mut self) {
        let number = self.clients.len();
        let agents = self.tree.client_agents();
        let node = agents[self.random.below(agents.len())];
        let (peer, channel) = self.tree.admit(node, &mut self.world);
        self.clients.push(Client {
            peer,
            node,
            channel,
            stage: Phase::Greeting,
            unread: Vec::new(),
            view: View { forgives: self.has_timeouts && self.tree.is_joined_below(node), ..View::default() },
            interests: BTreeMap::new(),
            next_context: 1_000_000,
            asked: BTreeSet::new(),
            written: 0,
        });
        let hash = self.tree.hash();
        self.send_client(number, Encoder::client(t::CLIENT_HELLO).u32(hash).blob(b"sim"));
    }

    /// The keeper lets a client in, with an object that shall not survive it and a message for its end.
    fn establish(&mut self, number: usize) {
        let channel = self.clients[number].channel;
        self.send(0, Self::tell(0, channel, t::CLIENTAGENT_SET_STATE).u16(2));
        let doid = Self::session_object(number);
        self.create(0, doid, BACKSTAGE);
        self.things.get_mut(&doid).expect("just made").is_session_object = true;
        self.send(0, Self::tell(0, channel, t::CLIENTAGENT_ADD_SESSION_OBJECT).doid(doid));
        let farewell = frame(Encoder::internal(&[FAREWELLS], channel, FAREWELL).u32(number as u32));
        self.send(0, Self::tell(0, channel, t::CLIENTAGENT_ADD_POST_REMOVE).blob(&farewell[2..]));
        self.clients[number].stage = Phase::Established;
    }

    pub fn session_object(client: usize) -> Doid {
        60_000 + client as Doid
    }

    /// The model of a session's end.
    pub fn client_ends(&mut self, number: usize) {
        if self.clients[number].stage.has_farewell() {
            self.things.remove(&Self::session_object(number));
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
            match self.random.below(14) {
                12 | 13 => self.archivist_acts(),
                0..=4 => self.keeper_acts(),
                5..=7 => self.client_acts(),
                8 => self.fool_acts(),
                _ => self.link_acts(),
            }
        }
        if self.random.below(8) == 0 && self.write_budget == LARGE_BUDGET {
            let number = self.random.below(self.clients.len());
            let is_stuck = matches!(self.clients[number].stage, Phase::Stuck { .. });
            let stalled = is_stuck || self.random.below(2) == 0;
            self.world.stall(self.clients[number].peer, stalled);
        }
        match self.random.below(4) {
            0 => self.world.run(),
            _ => {
                let steps = self.random.below(120);
                self.world.advance(steps);
            }
        }
        if self.random.below(2) == 0 {
            let operations_max = 1 + self.random.below(6);
            self.tree.step_database(operations_max, &mut self.world);
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
            if let Phase::Stuck { rounds } = &mut self.clients[number].stage {
                *rounds += 1;
            }
        }
        self.look_after_the_stuck()
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
        if self.random.below(4) == 0
            && let Some(number) = self.established()
        {
            self.stop_reading(number);
        }
    }

    /// Whether there are several daemons.
    pub fn is_joined(&self) -> bool {
        self.tree.nodes.len() > 1
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
            self.talk_in_the_hall()?;
            queries::check(self)?;
            for _ in 0..2 {
                self.structural()?;
            }
            self.pass_time()?;
            self.change_the_cast();
            match self.random.below(3) {
                0 => self.crash()?,
                1 => self.break_upstream()?,
                _ => {}
            }
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
