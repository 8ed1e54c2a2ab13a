//! The workloads by which this server is judged, one after the other, as a table: medians of several runs, each beside
//! the relay's in the same run where the relay can do it.

use super::{FanOut, Kind, PingPong, Subscribe, Times};
use crate::failure::Failure;
use crate::plot::readable;
use crate::report::{Report, median};
use crate::target::{Target, TargetArguments};
use clap::Args;

/// What to run and how often.
#[derive(Clone, Debug, Args)]
pub struct Table {
    /// Runs of each workload; the table shows medians.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// Also fan-out 8 and 64, payloads of 32 and 512 bytes, ten thousand ranges.
    #[arg(long)]
    pub all: bool,
    /// Leave the relay out.
    #[arg(long)]
    pub no_relay: bool,
    #[command(flatten)]
    pub times: Times,
    #[command(flatten)]
    pub target: TargetArguments,
}

/// One workload.
#[derive(Clone, Copy, Debug)]
enum Load {
    FanOut(FanOut),
    PingPong(PingPong),
    Subscribe(Subscribe),
}

impl Load {
    fn receivers(&self) -> usize {
        match self {
            Load::FanOut(load) => load.receivers(),
            Load::PingPong(_) => 1,
            Load::Subscribe(_) => 0,
        }
    }

    fn run(&self, target: &Target) -> Result<Report, Failure> {
        match self {
            Load::FanOut(load) => load.run(target),
            Load::PingPong(load) => load.run(target),
            Load::Subscribe(load) => load.run(target),
        }
    }
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    load: Load,
    /// What the processor time is given per million of.
    per: &'static str,
    /// Processor seconds per million that the project wants to stay below.
    target: Option<f64>,
    /// A second figure, with its unit.
    other: (&'static str, &'static str),
}

impl Table {
    fn rows(&self) -> Vec<Row> {
        let fan_out = |fan_out, payload, one_per_write, target| {
            let load =
                FanOut { fan_out, payload, senders: 1, window: 8192, rate: None, one_per_write, times: self.times };
            let writes = if one_per_write { ", one message per write" } else { "" };
            Row {
                name: format!("fan-out {fan_out}, {payload} bytes{writes}, per delivery"),
                load: Load::FanOut(load),
                per: "deliveries",
                target,
                other: ("deliveries_per_s", "/s"),
            }
        };
        let subscribe = |kind: Kind, count, target| Row {
            name: format!("subscribe, {} {}", count, format!("{kind:?}").to_lowercase()),
            load: Load::Subscribe(Subscribe { kind, count }),
            per: "subscriptions",
            target,
            other: ("bytes_per_subscription", " bytes"),
        };
        let mut rows = vec![
            fan_out(1, 64, false, Some(0.12)),
            fan_out(10, 64, false, Some(0.07)),
            fan_out(100, 64, true, Some(0.45)),
            fan_out(1, 64, true, Some(3.0)),
            Row {
                name: "ping-pong, 64 bytes, per round trip".to_owned(),
                load: Load::PingPong(PingPong { payload: 64, times: self.times }),
                per: "round_trips",
                target: Some(18.0),
                other: ("round_trip_us/p50", " us p50"),
            },
            subscribe(Kind::Ordered, 1_000_000, Some(0.4)),
            subscribe(Kind::Random, 1_000_000, Some(0.4)),
        ];
        if self.all {
            rows.extend(
                [1, 8, 64].into_iter().flat_map(|links| [32, 512].map(|bytes| fan_out(links, bytes, false, None))),
            );
            rows.push(subscribe(Kind::Ranges, 10_000, None));
        }
        rows
    }

    /// Runs everything. `line` gets the JSON line of every run, `row` every finished line of the table.
    ///
    /// # Errors
    /// As the workloads.
    pub fn run(&self, mut line: impl FnMut(&str), mut row: impl FnMut(&str)) -> Result<(), Failure> {
        row("| workload | CPU s/M | relay | of the relay | also | target s/M |");
        row("|---|---|---|---|---|---|");
        let relay = TargetArguments { relay: true, ..self.target.clone() };
        for it in self.rows() {
            let has_relay = !self.no_relay && self.target.server.is_none() && !matches!(it.load, Load::Subscribe(_));
            let (mut reports, mut baselines) = (Vec::new(), Vec::new());
            for _ in 0..self.repeat {
                // A server of its own for each run, so that none inherits another's memory; alternating, so that a
                // machine that changes its pace changes it for both.
                for (of, list) in [(Some(&self.target), &mut reports), (has_relay.then_some(&relay), &mut baselines)] {
                    let Some(of) = of else { continue };
                    let target = Target::start(of, it.load.receivers())?;
                    let report = it.load.run(&target).map_err(|failure| failure.within(&it.name))?;
                    line(&report.json_line());
                    list.push(report);
                }
            }
            row(&it.line(&reports, &baselines));
        }
        Ok(())
    }
}

impl Row {
    fn line(&self, reports: &[Report], baselines: &[Report]) -> String {
        let name = format!("cpu_s_per_million_{}", self.per);
        let (own, relay) = (median(reports, &name), median(baselines, &name));
        let ratio = own.zip(relay).map(|(own, relay)| own / relay);
        let other = median(reports, self.other.0);
        format!(
            "| {} | {} | {} | {} | {} | {} |",
            self.name,
            number(own),
            number(relay),
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2} ×")),
            other.map_or_else(|| "–".to_owned(), |value| format!("{}{}", readable(value), self.other.1)),
            self.target.map_or_else(|| "–".to_owned(), |target| format!("≤ {target}")),
        )
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}
