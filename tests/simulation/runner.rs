//! Runs seeds; a seed that fails is played again, with everything noted.

use crate::simulation::play::{Play, shape_of};
use crate::simulation::wire::trace;
use donet_shards::sim::Shape;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Lines of a failed play that are printed.
const TRACE_LINES: usize = 400;

/// Plays one seed; some text when it fails.
pub fn outcome(seed: u64, shape: Shape) -> Result<(), String> {
    let played = catch_unwind(AssertUnwindSafe(|| Play::new(seed, shape).run()));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_default())
    })
}

/// Plays a seed with everything noted and prints the end of it, or all with `DONET_SIM_ALL`. Returns how it ended.
pub fn replay(seed: u64, shape: Shape) -> Result<(), String> {
    trace(true);
    let result = outcome(seed, shape);
    let lines = trace(false);
    let from = if std::env::var_os("DONET_SIM_ALL").is_some() { 0 } else { lines.len().saturating_sub(TRACE_LINES) };
    println!("the last {} of {} lines of seed {seed}, {shape:?}:", lines.len() - from, lines.len());
    for line in &lines[from..] {
        println!("{line}");
    }
    println!("seed {seed}: {result:?}");
    result
}

/// Plays seeds, each in its own shape, up to the first that fails, which is played again with its trace.
pub fn all(seeds: Range<u64>) -> Result<(), String> {
    for seed in seeds {
        let shape = shape_of(seed);
        if let Err(error) = outcome(seed, shape) {
            let again = replay(seed, shape);
            let repeats = if again.as_ref() == Err(&error) { "" } else { ", and does not repeat" };
            return Err(format!("seed {seed} fails{repeats}: {error}\nplay it again: make sim SEED={seed}"));
        }
    }
    Ok(())
}

/// The seeds that a text names: a count, from 0, or `FROM..TO`.
pub fn parse(text: &str) -> Option<Range<u64>> {
    match text.split_once("..") {
        Some((from, to)) => Some(from.parse().ok()?..to.parse().ok()?),
        None => Some(0..text.parse().ok()?),
    }
}
