//! What the vector tests share: reading the vectors, and the table of exceptions.
#![allow(dead_code)]

use donet_dc::{Contract, Diagnostics, Options, Source};
use serde_json::Value;
use std::path::PathBuf;

/// Where this crate deliberately differs from Panda3D: the snippet (or vector), what we do, and why.
pub const EXCEPTIONS: &[(&str, &str, &str)] = &[
];

pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

pub fn json(name: &str) -> Value {
    let text = std::fs::read(folder().join(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

pub fn sources(entry: &Value) -> Vec<Source> {
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
