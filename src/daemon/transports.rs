//! Client connections with layers around their bytes ([`crate::transport`]): how they come up, how bytes pass through
//! them, how they end.
//!
//! A client's session begins when its layers are up: before, there is nobody to speak to, and no event. A connection
//! without layers never comes here.

use super::{Daemon, Owner};
use crate::client_agent::Origin;
use crate::config;
use crate::outbox::RoleTimer;
use crate::reason::Reason;
use crate::reload::Reloadable;
use crate::transport::proxy::Proxied;
use crate::transport::websocket::Framed;
use crate::transport::{Layers, TlsSide, Transport, TransportError};
use crate::wire::Channel;
use bytes::Bytes;
use donet_shards::{Close, CloseCause, ConnectionId, ConnectionOptions, Socket, Turn};
use hashbrown::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// Plaintext of one read; a larger buffer is given back.
const KEEP_PLAINTEXT_BYTES: usize = 256 * 1024;

/// What one kind of listener does.
#[derive(Debug)]
struct Listener {
    layers: Layers,
    proxy_timeout_us: u64,
    handshake_timeout_us: u64,
    linger_us: u64,
}

/// The wrapped connections of one executor.
#[derive(Debug)]
pub(super) struct Transports {
    /// By client agent.
    listeners: Vec<Listener>,
    open: HashMap<ConnectionId, Wrapped>,
    /// Connections with bytes that are not encrypted yet.
    dirty: Vec<ConnectionId>,
    framed: Framed,
    /// The plaintext at hand; kept for its memory.
    plaintext: Vec<u8>,
}

#[derive(Debug)]
struct Wrapped {
    transport: Transport,
    agent: u8,
    opening: Option<Opening>,
    /// Plaintext that the session has not used: the beginning of a frame.
    rest: Vec<u8>,
    is_dirty: bool,
}

/// What waits for the layers to come up.
#[derive(Debug)]
struct Opening {
    deadline_us: u64,
    then: Then,
}

#[derive(Debug)]
pub(super) enum Then {
    Adopt {
        channel: Channel,
        peer: SocketAddr,
        local: SocketAddr,
    },
    /// Tell it why it is turned away.
    Refuse {
        frame: Bytes,
        close: Close,
    },
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Transports {
    pub(super) fn new(agents: &[config::ClientAgent], reloadable: &Reloadable) -> Self {
        let listener = |agent: &config::ClientAgent| Listener {
            layers: Layers { proxy: agent.haproxy, tls: None, websocket: agent.websocket },
            proxy_timeout_us: micros(agent.proxy_timeout),
            handshake_timeout_us: micros(agent.handshake_timeout),
            linger_us: micros(agent.eject_linger),
        };
        let mut this = Self {
            listeners: agents.iter().map(listener).collect(),
            open: HashMap::new(),
            dirty: Vec::new(),
            framed: Framed::default(),
            plaintext: Vec::new(),
        };
        this.reload(agents, reloadable);
        this
    }

    /// New connections use these certificates and times; those there are keep theirs.
    pub(super) fn reload(&mut self, agents: &[config::ClientAgent], reloadable: &Reloadable) {
        for (listener, agent) in self.listeners.iter_mut().zip(agents) {
            listener.proxy_timeout_us = micros(agent.proxy_timeout);
            listener.handshake_timeout_us = micros(agent.handshake_timeout);
            listener.linger_us = micros(agent.eject_linger);
        }
        for (listener, tls) in self.listeners.iter_mut().zip(&reloadable.client_tls) {
            listener.layers.tls = tls.clone().map(TlsSide::Server);
        }
    }

    pub(super) fn is_plain(&self, agent: u8) -> bool {
        self.listeners[usize::from(agent)].layers.is_plain()
    }

    /// Sends a frame of the role through its layers.
    pub(super) fn write(&mut self, connection: ConnectionId, frame: &Bytes, turn: &mut Turn<Daemon>) {
        let Some(wrapped) = self.open.get_mut(&connection) else { return };
        let mut waits = true;
        wrapped.transport.send(frame, &mut self.framed, |bytes| {
            waits = false;
            turn.write(connection, bytes);
        });
        if waits && !std::mem::replace(&mut wrapped.is_dirty, true) {
            self.dirty.push(connection);
        }
    }

    /// What `bytes` of a role need at the socket.
    pub(super) fn wire_bytes(&self, connection: ConnectionId, bytes: usize) -> usize {
        bytes + self.open.get(&connection).map_or(0, |wrapped| wrapped.transport.overhead_bytes(bytes))
    }

    /// Encrypts what was written since the last flush: together, so that it makes few records.
    pub(super) fn flush(&mut self, turn: &mut Turn<Daemon>) {
        for connection in self.dirty.drain(..) {
            let Some(wrapped) = self.open.get_mut(&connection) else { continue };
            wrapped.is_dirty = false;
            wrapped.transport.flush(|bytes| turn.write(connection, bytes));
        }
    }

    /// Forgets a connection; says goodbye in every layer's way if anybody still listens.
    pub(super) fn close(&mut self, connection: ConnectionId, close: Close, turn: &mut Turn<Daemon>) {
        let Some(mut wrapped) = self.open.remove(&connection) else { return };
        if let Close::Linger { .. } = close {
            wrapped.transport.close();
            wrapped.transport.flush(|bytes| turn.write(connection, bytes));
        }
    }
}

impl TransportError {
    pub(super) fn reason(&self) -> Reason {
        match self {
            TransportError::Closed => Reason::PeerClosed,
            TransportError::Proxy(_) => Reason::ProxyHeader,
            TransportError::Tls(_) => Reason::Tls,
            TransportError::WebSocket(_) => Reason::WebSocket,
        }
    }
}

impl Daemon {
    /// Serves a connection whose layers have to come up first.
    pub(super) fn wrap(
        &mut self,
        agent: u8,
        socket: Socket,
        options: ConnectionOptions,
        then: Then,
        turn: &mut Turn<Self>,
    ) {
        let listener = &self.transports.listeners[usize::from(agent)];
        let (transport, peer) = (Transport::new(&listener.layers), socket.peer);
        let connection = turn.attach(socket, options);
        let transport = match transport {
            Ok(transport) => transport,
            Err(error) => {
                tracing::error!(agent, %peer, %error, "a connection cannot be served");
                turn.close(connection, Close::Now);
                self.abandon(agent, &then, Reason::Tls, turn);
                return;
            }
        };
        let first_us = if listener.layers.proxy { listener.proxy_timeout_us } else { listener.handshake_timeout_us };
        let deadline_us = turn.now_us().saturating_add(first_us);
        turn.timer(deadline_us, RoleTimer::Handshake(connection));
        let opening = Some(Opening { deadline_us, then });
        self.transports
            .open
            .insert(connection, Wrapped { transport, agent, opening, rest: Vec::new(), is_dirty: false });
        self.owners.insert(connection, Owner::Wrapped);
    }

    /// Bytes of a wrapped connection: what they mean to the layers, and what the layers let through to the session.
    pub(super) fn receive_wrapped(&mut self, connection: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize {
        let Some(wrapped) = self.transports.open.get_mut(&connection) else { return bytes.len() };
        let mut plaintext = std::mem::take(&mut self.transports.plaintext);
        plaintext.clear();
        plaintext.append(&mut wrapped.rest);
        wrapped.rest = Vec::new();
        let had_header = wrapped.transport.proxied().is_some();
        let received = catch_unwind(AssertUnwindSafe(|| wrapped.transport.receive(bytes, &mut plaintext)));
        let Ok((used, outcome)) = received else {
            self.outbox.metrics.panics += 1;
            tracing::error!(connection = connection.0, "a transport panicked; its connection ends");
            self.end_wrapped(connection, Reason::InternalError, Close::Now, turn);
            return bytes.len();
        };
        wrapped.transport.flush(|bytes| turn.write(connection, bytes));
        if !had_header
            && wrapped.transport.proxied().is_some()
            && let Some(opening) = &mut wrapped.opening
        {
            let listener = &self.transports.listeners[usize::from(wrapped.agent)];
            opening.deadline_us = turn.now_us().saturating_add(listener.handshake_timeout_us);
        }
        if wrapped.transport.is_ready()
            && let Some(opening) = wrapped.opening.take()
        {
            self.opened(connection, opening.then, turn);
        }
        if !plaintext.is_empty() {
            let taken = self.client_agents.on_received(connection, &plaintext, &mut self.outbox);
            self.carry_out(turn);
            if let Some(wrapped) = self.transports.open.get_mut(&connection) {
                wrapped.rest.extend_from_slice(&plaintext[taken..]);
            }
        }
        if let Err(error) = outcome {
            tracing::debug!(connection = connection.0, %error, "a connection ends");
            let listener_linger_us = self.transports.open.get(&connection).map(|wrapped| usize::from(wrapped.agent));
            let us = listener_linger_us.map_or(0, |agent| self.transports.listeners[agent].linger_us);
            self.end_wrapped(connection, error.reason(), Close::Linger { us }, turn);
        }
        if plaintext.capacity() <= KEEP_PLAINTEXT_BYTES {
            self.transports.plaintext = plaintext;
        }
        used
    }

    /// The layers are up.
    fn opened(&mut self, connection: ConnectionId, then: Then, turn: &mut Turn<Self>) {
        let Some(wrapped) = self.transports.open.get(&connection) else { return };
        let agent = wrapped.agent;
        match then {
            Then::Adopt { channel, peer, local } => {
                let mut origin = Origin { is_wrapped: true, ..Origin::direct(peer, local) };
                match wrapped.transport.proxied() {
                    Some(Proxied::Local) => origin.is_health_check = true,
                    Some(Proxied::Client { remote, local, tlvs }) => {
                        (origin.peer, origin.local, origin.tlvs) = (*remote, *local, tlvs.clone());
                        origin.is_proxied = true;
                    }
                    None => {}
                }
                self.client_agents.adopt(agent, channel, connection, origin, &mut self.outbox);
                self.carry_out(turn);
            }
            Then::Refuse { frame, close } => {
                self.transports.write(connection, &frame, turn);
                self.owners.remove(&connection);
                self.transports.close(connection, close, turn);
                turn.close(connection, close);
            }
        }
    }

    /// The layers end the connection.
    fn end_wrapped(&mut self, connection: ConnectionId, reason: Reason, close: Close, turn: &mut Turn<Self>) {
        let Some(wrapped) = self.transports.open.get_mut(&connection) else { return };
        let agent = wrapped.agent;
        match wrapped.opening.take() {
            Some(opening) => {
                self.owners.remove(&connection);
                self.transports.close(connection, close, turn);
                turn.close(connection, close);
                self.abandon(agent, &opening.then, reason, turn);
            }
            None => {
                // The session ends, and asks for the connection's end.
                self.client_agents.on_broken(connection, reason, close, &mut self.outbox);
                self.carry_out(turn);
            }
        }
    }

    /// Ends every connection whose layers are not up yet.
    pub(super) fn abandon_handshakes(&mut self, reason: Reason, turn: &mut Turn<Self>) {
        let open = self.transports.open.iter();
        let opening: Vec<_> =
            open.filter(|(_, wrapped)| wrapped.opening.is_some()).map(|(&connection, _)| connection).collect();
        for connection in opening {
            self.end_wrapped(connection, reason, Close::Now, turn);
        }
    }

    /// A connection that never had a session.
    fn abandon(&mut self, agent: u8, then: &Then, reason: Reason, turn: &mut Turn<Self>) {
        self.outbox.metrics.count_closed(reason);
        if let Then::Adopt { channel, .. } = then {
            self.client_agents.give_back(agent, *channel, &mut self.outbox);
            self.carry_out(turn);
        }
    }

    /// The peer has ended a wrapped connection.
    pub(super) fn wrapped_closed(&mut self, connection: ConnectionId, cause: CloseCause, turn: &mut Turn<Self>) {
        let Some(wrapped) = self.transports.open.remove(&connection) else { return };
        match wrapped.opening {
            Some(opening) => self.abandon(wrapped.agent, &opening.then, super::links::reason_of(&cause), turn),
            None => {
                self.client_agents.on_closed(connection, cause, &mut self.outbox);
                self.carry_out(turn);
            }
        }
    }

    /// The time for the layers is over, unless they are up.
    pub(super) fn handshake_timeout(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        if self.tls_link_timeout(connection, turn) {
            return;
        }
        let opening = self.transports.open.get(&connection).and_then(|wrapped| wrapped.opening.as_ref());
        match opening.map(|opening| opening.deadline_us) {
            Some(deadline_us) if deadline_us > turn.now_us() => {
                turn.timer(deadline_us, RoleTimer::Handshake(connection));
            }
            Some(_) => self.end_wrapped(connection, Reason::HandshakeTimeout, Close::Now, turn),
            None => {}
        }
    }
}
