//! Every packing of `manifest.json`: which literals are accepted and their bytes; which bytes are accepted and their
//! value. Packing back what was unpacked, and printing it and packing the text, gives the same bytes.

mod support;

use donet_dc::{Field, TextPolicy, ValueErrorKind};
use serde_json::Value as Json;
use support::{contract, entries, equals, hex, unhex};

fn field_of<'a>(contract: &'a donet_dc::Contract, name: &str) -> &'a Field {
    let (class, field) = name.split_once('.').unwrap();
    contract.class_or_struct(class).unwrap().field_by_name(field).unwrap()
}

fn check_unpacking(name: &str, field: &Field, bytes: &[u8], expected: &Json, wrong: &mut Vec<String>) {
    let unpacked = field.unpack(bytes, TextPolicy::Bytes);
    let valid = field.validate(bytes, TextPolicy::Bytes);
    assert_eq!(unpacked.as_ref().err(), valid.as_ref().err(), "{name} {}", hex(bytes));
    let agrees = match &unpacked {
        Ok(value) => expected["accept"] == true && equals(value, &expected["value"]),
        Err(_) => expected["accept"] == false,
    };
    if !agrees {
        wrong.push(format!("{name} unpack {}: Panda3D {expected}, we {unpacked:?}", hex(bytes)));
        return;
    }
    if valid.is_ok() {
        assert_eq!(field.validate_prefix(bytes, TextPolicy::Bytes), Ok(bytes.len()), "{name}");
        assert_eq!(field.skip(bytes), Ok(bytes.len()), "{name}");
        let text = field.format(bytes, TextPolicy::Bytes).unwrap();
        let again = field.pack_literal(text.as_str());
        assert_eq!(again.map(|bytes| hex(&bytes)), Ok(hex(bytes)), "{name} {text}");
    }
}

#[test]
fn every_packing_of_the_manifest_is_ours() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for entry in entries() {
        let contract = contract(&entry);
        for (name, rows) in entry["packings"].as_object().unwrap() {
            let field = field_of(&contract, name);
            for row in rows["pack"].as_array().unwrap() {
                checked += 1;
                let literal = row["literal"].as_str().unwrap();
                let packed = field.pack_literal(literal);
                let agrees = match &packed {
                    Ok(bytes) if row["length"].is_u64() => row["length"].as_u64() == Some(bytes.len() as u64),
                    Ok(bytes) => row["accept"] == true && row["hex"].as_str() == Some(&hex(bytes)),
                    Err(_) => row["accept"] == false,
                };
                if !agrees {
                    wrong.push(format!("{name} pack {literal}: Panda3D {row}, we {packed:?}"));
                } else if row["unpacks_to"].is_object() {
                    check_unpacking(name, field, &packed.unwrap(), &row["unpacks_to"], &mut wrong);
                }
            }
            for row in rows["unpack"].as_array().unwrap() {
                checked += 1;
                check_unpacking(name, field, &unhex(row["hex"].as_str().unwrap()), row, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} differ:\n{}", wrong.len(), wrong.join("\n"));
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
