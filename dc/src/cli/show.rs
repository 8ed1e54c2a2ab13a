//! A contract as JSON, in the form of the vectors' `manifest.json`, and as text for people.

use super::{Failure, hex};
use crate::builder::FieldKind;
use crate::contract::{Class, Contract, Field, NO_NUMBER};
use serde_json::{Value as Json, json};
use std::io::Write;
use std::path::PathBuf;

pub(super) fn json(contract: &Contract, files: &[PathBuf]) -> Json {
    let names = files.iter().map(|file| file.file_name().unwrap_or(file.as_os_str()).to_string_lossy());
    let imports = contract.imports().iter().map(|import| json!([import.module, import.symbols]));
    json!({
        "files": names.collect::<Vec<_>>(),
        "ok": true,
        "all_objects_valid": true,
        "hash": contract.hash(),
        "hash_hex": format!("{:#010x}", contract.hash()),
        "classes": contract.classes_and_structs().map(class).collect::<Vec<_>>(),
        "typedefs": contract.typedefs().collect::<Vec<_>>(),
        "keywords_known": contract.known_keywords().collect::<Vec<_>>(),
        "imports": imports.collect::<Vec<_>>(),
    })
}

fn class(class: &Class) -> Json {
    // Numbers where all have one, names where not: struct members are not numbered under every option.
    let inherited: Vec<Json> = if class.fields().all(|field| field.id() != NO_NUMBER) {
        class.fields().map(|field| json!(field.id())).collect()
    } else {
        class.fields().map(|field| json!(field.name())).collect()
    };
    let mut out = json!({
        "id": number(class.id()),
        "name": class.name(),
        "struct": class.is_struct(),
        "parents": class.bases().collect::<Vec<_>>(),
        "fields": class.own_fields().map(field).collect::<Vec<_>>(),
        "inherited": inherited,
    });
    if let Some(constructor) = class.constructor() {
        out["constructor"] = field(constructor);
    }
    out
}

/// −1 for what has no number, as Panda3D says it.
fn number(number: u16) -> i32 {
    if number == NO_NUMBER { -1 } else { number.into() }
}

fn field(field: &Field) -> Json {
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
        "type": field.describe_type(),
    });
    match field.kind() {
        FieldKind::Atomic => out["elements"] = json!(field.parameter_names().collect::<Vec<_>>()),
        FieldKind::Molecular => {
            let parts = field.parts().iter().zip(field.part_names());
            out["atomics"] = parts.map(|(id, name)| json!([number(*id), name])).collect();
        }
        FieldKind::Data => {}
    }
    out
}

pub(super) fn text(contract: &Contract, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "hash {:#010x}", contract.hash())?;
    for class in contract.classes_and_structs() {
        let kind = if class.is_struct() { "struct" } else { "dclass" };
        let bases = class.bases().collect::<Vec<_>>().join(", ");
        let bases = if bases.is_empty() { bases } else { format!(" : {bases}") };
        let id = if class.is_struct() { String::new() } else { format!("  // {}", class.id()) };
        writeln!(out, "\n{kind} {}{bases}{id}", class.name())?;
        let fields = class.constructor().into_iter().chain(class.own_fields());
        for field in fields {
            let keywords = field.keyword_names().collect::<Vec<_>>().join(" ");
            let parts = field.part_names().collect::<Vec<_>>().join(", ");
            let declared = match field.kind() {
                FieldKind::Atomic => format!("{}{}", field.name(), field.describe_type()),
                FieldKind::Molecular => format!("{} : {parts}", field.name()),
                FieldKind::Data => format!("{} {}", field.describe_type(), field.name()),
            };
            let default = if field.has_explicit_default() {
                format!("  // default <{}>", hex(field.default_value()))
            } else {
                String::new()
            };
            let blank = if keywords.is_empty() { "" } else { " " };
            let id = number(field.id());
            writeln!(out, "{id:>6}  {declared}{blank}{keywords}{default}")?;
        }
    }
    Ok(())
}
