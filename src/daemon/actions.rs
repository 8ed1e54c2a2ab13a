//! Carries out what roles ask for.

use super::transports::Then;
use super::upstream::{UPSTREAM, UPSTREAM_HOME};
use super::{Daemon, Message, Owner};
use crate::faults::{Fault, seeded};
use crate::message_director::{Changes, PostRemoveError, ShardSet, UpstreamNews};
use crate::outbox::{Action, Participant};
use crate::wire::{Channel, Datagram};
use bytes::Bytes;
use donet_shards::{ConnectionOptions, ShardId, Turn, shard_of};
use hashbrown::HashSet;

impl Daemon {
    /// Carries out the outbox's actions in their order. No action calls a role: what concerns one comes to it as a
    /// message of its own, breadth first.
    pub(super) fn carry_out(&mut self, turn: &mut Turn<Self>) {
        if self.outbox.is_empty() {
            return;
        }
        // Kept from handler to handler: nothing is allocated on the hot path.
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(self.outbox.drain());
        for action in actions.drain(..) {
            self.perform(action, turn);
        }
        self.actions = actions;
        self.transports.flush(turn);
    }

    fn perform(&mut self, action: Action, turn: &mut Turn<Self>) {
        match action {
            Action::Publish { from, datagram } => {
                self.publish(from, datagram, turn);
            }
            Action::Subscribe { participant, channel } => {
                self.outbox.metrics.subscriptions_requested += 1;
                let changes = self.router.subscriptions.subscribe(participant, channel, &self.router.homes);
                self.apply(changes, turn);
            }
            Action::Unsubscribe { participant, channel } => {
                let changes = self.router.subscriptions.unsubscribe(participant, channel);
                self.apply(changes, turn);
            }
            Action::AwaitSubscriptions { participant, token } => {
                let mut changes = self.router.subscriptions.await_effect(participant, token);
                if seeded(Fault::QueryBeforeAcknowledgement) {
                    changes.effective = vec![(participant, token)];
                }
                self.apply(changes, turn);
            }
            Action::UnsubscribeAll { participant } => {
                let changes = self.router.subscriptions.remove_participant(participant);
                self.apply(changes, turn);
            }
            Action::AddPostRemove { participant, key, body } => {
                if let Err(error) = self.add_post_remove(participant, key, body, turn) {
                    tracing::warn!(?participant, %error, "post-remove refused");
                }
            }
            Action::ClearPostRemoves { participant, key } => self.clear_post_removes(participant, key, turn),
            Action::Reach { channel, present } => self.reach(channel, present, turn),
            Action::FirePostRemoves { participant } => self.fire_post_removes(participant, turn),
            Action::Write { connection, frame } => turn.write(connection, frame),
            Action::WriteToAll { connections, frame } => turn.write_to_all(connections, frame),
            Action::WriteWrapped { connection, frame } => self.transports.write(connection, &frame, turn),
            Action::Allow { connection, bytes } => {
                turn.allow(connection, self.transports.wire_bytes(connection, bytes));
            }
            Action::NotifySent { connection } => {
                self.transports.flush(turn);
                turn.notify_sent(connection);
            }
            Action::Close { connection, close, reason } => {
                if self.owners.remove(&connection) == Some(Owner::Wrapped) {
                    self.transports.close(connection, close, turn);
                }
                tracing::debug!(connection = connection.0, reason = reason.name(), "connection ends");
                turn.close(connection, close);
            }
            Action::AdoptClient { agent, channel, socket } => {
                let home = shard_of(channel, turn.shards());
                turn.send(home, Message::AdoptClient { agent, channel, socket: Box::new(socket) });
            }
            Action::DropClient { socket, reason } => {
                tracing::debug!(peer = %socket.peer, reason = reason.name(), "client dropped");
                drop(socket);
            }
            Action::RefuseClient { agent, socket, frame, close, reason } => {
                tracing::debug!(peer = %socket.peer, reason = reason.name(), "client refused");
                if !self.transports.is_plain(agent) {
                    self.wrap(agent, socket, ConnectionOptions::default(), Then::Refuse { frame, close }, turn);
                    return;
                }
                let connection = turn.attach(socket, ConnectionOptions::default());
                turn.write(connection, frame);
                turn.close(connection, close);
            }
            Action::Timer { at_us, timer } => turn.timer(at_us, timer),
            Action::Database { server, request } => {
                self.outbox.metrics.database_requests += 1;
                self.shared.databases[server as usize].submit(turn.shard(), request);
            }
            Action::Event(event) => match self.shared.config.global.eventlogger {
                Some(logger) => {
                    self.outbox.metrics.events_sent += 1;
                    turn.send_packet(logger, event.encode());
                }
                None => self.outbox.metrics.events_dropped += 1,
            },
            Action::ToShard { shard, message } => {
                turn.send(shard, Message::Role { message, source: self.source });
            }
        }
    }

    /// Sends a datagram to every executor that needs it, this one included, one copy each. Returns those executors.
    pub(super) fn publish(&mut self, from: Participant, datagram: Datagram, turn: &mut Turn<Self>) -> ShardSet {
        self.outbox.metrics.datagrams_published += 1;
        let (own, source) = (turn.shard(), self.source);
        if matches!(from, Participant::Object(_)) && !self.has_upstream && self.router.has_no_receiver(&datagram) {
            return ShardSet::default();
        }
        let mut destinations = self.router.destinations(&datagram);
        if self.has_upstream && from != UPSTREAM {
            destinations.insert(UPSTREAM_HOME);
        }
        // The last of the copies is the datagram itself.
        let copies = std::iter::repeat_n(datagram, destinations.len());
        for (shard, datagram) in destinations.iter().zip(copies) {
            self.outbox.metrics.datagrams_crossed += u64::from(shard != own);
            if seeded(Fault::DeliverTwice) && shard != own {
                for _ in 1..datagram.recipients().len() {
                    turn.send(shard, Message::Deliver { from, datagram: datagram.clone(), source });
                }
            }
            turn.send(shard, Message::Deliver { from, datagram, source });
        }
        destinations
    }

    /// Tells the other executors of changed subscriptions, and participants of those that are in effect.
    pub(super) fn apply(&mut self, changes: Changes, turn: &mut Turn<Self>) {
        let own = turn.shard();
        for news in changes.news {
            for other in (0..turn.shards() as u16).map(ShardId).filter(|&shard| shard != own) {
                turn.send(other, Message::Subscriptions(news));
            }
        }
        for news in changes.upstream {
            self.tell_upstream(news, turn);
        }
        for (participant, token) in changes.effective {
            turn.send(own, Message::Effective { participant, token });
        }
    }

    /// Registers a datagram for the end of a participant, here and upstream.
    pub(super) fn add_post_remove(
        &mut self,
        participant: Participant,
        key: Channel,
        body: Bytes,
        turn: &mut Turn<Self>,
    ) -> Result<(), PostRemoveError> {
        self.post_removes.add(participant, key, body.clone())?;
        self.tell_upstream(UpstreamNews::PostRemoveAdded { participant, key, body }, turn);
        Ok(())
    }

    pub(super) fn clear_post_removes(&mut self, participant: Participant, key: Channel, turn: &mut Turn<Self>) {
        self.post_removes.clear(participant, key);
        self.tell_upstream(UpstreamNews::PostRemovesCleared { participant, key }, turn);
    }

    /// Routes what a participant had registered for its end; then the upstream Message Director forgets it (§2.6).
    pub(super) fn fire_post_removes(&mut self, participant: Participant, turn: &mut Turn<Self>) {
        let mut fired = self.post_removes.fire(participant);
        if seeded(Fault::LosePostRemove) {
            fired.pop();
        }
        // Each key once, in the order of its first entry.
        let mut cleared: Vec<Channel> = Vec::new();
        let mut keys: HashSet<Channel> = HashSet::new();
        for (key, body) in fired {
            if self.has_upstream && keys.insert(key) {
                cleared.push(key);
            }
            match Datagram::from_body(&body) {
                Ok(datagram) => {
                    self.publish(participant, datagram, turn);
                }
                Err(error) => {
                    self.outbox.metrics.datagrams_malformed += 1;
                    tracing::warn!(?participant, %error, "post-remove dropped");
                }
            }
        }
        for key in cleared {
            self.tell_upstream(UpstreamNews::PostRemovesCleared { participant, key }, turn);
        }
    }
}
