//! The registry of one executor: plain integers, owned by its thread, counted without atomics.
//!
//! Every counter of every role stands here, so that a reader of the figures needs one list and a writer of a role one
//! place. Snapshots leave the executor as messages; nothing reads another executor's counters.

use crate::database_server::SinkFigures;
use crate::reason::Reason;
use donet_shards::{Figure, Kind};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:ident,)*) => {
        /// Counters and gauges of one executor.
        #[derive(Clone, Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: u64,)*
            closed: ClosedByReason,
            ejects: BTreeMap<u16, u64>,
        }

        impl Metrics {
            /// Every figure but those by reason.
            pub fn figures(&self) -> impl Iterator<Item = Figure> {
                [$(Figure {
                    name: stringify!($name),
                    kind: metrics!(@$kind),
                    help: concat!($($doc),+).trim_ascii(),
                    value: self.$name,
                },)*].into_iter()
            }
        }
    };
    (@counter) => { Kind::Counter };
    (@gauge) => { Kind::Gauge };
}

metrics! {
    /// Datagrams routed by participants of this executor.
    counter datagrams_published,
    /// Datagrams handed to participants of this executor.
    counter datagrams_delivered,
    /// Copies of datagrams sent to other executors.
    counter datagrams_crossed,
    /// Datagrams whose header or nested body could not be read.
    counter datagrams_malformed,
    /// Messages that would not fit a frame.
    counter oversized_messages_dropped,
    /// Control messages of an unknown type.
    counter unknown_control_messages,
    /// Datagrams that did not go upstream because the link was down.
    counter upstream_datagrams_lost,
    /// Times that a lost upstream link was dialled again.
    counter upstream_redials,
    /// Times that a link had more than its budget waiting, and its sources were paused.
    counter links_congested,
    /// Connections that are not read because they fill a link.
    gauge sources_paused,
    /// Connections to the Message Director that are open.
    gauge links_open,
    /// Bytes of whole frames read from links.
    counter link_bytes_received,
    /// Bytes of frames written to links, the upstream one aside.
    counter link_bytes_sent,
    /// Subscriptions asked for by links and sessions.
    counter subscriptions_requested,
    /// Client sessions that are open.
    gauge sessions_open,
    /// Client sessions that have not said hello.
    gauge sessions_new,
    /// Client sessions that have said hello and are not authenticated.
    gauge sessions_anonymous,
    /// Client sessions that are authenticated.
    gauge sessions_established,
    /// Client messages handled.
    counter client_messages,
    /// Bytes of whole frames read from clients, without TLS and WebSocket.
    counter client_bytes_received,
    /// Frames written to clients.
    counter client_frames_sent,
    /// Their bytes, without TLS and WebSocket.
    counter client_bytes_sent,
    /// Messages of the cluster to client sessions, counted for each session.
    counter client_agent_messages,
    /// Updates to objects that had left the client's view.
    counter historical_updates_swallowed,
    /// Interests opened or altered.
    counter interests_opened,
    /// Sets of zones that an interest has opened and that are complete, or have timed out.
    counter interests_completed,
    /// Interests closed by request.
    counter interests_closed,
    /// Interests that ended by their timeout.
    counter interests_timed_out,
    /// Live objects.
    gauge objects,
    /// Messages to live objects, counted for each object.
    counter object_messages,
    /// Messages to the control role of the State Server.
    counter state_server_messages,
    /// Messages to the Database Server.
    counter database_server_messages,
    /// Messages offered to the Database State Server, for stored objects.
    counter dbss_messages,
    /// Messages to objects that were refused: unknown fields, bad values, truncated bodies.
    counter object_messages_refused,
    /// Objects that were looked at because a message or a query was for their parent's children.
    counter children_visited,
    /// Messages to many objects that were too long for one turn.
    counter fan_outs_deferred,
    /// Messages to many objects that are half handed out.
    gauge fan_outs_waiting,
    /// Messages that a role does not know or does not implement.
    counter unknown_messages,
    /// Operations submitted to database engines.
    counter database_requests,
    /// Database reads answered from memory, without the engine.
    counter database_reads_cached,
    /// Bytes of stored objects that are kept in memory for reads, about.
    gauge database_cache_bytes,
    /// Operations that the database engine reported as failed for a reason of its own.
    counter database_failures,
    /// Changes of the database that SQL sinks have not carried over, in entries of the outbox.
    gauge sql_sink_lag_entries,
    /// Bytes of these entries.
    gauge sql_sink_lag_bytes,
    /// Age of the oldest of them.
    gauge sql_sink_lag_seconds,
    /// Rows that SQL sinks have inserted, changed and deleted.
    counter sql_sink_rows,
    /// Times that a SQL database could not be reached or refused something.
    counter sql_sink_errors,
    /// Times that a SQL sink began to copy everything.
    counter sql_sink_copies,
    /// Objects that the copies at hand, or the last ones, have copied.
    gauge sql_sink_copied_objects,
    /// SQL sinks whose copy is not complete.
    gauge sql_sinks_copying,
    /// SQL sinks that are connected to their database.
    gauge sql_sinks_connected,
    /// Events sent to the Event Logger.
    counter events_sent,
    /// Events that could not be sent.
    counter events_dropped,
    /// Handlers that panicked.
    counter panics,
}

/// Eject codes that are counted each for itself.
const EJECT_CODES_MAX: usize = 64;
/// Where further ones are counted; it is nobody's code.
pub const OTHER_EJECT_CODES: u16 = u16::MAX;

#[derive(Clone, Debug)]
struct ClosedByReason([u64; Reason::ALL.len()]);

impl Default for ClosedByReason {
    fn default() -> Self {
        Self([0; Reason::ALL.len()])
    }
}

impl Metrics {
    /// Adds what there is to say about a database's SQL sink: its figures come from threads that are no executors.
    pub fn add_sink(&mut self, sink: &SinkFigures) {
        let value = |figure: &AtomicU64| figure.load(Ordering::Acquire);
        self.sql_sink_lag_entries += value(&sink.lag_entries);
        self.sql_sink_lag_bytes += value(&sink.lag_bytes);
        self.sql_sink_lag_seconds = self.sql_sink_lag_seconds.max(sink.lag_seconds());
        self.sql_sink_rows += value(&sink.rows);
        self.sql_sink_errors += value(&sink.errors);
        self.sql_sink_copies += value(&sink.copies);
        self.sql_sink_copied_objects += value(&sink.copied_objects);
        self.sql_sinks_copying += u64::from(sink.is_copying.load(Ordering::Relaxed));
        self.sql_sinks_connected += u64::from(sink.is_connected.load(Ordering::Relaxed));
    }

    /// Counts a CLIENT_EJECT. Applications may use any code: beyond [`EJECT_CODES_MAX`] different ones they are counted
    /// together.
    pub fn count_eject(&mut self, code: u16) {
        let is_counted = self.ejects.len() < EJECT_CODES_MAX || self.ejects.contains_key(&code);
        *self.ejects.entry(if is_counted { code } else { OTHER_EJECT_CODES }).or_default() += 1;
    }

    /// How many CLIENT_EJECTs there were, by their code.
    pub fn ejects(&self) -> impl Iterator<Item = (u16, u64)> {
        self.ejects.iter().map(|(&code, &count)| (code, count))
    }

    /// Counts the end of a connection or session.
    pub fn count_closed(&mut self, reason: Reason) {
        self.closed.0[reason as usize] += 1;
    }

    /// How many connections or sessions ended for this reason.
    pub fn closed(&self, reason: Reason) -> u64 {
        self.closed.0[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_with_a_thousand_eject_codes_costs_no_memory_and_loses_no_count() {
        let mut metrics = Metrics::default();
        for code in 0..1000 {
            metrics.count_eject(code);
            metrics.count_eject(7);
        }
        let ejects: Vec<_> = metrics.ejects().collect();
        assert_eq!(ejects.len(), EJECT_CODES_MAX + 1);
        assert!(ejects.contains(&(7, 1001)));
        assert_eq!(ejects.iter().map(|(_, count)| count).sum::<u64>(), 2000);
    }
}
