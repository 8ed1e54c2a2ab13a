//! Links through TLS, accepted or dialled: how they come up, how bytes pass through them, how they end.
//!
//! An accepted link is one when its handshake is over: before, it holds no subscription and nobody hears of it. What the
//! handlers of one turn write to a link is encrypted together when the turn ends, in few records. What was decrypted and
//! must wait, behind a subscription for instance, waits here; the socket is not read meanwhile. A plain link never comes
//! here.

use super::{Daemon, LINK_ACCEPTOR, Message, Owner, Source};
use crate::reason::Reason;
use crate::transport::websocket::Framed;
use crate::transport::{Layers, TlsSide, Transport, TransportError};
use crate::wire::next_frame;
use bytes::{Buf, Bytes, BytesMut};
use donet_shards::{Close, CloseCause, ConnectionId, ConnectionOptions, Socket, Turn};
use hashbrown::HashMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Accepted links whose handshakes one executor has under way at most: some ten KiB each, for as long as the timeout.
const HANDSHAKES_MAX: usize = 1024;
/// So much is encrypted before the turn ends: it fills records, and the memory is used again.
const SEAL_BYTES: usize = 64 * 1024;
/// Memory for the plaintext of one read; more is given back.
const KEEP_PLAINTEXT_BYTES: usize = 256 * 1024;
/// How long a link that we end may take to read why.
const LINGER_US: u64 = 1_000_000;

/// The links of one executor that go through TLS.
#[derive(Debug, Default)]
pub(super) struct TlsLinks {
    open: HashMap<ConnectionId, TlsLink>,
    /// Those with plaintext for the end of the turn.
    dirty: Vec<ConnectionId>,
    /// Accepted ones that are shaking hands.
    handshakes: usize,
    /// Kept for its memory.
    plaintext: Vec<u8>,
    framed: Framed,
}

#[derive(Debug)]
struct TlsLink {
    transport: Transport,
    peer: SocketAddr,
    is_upstream: bool,
    stage: Stage,
    options: ConnectionOptions,
    /// Plaintext that is not used yet: the beginning of a frame, and whole ones while the link is paused.
    rest: BytesMut,
    is_dirty: bool,
    /// How it ends when `rest` has been used.
    end: Option<TransportError>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Being dialled.
    Dialled,
    Handshake {
        deadline_us: u64,
    },
    Up,
}

impl TlsLinks {
    fn insert(&mut self, connection: ConnectionId, link: TlsLink) {
        self.handshakes += usize::from(link.is_shaking_hands());
        self.open.insert(connection, link);
    }

    fn remove(&mut self, connection: ConnectionId) -> Option<TlsLink> {
        let link = self.open.remove(&connection)?;
        self.handshakes -= usize::from(link.is_shaking_hands());
        Some(link)
    }

    /// The link has ended for another reason than TLS.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        self.remove(connection);
    }

    pub(super) fn contains(&self, connection: ConnectionId) -> bool {
        self.open.contains_key(&connection)
    }

    /// Encrypts what the handlers of this turn have written.
    pub(super) fn seal(&mut self, turn: &mut Turn<Daemon>) {
        for connection in self.dirty.drain(..) {
            let Some(link) = self.open.get_mut(&connection) else { continue };
            link.is_dirty = false;
            link.flush(connection, turn);
        }
    }
}

impl TlsLink {
    fn new(side: TlsSide, peer: SocketAddr, stage: Stage, options: ConnectionOptions) -> Result<Self, rustls::Error> {
        let is_upstream = matches!(side, TlsSide::Client(..));
        let transport = Transport::new(&Layers { tls: Some(side), ..Layers::default() })?;
        Ok(Self { transport, peer, is_upstream, stage, options, rest: BytesMut::new(), is_dirty: false, end: None })
    }

    /// Whether it counts among the accepted ones that are not up yet.
    fn is_shaking_hands(&self) -> bool {
        !self.is_upstream && self.stage != Stage::Up
    }

    fn flush(&mut self, connection: ConnectionId, turn: &mut Turn<Daemon>) {
        self.transport.flush(|bytes| turn.write(connection, bytes));
    }
}

impl Daemon {
    /// Serves an accepted link, whose handshake comes first.
    pub(super) fn adopt_tls_link(&mut self, socket: Socket, side: TlsSide, turn: &mut Turn<Self>) {
        let (peer, options) = (socket.peer, self.links.options());
        let deadline_us = turn.now_us().saturating_add(self.links.handshake_timeout_us());
        let refused = match TlsLink::new(side, peer, Stage::Handshake { deadline_us }, options) {
            Ok(_) if self.tls_links.handshakes >= HANDSHAKES_MAX => {
                (Reason::TooManyHandshakes, "too many others shake hands".to_owned())
            }
            Ok(link) => {
                let connection = turn.attach(socket, options);
                self.tls_links.insert(connection, link);
                self.owners.insert(connection, Owner::TlsLink);
                turn.timer(deadline_us, crate::outbox::RoleTimer::Handshake(connection));
                return;
            }
            Err(error) => (Reason::Tls, error.to_string()),
        };
        self.refuse_tls_link(peer, refused.0, &refused.1, turn);
    }

    /// An accepted link never came up.
    fn refuse_tls_link(&mut self, peer: SocketAddr, reason: Reason, what: &str, turn: &mut Turn<Self>) {
        tracing::warn!(%peer, reason = reason.name(), "link refused: {what}");
        self.outbox.metrics.count_closed(reason);
        turn.send(LINK_ACCEPTOR, Message::LinkEnded);
    }

    /// Begins the handshake of a connection that is being dialled.
    pub(super) fn dial_tls_link(
        &mut self,
        connection: ConnectionId,
        peer: SocketAddr,
        side: TlsSide,
        options: ConnectionOptions,
        turn: &mut Turn<Self>,
    ) -> Result<(), rustls::Error> {
        let mut link = TlsLink::new(side, peer, Stage::Dialled, options)?;
        // It waits for the connection to stand.
        link.flush(connection, turn);
        self.tls_links.insert(connection, link);
        Ok(())
    }

    /// A dialled connection stands: the other side has so long to answer.
    pub(super) fn tls_link_connected(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        let Some(link) = self.tls_links.open.get_mut(&connection) else { return };
        let deadline_us = turn.now_us().saturating_add(self.links.handshake_timeout_us());
        link.stage = Stage::Handshake { deadline_us };
        turn.timer(deadline_us, crate::outbox::RoleTimer::Handshake(connection));
    }

    /// Writes frames to a link through TLS.
    pub(super) fn write_tls(&mut self, connection: ConnectionId, frames: &Bytes, turn: &mut Turn<Self>) {
        let Some(link) = self.tls_links.open.get_mut(&connection) else { return };
        let before = link.transport.unsealed_bytes();
        link.transport.send(frames, &mut self.tls_links.framed, |_| {});
        let after = link.transport.unsealed_bytes();
        if link.stage == Stage::Up {
            if after >= SEAL_BYTES {
                link.flush(connection, turn);
            } else if !std::mem::replace(&mut link.is_dirty, true) {
                self.tls_links.dirty.push(connection);
            }
            return;
        }
        // What waits for the handshake has the limits of what waits for the socket.
        let (high_water, budget) = (link.options.high_water_bytes, link.options.write_budget_bytes);
        if before <= high_water && after > high_water {
            self.on_congested(connection, turn);
        }
        if after > budget {
            self.end_tls_link(connection, Reason::WriteBudget, super::links::what_of(&CloseCause::WriteBudget), turn);
        }
    }

    /// Bytes of a link's socket. All of them are used; what they hold may wait here.
    pub(super) fn receive_tls(&mut self, connection: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize {
        let Some(link) = self.tls_links.open.get_mut(&connection) else { return bytes.len() };
        let mut plaintext = std::mem::take(&mut self.tls_links.plaintext);
        plaintext.clear();
        plaintext.extend_from_slice(&std::mem::take(&mut link.rest));
        let received = catch_unwind(AssertUnwindSafe(|| link.transport.receive(bytes, &mut plaintext)));
        let Ok((_, outcome)) = received else {
            self.outbox.metrics.panics += 1;
            tracing::error!(connection = connection.0, "a transport panicked; its link ends");
            self.end_tls_link(connection, Reason::InternalError, "its transport panicked".to_owned(), turn);
            return bytes.len();
        };
        link.flush(connection, turn);
        link.end = outcome.err();
        if link.stage != Stage::Up && link.transport.is_ready() && link.end.is_none() {
            self.tls_link_is_up(connection, turn);
        }
        let used = self.read_plaintext(connection, &plaintext, turn);
        self.keep_rest(connection, BytesMut::from(&plaintext[used..]), turn);
        if plaintext.capacity() <= KEEP_PLAINTEXT_BYTES {
            self.tls_links.plaintext = plaintext;
        }
        bytes.len()
    }

    fn tls_link_is_up(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        let Some(mut link) = self.tls_links.remove(connection) else { return };
        link.stage = Stage::Up;
        let (peer, is_upstream, is_full) =
            (link.peer, link.is_upstream, link.transport.unsealed_bytes() > link.options.high_water_bytes);
        // What waited for it is what the socket has to take now.
        link.flush(connection, turn);
        self.tls_links.insert(connection, link);
        if !is_upstream {
            self.open_link(connection, peer, Owner::TlsLink);
            return;
        }
        self.on_upstream_up(connection, turn);
        if is_full {
            self.relieve(connection, turn);
        }
    }

    /// Hands what was decrypted to the link. Returns how much it has used.
    fn read_plaintext(&mut self, connection: ConnectionId, plaintext: &[u8], turn: &mut Turn<Self>) -> usize {
        match self.owners.get(&connection) {
            Some(Owner::TlsLink) => self.read_link_contained(connection, plaintext, turn),
            Some(Owner::TlsUpstream) => self.read_upstream_contained(connection, plaintext, turn),
            _ => plaintext.len(),
        }
    }

    fn keep_rest(&mut self, connection: ConnectionId, rest: BytesMut, turn: &mut Turn<Self>) {
        let Some(link) = self.tls_links.open.get_mut(&connection) else { return };
        // Where whole frames are left the link is paused, and its end comes behind them.
        let has_frames = next_frame(&rest).is_some();
        link.rest = rest;
        if !has_frames && let Some(end) = link.end.take() {
            let reason = end.reason();
            if reason == Reason::PeerClosed {
                link.transport.close();
                link.flush(connection, turn);
            }
            self.end_tls_link(connection, reason, end.to_string(), turn);
        }
    }

    /// Reads a connection again that was paused, what was decrypted before first.
    pub(super) fn read_on(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        turn.resume(connection);
        let Some(link) = self.tls_links.open.get_mut(&connection) else { return };
        if self.back_pressure.is_paused(connection) {
            turn.pause(connection);
            return;
        }
        let mut rest = std::mem::take(&mut link.rest);
        self.source = Some(Source { shard: turn.shard(), connection });
        let used = self.read_plaintext(connection, &rest, turn);
        // Not copied: it may be resumed once for every frame.
        rest.advance(used);
        self.keep_rest(connection, rest, turn);
    }

    /// We end a link.
    fn end_tls_link(&mut self, connection: ConnectionId, reason: Reason, what: String, turn: &mut Turn<Self>) {
        self.owners.remove(&connection);
        turn.close(connection, Close::Linger { us: LINGER_US });
        self.tls_link_ended(connection, reason, what, turn);
    }

    /// A link has ended.
    fn tls_link_ended(&mut self, connection: ConnectionId, reason: Reason, what: String, turn: &mut Turn<Self>) {
        let Some(link) = self.tls_links.remove(connection) else { return };
        if link.is_upstream {
            self.relieve(connection, turn);
            self.on_upstream_lost(connection, reason, &what, turn);
        } else if link.stage == Stage::Up {
            if reason == Reason::Tls {
                tracing::warn!(connection = connection.0, peer = %link.peer, "the link is broken: {what}");
            }
            self.end_link(connection, reason, turn);
        } else {
            self.refuse_tls_link(link.peer, reason, &what, turn);
        }
    }

    /// The peer has ended a link, or the system has.
    pub(super) fn tls_link_closed(&mut self, connection: ConnectionId, cause: &CloseCause, turn: &mut Turn<Self>) {
        let (reason, what) = (super::links::reason_of(cause), super::links::what_of(cause));
        self.tls_link_ended(connection, reason, what, turn);
    }

    /// The time for a link's handshake is over, unless it is up. Whether the connection is a link at all.
    pub(super) fn tls_link_timeout(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) -> bool {
        let Some(link) = self.tls_links.open.get(&connection) else { return false };
        if matches!(link.stage, Stage::Handshake { deadline_us } if deadline_us <= turn.now_us()) {
            let what = "TLS: no handshake within handshake_timeout_ms; does the other side speak TLS?";
            self.end_tls_link(connection, Reason::HandshakeTimeout, what.to_owned(), turn);
        }
        true
    }
}
