//! Whole objects as JSON lines.

use super::json::{from_json, to_json};
use crate::database_server::{FieldValues, StoredObject};
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
    if !field.keywords().contains(donet_dc::Keywords::DB) {
        return Err(format!("field {} is not stored: it has no `db`", field.name()));
    }
    if field.kind() == donet_dc::FieldKind::Molecular {
        return Err(format!("field {} is molecular: name its parts", field.name()));
    }
    let bytes = from_json(field, json).map_err(|error| format!("field {}: {error}", field.name()))?;
    field.validate(&bytes, policy).map_err(|error| format!("field {}: {error}", field.name()))?;
    Ok(bytes)
}
