//! The capacity planner: how many players of a described game a server carries, what they cost, and what another machine
//! would carry.
//!
//! [`game`] is the description, [`machine`] what the answer is told for; [`measure`] runs one load, with [`mix`] beside the
//! players; [`search`] finds the highest number that holds; [`grid`] says what else is measured, [`fit`] and [`model`] make
//! costs and predictions of it; [`report`] writes it down. This module keeps the order of it, and the time.

mod fit;
pub mod game;
mod grid;
pub mod machine;
mod measure;
mod mix;
mod model;
mod report;
mod search;

use crate::failure::{Failure, ensure};
use crate::report::Times;
use crate::target::TargetArguments;
use crate::usage::{cpus_at_first, load_average};
use clap::Args;
use game::Game;
use machine::Machine;
use measure::{Bench, Check, Outcome, Point, Resource, Sample, Share, all_hold, checks};
use model::Model;
use report::Findings;
use search::{Found, Search};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// As many measurements of the usual length would fill the time; some of it goes to servers and logins.
const MEASUREMENTS: f64 = 80.0;
/// Of the time, so much is for the search at most.
const SEARCH_SHARE: f64 = 0.6;
/// With fewer processors than this, two executors and the generator would stand in each other's way.
const CPUS_FOR_EXECUTORS: usize = 4;

/// What to plan, and how long it may take.
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// The description of the game; perf/games has examples.
    #[arg(value_name = "GAME.toml")]
    pub game: PathBuf,
    /// The machine that the capacity is told for: `cores=32,memory_gb=128,network_gbit=10,core_speed=1.0`, or a TOML file
    /// with these keys. Without it the game's own [machine].
    #[arg(long, value_name = "MACHINE")]
    pub machine: Option<String>,
    /// About how long it may take.
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    pub minutes: f64,
    /// The folder that the report goes to.
    #[arg(long, value_name = "FOLDER", default_value = "plan")]
    pub output: PathBuf,
    /// The number of players that the search begins with.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub first: u32,
    /// The highest number that it tries.
    #[arg(long, value_name = "N", default_value_t = 60_000, value_parser = clap::value_parser!(u32).range(2..=60_000))]
    pub most: u32,
    /// Seconds of each measurement; without it an eightieth of the time.
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// The daemon to start, instead of the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub donetd: Option<PathBuf>,
    /// The processor for it; the generator takes the others. `none` binds neither.
    #[arg(long, value_name = "CPU", default_value = "first")]
    pub server_cpu: String,
}

/// One number of players that the search tried.
#[derive(Clone, Debug)]
struct Try {
    players: u32,
    checks: Vec<Check>,
    sample: Option<Box<Sample>>,
}

impl Try {
    fn holds(&self) -> bool {
        all_hold(&self.checks)
    }
}

impl Plan {
    /// Plans; the report lies in the output folder then. Returns the path of its text.
    ///
    /// # Errors
    /// When the description is wrong, no server starts, not even a handful of players is carried, or the time is too short
    /// to measure enough.
    pub fn run(&self) -> Result<PathBuf, Failure> {
        let game = Game::load(&self.game)?;
        let machine = match &self.machine {
            Some(text) => Some(Machine::parse(text)?),
            None => game.machine,
        };
        machine.map_or(Ok(()), Machine::check)?;
        ensure(self.minutes > 0.0 && self.minutes <= 10_000.0, || {
            format!("--minutes takes a number above 0, not {}", self.minutes)
        })?;
        let seconds = self.seconds.unwrap_or((self.minutes * 60.0 / MEASUREMENTS).clamp(0.5, 20.0));
        ensure(seconds > 0.0 && seconds <= 3600.0, || format!("--seconds takes a number above 0, not {seconds}"))?;
        let begin = Instant::now();
        let budget = Duration::from_secs_f64(self.minutes * 60.0);
        let target = TargetArguments {
            donetd: self.donetd.clone(),
            server_cpu: self.server_cpu.clone(),
            ..TargetArguments::default()
        };
        let times = Times { seconds, warm_up: (seconds / 5.0).clamp(0.2, 2.0) };
        let bench = Bench { game: &game, target, times };
        let mut findings = Findings::new(&game, machine, times, load_average());

        let mut tries = Vec::new();
        let found = self.search(&bench, &mut tries, begin + budget.mul_f64(SEARCH_SHARE))?;
        let told = |tries: &[Try]| {
            let last = tries.iter().rfind(|it| !it.holds()).and_then(|it| it.checks.iter().find(|check| !check.holds));
            last.map_or_else(String::new, |check| format!(": {}, {}", check.goal, check.measured))
        };
        ensure(found.holds > 0, || format!("the goals do not hold for any number of players{}", told(&tries)))?;

        let deadline = begin + budget;
        let (samples, held_back) = self.grid(&bench, found, deadline)?;
        let best = tries.iter().rfind(|it| it.players == found.holds && it.holds());
        let best =
            best.and_then(|it| it.sample.as_deref()).ok_or_else(|| Failure::new("the answer was never measured"))?;
        // A goal of latency that fails first is one of the processor, at less than all of it.
        let limited_by = limit(&tries, found);
        let goal = game.goals.cpu_percent / 100.0;
        let utilisation = match limited_by {
            Resource::Cpu | Resource::Generator => goal,
            _ => best.cpu.min(goal),
        };
        let mut model = Model::of(&game, &samples, &held_back, utilisation, limited_by)?;
        findings.executors = self.executors(&bench, &mut model, found, deadline)?;
        findings.best = Some(best.clone());
        findings.took = begin.elapsed();
        (findings.tries, findings.found) = (tries, Some(found));
        (findings.samples, findings.held_back) = (samples, Some(held_back));
        findings.write(&model, &self.output)
    }

    fn search(&self, bench: &Bench<'_>, tries: &mut Vec<Try>, until: Instant) -> Result<Found, Failure> {
        // A game of so many zones needs two players at least, to have somebody to see.
        let search = Search { first: self.first.min(self.most), most: self.most, precision: 0.08, confirmations: 2 };
        let holds = |players: u32| {
            let density = bench.game.zones.density(players);
            let point = Point { players, density, share: Share::ALL, executors: 1 };
            let outcome = bench.measure(&point)?;
            let checks = checks(bench.game, &outcome);
            let failed = checks.iter().find(|check| !check.holds);
            show(|| match failed {
                None => format!("search: {players} players: all goals hold"),
                Some(check) => format!("search: {players} players: not {} ({})", check.goal, check.measured),
            });
            let sample = match outcome {
                Outcome::Measured(sample) => Some(sample),
                Outcome::Broken(_) => None,
            };
            tries.push(Try { players, checks, sample });
            Ok(tries.last().is_some_and(Try::holds))
        };
        search.run(holds, || Instant::now() < until)
    }

    /// The measurements of the fit, and the one that is held back.
    fn grid(&self, bench: &Bench<'_>, found: Found, deadline: Instant) -> Result<(Vec<Sample>, Sample), Failure> {
        let one = |point: &Point, name: &str| -> Result<Sample, Failure> {
            let mut why = String::new();
            // What holds most of the time may break once.
            for _ in 0..2 {
                match bench.measure(point)? {
                    Outcome::Measured(sample) => {
                        show(|| {
                            let Point { players, density, .. } = point;
                            format!("{name}: {players} players, {density} in a zone: {:.3} s/s", sample.cpu)
                        });
                        return Ok(*sample);
                    }
                    Outcome::Broken(text) => why = text,
                }
            }
            Err(Failure::new(format!("{} players could not be measured: {why}", point.players)))
        };
        let held_back = one(&grid::held_back(bench.game, found.holds), "held back")?;
        let mut samples = Vec::new();
        for (number, point) in grid::points(bench.game, found.holds).iter().enumerate() {
            // As many as are needed, whatever the time; the others while there is some.
            if number > measure::Causes::NAMES.len() && Instant::now() > deadline {
                break;
            }
            samples.push(one(point, "grid")?);
        }
        Ok((samples, held_back))
    }

    /// The same load with two executors on two processors, where there are enough; else why not.
    fn executors(
        &self,
        bench: &Bench<'_>,
        model: &mut Model,
        found: Found,
        deadline: Instant,
    ) -> Result<String, Failure> {
        let cpus = cpus_at_first()?;
        let busy = load_average().unwrap_or_default();
        if cpus.len() < CPUS_FOR_EXECUTORS {
            return Ok(format!("not measured: {} processors, {CPUS_FOR_EXECUTORS} are needed", cpus.len()));
        }
        if self.server_cpu != "first" {
            return Ok(format!("not measured: the server's processor was chosen (--server-cpu {})", self.server_cpu));
        }
        if busy > cpus.len() as f64 / 2.0 {
            return Ok(format!("not measured: others use the machine (load average {busy:.1})"));
        }
        if Instant::now() > deadline {
            return Ok("not measured: the time was over".to_owned());
        }
        let point = grid::held_back(bench.game, found.holds);
        let target = TargetArguments { server_cpu: format!("{},{}", cpus[0], cpus[1]), ..bench.target.clone() };
        let two = Bench { target, ..bench.clone() }.measure(&Point { executors: 2, ..point })?;
        let Outcome::Measured(two) = two else { return Ok("two executors could not be measured".to_owned()) };
        let ratio = two.cpu / model.cpu.measured;
        model.executors = Some((2, ratio));
        Ok(format!(
            "two executors need {ratio:.2} times the processor time of one for the same {} players",
            point.players
        ))
    }
}

/// What kept the search from a higher number: what the lowest number that did not hold was lacking.
fn limit(tries: &[Try], found: Found) -> Resource {
    let Some(fails) = found.fails else { return Resource::Generator };
    let failed = tries.iter().rfind(|it| it.players == fails && !it.holds());
    let lacking = |it: &Try| it.checks.iter().find(|check| !check.holds).map(|check| check.resource);
    // Of several the tool's own shortage is said, for then the server has not been loaded.
    let of_tool =
        failed.is_some_and(|it| it.checks.iter().any(|check| !check.holds && check.resource == Resource::Generator));
    if of_tool { Resource::Generator } else { failed.and_then(lacking).unwrap_or(Resource::Latency) }
}

/// For a person who watches: what is done.
fn show(text: impl FnOnce() -> String) {
    if std::io::stderr().is_terminal() {
        eprintln!("{}", text());
    }
}
