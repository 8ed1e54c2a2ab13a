//! The comparison of two contracts: what changed, what of it is stored, whom it breaks.

mod support;

use donet_dc::{Change, Diff, diff};

fn between(old: &str, new: &str) -> Diff {
    diff(&support::parse_text(old.as_bytes()).unwrap(), &support::parse_text(new.as_bytes()).unwrap())
}

const OLD: &str = "struct Item { uint16 kind; };
dclass Thing { setX(int16/10 x) broadcast; setItem(Item i) db; };
dclass Door : Thing { open() clsend; };";

#[test]
fn a_contract_does_not_differ_from_itself() {
    let found = between(OLD, &format!("// only a comment\n{OLD}"));
    assert!(found.is_empty() && !found.breaks_clients());
    assert!(found.to_string().starts_with("no difference"));
}

#[test]
fn an_inserted_field_renumbers_those_after_it() {
    let new = OLD.replace("setItem(", "setY(int16 y); setItem(");
    let found = between(OLD, &new);
    let change = |field: &str| &found.fields.iter().find(|change| change.field == field).unwrap().change;
    assert_eq!(change("setY"), &Change::Added);
    assert_eq!(change("setItem"), &Change::Renumbered(2, 3));
    assert_eq!(change("open"), &Change::Renumbered(3, 4));
    assert!(found.breaks_clients());
    assert!(found.to_string().contains("stored values: untouched"), "{found}");
}

#[test]
fn a_struct_that_changes_retypes_the_fields_that_hold_it() {
    let found = between(OLD, &OLD.replace("uint16 kind;", "uint32 kind;"));
    let stored: Vec<&str> = found.stored_fields().map(|change| change.field.as_str()).collect();
    assert_eq!(stored, ["setItem"]);
    let text = found.to_string();
    assert!(text.contains("field Item.kind: type was uint16, is uint32"), "{text}");
    assert!(text.contains("field Thing.setItem: type (Item i) has changed inside [stored]"), "{text}");
    assert!(text.contains("stored values: 1 changes of db fields"), "{text}");
}

#[test]
fn keywords_bases_defaults_and_kinds_are_told() {
    let new = "struct Item { uint16 kind = 5; };
dclass Thing { setX(int16/10 x) broadcast ram; setItem(Item i) db; };
dclass Other {};
dclass Door : Other, Thing { uint8 open clsend; };";
    let text = between(OLD, new).to_string();
    for line in [
        "class Other: added",
        "class Door: number 2 is now 3",
        "class Door: bases were Thing, are Other, Thing",
        "field Thing.setX: keywords were broadcast, are broadcast ram [clients]",
        "field Item.kind: default changed",
        "field Thing.setItem: default changed [stored]",
        "field Door.open: was a method, is a data field [clients]",
    ] {
        assert!(text.contains(line), "{line}\n--\n{text}");
    }
}
