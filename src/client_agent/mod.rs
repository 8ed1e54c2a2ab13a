//! Client Agent: one executor's partition of the client sessions (`protocol-md-ca-el.md` §3).
//!
//! Decides what a client may say and what it is told: state, visibility, ownership, permissions, interests. Everything
//! a client sends is hostile until this module has judged it. It never keeps an object's state (the State Server does),
//! never routes (the Message Director does), and never sends a client anything after CLIENT_EJECT.
//!
//! * [`admission`]: who may connect; [`rate`]: how much a client may send.
//! * [`pool`]: the channels of a range, on one executor.
//! * [`reading_clock`]: what a client's deadlines are measured by.
//! * [`session`]: one client: identity, timers, the one way to end.
//! * [`client_message`]: what a client may send.
//! * [`cluster_message`]: what the cluster may send to a session, decoded once for all sessions that it reaches.
//! * [`objects`]: tables of what a session knows.
//! * [`visibility`]: entering, moving, leaving, ownership.
//! * [`interest_tables`] and [`interest`]: opening and closing of zones.
//! * [`parenting`]: interests that a session keeps by itself around its client's avatars.
//! * [`report`]: what an operator may see of sessions.
//! * [`settings`]: what sessions share, and their limits.

mod admission;
mod client_message;
mod cluster_message;
mod interest;
mod interest_tables;
mod objects;
mod parenting;
mod pool;
mod rate;
mod reading_clock;
mod report;
mod review;
mod session;
mod settings;
mod visibility;

#[cfg(test)]
mod tests;

use crate::config;
use crate::event_logger::{Event, EventType};
use crate::faults::{Fault, seeded};
use crate::outbox::{Action, Outbox, Participant, RoleMessage, contained};
use crate::reason::Reason;
use crate::state_server::RefusalLog;
use crate::wire::{Channel, Datagram, Encoder, message_type as t, next_frame};
use admission::Admission;
use cluster_message::ClusterMessage;
use donet_dc::{Contract, TextPolicy};
use donet_shards::{Close, CloseCause, ConnectionId, ConnectionOptions, ShardId, Socket, shard_of};
use hashbrown::HashMap;
use pool::Pool;
use session::{End, Session};
use settings::{Shared, micros};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use visibility::ObjectEvent;

/// Between the partitions of one daemon.
#[derive(Debug)]
pub enum ClientAgentMessage {
    /// To the executor of the channel's pool: the session has ended, and its last messages are on their way.
    ReleaseChannel { agent: u8, channel: Channel },
    /// To the same: the session has said CLIENT_HELLO.
    Greeted { agent: u8, channel: Channel },
    /// To the same: where the client behind a proxy is. Answered only by [`ClientAgentMessage::TooMany`].
    Identified { agent: u8, channel: Channel, address: IpAddr },
    /// From the same: the session must end, because there are too many of its address.
    TooMany { channel: Channel },
}

/// A timer of a session, named by its connection: connections, unlike channels, are never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientTimer {
    connection: ConnectionId,
    kind: TimerKind,
}

/// A session has at most one timer of each kind. One that fires early is set again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TimerKind {
    Heartbeat,
    Authentication,
    Interest,
    Hello,
    Idle,
}

impl TimerKind {
    const COUNT: usize = 5;
}

/// Where a client comes from, and how.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The client's address: that of the socket, or what a PROXY header says.
    pub peer: SocketAddr,
    /// The address that it has connected to.
    pub local: SocketAddr,
    /// What stood behind the addresses of a PROXY header.
    pub tlvs: Box<[u8]>,
    /// `peer` is what a PROXY header says.
    pub is_proxied: bool,
    /// A proxy that looks whether we are there: no events.
    pub is_health_check: bool,
    /// There are layers around the bytes.
    pub is_wrapped: bool,
}

impl Origin {
    /// A connection without anything in front.
    pub fn direct(peer: SocketAddr, local: SocketAddr) -> Self {
        Self { peer, local, tlvs: Box::default(), is_proxied: false, is_health_check: false, is_wrapped: false }
    }
}

/// Which executor runs the listener and the channel pool of an agent with this range: agents that name the same range
/// share one pool.
pub fn pool_home(channels: &RangeInclusive<Channel>, shards: usize) -> ShardId {
    shard_of(*channels.start(), shards)
}

/// How long a freed channel of a range rests: the longest that an agent of the range asks for.
fn quarantine_us(agents: &[config::ClientAgent], channels: &RangeInclusive<Channel>) -> u64 {
    let same_range = agents.iter().filter(|agent| agent.channels == *channels);
    micros(same_range.map(|agent| agent.channel_quarantine).max().unwrap_or_default())
}

/// One executor's partition of every Client Agent of the daemon.
pub struct ClientAgents {
    shared: Shared,
    shard: ShardId,
    shards: usize,
    /// The pools that live on this executor, by their first agent.
    pools: HashMap<u8, Pool>,
    /// Of the agents whose pool lives here.
    admissions: HashMap<u8, Admission>,
    /// Boxed, so that a growing table moves pointers and not sessions.
    sessions: HashMap<Channel, Box<Session>>,
    connections: HashMap<ConnectionId, Channel>,
    /// Clients whose channel is from a pool of this executor, those whose session has not begun yet among them.
    admitted: u64,
    /// Nobody is admitted any more.
    is_draining: bool,
    /// Messages of unknown types: a few lines a second, whatever arrives.
    unknown: RefusalLog,
}

impl ClientAgents {
    /// `uberdogs` are resolved in the contract: one of an unknown class is left out with an error in the log, so the
    /// daemon refuses it before.
    pub fn new(
        agents: &[config::ClientAgent],
        uberdogs: &[config::Uberdog],
        contract: Arc<Contract>,
        text: TextPolicy,
        shard: ShardId,
        shards: usize,
    ) -> Self {
        let shared = Shared::new(agents, uberdogs, contract, text, shards);
        let mut this = Self {
            shared,
            shard,
            shards,
            pools: HashMap::new(),
            admissions: HashMap::new(),
            sessions: HashMap::new(),
            connections: HashMap::new(),
            admitted: 0,
            is_draining: false,
            unknown: RefusalLog::default(),
        };
        for (index, config) in (0..=u8::MAX).zip(agents) {
            if this.pool_home(index) == shard {
                this.admissions.insert(index, Admission::new(&config.limits));
            }
            if this.pool_of(index) == index && this.pool_home(index) == shard {
                this.pools.insert(index, Pool::new(config.channels.clone(), quarantine_us(agents, &config.channels)));
            }
        }
        this
    }

    /// Goes on with other settings of the same agents. What limits the sending, the view and the silence of a client
    /// holds for those there are as well; what belongs to a connection (its write buffer, its certificate) for new ones.
    pub fn reload(&mut self, agents: &[config::ClientAgent], out: &mut Outbox) {
        let before = self.shared.reload(agents, self.shards);
        for (index, config) in (0..=u8::MAX).zip(agents) {
            if let Some(admission) = self.admissions.get_mut(&index) {
                admission.reload(&config.limits);
            }
            if let Some(pool) = self.pools.get_mut(&index) {
                pool.reload(quarantine_us(agents, &config.channels));
            }
        }
        let mut channels: Vec<Channel> = self.sessions.keys().copied().collect();
        channels.sort_unstable(); // Nothing may depend on the order of a hash table: simulated runs repeat.
        for channel in channels {
            let session = self.sessions.get_mut(&channel).expect("none has ended");
            session.reload(&before[usize::from(session.agent)], &self.shared, out);
        }
    }

    /// Agents with the same channel range share one pool: that of the first of them.
    fn pool_of(&self, agent: u8) -> u8 {
        let channels = |agent: &settings::Agent| agent.config.channels.clone();
        let own = channels(&self.shared.agents[usize::from(agent)]);
        let first = self.shared.agents.iter().position(|other| channels(other) == own);
        first.and_then(|index| u8::try_from(index).ok()).unwrap_or(agent)
    }

    fn pool_home(&self, agent: u8) -> ShardId {
        pool_home(&self.shared.agents[usize::from(agent)].config.channels, self.shards)
    }

    /// The limits of a connection of this agent.
    pub fn connection_options(&self, agent: u8) -> ConnectionOptions {
        let config = &self.shared.agents[usize::from(agent)].config;
        ConnectionOptions {
            write_budget_bytes: config.write_buffer_bytes,
            write_timeout_us: config.write_timeout.map_or(0, micros),
            gather_us: micros(config.flush_delay),
            ..ConnectionOptions::default()
        }
    }

    /// A client was accepted, on the pool's executor: gives it the next channel, or turns it away.
    pub fn on_accepted(&mut self, agent: u8, socket: Socket, out: &mut Outbox) {
        // Behind a proxy the address is not known yet.
        let is_proxied = self.shared.agents[usize::from(agent)].config.haproxy;
        let address = (!is_proxied).then(|| socket.peer.ip());
        let pool = self.pool_of(agent);
        let Some(admission) = self.admissions.get_mut(&agent) else { return };
        match admission.check(address) {
            Ok(()) => {}
            Err(reason @ Reason::TooManyConnections) => {
                return self.refuse(agent, socket, reason, "too many connections from your address", out);
            }
            Err(reason) => {
                // A flood is not answered: each answer would keep a socket for the time of its reading.
                out.metrics.count_closed(reason);
                out.push(Action::DropClient { socket, reason });
                return;
            }
        }
        if self.is_draining {
            return self.refuse(agent, socket, Reason::Draining, "the server is going down for maintenance", out);
        }
        match self.pools.get_mut(&pool).and_then(|pool| pool.allocate(out.now_us)) {
            Some(channel) => {
                admission.begin(channel, address);
                self.admitted += 1;
                out.push(Action::AdoptClient { agent, channel, socket });
            }
            None => {
                self.refuse(agent, socket, Reason::ChannelsExhausted, "no channel is free, try again later", out);
            }
        }
    }

    fn refuse(&self, agent: u8, socket: Socket, reason: Reason, text: &str, out: &mut Outbox) {
        tracing::debug!(agent, peer = %socket.peer, reason = reason.name(), "client refused");
        let code = reason.eject_code().expect("clients are refused for reasons that have a code");
        let eject = Encoder::client(t::CLIENT_EJECT).u16(code).blob(text.as_bytes());
        let frame = eject.finish().expect("a short text fits a frame");
        // It has no channel: no session of its own.
        let event = Event::new(EventType::ClientEjected, "Client:0".to_owned());
        out.push(Action::Event(event.with("reason_code", code.to_string()).with("reason_msg", text)));
        let close = Close::Linger { us: self.shared.agents[usize::from(agent)].eject_linger_us };
        out.metrics.count_closed(reason);
        out.metrics.count_eject(code);
        out.push(Action::RefuseClient { agent, socket, frame, close, reason });
    }

    /// Begins the session of a client that this executor serves from now on.
    pub fn adopt(&mut self, agent: u8, channel: Channel, connection: ConnectionId, origin: Origin, out: &mut Outbox) {
        if origin.is_proxied && self.shared.agents[usize::from(agent)].config.limits.connections_per_address > 0 {
            let address = origin.peer.ip();
            let message = ClientAgentMessage::Identified { agent, channel, address };
            out.to_shard(self.pool_home(agent), RoleMessage::ClientAgent(message));
        }
        let session = Session::begin(agent, channel, connection, origin, &self.shared, out);
        self.connections.insert(connection, channel);
        self.sessions.insert(channel, Box::new(session));
    }

    /// Bytes of a client. Returns how many were used; all, once its session has ended.
    pub fn on_received(&mut self, connection: ConnectionId, bytes: &[u8], out: &mut Outbox) -> usize {
        let Some(&channel) = self.connections.get(&connection) else { return bytes.len() };
        let mut used = 0;
        while let Some((body, frame_bytes)) = next_frame(&bytes[used..]) {
            used += frame_bytes;
            out.metrics.client_messages += 1;
            out.metrics.client_bytes_received += frame_bytes as u64;
            if !self.run(channel, out, |session, shared, out| session.on_client_message(body, shared, out)) {
                return bytes.len();
            }
        }
        used
    }

    /// What was written to a client has left.
    pub fn on_sent(&mut self, connection: ConnectionId, out: &mut Outbox) {
        if let Some(&channel) = self.connections.get(&connection) {
            self.run(channel, out, |session, shared, out| session.on_sent(shared, out));
        }
    }

    /// What lies around a connection's bytes is broken, or has said goodbye.
    pub fn on_broken(&mut self, connection: ConnectionId, reason: Reason, close: Close, out: &mut Outbox) {
        if let Some(&channel) = self.connections.get(&connection) {
            self.end(channel, End::Broken { reason, close }, out);
        }
    }

    /// Takes back the channel of a client that never had a session.
    pub fn give_back(&self, agent: u8, channel: Channel, out: &mut Outbox) {
        let message = ClientAgentMessage::ReleaseChannel { agent, channel };
        out.to_shard(self.pool_home(agent), RoleMessage::ClientAgent(message));
    }

    /// The connection has ended without this module's doing.
    pub fn on_closed(&mut self, connection: ConnectionId, cause: CloseCause, out: &mut Outbox) {
        if let Some(&channel) = self.connections.get(&connection) {
            self.end(channel, End::Lost(cause), out);
        }
    }

    /// From now on nobody is admitted; those who come are told so.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Clients that this executor has admitted, wherever they are served, and that have not gone yet.
    pub fn admitted(&self) -> u64 {
        self.admitted
    }

    /// Ejects up to so many of the sessions of this executor at the deadline of a drain. Whether some are left.
    pub fn eject_drained(&mut self, count: usize, out: &mut Outbox) -> bool {
        let mut channels: Vec<Channel> = self.sessions.keys().copied().collect();
        channels.sort_unstable(); // Nothing may depend on the order of a hash table: simulated runs repeat.
        for channel in channels.into_iter().take(count) {
            self.run(channel, out, |_, _, _| {
                Err(End::eject(Reason::Drained, "the server is going down for maintenance"))
            });
        }
        !self.sessions.is_empty()
    }

    /// A datagram for these sessions, each once. What is sent on to clients is encoded once for all of them.
    pub fn on_datagram(&mut self, sessions: &[Channel], datagram: &Datagram, out: &mut Outbox) {
        let Ok((sender, message_type, payload)) = datagram.message() else {
            out.metrics.datagrams_malformed += 1;
            tracing::warn!("a message to client sessions ends before its type; ignored");
            return;
        };
        let message = match ClusterMessage::decode(message_type, payload) {
            Ok(Some(message)) => message,
            Ok(None) => {
                out.metrics.unknown_messages += 1;
                if message_type.name().is_none() {
                    let line = format_args!("{message_type} of {sender} to client sessions is unknown; ignored");
                    self.unknown.note(out.now_us, line);
                } else {
                    tracing::debug!(%message_type, sender, "a message that is nothing to client sessions; ignored");
                }
                return;
            }
            Err(error) => {
                out.metrics.datagrams_malformed += 1;
                tracing::warn!(%message_type, sender, %error, "a message to client sessions is ignored");
                return;
            }
        };
        let ClusterMessage::Object(ObjectEvent::Update { doid, frame }) = &message else {
            return self.run_all(sessions, sender, &message, out);
        };
        // An update is nearly all that sessions hear: it is one action for those who just pass it on to their clients.
        let mut connections = Vec::with_capacity(sessions.len());
        for &channel in sessions {
            match self.sessions.get(&channel) {
                Some(session) if session.passes_on(sender, *doid) => connections.push(session.connection),
                _ => self.run_all(&[channel], sender, &message, out),
            }
        }
        out.metrics.client_frames_sent += connections.len() as u64;
        out.metrics.client_bytes_sent += (connections.len() * frame.len()) as u64;
        if !connections.is_empty() {
            out.push(Action::WriteToAll { connections, frame: frame.clone() });
        }
    }

    fn run_all(&mut self, sessions: &[Channel], sender: Channel, message: &ClusterMessage<'_>, out: &mut Outbox) {
        for &channel in sessions {
            self.run(channel, out, |session, shared, out| session.on_cluster_message(sender, message, shared, out));
        }
    }

    /// The subscriptions that a session waited for are in effect everywhere.
    pub fn on_subscribed(&mut self, session: Channel, token: u64, out: &mut Outbox) {
        self.run(session, out, |session, shared, out| session.on_subscribed(token, shared, out));
    }

    /// The link to the daemons above stands again after it was lost, and they know of all subscriptions by the time that
    /// they get what is sent from now on.
    pub fn on_upstream_again(&mut self, out: &mut Outbox) {
        if seeded(Fault::ViewsNotReviewed) {
            return;
        }
        let mut channels: Vec<Channel> = self.sessions.keys().copied().collect();
        channels.sort_unstable(); // Nothing may depend on the order of a hash table: simulated runs repeat.
        for channel in channels {
            self.run(channel, out, |session, shared, out| session.review_everything(shared, out));
        }
    }

    /// Whether the server reads a connection from now on: its clocks stand still while it does not (design G8). Nothing
    /// happens for connections of others.
    pub fn on_reading(&mut self, connection: ConnectionId, reading: bool, out: &mut Outbox) {
        if let Some(channel) = self.connections.get(&connection)
            && let Some(session) = self.sessions.get_mut(channel)
        {
            session.on_reading(reading, out);
        }
    }

    pub fn on_timer(&mut self, timer: ClientTimer, out: &mut Outbox) {
        if let Some(&channel) = self.connections.get(&timer.connection) {
            self.run(channel, out, |session, shared, out| session.on_timer(timer.kind, shared, out));
        }
    }

    /// A message of another partition, or of this one.
    pub fn on_message(&mut self, from: ShardId, message: ClientAgentMessage, out: &mut Outbox) {
        match message {
            ClientAgentMessage::Greeted { agent, channel } => {
                if let Some(admission) = self.admissions.get_mut(&agent) {
                    admission.greeted(channel);
                }
            }
            ClientAgentMessage::Identified { agent, channel, address } => {
                if self.admissions.get_mut(&agent).is_some_and(|admission| !admission.identify(channel, address)) {
                    out.to_shard(from, RoleMessage::ClientAgent(ClientAgentMessage::TooMany { channel }));
                }
            }
            ClientAgentMessage::TooMany { channel } => {
                self.run(channel, out, |_, _, _| {
                    Err(End::eject(Reason::TooManyConnections, "too many connections from your address"))
                });
            }
            ClientAgentMessage::ReleaseChannel { agent, channel } => {
                if let Some(admission) = self.admissions.get_mut(&agent) {
                    admission.end(channel);
                }
                self.admitted = self.admitted.saturating_sub(1);
                let pool = self.pool_of(agent);
                match self.pools.get_mut(&pool) {
                    Some(pool) => pool.release(channel, out.now_us),
                    None => tracing::error!(agent, channel, shard = ?self.shard, "no pool of this channel here"),
                }
            }
        }
    }

    /// Runs a handler of one session. What it decides, or its panic, ends that session and nothing else. Returns
    /// whether the session goes on.
    fn run(
        &mut self,
        channel: Channel,
        out: &mut Outbox,
        handler: impl FnOnce(&mut Session, &Shared, &mut Outbox) -> Result<(), End>,
    ) -> bool {
        let Some(session) = self.sessions.get_mut(&channel) else { return false };
        let shared = &self.shared;
        let end = match contained(out, Participant::Session(channel), |out| handler(session, shared, out)) {
            Some(Ok(())) => return true,
            Some(Err(end)) => end,
            None => End::InternalError,
        };
        self.end(channel, end, out);
        false
    }

    fn end(&mut self, channel: Channel, end: End, out: &mut Outbox) {
        let Some(session) = self.sessions.remove(&channel) else { return };
        self.connections.remove(&session.connection);
        let agent = session.agent;
        session.end(end, &self.shared, out);
        // Behind the post-removes: they reach their receivers before the channel is used again (§3.13 REC).
        self.give_back(agent, channel, out);
    }
}
