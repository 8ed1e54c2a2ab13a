//! Panda3D's answers about a contract, in the form of an entry of `manifest.json`, against ours.

use super::{EXCEPTIONS, Exception, equals, hex, options_of, unhex};
use donet_dc::{Class, Contract, Field, FieldKind, NO_NUMBER, Source, TextPolicy};
use serde_json::{Value as Json, json};

/// The hash under every setting of the configuration switches, or refusal.
pub fn compare_hashes(sources: &[Source], entry: &Json) {
    for (setting, expected) in entry["hash_variants"].as_object().unwrap() {
        let parsed = Contract::parse(sources, &options_of(setting));
        match expected.as_u64() {
            Some(expected) => {
                let contract = parsed.unwrap_or_else(|errors| panic!("{} {setting}: {errors}", entry["files"]));
                assert_eq!(u64::from(contract.hash()), expected, "{} {setting}", entry["files"]);
            }
            None => assert!(parsed.is_err(), "{} {setting}", entry["files"]),
        }
    }
}

fn number(number: u16) -> i32 {
    if number == NO_NUMBER { -1 } else { number.into() }
}

/// Fields whose defaults the oracle cannot compute, as `Class.field`, and what we make of them.
type Beyond = Vec<(String, String)>;

fn describe(class: &str, field: &Field, expected: &Json, beyond: &mut Beyond) -> Json {
    let mut out = json!({
        "id": number(field.id()),
        "name": field.name(),
        "kind": match field.kind() {
            FieldKind::Atomic => "atomic",
            FieldKind::Molecular => "molecular",
            FieldKind::Data => "parameter",
        },
        "keywords": field.keyword_names().collect::<Vec<_>>(),
        "default": hex(field.default_value()),
        "default_explicit": field.has_explicit_default(),
    });
    if expected["default"].is_null() {
        beyond.push((format!("{class}.{}", field.name()), hex(field.default_value())));
        out["default"] = Json::Null;
    }
    match field.kind() {
        FieldKind::Atomic => out["elements"] = field.parameter_names().collect(),
        FieldKind::Molecular => {
            out["atomics"] = field.parts().iter().zip(field.part_names()).map(|(id, name)| json!([id, name])).collect();
        }
        FieldKind::Data => {}
    }
    out
}

fn compare_class(class: &Class, expected: &Json, beyond: &mut Beyond) {
    let name = class.name();
    assert_eq!(number(class.id()), expected["id"], "{name}");
    assert_eq!(name, expected["name"]);
    assert_eq!(class.is_struct(), expected["struct"], "{name}");
    assert_eq!(class.bases().collect::<Json>(), expected["parents"], "{name}");
    assert_eq!(class.fields().map(|field| number(field.id())).collect::<Json>(), expected["inherited"], "{name}");
    let fields = expected["fields"].as_array().unwrap();
    assert_eq!(class.own_fields().count(), fields.len(), "{name}");
    for (field, expected) in class.own_fields().zip(fields) {
        assert_eq!(&describe(name, field, expected, beyond), expected, "{name}");
    }
    match class.constructor() {
        Some(constructor) => {
            let expected = &expected["constructor"];
            assert_eq!(&describe(name, constructor, expected, beyond), expected);
        }
        None => assert!(expected.get("constructor").is_none(), "{name}"),
    }
}

/// Classes with their fields, typedefs, keywords, imports: all that an entry says but for values. Every default that the
/// oracle lacks must be an exception of that file, and the other way round.
pub fn compare_declarations(contract: &Contract, entry: &Json) {
    let mut beyond = Beyond::new();
    let classes = entry["classes"].as_array().unwrap();
    assert_eq!(contract.classes_and_structs().count(), classes.len());
    for (class, expected) in contract.classes_and_structs().zip(classes) {
        compare_class(class, expected, &mut beyond);
    }
    let exceptions = EXCEPTIONS.iter().filter_map(|(exception, _)| match exception {
        Exception::Default(file, field, default) if entry["files"] == json!([file]) => Some((*field, *default)),
        _ => None,
    });
    let exceptions: Beyond = exceptions.map(|(field, default)| (field.to_owned(), default.to_owned())).collect();
    assert_eq!(beyond, exceptions, "{}", entry["files"]);
    assert_eq!(contract.typedefs().collect::<Json>(), entry["typedefs"], "{}", entry["files"]);
    assert_eq!(contract.known_keywords().collect::<Json>(), entry["keywords_known"], "{}", entry["files"]);
    let imports = contract.imports().iter().map(|import| json!([import.module, import.symbols]));
    assert_eq!(imports.collect::<Json>(), entry["imports"], "{}", entry["files"]);
}

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

/// Every packing and unpacking of an entry; how many there are.
pub fn compare_packings(contract: &Contract, entry: &Json) -> usize {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (name, rows) in entry["packings"].as_object().unwrap() {
        let field = field_of(contract, name);
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
    assert!(wrong.is_empty(), "{}: {} of {checked} differ:\n{}", entry["files"], wrong.len(), wrong.join("\n"));
    checked
}
