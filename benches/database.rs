//! The database engine against a bare RocksDB loop that writes the same records, in the same run.
//!
//! `cargo bench --bench database --profile dev -- [--objects N] [--window N] [--folder PATH]`
//!
//! For each durability: creates, gets and sets per second, with the latency from the submission of an operation to its
//! completion, while `window` operations are under way. The bare loop writes the same keys and values, `window` objects to
//! a batch, with the same sync setting. `--folder` should be on the disk that is to be measured; the default is the
//! system's temporary folder. Two headline numbers come first; a machine that does anything else spoils them.

use bytes::Bytes;
use donet::config::{DatabaseServer, Durability};
use donet::database_server::{
    ContractText, DatabaseRequest, Engine, FieldIds, FieldValues, Operation, Outcome, Renames,
};
use donet::wire::{Doid, MessageType};
use donet_dc::{Contract, Options, Source};
use donet_shards::ShardId;
use hdrhistogram::Histogram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// An avatar as games store it: 40 bytes of values in four fields.
const CONTRACT: &str = "dclass Avatar { name(string) db; look(blob) db; gold(uint32) db; level(uint8) db; };";
const FIRST: Doid = 1_000_000;
const GOLD: u16 = 2;
/// Requests to the bare loop's column family are prefixed by an object's four bytes, as the engine's are.
const VALUE_COUNT: u16 = 4;

struct Arguments {
    objects: u32,
    window: usize,
    folder: PathBuf,
}

fn arguments() -> Arguments {
    let mut found = Arguments { objects: 20_000, window: 256, folder: std::env::temp_dir() };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} is followed by a value"));
        match word.as_str() {
            "--objects" => found.objects = value().replace('_', "").parse().expect("a number of objects"),
            "--window" => found.window = value().parse().expect("a number of operations"),
            "--folder" => found.folder = value().into(),
            // What cargo says to every benchmark.
            "--bench" => {}
            other => panic!("unknown argument {other:?}; known: --objects N, --window N, --folder PATH"),
        }
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

/// One measured phase.
struct Phase {
    per_second: f64,
    latency_us: Histogram<u64>,
}

impl Phase {
    fn print(&self, what: &str) {
        let at = |quantile| self.latency_us.value_at_quantile(quantile);
        println!(
            "  {what:<14} {:>10.0} /s   latency us: p50 {:>7}  p99 {:>7}  p99.9 {:>7}  max {:>7}",
            self.per_second,
            at(0.5),
            at(0.99),
            at(0.999),
            self.latency_us.max()
        );
    }
}

/// Keeps `window` operations under way until all are done.
fn drive(
    engine: &donet::database_server::EngineHandle,
    completions: &std::sync::mpsc::Receiver<(u32, bool)>,
    arguments: &Arguments,
    mut operation: impl FnMut(u32) -> Operation,
) -> Phase {
    // One microsecond to one minute, with three digits.
    let mut latency_us = Histogram::new_with_bounds(1, 60_000_000, 3).expect("sound bounds");
    let mut sent = vec![Instant::now(); arguments.objects as usize];
    let begun = Instant::now();
    let (mut submitted, mut done) = (0, 0);
    while done < arguments.objects {
        while submitted < arguments.objects && ((submitted - done) as usize) < arguments.window {
            sent[submitted as usize] = Instant::now();
            let operation = operation(submitted);
            let (requester, message_type, held_bytes) = (1, MessageType(0), 100);
            let request = DatabaseRequest { requester, context: submitted, message_type, operation, held_bytes };
            engine.submit(ShardId(0), request);
            submitted += 1;
        }
        let (context, succeeded) = completions.recv().expect("every operation is answered");
        assert!(succeeded, "operation {context} failed");
        latency_us.saturating_record(sent[context as usize].elapsed().as_micros() as u64);
        done += 1;
    }
    Phase { per_second: f64::from(arguments.objects) / begun.elapsed().as_secs_f64(), latency_us }
}

fn folder_bytes(folder: &Path) -> u64 {
    std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.and_then(|entry| entry.metadata()).map_or(0, |metadata| metadata.len()))
        .sum()
}

/// Creates, gets and sets through the engine; creates per second.
fn engine_run(name: &str, durability: Durability, arguments: &Arguments) -> f64 {
    let folder = tempfile::tempdir_in(&arguments.folder).expect("the folder can be written");
    let sources = vec![Source::new("bench.dc", CONTRACT)];
    let contract = Arc::new(Contract::parse(&sources, &Options::default()).unwrap_or_else(|error| panic!("{error}")));
    let text = ContractText { sources, options: Options::default(), renames: Renames::default() };
    let settings = DatabaseServer {
        control_channel: 4000,
        generate: FIRST..=Doid::MAX,
        broadcast: false,
        directory: folder.path().join("data"),
        durability,
        renames: Renames::default(),
    };
    let (sender, completions) = channel();
    let on_completion = Box::new(move |_, completion: donet::database_server::DatabaseCompletion| {
        let succeeded = !matches!(completion.outcome, Outcome::Failed | Outcome::Refused(_));
        // The main thread listens until it has all.
        let _ = sender.send((completion.context, succeeded));
    });
    let engine = Engine::open(0, &settings, contract, &text, on_completion).unwrap_or_else(|error| panic!("{error}"));
    println!("{name}");
    let creates =
        drive(&engine, &completions, arguments, |number| Operation::Create { class: 0, values: values(number) });
    creates.print("creates");
    // In an order that is not that of the doids.
    let pick = |number: u32| FIRST + number.wrapping_mul(2_654_435_761) % arguments.objects;
    let all: FieldIds = (0..VALUE_COUNT).collect();
    let gets = |number| Operation::GetFields { doid: pick(number), fields: all.clone() };
    drive(&engine, &completions, arguments, gets).print("gets");
    let sets = |number: u32| {
        let gold = Bytes::copy_from_slice(&number.to_be_bytes());
        Operation::Set { doid: pick(number), values: [(GOLD, gold)].into_iter().collect() }
    };
    drive(&engine, &completions, arguments, sets).print("sets");
    engine.shutdown();
    drop(engine);
    let bytes = folder_bytes(&settings.directory) as f64 / f64::from(arguments.objects);
    println!("  on disk        {bytes:>10.0} bytes per object, logs included");
    creates.per_second
}

/// The same records, straight into RocksDB; objects per second.
fn bare_run(durability: Durability, arguments: &Arguments) -> f64 {
    let folder = tempfile::tempdir_in(&arguments.folder).expect("the folder can be written");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    options.set_compression_type(rocksdb::DBCompressionType::Lz4);
    let database = rocksdb::DB::open(&options, folder.path().join("data")).unwrap_or_else(|error| panic!("{error}"));
    let mut write_options = rocksdb::WriteOptions::default();
    write_options.set_sync(durability == Durability::Sync);
    let mut batch = rocksdb::WriteBatch::default();
    let begun = Instant::now();
    for number in 0..arguments.objects {
        let doid = FIRST + number;
        let key = |field: u32| (u64::from(doid) << 32 | u64::from(field)).to_be_bytes();
        batch.put(key(0), [1, 1, 0, 0, 0]);
        for (field, value) in values(number).iter() {
            batch.put(key(u32::from(field) + 1), value);
        }
        if (number as usize + 1).is_multiple_of(arguments.window) || number + 1 == arguments.objects {
            // What the engine stores once for each batch.
            batch.put(b"allocator", [0; 33]);
            database.write_opt(std::mem::take(&mut batch), &write_options).unwrap_or_else(|error| panic!("{error}"));
        }
    }
    f64::from(arguments.objects) / begun.elapsed().as_secs_f64()
}

fn main() {
    let arguments = arguments();
    println!(
        "{} objects, {} operations under way, {}",
        arguments.objects,
        arguments.window,
        arguments.folder.display()
    );
    for (name, durability) in [
        ("sync", Durability::Sync),
        ("interval, 100 ms", Durability::Interval(Duration::from_millis(100))),
        ("os", Durability::Os),
    ] {
        let engine = engine_run(name, durability, &arguments);
        let bare = bare_run(durability, &arguments);
        println!("  bare RocksDB   {bare:>10.0} /s   the engine's creates are {:.0} % of it", 100.0 * engine / bare);
    }
}
