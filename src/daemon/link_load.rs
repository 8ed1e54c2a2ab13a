//! Where the next link is served: on the executor whose links have the least to do.
//!
//! Links are few and fat, and which of them are fat shows only when they speak. So each executor counts the bytes of its
//! links, the upstream one included, and reports them to the acceptor, a few times a second at most and only while there
//! are any. The acceptor keeps a decaying sum for each executor. It knows no clock but its turn's.

use super::{Daemon, LINK_ACCEPTOR, Message};
use crate::outbox::RoleTimer;
use donet_shards::{ShardId, Turn};

/// What is counted is reported so long after the first of it.
const REPORT_US: u64 = 250_000;
/// Of what an executor has reported half is forgotten in this time: an AI that speaks once a second counts as busy, one
/// that loads a level and falls silent does not for long.
const HALF_LIFE_US: u64 = 2_000_000;
/// Less than this, some 90 KB a second, is as good as nothing.
const QUIET_BYTES: u64 = 256 * 1024;

/// The bytes of one executor's links that it has not reported.
#[derive(Debug, Default)]
pub(super) struct LinkTraffic {
    bytes: u64,
    is_due: bool,
}

impl LinkTraffic {
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

/// What the acceptor knows of the executors.
#[derive(Debug)]
pub(super) struct LinkLoads(Vec<Load>);

#[derive(Clone, Debug, Default)]
struct Load {
    links: usize,
    /// Bytes of its links, the older the less, as of `at_us`.
    recent_bytes: u64,
    at_us: u64,
}

impl Load {
    fn recent_bytes(&self, now_us: u64) -> u64 {
        let elapsed_us = now_us.saturating_sub(self.at_us);
        let left = u32::try_from(elapsed_us / HALF_LIFE_US).ok().and_then(|times| self.recent_bytes.checked_shr(times));
        let left = left.unwrap_or(0);
        // A straight line within each half-life.
        left - (u128::from(left) * u128::from(elapsed_us % HALF_LIFE_US) / u128::from(2 * HALF_LIFE_US)) as u64
    }

    /// Steps of a factor of two: what differs by less is alike, and the number of links decides.
    fn step(&self, now_us: u64) -> u32 {
        (self.recent_bytes(now_us) / QUIET_BYTES).checked_ilog2().map_or(0, |step| step + 1)
    }
}

impl LinkLoads {
    pub(super) fn new(shards: usize) -> Self {
        Self(vec![Load::default(); shards])
    }

    pub(super) fn report(&mut self, shard: ShardId, bytes: u64, now_us: u64) {
        let load = &mut self.0[shard.index()];
        load.recent_bytes = load.recent_bytes(now_us).saturating_add(bytes);
        load.at_us = now_us;
    }

    /// The executor for a link: the one with the least traffic, of those the one with the fewest links, the first.
    pub(super) fn claim(&mut self, now_us: u64) -> ShardId {
        let index = (0..self.0.len()).min_by_key(|&index| (self.0[index].step(now_us), self.0[index].links));
        let shard = ShardId(index.expect("there is an executor") as u16);
        self.add(shard);
        shard
    }

    /// A link that this executor serves without having been chosen.
    pub(super) fn add(&mut self, shard: ShardId) {
        self.0[shard.index()].links += 1;
    }

    pub(super) fn release(&mut self, shard: ShardId) {
        self.0[shard.index()].links -= 1;
    }
}

impl Daemon {
    /// At the end of a turn: the acceptor is told of traffic soon.
    pub(super) fn note_link_traffic(&mut self, turn: &mut Turn<Self>) {
        if self.link_traffic.bytes > 0 && !self.link_traffic.is_due && turn.shards() > 1 {
            self.link_traffic.is_due = true;
            turn.timer(turn.now_us() + REPORT_US, RoleTimer::LinkTraffic);
        }
    }

    pub(super) fn report_link_traffic(&mut self, turn: &mut Turn<Self>) {
        let LinkTraffic { bytes, .. } = std::mem::take(&mut self.link_traffic);
        turn.send(LINK_ACCEPTOR, Message::LinkTraffic { bytes });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;
    const FAT_BYTES: u64 = 100 << 20;

    #[test]
    fn without_traffic_links_are_spread_by_number() {
        let mut loads = LinkLoads::new(4);
        loads.add(ShardId(0));
        let places: Vec<u16> = (0..7).map(|_| loads.claim(0).0).collect();
        assert_eq!(places, [1, 2, 3, 0, 1, 2, 3]);
        loads.release(ShardId(2));
        assert_eq!(loads.claim(0), ShardId(2));
        // A little traffic is none.
        (0..2).for_each(|shard| loads.report(ShardId(shard), QUIET_BYTES - 1, 0));
        assert_eq!([loads.claim(0), loads.claim(0)].map(|shard| shard.0), [0, 1]);
    }

    #[test]
    fn a_fat_link_has_its_executor_for_itself_while_others_idle() {
        let mut loads = LinkLoads::new(3);
        let fat = loads.claim(0);
        loads.report(fat, FAT_BYTES, SECOND_US);
        let second = loads.claim(SECOND_US);
        loads.report(second, FAT_BYTES + FAT_BYTES / 10, SECOND_US);
        for _ in 0..20 {
            assert_eq!(loads.claim(2 * SECOND_US), ShardId(2), "it alone is idle");
        }
        // When all are about as busy, the number decides again.
        loads.report(ShardId(2), FAT_BYTES, 2 * SECOND_US);
        loads.report(fat, FAT_BYTES / 3, 2 * SECOND_US);
        loads.report(second, FAT_BYTES / 3, 2 * SECOND_US);
        assert_eq!([loads.claim(2 * SECOND_US), loads.claim(2 * SECOND_US)].map(|shard| shard.0), [0, 1]);
    }

    #[test]
    fn what_was_is_forgotten_by_halves() {
        let mut loads = LinkLoads::new(2);
        loads.report(ShardId(0), 1 << 30, 0);
        let after = |half_lives: u64| loads.0[0].recent_bytes(half_lives * HALF_LIFE_US);
        assert_eq!(
            [after(0), after(1), after(2), after(30), after(64), after(1 << 40)],
            [1 << 30, 1 << 29, 1 << 28, 1, 0, 0]
        );
        assert_eq!(loads.0[0].recent_bytes(HALF_LIFE_US / 2), (1 << 30) / 4 * 3);
        let mut ever = (0..100).map(|tenth| loads.0[0].recent_bytes(tenth * HALF_LIFE_US / 10));
        let mut last = ever.next().unwrap();
        ever.for_each(|now| assert!(std::mem::replace(&mut last, now) >= now));
        // The clock of a turn never goes back; an earlier one changes nothing.
        loads.report(ShardId(0), 5, HALF_LIFE_US);
        assert_eq!(loads.0[0].recent_bytes(0), (1 << 29) + 5);
        assert_eq!(loads.claim(HALF_LIFE_US), ShardId(1));
        assert_eq!(loads.claim(20 * HALF_LIFE_US), ShardId(0), "it is long ago");
    }
}
