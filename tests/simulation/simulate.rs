//! Plays seeds in the simulator, `make sim`: `cargo run --example simulate -- 1000` (a count), `-- 500..900` (a range),
//! `-- --trace 7` (one, with what happened in it). Exit status 1 when a guarantee is not kept.

#[path = "mod.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod simulation;

use clap::Parser;
use simulation::{play, runner};
use std::ops::Range;
use std::process::ExitCode;

/// Plays whole daemons in the simulator, against a model of the protocol.
#[derive(Parser)]
struct Arguments {
    /// How many seeds, from 0, or which: FROM..TO
    #[arg(default_value = "1000", value_parser = seeds)]
    seeds: Range<u64>,
    /// Plays this seed only, and prints the end of what happened in it, or all of it with DONET_SIM_ALL=1
    #[arg(long, value_name = "SEED", conflicts_with = "seeds")]
    trace: Option<u64>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    runner::parse(text).ok_or_else(|| "it is a count (1000) or a range (500..900)".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(seed) = arguments.trace {
        let result = runner::replay(seed, play::shape_of(seed));
        return ExitCode::from(u8::from(result.is_err()));
    }
    println!("playing seeds {:?}", arguments.seeds);
    match runner::all(arguments.seeds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}
