//! The workloads with many clients by which this server is judged, one after the other, as a table: medians of several
//! runs, each with a server of its own.

use super::interest::Interest;
use super::{Players, Population};
use crate::failure::Failure;
use crate::plot::readable;
use crate::report::{Report, Times, median};
use crate::target::{Target, TargetArguments};
use clap::Args;

/// How much is delivered when nothing more can be is looked for with rates that grow by this.
const STEP: f64 = 1.5;
/// A rate counts as carried when so much of it was delivered within the time.
const CARRIED: f64 = 0.95;

/// What to run and how often.
#[derive(Clone, Debug, Args)]
pub struct Table {
    /// Runs of each workload; the table shows medians.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub repeat: u32,
    /// A part of the clients of each workload, in percent: for a small machine, or to see whether it works.
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub scale: u32,
    /// Only the rows whose name has this text in it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub only: String,
    #[command(flatten)]
    pub times: Times,
    /// The daemon to start, instead of the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub donetd: Option<std::path::PathBuf>,
    /// The processor for it, or several (`0,1`); the generator takes the others. `none` binds neither.
    #[arg(long, value_name = "CPU", default_value = "first")]
    pub server_cpu: String,
}

/// A cell: a figure of a run, with its unit and what the project wants.
struct Cell {
    name: &'static str,
    figure: &'static str,
    /// What it is multiplied with to be shown.
    by: f64,
    unit: &'static str,
    wanted: &'static str,
}

impl Cell {
    const fn new(name: &'static str, figure: &'static str, by: f64, unit: &'static str, wanted: &'static str) -> Self {
        Self { name, figure, by, unit, wanted }
    }
}

type Measure<'t> = Box<dyn Fn(&Table) -> Result<Report, Failure> + 't>;

/// A workload, and what of it stands in the table.
struct Workload {
    measure: Measure<'static>,
    cells: Vec<Cell>,
}

impl Table {
    fn target(&self, shards: usize) -> TargetArguments {
        TargetArguments {
            donetd: self.donetd.clone(),
            server_cpu: self.server_cpu.clone(),
            shards,
            ..TargetArguments::default()
        }
    }

    fn population(&self, clients: u32, zone_size: u32) -> Population {
        Population { clients: (clients * self.scale / 100).max(zone_size.max(1)), zone_size }
    }

    fn play(&self, clients: u32, zone_size: u32, rate: f64, shards: usize) -> Result<Report, Failure> {
        let load = Players { rate, times: self.times, ..Players::standing(self.population(clients, zone_size)) };
        let target = Target::start_with(&self.target(shards), 0, |setup| load.configure(setup))?;
        load.run(&target)
    }

    fn interest(&self, clients: u32, zone_size: u32) -> Result<Report, Failure> {
        let load = Interest { population: self.population(clients, zone_size), rounds: 20 };
        let target = Target::start_with(&self.target(1), 0, |setup| load.configure(setup))?;
        load.run(&target)
    }

    /// The most that is delivered: rates grow until one is not carried; the best of them all.
    fn most(&self, clients: u32, zone_size: u32) -> Result<Report, Failure> {
        let mut best: Option<Report> = None;
        let mut rate = 1.0;
        loop {
            let report = self.play(clients, zone_size, rate, 1)?;
            let delivered = report.figure("deliveries_per_s").unwrap_or_default();
            let population = self.population(clients, zone_size);
            let due = f64::from(population.clients) * rate * f64::from(zone_size - 1);
            if best.as_ref().and_then(|best| best.figure("deliveries_per_s")).is_none_or(|most| delivered > most) {
                best = Some(report);
            }
            // Far beyond anything: a server that small numbers never fill.
            if delivered < due * CARRIED || rate > 1000.0 {
                return best.ok_or_else(|| Failure::new("nothing was delivered"));
            }
            rate *= STEP;
        }
    }

    /// Two executors on one processor beside one, the same load: their processor time for a delivery, of one's.
    fn two_on_one(&self, clients: u32, zone_size: u32) -> Result<Report, Failure> {
        let one = self.play(clients, zone_size, 1.0, 1)?;
        let mut two = self.play(clients, zone_size, 1.0, 2)?;
        let of = |report: &Report| report.figure("cpu_s_per_million_deliveries");
        let ratio = of(&two).zip(of(&one)).map(|(two, one)| two / one);
        two.set("ratio_to_one_executor", ratio);
        Ok(two)
    }

    fn workloads() -> Vec<Workload> {
        let cpu = |name, wanted| Cell::new(name, "cpu_s_per_million_deliveries", 1.0, "s/M", wanted);
        let p99 = |name, wanted| Cell::new(name, "latency_us/p99", 1e-3, "ms p99", wanted);
        let row = |measure: Measure<'static>, cells| Workload { measure, cells };
        vec![
            row(
                Box::new(|table| table.play(5000, 0, 0.0, 1)),
                vec![
                    Cell::new("login, hello to ESTABLISHED, no zone", "login_cpu_us", 1.0, "µs of CPU", "≤ 40 µs"),
                    Cell::new("memory of an idle client", "bytes_per_client", 1.0, "bytes", "≤ 4 KB"),
                ],
            ),
            row(
                Box::new(|table| table.interest(5000, 20)),
                vec![
                    Cell::new("open interest, zone of 20 among 5,000", "interest_cpu_us", 1.0, "µs of CPU", "≤ 40 µs"),
                    Cell::new("the same, until it is done", "latency_us/p50", 1.0, "µs p50", "–"),
                ],
            ),
            row(
                Box::new(|table| table.interest(500, 20)),
                vec![Cell::new("open interest, zone of 20 among 500", "interest_cpu_us", 1.0, "µs of CPU", "≤ 40 µs")],
            ),
            row(
                Box::new(|table| table.play(5000, 20, 1.0, 1)),
                vec![
                    Cell::new(
                        "memory of a client with interest, zones of 20",
                        "bytes_per_client",
                        1.0,
                        "bytes",
                        "≤ 7 KB",
                    ),
                    cpu("5,000 clients, zones of 20, 1 update/s", "≤ 4 s/M"),
                    p99("the same", "≤ 2 ms"),
                ],
            ),
            row(
                Box::new(|table| table.play(5000, 20, 5.0, 1)),
                vec![cpu("5,000 clients, zones of 20, 5 updates/s", "–"), p99("the same", "≤ 25 ms")],
            ),
            row(
                Box::new(|table| table.play(1000, 100, 5.0, 1)),
                vec![cpu("1,000 clients, zones of 100, 5 updates/s", "–"), p99("the same", "≤ 10 ms")],
            ),
            row(
                Box::new(|table| table.most(5000, 20)),
                vec![Cell::new("most deliveries, zones of 20", "deliveries_per_s", 1.0, "/s", "≥ 1.5 M/s")],
            ),
            row(
                Box::new(|table| table.most(1000, 100)),
                vec![Cell::new("most deliveries, zones of 100", "deliveries_per_s", 1.0, "/s", "≥ 4 M/s")],
            ),
            row(
                Box::new(|table| table.two_on_one(5000, 20)),
                vec![Cell::new(
                    "two executors on one processor, of one, CPU per delivery",
                    "ratio_to_one_executor",
                    1.0,
                    "×",
                    "≤ 1.1 ×",
                )],
            ),
        ]
    }

    /// Runs everything. `line` gets the JSON line of every run, `row` every finished line of the table.
    ///
    /// # Errors
    /// As the workloads.
    pub fn run(&self, mut line: impl FnMut(&str), mut row: impl FnMut(&str)) -> Result<(), Failure> {
        row("| workload | median | target |");
        row("|---|---|---|");
        for Workload { measure, cells } in Self::workloads() {
            if !cells.iter().any(|cell| cell.name.contains(&self.only)) {
                continue;
            }
            let mut reports = Vec::new();
            for _ in 0..self.repeat {
                let report = measure(self).map_err(|failure| failure.within(cells[0].name))?;
                line(&report.json_line());
                reports.push(report);
            }
            for Cell { name, figure, by, unit, wanted } in cells {
                let median = median(&reports, figure);
                let shown = median.map_or_else(|| "–".to_owned(), |value| format!("{} {unit}", readable(value * by)));
                row(&format!("| {name} | {shown} | {wanted} |"));
            }
        }
        Ok(())
    }
}
