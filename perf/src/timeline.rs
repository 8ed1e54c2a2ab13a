//! How often something happened over the time of a run: what an average hides.

use std::time::{Duration, Instant};

/// What happens within one of these is counted together.
const STEP: Duration = Duration::from_millis(100);
/// A run of more than a day is not drawn to its end.
const STEPS_MAX: usize = 1_000_000;
/// A curve has at most about so many points.
const POINTS: usize = 240;

/// Counts by time.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    begin: Instant,
    counts: Vec<u32>,
}

impl Timeline {
    pub(crate) fn new(begin: Instant) -> Self {
        Self { begin, counts: Vec::new() }
    }

    pub(crate) fn add(&mut self, now: Instant, count: u32) {
        let step = (now.saturating_duration_since(self.begin).as_millis() / STEP.as_millis()) as usize;
        if step >= self.counts.len() {
            if step >= STEPS_MAX {
                return;
            }
            self.counts.resize(step + 1, 0);
        }
        self.counts[step] = self.counts[step].saturating_add(count);
    }

    /// Seconds since the beginning, and how many a second there were around that time. The last, unfinished step is left
    /// out.
    pub(crate) fn per_second(&self) -> Vec<(f64, f64)> {
        let whole = &self.counts[..self.counts.len().saturating_sub(1)];
        let together = whole.len().div_ceil(POINTS).max(1);
        let step = STEP.as_secs_f64();
        let point = |(number, part): (usize, &[u32])| {
            let seconds = part.len() as f64 * step;
            let sum: f64 = part.iter().copied().map(f64::from).sum();
            ((number * together) as f64 * step + seconds / 2.0, sum / seconds)
        };
        whole.chunks(together).enumerate().map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_become_rates_at_their_time() {
        let begin = Instant::now();
        let mut timeline = Timeline::new(begin);
        for (milliseconds, count) in [(10, 3), (90, 2), (210, 7), (350, 9)] {
            timeline.add(begin + Duration::from_millis(milliseconds), count);
        }
        let rounded: Vec<_> =
            timeline.per_second().iter().map(|&(at, rate)| ((at * 100.0).round(), rate.round())).collect();
        assert_eq!(rounded, [(5.0, 50.0), (15.0, 0.0), (25.0, 70.0)]);
    }

    #[test]
    fn a_long_run_is_drawn_with_few_points() {
        let begin = Instant::now();
        let mut timeline = Timeline::new(begin);
        (0..100_001).for_each(|step| timeline.add(begin + STEP * step, 10));
        let points = timeline.per_second();
        assert!(points.len() <= POINTS && points.iter().all(|&(_, rate)| (rate - 100.0).abs() < 1.0), "{points:?}");
        timeline.add(begin + Duration::from_secs(10_000_000), 1);
        assert_eq!(timeline.counts.len(), 100_001);
    }
}
