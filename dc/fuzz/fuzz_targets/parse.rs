//! Any bytes as a DC file and as a value: read or refused, with diagnostics that point inside the text.
#![no_main]

use donet_dc::{Contract, Options, Source, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    for options in [
        Options::default(),
        Options { multiple_inheritance: false, sort_inheritance_by_file: false, virtual_inheritance: false },
    ] {
        match Contract::parse(&[Source::new("fuzz.dc", text)], &options) {
            Ok(contract) => {
                for class in contract.classes_and_structs() {
                    for field in class.own_fields() {
                        field.describe_type();
                    }
                }
            }
            Err(errors) => {
                for error in &errors {
                    for label in error.labels() {
                        assert!(label.span.start <= label.span.end && label.span.end as usize <= text.len());
                    }
                }
            }
        }
    }
    if let Ok(text) = std::str::from_utf8(text) {
        let _ = Value::parse(text);
    }
});
