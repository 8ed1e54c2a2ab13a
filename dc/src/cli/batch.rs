//! Many values through one process: a JSON object per line in, one per line out, in order.

use super::{Failure, hex, unhex};
use crate::contract::{Contract, Field};
use crate::names::nearest;
use crate::value::Value;
use crate::value_error::TextPolicy;
use serde_json::{Value as Json, json};
use std::io::{BufRead, Write};

/// Answers every line; each answer is flushed, so that a caller may wait for it before it asks again.
pub(super) fn run(contract: &Contract, policy: TextPolicy, out: &mut impl Write) -> Result<(), Failure> {
    let mut input = std::io::stdin().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line);
        if read.map_err(|error| Failure::usage(format!("error: cannot read standard input: {error}")))? == 0 {
            return Ok(());
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let reply = answer(contract, policy, &line).unwrap_or_else(|error| json!({"ok": false, "error": error}));
        writeln!(out, "{reply}")?;
        out.flush()?;
    }
}

fn answer(contract: &Contract, policy: TextPolicy, line: &[u8]) -> Result<Json, String> {
    let request: Json = serde_json::from_slice(line).map_err(|error| format!("the line is not JSON: {error}"))?;
    let text = |key: &str| {
        let value = request.get(key).and_then(Json::as_str);
        value.ok_or_else(|| format!("the request has no text {key:?}"))
    };
    let op = text("op")?;
    if !matches!(op, "pack" | "unpack") {
        return Err(format!("the op {op:?} is neither \"pack\" nor \"unpack\""));
    }
    let field = find_field(contract, text("class")?, text("field")?)?;
    match op {
        "pack" => {
            let packed = field.pack_literal(text("literal")?).map_err(|errors| errors.to_string())?;
            Ok(json!({"ok": true, "hex": hex(&packed)}))
        }
        _ => {
            let bytes = unhex(text("hex")?)?;
            let value = field.unpack(&bytes, policy).map_err(|error| error.to_string())?;
            Ok(json!({"ok": true, "value": to_json(&value)}))
        }
    }
}

pub(super) fn find_field<'a>(contract: &'a Contract, class: &str, field: &str) -> Result<&'a Field, String> {
    let suggest = |name: Option<&str>| name.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
    let Some(found) = contract.class_or_struct(class) else {
        let hint = nearest(class, contract.classes_and_structs().map(|class| class.name()));
        return Err(format!("no class or struct `{class}`{}", suggest(hint)));
    };
    found.field_by_name(field).ok_or_else(|| {
        let hint = nearest(field, found.fields().map(Field::name));
        format!("`{class}` has no field `{field}`{}", suggest(hint))
    })
}

/// Text and bytes as `{"hex": …}`, what JSON cannot hold as `{"float": "nan"}`.
fn to_json(value: &Value) -> Json {
    match value {
        Value::Int(value) => json!(value),
        Value::Uint(value) => json!(value),
        Value::Real(value) if value.is_finite() => json!(value),
        Value::Real(value) => json!({"float": value.to_string().to_lowercase()}),
        Value::Text(bytes) | Value::Packed(bytes) => json!({"hex": hex(bytes)}),
        Value::List(items) => Json::Array(items.iter().map(to_json).collect()),
    }
}
