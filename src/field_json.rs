//! Values of fields as JSON, and back to the same bytes.
//!
//! Decides how a value looks: the list of a field's parameters, structs and arrays as lists, numbers as numbers, text as
//! strings. What is not text, or has a NUL in it, which many readers of JSON do not take, is `{"hex": "…"}`; a value that
//! JSON cannot say (a NaN) is `{"packed": "…"}`, its bytes as they are stored.

use donet_dc::{Field, TextPolicy, Value as DcValue};
use serde_json::{Map, Number, Value, json};

/// A stored value in JSON; [`from_json`] gives the same bytes again.
pub fn to_json(field: &Field, packed: &[u8]) -> Value {
    readable(field, packed).filter(|json| comes_back(field, json, packed)).unwrap_or_else(|| packed_json(packed))
}

/// The same as [`to_json`], for whoever reads numbers with all their digits: the reader of JSON here may round a float.
#[cfg(feature = "sql")]
pub fn to_exact_json(field: &Field, packed: &[u8]) -> Value {
    readable(field, packed).unwrap_or_else(|| packed_json(packed))
}

fn readable(field: &Field, packed: &[u8]) -> Option<Value> {
    value_to_json(&field.unpack(packed, TextPolicy::Bytes).ok()?)
}

fn packed_json(packed: &[u8]) -> Value {
    json!({ "packed": hex(packed) })
}

/// Whether the text of this JSON is read as these bytes.
fn comes_back(field: &Field, json: &Value, packed: &[u8]) -> bool {
    let read: Result<Value, _> = serde_json::from_str(&json.to_string());
    read.ok().and_then(|json| from_json(field, &json).ok()).as_deref() == Some(packed)
}

/// The packed bytes of a value in JSON.
///
/// # Errors
/// What is wrong with it, in words.
pub fn from_json(field: &Field, json: &Value) -> Result<Vec<u8>, String> {
    if let Some(packed) = tagged(json, "packed") {
        return unhex(packed?);
    }
    let value = json_to_value(json)?;
    field.pack(&value).map_err(|error| error.to_string())
}

fn value_to_json(value: &DcValue) -> Option<Value> {
    Some(match value {
        DcValue::Int(number) => json!(number),
        DcValue::Uint(number) => json!(number),
        DcValue::Real(number) => Value::Number(Number::from_f64(*number)?),
        DcValue::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => json!(text),
            _ => json!({ "hex": hex(bytes) }),
        },
        DcValue::List(items) => Value::Array(items.iter().map(value_to_json).collect::<Option<_>>()?),
        DcValue::Packed(_) => return None,
    })
}

fn json_to_value(json: &Value) -> Result<DcValue, String> {
    if let Some(bytes) = tagged(json, "hex") {
        return Ok(DcValue::Text(unhex(bytes?)?));
    }
    match json {
        Value::Number(number) => Ok(match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => DcValue::Int(number),
            (None, Some(number), _) => DcValue::Uint(number),
            (None, None, number) => DcValue::Real(number.unwrap_or(f64::NAN)),
        }),
        Value::String(text) => Ok(DcValue::Text(text.clone().into_bytes())),
        Value::Array(items) => items.iter().map(json_to_value).collect::<Result<_, _>>().map(DcValue::List),
        other => Err(format!("expected a number, a string or a list, not {other}")),
    }
}

/// The text of an object with this one key.
fn tagged<'a>(json: &'a Value, key: &str) -> Option<Result<&'a str, String>> {
    let object: &Map<String, Value> = json.as_object()?;
    let value = object.get(key).filter(|_| object.len() == 1)?;
    Some(value.as_str().ok_or_else(|| format!("{key:?} is followed by hexadecimal digits")))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = || format!("{text:?} is not a list of bytes in hexadecimal");
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return Err(wrong());
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use donet_dc::{Contract, Options, Source};
    use proptest::prelude::*;

    const TEXT: &str = "
        struct Item { uint16 id; int8 mood; };
        dclass A {
          a(int64) db; b(uint64) db; c(float64) db; d(string) db; e(blob) db; f(Item items[]) db; g() db; h(char) db;
          i(int16 / 10, uint8 % 7) db; j(string(4)) db; k(uint32uint8array) db; l : a, d; m(blob32) db;
        };";

    fn contract() -> Contract {
        Contract::parse(&[Source::new("test.dc", TEXT)], &Options::default()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn round_trip(contract: &Contract, name: &str, packed: &[u8]) -> String {
        let field = contract.class_by_name("A").unwrap().field_by_name(name).unwrap();
        let text = to_json(field, packed).to_string();
        let again = from_json(field, &serde_json::from_str(&text).unwrap()).unwrap();
        assert_eq!(again, packed, "{name}: {text}");
        text
    }

    #[test]
    fn values_look_as_people_write_them() {
        let contract = contract();
        assert_eq!(round_trip(&contract, "a", &(-5_i64).to_le_bytes()), "[-5]");
        assert_eq!(round_trip(&contract, "b", &u64::MAX.to_le_bytes()), "[18446744073709551615]");
        assert_eq!(round_trip(&contract, "c", &0.1_f64.to_le_bytes()), "[0.1]");
        assert_eq!(round_trip(&contract, "d", b"\x03\0\xc3\xa9x"), "[\"éx\"]");
        assert_eq!(round_trip(&contract, "d", b"\x02\0a\0"), r#"[{"hex":"6100"}]"#);
        assert_eq!(round_trip(&contract, "e", b"\x02\0\xff\x00"), r#"[{"hex":"ff00"}]"#);
        assert_eq!(round_trip(&contract, "f", b"\x06\0\x07\0\x01\x09\0\xff"), "[[[7,1],[9,-1]]]");
        assert_eq!(round_trip(&contract, "g", b""), "[]");
        assert_eq!(round_trip(&contract, "i", b"\x0f\0\x03"), "[1.5,3]");
        let nan = round_trip(&contract, "c", &f64::NAN.to_le_bytes());
        assert!(nan.starts_with(r#"{"packed":""#), "{nan}");
    }

    #[test]
    fn what_is_no_value_is_refused() {
        let contract = contract();
        let field = contract.class_by_name("A").unwrap().field_by_name("a").unwrap();
        for text in
            ["5", "[null]", "[]", "[1,2]", "[\"x\"]", "{\"packed\":\"0\"}", "{\"packed\":7}", "[{\"hex\":\"zz\"}]"]
        {
            assert!(from_json(field, &serde_json::from_str(text).unwrap()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_value_comes_back_as_it_was(
            number in any::<u64>(), real in any::<u64>(), text in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let contract = contract();
            let counted = [&(text.len() as u16).to_le_bytes()[..], &text].concat();
            round_trip(&contract, "a", &number.to_le_bytes());
            round_trip(&contract, "b", &number.to_le_bytes());
            round_trip(&contract, "c", &real.to_le_bytes());
            round_trip(&contract, "d", &counted);
            round_trip(&contract, "e", &counted);
            round_trip(&contract, "m", &[&(text.len() as u32).to_le_bytes()[..], &text].concat());
        }
    }
}
