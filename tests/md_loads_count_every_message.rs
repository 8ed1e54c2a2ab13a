//! The loads of `donet-perf md` see every message of a daemon once and in order, and report what they saw. Figures are
//! looked at for sense, never for speed.

use donet_perf::md::{FanOut, Kind, PingPong, Subscribe, Times};
use donet_perf::report::Report;
use donet_perf::target::{Target, TargetArguments};
use std::path::PathBuf;

const TIMES: Times = Times { seconds: 0.5, warm_up: 0.1 };

fn daemon(shards: usize) -> Target {
    let arguments = TargetArguments {
        donetd: Some(PathBuf::from(env!("CARGO_BIN_EXE_donetd"))),
        shards,
        // Tests share the machine.
        server_cpu: "none".to_owned(),
        ..TargetArguments::default()
    };
    Target::start(&arguments, 0).unwrap_or_else(|failure| panic!("{failure}"))
}

fn figure(report: &Report, name: &str) -> f64 {
    report.figure(name).unwrap_or_else(|| panic!("{name} is missing in {}", report.json_line()))
}

fn run(load: FanOut, shards: usize) -> Report {
    load.run(&daemon(shards)).unwrap_or_else(|failure| panic!("{failure}"))
}

const CLOSED: FanOut =
    FanOut { fan_out: 3, payload: 64, senders: 2, window: 500, rate: None, one_per_write: false, times: TIMES };

#[test]
fn a_window_of_messages_reaches_every_receiver_in_order() {
    for shards in [1, 2] {
        let report = run(CLOSED, shards);
        assert!(figure(&report, "deliveries") > 0.0);
        assert!(figure(&report, "server_usage/cpu_s") > 0.0);
        assert!(figure(&report, "cpu_s_per_million_deliveries") > 0.0);
        assert!(figure(&report, "latency_us/p50") > 0.0);
    }
}

#[test]
fn one_message_per_write_arrives_as_well() {
    let report = run(FanOut { one_per_write: true, payload: 512, ..CLOSED }, 2);
    assert!(figure(&report, "deliveries") > 0.0);
}

#[test]
fn an_open_loop_sends_what_is_due_and_no_more() {
    let report = run(FanOut { rate: Some(400.0), times: Times { seconds: 2.0, warm_up: 0.5 }, ..CLOSED }, 1);
    let sent = figure(&report, "sent");
    // What is due is given by the clock. A generator that did not run for a moment catches up.
    assert!(sent > 0.0 && sent <= 400.0 * figure(&report, "seconds") + 400.0, "{sent}");
    assert_eq!(figure(&report, "latency_us/count"), figure(&report, "deliveries"));
}

#[test]
fn a_ping_has_a_pong() {
    let load = PingPong { payload: 64, times: TIMES };
    let report = load.run(&daemon(2)).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(figure(&report, "round_trips") > 0.0);
    assert!(figure(&report, "round_trip_us/max") >= figure(&report, "round_trip_us/p50"));
}

#[test]
fn subscriptions_are_counted_and_end_with_their_link() {
    for (kind, count) in [(Kind::Ordered, 5000), (Kind::Random, 5000), (Kind::Ranges, 500)] {
        let load = Subscribe { kind, count };
        let report = load.run(&daemon(2)).unwrap_or_else(|failure| panic!("{kind:?}: {failure}"));
        assert!(figure(&report, "cpu_s_per_million_subscriptions") > 0.0);
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let running = TargetArguments { server: Some("127.0.0.1:1".to_owned()), ..TargetArguments::default() };
    let target = Target::start(&running, 0).unwrap_or_else(|failure| panic!("{failure}"));
    let failure = CLOSED.run(&target).unwrap_err().to_string();
    assert!(failure.contains("127.0.0.1:1"), "{failure}");
}
