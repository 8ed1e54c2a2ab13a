//! The simulator: the engines of N executors in one thread, from one seed.
//!
//! Decides nothing of its own: it runs the same [`Engine`](crate::engine) as the daemon, in an order drawn from the seed.
//! Which executor goes on, how far it gets before another one does, how many bytes of a connection arrive at once, who
//! is slow for a while, when time passes: each is a random choice, so that interleavings come up that a real machine
//! shows once a month. A turn is not atomic here: between the loads of the commit counters, the pushes into the rings,
//! the commit and the writes to sockets, others run, as their threads would. The same seed gives the same run.
//!
//! A world may hold several daemons, each with a mesh of its own; [`World::join`] makes a link of two connections. A daemon
//! may crash, and be started again.

mod connections;
#[cfg(test)]
mod tests;

use crate::app::{ConnectionId, Effect, Input, Shard, ShardId, SocketKind};
use crate::counters::Counters;
use crate::engine::{Engine, TURN_BUDGET_HANDLERS};
use crate::mesh::ports;
use crate::receive::READS_PER_INTAKE;
use connections::PeerState;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::net::SocketAddr;
use std::ops::Range;

/// Steps after which a world that does not come to rest is taken for one that never will.
const STEPS_MAX: usize = 10_000_000;
/// Of so many steps that a slow executor or connection could take, it takes one.
const SLOWNESS: usize = 24;

/// A small generator with a stream per seed (SplitMix64): runs must repeat on every machine and version.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    ///
    /// # Panics
    /// When `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.number() % bound as u64) as usize
    }
}

/// The outside end of a simulated connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Peer(u64);

/// One daemon of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DaemonId(usize);

impl DaemonId {
    /// The one that [`World::new`] makes.
    pub const FIRST: DaemonId = DaemonId(0);
}

/// How the executors of a world differ from those of a machine, so that little work brings up much.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Executors of one daemon.
    pub shards: usize,
    /// Slots of a ring.
    pub batches: usize,
    /// Handlers of a turn.
    pub budget: usize,
    /// Connections that are read before a turn.
    pub reads: usize,
}

impl Shape {
    /// With turns as long as the daemon's.
    pub fn new(shards: usize, batches: usize) -> Self {
        Self { shards, batches, budget: TURN_BUDGET_HANDLERS, reads: READS_PER_INTAKE }
    }
}

/// How far an executor has got in its turn.
enum Phase {
    Between,
    /// Counters that are still to be loaded.
    Observing(SmallVec<[usize; 8]>),
    /// Rings that are still to be pushed into.
    Pushing(SmallVec<[usize; 8]>),
    /// Committed; its effects have not left.
    Committed,
}

struct Executor<S: Shard> {
    engine: Engine<S>,
    daemon: DaemonId,
    phase: Phase,
    stopped: bool,
    slow: bool,
}

/// One thing that can happen next.
#[derive(Clone, Copy)]
enum Choice {
    Executor(usize),
    Arrival(usize),
    Departure(usize),
}

/// Executors and whoever is connected to them.
pub struct World<S: Shard> {
    executors: Vec<Executor<S>>,
    /// The number of the first executor of each daemon.
    daemons: Vec<usize>,
    random: Random,
    now_us: u64,
    peers: Vec<PeerState>,
    served: HashMap<(usize, ConnectionId), usize>,
    /// UDP packets that left, in order.
    pub packets: Vec<(SocketAddr, Vec<u8>)>,
    /// Connections that executors have dialled, in order. They stand at once, unless `holds_dials`.
    pub dialled: Vec<(SocketAddr, Peer)>,
    /// What is dialled stands only when it is joined with a connection of another daemon.
    pub holds_dials: bool,
    /// What the executors said that ended badly.
    pub failures: Vec<String>,
    /// Steps until others are slow.
    weather: usize,
    choices: Vec<Choice>,
}

impl<S: Shard> World<S> {
    /// One daemon, of executors built by `make`, with rings of `batches` slots.
    pub fn new(seed: u64, shards: usize, batches: usize, make: impl FnMut(ShardId) -> S) -> Self {
        Self::shaped(seed, Shape::new(shards, batches), make)
    }

    /// One daemon of this shape.
    pub fn shaped(seed: u64, shape: Shape, make: impl FnMut(ShardId) -> S) -> Self {
        let mut world = Self {
            executors: Vec::new(),
            daemons: Vec::new(),
            random: Random::new(seed),
            now_us: 1,
            peers: Vec::new(),
            served: HashMap::new(),
            packets: Vec::new(),
            dialled: Vec::new(),
            holds_dials: false,
            failures: Vec::new(),
            weather: 0,
            choices: Vec::new(),
        };
        world.add_daemon(shape, make);
        world
    }

    /// One daemon more.
    pub fn add_daemon(&mut self, shape: Shape, make: impl FnMut(ShardId) -> S) -> DaemonId {
        let daemon = DaemonId(self.daemons.len());
        let first = self.executors.len();
        self.daemons.push(first);
        self.executors.extend(Self::executors_of(daemon, shape, make));
        self.start(first..self.executors.len());
        daemon
    }

    fn executors_of(
        daemon: DaemonId,
        shape: Shape,
        mut make: impl FnMut(ShardId) -> S,
    ) -> impl Iterator<Item = Executor<S>> {
        ports(shape.shards, shape.batches).into_iter().enumerate().map(move |(index, port)| {
            let id = ShardId(index as u16);
            let mut engine = Engine::new(make(id), port, id, shape.shards);
            engine.set_budget(shape.budget, shape.reads);
            Executor { engine, daemon, phase: Phase::Between, stopped: false, slow: false }
        })
    }

    fn start(&mut self, executors: Range<usize>) {
        for executor in executors {
            self.executors[executor].engine.start(self.now_us);
            self.carry_out(executor);
        }
    }

    /// Ends a daemon as a crash does: what its executors had not handed to their sockets is lost, and so is what was on its
    /// way to them. Whoever is connected finds the connection broken.
    pub fn crash(&mut self, daemon: DaemonId) {
        for executor in self.executors_in(daemon) {
            self.executors[executor].stopped = true;
            self.executors[executor].phase = Phase::Between;
        }
        self.break_connections(daemon);
    }

    /// Starts a crashed daemon again, with as many executors as it had.
    ///
    /// # Panics
    /// When the shape has another number of executors.
    pub fn restart(&mut self, daemon: DaemonId, shape: Shape, make: impl FnMut(ShardId) -> S) {
        let all = self.executors_in(daemon);
        assert_eq!(all.len(), shape.shards, "a daemon is started again with the executors that it had");
        for (place, executor) in all.clone().zip(Self::executors_of(daemon, shape, make)) {
            self.executors[place] = executor;
        }
        self.start(all);
    }

    /// Microseconds since the world began.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// What an executor has counted.
    pub fn counters(&mut self, daemon: DaemonId, shard: ShardId) -> Counters {
        let executor = self.executor(daemon, shard);
        *self.executors[executor].engine.counters()
    }

    fn executor(&self, daemon: DaemonId, shard: ShardId) -> usize {
        self.daemons[daemon.0] + shard.index()
    }

    fn executors_in(&self, daemon: DaemonId) -> Range<usize> {
        let first = self.daemons[daemon.0];
        first..self.daemons.get(daemon.0 + 1).copied().unwrap_or(self.executors.len())
    }

    /// Hands an executor of the first daemon what another thread would.
    pub fn inject(&mut self, shard: ShardId, external: S::External) {
        self.inject_into(DaemonId::FIRST, shard, external);
    }

    /// Hands an executor of a daemon what another thread would.
    pub fn inject_into(&mut self, daemon: DaemonId, shard: ShardId, external: S::External) {
        let executor = self.executor(daemon, shard);
        self.executors[executor].engine.input(Input::External(external));
    }

    /// Takes random steps until nothing is left to do but to wait for timers later than `until_us`.
    ///
    /// # Panics
    /// When the world does not come to rest.
    pub fn run_until(&mut self, until_us: u64) {
        for _ in 0..STEPS_MAX {
            if !self.step() {
                let alive = self.executors.iter().filter(|executor| !executor.stopped);
                let timers = alive.filter_map(|executor| executor.engine.next_timer_us());
                let next = timers.chain(self.next_write_timeout_us()).min();
                match next.filter(|&at_us| at_us <= until_us) {
                    Some(at_us) => {
                        self.now_us = self.now_us.max(at_us);
                        self.time_out_writes();
                    }
                    None => {
                        self.now_us = self.now_us.max(until_us);
                        return;
                    }
                }
            }
        }
        panic!("the world does not come to rest");
    }

    /// Takes random steps until nothing is left to do now.
    ///
    /// # Panics
    /// When the world does not come to rest.
    pub fn run(&mut self) {
        self.run_until(self.now_us);
    }

    /// Takes at most so many random steps. Returns whether more is left to do now.
    pub fn advance(&mut self, steps: usize) -> bool {
        (0..steps).all(|_| self.step())
    }

    /// One random step; false when there is none to take.
    fn step(&mut self) -> bool {
        let mut choices = std::mem::take(&mut self.choices);
        choices.clear();
        for index in 0..self.executors.len() {
            if self.can_go_on(index) {
                choices.push(Choice::Executor(index));
            }
        }
        for index in 0..self.peers.len() {
            if self.can_arrive(index) {
                choices.push(Choice::Arrival(index));
            }
            if self.peers[index].can_depart() {
                choices.push(Choice::Departure(index));
            }
        }
        let choice = self.choose(&choices);
        self.choices = choices;
        match choice {
            None => return false,
            Some(Choice::Executor(index)) => self.go_on(index),
            Some(Choice::Arrival(index)) => self.arrive(index),
            Some(Choice::Departure(index)) => self.depart(index),
        }
        self.now_us += self.random.number() % 3;
        true
    }

    /// Any of them; but whoever is slow now is passed over most of the time.
    fn choose(&mut self, choices: &[Choice]) -> Option<Choice> {
        if choices.is_empty() {
            return None;
        }
        self.change_weather();
        for _ in 0..SLOWNESS {
            let choice = choices[self.random.below(choices.len())];
            let slow = match choice {
                Choice::Executor(index) => self.executors[index].slow,
                Choice::Arrival(index) | Choice::Departure(index) => self.peers[index].slow,
            };
            if !slow || self.random.below(SLOWNESS) == 0 {
                return Some(choice);
            }
        }
        Some(choices[self.random.below(choices.len())])
    }

    /// Now and then others are slow: a thread that the scheduler has taken off its CPU, a connection that loses packets.
    fn change_weather(&mut self) {
        if self.weather > 0 {
            self.weather -= 1;
            return;
        }
        self.weather = 20 + self.random.below(400);
        let storm = self.random.below(3) != 0;
        for executor in &mut self.executors {
            executor.slow = storm && self.random.below(3) == 0;
        }
        for peer in &mut self.peers {
            peer.slow = storm && self.random.below(3) == 0;
        }
    }

    fn can_go_on(&self, index: usize) -> bool {
        let executor = &self.executors[index];
        match executor.phase {
            Phase::Between => !executor.stopped && executor.engine.has_work(self.now_us),
            _ => true,
        }
    }

    /// The next part of an executor's turn.
    fn go_on(&mut self, index: usize) {
        let shards = self.executors_in(self.executors[index].daemon).len();
        let executor = &mut self.executors[index];
        let pick = |left: &mut SmallVec<[usize; 8]>, random: &mut Random| {
            (!left.is_empty()).then(|| left.swap_remove(random.below(left.len())))
        };
        match &mut executor.phase {
            Phase::Between => {
                let takes_in = executor.engine.begin_turn(self.now_us);
                let counters = if takes_in { (0..shards).collect() } else { SmallVec::new() };
                executor.phase = Phase::Observing(counters);
            }
            Phase::Observing(left) => match pick(left, &mut self.random) {
                Some(other) => executor.engine.observe(other),
                None => {
                    executor.engine.handle_turn(self.now_us);
                    executor.phase = Phase::Pushing((0..shards).collect());
                    if crate::faults::seeded(crate::faults::Fault::SocketsBeforeCommit) {
                        self.carry_out(index);
                    }
                }
            },
            Phase::Pushing(left) => match pick(left, &mut self.random) {
                Some(other) => executor.engine.push(other),
                None => {
                    executor.engine.commit(|_| ());
                    executor.phase = Phase::Committed;
                }
            },
            Phase::Committed => {
                executor.phase = Phase::Between;
                self.carry_out(index);
            }
        }
    }

    fn carry_out(&mut self, executor: usize) {
        let effects: Vec<Effect> = self.executors[executor].engine.effects().collect();
        for effect in effects {
            match effect {
                Effect::Attach { connection, socket: attached } => {
                    let (socket, options) = *attached;
                    let SocketKind::Simulated(number) = socket.kind else {
                        unreachable!("a simulated world has simulated sockets");
                    };
                    let number = number as usize;
                    self.served.insert((executor, connection), number);
                    self.peers[number].served = Some((executor, connection));
                    self.peers[number].options = options;
                }
                Effect::Dial { connection, dial } => {
                    let (address, _, options) = *dial;
                    self.dial(executor, connection, address, options);
                }
                Effect::Write { connection, bytes } => self.write(executor, connection, &bytes),
                Effect::WriteToAll(to_all) => {
                    let (connections, bytes) = *to_all;
                    connections.into_iter().for_each(|connection| self.write(executor, connection, &bytes));
                }
                Effect::Allow { connection, bytes } => {
                    if let Some(&peer) = self.served.get(&(executor, connection)) {
                        self.peers[peer].allowed_bytes += bytes;
                    }
                }
                Effect::Close { connection, close } => self.close(executor, connection, close),
                Effect::NotifySent { connection } => {
                    if let Some(&peer) = self.served.get(&(executor, connection)) {
                        self.peers[peer].tells_when_sent = true;
                        self.tell_when_sent(peer);
                    }
                }
                Effect::Resume { .. } => {}
                Effect::SendPacket(packet) => self.packets.push((packet.0, packet.1.to_vec())),
                Effect::Stop(failure) => {
                    self.executors[executor].stopped = true;
                    self.failures.extend(failure);
                }
            }
        }
    }
}
