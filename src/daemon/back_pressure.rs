//! Who is not read while a link is full (design G8).
//!
//! A link with more than `link_budget_bytes` waiting is *congested*. Whatever is written to it from then on stops its
//! source: the connection whose bytes began the chain, carried along with every message, on whichever executor it is
//! served. The sources are read again when half of the budget or less is left. Nothing else stops.
//!
//! Three rules keep daemons from waiting for each other in a circle:
//!
//! * a connection of another process, here a link that we accepted, is not read while it is congested itself: who does
//!   not read the answers gets to ask no further questions;
//! * the upstream link is never stopped for its own sake, only for links that we accepted;
//! * control messages between executors, and everything that a stopped source had sent before, are carried out.
//!
//! So what goes down the tree waits only for what goes further down, and what goes up for what goes further up or down:
//! every chain of waiting ends at a process that is no daemon and does not read. That one is dropped after
//! `link_stall_timeout_ms`, and at once when twice the budget and [`UNDER_WAY_BYTES`] wait.

use super::Daemon;
use crate::outbox::Outbox;
use donet_shards::{ConnectionId, ShardId, Turn};
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// What may come for a link after its sources have been told to stop: what they have in their receive buffers (128 KiB
/// for each of the few that are fast) and what is in the rings of the mesh.
pub(super) const UNDER_WAY_BYTES: usize = 32 << 20;

/// The connection whose bytes made something be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    pub shard: ShardId,
    pub connection: ConnectionId,
}

/// The congested links of one executor, and its connections that fill some executor's.
#[derive(Debug, Default)]
pub(super) struct BackPressure {
    /// With the sources that wait for it.
    congested: HashMap<ConnectionId, BTreeSet<Source>>,
    /// With the number of links that it waits for.
    paused: HashMap<ConnectionId, usize>,
}

impl BackPressure {
    pub(super) fn is_paused(&self, connection: ConnectionId) -> bool {
        self.paused.contains_key(&connection)
    }

    /// Whether the connection is to be stopped now.
    fn pause(&mut self, connection: ConnectionId, out: &mut Outbox) -> bool {
        let count = self.paused.entry(connection).or_default();
        *count += 1;
        let is_first = *count == 1;
        out.metrics.sources_paused += u64::from(is_first);
        is_first
    }

    /// Whether the connection is to be read again.
    fn resume(&mut self, connection: ConnectionId, out: &mut Outbox) -> bool {
        let Some(count) = self.paused.get_mut(&connection) else { return false };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.paused.remove(&connection);
            out.metrics.sources_paused -= 1;
        }
        is_last
    }
}

impl Daemon {
    fn is_upstream(&self, connection: ConnectionId) -> bool {
        self.upstream.as_ref().is_some_and(|upstream| upstream.connection == connection)
    }

    pub(super) fn on_congested(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        let Some(link) = self.links.open.get(&connection) else { return };
        tracing::warn!(
            connection = connection.0,
            peer = link.peer,
            name = link.name,
            "the link is full; its sources wait"
        );
        self.outbox.metrics.links_congested += 1;
        self.back_pressure.congested.entry(connection).or_default();
        self.blame(connection, Some(Source { shard: turn.shard(), connection }), turn);
    }

    /// Something of this source was written to a link: if that is congested, the source waits.
    pub(super) fn blame(&mut self, link: ConnectionId, source: Option<Source>, turn: &mut Turn<Self>) {
        let Some(source) = source else { return };
        let own = Source { shard: turn.shard(), connection: link };
        if self.back_pressure.congested.is_empty() || (source == own && self.is_upstream(link)) {
            return;
        }
        if let Some(sources) = self.back_pressure.congested.get_mut(&link)
            && sources.insert(source)
        {
            turn.send(source.shard, super::Message::PauseSource { connection: source.connection });
        }
    }

    /// A link has room again, or has ended: who waited for it goes on.
    pub(super) fn relieve(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        let Some(sources) = self.back_pressure.congested.remove(&connection) else { return };
        for source in sources {
            turn.send(source.shard, super::Message::ResumeSource { connection: source.connection });
        }
    }

    pub(super) fn pause_source(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        if self.back_pressure.pause(connection, &mut self.outbox) {
            turn.pause(connection);
            self.client_agents.on_reading(connection, false, &mut self.outbox);
        }
    }

    pub(super) fn resume_source(&mut self, connection: ConnectionId, turn: &mut Turn<Self>) {
        if self.back_pressure.resume(connection, &mut self.outbox) {
            self.client_agents.on_reading(connection, true, &mut self.outbox);
            self.read_on(connection, turn);
        }
    }
}
