//! What the vector tests share: reading the vectors, and the table of exceptions.
#![allow(dead_code)]

pub mod oracle;
pub mod random_contracts;
pub mod random_types;

use Exception::{Accepted, Default, Refused, RefusedFile};
use donet_dc::{Contract, Diagnostics, Options, Source, Value};
use serde_json::{Value as Json, json};
use std::path::PathBuf;

/// What of the vectors Panda3D answers otherwise than a strict reader should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// A text of `snippets.json` that it refuses, or hashes otherwise, and we accept.
    Accepted(&'static str),
    /// One that it accepts and we refuse.
    Refused(&'static str),
    /// A vector file that it accepts and we refuse.
    RefusedFile(&'static str),
    /// A default in a vector file that it cannot compute: file, `Class.field`, our default.
    Default(&'static str, &'static str, &'static str),
}

/// Where this crate differs from Panda3D on purpose, and why: all such places. The tests that use an entry fail where the
/// two agree, and where an entry belongs to nothing.
pub const EXCEPTIONS: &[(Exception, &str)] = &[
    (Refused("dclass A {\nuint64 a = 18446744073709551616;\n};\n"), "spec 9: overflow undetected by the oracle"),
    (Refused("dclass A {\nuint64 a = 18446744073709551619;\n};\n"), "spec 9: overflow undetected by the oracle"),
    (Refused("dclass A {\nuint64 a = 30000000000000000000;\n};\n"), "spec 9: overflow undetected by the oracle"),
    (Refused("dclass A {\nuint64 a = 0x1FFFFFFFFFFFFFFFF;\n};\n"), "spec 9: overflow undetected by the oracle"),
    (Accepted("dclass A {\nint64 a = -9223372036854775808;\n};\n"), "spec 9: the oracle cannot write the minimum"),
    (Accepted("dclass A {\nint64(0-9223372036854775807) a;\n};\n"), "spec 9: the oracle loses this range"),
    (Refused("dclass A {\nuint8[4294967295] a;\n};\n"), "our limit on the size of a default (spec 2)"),
    (RefusedFile("39_forward_references.dc"), "spec 3.8 and 10: it pins what the oracle makes of unknown names"),
    (Default("09_scale_wrap_range.dc", "Combined.h", "f4010000"), "spec 5: a range without 0 and a divisor"),
    (Default("14_typedefs.dc", "Aliased.g", "010f00"), "spec 5: the key's own default has no case"),
    (Default("27_defaults_implicit.dc", "Implied.broken", "3200"), "spec 5: a range without 0 and a divisor"),
    (Default("44_real_literals.dc", "Literals.j", "0100000000003d40"), "spec 5: a range without 0 and a divisor"),
];

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

pub fn json(name: &str) -> Json {
    let text = std::fs::read(folder().join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

/// Whether the entry is a file that we refuse on purpose.
pub fn is_refused_file(entry: &Json) -> bool {
    let is = |file: &str| entry["files"] == json!([file]);
    EXCEPTIONS.iter().any(|(exception, _)| matches!(exception, RefusedFile(file) if is(file)))
}

/// The entries that a strict reader accepts.
pub fn entries() -> Vec<Json> {
    let mut entries = json("manifest.json")["entries"].as_array().unwrap().clone();
    entries.retain(|entry| !is_refused_file(entry));
    assert!(entries.len() > 40);
    entries
}

pub fn contract(entry: &Json) -> Contract {
    Contract::parse(&sources(entry), &Options::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

pub fn sources(entry: &Json) -> Vec<Source> {
    let files = entry["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
    files.map(|name| Source::new(name, std::fs::read(folder().join(name)).unwrap())).collect()
}

/// `multiple=1 virtual=0 sort=1`
pub fn options_of(setting: &str) -> Options {
    let on = |name: &str| setting.contains(&format!("{name}=1"));
    Options {
        multiple_inheritance: on("multiple"),
        virtual_inheritance: on("virtual"),
        sort_inheritance_by_file: on("sort"),
    }
}

pub fn parse_text(text: &[u8]) -> Result<Contract, Diagnostics> {
    Contract::parse(&[Source::new("test.dc", text)], &Options::default())
}

pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a value is what the manifest says: text as `{"hex": …}`, a NaN as `{"float": "nan"}`, a real also as
/// `{"bits": …}`.
pub fn equals(value: &Value, expected: &Json) -> bool {
    match value {
        Value::Int(value) => expected.as_i64() == Some(*value),
        Value::Uint(value) => expected.as_u64() == Some(*value),
        Value::Real(value) if value.is_nan() => expected["float"] == "nan",
        Value::Real(value) if expected["bits"].is_string() => expected["bits"] == hex(&value.to_le_bytes()),
        Value::Real(value) => expected.as_f64() == Some(*value),
        Value::Text(bytes) => expected["hex"].as_str() == Some(&hex(bytes)),
        Value::List(items) => expected.as_array().is_some_and(|expected| {
            items.len() == expected.len() && items.iter().zip(expected).all(|(item, expected)| equals(item, expected))
        }),
        Value::Packed(_) => false,
    }
}
