//! What a crowd has done and seen, in numbers.

use crate::report::latencies;
use hdrhistogram::Histogram;
use std::ops::Sub;
use std::time::Instant;

/// What was sent, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Position updates sent, those of arrivals included.
    pub(crate) updates: u64,
    /// Position updates that reached one viewer.
    pub(crate) deliveries: u64,
    pub(crate) chats: u64,
    pub(crate) chat_deliveries: u64,
    /// Moves to another zone.
    pub(crate) moves: u64,
    /// Entries and leavings that one viewer was told of.
    pub(crate) entries: u64,
    pub(crate) leavings: u64,
    pub(crate) reconnects: u64,
    /// Updates and chats that were due while their client was not in the world.
    pub(crate) of_absent: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            updates: self.updates - earlier.updates,
            deliveries: self.deliveries - earlier.deliveries,
            chats: self.chats - earlier.chats,
            chat_deliveries: self.chat_deliveries - earlier.chat_deliveries,
            moves: self.moves - earlier.moves,
            entries: self.entries - earlier.entries,
            leavings: self.leavings - earlier.leavings,
            reconnects: self.reconnects - earlier.reconnects,
            of_absent: self.of_absent - earlier.of_absent,
        }
    }
}

/// How long each kind of thing took, from when it was due.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    /// Until a viewer has the update, or the chat.
    pub(crate) updates: Histogram<u64>,
    pub(crate) chats: Histogram<u64>,
    /// Until the mover's interest in the new zone is done.
    pub(crate) moves: Histogram<u64>,
    /// Until somebody who stands where an avatar comes to, or leaves from, is told so.
    pub(crate) entries: Histogram<u64>,
    pub(crate) leavings: Histogram<u64>,
    /// From the end of a connection until the client is back in, with its avatar and its view.
    pub(crate) reconnects: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            updates: latencies(),
            chats: latencies(),
            moves: latencies(),
            entries: latencies(),
            leavings: latencies(),
            reconnects: latencies(),
        }
    }
}

impl Latencies {
    pub(super) fn record(histogram: &mut Histogram<u64>, now: Instant, due: Instant) {
        histogram.saturating_record((now.saturating_duration_since(due).as_nanos() as u64).max(1));
    }

    pub(super) fn reset(&mut self) {
        let Self { updates, chats, moves, entries, leavings, reconnects } = self;
        [updates, chats, moves, entries, leavings, reconnects].into_iter().for_each(Histogram::reset);
    }
}
