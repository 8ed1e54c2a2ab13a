//! The loads of `donet-perf` that play clients see every update of a daemon once and in order, and report what they saw.
//! Figures are looked at for sense, never for speed; but what clients leave behind is the daemon's to give back.

use donet_perf::Failure;
use donet_perf::players::table::Table;
use donet_perf::players::{Players, Population, Storm};
use donet_perf::report::{Report, Times};
use donet_perf::target::{Target, TargetArguments};
use donet_perf::wait;
use std::path::PathBuf;

fn arguments(shards: usize) -> TargetArguments {
    TargetArguments {
        donetd: Some(PathBuf::from(env!("CARGO_BIN_EXE_donetd"))),
        shards,
        // Tests share the machine.
        server_cpu: "none".to_owned(),
        ..TargetArguments::default()
    }
}

fn figure(report: &Report, name: &str) -> f64 {
    report.figure(name).unwrap_or_else(|| panic!("{name} is missing in {}", report.json_line()))
}

#[test]
fn every_update_reaches_every_neighbour_while_strangers_come_and_go() -> Result<(), Failure> {
    // Sends at the end of a turn, and sends that wait for more.
    for (shards, flush_delay_us) in [(1, 0), (2, 1000), (4, 0)] {
        let load = Players {
            population: Population { clients: 50, zone_size: 8 },
            rate: 2.0,
            moves: 0.0,
            chat: 0.0,
            chat_bytes: 40,
            reconnects: 0.0,
            heartbeat: 10.0,
            logins: 50,
            strangers: 50.0,
            flush_delay_us,
            times: Times { seconds: 2.0, warm_up: 0.2 },
        };
        let target = Target::start_with(&arguments(shards), 0, |setup| load.configure(setup))?;
        // It fails when one is missing, doubled or out of order.
        let report = load.run(&target)?;
        assert!(figure(&report, "deliveries") > 0.0 && figure(&report, "strangers") > 0.0, "{}", report.json_line());
        assert_eq!(figure(&report, "strangers_refused"), 0.0);
        // What was sent within the time measured counts, however late it comes.
        assert!(figure(&report, "latency_us/count") >= figure(&report, "deliveries"));
    }
    Ok(())
}

/// Every entry and leaving is judged, and what is said and sent around them: with zones that fill and empty, clients that
/// leave politely and clients whose connection is reset.
#[test]
fn moves_chat_and_reconnects_are_seen_by_all_whom_they_concern() -> Result<(), Failure> {
    for shards in [1, 2, 4] {
        let load = Players {
            population: Population { clients: 60, zone_size: 10 },
            rate: 4.0,
            moves: 1.0,
            chat: 2.0,
            chat_bytes: 200,
            reconnects: 15.0,
            heartbeat: 10.0,
            logins: 60,
            strangers: 0.0,
            flush_delay_us: 0,
            times: Times { seconds: 3.0, warm_up: 0.2 },
        };
        let target = Target::start_with(&arguments(shards), 0, |setup| load.configure(setup))?;
        let report = load.run(&target)?;
        for count in ["deliveries", "chat_deliveries", "moves", "entries", "leavings", "reconnects"] {
            assert!(figure(&report, count) > 0.0, "{count}: {}", report.json_line());
        }
        // A latency for each of them, those that came to their end after the time measured included.
        for (count, latency) in [("moves", "move"), ("reconnects", "reconnect"), ("chat_deliveries", "chat")] {
            let latency = figure(&report, &format!("{latency}_latency_us/count"));
            assert!(latency + 60.0 >= figure(&report, count), "{count}: {}", report.json_line());
        }
        for kind in ["entry_latency_us/count", "leaving_latency_us/count"] {
            assert!(figure(&report, kind) > 0.0, "{kind}: {}", report.json_line());
        }
    }
    Ok(())
}

#[test]
fn what_cannot_be_played_is_refused_in_words() -> Result<(), Failure> {
    let one_zone = Players {
        population: Population { clients: 5, zone_size: 10 },
        rate: 1.0,
        moves: 1.0,
        chat: 0.0,
        chat_bytes: 40,
        reconnects: 0.0,
        heartbeat: 0.0,
        logins: 5,
        strangers: 0.0,
        flush_delay_us: 0,
        times: Times { seconds: 0.1, warm_up: 0.0 },
    };
    let target = Target::start_with(&arguments(1), 0, |setup| one_zone.configure(setup))?;
    let endless = Players { rate: f64::NAN, moves: 0.0, ..one_zone };
    let homeless =
        Players { population: Population { clients: 5, zone_size: 0 }, rate: 0.0, moves: 0.0, chat: 1.0, ..one_zone };
    for (load, wanted) in [(one_zone, "more than one zone"), (endless, "--rate takes"), (homeless, "need zones")] {
        let failure = load.run(&target).expect_err("that cannot be played").to_string();
        assert!(failure.contains(wanted), "{failure}");
    }
    Ok(())
}

/// Most of what thousands of clients have needed goes back to the system when they are gone (`boot::memory`).
#[test]
fn the_memory_of_a_storm_returns() -> Result<(), Failure> {
    let load = Storm { population: Population { clients: 3000, zone_size: 50 }, rounds: 2 };
    let target = Target::start_with(&arguments(1), 0, |setup| load.configure(setup))?;
    let mut outcome = Ok(());
    load.run(&target, |report| {
        let [before, logged_in] =
            ["resident_bytes_before", "resident_bytes_logged_in"].map(|name| figure(report, name) as u64);
        if outcome.is_err() {
            return;
        }
        outcome = wait::until("two thirds of the memory to return", || {
            let resident = target.usage()?.map_or(u64::MAX, |usage| usage.resident_bytes);
            Ok(resident < before + (logged_in - before) / 3)
        });
    })?;
    outcome
}

/// The rows of the table that do not look for a limit, with a hundredth of their clients.
#[test]
fn the_table_of_players_has_a_figure_in_every_row() -> Result<(), Failure> {
    for (only, rows) in [("interest", 6), ("login", 2), ("two executors", 1)] {
        let table = Table {
            repeat: 1,
            scale: 1,
            only: only.to_owned(),
            times: Times { seconds: 0.5, warm_up: 0.1 },
            donetd: Some(PathBuf::from(env!("CARGO_BIN_EXE_donetd"))),
            server_cpu: "none".to_owned(),
        };
        let (mut lines, mut shown) = (Vec::new(), Vec::new());
        table.run(|line| lines.push(line.to_owned()), |row| shown.push(row.to_owned()))?;
        assert_eq!(shown.len(), 2 + rows, "{shown:#?}");
        let has_figure =
            |row: &String| row.split('|').nth(2).is_some_and(|cell| cell.contains(|c: char| c.is_ascii_digit()));
        assert!(shown[2..].iter().all(has_figure), "{shown:#?}");
        assert!(lines.iter().all(|line| line.starts_with("{\"workload\":\"players")), "{lines:#?}");
    }
    Ok(())
}
