//! Message Director: one executor's part of the routing (`protocol-md-ca-el.md` §2).
//!
//! Decides which executors a datagram goes to, and which participants of this executor get it. It never looks into a
//! payload, but for the doid by which a control message finds its executor, and it never changes a datagram.

mod allow;
mod announcements;
mod channel_table;
mod homes;
mod interval_map;
mod link;
mod post_removes;
mod shard_set;
mod subscriptions;
mod upstream;

pub use allow::allows;
pub use homes::{ControlHome, Homes};
pub use link::{Link, LinkOutcome};
pub use post_removes::{PostRemoveError, PostRemoves};
pub use shard_set::ShardSet;
pub use subscriptions::{Changes, Span, SubscriptionNews, Subscriptions};
pub use upstream::{Reached, UpstreamNews, UpstreamTable};

use crate::outbox::Participant;
use crate::wire::{Channel, Datagram};
use donet_shards::ShardId;

/// The routing table of one executor.
#[derive(Debug)]
pub struct Router {
    shards: usize,
    pub homes: Homes,
    pub subscriptions: Subscriptions,
}

/// The participants of this executor that receive a datagram, each once.
#[derive(Debug, Default)]
pub struct Receivers {
    all: Vec<Participant>,
}

impl Receivers {
    pub fn iter(&self) -> impl Iterator<Item = Participant> + '_ {
        self.all.iter().copied()
    }
}

impl Router {
    /// `upstream` says whether the daemon has an upstream Message Director that is to be told of its subscriptions.
    pub fn new(shard: ShardId, shards: usize, homes: Homes, upstream: bool) -> Self {
        Self { shards, homes, subscriptions: Subscriptions::new(shard, shards, upstream) }
    }

    /// The executors that need a datagram which a participant of this executor sends: one copy each, over the union of
    /// its recipients (design §3 rule 6).
    pub fn destinations(&self, datagram: &Datagram) -> ShardSet {
        if self.shards == 1 {
            // Who receives is decided at delivery, after everything that was sent before: exactly the reference's order.
            return ShardSet::all(1);
        }
        let mut destinations = ShardSet::default();
        for recipient in datagram.recipients() {
            destinations =
                destinations.union(self.homes.of_channel(recipient)).union(self.subscriptions.executors(recipient));
        }
        let controls = [self.homes.of_state_server_control(datagram), self.homes.of_database_control(datagram)];
        for control in controls.into_iter().flatten() {
            destinations = destinations.union(control.shards(self.shards));
        }
        destinations
    }

    /// Whether a datagram concerns subscribers alone and this executor, the only one, has none: most changes of objects
    /// happen where nobody looks. With several executors [`Router::destinations`] says as much.
    pub fn has_no_receiver(&self, datagram: &Datagram) -> bool {
        let nobody = |channel| self.homes.is_open(channel) && self.subscriptions.executors(channel).is_empty();
        self.shards == 1 && datagram.recipients().all(nobody)
    }

    /// The executors with subscribers of open channels.
    pub fn executors(&self, recipients: impl Iterator<Item = Channel>) -> ShardSet {
        if self.shards == 1 {
            return ShardSet::all(1);
        }
        let executors = recipients.map(|recipient| self.subscriptions.executors(recipient));
        executors.fold(ShardSet::default(), ShardSet::union)
    }

    /// The subscribers of this executor, each once and never the sender (MD-3, MD-4).
    pub fn receivers(&self, recipients: impl Iterator<Item = Channel>, from: Participant, receivers: &mut Receivers) {
        receivers.all.clear();
        for recipient in recipients {
            self.subscriptions.collect_local(recipient, &mut receivers.all);
        }
        // Sorted, so that links come first: a handler's consequences must not reach a connection before their cause.
        receivers.all.sort_unstable();
        receivers.all.dedup();
        receivers.all.retain(|&receiver| receiver != from);
    }
}
