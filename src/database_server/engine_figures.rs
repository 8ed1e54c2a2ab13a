//! What a database's thread counts: how long operations take, and how many share a write.
//!
//! Written by that thread, read by whoever is asked for figures. Executors touch one of them: the bytes that wait, which
//! they add to as they submit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

/// Counts of values in powers of two.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Index i counts values below 2^i, and at least half of that.
    buckets: [AtomicU64; Histogram::BUCKETS],
    sum: AtomicU64,
}

impl Histogram {
    /// The last one has no upper bound; the one before ends at 2^24: sixteen seconds in microseconds.
    pub const BUCKETS: usize = 26;

    pub fn record(&self, value: u64) {
        let bits = (u64::BITS - value.saturating_sub(1).leading_zeros()) as usize;
        self.buckets[bits.min(Self::BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// In whole microseconds.
    pub fn record_time(&self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// For each bucket its upper bound (inclusive; `None` = no bound), and how many values it counts.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        let bound = |index| (index + 1 < Self::BUCKETS).then(|| 1u64 << index);
        self.buckets.iter().enumerate().map(move |(index, count)| (bound(index), count.load(Ordering::Relaxed)))
    }

    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Relaxed)
    }
}

/// Figures of one database.
#[derive(Debug, Default)]
pub struct EngineFigures {
    /// From the submission of an operation to its answer, in microseconds: waiting and the sync are in it.
    pub latency_us: Histogram,
    /// Operations that one write to the disk has carried.
    pub batch_operations: Histogram,
    /// Of the write and the sync of a batch, in microseconds.
    pub commit_us: Histogram,
    /// Operations that were refused because too much was waiting.
    pub refused: AtomicU64,
    /// Bytes of operations that wait; the executors add to it as they submit.
    pub queued_bytes: Arc<AtomicUsize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_falls_into_the_bucket_up_to_its_bound() {
        let histogram = Histogram::default();
        for value in [0, 1, 3, 1 << 30] {
            histogram.record(value);
        }
        let filled: Vec<_> = histogram.buckets().filter(|&(_, count)| count > 0).collect();
        assert_eq!(filled, [(Some(1), 2), (Some(4), 1), (None, 1)]);
        assert_eq!(histogram.sum(), 4 + (1 << 30));
    }
}
