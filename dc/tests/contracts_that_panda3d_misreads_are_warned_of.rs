//! Warnings: `required ownrecv` and `required clrecv` without `broadcast`, parents of zones without `setParentingRules`;
//! where they stand, their stable codes, their hints; and no warning where nothing is wrong.

mod support;

use donet_dc::{Code, Diagnostic, Source, lint};
use support::{entries, parse_text, sources};

const RULES: &str = "dclass Thing { setParentingRules(string type, string rule) broadcast ram; };\n";

fn warnings_of(text: &str, parents: &[&str]) -> Vec<Diagnostic> {
    let contract = parse_text(text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"));
    lint(&contract, &[Source::new("test.dc", text)], parents)
}

fn told(text: &str, parents: &[&str]) -> Vec<String> {
    let place = |warning: &Diagnostic| format!("{}:{} {}", warning.line(), warning.column(), warning.code());
    warnings_of(text, parents).iter().map(place).collect()
}

#[test]
fn required_ownrecv_without_broadcast_is_warned_of() {
    let text =
        format!("{RULES}dclass A {{\n  setGold(uint32 gold) required ownrecv ram;\n  uint8 b required ownrecv;\n}};");
    assert_eq!(told(&text, &[]), ["3:3 DC200", "4:3 DC200"]);
    let first = &warnings_of(&text, &[])[0];
    assert_eq!((first.kind(), first.severity()), (Code::RequiredOwnrecv, "warning"));
    let span = first.labels()[0].span;
    assert_eq!(&text[span.start as usize..span.end as usize], "setGold");
    assert!(first.message().contains("`setGold`") && first.help_text().unwrap().contains("remove `required`"));
    assert!(first.to_string().starts_with("test.dc:3:3: warning[DC200]: `setGold` is `required ownrecv`"), "{first}");
}

#[test]
fn required_clrecv_without_broadcast_is_warned_of() {
    let text = format!("{RULES}dclass A {{ f(uint8 a) clrecv required; g(uint8 a) required clrecv ownrecv; }};");
    assert_eq!(told(&text, &[]), ["2:12 DC201", "2:40 DC201"], "one warning for one field");
}

#[test]
fn what_panda3d_reads_right_is_not_warned_of() {
    let fields = "a(uint8 n) required ownrecv broadcast; b(uint8 n) required clrecv broadcast ram; c(uint8 n) ownrecv ram;
        d(uint8 n) clrecv; e(uint8 n) required; f(uint8 n) required ram db airecv; g(uint8 n) ownrecv required broadcast;";
    assert_eq!(told(&format!("{RULES}dclass A {{ {fields} }};"), &[]), [""; 0]);
}

#[test]
fn an_inherited_field_and_a_molecule_of_it_are_no_second_warning() {
    let text = format!("{RULES}dclass A {{ f(uint8 a) required ownrecv; m : f; }};\ndclass B : A {{ n : f; }};");
    assert_eq!(told(&text, &[]), ["2:12 DC200"]);
}

#[test]
fn a_contract_in_which_nothing_can_be_a_parent_is_warned_of_once() {
    let text = "dclass Login { login(string name) clsend; };\ndclass A { f(uint8 a) broadcast; };\ndclass B : A {};";
    assert_eq!(told(text, &[]), ["2:8 DC202"]);
    let warning = &warnings_of(text, &[])[0];
    assert_eq!(warning.kind(), Code::NoParentingRules);
    assert!(warning.help_text().unwrap().contains("setParentingRules(string type"));
    // Nobody sees an UberDOG in a zone.
    assert_eq!(told("dclass Login { login(string name) clsend; answer(string text) clrecv; };", &[]), [""; 0]);
    // Which classes a game makes parents of is not in the contract: one class that can be is enough.
    assert_eq!(told(&format!("{RULES}dclass A {{ f(uint8 a) broadcast; }};"), &[]), [""; 0]);
}

#[test]
fn a_class_that_is_named_as_a_parent_needs_parenting_rules() {
    let text = format!("{RULES}dclass District : Thing {{}};\ndclass Room {{ f(uint8 a) broadcast; }};");
    assert_eq!(told(&text, &["District"]), [""; 0], "it inherits them");
    assert_eq!(told(&text, &["District", "Room"]), ["3:8 DC202"]);
    let unknown = warnings_of(&text, &["Distrikt"]);
    assert!(unknown[0].message().contains("no class `Distrikt`"));
    assert_eq!(unknown[0].help_text(), Some("did you mean `District`?"));
}

#[test]
fn a_warning_stands_in_its_own_file() {
    let sources = [Source::new("one.dc", RULES), Source::new("two.dc", "\n dclass A { f() required clrecv; };")];
    let contract = donet_dc::Contract::parse(&sources, &Default::default()).unwrap_or_else(|errors| panic!("{errors}"));
    let warnings = lint(&contract, &sources, &[]);
    let first = &warnings[0];
    assert_eq!((warnings.len(), first.file(), first.line(), first.column()), (1, "two.dc", 2, 13));
}

#[test]
fn the_contracts_that_come_with_the_server_are_clean() {
    for file in ["config/example.dc", "docs/walkabout/walkabout.dc", "tests/panda3d/play.dc"] {
        let text = std::fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert_eq!(told(&text, &["District"]), [""; 0], "{file}");
        assert_eq!(told(&text, &[]), [""; 0], "{file}");
    }
}

#[test]
fn warnings_of_the_vectors_have_a_place_inside_the_text() {
    let mut codes = std::collections::BTreeSet::new();
    for entry in entries() {
        let sources = sources(&entry);
        for warning in lint(&support::contract(&entry), &sources, &[]) {
            let span = warning.labels()[0].span;
            assert!(
                span.start < span.end && (span.end as usize) <= sources[span.file as usize].text.len(),
                "{warning}"
            );
            assert!(warning.kind().is_warning() && warning.line() >= 1);
            codes.insert(warning.code());
        }
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), ["DC200", "DC202"]);
}
