//! The channels of one range (`protocol-md-ca-el.md` §3.2, "Pool").
//!
//! Decides which channel the next client gets. It lives on one executor and never talks to another: sessions that end
//! elsewhere send their channel back.

use crate::wire::Channel;
use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Hands out channels ascending; freed ones only when the range has been walked once, oldest-freed first (CA-50), and
/// not before they have rested: owned objects that no AI has reset still point at a dead session's channel (§3.13).
#[derive(Debug)]
pub(super) struct Pool {
    /// The next channel that was never used; `None` when the range has been walked.
    next: Option<Channel>,
    last: Channel,
    quarantine_us: u64,
    /// Freed channels and when they were freed. As long as the range at most.
    freed: VecDeque<(Channel, u64)>,
}

impl Pool {
    pub(super) fn new(range: RangeInclusive<Channel>, quarantine_us: u64) -> Self {
        let next = (!range.is_empty()).then_some(*range.start());
        Self { next, last: *range.end(), quarantine_us, freed: VecDeque::new() }
    }

    /// Freed channels rest for another time.
    pub(super) fn reload(&mut self, quarantine_us: u64) {
        self.quarantine_us = quarantine_us;
    }

    /// The next channel, or `None` while all are in use or resting.
    pub(super) fn allocate(&mut self, now_us: u64) -> Option<Channel> {
        if let Some(channel) = self.next {
            self.next = (channel < self.last).then(|| channel + 1);
            return Some(channel);
        }
        let &(channel, freed_us) = self.freed.front()?;
        if now_us.saturating_sub(freed_us) < self.quarantine_us {
            return None;
        }
        self.freed.pop_front();
        Some(channel)
    }

    /// Takes back the channel of a session that has ended.
    pub(super) fn release(&mut self, channel: Channel, now_us: u64) {
        self.freed.push_back((channel, now_us));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ca_50_the_range_is_walked_before_a_freed_channel_is_used_oldest_first() {
        let mut pool = Pool::new(1000..=1002, 0);
        assert_eq!((pool.allocate(0), pool.allocate(0)), (Some(1000), Some(1001)));
        pool.release(1001, 1);
        pool.release(1000, 2);
        let next: Vec<_> = (0..4).map(|_| pool.allocate(3)).collect();
        assert_eq!(next, [Some(1002), Some(1001), Some(1000), None]);
    }

    #[test]
    fn a_freed_channel_rests_before_it_is_used_again() {
        let mut pool = Pool::new(1000..=1000, 500);
        assert_eq!(pool.allocate(0), Some(1000));
        pool.release(1000, 100);
        assert_eq!(pool.allocate(599), None);
        assert_eq!(pool.allocate(600), Some(1000));
    }

    #[test]
    fn a_range_may_end_at_the_last_channel_there_is() {
        let mut pool = Pool::new(u64::MAX - 1..=u64::MAX, 0);
        let next: Vec<_> = (0..3).map(|_| pool.allocate(0)).collect();
        assert_eq!(next, [Some(u64::MAX - 1), Some(u64::MAX), None]);
    }
}
