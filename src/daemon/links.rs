//! The links of one executor: accepting them, reading them, ending them.

use super::back_pressure::UNDER_WAY_BYTES;
use super::upstream::UPSTREAM_HOME;
use super::{Daemon, Message, Owner};
use crate::config;
use crate::message_director::{Link, LinkOutcome, UpstreamNews, allows};
use crate::outbox::Participant;
use crate::reason::Reason;
use crate::wire::{Datagram, message_type as t, message_type_of, next_frame};
use donet_shards::{Close, CloseCause, ConnectionId, ConnectionOptions, ShardId, Socket, Turn};
use hashbrown::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The links of one executor; on the acceptor also how many each executor has.
#[derive(Debug)]
pub(super) struct Links {
    options: ConnectionOptions,
    allow: Vec<config::Cidr>,
    pub(super) open: HashMap<ConnectionId, Link>,
    /// By executor. Links are few and fat: the next goes where the fewest are, not where the kernel's hash says.
    served: Vec<usize>,
}

impl Links {
    pub(super) fn new(settings: Option<&config::MessageDirector>, shards: usize) -> Self {
        Self {
            options: options_of(settings),
            allow: allow_of(settings),
            open: HashMap::new(),
            served: {
                let mut served = vec![0; shards];
                // The upstream link is one too, the fattest.
                served[UPSTREAM_HOME.index()] +=
                    usize::from(settings.is_some_and(|settings| settings.upstream.is_some()));
                served
            },
        }
    }

    /// New links get these limits and pass this list; those there are keep theirs.
    pub(super) fn reload(&mut self, settings: Option<&config::MessageDirector>) {
        self.options = options_of(settings);
        self.allow = allow_of(settings);
    }

    /// The links that this executor serves.
    pub(super) fn open(&self) -> impl Iterator<Item = (&ConnectionId, &Link)> {
        self.open.iter()
    }

    /// The limits of a link, the upstream one included.
    pub(super) fn options(&self) -> ConnectionOptions {
        self.options
    }

    fn claim_least_loaded(&mut self) -> ShardId {
        let (index, count) =
            self.served.iter_mut().enumerate().min_by_key(|(_, count)| **count).expect("there is an executor");
        *count += 1;
        ShardId(index as u16)
    }

    pub(super) fn released(&mut self, shard: ShardId) {
        self.served[shard.index()] -= 1;
    }
}

fn options_of(settings: Option<&config::MessageDirector>) -> ConnectionOptions {
    settings.map_or_else(ConnectionOptions::default, |settings| ConnectionOptions {
        high_water_bytes: settings.link_budget_bytes,
        write_budget_bytes: 2 * settings.link_budget_bytes + UNDER_WAY_BYTES,
        write_timeout_us: settings.link_stall_timeout.as_micros() as u64,
        gather_us: 0,
    })
}

fn allow_of(settings: Option<&config::MessageDirector>) -> Vec<config::Cidr> {
    settings.map(|settings| settings.allow.clone()).unwrap_or_default()
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
                turn.resume(connection);
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
        let shard = self.links.claim_least_loaded();
        turn.send(shard, Message::AdoptLink(socket));
    }

    pub(super) fn adopt_link(&mut self, socket: Socket, turn: &mut Turn<Self>) {
        let peer = socket.peer.to_string();
        let connection = turn.attach(socket, self.links.options);
        tracing::info!(connection = connection.0, peer, "link opened");
        self.links.open.insert(connection, Link { peer, ..Link::default() });
        self.owners.insert(connection, Owner::Link);
        self.outbox.metrics.links_open += 1;
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
        while let Some((body, length)) = next_frame(&bytes[used..]) {
            // What follows a message that made a session subscribe may be addressed to that channel, or make somebody
            // answer there (SET_CLIENT_ID, then SET_OWNER): it waits as what follows a subscription of the link's own.
            if self.has_barriers(connection, turn) {
                turn.pause(connection);
                return used;
            }
            let is_waiting = self.router.subscriptions.is_waiting(participant);
            if !is_waiting && let Some(run) = self.run_of_link(&bytes[used..], turn) {
                used += run.frames().len();
                self.publish_run(participant, run, turn);
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
