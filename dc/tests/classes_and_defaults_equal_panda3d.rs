//! Numbers, names, bases, inherited lists, keywords, defaults, typedefs, imports: all that `manifest.json` says of the
//! vector files, but for their values.

mod support;

use donet_dc::{Keywords, NO_NUMBER};
use support::oracle::compare_declarations;
use support::{contract, entries};

#[test]
fn everything_declared_equals_the_manifest() {
    for entry in entries() {
        compare_declarations(&contract(&entry), &entry);
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
