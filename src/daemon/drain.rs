//! Draining one executor: nobody is admitted any more, and whoever waits for the end of it is told when the clients that
//! this executor has admitted have gone. When the time is over, those who are left are ejected, some at a time.
//!
//! Decides nothing about the end of the daemon: [`crate::control`] does.

use super::Daemon;
use crate::client_agent::ClientAgents;
use crate::outbox::RoleTimer;
use crate::reason::Reason;
use crate::wire::Channel;
use donet_shards::Turn;
use std::sync::mpsc::Sender;

/// Sessions that are ejected in one handler: each takes its objects with it, and what follows from that comes between.
const EJECTED_AT_ONCE: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Drain {
    /// Whom to tell that the clients have gone; nobody any more when that has been said.
    drained: Option<Sender<()>>,
    is_over: bool,
}

impl Drain {
    /// Whether the deadline has passed: who is handed to this executor now comes too late.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Says so when the last client that this executor has admitted has gone. As nobody is admitted, that is final.
    pub(super) fn report(&mut self, clients: &ClientAgents) {
        if clients.admitted() == 0
            && let Some(drained) = self.drained.take()
        {
            // Whoever waited may have given up.
            let _ = drained.send(());
        }
    }
}

impl Daemon {
    pub(super) fn begin_drain(&mut self, drained: Sender<()>) {
        self.client_agents.drain();
        self.drain.drained = Some(drained);
        self.drain.report(&self.client_agents);
    }

    /// The deadline is over.
    pub(super) fn end_drain(&mut self, turn: &mut Turn<Self>) {
        self.drain.is_over = true;
        self.abandon_handshakes(Reason::Drained, turn);
        self.eject_drained(turn);
    }

    pub(super) fn eject_drained(&mut self, turn: &mut Turn<Self>) {
        if self.client_agents.eject_drained(EJECTED_AT_ONCE, &mut self.outbox) {
            turn.timer(turn.now_us(), RoleTimer::EjectDrained);
        }
        self.carry_out(turn);
    }

    /// A client that was admitted before the drain and is handed over behind its deadline.
    pub(super) fn turn_away(&mut self, agent: u8, channel: Channel, turn: &mut Turn<Self>) {
        self.outbox.metrics.count_closed(Reason::Drained);
        self.client_agents.give_back(agent, channel, &mut self.outbox);
        self.carry_out(turn);
    }
}
