//! How far a long command is, on standard error: a bar on a terminal, elsewhere a line now and then.

use crate::database_server::Walked;
use crate::progress_lines::ProgressLines;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

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
    Lines(ProgressLines),
}

impl Progress {
    pub fn new(what: &'static str) -> Self {
        let shown = if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(STEPS as u64).with_style(style("{spinner} {msg}, {elapsed}")).with_message(what);
            bar.enable_steady_tick(Duration::from_millis(200));
            Shown::Bar { bar, has_end: false }
        } else {
            Shown::Lines(ProgressLines::new(Instant::now()))
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
                if let Some(seconds) = lines.due(Instant::now()) {
                    eprintln!("{}", line(&text(), share, seconds));
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

/// What a line says.
fn line(text: &str, share: Option<f64>, seconds: u64) -> String {
    let percent = share.map(|share| format!(" ({:.0} %)", 100.0 * share.clamp(0.0, 1.0))).unwrap_or_default();
    format!("{text}{percent} after {seconds} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_far_it_is() {
        assert_eq!(line("36,000 objects exported", Some(0.5), 1800), "36,000 objects exported (50 %) after 1800 s");
        assert_eq!(line("7 objects imported", None, 10), "7 objects imported after 10 s");
    }
}
