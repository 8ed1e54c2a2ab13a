//! Every packing of `manifest.json`: which literals are accepted and their bytes; which bytes are accepted and their
//! value. Packing back what was unpacked, and printing it and packing the text, gives the same bytes.

mod support;

use donet_dc::{TextPolicy, ValueErrorKind};
use support::oracle::compare_packings;
use support::{contract, entries, unhex};

#[test]
fn every_packing_of_the_manifest_is_ours() {
    let checked: usize = entries().iter().map(|entry| compare_packings(&contract(entry), entry)).sum();
    assert!(checked > 1000, "{checked}");
}

#[test]
fn an_error_names_the_parameter_the_offset_and_what_was_allowed() {
    let text = "struct Item { uint16 kind; uint8(1-99) count; }; dclass A { set(string name, Item[] items); };";
    let contract = support::parse_text(text.as_bytes()).unwrap();
    let field = contract.field(2).unwrap();
    let error = |bytes: &[u8]| field.validate(bytes, TextPolicy::Utf8).unwrap_err();
    let out_of_range = error(&unhex("0100 61 0600 0100 05 0200 64"));
    assert_eq!(out_of_range.kind(), ValueErrorKind::Constraint);
    assert_eq!(out_of_range.to_string(), "set.items[1].count at byte 10: 100 is not allowed; 1 to 99 is");
    let short = error(&unhex("0500 61"));
    assert_eq!((short.kind(), short.offset()), (ValueErrorKind::Truncated, 2));
    assert_eq!(short.parameter(), "set.name");
    let long = error(&unhex("0000 0000 00"));
    assert_eq!((long.kind(), long.offset()), (ValueErrorKind::Trailing, 4));
    let not_text = error(&unhex("0100 ff 0000"));
    assert_eq!(not_text.to_string(), "set.name at byte 0: the text is not well-formed UTF-8");
    assert!(field.validate(&unhex("0100 ff 0000"), TextPolicy::Bytes).is_ok());
    assert!(field.validate(&unhex("0200 c3a9 0000"), TextPolicy::Utf8).is_ok());
    assert!(field.validate(&unhex("0200 c3a9 0000"), TextPolicy::Ascii).is_err());
    assert_eq!(field.validate_prefix(&unhex("0100 61 0000 ff"), TextPolicy::Utf8), Ok(5));
    assert_eq!(field.skip(&unhex("0100 ff 0300 0000 ff 07")), Ok(8));
}
