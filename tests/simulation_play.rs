//! Random plays of whole daemons keep every guarantee, and a seed repeats its play (`simulation/mod.rs`). `make sim SEEDS=…`
//! plays more seeds than the tests here do.

#[allow(dead_code, reason = "seeds are named by the program of `make sim`")]
mod simulation;

use simulation::{play, runner, wire};

#[test]
fn whatever_the_interleaving_the_guarantees_are_kept() {
    runner::all(0..120).unwrap_or_else(|error| panic!("{error}"));
}

/// Small worlds have long deletions: what is for many objects is cut, and others come in between.
#[test]
fn what_is_for_many_objects_is_played_in_slices() {
    let deferred = |seed: u64| {
        let mut play = play::Play::new(seed, play::shape_of(seed));
        play.run().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        play.deferred
    };
    let seeds = 0..30;
    let deferred: u64 = seeds.clone().map(deferred).sum();
    println!("{deferred} messages to many objects cut into slices in {} plays", seeds.end);
    assert!(deferred > seeds.end, "only {deferred}");
}

/// What the plays are there for comes up in them: daemons that are joined, that crash, that lose each other; clients that do
/// not read, dropped at their budget.
#[test]
fn mishaps_come_up_in_the_plays() {
    let played = |seed: u64| {
        let mut play = play::Play::new(seed, play::shape_of(seed));
        play.run().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        [u64::from(play.is_joined()), play.crashes, play.breaks, play.dropped, play.changed_unheard]
    };
    let all: Vec<[u64; 5]> = (0..60).map(played).collect();
    let sums = [0, 1, 2, 3, 4].map(|which| all.iter().map(|counts| counts[which]).sum::<u64>());
    println!(
        "plays with several daemons, crashes, lost links, clients dropped at their budget, lost links with changes: {sums:?}"
    );
    assert!(sums[0] >= 20 && sums[1] > 5 && sums[2] > 10 && sums[3] > 2 && sums[4] > 3, "{sums:?}");
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
