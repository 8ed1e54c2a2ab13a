//! What an application of this crate is: the trait [`Shard`], the inputs it gets, the [`Turn`] it acts through.

use crate::counters::{Counters, Queues};
use bytes::Bytes;
use std::net::{SocketAddr, TcpStream};

/// The most executors of one daemon: sets of executors are kept as bits.
pub const MAX_SHARDS: usize = 128;

/// One executor, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl ShardId {
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One connection of one executor. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

/// A listening socket, by the number that the application gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId(pub u16);

/// An accepted or dialled connection that no executor reads yet; it may be sent to another executor.
#[derive(Debug)]
pub struct Socket {
    pub kind: SocketKind,
    /// The other end.
    pub peer: SocketAddr,
    /// This end.
    pub local: SocketAddr,
}

/// What lies beneath a [`Socket`].
#[derive(Debug)]
pub enum SocketKind {
    /// A real connection, non-blocking.
    Tcp(TcpStream),
    /// A connection of the simulator, by its number.
    Simulated(u64),
}

/// Limits of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConnectionOptions {
    /// Bytes that may wait to be sent; beyond it the connection ends with [`CloseCause::WriteBudget`]. 0 = no limit.
    pub write_budget_bytes: usize,
    /// How long nothing may be accepted by the peer while bytes wait, and how long the connection may be congested, in
    /// microseconds; beyond it the connection ends with [`CloseCause::WriteTimeout`]. 0 = no limit.
    pub write_timeout_us: u64,
    /// Bytes that wait to be sent beyond which the connection is congested: [`Input::Congested`] tells so, and
    /// [`Input::Relieved`] when half of it or less is left. 0 = never.
    pub high_water_bytes: usize,
    /// What is written is gathered for at most so many microseconds before it is sent; 0 sends at the end of the turn.
    pub gather_us: u64,
}

/// How a connection is dialled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dial {
    /// Microseconds to wait before the first attempt.
    pub delay_us: u64,
    /// For so many microseconds an attempt that fails is followed by another, 50 ms later; then the connection ends.
    /// `u64::MAX` = for ever. Who is patient for long dials anew, with pauses of its own.
    pub patience_us: u64,
}

/// How an application ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// At once; what was not sent is lost.
    Now,
    /// Send what was written, shut down writing, then read and discard until the peer ends or so many microseconds
    /// have passed, so that the last bytes arrive before a reset can destroy them.
    Linger { us: u64 },
}

/// Why a connection ended without the application's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseCause {
    /// The peer closed its end.
    EndOfFile,
    /// The operating system's text.
    Error(String),
    WriteBudget,
    WriteTimeout,
}

/// What happens to an executor from outside the mesh.
#[derive(Debug)]
pub enum Input<E, T> {
    /// A connection was accepted. It is neither read nor written before [`Turn::attach`].
    Accepted {
        listener: ListenerId,
        socket: Socket,
    },
    /// The connection ended; its id is gone.
    Closed {
        connection: ConnectionId,
        cause: CloseCause,
    },
    /// Everything that had been written when [`Turn::notify_sent`] was called has been taken by the system.
    Sent {
        connection: ConnectionId,
    },
    /// A connection of [`Turn::dial`] stands.
    Connected {
        connection: ConnectionId,
    },
    /// More than its high-water mark waits to be sent on a connection: whoever fills it should stop.
    Congested {
        connection: ConnectionId,
    },
    /// A congested connection has room again, or is about to end.
    Relieved {
        connection: ConnectionId,
        has_room: bool,
    },
    Timer(T),
    /// From a thread that is no executor: a database completion, a signal.
    External(E),
}

/// One executor's part of the application: its partition of every role.
///
/// Handlers run to completion, one at a time; they never wait.
pub trait Shard: 'static {
    /// What crosses executors.
    type Message: Send + 'static;
    /// What other threads send in.
    type External: Send + 'static;
    /// What comes back when a timer fires.
    type Timer: 'static;

    /// Once, before anything else.
    fn on_start(&mut self, turn: &mut Turn<Self>);

    /// A message from an executor, this one included.
    fn on_message(&mut self, from: ShardId, message: Self::Message, turn: &mut Turn<Self>);

    /// Bytes of a connection, borrowed. Returns how many were used; the rest is offered again with the next bytes, or
    /// after [`Turn::resume`] when the application had called [`Turn::pause`].
    fn on_received(&mut self, connection: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize;

    fn on_input(&mut self, input: Input<Self::External, Self::Timer>, turn: &mut Turn<Self>);

    /// Behind the last handler of a turn: what its handlers have gathered can still leave with it.
    fn on_turn_end(&mut self, _turn: &mut Turn<Self>) {}
}

/// What a handler may do. Nothing of it happens before the turn ends; bytes leave when the turn is committed.
pub struct Turn<S: Shard + ?Sized> {
    pub(crate) shard: ShardId,
    pub(crate) shards: usize,
    pub(crate) now_us: u64,
    pub(crate) unread_us: u64,
    /// Messages that stand before whatever this handler sends to its own executor.
    pub(crate) messages_waiting: usize,
    /// Handlers that this turn may still run.
    pub(crate) budget: usize,
    pub(crate) next_connection: u64,
    /// Messages to this executor: handled breadth first.
    pub(crate) local: std::collections::VecDeque<S::Message>,
    /// Messages to the others, one batch each.
    pub(crate) remote: Vec<Vec<S::Message>>,
    /// What reaches the outside, once the turn is committed.
    pub(crate) effects: Vec<Effect>,
    /// What changes the reading of connections, before the next handler.
    pub(crate) flow: Vec<(ConnectionId, Flow)>,
    pub(crate) timers: Vec<(u64, S::Timer)>,
    pub(crate) counters: Counters,
    pub(crate) queues: Queues,
}

/// What a turn does outside the mesh, in order. Every byte that leaves goes through lists of these: what is rare stands in
/// memory of its own.
#[derive(Debug)]
pub(crate) enum Effect {
    Attach {
        connection: ConnectionId,
        socket: Box<(Socket, ConnectionOptions)>,
    },
    Dial {
        connection: ConnectionId,
        dial: Box<(SocketAddr, Dial, ConnectionOptions)>,
    },
    Write {
        connection: ConnectionId,
        bytes: Bytes,
    },
    /// The same bytes to each.
    WriteToAll(Box<(Vec<ConnectionId>, Bytes)>),
    /// So many bytes may wait beside the write budget.
    Allow {
        connection: ConnectionId,
        bytes: usize,
    },
    /// Say when everything so far has been taken by the system.
    NotifySent {
        connection: ConnectionId,
    },
    /// A paused connection may be read again.
    Resume {
        connection: ConnectionId,
    },
    Close {
        connection: ConnectionId,
        close: Close,
    },
    SendPacket(Box<(SocketAddr, Bytes)>),
    /// Ends the executor; some text when it ends badly.
    Stop(Option<String>),
}

const _: () = assert!(size_of::<Effect>() <= 48);

#[derive(Clone, Copy, Debug)]
pub(crate) enum Flow {
    Attached,
    Paused,
    Resumed,
    Closed,
}

impl<S: Shard + ?Sized> Turn<S> {
    pub(crate) fn new(shard: ShardId, shards: usize) -> Self {
        assert!(shards <= MAX_SHARDS);
        Self {
            shard,
            shards,
            now_us: 0,
            unread_us: 0,
            messages_waiting: 0,
            budget: 0,
            next_connection: 1,
            local: Default::default(),
            remote: (0..shards).map(|_| Vec::new()).collect(),
            effects: Vec::new(),
            flow: Vec::new(),
            timers: Vec::new(),
            counters: Counters::default(),
            queues: Queues::default(),
        }
    }

    /// The executor that runs this turn.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The number of executors.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// Microseconds of a monotonic clock, as of the beginning of the turn.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Microseconds, of all up to now, during which this executor read none of its connections: the mesh was full, or the
    /// process did not run.
    pub fn unread_us(&self) -> u64 {
        self.unread_us
    }

    /// What this executor has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How full this executor's queues were at the beginning of the turn.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Sends a message to an executor, this one included. Messages to one executor arrive in the order sent.
    pub fn send(&mut self, to: ShardId, message: S::Message) {
        if to == self.shard {
            self.local.push_back(message);
        } else {
            self.remote[to.index()].push(message);
        }
    }

    /// The last message that this turn has sent to another executor: more may be added to it, as if it were sent now.
    pub fn last_sent_mut(&mut self, to: ShardId) -> Option<&mut S::Message> {
        self.remote[to.index()].last_mut()
    }

    /// The message at hand was so many more: each counts as a handler of this turn.
    pub fn count_handlers(&mut self, more: usize) {
        self.budget = self.budget.saturating_sub(more);
        self.counters.handlers_at_once += more as u64;
    }

    /// Whether a message to this executor may be handled at once instead of being sent: none waits that it would overtake,
    /// and the turn has room for another handler, as which it counts. Whoever has sent one in this handler must not: the
    /// later would come first.
    pub fn may_handle_at_once(&mut self) -> bool {
        let may = self.messages_waiting == 0 && self.budget > 0;
        self.budget -= usize::from(may);
        self.counters.handlers_at_once += u64::from(may);
        may
    }

    /// Makes this executor serve a connection.
    pub fn attach(&mut self, socket: Socket, options: ConnectionOptions) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.flow.push((connection, Flow::Attached));
        self.effects.push(Effect::Attach { connection, socket: Box::new((socket, options)) });
        connection
    }

    /// Makes this executor connect, and serve the connection: [`Input::Connected`] follows, or [`Input::Closed`] when it
    /// cannot. What is written meanwhile waits.
    pub fn dial(&mut self, address: SocketAddr, dial: Dial, options: ConnectionOptions) -> ConnectionId {
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        self.flow.push((connection, Flow::Attached));
        self.effects.push(Effect::Dial { connection, dial: Box::new((address, dial, options)) });
        connection
    }

    /// Sends bytes; those of one connection and turn leave together, in order.
    pub fn write(&mut self, connection: ConnectionId, bytes: Bytes) {
        self.effects.push(Effect::Write { connection, bytes });
    }

    /// Sends the same bytes to each of some connections.
    pub fn write_to_all(&mut self, connections: Vec<ConnectionId>, bytes: Bytes) {
        match connections[..] {
            [] => {}
            [connection] => self.write(connection, bytes),
            _ => self.effects.push(Effect::WriteToAll(Box::new((connections, bytes)))),
        }
    }

    /// Lets so many bytes of a connection wait beside its write budget, until as many have left.
    pub fn allow(&mut self, connection: ConnectionId, bytes: usize) {
        self.effects.push(Effect::Allow { connection, bytes });
    }

    /// Asks for an [`Input::Sent`] when the system has taken everything written to a connection so far, which may be at
    /// once. Whoever has much to send sends it in parts, each when the last has left.
    pub fn notify_sent(&mut self, connection: ConnectionId) {
        self.effects.push(Effect::NotifySent { connection });
    }

    /// Stops reading a connection; what has been received and not used is kept.
    pub fn pause(&mut self, connection: ConnectionId) {
        self.flow.push((connection, Flow::Paused));
    }

    /// Offers what was kept, and reads on.
    pub fn resume(&mut self, connection: ConnectionId) {
        self.flow.push((connection, Flow::Resumed));
        self.effects.push(Effect::Resume { connection });
    }

    /// Ends a connection. The application hears no more of it.
    pub fn close(&mut self, connection: ConnectionId, close: Close) {
        self.flow.push((connection, Flow::Closed));
        self.effects.push(Effect::Close { connection, close });
    }

    /// Gives `timer` back at or soon after `at_us`.
    pub fn timer(&mut self, at_us: u64, timer: S::Timer) {
        self.timers.push((at_us, timer));
    }

    /// Sends one UDP packet; a failure is counted, never reported.
    pub fn send_packet(&mut self, to: SocketAddr, bytes: Bytes) {
        self.effects.push(Effect::SendPacket(Box::new((to, bytes))));
    }

    /// Ends this executor after this turn.
    pub fn stop(&mut self) {
        self.effects.push(Effect::Stop(None));
    }

    /// Ends this executor after this turn, badly: [`crate::runtime::Executors::join`] tells why.
    pub fn fail(&mut self, why: String) {
        self.effects.push(Effect::Stop(Some(why)));
    }
}
