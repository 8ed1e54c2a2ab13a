//! The result of one run: one JSON line, and figures by name for tables.

use crate::failure::{Failure, ensure};
use crate::plot::{self, Axis, Chart, Scale, Series};
use crate::target::Target;
use crate::timeline::Timeline;
use crate::usage::{Usage, load_average};
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Latencies in nanoseconds, three significant digits, up to a minute.
pub(crate) fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("these bounds are in order")
}

/// How long to measure.
#[derive(Clone, Copy, Debug, Args)]
pub struct Times {
    /// Seconds that are measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds of the same load before, which are not.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub warm_up: f64,
}

impl Times {
    pub(crate) fn measured(self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::from_secs(1))
    }

    pub(crate) fn warm_up(self) -> Duration {
        Duration::try_from_secs_f64(self.warm_up).unwrap_or_default()
    }
}

/// What one run has found.
#[derive(Clone, Debug)]
pub struct Report {
    fields: Map<String, Value>,
    /// What is drawn of it: distributions, and rates over time.
    curves: Vec<(String, Histogram<u64>)>,
    rates: Vec<(String, Timeline)>,
}

impl Report {
    pub(crate) fn new(workload: &str, target: &Target) -> Self {
        let mut fields = Map::new();
        let unix_time_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        fields.insert("workload".to_owned(), json!(workload));
        fields.insert("server".to_owned(), json!(target.name));
        fields.insert("shards".to_owned(), json!(target.shards));
        fields.insert("unix_time_s".to_owned(), json!(unix_time_s));
        fields.insert("load_average".to_owned(), json!(load_average()));
        Self { fields, curves: Vec::new(), rates: Vec::new() }
    }

    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.fields.insert(name.to_owned(), value.into());
    }

    /// A distribution of nanoseconds, given in microseconds.
    pub(crate) fn set_latencies(&mut self, name: &str, histogram: &Histogram<u64>) {
        let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1000.0;
        self.set(
            name,
            json!({
                "count": histogram.len(),
                "mean": histogram.mean() / 1000.0,
                "p50": microseconds(histogram.value_at_quantile(0.5)),
                "p90": microseconds(histogram.value_at_quantile(0.9)),
                "p99": microseconds(histogram.value_at_quantile(0.99)),
                "p999": microseconds(histogram.value_at_quantile(0.999)),
                "max": microseconds(histogram.max()),
            }),
        );
        self.curves.push((name.trim_end_matches("_us").replace('_', " "), histogram.clone()));
    }

    /// How many of something there were over the time of the run: drawn, and no part of the line.
    pub(crate) fn set_rate(&mut self, name: &str, rate: &Timeline) {
        self.rates.push((name.to_owned(), rate.clone()));
    }

    /// What both sides have used, and the server's processor time per million of each counted thing.
    pub(crate) fn set_usage(&mut self, usage: &Spent, per: &[(&str, u64)]) {
        self.set("seconds", usage.elapsed.as_secs_f64());
        for &(name, count) in per {
            self.set(name, count);
            self.set(&format!("{name}_per_s"), count as f64 / usage.elapsed.as_secs_f64().max(1e-9));
            if let Some(server) = usage.server.filter(|_| count > 0) {
                self.set(&format!("cpu_s_per_million_{name}"), server.cpu.as_secs_f64() * 1e6 / count as f64);
            }
        }
        self.set("server_usage", usage.server.map(|server| server.json()));
        self.set("generator_usage", usage.generator.json());
    }

    /// Draws what runs have measured over time and by distribution into one SVG file.
    ///
    /// # Errors
    /// When there is nothing to be drawn, or the file cannot be written.
    pub fn plot(path: &Path, title: &str, reports: &[Self]) -> Result<(), Failure> {
        let name = |report: &Self, what: &str| match (reports.len(), report.fields["workload"].as_str()) {
            (0 | 1, _) | (_, None) => what.to_owned(),
            (_, Some(workload)) => format!("{workload}: {what}"),
        };
        let (mut curves, mut rates) = (Vec::new(), Vec::new());
        for report in reports {
            curves.extend(report.curves.iter().map(|(what, histogram)| (name(report, what), histogram)));
            rates.extend(report.rates.iter().map(|(what, rate)| Series {
                name: name(report, what),
                points: rate.per_second(),
                is_line: true,
            }));
        }
        let mut charts = Vec::new();
        // A run of a few tenths of a second has no course.
        if rates.iter().any(|rate| rate.points.len() > 1) {
            charts.push(Chart {
                caption: "Rate over the time of the run".to_owned(),
                x: Axis::new("seconds since the load began", Scale::Linear),
                y: Axis::new("per second", Scale::Linear),
                series: rates,
            });
        }
        if !curves.is_empty() {
            charts.push(Chart::of_latencies("Distribution of latencies", &curves));
        }
        ensure(!charts.is_empty(), || "this load has measured nothing that could be drawn".to_owned())?;
        plot::write(path, title, &charts)
    }

    /// A figure by its name; `/` leads into a nested object.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let mut names = name.split('/');
        let mut value = self.fields.get(names.next()?)?;
        for name in names {
            value = value.get(name)?;
        }
        value.as_f64()
    }

    /// The one line.
    pub fn json_line(&self) -> String {
        Value::Object(self.fields.clone()).to_string()
    }
}

/// The middle one of a figure in several runs; none if it is in none.
pub(crate) fn median(reports: &[Report], figure: &str) -> Option<f64> {
    let mut values: Vec<f64> = reports.iter().filter_map(|report| report.figure(figure)).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// What both sides have used at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    at: Instant,
    server: Option<Usage>,
    generator: Usage,
}

/// What both sides have used between two moments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spent {
    pub elapsed: Duration,
    pub server: Option<Usage>,
    pub generator: Usage,
}

impl Mark {
    pub(crate) fn take(target: &Target) -> Result<Self, Failure> {
        Ok(Self { at: Instant::now(), server: target.usage()?, generator: Usage::of(std::process::id())? })
    }

    /// Resident memory of the server.
    pub(crate) fn server_bytes(&self) -> Option<u64> {
        self.server.map(|usage| usage.resident_bytes)
    }

    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        Spent {
            elapsed: self.at - earlier.at,
            server: self.server.zip(earlier.server).map(|(now, then)| now.since(&then)),
            generator: self.generator.since(&earlier.generator),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Target, TargetArguments};

    #[test]
    fn a_report_is_one_line_whose_figures_can_be_found() {
        let running = TargetArguments { server: Some("127.0.0.1:1".to_owned()), ..TargetArguments::default() };
        let target = Target::start(&running, 0).unwrap();
        let mut report = Report::new("md fan-out", &target);
        let mut histogram = latencies();
        histogram.record(70_000).unwrap();
        report.set_latencies("latency_us", &histogram);
        let then = Mark::take(&target).unwrap();
        report.set_usage(&Mark::take(&target).unwrap().since(&then), &[("messages", 10)]);
        let line = report.json_line();
        assert!(!line.contains('\n'));
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["workload"], "md fan-out");
        let p50 = report.figure("latency_us/p50").unwrap();
        assert!((69.9..=70.1).contains(&p50), "{p50}");
        assert_eq!(report.figure("messages"), Some(10.0));
        assert_eq!(report.figure("cpu_s_per_million_messages"), None, "nothing is known of that server's process");
    }
}
