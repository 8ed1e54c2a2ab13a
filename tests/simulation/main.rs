//! Whole daemons under the simulator: random but valid play of links, AIs and clients, drawn from a seed, against a model
//! of the protocol that knows no executors (guarantees G1 to G6 and G9 of the design).
//!
//! `bus` is the model of the Message Director, `view` what one client may be told, `play` the acts and the model of the
//! objects, `queries` the questions. `make sim SEEDS=…` plays more seeds than the tests here do.

mod bus;
mod contract;
mod play;
mod queries;
mod runner;
mod view;
mod wire;

#[test]
fn whatever_the_interleaving_the_guarantees_are_kept() {
    runner::all(0..120);
}

/// A seed is a run: what it did once it does again, whatever the addresses and hash tables of the process.
#[test]
fn a_seed_repeats_its_play() {
    for seed in 0..10 {
        let played = || {
            wire::trace(true);
            let outcome = runner::outcome(seed, play::shape_of(seed));
            (wire::trace(false), outcome)
        };
        let (first, second) = (played(), played());
        let differs = first.0.iter().zip(&second.0).position(|(one, other)| one != other);
        let place = differs.map(|line| (&first.0[line], &second.0[line]));
        assert!(first == second, "seed {seed} differs at {place:?}");
    }
}

/// `make sim`: the seeds that `DONET_SIM_SEEDS` names, or the one of `DONET_SIM_SEED`, with its trace.
#[test]
#[ignore = "plays the seeds that the environment names: make sim SEEDS=1000"]
fn seeds_from_the_environment() {
    let named = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let Some(seed) = named("DONET_SIM_SEED") {
        let seed: u64 = seed.parse().expect("SEED is a number");
        let result = runner::replay(seed, play::shape_of(seed));
        assert_eq!(result, Ok(()), "seed {seed}");
        return;
    }
    let text = named("DONET_SIM_SEEDS").unwrap_or_else(|| "1000".to_owned());
    let Some(seeds) = runner::parse(&text) else {
        panic!("SEEDS is a count (1000) or a range (500..900), not {text:?}")
    };
    println!("playing seeds {seeds:?}");
    runner::all(seeds);
}
