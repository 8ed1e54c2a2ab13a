//! What an operator waits for (reading and hashing files) and what every client update pays for (validating).
//!
//! `cargo bench -p donet-dc --bench contract`; criterion prints time and bytes per second. With `-- --least`: the least time
//! of many runs, for a machine that others use too.

use criterion::{BatchSize, Bencher, Criterion, Throughput, criterion_group};
use donet_dc::{Contract, Declarations, Field, Options, Source, TextPolicy};
use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

const LINES: usize = 4_000;

/// A file of the usual kind: structs, typedefs, classes in families, ranges, defaults, molecules, comments.
fn contract_text() -> String {
    let mut text = String::from("keyword audited;\ntypedef uint32 ObjectId;\ntypedef ObjectId ObjectIds[];\n");
    text.push_str("struct Item { uint16 kind; uint8(1-99) count = 1; string(0-40) note; };\n");
    let mut class = 0;
    while text.lines().count() < LINES {
        let base = if class % 8 == 0 { String::new() } else { format!(" : Thing{}", class - 1) };
        let _ = write!(
            text,
            "// Things of the kind {class}, as the game calls them.\n\
             dclass Thing{class}{base} {{\n\
             \x20 setPosition{class}(int16/10 x, int16/10 y, int16/10 z) required broadcast ram;\n\
             \x20 setHeading{class}(int16%360/10 h) broadcast ram;\n\
             \x20 setPlace{class} : setPosition{class};\n\
             \x20 setName{class}(string(0-64) name = \"thing\") required broadcast db;\n\
             \x20 setItems{class}(Item items[0-8] = []) required ownrecv db;\n\
             \x20 setFriends{class}(ObjectIds friends) ownrecv db audited;\n\
             \x20 requestUse{class}(uint32 target, uint8(0-5) how = 2) airecv clsend;\n\
             \x20 uint8 open{class} = 1 required broadcast ram;\n\
             }};\n"
        );
        class += 1;
    }
    text
}

/// Text into a contract, but for its hash.
fn parse(sources: &[Source]) -> Contract {
    declarations(sources).into_contract(0)
}

fn declarations(sources: &[Source]) -> Declarations {
    Declarations::parse(black_box(sources), &Options::default()).expect("the generated text is good")
}

fn parse_and_hash(sources: &[Source]) -> Contract {
    Contract::parse(black_box(sources), &Options::default()).expect("the generated text is good")
}

/// What is made is dropped after the clock has stopped, as whoever reads a contract keeps it; and before it is made again,
/// so that no run pays for memory that no program would need.
fn timed<T>(bench: &mut Bencher, mut work: impl FnMut() -> T) {
    bench.iter_batched(|| (), |()| work(), BatchSize::PerIteration);
}

fn parsing(criterion: &mut Criterion) {
    let text = contract_text();
    let sources = [Source::new("bench.dc", text.as_str())];
    let declarations = declarations(&sources);
    let mut group = criterion.benchmark_group("contract_4000_lines");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("parse", |bench| timed(bench, || parse(&sources)));
    group.bench_function("hash", |bench| bench.iter(|| black_box(&declarations).hash()));
    group.bench_function("parse_and_hash", |bench| timed(bench, || parse_and_hash(&sources)));
    group.finish();
}

const VALIDATED: &str = "struct Item { uint16 kind; uint8(1-99) count; string(0-40) note; };
struct Point { int16(-3000 - 3000)/10 x; int16(-3000 - 3000)/10 y; };
dclass Avatar {
  setXYZ(int16/10 x, int16/10 y, int16/10 z) broadcast;
  setRanged(int16(-3000 - 3000)/10 x, int16(-3000 - 3000)/10 y, int16(0-3000)/10 z) broadcast;
  setH(int16(0-360)/10 h) broadcast;
  setPath(Point[32] points) broadcast;
  setItems(Item items[0-64]) broadcast;
  setAll : setRanged, setH;
  say(string text) broadcast;
};";

/// Tells of each value to be validated: its name in reports, its field, its bytes.
fn values(mut tell: impl FnMut(&str, &Field, &[u8])) {
    let sources = [Source::new("bench.dc", VALIDATED)];
    let contract = Contract::parse(&sources, &Options::default()).expect("the text above is good");
    let class = contract.class_by_name("Avatar").expect("declared above");
    let mut bench = |name: &str, field: &str, literal: &str| {
        let field: &Field = class.field_by_name(field).expect("declared above");
        tell(name, field, &field.pack_literal(literal).expect("a value of that field"));
    };
    bench("three_numbers", "setXYZ", "(1.5, -2, 300)");
    bench("three_ranged_numbers", "setRanged", "(1.5, -2, 30)");
    bench("molecule_of_four_ranged_numbers", "setAll", "(1.5, -2, 30, 4)");
    let points = vec!["{1.5, -2}"; 32].join(", ");
    bench("array_of_32_structs", "setPath", &format!("([{points}])"));
    let items = vec!["{7, 3, \"a short note\"}"; 32].join(", ");
    bench("array_of_32_structs_with_text", "setItems", &format!("([{items}])"));
    bench("text_of_60_characters", "say", "(\"The quick brown fox jumps over the lazy dog, and over again.\")");
}

fn validating(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("validate");
    values(|name, field, bytes| {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bench| {
            bench.iter(|| black_box(field).validate(black_box(bytes), TextPolicy::Utf8).is_ok());
        });
    });
    group.finish();
}

/// Does one thing once, whose instructions callgrind counts: `--toggle-collect='*once_NAME*'` and `-- --once NAME`, for
/// `parse`, `hash` and, as `once_validate`, the validations by their names.
fn once(wanted: &str) {
    let text = contract_text();
    let sources = [Source::new("bench.dc", text.as_str())];
    match wanted {
        "parse" => drop(once_parse(&sources)),
        "hash" => {
            let declarations = declarations(&sources);
            // The first makes the table of primes.
            assert_eq!(declarations.hash(), once_hash(&declarations));
        }
        _ => values(|name, field, bytes| assert!(name != wanted || once_validate(field, bytes))),
    }
}

#[inline(never)]
fn once_parse(sources: &[Source]) -> Contract {
    parse(sources)
}

#[inline(never)]
fn once_hash(declarations: &Declarations) -> u32 {
    declarations.hash()
}

#[inline(never)]
fn once_validate(field: &Field, bytes: &[u8]) -> bool {
    field.validate(bytes, TextPolicy::Utf8).is_ok()
}

/// The least time of many runs: what the machine can do when nobody else wants it. Beside parsing, a loop that does
/// nothing but mix every byte of the same text into a number, so that runs on different machines can be compared.
fn least_times() {
    const RUNS: usize = 1_000;
    let text = contract_text();
    let sources = [Source::new("bench.dc", text.as_str())];
    let declarations = declarations(&sources);
    let mix = || {
        let bytes = black_box(text.as_bytes()).iter();
        bytes.fold(0u64, |mixed, byte| (mixed ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
    };
    let tell = |name: &str, time: Duration| {
        let speed = text.len() as f64 / time.as_secs_f64() / 1e6;
        println!("{name}: {} bytes in {time:?}, {speed:.1} MB/s", text.len());
    };
    tell("parse", least(RUNS, &|| parse(&sources)));
    tell("hash", least(RUNS, &|| declarations.hash()));
    tell("parse and hash", least(RUNS, &|| parse_and_hash(&sources)));
    tell("parse, hash and drop", least(RUNS, &|| drop(parse_and_hash(&sources))));
    tell("mix every byte", least(RUNS, &mix));
    values(|name, field, bytes| {
        const CALLS: u32 = 1_000;
        let calls = || {
            (0..CALLS).for_each(|_| {
                black_box(black_box(field).validate(black_box(bytes), TextPolicy::Utf8).is_ok());
            });
        };
        let nanoseconds = least(500, &calls).as_nanos() as f64 / f64::from(CALLS);
        println!("validate {name}: {nanoseconds:.1} ns");
    });
}

/// Of so many runs; what is made is dropped after the clock has stopped.
fn least<T>(runs: usize, work: &dyn Fn() -> T) -> Duration {
    let time = || {
        let start = Instant::now();
        let made = black_box(work());
        let time = start.elapsed();
        drop(made);
        time
    };
    (0..runs).map(|_| time()).min().expect("more than none")
}

criterion_group!(benches, parsing, validating);

fn main() {
    if std::env::args().any(|argument| argument == "--least") {
        return least_times();
    }
    if let Some(at) = std::env::args().position(|argument| argument == "--once") {
        let wanted = std::env::args().nth(at + 1);
        return once(&wanted.expect("--once takes a name"));
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
