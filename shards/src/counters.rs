//! What one executor counts of itself: plain integers of its own thread.

/// How a figure behaves over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One number with its name and meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figure {
    pub name: &'static str,
    pub kind: Kind,
    /// A sentence.
    pub help: &'static str,
    pub value: u64,
}

/// Turns that take so long, in microseconds, are counted and logged: whoever waits for this executor notices them.
pub const SLOW_TURN_US: u64 = 10_000;

/// A histogram of how long turns took, in powers of two of a microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TurnTimes {
    /// Index i counts turns of less than 2^i microseconds, and at least half of that.
    buckets: [u64; TurnTimes::BUCKETS],
    sum_us: u64,
    slow: u64,
}

impl TurnTimes {
    /// The last one has no upper bound; the one before ends at 2^22 microseconds, some four seconds.
    pub const BUCKETS: usize = 24;

    /// Adds one turn.
    pub fn record(&mut self, took_us: u64) {
        let bits = (u64::BITS - took_us.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bits.min(Self::BUCKETS - 1)] += 1;
        self.sum_us += took_us;
        self.slow += u64::from(took_us >= SLOW_TURN_US);
    }

    /// For each bucket its upper bound in microseconds (inclusive; `None` = no bound), and how many turns it counts.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bound = |index| (index + 1 < Self::BUCKETS).then(|| 1u64 << index);
        self.buckets.into_iter().enumerate().map(move |(index, count)| (bound(index), count))
    }

    /// Microseconds that all turns took together.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Turns of [`SLOW_TURN_US`] and more.
    pub fn slow(&self) -> u64 {
        self.slow
    }
}

macro_rules! figures {
    ($(#[$meta:meta])* $type:ident, $kind:ident, { $($(#[doc = $doc:literal])+ $name:ident,)* } $({ $extra:ident: $extra_type:ty })?) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $type { $($(#[doc = $doc])+ pub $name: u64,)* $(pub $extra: $extra_type,)? }

        impl $type {
            /// Every number, in the order of their declaration.
            pub fn figures(&self) -> impl Iterator<Item = Figure> {
                [$(Figure {
                    name: stringify!($name),
                    kind: Kind::$kind,
                    help: concat!($($doc),+).trim_ascii(),
                    value: self.$name,
                },)*].into_iter()
            }
        }
    };
}

figures! {
    /// Counters of one executor, since its start.
    Counters, Counter, {
        /// Turns that handled something.
        turns,
        /// Handlers run.
        handlers,
        /// Messages handled where they came in, without a place behind others.
        handlers_at_once,
        /// Turns that spent their budget and left work to the next.
        turns_cut_short,
        /// Turns that ended with something waiting for room in a ring.
        clogged_turns,
        /// Messages taken from other executors.
        messages_taken,
        /// Bytes read from connections.
        bytes_received,
        /// Bytes handed to connections.
        bytes_sent,
        /// System calls that sent.
        sends,
        /// System calls that received.
        receives,
        /// Times that more than its high-water mark waited to be sent on a connection.
        congestions,
        /// UDP packets sent.
        packets_sent,
        /// UDP packets that the system did not take.
        packets_failed,
        /// Handlers that panicked where the application had no participant to blame.
        uncontained_panics,
    }
    { turn_times: TurnTimes }
}

figures! {
    /// How full the queues of one executor are.
    Queues, Gauge, {
        /// Handlers that are due.
        work,
        /// Effects of turns that are not committed yet.
        held_effects,
        /// Timers that are set.
        timers,
        /// Connections that are served.
        connections,
        /// Batches that wait for room in a ring; while there is one, no source is read.
        batches_waiting,
        /// Batches in the fullest outgoing ring.
        ring_batches_max,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_falls_into_the_bucket_up_to_its_bound() {
        let mut times = TurnTimes::default();
        for took_us in [0, 1, 3, 4, 10_000, u64::MAX >> 20] {
            times.record(took_us);
        }
        let filled: Vec<_> = times.buckets().filter(|&(_, count)| count > 0).collect();
        assert_eq!(filled, [(Some(1), 2), (Some(4), 2), (Some(16_384), 1), (None, 1)]);
        assert_eq!(times.slow(), 2);
        assert_eq!(times.sum_us(), 10_008 + (u64::MAX >> 20));
    }
}
