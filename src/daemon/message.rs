//! What crosses the executors of one daemon, and what other threads send in.

use super::back_pressure::Source;
use crate::admin::Inspection;
use crate::config::Config;
use crate::database_server::DatabaseCompletion;
use crate::message_director::{SubscriptionNews, UpstreamNews};
use crate::outbox::{Participant, RoleMessage, RoleTimer};
use crate::reload::Reloadable;
use crate::wire::{Channel, Datagram, Run};
use donet_shards::{ConnectionId, Socket};
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// A message between executors, the sender's own included.
#[derive(Debug)]
pub enum Message {
    /// Deliver to whoever receives it here.
    Deliver {
        from: Participant,
        datagram: Datagram,
        source: Option<Source>,
    },
    /// To the executor with the upstream link.
    Upstream(UpstreamNews),
    /// The upstream link stands again after it was lost, and has been told of all subscriptions.
    UpstreamAgain,
    /// The receiver's connection fills a link: it is not to be read until it is resumed as often.
    PauseSource {
        connection: ConnectionId,
    },
    ResumeSource {
        connection: ConnectionId,
    },
    /// Deliver all of them to whoever receives them here.
    DeliverRun {
        from: Participant,
        run: Run,
        source: Option<Source>,
    },
    /// Frames of a link, each for one object of the receiver and nobody else.
    ToObjects {
        from: Participant,
        frames: Vec<u8>,
        source: Option<Source>,
    },
    Subscriptions(SubscriptionNews),
    /// Everything that the participant had subscribed to is in effect everywhere.
    Effective {
        participant: Participant,
        token: u64,
    },
    Role {
        message: RoleMessage,
        source: Option<Source>,
    },
    /// The sender's link has made a session of the receiver subscribe: answer when that is in effect everywhere.
    Barrier {
        connection: ConnectionId,
    },
    /// The receiver's link may go on, as far as the sender is concerned.
    BarrierPassed {
        connection: ConnectionId,
    },
    /// Serve this link.
    AdoptLink(Box<Socket>),
    /// A link that the sender served has ended.
    LinkEnded,
    /// To the acceptor: bytes of the sender's links since it last said so.
    LinkTraffic {
        bytes: u64,
    },
    /// Serve this client.
    AdoptClient {
        agent: u8,
        channel: Channel,
        socket: Box<Socket>,
    },
}

/// Every datagram travels as one of these: what is rare stands in memory of its own.
const _: () = assert!(size_of::<Message>() <= 80);

/// What other threads send into an executor.
#[derive(Debug)]
pub enum External {
    Database {
        server: u8,
        completion: DatabaseCompletion,
    },
    /// Admit no more clients, and say so once when those admitted have gone.
    Drain {
        drained: Sender<()>,
    },
    /// Eject the clients of this executor that are left.
    EjectDrained,
    /// What was read anew.
    Reload {
        config: Arc<Config>,
        reloadable: Reloadable,
        /// Let go of when that is done: never sent to.
        taken_over: Sender<()>,
    },
    /// The admin endpoint asks.
    Inspect(Inspection),
    /// The daemon ends.
    Shutdown,
}

/// A timer of an executor.
pub type Timer = RoleTimer;
