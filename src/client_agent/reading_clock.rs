//! The clock by which a client is late: it stands still while the server does not read the client (design G8).

use crate::outbox::Outbox;

/// Time during which a connection was read, in microseconds of an arbitrary beginning.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadingClock {
    /// For so long this connection was stopped by itself.
    stopped_us: u64,
    /// Since when it is.
    since_us: Option<u64>,
}

impl ReadingClock {
    pub(super) fn now_us(&self, out: &Outbox) -> u64 {
        let stopped_us = self.stopped_us + self.since_us.map_or(0, |since_us| out.now_us.saturating_sub(since_us));
        // The whole executor stops reading when the mesh is full; such times may be counted twice, in the client's favour.
        out.now_us.saturating_sub(out.unread_us).saturating_sub(stopped_us)
    }

    /// Whether the connection is read from now on.
    pub(super) fn set_reading(&mut self, reading: bool, out: &Outbox) {
        if let Some(since_us) = self.since_us.take() {
            self.stopped_us += out.now_us.saturating_sub(since_us);
        }
        self.since_us = (!reading).then_some(out.now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use donet_shards::ShardId;

    #[test]
    fn it_stands_still_while_nothing_is_read() {
        let mut out = Outbox::new(ShardId(0), 1);
        let mut clock = ReadingClock::default();
        out.now_us = 1000;
        assert_eq!(clock.now_us(&out), 1000);
        clock.set_reading(false, &out);
        out.now_us = 1500;
        assert_eq!(clock.now_us(&out), 1000);
        clock.set_reading(true, &out);
        out.now_us = 1600;
        assert_eq!(clock.now_us(&out), 1100);
        out.unread_us = 50;
        assert_eq!(clock.now_us(&out), 1050);
    }
}
