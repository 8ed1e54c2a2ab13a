//! The simulator: the engines of N executors in one thread, from one seed.
//!
//! Decides nothing of its own: it runs the same [`Engine`](crate::engine) as the daemon, in an order drawn from the seed.
//! Which executor goes on, how far it gets before another one does, how many bytes of a connection arrive at once, who
//! is slow for a while, when time passes: each is a random choice, so that interleavings come up that a real machine
//! shows once a month. A turn is not atomic here: between the loads of the commit counters, the pushes into the rings,
//! the commit and the writes to sockets, others run, as their threads would. The same seed gives the same run.
//!
//! A world may hold several daemons, each with a mesh of its own; [`World::join`] makes a link of two connections.

use crate::app::{
    Close, CloseCause, ConnectionId, ConnectionOptions, Effect, Input, ListenerId, Shard, ShardId, Socket, SocketKind,
};
use crate::counters::Counters;
use crate::engine::{Engine, TURN_BUDGET_HANDLERS};
use crate::mesh::ports;
use crate::receive::READS_PER_INTAKE;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::SocketAddr;

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

#[derive(Debug, Default)]
struct PeerState {
    /// Where it is served, once it is.
    served: Option<(usize, ConnectionId)>,
    options: ConnectionOptions,
    /// On its way to the server.
    to_server: VecDeque<u8>,
    /// Written by the server, and not taken by the peer.
    unsent: VecDeque<u8>,
    /// Bytes of it that do not count against the budget.
    allowed_bytes: usize,
    /// The server wants to hear when all of it has left.
    tells_when_sent: bool,
    /// What the peer has taken and the test not read.
    from_server: Vec<u8>,
    /// The other connection, of a link between daemons.
    joined: Option<usize>,
    /// The peer takes nothing.
    stalled: bool,
    slow: bool,
    /// The peer will send no more; told to the server after its last byte.
    ends: bool,
    end_told: bool,
    /// The server has ended it; what is unsent still leaves.
    closed: bool,
}

impl PeerState {
    fn is_gone(&self) -> bool {
        self.closed && self.unsent.is_empty()
    }
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
    /// Connections that executors have dialled, in order. They stand at once.
    pub dialled: Vec<(SocketAddr, Peer)>,
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
            failures: Vec::new(),
            weather: 0,
            choices: Vec::new(),
        };
        world.add_daemon(shape, make);
        world
    }

    /// One daemon more.
    pub fn add_daemon(&mut self, shape: Shape, mut make: impl FnMut(ShardId) -> S) -> DaemonId {
        let daemon = DaemonId(self.daemons.len());
        self.daemons.push(self.executors.len());
        for (index, port) in ports(shape.shards, shape.batches).into_iter().enumerate() {
            let id = ShardId(index as u16);
            let mut engine = Engine::new(make(id), port, id, shape.shards);
            engine.set_budget(shape.budget, shape.reads);
            engine.start(self.now_us);
            self.executors.push(Executor { engine, daemon, phase: Phase::Between, stopped: false, slow: false });
            self.carry_out(self.executors.len() - 1);
        }
        daemon
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

    /// Connects to a listener of the first daemon that is served by `shard`.
    pub fn connect(&mut self, shard: ShardId, listener: ListenerId) -> Peer {
        self.connect_to(DaemonId::FIRST, shard, listener)
    }

    /// Connects to a listener that is served by `shard` of `daemon`.
    pub fn connect_to(&mut self, daemon: DaemonId, shard: ShardId, listener: ListenerId) -> Peer {
        let number = self.peers.len();
        self.peers.push(PeerState::default());
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let socket = Socket {
            kind: SocketKind::Simulated(number as u64),
            peer: address(10_000_u16.wrapping_add(number as u16)),
            local: address(7199),
        };
        let executor = self.executor(daemon, shard);
        self.executors[executor].engine.input(Input::Accepted { listener, socket });
        Peer(number as u64)
    }

    /// Makes one connection of two: what the servers send to either arrives at the other.
    pub fn join(&mut self, one: Peer, other: Peer) {
        self.peers[one.0 as usize].joined = Some(other.0 as usize);
        self.peers[other.0 as usize].joined = Some(one.0 as usize);
    }

    /// Sends bytes to the server; they arrive in pieces, in order.
    pub fn send(&mut self, peer: Peer, bytes: &[u8]) {
        self.peers[peer.0 as usize].to_server.extend(bytes);
    }

    /// Takes what the server has sent.
    pub fn received(&mut self, peer: Peer) -> Vec<u8> {
        std::mem::take(&mut self.peers[peer.0 as usize].from_server)
    }

    /// Ends the connection after what was sent.
    pub fn disconnect(&mut self, peer: Peer) {
        self.peers[peer.0 as usize].ends = true;
    }

    /// Breaks the connection: what is on its way, in either direction, is lost.
    pub fn reset(&mut self, peer: Peer) {
        let peer = &mut self.peers[peer.0 as usize];
        peer.to_server.clear();
        peer.unsent.clear();
        peer.ends = true;
    }

    /// Makes the peer take nothing more, or go on.
    pub fn stall(&mut self, peer: Peer, stalled: bool) {
        self.peers[peer.0 as usize].stalled = stalled;
    }

    /// Bytes that wait for the peer.
    pub fn unsent_bytes(&self, peer: Peer) -> usize {
        self.peers[peer.0 as usize].unsent.len()
    }

    /// Whether the server has ended the connection, and the peer has taken all that came before.
    pub fn is_closed(&self, peer: Peer) -> bool {
        self.peers[peer.0 as usize].is_gone()
    }

    /// Hands an executor of the first daemon what another thread would.
    pub fn inject(&mut self, shard: ShardId, external: S::External) {
        self.executors[shard.index()].engine.input(Input::External(external));
    }

    /// Takes random steps until nothing is left to do but to wait for timers later than `until_us`.
    ///
    /// # Panics
    /// When the world does not come to rest.
    pub fn run_until(&mut self, until_us: u64) {
        for _ in 0..STEPS_MAX {
            if !self.step() {
                let next = self.executors.iter().filter_map(|executor| executor.engine.next_timer_us()).min();
                match next.filter(|&at_us| at_us <= until_us) {
                    Some(at_us) => self.now_us = self.now_us.max(at_us),
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
            let peer = &self.peers[index];
            if !peer.stalled && !peer.unsent.is_empty() {
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
        let first = self.daemons[self.executors[index].daemon.0];
        let last = self.daemons.get(self.executors[index].daemon.0 + 1).copied().unwrap_or(self.executors.len());
        let shards = last - first;
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

    fn can_arrive(&mut self, index: usize) -> bool {
        let peer = &self.peers[index];
        let Some((executor, connection)) = peer.served else { return false };
        let has_something = !peer.to_server.is_empty() || (peer.ends && !peer.end_told);
        let executor = &mut self.executors[executor];
        // A thread that is in its turn reads no sockets.
        has_something
            && !executor.stopped
            && matches!(executor.phase, Phase::Between)
            && executor.engine.receive_space(connection).is_some()
    }

    fn arrive(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some((executor, connection)) = peer.served else { return };
        let engine = &mut self.executors[executor].engine;
        if peer.to_server.is_empty() {
            peer.end_told = true;
            engine.input(Input::Closed { connection, cause: CloseCause::EndOfFile });
            return;
        }
        let Some(space) = engine.receive_space(connection) else { return };
        let most = space.len().min(peer.to_server.len());
        let count = 1 + self.random.below(most);
        for (place, byte) in space.iter_mut().zip(peer.to_server.drain(..count)) {
            *place = byte;
        }
        engine.received(connection, count);
    }

    /// The peer takes some of what was written for it.
    fn depart(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let count = 1 + self.random.below(peer.unsent.len());
        let bytes: Vec<u8> = peer.unsent.drain(..count).collect();
        peer.allowed_bytes = peer.allowed_bytes.saturating_sub(count);
        let is_gone = peer.is_gone();
        let joined = peer.joined;
        self.tell_when_sent(index);
        match joined {
            Some(other) => {
                self.peers[other].to_server.extend(bytes);
                if is_gone {
                    self.peers[other].ends = true;
                }
            }
            None => self.peers[index].from_server.extend(bytes),
        }
    }

    fn tell_when_sent(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some((executor, connection)) = peer.served.filter(|_| peer.unsent.is_empty()) else { return };
        if std::mem::take(&mut peer.tells_when_sent) {
            self.executors[executor].engine.input(Input::Sent { connection });
        }
    }

    fn carry_out(&mut self, executor: usize) {
        let effects: Vec<Effect> = self.executors[executor].engine.effects().collect();
        for effect in effects {
            match effect {
                Effect::Attach { connection, socket, options } => {
                    let SocketKind::Simulated(number) = socket.kind else {
                        unreachable!("a simulated world has simulated sockets");
                    };
                    let number = number as usize;
                    self.served.insert((executor, connection), number);
                    self.peers[number].served = Some((executor, connection));
                    self.peers[number].options = options;
                }
                Effect::Dial { connection, address, options, .. } => {
                    let number = self.peers.len();
                    self.peers.push(PeerState {
                        served: Some((executor, connection)),
                        options,
                        ..PeerState::default()
                    });
                    self.served.insert((executor, connection), number);
                    self.dialled.push((address, Peer(number as u64)));
                    self.executors[executor].engine.input(Input::Connected { connection });
                }
                Effect::Write { connection, bytes } => self.write(executor, connection, &bytes),
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
                Effect::SendPacket { to, bytes } => self.packets.push((to, bytes.to_vec())),
                Effect::Stop(failure) => {
                    self.executors[executor].stopped = true;
                    self.failures.extend(failure);
                }
            }
        }
    }

    /// Bytes go to the peer; one that leaves more unsent than its budget is dropped, as by the real sockets.
    fn write(&mut self, executor: usize, connection: ConnectionId, bytes: &[u8]) {
        let Some(&index) = self.served.get(&(executor, connection)) else { return };
        let peer = &mut self.peers[index];
        peer.unsent.extend(bytes);
        let budget = peer.options.write_budget_bytes;
        // A peer that reads takes what its socket has room for at once.
        let waiting = peer.unsent.len().saturating_sub(peer.allowed_bytes);
        if budget > 0 && peer.stalled && waiting > budget && !peer.end_told {
            peer.end_told = true;
            peer.ends = true;
            peer.unsent.clear();
            let engine = &mut self.executors[executor].engine;
            engine.input(Input::Closed { connection, cause: CloseCause::WriteBudget });
        }
    }

    fn close(&mut self, executor: usize, connection: ConnectionId, close: Close) {
        let Some(index) = self.served.remove(&(executor, connection)) else { return };
        let peer = &mut self.peers[index];
        peer.served = None;
        peer.closed = true;
        if close == Close::Now {
            // What the socket has taken already arrives all the same; here it has taken everything but a stalled peer's.
            if peer.stalled {
                peer.unsent.clear();
            }
        }
        if let Some(other) = peer.joined.filter(|_| self.peers[index].is_gone()) {
            self.peers[other].ends = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::{ConnectionOptions, Turn};

    /// Counts causes and effects: executor 0 tells everybody of number n, and whoever hears it asks executor
    /// `(me + 1) % shards` to confirm it. Nobody may be asked about a number that it has not heard.
    struct Gossip {
        heard: Vec<u32>,
        violations: u32,
    }

    enum Talk {
        Tell(u32),
        Confirm(u32),
    }

    impl Shard for Gossip {
        type Message = Talk;
        type External = u32;
        type Timer = ();

        fn on_start(&mut self, _: &mut Turn<Self>) {}

        fn on_message(&mut self, _: ShardId, message: Talk, turn: &mut Turn<Self>) {
            match message {
                Talk::Tell(number) => {
                    self.heard.push(number);
                    let next = (turn.shard().index() + 1) % turn.shards();
                    turn.send(ShardId(next as u16), Talk::Confirm(number));
                }
                Talk::Confirm(number) => self.violations += u32::from(!self.heard.contains(&number)),
            }
        }

        fn on_received(&mut self, _: ConnectionId, bytes: &[u8], _: &mut Turn<Self>) -> usize {
            bytes.len()
        }

        fn on_input(&mut self, input: Input<u32, ()>, turn: &mut Turn<Self>) {
            let Input::External(number) = input else { return };
            for shard in (0..turn.shards() as u16).rev() {
                turn.send(ShardId(shard), Talk::Tell(number));
            }
        }
    }

    #[test]
    fn effects_never_overtake_their_causes() {
        for seed in 0..300 {
            let shards = 2 + (seed % 4) as usize;
            let batches = 1 + (seed % 3) as usize;
            let mut world = World::new(seed, shards, batches, |_| Gossip { heard: Vec::new(), violations: 0 });
            for number in 0..60 {
                world.inject(ShardId((number % shards as u32) as u16), number);
                if number % 7 == 0 {
                    world.run();
                }
            }
            world.run();
            for executor in &mut world.executors {
                let gossip = executor.engine.shard();
                assert_eq!((gossip.heard.len(), gossip.violations), (60, 0), "seed {seed}");
            }
        }
    }

    /// Echoes, and pauses after every byte until a timer.
    struct Echo;

    impl Shard for Echo {
        type Message = ();
        type External = ();
        type Timer = ConnectionId;

        fn on_start(&mut self, _: &mut Turn<Self>) {}

        fn on_message(&mut self, _: ShardId, (): (), _: &mut Turn<Self>) {}

        fn on_received(&mut self, connection: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize {
            turn.write(connection, bytes::Bytes::copy_from_slice(&bytes[..1]));
            turn.pause(connection);
            turn.timer(turn.now_us() + 10, connection);
            1
        }

        fn on_input(&mut self, input: Input<(), ConnectionId>, turn: &mut Turn<Self>) {
            match input {
                Input::Accepted { socket, .. } => {
                    turn.attach(socket, ConnectionOptions::default());
                }
                Input::Timer(connection) => turn.resume(connection),
                Input::Closed { connection, .. } => turn.close(connection, Close::Now),
                Input::Sent { .. } | Input::External(()) => {}
                Input::Connected { .. } | Input::Congested { .. } | Input::Relieved { .. } => {}
            }
        }
    }

    #[test]
    fn a_paused_connection_loses_nothing_even_when_its_peer_is_gone() {
        for seed in 0..50 {
            let mut world = World::new(seed, 1, 1, |_| Echo);
            let peer = world.connect(ShardId(0), ListenerId(0));
            world.send(peer, b"every byte comes back");
            world.disconnect(peer);
            world.run_until(1_000_000);
            assert_eq!(world.received(peer), b"every byte comes back", "seed {seed}");
        }
    }

    #[test]
    fn a_seed_repeats_its_run() {
        let run = |seed| {
            let mut world = World::new(seed, 3, 2, |_| Gossip { heard: Vec::new(), violations: 0 });
            for number in 0..30 {
                world.inject(ShardId((number % 3) as u16), number);
            }
            world.run();
            world.executors.iter_mut().map(|executor| executor.engine.shard().heard.clone()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8), "another seed is another run");
    }
}
