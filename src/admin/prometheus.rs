//! Figures as Prometheus text, exposition format 0.0.4.
//!
//! Pure: figures in, text out. Names follow Prometheus' conventions: `donet_` in front, `_total` behind what only grows,
//! seconds and bytes as units.

use super::inspect::ExecutorFigures;
use crate::event_logger::EventLoggerFigures;
use crate::reason::Reason;
use donet_shards::{Figure, Kind};
use std::fmt::Write;
use std::sync::Arc;

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

    fn turn_times(&mut self, executors: &[ExecutorFigures], shards: &[String]) {
        self.family("donet_turn_seconds", "histogram", "How long turns took.");
        for (shard, executor) in shards.iter().zip(executors) {
            let times = &executor.counters.turn_times;
            let mut below = 0;
            for (bound_us, count) in times.buckets() {
                below += count;
                let bound = bound_us.map_or("+Inf".to_owned(), |us| format!("{}", us as f64 / 1e6));
                self.sample("donet_turn_seconds_bucket", &[("shard", shard), ("le", &bound)], below);
            }
            self.sample("donet_turn_seconds_sum", &[("shard", shard)], times.sum_us() as f64 / 1e6);
            self.sample("donet_turn_seconds_count", &[("shard", shard)], below);
        }
        self.family("donet_slow_turns_total", "counter", "Turns of ten milliseconds and more.");
        for (shard, executor) in shards.iter().zip(executors) {
            self.sample("donet_slow_turns_total", &[("shard", shard)], executor.counters.turn_times.slow());
        }
    }
}

/// Every plain figure of an executor, in an order that is the same for all of them.
fn own_figures(executor: &ExecutorFigures) -> Vec<Figure> {
    let gauge = |name, help, value| Figure { name, kind: Kind::Gauge, help, value };
    let ring = donet_shards::mesh::RING_BATCHES as u64;
    let mut figures: Vec<Figure> = executor.counters.figures().collect();
    figures.extend(executor.queues.figures().map(|figure| Figure { name: queue_name(figure.name), ..figure }));
    figures.push(gauge("queue_ring_batches_limit", "Batches that one ring holds.", ring));
    figures.extend(executor.metrics.figures());
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
        ExecutorFigures { shard: ShardId(shard), counters, queues, metrics, subscribed_channels: 9 }
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
