//! Numbers, names, bases, inherited lists, keywords, defaults, typedefs, imports: all that `manifest.json` says of the
//! vector files, but for their values.

mod support;

use donet_dc::{Class, Field, FieldKind, Keywords, NO_NUMBER};
use serde_json::{Value as Json, json};
use support::{contract, entries, hex};

/// Defaults that the oracle cannot compute and we can (spec 5): the scaled minimum of a range without 0 together with a
/// divisor, and for `g`, a switch whose key's default has no case, the first case.
const DEFAULTS_BEYOND_THE_ORACLE: &[(&str, &str)] =
    &[("h", "f4010000"), ("g", "010f00"), ("broken", "3200"), ("j", "0100000000003d40")];

fn number(number: u16) -> i32 {
    if number == NO_NUMBER { -1 } else { number.into() }
}

fn describe(field: &Field, expected: &Json) -> Json {
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
        let default = (field.name(), &*hex(field.default_value()));
        assert!(DEFAULTS_BEYOND_THE_ORACLE.contains(&default), "{default:?}");
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

fn compare_class(class: &Class, expected: &Json) {
    let name = class.name();
    assert_eq!(number(class.id()), expected["id"], "{name}");
    assert_eq!(name, expected["name"]);
    assert_eq!(class.is_struct(), expected["struct"], "{name}");
    assert_eq!(class.bases().collect::<Json>(), expected["parents"], "{name}");
    assert_eq!(class.fields().map(|field| number(field.id())).collect::<Json>(), expected["inherited"], "{name}");
    let fields = expected["fields"].as_array().unwrap();
    assert_eq!(class.own_fields().count(), fields.len(), "{name}");
    for (field, expected) in class.own_fields().zip(fields) {
        assert_eq!(&describe(field, expected), expected, "{name}");
    }
    match class.constructor() {
        Some(constructor) => assert_eq!(&describe(constructor, &expected["constructor"]), &expected["constructor"]),
        None => assert!(expected.get("constructor").is_none(), "{name}"),
    }
}

#[test]
fn everything_declared_equals_the_manifest() {
    for entry in entries() {
        let contract = contract(&entry);
        let classes = entry["classes"].as_array().unwrap();
        assert_eq!(contract.classes_and_structs().count(), classes.len());
        for (class, expected) in contract.classes_and_structs().zip(classes) {
            compare_class(class, expected);
        }
        assert_eq!(contract.typedefs().collect::<Json>(), entry["typedefs"], "{}", entry["files"]);
        assert_eq!(contract.known_keywords().collect::<Json>(), entry["keywords_known"], "{}", entry["files"]);
        let imports = contract.imports().iter().map(|import| json!([import.module, import.symbols]));
        assert_eq!(imports.collect::<Json>(), entry["imports"], "{}", entry["files"]);
    }
}

#[test]
fn look_ups_find_what_is_declared_and_nothing_else() {
    for entry in entries() {
        let contract = contract(&entry);
        let mut last = None;
        for class in contract.classes() {
            assert!(last < Some(class.id()), "ascending");
            last = Some(class.id());
            assert!(std::ptr::eq(contract.class(class.id()).unwrap(), class));
            assert!(class.is_a(class.id()));
            for base in class.bases() {
                assert!(class.is_a(contract.class_by_name(base).unwrap().id()));
                assert!(!contract.class_by_name(base).unwrap().is_a(class.id()));
            }
            for field in class.fields() {
                assert!(std::ptr::eq(class.field(field.id()).unwrap(), field));
                assert!(std::ptr::eq(contract.field(field.id()).unwrap(), field));
                assert!(field.name().is_empty() || std::ptr::eq(class.field_by_name(field.name()).unwrap(), field));
            }
            assert!(class.field(NO_NUMBER).is_none());
        }
        for class in contract.classes_and_structs().filter(|class| class.is_struct() && !class.name().is_empty()) {
            assert!(contract.class_by_name(class.name()).is_none(), "structs are no classes");
            assert!(contract.class_or_struct(class.name()).is_some());
        }
        assert!(contract.class(NO_NUMBER).is_none());
        assert!(contract.field(NO_NUMBER).is_none());
    }
}

#[test]
fn a_shadowed_field_is_not_found_and_its_heir_is() {
    let text = "dclass A { f() db; g(); }; dclass B : A { f(uint8) clsend; };";
    let contract = support::parse_text(text.as_bytes()).unwrap();
    let class = contract.class_by_name("B").unwrap();
    assert!(class.field(0).is_none(), "A's f is shadowed");
    assert_eq!(class.field(2).unwrap().keywords(), Keywords::CLSEND);
    assert_eq!(class.field_by_name("f").unwrap().id(), 2);
    assert_eq!(class.field(1).unwrap().name(), "g");
}

#[test]
fn a_contract_is_shared_between_threads() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&support::parse_text(b"dclass A { f() db; };").unwrap());
}
