//! The database engine against a bare RocksDB loop that writes the same records, in the same run.
//!
//! `cargo bench --bench database --profile dev -- [--objects N] [--window N] [--folder PATH]`
//!
//! For each durability: creates, gets and sets per second, with the latency from the submission of an operation to its
//! completion, while `window` operations are under way. The bare loop does the same with the same keys and values, in one
//! thread and without a queue, `window` objects to a batch, with the same sync setting. `--folder` should be on the disk that is to be measured; the default is the
//! system's temporary folder. Two headline numbers come first; a machine that does anything else spoils them.

use bytes::Bytes;
use donet::config::{DatabaseServer, Durability};
use donet::database_server::{
    BareDatabase, ContractText, DatabaseRequest, Engine, FieldIds, FieldValues, Operation, Outcome, Renames,
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

/// Creates, gets and sets through the engine.
fn engine_run(name: &str, durability: Durability, arguments: &Arguments) -> Rates {
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
        sql_sink: None,
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
    let all: FieldIds = (0..VALUE_COUNT).collect();
    let gets = |number| Operation::GetFields { doid: pick(number, arguments), fields: all.clone() };
    let gets = drive(&engine, &completions, arguments, gets);
    gets.print("gets");
    let sets = |number: u32| {
        let gold = Bytes::copy_from_slice(&number.to_be_bytes());
        Operation::Set { doid: pick(number, arguments), values: [(GOLD, gold)].into_iter().collect() }
    };
    let sets = drive(&engine, &completions, arguments, sets);
    sets.print("sets");
    engine.shutdown();
    drop(engine);
    let bytes = folder_bytes(&settings.directory) as f64 / f64::from(arguments.objects);
    println!("  on disk        {bytes:>10.0} bytes per object, logs included");
    [creates.per_second, gets.per_second, sets.per_second]
}

/// The rates of a run: creates, gets and sets per second.
type Rates = [f64; 3];

/// The same work, straight on RocksDB in a loop: as many objects to a batch as the engine has operations under way.
fn bare_run(durability: Durability, arguments: &Arguments) -> Rates {
    let folder = tempfile::tempdir_in(&arguments.folder).expect("the folder can be written");
    let directory = folder.path().join("data");
    let database =
        BareDatabase::open(&directory, durability == Durability::Sync).unwrap_or_else(|error| panic!("{error}"));
    let key = |doid: Doid, field: u32| (u64::from(doid) << 32 | u64::from(field)).to_be_bytes();
    let window = arguments.window as u32;
    let batches =
        || (0..arguments.objects).step_by(arguments.window).map(|from| from..(from + window).min(arguments.objects));
    let write = |records: &[([u8; 8], Bytes)]| {
        database
            .write(records.iter().map(|(key, value)| (&key[..], &value[..])))
            .unwrap_or_else(|error| panic!("{error}"));
    };
    let rate = |begun: Instant| f64::from(arguments.objects) / begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    for batch in batches() {
        let mut records = Vec::with_capacity(arguments.window * 5 + 1);
        for number in batch {
            records.push((key(FIRST + number, 0), Bytes::from_static(&[1, 1, 0, 0, 0])));
            let fields = values(number);
            records
                .extend(fields.iter().map(|(field, value)| (key(FIRST + number, u32::from(field) + 1), value.clone())));
        }
        // What the engine stores once for each batch.
        records.push((*b"allocatr", Bytes::from_static(&[0; 33])));
        write(&records);
    }
    let creates = rate(begun);
    let begun = Instant::now();
    for number in 0..arguments.objects {
        let doid = pick(number, arguments);
        for field in 0..=u32::from(VALUE_COUNT) {
            let value = database.get(&key(doid, field)).unwrap_or_else(|error| panic!("{error}"));
            assert!(value.is_some(), "everything was written");
        }
    }
    let gets = rate(begun);
    let begun = Instant::now();
    for batch in batches() {
        let mut records = Vec::with_capacity(arguments.window);
        for number in batch {
            let doid = pick(number, arguments);
            // The engine looks whether the object is there, and of which class.
            let own = database.get(&key(doid, 0)).unwrap_or_else(|error| panic!("{error}"));
            assert!(own.is_some(), "everything was written");
            records.push((key(doid, u32::from(GOLD) + 1), Bytes::copy_from_slice(&number.to_be_bytes())));
        }
        write(&records);
    }
    let sets = rate(begun);
    let bytes = folder_bytes(&directory) as f64 / f64::from(arguments.objects);
    println!(
        "  bare RocksDB   creates {creates:.0} /s, gets {gets:.0} /s, sets {sets:.0} /s, {bytes:.0} bytes per object"
    );
    [creates, gets, sets]
}

/// An object in an order that is not that of the doids.
fn pick(number: u32, arguments: &Arguments) -> Doid {
    FIRST + number.wrapping_mul(2_654_435_761) % arguments.objects
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
        let [creates, gets, sets] = [0, 1, 2].map(|kind| 100.0 * engine[kind] / bare[kind]);
        println!("  of it the engine reaches {creates:.0} % at creates, {gets:.0} % at gets, {sets:.0} % at sets");
    }
}
