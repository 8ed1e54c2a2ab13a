//! Hands a datagram to everybody on this executor who receives it.

use super::Daemon;
use crate::message_director::Receivers;
use crate::outbox::Participant;
use crate::wire::Datagram;
use donet_shards::Turn;
use smallvec::SmallVec;

impl Daemon {
    /// Delivers once to each participant here that a recipient matches, connections first (O-12: what an observer is
    /// told of a cause goes out before the objects here act on it), then control roles, live objects, stored objects.
    pub(super) fn deliver(&mut self, from: Participant, datagram: &Datagram, turn: &mut Turn<Self>) {
        let source = self.source;
        self.forward_upstream(from, datagram, source, turn);
        let mut receivers: Receivers = std::mem::take(&mut self.receivers);
        self.router.receivers(datagram.recipients(), from, &mut receivers);
        self.sessions.clear();
        let mut links = SmallVec::new();
        for receiver in receivers.iter() {
            self.outbox.metrics.datagrams_delivered += 1;
            match receiver {
                Participant::Link { connection, .. } => links.push(connection),
                Participant::Session(session) => self.sessions.push(session),
                // Objects and control roles are found by placement, never by subscription.
                _ => {}
            }
        }
        self.receivers = receivers;
        self.write_links(links, datagram.frame(), source, turn);
        if !self.sessions.is_empty() {
            self.outbox.metrics.client_agent_messages += self.sessions.len() as u64;
            let sessions = std::mem::take(&mut self.sessions);
            self.client_agents.on_datagram(&sessions, datagram, &mut self.outbox);
            self.sessions = sessions;
            self.carry_out(turn);
        }
        let shard = turn.shard();
        let homes = &self.router.homes;
        if datagram.recipients().all(|recipient| homes.is_open(recipient)) {
            return;
        }
        if homes.of_state_server_control(datagram).is_some_and(|home| home.includes(shard)) {
            self.outbox.metrics.state_server_messages += 1;
            self.state_server.on_control(datagram, &mut self.outbox);
        }
        if homes.of_database_control(datagram).is_some_and(|home| home.includes(shard)) {
            for role in self.database_servers.iter_mut().filter(|role| role.is_addressed(datagram)) {
                self.outbox.metrics.database_server_messages += 1;
                role.on_datagram(datagram, &mut self.outbox);
            }
        }
        self.state_server.on_datagram(datagram, from, &mut self.outbox);
        for role in &mut self.database_state_servers {
            self.outbox.metrics.dbss_messages += 1;
            role.on_datagram(datagram, from, &mut self.state_server, &mut self.outbox);
        }
        self.carry_out(turn);
    }
}
