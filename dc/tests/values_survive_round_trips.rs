//! Random types with random values of them: valid bytes are accepted, unpacked, printed and packed to the same bytes;
//! the quick check and the one with words agree about any bytes; defaults are values.

mod support;

use donet_dc::{Field, TextPolicy, Value};
use proptest::prelude::*;
use support::random_types::{Numbers, Type, any_type};

fn with_field(parts: &[Type], check: impl FnOnce(&Field)) {
    let mut text = String::from("dclass A { f(");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            text.push_str(", ");
        }
        part.write(&mut text);
    }
    text.push_str("); };");
    let contract = support::parse_text(text.as_bytes()).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    check(contract.class_by_name("A").unwrap().field_by_name("f").unwrap());
}

fn agree(field: &Field, bytes: &[u8]) -> bool {
    for policy in [TextPolicy::Bytes, TextPolicy::Ascii, TextPolicy::Utf8] {
        let valid = field.validate(bytes, policy);
        assert_eq!(valid.as_ref().err(), field.unpack(bytes, policy).as_ref().err());
        if valid.is_ok() {
            assert_eq!(field.validate_prefix(bytes, policy), Ok(bytes.len()));
            assert_eq!(field.skip(bytes), Ok(bytes.len()));
            assert!(field.fixed_size().is_none_or(|size| size == bytes.len()));
        }
    }
    field.validate(bytes, TextPolicy::Bytes).is_ok()
}

/// What a value of a program becomes again; reals may lose bits in their text, so only their shape is compared.
fn same_shape(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same_shape(left, right))
        }
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::List(_) | Value::Text(_), _) | (_, Value::List(_) | Value::Text(_)) => false,
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_value_is_accepted_unpacked_printed_and_packed_again(
        parts in prop::collection::vec(any_type(), 0..4),
        numbers in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        with_field(&parts, |field| {
            let mut bytes = Vec::new();
            let mut numbers = Numbers(&numbers, 0);
            parts.iter().for_each(|part| part.pack(&mut numbers, &mut bytes));
            assert!(agree(field, &bytes), "{:?} refuses {bytes:02x?}", field.describe_type());
            let text = field.format(&bytes, TextPolicy::Bytes).unwrap();
            assert_eq!(field.pack_literal(text.as_str()).as_deref(), Ok(&bytes[..]), "{text}");
            let value = field.unpack(&bytes, TextPolicy::Bytes).unwrap();
            let parsed = Value::parse(&value.to_string());
            // A NaN or an infinity has no literal.
            if let Ok(parsed) = parsed {
                assert!(same_shape(&parsed, &value), "{value} became {parsed}");
            }
        });
    }

    #[test]
    fn what_a_program_packs_is_what_it_unpacked(
        part in any_type(),
        numbers in prop::collection::vec(any::<u64>(), 1..20),
    ) {
        with_field(std::slice::from_ref(&part), |field| {
            let mut bytes = Vec::new();
            part.pack(&mut Numbers(&numbers, 0), &mut bytes);
            let value = field.unpack(&bytes, TextPolicy::Bytes).unwrap();
            assert_eq!(field.pack(&value).as_deref(), Ok(&bytes[..]), "{value}");
        });
    }

    #[test]
    fn both_checks_agree_about_bytes_of_any_kind(
        parts in prop::collection::vec(any_type(), 0..4),
        numbers in prop::collection::vec(any::<u64>(), 1..20),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
        noise in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        with_field(&parts, |field| {
            agree(field, &noise);
            let mut bytes = Vec::new();
            let mut numbers = Numbers(&numbers, 0);
            parts.iter().for_each(|part| part.pack(&mut numbers, &mut bytes));
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
                if cut {
                    bytes.truncate(at);
                }
            }
            agree(field, &bytes);
        });
    }

    #[test]
    fn a_default_is_a_value(parts in prop::collection::vec(any_type(), 0..4)) {
        with_field(&parts, |field| {
            assert!(agree(field, field.default_value()), "{}", field.describe_type());
            assert!(!field.has_explicit_default());
        });
    }
}
