//! What the State Server's handlers cost on one executor, and what an object weighs.
//!
//! ```text
//! cargo bench --bench state_server                        nanoseconds per operation
//! cargo bench --bench state_server -- --measure memory    bytes per object
//! cargo bench --bench state_server -- --measure OPERATION OBJECTS COUNT
//! ```
//!
//! The last runs one operation COUNT times in a world of OBJECTS objects, inside a function `measured`, for
//! `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*measured*'`, and prints its CPU time. Without
//! valgrind it prints CPU time only. `docs/PERFORMANCE.md` has the figures.

mod realm;

use criterion::{BatchSize, BenchmarkId, Criterion};
use donet::wire::Datagram;
use realm::*;
use std::hint::black_box;

const OPERATIONS: [&str; 8] =
    ["create", "set-field", "get-field", "get-all", "location", "zone-query", "delete", "delete-ai"];

/// Builds a message to an object.
type MessageTo = fn(u32) -> Datagram;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--measure", "memory"] => memory(),
        ["--measure", operation, objects, count] => {
            let number = |text: &str| text.parse().expect("OBJECTS and COUNT are numbers");
            measure(operation, number(objects), number(count));
        }
        _ => {
            let mut criterion = Criterion::default().sample_size(20).configure_from_args();
            operations(&mut criterion);
            zone_query_of_100(&mut criterion);
            deletions(&mut criterion);
            criterion.final_summary();
        }
    }
}

/// Single operations among 10,000 and 1,000,000 objects.
fn operations(criterion: &mut Criterion) {
    for objects in [10_000, 1_000_000] {
        let mut realm = Realm::with_children(objects, objects / 100);
        let mut group = criterion.benchmark_group("state_server");
        let kinds: [(&str, MessageTo); 4] = [
            ("set_field", |doid| set_field(doid, doid as u16)),
            ("get_field", get_field),
            ("get_all", get_all),
            ("location", |doid| set_location(doid, (PARENT + (doid & 1), doid % 1000))),
        ];
        for (name, message) in kinds {
            let messages: Vec<Datagram> = scattered(objects, 4096).map(message).collect();
            let mut back: Vec<Datagram> = Vec::new();
            if name == "location" {
                back.extend(scattered(objects, 4096).map(|doid| set_location(doid, (PARENT, 7))));
            }
            let mut all = messages.iter().chain(&back).cycle();
            group.bench_function(BenchmarkId::new(name, objects), |bencher| {
                bencher.iter(|| realm.object(all.next().expect("it goes round")));
            });
        }
        let mut next = FIRST + objects;
        group.bench_function(BenchmarkId::new("create", objects), |bencher| {
            let make = || {
                next += 1;
                create(next, (PARENT, next % 1000))
            };
            bencher.iter_batched(make, |message| realm.control(&message), BatchSize::SmallInput);
        });
        black_box(realm.left);
    }
}

fn zone_query_of_100(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("zone_query_of_100");
    for objects in [100, 10_000, 1_000_000] {
        let mut realm = Realm::with_children(objects, objects / 100);
        let query = zone_query(objects / 200);
        group.bench_function(BenchmarkId::from_parameter(objects), |bencher| bencher.iter(|| realm.object(&query)));
    }
}

/// One deletion, and the creation that makes it possible again.
fn deletions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("delete_and_create");
    for objects in [10_000, 100_000, 1_000_000] {
        let mut realm = Realm::with_children(objects, 1000);
        let pairs: Vec<(Datagram, Datagram)> = scattered(objects, 4096)
            .map(|doid| (delete(doid), create(doid, (PARENT, (doid - FIRST) % 1000))))
            .collect();
        let mut pairs = pairs.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(objects), |bencher| {
            bencher.iter(|| {
                let (delete, create) = pairs.next().expect("it goes round");
                realm.object(delete);
                realm.control(create);
            });
        });
    }
}

/// Runs what is to be measured, and nothing else.
#[inline(never)]
fn measured(realm: &mut Realm, messages: &[Datagram], is_control: bool) {
    for message in messages {
        if is_control {
            realm.control(message);
        } else {
            realm.object(message);
        }
    }
}

fn measure(operation: &str, objects: u32, count: u32) {
    let zones = (objects / 100).max(1);
    let mut realm = Realm::with_children(objects, zones);
    let each = |message: fn(u32) -> Datagram| scattered(objects, count).map(message).collect::<Vec<_>>();
    let messages = match operation {
        "create" => (0..count).map(|index| create(FIRST + objects + index, (PARENT, index % zones))).collect(),
        "set-field" => each(|doid| set_field(doid, doid as u16)),
        "get-field" => each(get_field),
        "get-all" => each(get_all),
        "location" => each(|doid| set_location(doid, (PARENT + 1, doid % 1000))),
        "zone-query" => (0..count).map(|index| zone_query(index % zones)).collect(),
        "delete" => (0..count).map(|index| delete(FIRST + index * (objects / count).max(1))).collect(),
        "delete-ai" => {
            for doid in FIRST..FIRST + objects {
                realm.object(&set_ai(doid));
            }
            vec![delete_ai_objects()]
        }
        _ => panic!("OPERATION is one of {OPERATIONS:?}"),
    };
    let is_control = matches!(operation, "create" | "delete-ai");
    let before = cpu_ns();
    measured(&mut realm, &messages, is_control);
    let cpu = cpu_ns() - before;
    let count = messages.len() as u64;
    println!("{operation} among {objects} objects: {count} times, {} ns of CPU each", cpu / count);
    black_box((realm.left, realm.objects()));
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux, and `time` is a valid place for its answer.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    assert_eq!(result, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Bytes that the allocator has handed out, its own included, and bytes of memory that the process has.
fn used() -> (usize, usize) {
    // SAFETY: it takes nothing and returns a plain structure.
    let heap = unsafe { libc::mallinfo2() };
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    let rss_kib: usize = rss.trim().trim_end_matches("kB").trim().parse().expect("a number");
    (heap.uordblks + heap.hblkhd, rss_kib * 1024)
}

/// A million objects, step by step: alone, below a parent in 10,000 zones, and with an AI of their own.
fn memory() {
    const OBJECTS: u32 = 1_000_000;
    let each = |name: &str, zones: Option<u32>, with_ai: bool| {
        let before = used();
        let mut realm = Realm::new();
        for index in 0..OBJECTS {
            let location = zones.map_or((0, 0), |zones| (PARENT, index % zones));
            realm.control(&create(FIRST + index, location));
            if with_ai {
                realm.object(&set_ai(FIRST + index));
            }
        }
        let after = used();
        let per_object = |after: usize, before: usize| (after.saturating_sub(before)) / OBJECTS as usize;
        println!(
            "{name}: {} bytes per object allocated, {} resident",
            per_object(after.0, before.0),
            per_object(after.1, before.1)
        );
        assert_eq!(realm.objects(), OBJECTS as usize + 2);
        // The process ends without giving it back: the next figure must not be made of this one's memory.
        std::mem::forget(realm);
    };
    each("without parent and AI", None, false);
    each("with a parent, 10,000 zones", Some(10_000), false);
    each("with a parent, 10,000 zones, and an AI each", Some(10_000), true);
    each("with a parent, a zone each", Some(OBJECTS), false);
}
