//! Random contracts, read by Panda3D's own parser and by ours: hash under all eight settings, numbers, inherited lists,
//! keywords, defaults; values unpacked, damaged ones too, and packed again from their text.
//!
//! `DONET_DC_CONTRACTS=1000` makes more of them than the ordinary run.

mod support;
#[path = "../../tests/support/mod.rs"]
#[allow(dead_code)]
mod workspace;

use donet_dc::{Contract, Field, Options, Source, TextPolicy};
use serde_json::Value as Json;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use support::oracle::{compare_declarations, compare_hashes, compare_packings};
use support::random_contracts::Generator;
use support::{folder, unhex};

/// Panda3D's answer for each file that is named, as a list of entries of the manifest.
const ORACLE: &str = "
import json, os, struct, sys
sys.path.insert(0, sys.argv[1])
import make_vectors
def exact(value):
    # As bits: readers of JSON round reals differently.
    if isinstance(value, float):
        return {'bits': struct.pack('<d', value).hex()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return {key: exact(item) for key, item in value.items()} if isinstance(value, dict) else value
for path in sys.argv[2:]:
    file, entry = make_vectors.describe([path])
    assert entry['ok'] and entry['all_objects_valid'], path
    packings = make_vectors.vectors(file, path)
    variants = make_vectors.hash_variants([path])
    print(json.dumps(exact(dict(files=[os.path.basename(path)], **entry, hash_variants=variants, packings=packings))))
";

/// Contracts that one Panda3D process reads.
const BATCH: usize = 20;

fn oracle(python: &Path, files: &[String]) -> Vec<Json> {
    let output = Command::new(python)
        .arg("-c")
        .arg(ORACLE)
        .arg(folder())
        .args(files)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", output.status);
    let text = String::from_utf8(output.stdout).expect("JSON");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The bytes that a comment of the contract gives for a field.
fn values<'a>(text: &'a str, mark: &str) -> impl Iterator<Item = (&'a str, Vec<Vec<u8>>)> {
    let lines = text.lines().filter_map(move |line| line.trim().strip_prefix(mark));
    lines.map(|line| {
        let mut items = line.split('|').map(str::trim);
        (items.next().unwrap_or_default(), items.map(unhex).collect())
    })
}

fn field_of<'a>(contract: &'a Contract, name: &str) -> &'a Field {
    let (class, field) = name.split_once('.').expect("Class.field");
    contract.class_by_name(class).and_then(|class| class.field_by_name(field)).expect("declared")
}

/// Panda3D dies (SIGSEGV) of a switch key that has no case, and reads on after a mistake until it meets one. So it is not
/// asked about bytes that are no value of a type with a switch.
fn may_kill_panda3d(field: &Field, bytes: &[u8]) -> bool {
    field.describe_type().contains("switch") && field.validate(bytes, TextPolicy::Bytes).is_err()
}

/// The text with its comments as the oracle is to read them: without what it dies of, and with what we print for good
/// values, for it to pack.
fn for_oracle(text: &str) -> String {
    let contract = parse(text);
    let mut out = String::new();
    for line in text.lines().filter(|line| !line.trim().starts_with("//!")) {
        let _ = writeln!(out, "{line}");
    }
    for (name, mut values) in values(text, "//!") {
        let field = field_of(&contract, name);
        values.retain(|bytes| !may_kill_panda3d(field, bytes));
        if values.is_empty() {
            continue;
        }
        let hex: Vec<String> = values.iter().map(|bytes| support::hex(bytes)).collect();
        let literals = values.iter().filter_map(|bytes| field.format(bytes, TextPolicy::Bytes).ok());
        // What the comments cannot hold.
        let literals = literals.filter(|literal| literal.is_ascii() && !literal.contains(['|', '\n']));
        let literals: Vec<String> = literals.collect();
        let _ = writeln!(out, "//! {name} | {}", hex.join(" | "));
        if !literals.is_empty() {
            let _ = writeln!(out, "//? {name} | {}", literals.join(" | "));
        }
    }
    out
}

fn source(text: &str) -> Source {
    Source::new("random.dc", text)
}

fn parse(text: &str) -> Contract {
    Contract::parse(&[source(text)], &Options::default()).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

#[test]
fn random_contracts_mean_the_same_to_both() {
    let Some(python) = workspace::panda3d_python() else {
        return workspace::skip("random_contracts_mean_the_same_to_both", "Panda3D");
    };
    let count = std::env::var("DONET_DC_CONTRACTS").ok().and_then(|count| count.parse().ok()).unwrap_or(60);
    let scratch = tempfile::tempdir().unwrap();
    let mut generator = Generator::new(&[0x5eed, 1961, 0xdc, 4711]);
    let (mut fields, mut checked) = (0, 0);
    for _ in 0..usize::div_ceil(count, BATCH) {
        let texts: Vec<String> = (0..BATCH).map(|_| for_oracle(&generator.contract())).collect();
        let write = |(index, text): (usize, &String)| {
            let path = scratch.path().join(format!("random{index}.dc"));
            std::fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let files: Vec<String> = texts.iter().enumerate().map(write).collect();
        let entries = oracle(&python, &files);
        assert_eq!(entries.len(), texts.len());
        for (text, entry) in texts.iter().zip(&entries) {
            let told = std::panic::catch_unwind(|| {
                let contract = parse(text);
                assert_eq!(u64::from(contract.hash()), entry["hash"].as_u64().unwrap());
                compare_hashes(&[source(text)], entry);
                compare_declarations(&contract, entry);
                (
                    contract.classes().map(|class| class.own_fields().count()).sum::<usize>(),
                    compare_packings(&contract, entry),
                )
            });
            let (of_it, values) = told.unwrap_or_else(|_| panic!("they differ about\n{text}"));
            fields += of_it;
            checked += values;
        }
    }
    assert!(fields > count && checked > 10 * count, "{fields} fields, {checked} values");
}
