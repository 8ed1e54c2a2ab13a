//! What crosses the executors of one daemon, and what other threads send in.

use crate::database_server::DatabaseCompletion;
use crate::message_director::SubscriptionNews;
use crate::outbox::{Participant, RoleMessage, RoleTimer};
use crate::wire::{Channel, Datagram};
use donet_shards::Socket;

/// A message between executors, the sender's own included.
#[derive(Debug)]
pub enum Message {
    /// Deliver to whoever receives it here.
    Deliver {
        from: Participant,
        datagram: Datagram,
    },
    Subscriptions(SubscriptionNews),
    /// Everything that the participant had subscribed to is in effect everywhere.
    Effective {
        participant: Participant,
        token: u64,
    },
    Role(RoleMessage),
    /// Serve this link.
    AdoptLink(Socket),
    /// A link that the sender served has ended.
    LinkEnded,
    /// Serve this client.
    AdoptClient {
        agent: u8,
        channel: Channel,
        socket: Socket,
    },
}

/// What other threads send into an executor.
#[derive(Debug)]
pub enum External {
    Database {
        server: u8,
        completion: DatabaseCompletion,
    },
    /// The daemon ends.
    Shutdown,
}

/// A timer of an executor.
pub type Timer = RoleTimer;
