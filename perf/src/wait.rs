//! Waiting for what tells nobody when it comes true: a file's text, another process, a figure of its status page.
//! The one place of scenarios and tests that looks again and again.

use crate::failure::Failure;
use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take before it counts as never coming true; a crowded machine is no reason to fail.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Looks until `look` finds something.
///
/// # Errors
/// What `look` fails with; and when there is nothing within [`PATIENCE`].
pub fn for_some<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>, Failure>) -> Result<T, Failure> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(Failure::new(format!("waited in vain for {what}, {PATIENCE:?}")));
        }
        thread::sleep(PAUSE);
    }
}

/// Looks until the condition holds.
///
/// # Errors
/// As [`for_some`].
pub fn until(what: &str, mut holds: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
    for_some(what, || Ok(holds()?.then_some(())))
}
