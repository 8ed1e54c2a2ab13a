//! When a long run says in a line how far it is, where no bar can be drawn: in logs, and where standard error is a file.

use std::time::{Duration, Instant};

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// The lines of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ProgressLines {
    begun: Instant,
    said: Instant,
}

impl ProgressLines {
    pub fn new(now: Instant) -> Self {
        Self { begun: now, said: now }
    }

    /// If a line is due: the whole seconds since the run began.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.said) < INTERVAL {
            return None;
        }
        self.said = now;
        Some(now.saturating_duration_since(self.begun).as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_says_a_line_every_ten_seconds_and_a_short_one_none() {
        let begun = Instant::now();
        let lines = |seconds: u32| -> Vec<u64> {
            let mut lines = ProgressLines::new(begun);
            // It looks twenty times a second.
            (0..20 * seconds).filter_map(|step| lines.due(begun + step * Duration::from_millis(50))).collect()
        };
        assert!(lines(9).is_empty());
        assert_eq!(lines(3600), (1..360).map(|line| 10 * line).collect::<Vec<_>>());
    }
}
