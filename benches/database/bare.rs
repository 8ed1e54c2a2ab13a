//! The same work, straight on RocksDB in a loop: as many objects to a batch as the engine has operations under way. The
//! latency of a write is that of its batch.

use super::{Arguments, FIRST, GOLD, Measured, Stopwatch, VALUE_COUNT, bytes_per_object, pick, values};
use bytes::Bytes;
use donet::config::Durability;
use donet::database_server::BareDatabase;
use donet::wire::Doid;
use std::time::{Duration, Instant};

struct Bare {
    database: BareDatabase,
    /// As the engine: half of what may be lost.
    sync_every: Option<Duration>,
    synced: Instant,
}

impl Bare {
    fn write(&mut self, records: &[([u8; 8], Bytes)]) {
        let records = records.iter().map(|(key, value)| (&key[..], &value[..]));
        self.database.write(records).unwrap_or_else(|error| panic!("{error}"));
        if self.sync_every.is_some_and(|every| self.synced.elapsed() >= every) {
            self.database.sync().unwrap_or_else(|error| panic!("{error}"));
            self.synced = Instant::now();
        }
    }

    fn read(&self, doid: Doid, field: u32) {
        let value = self.database.get(&key(doid, field)).unwrap_or_else(|error| panic!("{error}"));
        assert!(value.is_some(), "everything was written");
    }
}

fn key(doid: Doid, field: u32) -> [u8; 8] {
    (u64::from(doid) << 32 | u64::from(field)).to_be_bytes()
}

/// Creates, gets and sets.
pub fn run(durability: Durability, arguments: &Arguments) -> Measured {
    let folder = tempfile::tempdir_in(&arguments.folder).expect("the folder can be written");
    let directory = folder.path().join("data");
    let database = BareDatabase::open(&directory, durability == Durability::Sync);
    let database = database.unwrap_or_else(|error| panic!("{error}"));
    let sync_every = if let Durability::Interval(interval) = durability { Some(interval / 2) } else { None };
    let mut bare = Bare { database, sync_every, synced: Instant::now() };
    let window = arguments.window as u32;
    let batches =
        || (0..arguments.objects).step_by(arguments.window).map(|from| from..(from + window).min(arguments.objects));

    let mut creates = Stopwatch::start();
    for batch in batches() {
        let (begun, count) = (Instant::now(), batch.len() as u64);
        let mut records = Vec::with_capacity(arguments.window * 5 + 1);
        for number in batch {
            records.push((key(FIRST + number, 0), Bytes::from_static(&[1, 1, 0, 0, 0])));
            let fields = values(number);
            records
                .extend(fields.iter().map(|(field, value)| (key(FIRST + number, u32::from(field) + 1), value.clone())));
        }
        // What the engine stores once for each batch.
        records.push((*b"allocatr", Bytes::from_static(&[0; 33])));
        bare.write(&records);
        creates.note(begun.elapsed(), count);
    }
    let creates = creates.stop(arguments.objects);

    let mut gets = Stopwatch::start();
    for number in 0..arguments.objects {
        let begun = Instant::now();
        (0..=u32::from(VALUE_COUNT)).for_each(|field| bare.read(pick(number, arguments), field));
        gets.note(begun.elapsed(), 1);
    }
    let gets = gets.stop(arguments.objects);

    let mut sets = Stopwatch::start();
    for batch in batches() {
        let (begun, count) = (Instant::now(), batch.len() as u64);
        let mut records = Vec::with_capacity(arguments.window);
        for number in batch {
            let doid = pick(number, arguments);
            // The engine looks whether the object is there, and of which class.
            bare.read(doid, 0);
            records.push((key(doid, u32::from(GOLD) + 1), Bytes::copy_from_slice(&number.to_be_bytes())));
        }
        bare.write(&records);
        sets.note(begun.elapsed(), count);
    }
    let sets = sets.stop(arguments.objects);
    let phases = vec![("creates", creates), ("gets", gets), ("sets", sets)];
    Measured { phases, bytes_per_object: bytes_per_object(&directory, arguments) }
}
