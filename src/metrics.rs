//! The registry of one executor: plain integers, owned by its thread, counted without atomics.
//!
//! Every counter of every role stands here, so that a reader of the figures needs one list and a writer of a role one
//! place. Snapshots leave the executor as messages; nothing reads another executor's counters.

use crate::reason::Reason;

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Counters and gauges of one executor.
        #[derive(Clone, Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: u64,)*
            closed: ClosedByReason,
        }

        impl Metrics {
            /// Name, meaning and value of every figure but those by reason.
            pub fn figures(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),+), self.$name),)*].into_iter()
            }
        }
    };
}

metrics! {
    /// Datagrams routed by participants of this executor.
    datagrams_published,
    /// Datagrams handed to participants of this executor.
    datagrams_delivered,
    /// Copies of datagrams sent to other executors.
    datagrams_crossed,
    /// Datagrams whose header or nested body could not be read.
    datagrams_malformed,
    /// Messages that would not fit a frame.
    oversized_messages_dropped,
    /// Control messages of an unknown type.
    unknown_control_messages,
    /// Connections to the Message Director that are open (gauge).
    links_open,
    /// Client sessions that are open (gauge).
    sessions_open,
    /// Client messages handled.
    client_messages,
    /// Frames written to clients.
    client_frames_sent,
    /// Updates to objects that had left the client's view.
    historical_updates_swallowed,
    /// Interests opened or altered.
    interests_opened,
    /// Interests that ended by their timeout.
    interests_timed_out,
    /// Live objects (gauge).
    objects,
    /// Messages to objects that were refused: unknown fields, bad values, truncated bodies.
    object_messages_refused,
    /// Messages that a role does not know or does not implement.
    unknown_messages,
    /// Operations submitted to database engines.
    database_requests,
    /// Operations that the database engine reported as failed for a reason of its own.
    database_failures,
    /// Events sent to the Event Logger.
    events_sent,
    /// Events that could not be sent.
    events_dropped,
    /// Handlers that panicked.
    panics,
}

#[derive(Clone, Debug)]
struct ClosedByReason([u64; Reason::ALL.len()]);

impl Default for ClosedByReason {
    fn default() -> Self {
        Self([0; Reason::ALL.len()])
    }
}

impl Metrics {
    /// Counts the end of a connection or session.
    pub fn count_closed(&mut self, reason: Reason) {
        self.closed.0[reason as usize] += 1;
    }

    /// How many connections or sessions ended for this reason.
    pub fn closed(&self, reason: Reason) -> u64 {
        self.closed.0[reason as usize]
    }
}
