//! How far a long command is, on standard error: a bar on a terminal, elsewhere a line now and then.

use crate::database_server::Walked;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Between two lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// Steps of a bar.
const STEPS: f64 = 1_000_000.0;

/// The progress of one command. Nothing is left of a bar when it is dropped.
pub(super) struct Progress {
    /// Such as "objects exported".
    what: &'static str,
    shown: Shown,
}

enum Shown {
    Bar { bar: ProgressBar, has_end: bool },
    Lines(Lines),
}

impl Progress {
    pub fn new(what: &'static str) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(STEPS as u64).with_style(style("{spinner} {msg}, {elapsed}")).with_message(what);
            bar.enable_steady_tick(Duration::from_millis(200));
            Shown::Bar { bar, has_end: false }
        } else {
            Shown::Lines(Lines::new(Instant::now()))
        };
        Self { what, shown }
    }

    /// So many are done, which is such a share (0 to 1) of all, where that is known.
    pub fn count(&mut self, done: u64, share: Option<f64>) {
        let what = self.what;
        self.show(share, || format!("{} {what}", HumanCount(done)));
    }

    pub fn walked(&mut self, walked: Walked) {
        self.count(walked.objects, Some(walked.share));
    }

    /// So many bytes of so many.
    pub fn bytes(&mut self, done: u64, all: u64) {
        let what = self.what;
        let share = (all > 0).then(|| done as f64 / all as f64);
        self.show(share, || format!("{} of {} {what}", HumanBytes(done), HumanBytes(all)));
    }

    fn show(&mut self, share: Option<f64>, text: impl FnOnce() -> String) {
        match &mut self.shown {
            Shown::Bar { bar, has_end } => {
                if let Some(share) = share {
                    if !std::mem::replace(has_end, true) {
                        bar.set_style(style("[{bar:30}] {percent} % {msg}, {elapsed}, {eta} left"));
                    }
                    bar.set_position((share.clamp(0.0, 1.0) * STEPS) as u64);
                }
                bar.set_message(text());
            }
            Shown::Lines(lines) => {
                if let Some(line) = lines.line(Instant::now(), share, text) {
                    eprintln!("{line}");
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Shown::Bar { bar, .. } = &self.shown {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a sound template").progress_chars("=> ")
}

/// When a line is due, and what it says.
struct Lines {
    begun: Instant,
    said: Instant,
}

impl Lines {
    fn new(now: Instant) -> Self {
        Self { begun: now, said: now }
    }

    fn line(&mut self, now: Instant, share: Option<f64>, text: impl FnOnce() -> String) -> Option<String> {
        if now.saturating_duration_since(self.said) < LINE_INTERVAL {
            return None;
        }
        self.said = now;
        let percent = share.map(|share| format!(" ({:.0} %)", 100.0 * share.clamp(0.0, 1.0))).unwrap_or_default();
        Some(format!("{}{percent} after {} s", text(), now.saturating_duration_since(self.begun).as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_a_line_comes_every_ten_seconds() {
        let begun = Instant::now();
        let mut lines = Lines::new(begun);
        // An hour of a command that tells of itself twenty times a second.
        let told: Vec<String> = (0..72_000_u32)
            .filter_map(|step| {
                let share = f64::from(step) / 72_000.0;
                lines.line(begun + step * Duration::from_millis(50), Some(share), || format!("{step} objects exported"))
            })
            .collect();
        assert_eq!(told.len(), 359);
        assert_eq!(told[0], "200 objects exported (0 %) after 10 s");
        assert_eq!(told[179], "36000 objects exported (50 %) after 1800 s");
        let line = lines.line(begun + Duration::from_secs(7200), None, || "7 objects imported".to_owned());
        assert_eq!(line.as_deref(), Some("7 objects imported after 7200 s"));
    }
}
