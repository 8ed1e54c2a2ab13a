//! Runs: what a link sends to the same recipients one message after the other is routed once.
//!
//! A run goes through the same FIFO as a datagram, and every observer sees what it would see of the datagrams one by one.
//! So only what concerns subscribers alone becomes one: a message that an object, a role or a session handles may change
//! who receives the next.

use super::links::{LinkList, makes_sessions_subscribe};
use super::upstream::{UPSTREAM, UPSTREAM_HOME};
use super::{Daemon, Message};
use crate::outbox::Participant;
use crate::wire::Run;
use donet_shards::Turn;

impl Daemon {
    /// The run at the beginning of what a link has sent; `None` where its first frame must be handled by itself.
    pub(super) fn run_of_link(&self, bytes: &[u8], turn: &Turn<Self>) -> Option<Run> {
        let (homes, one_executor) = (&self.router.homes, turn.shards() == 1);
        let joins = |body: &[u8]| one_executor || !makes_sessions_subscribe(body);
        Run::at_start_of(bytes, |recipient| homes.is_open(recipient), joins)
    }

    /// Sends a run to every executor with subscribers, one copy each.
    pub(super) fn publish_run(&mut self, from: Participant, run: Run, turn: &mut Turn<Self>) {
        let (own, datagrams) = (turn.shard(), run.datagrams() as u64);
        self.outbox.metrics.datagrams_published += datagrams;
        let source = self.source;
        let mut destinations = self.router.executors(run.recipients());
        if self.has_upstream && from != UPSTREAM {
            destinations.insert(UPSTREAM_HOME);
        }
        for (shard, run) in destinations.iter().zip(std::iter::repeat_n(run, destinations.len())) {
            self.outbox.metrics.datagrams_crossed += if shard == own { 0 } else { datagrams };
            turn.send(shard, Message::DeliverRun { from, run, source });
        }
    }

    /// [`Daemon::deliver`] for a run.
    pub(super) fn deliver_run(&mut self, from: Participant, run: &Run, turn: &mut Turn<Self>) {
        let mut receivers = std::mem::take(&mut self.receivers);
        self.router.receivers(run.recipients(), from, &mut receivers);
        let only_links = receivers.iter().all(|receiver| matches!(receiver, Participant::Link { .. }));
        if only_links {
            let (source, datagrams) = (self.source, run.datagrams() as u64);
            self.forward_frames_upstream(from, run.frames(), datagrams, source, turn);
            let links: LinkList = receivers
                .iter()
                .filter_map(|receiver| match receiver {
                    Participant::Link { connection, .. } => Some(connection),
                    _ => None,
                })
                .collect();
            self.outbox.metrics.datagrams_delivered += datagrams * links.len() as u64;
            self.write_links(links, run.frames(), source, turn);
        }
        self.receivers = receivers;
        if !only_links {
            for datagram in run.iter() {
                self.deliver(from, &datagram, turn);
            }
        }
    }
}
