//! `donet-perf objects` and `donet-perf db` against the daemon: every operation is done as often as was asked, and every
//! answer is what it has to be.

use donet_perf::Failure;
use donet_perf::objects::Objects;
use donet_perf::report::Report;
use donet_perf::stored::{Durability, Stored};
use donet_perf::target::{Target, TargetArguments};
use std::path::PathBuf;

fn arguments(shards: usize) -> TargetArguments {
    let donetd = Some(PathBuf::from(env!("CARGO_BIN_EXE_donetd")));
    TargetArguments { donetd, shards, server_cpu: "none".to_owned(), ..TargetArguments::default() }
}

fn figure(report: &Report, name: &str) -> f64 {
    report.figure(name).unwrap_or_else(|| panic!("{name} is missing in {}", report.json_line()))
}

/// The operations of a run, with how often each was done.
fn operations(reports: &[Report]) -> Vec<(String, f64)> {
    let line = |report: &Report| serde_json::from_str::<serde_json::Value>(&report.json_line()).expect("JSON");
    let name = |report: &Report| line(report)["workload"].as_str().expect("a name").to_owned();
    reports.iter().map(|report| (name(report), figure(report, "operations"))).collect()
}

#[test]
fn live_objects() -> Result<(), Failure> {
    for shards in [1, 2, 4] {
        // No multiple of a zone or of a batch.
        let load =
            Objects { objects: 1050, zone_size: 100, count: 3000, operations: Vec::new(), listeners: 7, window: 256 };
        let target = Target::start_with(&arguments(shards), 0, |setup| load.configure(setup))?;
        let mut reports = Vec::new();
        load.run(&target, |report| reports.push(report.clone()))?;
        let expected = [
            ("create", 1050.0),
            ("get", 3000.0),
            ("set", 3000.0),
            ("broadcast", 428.0),
            ("move", 3000.0),
            ("zone", 30.0),
        ];
        let expected = expected.into_iter().chain([("delete", 1050.0)]);
        let expected: Vec<_> = expected.map(|(name, count)| (format!("objects {name}"), count)).collect();
        assert_eq!(operations(&reports), expected, "{shards} executors");
        assert_eq!(figure(&reports[3], "deliveries"), 428.0 * 7.0);
        assert_eq!(figure(&reports[1], "latency_us/count"), 3000.0);
        assert!(reports.iter().all(|report| figure(report, "cpu_s_per_million_operations") > 0.0));
        // A second run finds none of the first one's objects, which it counts.
        load.run(&target, |_| ())?;
    }
    Ok(())
}

#[test]
fn stored_objects() -> Result<(), Failure> {
    for (shards, durability, rate) in
        [(1, Durability::Sync, None), (2, Durability::Os, Some(5000.0)), (4, Durability::Interval, None)]
    {
        let load = Stored { objects: 300, count: 1000, window: 64, rate, durability };
        let target = Target::start_with(&arguments(shards), 0, |setup| load.configure(setup))?;
        let mut reports = Vec::new();
        load.run(&target, |report| reports.push(report.clone()))?;
        let expected = [("create", 300.0), ("get", 1000.0), ("set", 1000.0), ("delete", 300.0)];
        assert_eq!(operations(&reports), expected.map(|(name, count)| (format!("db {name}"), count)));
        assert!(reports.iter().all(|report| figure(report, "latency_us/count") == figure(report, "operations")));
        // And they can be drawn: a curve for each.
        let plot = std::env::temp_dir().join(format!("donet-{}-{shards}.svg", std::process::id()));
        Report::plot(&plot, "donet-perf db --objects 300", &reports)?;
        let svg = std::fs::read_to_string(&plot)?;
        std::fs::remove_file(&plot)?;
        for name in ["db create: latency", "db get: latency", "db set: latency", "db delete: latency", "--objects 300"]
        {
            assert!(svg.contains(name), "no {name} in {svg}");
        }
    }
    Ok(())
}
