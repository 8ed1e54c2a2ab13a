//! Whole objects as JSON lines.

use crate::database_server::{FieldValues, StoredObject};
use crate::field_json::{from_json, to_json};
use crate::wire::Doid;
use donet_dc::{Contract, Field, TextPolicy};
use serde_json::{Map, Value, json};

/// One line, without its end.
pub(super) fn to_line<'a>(doid: Doid, class: &str, fields: impl Iterator<Item = (&'a Field, &'a [u8])>) -> String {
    let fields: Map<String, Value> =
        fields.map(|(field, value)| (field.name().to_owned(), to_json(field, value))).collect();
    json!({ "doid": doid, "class": class, "fields": fields }).to_string()
}

pub(super) fn object_line(contract: &Contract, object: &StoredObject) -> String {
    let class = contract.class(object.class).map_or("", |class| class.name());
    let fields = object.values.iter().filter_map(|(id, value)| Some((contract.field(id)?, &value[..])));
    to_line(object.doid, class, fields)
}

/// Reads a line, and checks every value under the contract.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn from_line(contract: &Contract, policy: TextPolicy, line: &str) -> Result<StoredObject, String> {
    let object: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if let Some(key) = object.keys().find(|key| !["doid", "class", "fields"].contains(&key.as_str())) {
        return Err(format!("unknown key {key:?}; an object has \"doid\", \"class\" and \"fields\""));
    }
    let doid = object.get("doid").and_then(Value::as_u64).and_then(|doid| Doid::try_from(doid).ok());
    let doid = doid.filter(|&doid| doid > 999).ok_or("\"doid\" must be a number above 999, of 32 bits")?;
    let name = object.get("class").and_then(Value::as_str).ok_or("\"class\" must be the name of a dclass")?;
    let class = contract.class_by_name(name).ok_or_else(|| format!("the DC files have no dclass {name:?}"))?;
    let mut values = FieldValues::default();
    let fields = object.get("fields").and_then(Value::as_object).ok_or("\"fields\" must be an object")?;
    for (name, json) in fields {
        let field = class.field_by_name(name).ok_or_else(|| format!("{} has no field {name:?}", class.name()))?;
        values.insert(field.id(), packed(field, json, policy)?.into());
    }
    Ok(StoredObject { doid, class: class.id(), values })
}

/// The bytes of a value, checked under the contract.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn packed(field: &Field, json: &Value, policy: TextPolicy) -> Result<Vec<u8>, String> {
    is_stored(field)?;
    let bytes = from_json(field, json).map_err(|error| format!("field {}: {error}", field.name()))?;
    field.validate(&bytes, policy).map_err(|error| format!("field {}: {error}", field.name()))?;
    Ok(bytes)
}

/// Whether the database keeps a field.
///
/// # Errors
/// Why it does not, in words.
pub fn is_stored(field: &Field) -> Result<(), String> {
    if !field.keywords().contains(donet_dc::Keywords::DB) {
        return Err(format!("field {} is not stored: it has no `db`", field.name()));
    }
    if field.kind() == donet_dc::FieldKind::Molecular {
        return Err(format!("field {} is molecular: name its parts", field.name()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use donet_dc::{Options, Source};
    use proptest::prelude::*;

    const TEXT: &str = "
        struct Item { uint16 id; string note; };
        dclass Base { a(uint8(0-9)) db; b(string, int32) db; };
        dclass Other : Base { c(Item items[]) db; d(float64) db; e() db; f(blob) db; g(uint32) ram; h : a, d; };
    ";

    fn contract() -> Contract {
        Contract::parse(&[Source::new("test.dc", TEXT)], &Options::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn text(bytes: &str) -> Vec<u8> {
        [&(bytes.len() as u16).to_le_bytes()[..], bytes.as_bytes()].concat()
    }

    proptest! {
        #[test]
        fn an_object_comes_back_as_it_was(
            doid in 1000..=u32::MAX, is_other in any::<bool>(), present in any::<u8>(), small in 0..10_u8,
            name in ".{0,12}", number in any::<i32>(), real in any::<u64>(), blob in proptest::collection::vec(any::<u8>(), 0..9),
            items in proptest::collection::vec((any::<u16>(), ".{0,5}"), 0..4),
        ) {
            let contract = contract();
            let class = contract.class_by_name(if is_other { "Other" } else { "Base" }).unwrap();
            let items: Vec<u8> = items.iter().flat_map(|(id, note)| [id.to_le_bytes().to_vec(), text(note)].concat()).collect();
            let counted = |bytes: &[u8]| [&(bytes.len() as u16).to_le_bytes()[..], bytes].concat();
            let all = [
                ("a", vec![small]), ("b", [text(&name), number.to_le_bytes().to_vec()].concat()),
                ("c", counted(&items)), ("d", real.to_le_bytes().to_vec()), ("e", vec![]), ("f", counted(&blob)),
            ];
            let mut values = FieldValues::default();
            for (place, (name, value)) in all.into_iter().enumerate() {
                if let Some(field) = class.field_by_name(name).filter(|_| present >> place & 1 == 1) {
                    values.insert(field.id(), value.into());
                }
            }
            let object = StoredObject { doid, class: class.id(), values };
            let line = object_line(&contract, &object);
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(from_line(&contract, TextPolicy::Utf8, &line), Ok(object), "{}", line);
        }
    }

    #[test]
    fn what_is_no_object_is_refused_with_its_fault() {
        let cases = [
            ("", "EOF"),
            ("[]", "invalid type"),
            (r#"{"doid":5,"class":"Base","fields":{}}"#, "above 999"),
            (r#"{"doid":4294967296,"class":"Base","fields":{}}"#, "32 bits"),
            (r#"{"doid":1000,"class":"Item","fields":{}}"#, "no dclass"),
            (r#"{"doid":1000,"class":"Base"}"#, "\"fields\""),
            (r#"{"doid":1000,"class":"Base","fields":{"c":[[]]}}"#, "no field"),
            (r#"{"doid":1000,"class":"Base","fields":{"a":[10]}}"#, "field a"),
            (r#"{"doid":1000,"class":"Other","fields":{"g":[1]}}"#, "not stored"),
            (r#"{"doid":1000,"class":"Other","fields":{"h":[1,1]}}"#, "h"),
            (r#"{"doid":1000,"class":"Base","fields":{},"more":1}"#, "unknown key"),
            (r#"{"doid":1000,"class":"Base","fields":{"a":{"packed":"0a"}}}"#, "field a"),
        ];
        for (line, expected) in cases {
            let error = from_line(&contract(), TextPolicy::Utf8, line).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
