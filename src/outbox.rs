//! What a role's handler may ask for: the only way out of a handler (design §4).
//!
//! A handler takes an event and an [`Outbox`] and returns. It reads no clock but [`Outbox::now_us`], touches no socket,
//! no file and no other role. The executor carries the actions out, in their order, after the handler has returned.

use crate::client_agent::{ClientAgentMessage, ClientTimer};
use crate::database_server::DatabaseRequest;
use crate::database_state_server::DbssTimer;
use crate::event_logger::Event;
use crate::metrics::Metrics;
use crate::reason::Reason;
use crate::state_server::StateServerMessage;
use crate::wire::{Channel, Datagram, Doid, MAX_RECIPIENTS, MessageType};
use bytes::Bytes;
use donet_shards::{Close, ConnectionId, ShardId, Socket};
use smallvec::SmallVec;

/// Something that holds subscriptions of its own and sends messages of its own (`protocol-md-ca-el.md` §0).
///
/// A datagram is delivered once to each participant that its recipients match, and never to the one that sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Participant {
    /// A connection to the Message Director, on the executor that serves it.
    Link { shard: ShardId, connection: ConnectionId },
    /// A client session, named by its allocated channel.
    Session(Channel),
    /// A live distributed object.
    Object(Doid),
    /// The control role of the State Server.
    StateServer,
    /// A Database Server, by its index in the configuration.
    DatabaseServer(u8),
    /// A Database State Server, by its index in the configuration.
    DatabaseStateServer(u8),
}

/// A message from a role to the same role on other executors: never on the wire.
#[derive(Debug)]
pub enum RoleMessage {
    StateServer(StateServerMessage),
    ClientAgent(ClientAgentMessage),
}

/// A timer of a role, given back to it when it fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleTimer {
    Client(ClientTimer),
    /// The time in which a connection's layers have to come up.
    Handshake(ConnectionId),
    Dbss(DbssTimer),
    /// The State Server goes on with what it hands to many objects.
    StateServerSlice,
    /// The State Server has counted for long enough how often objects take another AI from their parents.
    StateServerAiChanges,
    /// The acceptor is told what the links have had to do.
    LinkTraffic,
    /// The next clients are ejected: the deadline of a drain is over.
    EjectDrained,
}

/// One thing for the executor to do.
#[derive(Debug)]
pub enum Action {
    /// Route a datagram that `from` sends.
    Publish {
        from: Participant,
        datagram: Datagram,
    },
    /// Subscribe a session to a channel. It takes effect at once for messages of this executor, and everywhere when it
    /// is acknowledged: see [`Action::AwaitSubscriptions`].
    Subscribe {
        participant: Participant,
        channel: Channel,
    },
    Unsubscribe {
        participant: Participant,
        channel: Channel,
    },
    /// Tell the participant's role, with this token, when every subscription that it has asked for so far is in effect
    /// on every executor (guarantee G4). Without other executors: still as an event of its own, after this handler.
    AwaitSubscriptions {
        participant: Participant,
        token: u64,
    },
    /// Register a datagram body to be routed when the participant ends (`protocol-md-ca-el.md` §2.6).
    AddPostRemove {
        participant: Participant,
        key: Channel,
        body: Bytes,
    },
    ClearPostRemoves {
        participant: Participant,
        key: Channel,
    },
    /// Drop the participant's subscriptions now.
    UnsubscribeAll {
        participant: Participant,
    },
    /// Route the participant's post-removes now and forget them.
    FirePostRemoves {
        participant: Participant,
    },
    /// Objects of this executor are reached by this channel from now on, or not any more: an upstream Message Director
    /// must know. Only where there is one: see [`Outbox::reach`].
    Reach {
        channel: Channel,
        present: bool,
    },
    /// Send a finished frame to a connection of this executor.
    Write {
        connection: ConnectionId,
        frame: Bytes,
    },
    /// Send the same finished frame to each of some connections of this executor.
    WriteToAll {
        connections: Vec<ConnectionId>,
        frame: Bytes,
    },
    /// Send a finished frame to a connection of this executor that has layers around its bytes.
    WriteWrapped {
        connection: ConnectionId,
        frame: Bytes,
    },
    /// Tell the connection's session when everything written so far has been taken by the system.
    NotifySent {
        connection: ConnectionId,
    },
    /// Let so many of the following bytes of a connection wait beside its write budget: entries of an interest being
    /// opened are the client's own request, and leave as its socket drains.
    Allow {
        connection: ConnectionId,
        bytes: usize,
    },
    /// End a connection. The role gets no further event of it.
    Close {
        connection: ConnectionId,
        close: Close,
        reason: Reason,
    },
    /// Hand an accepted client socket to the executor that owns `channel`.
    AdoptClient {
        agent: u8,
        channel: Channel,
        socket: Socket,
    },
    /// Turn an accepted client away without a word.
    DropClient {
        socket: Socket,
        reason: Reason,
    },
    /// Turn an accepted client away: send it this frame, then end the connection.
    RefuseClient {
        agent: u8,
        socket: Socket,
        frame: Bytes,
        close: Close,
        reason: Reason,
    },
    Timer {
        at_us: u64,
        timer: RoleTimer,
    },
    /// Submit an operation to a database engine; its completion comes back to this executor.
    Database {
        server: u8,
        request: DatabaseRequest,
    },
    /// Send an event to the configured Event Logger.
    Event(Event),
    /// To one executor, this one included.
    ToShard {
        shard: ShardId,
        message: RoleMessage,
    },
}

/// Collects the actions of one handler.
#[derive(Debug)]
pub struct Outbox {
    /// Microseconds of a monotonic clock, as of the beginning of this turn.
    pub now_us: u64,
    /// Microseconds of them during which this executor read none of its connections.
    pub unread_us: u64,
    /// The executor that runs the handler.
    pub shard: ShardId,
    /// The number of executors.
    pub shards: usize,
    /// Whether the daemon has an upstream Message Director.
    pub has_upstream: bool,
    /// This executor's counters.
    pub metrics: Metrics,
    actions: Vec<Action>,
}

impl Outbox {
    pub fn new(shard: ShardId, shards: usize) -> Self {
        Self {
            now_us: 0,
            unread_us: 0,
            shard,
            shards,
            has_upstream: false,
            metrics: Metrics::default(),
            actions: Vec::new(),
        }
    }

    pub fn push(&mut self, action: Action) {
        self.actions.push(action);
    }

    /// The actions so far, in order; the outbox is empty afterwards.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Action> {
        self.actions.drain(..)
    }

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// How many actions there are: a mark for [`Outbox::truncate`].
    pub fn len(&self) -> usize {
        self.actions.len()
    }

    /// Forgets the actions after a mark: what a handler that panicked had asked for.
    pub fn truncate(&mut self, mark: usize) {
        self.actions.truncate(mark);
    }

    pub fn publish(&mut self, from: Participant, datagram: Datagram) {
        self.push(Action::Publish { from, datagram });
    }

    /// Publishes one message to a set of recipients: sorted, each once, never empty, split at 255
    /// (`protocol-ss-dbss-db.md` §1.1 [R]). `body` appends the payload.
    ///
    /// A message that does not fit a frame is dropped, counted and logged (§9 SS-48).
    pub fn send(
        &mut self,
        from: Participant,
        recipients: &[Channel],
        sender: Channel,
        message_type: MessageType,
        payload: &[u8],
    ) {
        let mut recipients: SmallVec<[Channel; 8]> = recipients.iter().copied().collect();
        recipients.sort_unstable();
        recipients.dedup();
        for part in recipients.chunks(MAX_RECIPIENTS) {
            match Datagram::new(part, sender, message_type, payload) {
                Ok(datagram) => self.publish(from, datagram),
                Err(error) => {
                    self.metrics.oversized_messages_dropped += 1;
                    tracing::warn!(%message_type, sender, %error, "message dropped");
                }
            }
        }
    }

    /// Objects of this executor are reached by this channel from now on. Saying so twice is the same as once.
    pub fn reach(&mut self, channel: Channel) {
        if self.has_upstream {
            self.push(Action::Reach { channel, present: true });
        }
    }

    /// No object of this executor is reached by this channel any more.
    pub fn unreach(&mut self, channel: Channel) {
        if self.has_upstream {
            self.push(Action::Reach { channel, present: false });
        }
    }

    pub fn write(&mut self, connection: ConnectionId, frame: Bytes) {
        self.push(Action::Write { connection, frame });
    }

    pub fn timer(&mut self, at_us: u64, timer: RoleTimer) {
        self.push(Action::Timer { at_us, timer });
    }

    pub fn to_shard(&mut self, shard: ShardId, message: RoleMessage) {
        self.push(Action::ToShard { shard, message });
    }
}

/// Runs a handler on behalf of one participant. A panic inside ends that participant, and nothing else: what the
/// handler had asked for is forgotten, the panic is counted and logged, and the caller, who gets `None`, ends the
/// participant with [`Reason::InternalError`].
pub fn contained<R>(
    outbox: &mut Outbox,
    participant: impl std::fmt::Debug,
    handler: impl FnOnce(&mut Outbox) -> R,
) -> Option<R> {
    let mark = outbox.len();
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handler(&mut *outbox))) {
        Ok(result) => Some(result),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            outbox.truncate(mark);
            outbox.metrics.panics += 1;
            tracing::error!(?participant, panic = text, "a handler panicked; its participant ends");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipients_are_sorted_once_each_and_never_none() {
        let mut outbox = Outbox::new(ShardId(0), 1);
        outbox.send(Participant::StateServer, &[], 5, MessageType(2032), &[]);
        assert!(outbox.is_empty());
        outbox.send(Participant::StateServer, &[9, 7, 9], 5, MessageType(2032), &[1, 2]);
        let Some(Action::Publish { datagram, .. }) = outbox.drain().next() else { panic!("one datagram") };
        assert_eq!(datagram.recipients().collect::<Vec<_>>(), [7, 9]);
    }

    #[test]
    fn more_recipients_than_a_header_holds_are_split() {
        let mut outbox = Outbox::new(ShardId(0), 1);
        let recipients: Vec<Channel> = (1000..1300).collect();
        outbox.send(Participant::StateServer, &recipients, 5, MessageType(2009), &[]);
        let counts: Vec<usize> = outbox
            .drain()
            .map(|action| match action {
                Action::Publish { datagram, .. } => datagram.recipients().len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counts, [255, 45]);
    }

    #[test]
    fn a_panic_costs_its_handler_only() {
        let mut outbox = Outbox::new(ShardId(0), 1);
        outbox.write(ConnectionId(1), Bytes::new());
        let result = contained(&mut outbox, Participant::Session(7), |outbox| {
            outbox.write(ConnectionId(2), Bytes::new());
            panic!("on purpose");
        });
        assert_eq!((result, outbox.len(), outbox.metrics.panics), (None::<()>, 1, 1));
    }
}
