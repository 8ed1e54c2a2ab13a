//! The connections of a simulated world: what is on its way in either direction, and how it ends.

use super::{DaemonId, Peer, Phase, World};
use crate::app::{
    Close, CloseCause, ConnectionId, ConnectionOptions, Input, ListenerId, Shard, ShardId, Socket, SocketKind,
};
use std::collections::VecDeque;
use std::net::SocketAddr;

#[derive(Debug, Default)]
pub(super) struct PeerState {
    /// Where it is served, once it is.
    pub(super) served: Option<(usize, ConnectionId)>,
    pub(super) options: ConnectionOptions,
    /// On its way to the server.
    to_server: VecDeque<u8>,
    /// Written by the server, and not taken by the peer.
    pub(super) unsent: VecDeque<u8>,
    /// Bytes of it that do not count against the budget.
    pub(super) allowed_bytes: usize,
    /// The server wants to hear when all of it has left.
    pub(super) tells_when_sent: bool,
    /// What the peer has taken and the test not read.
    from_server: Vec<u8>,
    /// The daemon that it leads to.
    daemon: Option<DaemonId>,
    /// The other connection, of a link between daemons.
    joined: Option<usize>,
    /// Dialled, and not answered yet.
    is_held: bool,
    /// The peer takes nothing.
    stalled: bool,
    /// Since when something waits for it of which it has taken nothing.
    waits_since_us: Option<u64>,
    /// The server has been told that too much waits.
    is_congested: bool,
    pub(super) slow: bool,
    /// The peer will send no more; told to the server after its last byte.
    ends: bool,
    end_told: bool,
    /// It was reset: what the server writes before it knows is lost, too.
    is_broken: bool,
    /// The server has ended it; what is unsent still leaves.
    closed: bool,
}

impl PeerState {
    fn is_gone(&self) -> bool {
        self.closed && self.unsent.is_empty()
    }
    /// When it is dropped, if it takes nothing until then.
    fn write_timeout_us(&self) -> Option<u64> {
        let is_timed = self.stalled && self.options.write_timeout_us > 0 && !self.end_told && !self.closed;
        self.waits_since_us.filter(|_| is_timed).map(|since_us| since_us.saturating_add(self.options.write_timeout_us))
    }

    pub(super) fn can_depart(&self) -> bool {
        !self.stalled && !self.is_held && !self.unsent.is_empty()
    }
}

impl<S: Shard> World<S> {
    /// Connects to a listener of the first daemon that is served by `shard`.
    pub fn connect(&mut self, shard: ShardId, listener: ListenerId) -> Peer {
        self.connect_to(DaemonId::FIRST, shard, listener)
    }

    /// Connects to a listener that is served by `shard` of `daemon`.
    pub fn connect_to(&mut self, daemon: DaemonId, shard: ShardId, listener: ListenerId) -> Peer {
        let number = self.peers.len();
        self.peers.push(PeerState { daemon: Some(daemon), ..PeerState::default() });
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

    /// Makes one connection of two: what the servers send to either arrives at the other. One that was dialled and held
    /// stands from now on.
    pub fn join(&mut self, one: Peer, other: Peer) {
        for (peer, other) in [(one, other), (other, one)] {
            let peer = &mut self.peers[peer.0 as usize];
            peer.joined = Some(other.0 as usize);
            if let Some((executor, connection)) = peer.served.filter(|_| std::mem::take(&mut peer.is_held)) {
                self.executors[executor].engine.input(Input::Connected { connection });
            }
        }
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

    /// Breaks the connection, and the other one of a link between daemons: what is on its way, in either direction, is lost.
    /// Returns how many bytes for the server that was.
    pub fn reset(&mut self, peer: Peer) -> usize {
        let other = self.peers[peer.0 as usize].joined;
        if let Some(other) = other {
            self.break_off(other);
        }
        self.break_off(peer.0 as usize)
    }

    fn break_off(&mut self, index: usize) -> usize {
        let peer = &mut self.peers[index];
        let lost = peer.to_server.len();
        peer.to_server.clear();
        peer.unsent.clear();
        (peer.ends, peer.is_broken, peer.joined) = (true, true, None);
        lost
    }

    /// A daemon has crashed.
    pub(super) fn break_connections(&mut self, daemon: DaemonId) {
        for index in 0..self.peers.len() {
            let peer = &mut self.peers[index];
            if peer.daemon != Some(daemon) || peer.closed {
                continue;
            }
            if let Some(served) = peer.served.take() {
                self.served.remove(&served);
            }
            peer.closed = true;
            let other = peer.joined;
            self.break_off(index);
            if let Some(other) = other {
                // What has left the daemon arrives.
                let other = &mut self.peers[other];
                (other.ends, other.is_broken, other.joined) = (true, true, None);
            }
        }
    }

    /// Makes the peer take nothing more, or go on.
    pub fn stall(&mut self, peer: Peer, stalled: bool) {
        self.peers[peer.0 as usize].stalled = stalled;
    }

    /// Bytes of the peer that its server has not read.
    pub fn unread_bytes(&self, peer: Peer) -> usize {
        self.peers[peer.0 as usize].to_server.len()
    }

    /// Bytes that wait for the peer.
    pub fn unsent_bytes(&self, peer: Peer) -> usize {
        self.peers[peer.0 as usize].unsent.len()
    }

    /// Whether the server has ended the connection, and the peer has taken all that came before.
    pub fn is_closed(&self, peer: Peer) -> bool {
        self.peers[peer.0 as usize].is_gone()
    }

    /// Whether the server has nothing to do with the connection any more, whatever the peer has taken.
    pub fn has_ended(&self, peer: Peer) -> bool {
        let peer = &self.peers[peer.0 as usize];
        peer.closed || peer.end_told
    }

    pub(super) fn can_arrive(&mut self, index: usize) -> bool {
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

    pub(super) fn arrive(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some((executor, connection)) = peer.served else { return };
        let engine = &mut self.executors[executor].engine;
        if peer.to_server.is_empty() {
            peer.end_told = true;
            let cause = match peer.is_broken {
                true => CloseCause::Error("connection reset by peer".to_owned()),
                false => CloseCause::EndOfFile,
            };
            self.tell_end(index, executor, connection, cause);
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
    pub(super) fn depart(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let count = 1 + self.random.below(peer.unsent.len());
        let bytes: Vec<u8> = peer.unsent.drain(..count).collect();
        peer.allowed_bytes = peer.allowed_bytes.saturating_sub(count);
        peer.waits_since_us = (!peer.unsent.is_empty()).then_some(self.now_us);
        let has_room = peer.unsent.len() <= peer.options.high_water_bytes / 2;
        if has_room
            && std::mem::take(&mut peer.is_congested)
            && let Some((executor, connection)) = peer.served
        {
            self.executors[executor].engine.input(Input::Relieved { connection, has_room: true });
        }
        let peer = &self.peers[index];
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

    pub(super) fn tell_when_sent(&mut self, index: usize) {
        let peer = &mut self.peers[index];
        let Some((executor, connection)) = peer.served.filter(|_| peer.unsent.is_empty()) else { return };
        if std::mem::take(&mut peer.tells_when_sent) {
            self.executors[executor].engine.input(Input::Sent { connection });
        }
    }

    pub(super) fn dial(
        &mut self,
        executor: usize,
        connection: ConnectionId,
        address: SocketAddr,
        options: ConnectionOptions,
    ) {
        let number = self.peers.len();
        self.peers.push(PeerState {
            served: Some((executor, connection)),
            options,
            daemon: Some(self.executors[executor].daemon),
            is_held: self.holds_dials,
            ..PeerState::default()
        });
        self.served.insert((executor, connection), number);
        self.dialled.push((address, Peer(number as u64)));
        if !self.holds_dials {
            self.executors[executor].engine.input(Input::Connected { connection });
        }
    }

    /// Bytes go to the peer; one that leaves more unsent than its budget is dropped, as by the real sockets.
    pub(super) fn write(&mut self, executor: usize, connection: ConnectionId, bytes: &[u8]) {
        let Some(&index) = self.served.get(&(executor, connection)) else { return };
        let peer = &mut self.peers[index];
        if peer.is_broken {
            return;
        }
        peer.unsent.extend(bytes);
        peer.waits_since_us.get_or_insert(self.now_us);
        let high_water = peer.options.high_water_bytes;
        if high_water > 0 && peer.unsent.len() > high_water && !std::mem::replace(&mut peer.is_congested, true) {
            self.executors[executor].engine.input(Input::Congested { connection });
        }
        let peer = &mut self.peers[index];
        let budget = peer.options.write_budget_bytes;
        // A peer that reads takes what its socket has room for at once.
        let waiting = peer.unsent.len().saturating_sub(peer.allowed_bytes);
        if budget > 0 && peer.stalled && waiting > budget && !peer.end_told {
            self.drop_peer(index, CloseCause::WriteBudget);
        }
    }

    /// The server drops a peer that does not take what it is sent.
    fn drop_peer(&mut self, index: usize, cause: CloseCause) {
        let peer = &mut self.peers[index];
        peer.end_told = true;
        peer.ends = true;
        peer.unsent.clear();
        peer.waits_since_us = None;
        let (served, joined) = (peer.served, peer.joined.take());
        if let Some((executor, connection)) = served {
            self.tell_end(index, executor, connection, cause);
        }
        if let Some(other) = joined {
            let other = &mut self.peers[other];
            (other.ends, other.is_broken, other.joined) = (true, true, None);
        }
    }

    /// As the real sockets do: whoever was stopped for a connection, itself perhaps, goes on before its end is told.
    fn tell_end(&mut self, index: usize, executor: usize, connection: ConnectionId, cause: CloseCause) {
        let engine = &mut self.executors[executor].engine;
        if std::mem::take(&mut self.peers[index].is_congested) {
            engine.input(Input::Relieved { connection, has_room: false });
        }
        engine.input(Input::Closed { connection, cause });
    }

    /// When the next peer that takes nothing has done so for as long as it may.
    pub(super) fn next_write_timeout_us(&self) -> Option<u64> {
        self.peers.iter().filter_map(PeerState::write_timeout_us).min()
    }

    /// Drops those that have taken nothing for as long as they may.
    pub(super) fn time_out_writes(&mut self) {
        for index in 0..self.peers.len() {
            if self.peers[index].write_timeout_us().is_some_and(|at_us| at_us <= self.now_us) {
                self.drop_peer(index, CloseCause::WriteTimeout);
            }
        }
    }

    pub(super) fn close(&mut self, executor: usize, connection: ConnectionId, close: Close) {
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
