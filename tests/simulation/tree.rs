//! The daemons of a play: one, or two or three joined upstream, with the roles spread over them.
//!
//! Who speaks to what it has just created must be where its words find it: on the State Server's daemon or below it. Words
//! only go up unless somebody is known to wait for them further down, and a daemon that stands above hears of a new object
//! later than the next word to it may come. So keepers have State Servers that they may use.

use crate::simulation::contract;
use crate::simulation::stage::Stage;
use crate::simulation::stored::{DATABASE, STORED};
use donet::daemon::{Daemon, External, LINK_ACCEPTOR, LINK_LISTENER, client_listener};
use donet::database_server::SteppedEngine;
use donet::state_server::FanOutLimits;
use donet::wire::Channel;
use donet_shards::ShardId;
use donet_shards::sim::{DaemonId, Peer, Shape, World};

/// Heartbeats, and owners that may move what is theirs.
const CLIENT_AGENTS: &str = "heartbeat_timeout_ms = 1000\nrelocate = true\n";
/// The control channel of the first daemon's State Server; the others' follow.
const CONTROL_CHANNEL: Channel = 102_000;
/// The first session of the first daemon's Client Agent, and how far the others' are from it.
const FIRST_SESSION: Channel = 1_000_000;
const SESSIONS: Channel = 1_000;
/// A daemon that is started again has other sessions: what was said to the earlier ones is not for them.
const SESSIONS_OF_A_START: Channel = 100;

/// What a daemon does beside its Message Director.
#[derive(Clone, Copy)]
struct Roles {
    /// The number of the daemon above it.
    upstream: Option<usize>,
    objects: bool,
    clients: bool,
}

const fn daemon(upstream: Option<usize>, objects: bool, clients: bool) -> Roles {
    Roles { upstream, objects, clients }
}

/// Where the roles and the keepers of a play are.
struct Layout {
    daemons: &'static [Roles],
    keepers: [usize; 3],
}

const ALONE: Layout = Layout { daemons: &[daemon(None, true, true)], keepers: [0, 0, 0] };

const JOINED: [Layout; 6] = [
    // Objects above, clients below: as clusters are.
    Layout { daemons: &[daemon(None, true, false), daemon(Some(0), false, true)], keepers: [0, 1, 0] },
    Layout {
        daemons: &[daemon(None, true, false), daemon(Some(0), false, true), daemon(Some(0), false, true)],
        keepers: [1, 0, 0],
    },
    // Nothing but routing above.
    Layout {
        daemons: &[daemon(None, false, false), daemon(Some(0), true, false), daemon(Some(0), false, true)],
        keepers: [1, 1, 1],
    },
    // Clients above and below.
    Layout { daemons: &[daemon(None, false, true), daemon(Some(0), true, true)], keepers: [1, 1, 1] },
    // One below the other, objects in the middle.
    Layout {
        daemons: &[daemon(None, false, true), daemon(Some(0), true, false), daemon(Some(1), false, true)],
        keepers: [1, 2, 1],
    },
    // Two State Servers.
    Layout {
        daemons: &[daemon(None, true, false), daemon(Some(0), true, true), daemon(Some(0), false, true)],
        keepers: [1, 0, 0],
    },
];

/// One daemon of a play.
pub struct Node {
    pub id: DaemonId,
    pub shape: Shape,
    stage: Stage,
    roles: Roles,
    /// How often it has been started.
    starts: Channel,
    is_down: bool,
    /// How many clients have come since.
    clients: Channel,
    /// Its end of the link to the daemon above.
    uplink: Option<Peer>,
}

pub struct Tree {
    pub nodes: Vec<Node>,
    /// The daemons that have a State Server. Objects know theirs by its place in here.
    servers: Vec<usize>,
    keepers: [usize; 3],
    fan_outs: FanOutLimits,
    client_agents: String,
    /// The daemon that stores objects, the first with a State Server, and its database.
    database: (usize, SteppedEngine),
}

/// Two thirds of the plays have one daemon, which has all roles.
fn layout_of(seed: u64) -> &'static Layout {
    match seed % 3 {
        1 => &JOINED[(seed / 3 % JOINED.len() as u64) as usize],
        _ => &ALONE,
    }
}

/// The daemons below the first have as many executors, or others.
fn shape_below(seed: u64, number: usize, shape: Shape) -> Shape {
    match number {
        0 => shape,
        _ => Shape { shards: [shape.shards, 1, 2, 4][((seed / 18 + number as u64) % 4) as usize], ..shape },
    }
}

fn address(number: usize) -> String {
    format!("127.0.0.1:{}", 7100 + number)
}

/// The first session of a daemon.
fn first_session(number: usize, starts: Channel) -> Channel {
    FIRST_SESSION + SESSIONS * number as Channel + SESSIONS_OF_A_START * (starts - 1)
}

fn configuration(number: usize, roles: Roles, starts: Channel, stores: bool, client_agents: &str) -> String {
    let mut text = format!(
        "[global]\ndc_multiple_inheritance = true\n[services.message_director]\nbind = \"{}\"\n",
        address(number)
    );
    if let Some(upstream) = roles.upstream {
        text += &format!("upstream = \"{}\"\nupstream_reconnect = true\n", address(upstream));
    }
    if roles.objects {
        text += &format!("[services.state_server]\ncontrol_channel = {}\n", CONTROL_CHANNEL + number as Channel);
    }
    if stores {
        let (min, max) = (STORED.start(), STORED.end());
        text += &format!(
            "[services.database_server]\ncontrol_channel = {DATABASE}\ngenerate_min = {min}\ngenerate_max = {max}\n\
             [services.dbss]\ndb_channel = {DATABASE}\nrange_min = {min}\nrange_max = {max}\n"
        );
    }
    if roles.clients {
        let first = first_session(number, starts);
        text += &format!(
            "[services.client_agent]\nbind = \"127.0.0.1:{}\"\nversion_string = \"sim\"\nchannel_min = {first}\n\
             channel_max = {}\ninterest_permission = \"enabled\"\n{CLIENT_AGENTS}{client_agents}",
            7300 + number,
            first + SESSIONS_OF_A_START - 1
        );
    }
    text
}

impl Tree {
    /// The daemons of a play, in a world of their own.
    pub fn plant(seed: u64, shape: Shape, fan_outs: FanOutLimits, client_agents: &str) -> (Self, World<Daemon>) {
        let layout = layout_of(seed);
        let mut nodes: Vec<Node> = Vec::new();
        let (mut world, mut database) = (None, None);
        for (number, &roles) in layout.daemons.iter().enumerate() {
            let stores = roles.objects && database.is_none();
            let configuration = configuration(number, roles, 1, stores, client_agents);
            let mut stage = Stage::new(contract::SOURCE, &configuration).sliced(fan_outs);
            if stores {
                let (storing, engine) = stage.storing(STORED);
                stage = storing;
                database = Some((number, engine));
            }
            let shape = shape_below(seed, number, shape);
            let id = match &mut world {
                None => {
                    let first: &mut World<Daemon> = world.insert(stage.world(seed, shape));
                    first.holds_dials = true;
                    DaemonId::FIRST
                }
                Some(world) => stage.join(world, shape),
            };
            nodes.push(Node { id, shape, stage, roles, starts: 1, is_down: false, clients: 0, uplink: None });
        }
        let servers = (0..nodes.len()).filter(|&number| nodes[number].roles.objects).collect();
        let client_agents = client_agents.to_owned();
        let database = database.expect("there are objects somewhere");
        let mut tree = Self { nodes, servers, keepers: layout.keepers, fan_outs, client_agents, database };
        let mut world = world.expect("there is a daemon");
        for number in 1..tree.nodes.len() {
            let (_, dialled) = world.dialled[number - 1];
            tree.answer(number, dialled, &mut world);
        }
        (tree, world)
    }

    /// The daemon above answers what a daemon has dialled.
    fn answer(&mut self, number: usize, dialled: Peer, world: &mut World<Daemon>) {
        let upstream = self.nodes[number].roles.upstream.expect("it has dialled");
        let accepted = world.connect_to(self.nodes[upstream].id, LINK_ACCEPTOR, LINK_LISTENER);
        world.join(dialled, accepted);
        self.nodes[number].uplink = Some(dialled);
    }

    /// The daemon that may crash: it has no objects, and nobody depends on it.
    pub fn frail(&self) -> Option<usize> {
        let last = self.nodes.len() - 1;
        let is_alone = !self.nodes[last].roles.objects && !self.keepers.contains(&last);
        (last > 0 && is_alone).then_some(last)
    }

    pub fn crash(&mut self, number: usize, world: &mut World<Daemon>) {
        self.nodes[number].is_down = true;
        world.crash(self.nodes[number].id);
    }

    pub fn restart(&mut self, number: usize, world: &mut World<Daemon>) {
        let node = &mut self.nodes[number];
        (node.is_down, node.starts, node.clients) = (false, node.starts + 1, 0);
        let text = configuration(number, node.roles, node.starts, false, &self.client_agents);
        node.stage = Stage::new(contract::SOURCE, &text).sliced(self.fan_outs);
        node.stage.restart(world, node.id, node.shape);
        self.mend(number, world);
    }

    /// The database carries out so many of the operations that wait for it. Returns whether there were any.
    pub fn step_database(&mut self, operations_max: usize, world: &mut World<Daemon>) -> bool {
        let (node, engine) = &mut self.database;
        let completions = engine.step(operations_max);
        let worked = !completions.is_empty();
        for (shard, completion) in completions {
            let external = External::Database { server: 0, completion };
            world.inject_into(self.nodes[*node].id, shard, external);
        }
        worked
    }

    /// Whether there is a daemon above this one.
    pub fn is_joined_below(&self, node: usize) -> bool {
        self.nodes[node].roles.upstream.is_some()
    }

    /// The link of a daemon upstream breaks.
    pub fn cut(&mut self, number: usize, world: &mut World<Daemon>) {
        if let Some(uplink) = self.nodes[number].uplink.take() {
            world.reset(uplink);
        }
    }

    /// The daemon above answers what was dialled last.
    pub fn mend(&mut self, number: usize, world: &mut World<Daemon>) {
        let &(_, dialled) = world.dialled.last().expect("it dials");
        self.answer(number, dialled, world);
    }

    /// The hash that clients say hello with.
    pub fn hash(&self) -> u32 {
        self.nodes[0].stage.hash()
    }

    /// A new link to a daemon.
    pub fn connect(&self, node: usize, world: &mut World<Daemon>) -> Peer {
        world.connect_to(self.nodes[node].id, LINK_ACCEPTOR, LINK_LISTENER)
    }

    /// The daemons that serve clients.
    pub fn client_agents(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|&number| self.nodes[number].roles.clients).collect()
    }

    /// A new client of a daemon, and the channel that it will have.
    pub fn admit(&mut self, number: usize, world: &mut World<Daemon>) -> (Peer, Channel) {
        let node = &mut self.nodes[number];
        let home = node.stage.home(node.shape.shards);
        let channel = first_session(number, node.starts) + node.clients;
        node.clients += 1;
        (world.connect_to(node.id, home, client_listener(0)), channel)
    }

    /// Every executor that runs.
    pub fn executors(&self) -> Vec<(DaemonId, ShardId)> {
        let up = self.nodes.iter().filter(|node| !node.is_down);
        up.flat_map(|node| (0..node.shape.shards as u16).map(|shard| (node.id, ShardId(shard)))).collect()
    }

    pub fn keeper_home(&self, keeper: usize) -> usize {
        self.keepers[keeper]
    }

    pub fn servers(&self) -> usize {
        self.servers.len()
    }

    /// The daemon of a State Server.
    pub fn node_of(&self, server: usize) -> usize {
        self.servers[server]
    }

    /// The State Servers that a keeper may use.
    pub fn servers_of(&self, keeper: usize) -> Vec<usize> {
        let above = self.way_up(self.keepers[keeper]);
        (0..self.servers.len()).filter(|&server| above.contains(&self.servers[server])).collect()
    }

    pub fn control_of(&self, server: usize) -> Channel {
        CONTROL_CHANNEL + self.servers[server] as Channel
    }

    /// The executors of a State Server.
    pub fn executors_of(&self, server: usize) -> usize {
        self.nodes[self.servers[server]].shape.shards
    }

    /// A daemon and those above it.
    pub fn way_up(&self, node: usize) -> Vec<usize> {
        std::iter::successors(Some(node), |&node| self.nodes[node].roles.upstream).collect()
    }
}
