//! The database engine against a bare RocksDB loop that writes the same records, in the same run.
//!
//! `cargo bench --bench database --profile dev -- [--objects N] [--window N] [--folder PATH] [--durability NAME]… [--sink]`
//!
//! For each durability (all, unless some are named): creates, gets and sets per second, with the latency from the
//! submission of an operation to its completion, while `window` operations are under way. The bare loop ([`bare`]) does
//! the same with the same keys and values, in one thread and without a queue, `window` objects to a batch, with the same
//! syncs. With `--sink` creates and sets are done again by an engine that keeps changes for a SQL sink: one whose server
//! is dead, and one that writes a SQLite file. `--folder` should be on the disk that is to be measured; the default is
//! the system's temporary folder. Prints Markdown tables; a machine that does anything else spoils them.

mod bare;
mod engine;

use bytes::Bytes;
use donet::config::Durability;
use donet::database_server::FieldValues;
use donet::wire::Doid;
use donet_perf::usage::{Usage, load_average};
use engine::Sink;
use hdrhistogram::Histogram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// An avatar as games store it: 40 bytes of values in four fields.
const CONTRACT: &str = "dclass Avatar { name(string) db; look(blob) db; gold(uint32) db; level(uint8) db; };";
const FIRST: Doid = 1_000_000;
const GOLD: u16 = 2;
const VALUE_COUNT: u16 = 4;
const DURABILITIES: [(&str, Durability); 3] = [
    ("sync", Durability::Sync),
    ("interval", Durability::Interval(Duration::from_millis(100))),
    ("os", Durability::Os),
];

struct Arguments {
    objects: u32,
    window: usize,
    folder: PathBuf,
    durabilities: Vec<(&'static str, Durability)>,
    sink: bool,
}

fn arguments() -> Arguments {
    let mut found =
        Arguments { objects: 20_000, window: 256, folder: std::env::temp_dir(), durabilities: Vec::new(), sink: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} is followed by a value"));
        match word.as_str() {
            "--objects" => found.objects = value().replace('_', "").parse().expect("a number of objects"),
            "--window" => found.window = value().parse().expect("a number of operations"),
            "--folder" => found.folder = value().into(),
            "--durability" => {
                let name = value();
                let known = DURABILITIES.into_iter().find(|(known, _)| *known == name);
                found.durabilities.push(known.unwrap_or_else(|| panic!("{name:?}: sync, interval or os")));
            }
            "--sink" => found.sink = true,
            // What cargo says to every benchmark.
            "--bench" => {}
            other => panic!("unknown argument {other:?}; see the head of benches/database/main.rs"),
        }
    }
    if found.durabilities.is_empty() {
        found.durabilities = DURABILITIES.to_vec();
    }
    found
}

/// The values of an object, different for each.
fn values(number: u32) -> FieldValues {
    let text = |text: String| {
        let mut packed = (text.len() as u16).to_le_bytes().to_vec();
        packed.extend(text.into_bytes());
        Bytes::from(packed)
    };
    [
        (0, text(format!("Avatar {number}"))),
        (1, text(format!("{:016x}", u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15)))),
        (GOLD, Bytes::copy_from_slice(&number.to_le_bytes())),
        (3, Bytes::copy_from_slice(&[number as u8])),
    ]
    .into_iter()
    .collect()
}

/// An object in an order that is not that of the doids.
fn pick(number: u32, arguments: &Arguments) -> Doid {
    FIRST + number.wrapping_mul(2_654_435_761) % arguments.objects
}

/// One measured kind of operation.
struct Phase {
    per_second: f64,
    /// Processor time of the whole process for one operation: the engine's thread, those of the storage, and what asks.
    cpu_us: f64,
    latency_us: Histogram<u64>,
}

/// Measures a phase.
struct Stopwatch {
    begun: Instant,
    cpu: Duration,
    latency_us: Histogram<u64>,
}

impl Stopwatch {
    fn start() -> Self {
        // One microsecond to one minute, with three digits.
        let latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("sound bounds");
        Self { begun: Instant::now(), cpu: cpu(), latency_us }
    }

    /// So many operations have taken so long each.
    fn note(&mut self, took: Duration, operations: u64) {
        self.latency_us.saturating_record(took.as_micros() as u64);
        if operations > 1 {
            self.latency_us.saturating_record_n(took.as_micros() as u64, operations - 1);
        }
    }

    fn stop(self, operations: u32) -> Phase {
        let operations = f64::from(operations);
        Phase {
            per_second: operations / self.begun.elapsed().as_secs_f64(),
            cpu_us: cpu().saturating_sub(self.cpu).as_secs_f64() * 1e6 / operations,
            latency_us: self.latency_us,
        }
    }
}

impl Phase {
    /// p50, p99, p99.9 and the greatest latency, in milliseconds.
    fn latencies(&self) -> String {
        let at = |quantile| self.latency_us.value_at_quantile(quantile) as f64 / 1000.0;
        format!("{:.3}, {:.3}, {:.3}, {:.1}", at(0.5), at(0.99), at(0.999), self.latency_us.max() as f64 / 1000.0)
    }
}

/// Creates, gets and sets of a run, in this order.
struct Measured {
    phases: Vec<(&'static str, Phase)>,
    bytes_per_object: f64,
}

fn bytes_per_object(folder: &Path, arguments: &Arguments) -> f64 {
    let files = std::fs::read_dir(folder).expect("the folder is there");
    let bytes: u64 = files.map(|file| file.and_then(|file| file.metadata()).map_or(0, |metadata| metadata.len())).sum();
    bytes as f64 / f64::from(arguments.objects)
}

fn cpu() -> Duration {
    Usage::of(std::process::id()).map_or(Duration::ZERO, |usage| usage.cpu)
}

fn compare(name: &str, durability: Durability, arguments: &Arguments) {
    let load = load_average().unwrap_or_default();
    let engine = engine::run(durability, Sink::None, arguments);
    let bare = bare::run(durability, arguments);
    for ((what, engine), (_, bare)) in engine.phases.iter().zip(&bare.phases) {
        println!(
            "| `{name}` | {what} | {:.0} | {} | {:.1} | {:.0} | {} | {:.1} | {:.0} % |",
            engine.per_second,
            engine.latencies(),
            engine.cpu_us,
            bare.per_second,
            bare.latencies(),
            bare.cpu_us,
            100.0 * engine.per_second / bare.per_second
        );
    }
    println!(
        "| | bytes on disk per object, logs included | {:.0} | | | {:.0} | | | load average before: {load} |",
        engine.bytes_per_object, bare.bytes_per_object
    );
}

fn compare_sinks(name: &str, durability: Durability, arguments: &Arguments) {
    let without = engine::run(durability, Sink::None, arguments);
    for (sink, is_called) in [(Sink::Dead, "its server is dead"), (Sink::Sqlite, "writes a SQLite file")] {
        let with = engine::run(durability, sink, arguments);
        for (what, with) in &with.phases {
            let (_, without) = without.phases.iter().find(|(other, _)| other == what).expect("the same phases");
            println!(
                "| `{name}` | {is_called} | {what} | {:.0} | {:.0} | {:.0} % | {:.1} | {:.1} | {} |",
                without.per_second,
                with.per_second,
                100.0 * with.per_second / without.per_second,
                without.cpu_us,
                with.cpu_us,
                with.latencies()
            );
        }
        println!(
            "| | | bytes on disk per object | {:.0} | {:.0} | | | | |",
            without.bytes_per_object, with.bytes_per_object
        );
    }
}

fn main() {
    let arguments = arguments();
    let Arguments { objects, window, folder, .. } = &arguments;
    println!("{objects} objects, {window} operations under way, {}\n", folder.display());
    println!(
        "| durability | | engine, /s | p50, p99, p99.9, max, ms | CPU µs | bare RocksDB, /s | the same, ms | CPU µs | \
         engine of bare |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (name, durability) in &arguments.durabilities {
        compare(name, *durability, &arguments);
    }
    if arguments.sink {
        println!(
            "\n| durability | SQL sink | | without, /s | with, /s | of it | CPU µs without | with | p50, p99, p99.9, max \
             with it, ms |\n|---|---|---|---|---|---|---|---|---|"
        );
        for (name, durability) in &arguments.durabilities {
            compare_sinks(name, *durability, &arguments);
        }
    }
}
