//! The whole session of the first light, against the daemon that was just built: one test per number of executors,
//! because an outside observer must not see the difference (guarantee G9).

use donet_perf::session::{Target, run};

fn play(shards: usize) {
    let target = Target::Own { donetd: env!("CARGO_BIN_EXE_donetd").into(), shards };
    let report = run(&target, &mut |step| println!("{step}")).unwrap_or_else(|failure| panic!("{failure}"));
    let numbers: Vec<u8> = report.steps.iter().map(|step| step.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    assert!(report.steps.iter().all(|step| step.left_out.is_none()), "{report:?}");
}

#[test]
fn on_one_executor() {
    play(1);
}

#[test]
fn on_two_executors() {
    play(2);
}

#[test]
fn on_four_executors() {
    play(4);
}
