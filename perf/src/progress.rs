//! What a person at a terminal sees while a load runs. Writes nothing where nobody looks.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(250);

/// One line that changes.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    next: Instant,
}

impl Progress {
    /// Of something that takes `total` units.
    pub(crate) fn new(title: &str, total: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(title.to_owned());
        Self { bar, next: Instant::now() }
    }

    /// Shows where it is, a few times a second; `text` is asked for only then.
    pub(crate) fn show(&mut self, now: Instant, position: u64, text: impl FnOnce() -> String) {
        if now >= self.next {
            self.next = now + EVERY;
            self.bar.set_position(position);
            self.bar.set_message(text());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
