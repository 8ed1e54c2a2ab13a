//! The link to the upstream Message Director (`protocol-md-ca-el.md` §2.1, §2.5, §2.8).
//!
//! One executor owns it. The others hand it, by the mesh, every datagram that a participant of theirs publishes and every
//! change of their subscriptions and post-removes; the mesh keeps cause before effect, so the bytes of the link do too: a
//! subscription is on its way before anything that follows it (G4), and a datagram before its consequences (G2). What
//! comes from upstream is routed as from any link, and never sent back up.

use super::{Daemon, LINK_ACCEPTOR, Message, Owner, Source};
use crate::config;
use crate::message_director::{Link, Reached, UpstreamNews, UpstreamTable};
use crate::outbox::Participant;
use crate::reason::Reason;
use crate::reload::Reloadable;
use crate::transport::TlsSide;
use crate::wire::{CONTROL, Channel, Datagram};
use bytes::Bytes;
use donet_shards::{ConnectionId, ConnectionOptions, Dial, ShardId, Turn};
use std::net::SocketAddr;

/// The executor that owns the upstream link.
pub(super) const UPSTREAM_HOME: ShardId = LINK_ACCEPTOR;
/// The upstream link as a sender, whichever connection it is at the moment: their numbers begin with 1.
pub(super) const UPSTREAM: Participant = Participant::Link { shard: UPSTREAM_HOME, connection: ConnectionId(0) };

/// At the start, the upstream daemon may be starting too: it is tried for so long. A refusal must be told within 2 s.
const START_PATIENCE_US: u64 = 1_200_000;
/// The pause before a lost link is dialled again, at first; it doubles while nobody answers or links do not last.
const REDIAL_US_MIN: u64 = 50_000;
const REDIAL_US_MAX: u64 = 5_000_000;
/// A link that stood for so long has lasted.
const LASTING_US: u64 = 10_000_000;

/// Where the link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The first dial. What is sent waits for it, in order (MD-28).
    Starting,
    Up {
        since_us: u64,
    },
    /// Being dialled again. What is published meanwhile does not go up; the new link is told of all subscriptions.
    Down,
}

/// The upstream link, on the executor that owns it.
#[derive(Debug)]
pub(super) struct Upstream {
    address: SocketAddr,
    reconnect: bool,
    options: ConnectionOptions,
    /// Of the next link.
    tls: Option<TlsSide>,
    pub(super) connection: ConnectionId,
    /// Whether the present one goes through TLS.
    is_tls: bool,
    state: State,
    /// Datagrams written to the first link before it stood: lost, if it never does.
    hoping: u64,
    redial_us: u64,
    table: UpstreamTable,
    /// Frames of the news at hand; kept for its memory.
    frames: Vec<Bytes>,
}

impl Upstream {
    pub(super) fn new(
        settings: &config::MessageDirector,
        options: ConnectionOptions,
        reloadable: &Reloadable,
    ) -> Option<Self> {
        Some(Self {
            address: settings.upstream?,
            reconnect: settings.upstream_reconnect,
            options,
            tls: tls_of(reloadable),
            connection: ConnectionId(0),
            is_tls: false,
            state: State::Starting,
            hoping: 0,
            redial_us: REDIAL_US_MIN,
            table: UpstreamTable::default(),
            frames: Vec::new(),
        })
    }

    /// The next link gets these limits and certificates.
    pub(super) fn reload(&mut self, options: ConnectionOptions, reloadable: &Reloadable) {
        self.options = options;
        self.tls = tls_of(reloadable);
    }

    fn is_written_to(&self) -> bool {
        self.state != State::Down
    }
}

fn tls_of(reloadable: &Reloadable) -> Option<TlsSide> {
    reloadable.upstream_tls.clone().map(|(config, name)| TlsSide::Client(config, name))
}

impl Daemon {
    /// Begins to connect, and says what the roles themselves are subscribed to.
    pub(super) fn start_upstream(&mut self, turn: &mut Turn<Self>) {
        if self.upstream.is_none() {
            return;
        }
        self.dial_upstream(Dial { delay_us: 0, patience_us: START_PATIENCE_US }, turn);
        for channel in self.router.homes.role_channels() {
            self.on_upstream_news(
                turn.shard(),
                UpstreamNews::Channel { channel, reached: Reached::Objects, present: true },
                turn,
            );
        }
        for (participant, first, last) in self.router.homes.role_ranges() {
            self.on_upstream_news(turn.shard(), UpstreamNews::RangeAdded { participant, first, last }, turn);
        }
    }

    /// The daemon cannot go on.
    fn fail(&mut self, text: String, turn: &mut Turn<Self>) {
        tracing::error!("{text}");
        if !std::mem::replace(&mut self.is_ending, true) {
            self.log_figures(turn);
        }
        turn.fail(text);
    }

    fn dial_upstream(&mut self, dial: Dial, turn: &mut Turn<Self>) {
        let Some(upstream) = &mut self.upstream else { return };
        let (address, options, tls) = (upstream.address, upstream.options, upstream.tls.clone());
        let connection = turn.dial(address, dial, options);
        upstream.connection = connection;
        upstream.is_tls = tls.is_some();
        self.links.adopt_upstream(connection, address);
        self.owners.insert(connection, if tls.is_some() { Owner::TlsUpstream } else { Owner::Upstream });
        if let Some(side) = tls
            && let Err(error) = self.dial_tls_link(connection, address, side, options, turn)
        {
            self.fail(
                format!("no TLS connection to the upstream Message Director {address} can be made: {error}"),
                turn,
            );
        }
    }

    fn write_upstream(&mut self, frames: &Bytes, turn: &mut Turn<Self>) {
        let Some(upstream) = &self.upstream else { return };
        match upstream.is_tls {
            false => turn.write(upstream.connection, frames.clone()),
            true => self.write_tls(upstream.connection, frames, turn),
        }
        self.link_traffic.count(frames.len());
    }

    /// Tells the executor with the upstream link, if there is one.
    pub(super) fn tell_upstream(&self, news: UpstreamNews, turn: &mut Turn<Self>) {
        if self.has_upstream {
            turn.send(UPSTREAM_HOME, Message::Upstream(news));
        }
    }

    /// Objects of this executor are reached by a channel from now on, or not any more.
    pub(super) fn reach(&self, channel: Channel, present: bool, turn: &mut Turn<Self>) {
        self.tell_upstream(UpstreamNews::Channel { channel, reached: Reached::Objects, present }, turn);
    }

    pub(super) fn on_upstream_news(&mut self, from: ShardId, news: UpstreamNews, turn: &mut Turn<Self>) {
        let Some(upstream) = &mut self.upstream else { return };
        let mut frames = std::mem::take(&mut upstream.frames);
        upstream.table.apply(from, news, &mut frames);
        for frame in frames.drain(..) {
            if self.upstream.as_ref().is_some_and(Upstream::is_written_to) {
                self.write_upstream(&frame, turn);
            }
        }
        if let Some(upstream) = &mut self.upstream {
            upstream.frames = frames;
        }
    }

    /// Sends a datagram of this daemon's up: unconditionally (§2.5), but for what the parent would take for a control
    /// message (§2.9).
    pub(super) fn forward_upstream(
        &mut self,
        from: Participant,
        datagram: &Datagram,
        source: Option<Source>,
        turn: &mut Turn<Self>,
    ) {
        if self.upstream.is_some() && from != UPSTREAM && datagram.recipients().eq([CONTROL]) {
            tracing::debug!(?from, "a role's datagram to the control channel does not go upstream");
        } else {
            self.forward_frames_upstream(from, datagram.frame(), 1, source, turn);
        }
    }

    /// [`Daemon::forward_upstream`] for the frames of so many datagrams, none of which is for the control channel.
    pub(super) fn forward_frames_upstream(
        &mut self,
        from: Participant,
        frames: &Bytes,
        datagrams: u64,
        source: Option<Source>,
        turn: &mut Turn<Self>,
    ) {
        let Some(upstream) = &mut self.upstream else { return };
        if from == UPSTREAM {
            return;
        }
        if upstream.state == State::Starting {
            upstream.hoping += datagrams;
        }
        if upstream.is_written_to() {
            let connection = upstream.connection;
            self.write_upstream(frames, turn);
            self.blame(connection, source, turn);
        } else {
            self.outbox.metrics.upstream_datagrams_lost += datagrams;
        }
    }

    /// The connection stands; through TLS the link is up when its handshake is over.
    pub(super) fn on_upstream_connected(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        if self.tls_links.contains(connection) {
            self.tls_link_connected(connection, turn);
        } else {
            self.on_upstream_up(connection, turn);
        }
    }

    pub(super) fn on_upstream_up(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        let now_us = turn.now_us();
        let Some(upstream) = self.upstream.as_mut().filter(|upstream| upstream.connection == connection) else {
            return;
        };
        let was_down = upstream.state == State::Down;
        upstream.state = State::Up { since_us: now_us };
        let (is_tls, channels) = (upstream.is_tls, upstream.table.channels());
        tracing::info!(upstream = %upstream.address, channels, tls = is_tls, "upstream link established");
        if was_down {
            let frames: Vec<Bytes> = upstream.table.replay().collect();
            for frame in frames {
                self.write_upstream(&frame, turn);
            }
            // What they ask comes behind that.
            for shard in 0..turn.shards() {
                turn.send(ShardId(shard as u16), Message::UpstreamAgain);
            }
        }
    }

    /// The upstream link is gone, or could not be had: the daemon ends with it, unless it is to be dialled again (§2.8).
    pub(super) fn on_upstream_lost(
        &mut self,
        connection: ConnectionId,
        reason: Reason,
        what: &str,
        turn: &mut Turn<Self>,
    ) {
        self.links.open.remove(&connection);
        let now_us = turn.now_us();
        let Some(upstream) = self.upstream.as_mut().filter(|upstream| upstream.connection == connection) else {
            return;
        };
        let address = upstream.address;
        // An attempt that is refused says what is known.
        let is_news = upstream.state != State::Down || reason != Reason::SocketError;
        if is_news {
            self.outbox.metrics.count_closed(reason);
        }
        if !upstream.reconnect {
            let has_failed = if upstream.state == State::Starting { "cannot be reached" } else { "is lost" };
            let remedy = match (upstream.state, reason) {
                (_, Reason::Tls | Reason::HandshakeTimeout) => {
                    "[services.message_director.tls] here and there must fit: certificates, authorities, names"
                }
                (State::Starting, _) => "start it first, or set upstream_reconnect = true to keep trying",
                _ => "with upstream_reconnect = true the daemon would go on and connect again",
            };
            let text = format!("the upstream Message Director {address} {has_failed}: {what}; {remedy}");
            self.fail(text, turn);
            return;
        }
        match upstream.state {
            State::Up { since_us } if now_us.saturating_sub(since_us) >= LASTING_US => {
                upstream.redial_us = REDIAL_US_MIN
            }
            _ => upstream.redial_us = (upstream.redial_us * 2).min(REDIAL_US_MAX),
        }
        if is_news {
            tracing::warn!(upstream = %address, "upstream link lost: {what}; it is dialled again");
        } else {
            tracing::debug!(upstream = %address, "dialling failed: {what}; it is tried again");
        }
        if upstream.state == State::Starting {
            self.outbox.metrics.upstream_datagrams_lost += upstream.hoping;
        }
        upstream.state = State::Down;
        let dial = Dial { delay_us: upstream.redial_us, patience_us: 0 };
        self.dial_upstream(dial, turn);
        self.outbox.metrics.upstream_redials += 1;
    }

    /// Routes what has come from upstream, up to what a session's subscription holds back. Returns how many bytes were
    /// used.
    pub(super) fn read_upstream(&mut self, connection: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize {
        let mut used = 0;
        while let Some((body, length)) = crate::wire::next_frame(&bytes[used..]) {
            if self.has_barriers(connection, turn) {
                turn.pause(connection);
                return used;
            }
            if let Some(run) = self.run_of_link(&bytes[used..], turn) {
                used += run.frames().len();
                self.publish_run(UPSTREAM, run, turn);
                continue;
            }
            used += length;
            // Recipients [1] too: control messages only go up (MD-22). What cannot be read costs itself (§2.5).
            match Datagram::from_body(body) {
                Ok(datagram) => self.publish_from_link(connection, UPSTREAM, datagram, turn),
                Err(error) => {
                    self.outbox.metrics.datagrams_malformed += 1;
                    tracing::warn!(%error, "a datagram from upstream is dropped");
                }
            }
        }
        used
    }

    /// A handler panicked over what came from upstream: the datagrams of this read are lost, the link stays.
    pub(super) fn read_upstream_contained(
        &mut self,
        connection: ConnectionId,
        bytes: &[u8],
        turn: &mut Turn<Self>,
    ) -> usize {
        let read = std::panic::AssertUnwindSafe(|| self.read_upstream(connection, bytes, turn));
        let used = std::panic::catch_unwind(read).unwrap_or_else(|_| {
            self.outbox.metrics.panics += 1;
            tracing::error!(reason = Reason::InternalError.name(), "a handler panicked over what came from upstream");
            bytes.len()
        });
        self.link_traffic.count(used);
        used
    }
}

impl super::links::Links {
    pub(super) fn adopt_upstream(&mut self, connection: ConnectionId, address: SocketAddr) {
        let link = Link { peer: address.to_string(), ..Link::default() };
        self.open.insert(connection, link);
    }
}
