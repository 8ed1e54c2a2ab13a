//! Log lines about refused messages, kept to a few a second: a peer that sends nonsense must not fill the disk.
//!
//! Decides which lines are written. It counts every refusal, written or not.

use crate::outbox::Outbox;
use std::fmt::Display;

/// How many lines one partition may write in one window.
const LINES_PER_WINDOW: u32 = 10;
const WINDOW_US: u64 = 1_000_000;

/// The refusals of one partition of a role.
#[derive(Debug, Default)]
pub struct RefusalLog {
    window_started_us: u64,
    lines: u32,
    suppressed: u64,
}

impl RefusalLog {
    /// Counts a refusal, and writes the line unless the window is full. `line` names the doid, the class, the field and
    /// the sender, as far as they are known.
    pub fn refuse(&mut self, out: &mut Outbox, line: impl Display) {
        out.metrics.object_messages_refused += 1;
        self.note(out.now_us, line);
    }

    /// Writes a line about something odd that was accepted, unless the window is full.
    pub fn note(&mut self, now_us: u64, line: impl Display) {
        if let Some(suppressed) = self.admit(now_us) {
            tracing::warn!(suppressed, "{line}");
        }
    }

    /// Whether a line may be written now; if so, how many were not written since the last one.
    fn admit(&mut self, now_us: u64) -> Option<u64> {
        if now_us.saturating_sub(self.window_started_us) >= WINDOW_US {
            self.window_started_us = now_us;
            self.lines = 0;
        }
        if self.lines == LINES_PER_WINDOW {
            self.suppressed += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_writes_ten_lines_a_second_and_says_how_many_it_left_out() {
        let mut log = RefusalLog::default();
        let written = (0..100).filter(|_| log.admit(5).is_some()).count();
        assert_eq!(written, 10);
        assert_eq!(log.admit(WINDOW_US), Some(90));
        assert_eq!(log.admit(WINDOW_US), Some(0));
    }
}
