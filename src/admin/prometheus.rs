//! Figures as Prometheus text, exposition format 0.0.4.
//!
//! Pure: figures in, text out. Names follow Prometheus' conventions: `donet_` in front, `_total` behind what only grows,
//! seconds and bytes as units.

use super::inspect::ExecutorFigures;
use crate::database_server::{EngineFigures, Histogram, QUEUE_BYTES_MAX};
use crate::event_logger::EventLoggerFigures;
use crate::reason::Reason;
use donet_shards::{Figure, Kind};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The media type of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Collects families of samples.
#[derive(Debug, Default)]
pub struct Text(String);

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

impl Text {
    /// Begins a family: its name, its kind in Prometheus' words, a sentence.
    pub fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', " ");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One sample of the family begun last.
    pub fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.0.push_str(name);
        if !labels.is_empty() {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }

    /// A family of one sample.
    pub fn single(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    pub fn finish(self) -> String {
        self.0
    }

    /// What Event Loggers count, each with its address.
    pub fn event_loggers(&mut self, loggers: &[Arc<EventLoggerFigures>]) {
        let figures: Vec<_> = loggers.iter().map(|logger| (logger.address.to_string(), logger.figures())).collect();
        let Some((_, first)) = figures.first() else { return };
        for (index, figure) in first.iter().enumerate() {
            let name = format!("donet_event_logger_{}_total", figure.name);
            self.family(&name, "counter", figure.help);
            for (address, figures) in &figures {
                self.sample(&name, &[("address", address)], figures[index].value);
            }
        }
    }

    /// Everything that executors count, each figure one family with a sample for every executor.
    pub fn executors(&mut self, executors: &[ExecutorFigures]) {
        let shards: Vec<String> = executors.iter().map(|executor| executor.shard.0.to_string()).collect();
        let figures: Vec<Vec<Figure>> = executors.iter().map(own_figures).collect();
        for index in 0..figures.first().map_or(0, Vec::len) {
            let Figure { name, kind, help, .. } = figures[0][index];
            let (name, kind) = match kind {
                Kind::Counter => (format!("donet_{name}_total"), "counter"),
                Kind::Gauge => (format!("donet_{name}"), "gauge"),
            };
            self.family(&name, kind, help);
            for (shard, figures) in shards.iter().zip(&figures) {
                self.sample(&name, &[("shard", shard)], figures[index].value);
            }
        }
        self.closed(executors, &shards);
        self.ejects(executors, &shards);
        self.drops(executors, &shards);
        self.turn_times(executors, &shards);
    }

    fn closed(&mut self, executors: &[ExecutorFigures], shards: &[String]) {
        self.family("donet_closed_total", "counter", "Connections and sessions that ended, by reason and eject code.");
        for (shard, executor) in shards.iter().zip(executors) {
            for &reason in Reason::ALL {
                let code = reason.eject_code().map_or(String::new(), |code| code.to_string());
                let labels = [("shard", shard.as_str()), ("reason", reason.name()), ("eject_code", &code)];
                self.sample("donet_closed_total", &labels, executor.metrics.closed(reason));
            }
        }
    }

    fn ejects(&mut self, executors: &[ExecutorFigures], shards: &[String]) {
        let help = "Clients ejected, by the code that they were told; code 65535 stands for rare ones of applications.";
        self.family("donet_ejects_total", "counter", help);
        for (shard, executor) in shards.iter().zip(executors) {
            for (code, count) in executor.metrics.ejects() {
                self.sample("donet_ejects_total", &[("shard", shard), ("code", &code.to_string())], count);
            }
        }
    }

    fn drops(&mut self, executors: &[ExecutorFigures], shards: &[String]) {
        self.family("donet_drops_total", "counter", "What was dropped, by reason; each is a counter of its own, too.");
        for (shard, executor) in shards.iter().zip(executors) {
            for &(reason, count) in DROPS {
                self.sample("donet_drops_total", &[("shard", shard), ("reason", reason)], count(executor));
            }
        }
    }

    /// A histogram below the family begun last, its values divided by `divisor`.
    fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        buckets: impl Iterator<Item = (Option<u64>, u64)>,
        sum: u64,
        divisor: f64,
    ) {
        let mut below = 0;
        for (bound, count) in buckets {
            below += count;
            let bound = bound.map_or("+Inf".to_owned(), |bound| format!("{}", bound as f64 / divisor));
            self.sample(&format!("{name}_bucket"), &[labels, &[("le", &bound)]].concat(), below);
        }
        self.sample(&format!("{name}_sum"), labels, sum as f64 / divisor);
        self.sample(&format!("{name}_count"), labels, below);
    }

    /// What database threads count, each with its place in the configuration.
    pub fn databases(&mut self, databases: &[Arc<EngineFigures>]) {
        if databases.is_empty() {
            return;
        }
        let numbers: Vec<String> = (0..databases.len()).map(|number| number.to_string()).collect();
        type Get = fn(&EngineFigures) -> &Histogram;
        let histograms: [(&str, &str, Get, f64); 3] = [
            (
                "donet_database_latency_seconds",
                "From a request to its answer, the sync included.",
                |f| &f.latency_us,
                1e6,
            ),
            (
                "donet_database_commit_seconds",
                "How long a write to the disk took, the sync included.",
                |f| &f.commit_us,
                1e6,
            ),
            (
                "donet_database_batch_operations",
                "Operations that shared a write to the disk.",
                |f| &f.batch_operations,
                1.0,
            ),
        ];
        for (name, help, get, divisor) in histograms {
            self.family(name, "histogram", help);
            for (number, figures) in numbers.iter().zip(databases) {
                let histogram = get(figures);
                self.histogram(name, &[("database", number)], histogram.buckets(), histogram.sum(), divisor);
            }
        }
        self.family("donet_database_refused_total", "counter", "Operations refused because too much was waiting.");
        for (number, figures) in numbers.iter().zip(databases) {
            let refused = figures.refused.load(Ordering::Relaxed);
            self.sample("donet_database_refused_total", &[("database", number)], refused);
        }
        self.family("donet_database_queue_bytes", "gauge", "Bytes of operations that wait.");
        for (number, figures) in numbers.iter().zip(databases) {
            let bytes = figures.queued_bytes.load(Ordering::Relaxed);
            self.sample("donet_database_queue_bytes", &[("database", number)], bytes);
        }
        let help = "Bytes of operations that may wait; more are refused.";
        self.single("donet_database_queue_bytes_limit", "gauge", help, QUEUE_BYTES_MAX);
    }

    fn turn_times(&mut self, executors: &[ExecutorFigures], shards: &[String]) {
        self.family("donet_turn_seconds", "histogram", "How long turns took.");
        for (shard, executor) in shards.iter().zip(executors) {
            let times = &executor.counters.turn_times;
            self.histogram("donet_turn_seconds", &[("shard", shard)], times.buckets(), times.sum_us(), 1e6);
        }
        self.family("donet_slow_turns_total", "counter", "Turns of ten milliseconds and more.");
        for (shard, executor) in shards.iter().zip(executors) {
            self.sample("donet_slow_turns_total", &[("shard", shard)], executor.counters.turn_times.slow());
        }
    }
}

/// A reason for which something is dropped, and how often it was.
type Drop = (&'static str, fn(&ExecutorFigures) -> u64);

const DROPS: &[Drop] = &[
    ("malformed", |executor| executor.metrics.datagrams_malformed),
    ("oversized", |executor| executor.metrics.oversized_messages_dropped),
    ("unknown_message", |executor| executor.metrics.unknown_messages + executor.metrics.unknown_control_messages),
    ("refused_by_object", |executor| executor.metrics.object_messages_refused),
    ("historical_object", |executor| executor.metrics.historical_updates_swallowed),
    ("upstream_down", |executor| executor.metrics.upstream_datagrams_lost),
    ("no_event_logger", |executor| executor.metrics.events_dropped),
    ("packet_not_sent", |executor| executor.counters.packets_failed),
];

/// Every plain figure of an executor, in an order that is the same for all of them.
fn own_figures(executor: &ExecutorFigures) -> Vec<Figure> {
    let gauge = |name, help, value| Figure { name, kind: Kind::Gauge, help, value };
    let ring = donet_shards::mesh::RING_BATCHES as u64;
    let mut figures: Vec<Figure> = executor.counters.figures().collect();
    figures.extend(executor.queues.figures().map(|figure| Figure { name: queue_name(figure.name), ..figure }));
    figures.push(gauge("queue_ring_batches_limit", "Batches that one ring holds.", ring));
    figures.extend(executor.metrics.figures());
    let waiting = crate::state_server::FanOutLimits::default().waiting as u64;
    figures.push(gauge("fan_outs_waiting_limit", "Messages to many objects that may be half handed out.", waiting));
    let help = "Channels with subscribers that the routing table knows.";
    figures.push(gauge("subscribed_channels", help, executor.subscribed_channels));
    figures
}

/// The name of a queue's figure among all figures.
fn queue_name(name: &'static str) -> &'static str {
    match name {
        "work" => "queue_work",
        "held_effects" => "queue_held_effects",
        "batches_waiting" => "queue_batches_waiting",
        "ring_batches_max" => "queue_ring_batches_max",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;
    use donet_shards::{Counters, Queues, ShardId};

    fn executor(shard: u16) -> ExecutorFigures {
        let mut counters = Counters { turns: 7 + u64::from(shard), ..Counters::default() };
        for took_us in [0, 3, 5, 1 << 30] {
            counters.turn_times.record(took_us);
        }
        let mut metrics = Metrics::default();
        metrics.objects = 3;
        metrics.count_closed(Reason::NoHello);
        let queues = Queues { timers: 2, ..Queues::default() };
        ExecutorFigures {
            shard: ShardId(shard),
            counters,
            queues,
            metrics,
            subscribed_channels: 9,
            databases: Vec::new(),
        }
    }

    fn text() -> String {
        let mut text = Text::default();
        text.executors(&[executor(0), executor(1)]);
        text.finish()
    }

    #[test]
    fn counters_end_with_total_and_gauges_do_not() {
        let text = text();
        for line in [
            "# TYPE donet_turns_total counter",
            "donet_turns_total{shard=\"0\"} 7",
            "donet_turns_total{shard=\"1\"} 8",
            "# TYPE donet_objects gauge",
            "donet_objects{shard=\"1\"} 3",
            "donet_timers{shard=\"0\"} 2",
            "donet_closed_total{shard=\"0\",reason=\"no_hello\",eject_code=\"107\"} 1",
            "donet_closed_total{shard=\"0\",reason=\"peer_closed\",eject_code=\"\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_its_count() {
        let text = text();
        let buckets: Vec<u64> = text
            .lines()
            .filter(|line| line.starts_with("donet_turn_seconds_bucket{shard=\"0\""))
            .map(|line| line.rsplit(' ').next().expect("a value").parse().expect("a number"))
            .collect();
        assert!(buckets.is_sorted());
        assert_eq!(buckets.last(), Some(&4));
        assert!(text.contains("donet_turn_seconds_bucket{shard=\"0\",le=\"+Inf\"} 4\n"));
        assert!(text.contains("donet_turn_seconds_bucket{shard=\"0\",le=\"0.000004\"} 2\n"));
        assert!(text.contains("donet_turn_seconds_count{shard=\"0\"} 4\n"));
    }

    #[test]
    fn no_family_is_declared_twice() {
        let text = text();
        let mut names: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.sample("x", &[("name", "a\"b\\c\nd")], 1);
        assert_eq!(text.finish(), "x{name=\"a\\\"b\\\\c\\nd\"} 1\n");
    }
}
