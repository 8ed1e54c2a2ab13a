//! The simulator: the engines of N executors in one thread, from one seed.
//!
//! Decides nothing of its own: it runs the same [`Engine`](crate::engine) as the daemon, in an order drawn from the seed.
//! Which executor takes its turn, how many bytes of a connection arrive at once, when time passes: each is a random
//! choice, so that interleavings come up that a real machine shows once a month. The same seed gives the same run.

use crate::app::{Close, CloseCause, ConnectionId, Effect, Input, ListenerId, Shard, ShardId, Socket, SocketKind};
use crate::engine::Engine;
use crate::mesh::ports;
use hashbrown::HashMap;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// Steps after which a world that does not come to rest is taken for one that never will.
const STEPS_MAX: usize = 10_000_000;

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

#[derive(Debug, Default)]
struct PeerState {
    /// Where it is served, once it is.
    served: Option<(ShardId, ConnectionId)>,
    /// On its way to the server.
    to_server: VecDeque<u8>,
    /// What the server has sent and the peer not read.
    from_server: Vec<u8>,
    /// The peer will send no more; told to the server after its last byte.
    ends: bool,
    end_told: bool,
    /// The server has ended it.
    closed: bool,
}

/// N executors and whoever is connected to them.
pub struct World<S: Shard> {
    engines: Vec<Engine<S>>,
    random: Random,
    now_us: u64,
    peers: Vec<PeerState>,
    served: HashMap<(ShardId, ConnectionId), Peer>,
    /// UDP packets that left, in order.
    pub packets: Vec<(SocketAddr, Vec<u8>)>,
    /// Connections that executors have dialled, in order. They stand at once.
    pub dialled: Vec<(SocketAddr, Peer)>,
    stopped: Vec<bool>,
    /// What the executors said that ended badly.
    pub failures: Vec<String>,
}

impl<S: Shard> World<S> {
    /// Executors built by `make`, with rings of `batches` slots.
    pub fn new(seed: u64, shards: usize, batches: usize, mut make: impl FnMut(ShardId) -> S) -> Self {
        let engines = ports(shards, batches).into_iter().enumerate().map(|(index, port)| {
            let id = ShardId(index as u16);
            Engine::new(make(id), port, id, shards)
        });
        let mut world = Self {
            engines: engines.collect(),
            random: Random::new(seed),
            now_us: 1,
            peers: Vec::new(),
            served: HashMap::new(),
            packets: Vec::new(),
            dialled: Vec::new(),
            stopped: vec![false; shards],
            failures: Vec::new(),
        };
        for index in 0..shards {
            world.engines[index].start(world.now_us);
            world.carry_out(index);
        }
        world
    }

    /// Microseconds since the world began.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Connects to a listener that is served by `shard`.
    pub fn connect(&mut self, shard: ShardId, listener: ListenerId) -> Peer {
        let number = self.peers.len() as u64;
        self.peers.push(PeerState::default());
        let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let socket = Socket {
            kind: SocketKind::Simulated(number),
            peer: address(10_000_u16.wrapping_add(number as u16)),
            local: address(7199),
        };
        self.engines[shard.index()].input(Input::Accepted { listener, socket });
        Peer(number)
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

    /// Whether the server has ended the connection.
    pub fn is_closed(&self, peer: Peer) -> bool {
        self.peers[peer.0 as usize].closed
    }

    /// Hands an executor what another thread would.
    pub fn inject(&mut self, shard: ShardId, external: S::External) {
        self.engines[shard.index()].input(Input::External(external));
    }

    /// Takes random steps until nothing is left to do but to wait for timers later than `until_us`.
    ///
    /// # Panics
    /// When the world does not come to rest.
    pub fn run_until(&mut self, until_us: u64) {
        for _ in 0..STEPS_MAX {
            if !self.step() {
                let next = self.engines.iter().filter_map(Engine::next_timer_us).min();
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

    /// One random step; false when there is none to take.
    fn step(&mut self) -> bool {
        let turns: Vec<usize> = (0..self.engines.len())
            .filter(|&index| !self.stopped[index] && self.engines[index].has_work(self.now_us))
            .collect();
        let arrivals: Vec<usize> = (0..self.peers.len()).filter(|&index| self.can_arrive(index)).collect();
        let choices = turns.len() + arrivals.len();
        if choices == 0 {
            return false;
        }
        let choice = self.random.below(choices);
        match turns.get(choice) {
            Some(&index) => {
                self.engines[index].turn(self.now_us, |_| ());
                self.carry_out(index);
            }
            None => self.arrive(arrivals[choice - turns.len()]),
        }
        self.now_us += self.random.number() % 3;
        true
    }

    fn can_arrive(&mut self, index: usize) -> bool {
        let peer = &self.peers[index];
        let Some((shard, connection)) = peer.served else { return false };
        let has_something = !peer.to_server.is_empty() || (peer.ends && !peer.end_told);
        let engine = &mut self.engines[shard.index()];
        has_something && !self.stopped[shard.index()] && engine.receive_space(connection).is_some()
    }

    fn arrive(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some((shard, connection)) = peer.served else { return };
        let engine = &mut self.engines[shard.index()];
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

    fn carry_out(&mut self, index: usize) {
        let shard = ShardId(index as u16);
        let effects: Vec<Effect> = self.engines[index].effects().collect();
        for effect in effects {
            match effect {
                Effect::Attach { connection, socket, .. } => {
                    let SocketKind::Simulated(number) = socket.kind else {
                        unreachable!("a simulated world has simulated sockets");
                    };
                    self.served.insert((shard, connection), Peer(number));
                    self.peers[number as usize].served = Some((shard, connection));
                }
                Effect::Dial { connection, address, .. } => {
                    let peer = Peer(self.peers.len() as u64);
                    self.peers.push(PeerState { served: Some((shard, connection)), ..PeerState::default() });
                    self.served.insert((shard, connection), peer);
                    self.dialled.push((address, peer));
                    self.engines[index].input(Input::Connected { connection });
                }
                Effect::Write { connection, bytes } => {
                    if let Some(peer) = self.served.get(&(shard, connection)) {
                        self.peers[peer.0 as usize].from_server.extend_from_slice(&bytes);
                    }
                }
                Effect::Close { connection, close: Close::Now | Close::Linger { .. } } => {
                    if let Some(peer) = self.served.remove(&(shard, connection)) {
                        let peer = &mut self.peers[peer.0 as usize];
                        peer.served = None;
                        peer.closed = true;
                    }
                }
                Effect::NotifySent { connection } => {
                    // A simulated socket takes everything at once.
                    if self.served.contains_key(&(shard, connection)) {
                        self.engines[index].input(Input::Sent { connection });
                    }
                }
                Effect::Resume { .. } | Effect::Allow { .. } => {}
                Effect::SendPacket { to, bytes } => self.packets.push((to, bytes.to_vec())),
                Effect::Stop(failure) => {
                    self.stopped[index] = true;
                    self.failures.extend(failure);
                }
            }
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
            for engine in &mut world.engines {
                assert_eq!((engine.shard().heard.len(), engine.shard().violations), (60, 0), "seed {seed}");
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
            world.engines.iter_mut().map(|engine| engine.shard().heard.clone()).collect::<Vec<_>>()
        };
        assert_eq!(run(7), run(7));
        assert_ne!(run(7), run(8), "another seed is another run");
    }
}
