//! The report: Markdown, with pictures beside it.

use super::Try;
use super::game::Game;
use super::machine::Machine;
use super::measure::{Causes, Check, Point, Resource, Sample, Share};
use super::model::{Cost, MEMORY_CAUSES, Model};
use super::search::Found;
use crate::failure::{Failure, ensure};
use crate::plot::{self, Axis, Chart, Scale, Series, grouped, readable};
use crate::report::Times;
use crate::usage::cpus_at_first;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything that the report tells besides the model.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub game: &'a Game,
    pub machine: Option<Machine>,
    pub times: Times,
    pub load_average: Option<f64>,
    pub tries: Vec<Try>,
    pub found: Option<Found>,
    pub best: Option<Sample>,
    pub samples: Vec<Sample>,
    pub held_back: Option<Sample>,
    /// What is known of more than one executor.
    pub executors: String,
    pub took: Duration,
}

impl Resource {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Latency => "latency",
            Self::Cpu => "processor",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Generator => "the load generator",
            Self::Server => "the server fails",
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A whole number that does not claim more than it knows: three digits.
fn rounded(value: f64) -> String {
    let scale = 10_f64.powf((value.max(1.0).log10().floor() - 2.0).max(0.0));
    grouped((value / scale).floor() * scale)
}

impl<'a> Findings<'a> {
    pub(super) fn new(game: &'a Game, machine: Option<Machine>, times: Times, load_average: Option<f64>) -> Self {
        Self {
            game,
            machine,
            times,
            load_average,
            tries: Vec::new(),
            found: None,
            best: None,
            samples: Vec::new(),
            held_back: None,
            executors: String::new(),
            took: Duration::ZERO,
        }
    }

    /// Writes the report into a folder; the path of its text.
    pub(super) fn write(&self, model: &Model, folder: &Path) -> Result<PathBuf, Failure> {
        std::fs::create_dir_all(folder).map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
        plot::write(&folder.join("costs.svg"), &format!("{}: costs", self.game.name), &self.cost_charts(model))?;
        plot::write(&folder.join("latency.svg"), &format!("{}: latency", self.game.name), &self.latency_charts())?;
        let path = folder.join("report.md");
        std::fs::write(&path, self.text(model)?)
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
        Ok(path)
    }

    /// The text of the report.
    pub(super) fn text(&self, model: &Model) -> Result<String, Failure> {
        ensure(!self.samples.is_empty(), || "there is nothing to report".to_owned())?;
        let found = self.found.ok_or_else(|| Failure::new("there is nothing to report"))?;
        let mut text = format!("# Capacity of donetd: {}\n\n", self.game.name);
        self.head(&mut text);
        self.answer(&mut text, model, found);
        self.goals(&mut text, found);
        self.costs(&mut text, model);
        self.held_back(&mut text, model);
        self.executors_and_machine(&mut text, model);
        self.assumptions(&mut text, model);
        self.measurements(&mut text, model);
        Ok(text)
    }

    fn head(&self, text: &mut String) {
        let cpus = cpus_at_first().map_or(0, |cpus| cpus.len());
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let day = now.map_or(0, |since| since.as_secs() / 86_400);
        let _ = writeln!(
            text,
            "Made by `donet-perf plan` on {}, in {:.1} minutes, on a machine of {cpus} processors over loopback; load \
             average before it {}. Each measurement lasted {} s after {} s of warm-up, open loop: latency counts from \
             when something was due. One executor, on a processor of its own where there are two.\n",
            date(day as i64),
            self.took.as_secs_f64() / 60.0,
            self.load_average.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}")),
            readable(self.times.seconds),
            readable(self.times.warm_up),
        );
        if self.load_average.is_some_and(|load| load > 0.7) {
            text.push_str(
                "**Others used the machine: latencies and rates are worse than they would be without them.**\n\n",
            );
        }
    }

    fn answer(&self, text: &mut String, model: &Model, found: Found) {
        let per = model.capacity(self.game, &Machine::UNIT);
        text.push_str("## Answer\n\n");
        let sure = match (found.is_confirmed, found.fails) {
            (true, Some(fails)) => format!("confirmed by repetition; {} did not hold", grouped(fails.into())),
            (true, None) => "confirmed by repetition; it is also the highest number that was to be tried".to_owned(),
            (false, _) => "**not confirmed: the time was over**".to_owned(),
        };
        let _ = writeln!(text, "**{} concurrent players** on one executor ({sure}).\n", grouped(found.holds.into()));
        let _ = writeln!(text, "What ran out first there: **{}**.\n", model.limited_by.name());
        text.push_str("| players per | | limited by |\n|---|---|---|\n");
        let _ = writeln!(
            text,
            "| core | {} | an executor may use {} of it |",
            rounded(per.by_cpu),
            percent(model.utilisation)
        );
        let _ = writeln!(text, "| GB of memory | {} | the daemon's resident memory |", rounded(per.by_memory));
        let _ = writeln!(
            text,
            "| Gbit/s of network | {} | the busier direction, headers included |\n",
            rounded(per.by_network)
        );
    }

    fn goals(&self, text: &mut String, found: Found) {
        text.push_str("## Goals\n\n");
        let mut table = |players: u32, holds: bool, checks: &[Check]| {
            let word = if holds { "hold" } else { "do not hold" };
            let _ = writeln!(text, "At {} players, where they {word}:\n", grouped(players.into()));
            text.push_str("| goal | measured | holds |\n|---|---|---|\n");
            for check in checks {
                let Check { goal, measured, holds, .. } = check;
                let _ = writeln!(
                    text,
                    "| {goal} | {} | {} |",
                    measured.replace('|', "/"),
                    if *holds { "yes" } else { "**no**" }
                );
            }
            text.push('\n');
        };
        if let Some(it) = self.tries.iter().rfind(|it| it.players == found.holds && it.holds()) {
            table(it.players, true, &it.checks);
        }
        if let Some(it) = self.tries.iter().rfind(|it| Some(it.players) == found.fails && !it.holds()) {
            table(it.players, false, &it.checks);
        }
        text.push_str("What was tried, in this order: ");
        let tried: Vec<String> = self
            .tries
            .iter()
            .map(|it| format!("{} {}", grouped(it.players.into()), if it.holds() { "held" } else { "did not" }))
            .collect();
        let _ = writeln!(text, "{}.\n\n![latency](latency.svg)\n", tried.join(", "));
    }

    fn costs(&self, text: &mut String, model: &Model) {
        text.push_str("## What it costs\n\n");
        let _ = writeln!(
            text,
            "Straight lines through {} measurements, by least squares of the relative errors. A dash: no share could be told \
             from the others'.\n",
            model.cpu.fit.observations
        );
        text.push_str("| processor time of | µs |\n|---|---|\n");
        // The first is not for each of something, but of each second.
        for (name, each) in Causes::NAMES.iter().zip(&model.cpu.fit.each) {
            let per = if *name == Causes::NAMES[0] { ", each second" } else { "" };
            let per = if *name == Causes::NAMES[1] { ", each second (heartbeats)" } else { per };
            let _ = writeln!(text, "| {name}{per} | {} |", share(*each * 1e6));
        }
        text.push_str("\n| memory of | bytes |\n|---|---|\n");
        for (name, each) in MEMORY_CAUSES.iter().zip(&model.memory.fit.each) {
            let _ = writeln!(text, "| {name} | {} |", share(*each));
        }
        text.push_str("\n| on the wire, by | bytes to clients | bytes from clients |\n|---|---|---|\n");
        for (number, name) in Causes::NAMES.iter().skip(1).take(5).enumerate() {
            let per = if number == 0 { ", each second" } else { "" };
            let [to, from] = [&model.bytes_out, &model.bytes_in].map(|cost| share(cost.fit.each[number]));
            let _ = writeln!(text, "| {name}{per} | {to} | {from} |");
        }
        let [cpu, memory, to, from] =
            [&model.cpu, &model.memory, &model.bytes_out, &model.bytes_in].map(|cost| percent(cost.fit.residual));
        let _ = writeln!(
            text,
            "\nResidual error of the fits (root of the mean square): processor time {cpu}, memory {memory}, to clients {to}, \
             from clients {from}.\n\n![costs](costs.svg)\n"
        );
    }

    fn held_back(&self, text: &mut String, model: &Model) {
        let Some(held_back) = &self.held_back else { return };
        let Point { players, density, .. } = held_back.point;
        text.push_str("## A measurement that was held back\n\n");
        let _ = writeln!(
            text,
            "The whole game with {} players, {density} in a zone, is no part of the fit. Foretold by the description alone:\n",
            grouped(players.into())
        );
        text.push_str("| | predicted | measured | error |\n|---|---|---|---|\n");
        let mut row = |name: &str, cost: &Cost, unit: f64| {
            let Cost { predicted, measured, .. } = cost;
            let (predicted, measured) = (readable(predicted * unit), readable(measured * unit));
            let _ = writeln!(text, "| {name} | {predicted} | {measured} | {:+.1} % |", cost.error() * 100.0);
        };
        row("processor, s/s", &model.cpu, 1.0);
        row("memory, MB", &model.memory, 1e-6);
        row("to clients, Mbit/s", &model.bytes_out, 8e-6);
        row("from clients, Mbit/s", &model.bytes_in, 8e-6);
        text.push('\n');
    }

    fn executors_and_machine(&self, text: &mut String, model: &Model) {
        let _ = writeln!(text, "## More executors\n\n{}.\n", self.executors);
        let Some(machine) = self.machine else { return };
        let capacity = model.capacity(self.game, &machine);
        let (first, players) = capacity.first();
        let margin = model.margin(first);
        let _ = writeln!(text, "## On another machine\n\n{machine}:\n");
        text.push_str("| by | players | margin |\n|---|---|---|\n");
        for (resource, players) in [
            (Resource::Cpu, capacity.by_cpu),
            (Resource::Memory, capacity.by_memory),
            (Resource::Network, capacity.by_network),
        ] {
            let _ = writeln!(
                text,
                "| {} | {} | ± {} |",
                resource.name(),
                rounded(players),
                percent(model.margin(resource))
            );
        }
        let _ = writeln!(
            text,
            "\n**{} players, ± {}; the {} saturates first.** The margin is the larger of the error of the prediction above and \
             the residual of the fit; what it leaves out stands below.\n",
            rounded(players),
            percent(margin),
            first.name()
        );
    }

    fn assumptions(&self, text: &mut String, model: &Model) {
        text.push_str("## What this assumes\n\n");
        let limit = match model.limited_by {
            Resource::Generator => {
                "The search ended because the load generator could not do more, or was not to try more, not because of the \
                 server: the answer is a lower bound."
            }
            Resource::Cpu => "An executor is used up to the goal for the processor.",
            _ => {
                "A goal other than the processor's failed first, so an executor is used only as far as it was at the highest \
                 number that held; another machine is taken to have the same latencies at the same use."
            }
        };
        let executors = if model.executors.is_some() {
            "That more executors cost what two do is assumed of any number of them."
        } else {
            "**That an executor on every core carries as much as the one that was measured is assumed, not measured**: what \
             executors say to each other costs processor time that is not in these figures, and players of one zone are \
             spread over all of them."
        };
        let _ = writeln!(
            text,
            "{limit} {executors} Costs are taken to be straight lines: below saturation a delivery costs more than near it, \
             because less leaves in one send, so few players are underrated and many overrated by it. The network is \
             loopback here: a real card's interrupts are in no figure, while its headers and segments of 1,448 bytes are \
             counted. `core_speed` is taken at the word of whoever gives it. Memory is resident memory after some seconds; \
             a world that runs for days keeps more. The AI's objects are seen by no player; AI and database clients are \
             other processes, whose own cost is in no figure. Players move and talk evenly over time; a crowd that comes at \
             once is `donet-perf storm`'s to measure.\n"
        );
    }

    fn measurements(&self, text: &mut String, model: &Model) {
        text.push_str("## Measurements of the fit\n\n");
        text.push_str("`share`: of the game's talk, moves, reconnects, AI and database.\n\n");
        text.push_str("| players | in a zone | share | deliveries/s | processor, s/s | by the fit | MB | Mbit/s to clients | p99, ms |\n");
        text.push_str("|---|---|---|---|---|---|---|---|---|\n");
        for sample in self.samples.iter().chain(&self.held_back) {
            let Point { players, density, share: Share { talk, walk, login, objects, database }, .. } = sample.point;
            let _ = writeln!(
                text,
                "| {} | {density} | {} | {} | {} | {} | {} | {} | {} |",
                grouped(players.into()),
                [talk, walk, login, objects, database].map(readable).join(" "),
                readable(sample.causes.deliveries),
                readable(sample.cpu),
                readable(model.cpu.fit.predict(&sample.causes.list())),
                readable(sample.memory_bytes / 1e6),
                readable(sample.bytes_out * 8e-6),
                readable(sample.updates.value_at_quantile(0.99) as f64 / 1e6),
            );
        }
        text.push_str("\nThe last is the one that was held back.\n");
    }

    fn cost_charts(&self, model: &Model) -> Vec<Chart> {
        let all = || self.samples.iter().chain(&self.held_back);
        let most = all().map(|sample| sample.point.players).max().unwrap_or(1);
        let line = (1..=40).map(|step| f64::from(most) * f64::from(step) / 40.0);
        let whole = all().filter(|sample| sample.point.share == Share::ALL);
        let points = |samples: &mut dyn Iterator<Item = &Sample>, of: &dyn Fn(&Sample) -> (f64, f64)| {
            samples.map(of).collect::<Vec<_>>()
        };
        let mut own =
            whole.clone().filter(|sample| sample.point.density == self.game.zones.density(sample.point.players));
        let mut other =
            whole.clone().filter(|sample| sample.point.density != self.game.zones.density(sample.point.players));
        let by_players = |sample: &Sample| (f64::from(sample.point.players), sample.cpu);
        let by_fit = |sample: &Sample| (sample.cpu, model.cpu.fit.predict(&sample.causes.list()));
        let series = |name: &str, points, is_line| Series { name: name.to_owned(), points, is_line };
        let fitted = all().map(|sample| sample.cpu);
        let (least, highest) = fitted.fold((f64::MAX, 0.0_f64), |(low, high), cpu| (low.min(cpu), high.max(cpu)));
        vec![
            Chart {
                caption: "Processor time of the whole game".to_owned(),
                x: Axis::new("players", Scale::Linear),
                y: Axis::new("processor seconds a second", Scale::Linear),
                series: vec![
                    series(
                        "by the fit",
                        line.map(|players| (players, model.cpu_of(self.game, players))).collect(),
                        true,
                    ),
                    series("measured", points(&mut own, &by_players), false),
                    series("measured, other density", points(&mut other, &by_players), false),
                ],
            },
            Chart {
                caption: "Every measurement, and what the fit makes of it".to_owned(),
                x: Axis::new("measured processor seconds a second", Scale::Logarithmic),
                y: Axis::new("by the fit", Scale::Logarithmic),
                series: vec![
                    series("as measured", vec![(least, least), (highest, highest)], true),
                    series("part of the fit", points(&mut self.samples.iter(), &by_fit), false),
                    series("held back", points(&mut self.held_back.iter(), &by_fit), false),
                ],
            },
        ]
    }

    fn latency_charts(&self) -> Vec<Chart> {
        let mut charts = Vec::new();
        if let Some(best) = &self.best {
            let curves = [
                ("updates", Some(&best.updates)),
                ("moves", Some(&best.moves)),
                ("AI's operations", best.objects.as_ref()),
                ("database's operations", best.database.as_ref()),
            ];
            let curves: Vec<_> =
                curves.into_iter().filter_map(|(name, histogram)| Some((name.to_owned(), histogram?))).collect();
            let caption = format!("Latencies at {} players", grouped(best.point.players.into()));
            charts.push(Chart::of_latencies(&caption, &curves));
        }
        let quantile = |quantile: f64| {
            let points = self.tries.iter().filter_map(|it| {
                let sample = it.sample.as_ref()?;
                Some((f64::from(it.players), sample.updates.value_at_quantile(quantile) as f64 / 1e6))
            });
            points.collect::<Vec<_>>()
        };
        charts.push(Chart {
            caption: "Latency of updates in every try of the search".to_owned(),
            x: Axis::new("players", Scale::Logarithmic),
            y: Axis::new("latency, ms", Scale::Logarithmic),
            series: [("50 %", 0.5), ("99 %", 0.99)]
                .map(|(name, at)| Series { name: name.to_owned(), points: quantile(at), is_line: false })
                .into(),
        });
        charts
    }
}

/// A share of a cost, or that there is none.
fn share(each: f64) -> String {
    if each == 0.0 { "–".to_owned() } else { readable(each) }
}

/// A day since 1970 as a date of the Gregorian calendar, years beginning in March.
fn date(day: i64) -> String {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let (of_month, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    format!("{}-{month:02}-{of_month:02}", year_of_era + era * 400 + i64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::super::measure::{Outcome, checks};
    use super::super::model::tests::{game, sample};
    use super::super::{grid, limit};
    use super::*;

    /// A search of the modelled server, as the planner makes it.
    fn findings<'a>(game: &'a Game, machine: &str) -> (Findings<'a>, Model) {
        let times = Times { seconds: 2.0, warm_up: 0.5 };
        let mut findings = Findings::new(game, Some(Machine::parse(machine).unwrap()), times, Some(3.0));
        let point = |players| Point { players, density: 20, share: Share::ALL, executors: 1 };
        for players in [2000, 6000, 4000] {
            let one = sample(game, &point(players), 0.0);
            let outcome = Outcome::Measured(Box::new(one.clone()));
            let checks = checks(game, &outcome);
            findings.tries.push(Try { players, checks, sample: Some(Box::new(one)) });
        }
        assert_eq!(findings.tries.iter().map(Try::holds).collect::<Vec<_>>(), [true, false, true]);
        findings.found = Some(Found { holds: 4000, fails: Some(6000), is_confirmed: true });
        findings.best = Some(sample(game, &point(4000), 0.0));
        findings.samples = grid::points(game, 4000).iter().map(|point| sample(game, point, 0.0)).collect();
        findings.held_back = Some(sample(game, &grid::held_back(game, 4000), 0.05));
        findings.executors = "not measured: 2 processors, 4 are needed".to_owned();
        let limited_by = limit(&findings.tries, findings.found.unwrap());
        let held_back = findings.held_back.as_ref().unwrap();
        let model = Model::of(game, &findings.samples, held_back, 0.8, limited_by).unwrap();
        (findings, model)
    }

    #[test]
    fn the_report_says_what_saturates_first_and_how_sure_it_is() {
        let game = game();
        for (machine, wanted) in [
            ("cores=4,memory_gb=64,network_gbit=10", "the processor saturates first"),
            ("cores=64,memory_gb=0.1,network_gbit=10", "the memory saturates first"),
            ("cores=64,memory_gb=64,network_gbit=0.05", "the network saturates first"),
        ] {
            let (findings, model) = findings(&game, machine);
            let text = findings.text(&model).unwrap();
            for needle in [
                wanted,
                "**4,000 concurrent players** on one executor (confirmed by repetition; 6,000 did not hold)",
                "What ran out first there: **processor**",
                "| processor below 80 % of each executor's |",
                "**no** |",
                "not measured: 2 processors, 4 are needed",
                "is assumed, not measured",
                "Others used the machine",
                "-4.8 %",
            ] {
                assert!(text.contains(needle), "{needle:?} is not in\n{text}");
            }
        }
    }

    /// The modelled server's costs stand in the tables, and players times cost is what is said of a core.
    #[test]
    fn the_arithmetic_of_the_report_holds() {
        let game = game();
        let (findings, model) = findings(&game, "cores=4,memory_gb=64,network_gbit=10");
        let text = findings.text(&model).unwrap();
        for row in ["| a delivery to a client | 3 |", "| a login | 300 |", "| a connected player | 4,000 |"] {
            assert!(text.contains(row), "{row} is not in\n{text}");
        }
        let per_core = model.capacity(&game, &Machine::UNIT).by_cpu;
        assert!((model.cpu_of(&game, per_core) / 0.8 - 1.0).abs() < 0.01);
        assert!(text.contains(&format!("| core | {} |", rounded(per_core))), "{text}");
        let four = model.capacity(&game, &findings.machine.unwrap()).by_cpu;
        assert!(text.contains(&format!("| processor | {} | ± 4.8 % |", rounded(four))), "{text}");
        // Four cores carry a little more than four times one: the server itself is paid for once.
        assert!(four > per_core * 4.0 && four < per_core * 4.1, "{per_core} {four}");
    }

    #[test]
    fn pictures_lie_beside_the_text() {
        let game = game();
        let (findings, model) = findings(&game, "cores=4,memory_gb=64,network_gbit=10");
        let folder = tempfile::tempdir().unwrap();
        let path = findings.write(&model, &folder.path().join("new")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for picture in ["costs.svg", "latency.svg"] {
            assert!(text.contains(&format!("({picture})")));
            let svg = std::fs::read_to_string(path.with_file_name(picture)).unwrap();
            assert!(svg.contains("modelled") && svg.contains("players"), "{svg}");
        }
    }

    #[test]
    fn days_are_dates() {
        assert_eq!([0, 11_016, 20_780].map(date), ["1970-01-01", "2000-02-29", "2026-11-23"]);
        assert_eq!([0.0, 7.9, 1234.0, 98_765.0].map(rounded), ["0", "7", "1,230", "98,700"]);
    }
}
