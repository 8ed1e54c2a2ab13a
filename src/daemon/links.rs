//! The links of one executor: accepting them, reading them, ending them.

use super::back_pressure::UNDER_WAY_BYTES;
use super::link_load::LinkLoads;
use super::upstream::UPSTREAM_HOME;
use super::{Daemon, Message, Owner, Source};
use crate::config;
use crate::faults::{Fault, seeded};
use crate::message_director::{Link, LinkOutcome, UpstreamNews, allows};
use crate::outbox::Participant;
use crate::reason::Reason;
use crate::reload::Reloadable;
use crate::transport::TlsSide;
use crate::wire::{Datagram, message_type as t, message_type_of, next_frame};
use bytes::Bytes;
use donet_shards::{Close, CloseCause, ConnectionId, ConnectionOptions, Socket, Turn};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Links that receive the same; most messages have one.
pub(super) type LinkList = SmallVec<[ConnectionId; 2]>;

/// The links of one executor; on the acceptor also what each executor has to do for its own.
#[derive(Debug)]
pub(super) struct Links {
    options: ConnectionOptions,
    allow: Vec<config::Cidr>,
    /// With the peers that speak plain TCP all the same.
    tls: Option<(Arc<rustls::ServerConfig>, Vec<config::Cidr>)>,
    handshake_timeout_us: u64,
    pub(super) open: HashMap<ConnectionId, Link>,
    /// On the acceptor: where the next one is served.
    pub(super) loads: LinkLoads,
}

impl Links {
    pub(super) fn new(settings: Option<&config::MessageDirector>, reloadable: &Reloadable, shards: usize) -> Self {
        let mut this = Self {
            options: ConnectionOptions::default(),
            allow: Vec::new(),
            tls: None,
            handshake_timeout_us: 0,
            open: HashMap::new(),
            loads: LinkLoads::new(shards),
        };
        if settings.is_some_and(|settings| settings.upstream.is_some()) {
            this.loads.add(UPSTREAM_HOME);
        }
        this.reload(settings, reloadable);
        this
    }

    /// New links get these limits and certificates, and pass this list; those there are keep theirs.
    pub(super) fn reload(&mut self, settings: Option<&config::MessageDirector>, reloadable: &Reloadable) {
        let Some(settings) = settings else { return };
        self.options = options_of(settings);
        self.allow = settings.allow.clone();
        let tls = settings.tls.as_ref();
        self.tls = reloadable.link_tls.clone().zip(tls.map(|tls| tls.plain_from.clone()));
        if let Some(tls) = tls {
            self.handshake_timeout_us = tls.handshake_timeout.as_micros() as u64;
        }
    }

    /// What goes around the bytes of a link from this address.
    fn tls_for(&self, peer: IpAddr) -> Option<TlsSide> {
        let (config, plain_from) = self.tls.as_ref()?;
        let is_plain = !plain_from.is_empty() && allows(plain_from, peer);
        (!is_plain).then(|| TlsSide::Server(config.clone()))
    }

    pub(super) fn handshake_timeout_us(&self) -> u64 {
        self.handshake_timeout_us
    }

    /// The links that this executor serves.
    pub(super) fn open(&self) -> impl Iterator<Item = (&ConnectionId, &Link)> {
        self.open.iter()
    }

    /// The limits of a link, the upstream one included.
    pub(super) fn options(&self) -> ConnectionOptions {
        self.options
    }
}

fn options_of(settings: &config::MessageDirector) -> ConnectionOptions {
    ConnectionOptions {
        high_water_bytes: settings.link_budget_bytes,
        write_budget_bytes: 2 * settings.link_budget_bytes + UNDER_WAY_BYTES,
        write_timeout_us: settings.link_stall_timeout.as_micros() as u64,
        gather_us: 0,
    }
}

/// The reason for an end that the application did not cause.
pub(super) fn reason_of(cause: &CloseCause) -> Reason {
    match cause {
        CloseCause::EndOfFile => Reason::PeerClosed,
        CloseCause::Error(_) => Reason::SocketError,
        CloseCause::WriteBudget => Reason::WriteBudget,
        CloseCause::WriteTimeout => Reason::WriteTimeout,
    }
}

/// [`reason_of`] in words, of a link.
pub(super) fn what_of(cause: &CloseCause) -> String {
    match cause {
        CloseCause::EndOfFile => "it has closed the link".to_owned(),
        CloseCause::Error(text) => text.clone(),
        CloseCause::WriteBudget => "it does not read what it is sent (write_budget)".to_owned(),
        CloseCause::WriteTimeout => {
            "it has not read what it is sent for link_stall_timeout_ms (write_timeout)".to_owned()
        }
    }
}

/// The token of a barrier; a link's own subscriptions have 0.
pub(super) const BARRIER: u64 = 1;

/// Whether a session that receives this subscribes to a channel that the sender knows (§3.8: 1001, 1100).
pub(super) fn makes_sessions_subscribe(body: &[u8]) -> bool {
    let message_type = message_type_of(body);
    matches!(message_type, Some(t::CLIENTAGENT_SET_CLIENT_ID | t::CLIENTAGENT_OPEN_CHANNEL))
}

impl Daemon {
    /// One executor's sessions are subscribed; when all are, the link goes on.
    pub(super) fn pass_barrier(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        if let Some(link) = self.links.open.get_mut(&connection) {
            link.barriers -= 1;
            if link.barriers == 0 {
                self.read_on(connection, turn);
            }
        }
    }

    /// Whether the link waits for sessions to be subscribed; without other executors they always are.
    pub(super) fn has_barriers(&self, connection: ConnectionId, turn: &Turn<Self>) -> bool {
        turn.shards() > 1 && self.links.open.get(&connection).is_some_and(|link| link.barriers > 0)
    }

    pub(super) fn accept_link(&mut self, socket: Socket, turn: &mut Turn<Self>) {
        if !allows(&self.links.allow, socket.peer.ip()) {
            tracing::warn!(peer = %socket.peer, "link refused: the address is not on the allow-list");
            self.outbox.metrics.count_closed(Reason::NotAllowed);
            return;
        }
        let shard = self.links.loads.claim(turn.now_us());
        turn.send(shard, Message::AdoptLink(Box::new(socket)));
    }

    pub(super) fn adopt_link(&mut self, socket: Socket, turn: &mut Turn<Self>) {
        let peer = socket.peer;
        if let Some(tls) = self.links.tls_for(peer.ip()) {
            self.adopt_tls_link(socket, tls, turn);
            return;
        }
        let connection = turn.attach(socket, self.links.options);
        self.open_link(connection, peer, Owner::Link);
    }

    /// A link stands.
    pub(super) fn open_link(&mut self, connection: ConnectionId, peer: SocketAddr, owner: Owner) {
        let peer = peer.to_string();
        let shard = self.outbox.shard.0;
        tracing::info!(shard, connection = connection.0, peer, tls = owner == Owner::TlsLink, "link opened");
        self.links.open.insert(connection, Link { peer, ..Link::default() });
        self.owners.insert(connection, owner);
        self.outbox.metrics.links_open += 1;
    }

    /// Writes frames that `source` has caused to links; not to one that is ending.
    pub(super) fn write_links(
        &mut self,
        mut links: LinkList,
        frames: &Bytes,
        source: Option<Source>,
        turn: &mut Turn<Self>,
    ) {
        links.retain(|&mut connection| {
            let owner = self.owners.get(&connection);
            if !matches!(owner, Some(Owner::Link | Owner::TlsLink)) {
                return false;
            }
            let is_plain = owner == Some(&Owner::Link);
            if !is_plain {
                self.write_tls(connection, frames, turn);
            }
            self.outbox.metrics.link_bytes_sent += frames.len() as u64;
            self.link_traffic.count(frames.len());
            self.blame(connection, source, turn);
            is_plain
        });
        match links[..] {
            [] => {}
            [only] => turn.write(only, frames.clone()),
            _ => turn.write_to_all(links.into_vec(), frames.clone()),
        }
    }

    fn participant(connection: ConnectionId, turn: &Turn<Self>) -> Participant {
        Participant::Link { shard: turn.shard(), connection }
    }

    /// [`Daemon::read_link`], whose panic ends the link and nothing else.
    pub(super) fn read_link_contained(
        &mut self,
        connection: ConnectionId,
        bytes: &[u8],
        turn: &mut Turn<Self>,
    ) -> usize {
        let read = AssertUnwindSafe(|| self.read_link(connection, bytes, turn));
        if let Ok(used) = catch_unwind(read) {
            self.outbox.metrics.link_bytes_received += used as u64;
            self.link_traffic.count(used);
            return used;
        }
        self.outbox.metrics.panics += 1;
        tracing::error!(connection = connection.0, "a handler panicked; its link ends");
        self.owners.remove(&connection);
        turn.close(connection, Close::Now);
        self.end_link(connection, Reason::InternalError, turn);
        bytes.len()
    }

    /// Handles every whole frame of `bytes`, up to what a subscription holds back. Returns how many bytes were used.
    fn read_link(&mut self, connection: ConnectionId, bytes: &[u8], turn: &mut Turn<Self>) -> usize {
        let participant = Self::participant(connection, turn);
        let mut used = 0;
        // Until something goes into the FIFO, behind which the rest belongs.
        let mut at_once = true;
        let mut looked_at = 0_usize;
        while let Some((body, length)) = next_frame(&bytes[used..]) {
            // What follows a message that made a session subscribe may be addressed to that channel, or make somebody
            // answer there (SET_CLIENT_ID, then SET_OWNER): it waits as what follows a subscription of the link's own.
            if self.has_barriers(connection, turn) {
                turn.pause(connection);
                return used;
            }
            let is_waiting = self.router.subscriptions.is_waiting(participant);
            if looked_at == 0 {
                looked_at = self.look_ahead(&bytes[used..], turn);
            }
            looked_at -= 1;
            if !is_waiting && self.handle_at_once(participant, body, at_once, turn) {
                used += length;
                continue;
            }
            if !is_waiting && let Some(run) = self.run_of_link(&bytes[used..], turn) {
                used += run.frames().len();
                self.publish_run(participant, run, turn);
                at_once = false;
                continue;
            }
            let outcome = Link::read(body);
            // What follows a subscription waits until that is in effect everywhere; subscriptions wait together.
            if is_waiting && !outcome.is_subscription() {
                let changes = self.router.subscriptions.await_effect(participant, 0);
                self.apply(changes, turn);
                turn.pause(connection);
                return used;
            }
            used += length;
            at_once &= !matches!(outcome, LinkOutcome::Publish(_)) || seeded(Fault::AtOnceOvertakes);
            if let Some(reason) = self.handle_frame(connection, participant, outcome, turn) {
                self.owners.remove(&connection);
                turn.close(connection, Close::Now);
                self.end_link(connection, reason, turn);
                return bytes.len();
            }
        }
        used
    }

    /// Routes what came over a link. What follows waits where this makes sessions subscribe.
    pub(super) fn publish_from_link(
        &mut self,
        connection: ConnectionId,
        participant: Participant,
        datagram: Datagram,
        turn: &mut Turn<Self>,
    ) {
        let subscribes = turn.shards() > 1 && makes_sessions_subscribe(datagram.body());
        let destinations = self.publish(participant, datagram, turn);
        if subscribes && let Some(link) = self.links.open.get_mut(&connection) {
            for shard in destinations.iter() {
                link.barriers += 1;
                turn.send(shard, Message::Barrier { connection });
            }
        }
    }

    /// Carries one frame out. Some reason when the link must end.
    fn handle_frame(
        &mut self,
        connection: ConnectionId,
        participant: Participant,
        outcome: LinkOutcome,
        turn: &mut Turn<Self>,
    ) -> Option<Reason> {
        let subscriptions = &mut self.router.subscriptions;
        match outcome {
            LinkOutcome::Publish(datagram) => self.publish_from_link(connection, participant, datagram, turn),
            LinkOutcome::AddChannel(channel) => {
                self.outbox.metrics.subscriptions_requested += 1;
                let changes = subscriptions.subscribe(participant, channel, &self.router.homes);
                self.apply(changes, turn);
            }
            LinkOutcome::RemoveChannel(channel) => {
                let changes = subscriptions.unsubscribe(participant, channel);
                self.apply(changes, turn);
            }
            LinkOutcome::AddRange(first, last) => {
                self.outbox.metrics.subscriptions_requested += 1;
                let changes = subscriptions.subscribe_range(participant, first, last);
                self.apply(changes, turn);
            }
            LinkOutcome::RemoveRange(first, last) => {
                let changes = subscriptions.unsubscribe_range(participant, first, last);
                self.apply(changes, turn);
            }
            LinkOutcome::AddPostRemove { key, body } => {
                if let Err(error) = self.add_post_remove(participant, key, body, turn) {
                    tracing::warn!(connection = connection.0, %error, "post-remove refused");
                }
            }
            LinkOutcome::ClearPostRemoves { key } => self.clear_post_removes(participant, key, turn),
            LinkOutcome::SetName(name) => {
                if let Some(link) = self.links.open.get_mut(&connection) {
                    tracing::info!(connection = connection.0, peer = link.peer, name, "link named");
                    link.name = name;
                }
            }
            LinkOutcome::SetUrl(url) => {
                if let Some(link) = self.links.open.get_mut(&connection) {
                    link.url = url;
                }
            }
            LinkOutcome::Log(event) => match self.shared.config.global.eventlogger {
                Some(logger) => {
                    self.outbox.metrics.events_sent += 1;
                    turn.send_packet(logger, event);
                }
                // Who has no Event Logger of its own passes the message on (§2.3, 9014 REC).
                None if self.has_upstream => self.tell_upstream(UpstreamNews::Log(event), turn),
                None => self.outbox.metrics.events_dropped += 1,
            },
            LinkOutcome::UnknownControl(message_type) => {
                self.outbox.metrics.unknown_control_messages += 1;
                tracing::warn!(connection = connection.0, %message_type, "unknown control message ignored");
            }
            LinkOutcome::Drop(error) => {
                self.outbox.metrics.datagrams_malformed += 1;
                tracing::warn!(connection = connection.0, %error, "datagram dropped");
            }
            LinkOutcome::Malformed(what) => {
                self.outbox.metrics.datagrams_malformed += 1;
                tracing::warn!(connection = connection.0, what, "the link sent what cannot be read and is dropped");
                return Some(Reason::MalformedFrame);
            }
        }
        None
    }

    /// The end of a link, in the order of §2.6: subscriptions, then post-removes.
    pub(super) fn end_link(&mut self, connection: ConnectionId, reason: Reason, turn: &mut Turn<Self>) {
        let Some(link) = self.links.open.remove(&connection) else { return };
        let participant = Self::participant(connection, turn);
        self.tls_links.forget(connection);
        self.relieve(connection, turn);
        if matches!(reason, Reason::WriteBudget | Reason::WriteTimeout) {
            tracing::warn!(connection = connection.0, peer = link.peer, "the link does not read what it is sent");
        }
        tracing::info!(
            connection = connection.0,
            peer = link.peer,
            name = link.name,
            url = link.url,
            reason = reason.name(),
            "link ended"
        );
        let changes = self.router.subscriptions.remove_participant(participant);
        self.apply(changes, turn);
        self.fire_post_removes(participant, turn);
        self.outbox.metrics.links_open -= 1;
        self.outbox.metrics.count_closed(reason);
        turn.send(super::LINK_ACCEPTOR, Message::LinkEnded);
    }
}
