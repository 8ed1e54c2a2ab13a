//! How a stored value looks in a column.
//!
//! Whole numbers are numbers, floats and numbers with a divisor are floats, blobs are bytes. Text is text; what a text
//! column cannot hold (a NUL, or bytes that are not UTF-8) is `\x` and its bytes in hexadecimal, and so is a text that
//! begins with `\x`, so that the two are never mistaken for each other. Everything else is JSON, as `donetd db export`
//! writes it.

use super::connection::{Dialect, SqlValue};
use crate::field_json::{hex, to_exact_json};
use donet_dc::{Field, Scalar, TextPolicy, Value};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A whole number of two bytes.
    Small,
    /// Of four.
    Integer,
    /// Of eight.
    Big,
    /// From 0 on, of eight bytes.
    Numeric,
    Real,
    Text,
    Bytes,
    Json,
}

impl Kind {
    /// As it is noted beside the tables.
    pub const NAMES: [(Kind, &'static str); 8] = [
        (Kind::Small, "int16"),
        (Kind::Integer, "int32"),
        (Kind::Big, "int64"),
        (Kind::Numeric, "uint64"),
        (Kind::Real, "real"),
        (Kind::Text, "text"),
        (Kind::Bytes, "bytes"),
        (Kind::Json, "json"),
    ];

    pub fn of(field: &Field) -> Kind {
        match field.scalar() {
            Some(Scalar::Signed(1 | 2) | Scalar::Unsigned(1)) => Kind::Small,
            Some(Scalar::Signed(..=4) | Scalar::Unsigned(..=2)) => Kind::Integer,
            Some(Scalar::Signed(_) | Scalar::Unsigned(..=4)) => Kind::Big,
            Some(Scalar::Unsigned(_)) => Kind::Numeric,
            Some(Scalar::Real) => Kind::Real,
            Some(Scalar::Text) => Kind::Text,
            Some(Scalar::Bytes) => Kind::Bytes,
            None => Kind::Json,
        }
    }

    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    pub fn by_name(name: &str) -> Option<Kind> {
        Self::NAMES.iter().find(|(_, other)| *other == name).map(|(kind, _)| *kind)
    }

    /// The type of the column.
    pub fn column_type(self, dialect: Dialect) -> &'static str {
        match (dialect, self) {
            (Dialect::Postgres, Kind::Small) => "smallint",
            (Dialect::Postgres, Kind::Integer) => "integer",
            (Dialect::Postgres, Kind::Big) => "bigint",
            (Dialect::Postgres, Kind::Numeric) => "numeric(20)",
            (Dialect::Postgres, Kind::Real) => "double precision",
            (Dialect::Postgres, Kind::Bytes) => "bytea",
            (Dialect::Postgres, Kind::Json) => "jsonb",
            (Dialect::Sqlite, Kind::Small | Kind::Integer | Kind::Big) => "integer",
            (Dialect::Sqlite, Kind::Real) => "real",
            (Dialect::Sqlite, Kind::Bytes) => "blob",
            // Its numbers end at 2^63 - 1, and NUMERIC would round what is beyond.
            (Dialect::Sqlite, Kind::Numeric | Kind::Json) | (_, Kind::Text) => "text",
        }
    }

    /// What makes the column's value of the parameter `name` of a statement.
    pub fn parameter_expression(self, dialect: Dialect, name: &str) -> String {
        match (dialect, self) {
            (Dialect::Postgres, Kind::Numeric) => format!("CAST({name}::text AS numeric)"),
            (Dialect::Postgres, Kind::Json) => format!("CAST({name}::text AS jsonb)"),
            _ => name.to_owned(),
        }
    }

    /// The stored bytes as a parameter; `None` if they are no value of the field.
    pub fn value(self, field: &Field, packed: &[u8]) -> Option<SqlValue> {
        if self == Kind::Json {
            return Some(SqlValue::Text(to_exact_json(field, packed).to_string()));
        }
        let mut value = field.unpack(packed, TextPolicy::Bytes).ok()?;
        if let Value::List(items) = &mut value {
            value = items.pop().filter(|_| items.is_empty())?;
        }
        Some(match (self, value) {
            (Kind::Numeric, Value::Int(number)) => SqlValue::Text(number.to_string()),
            (Kind::Numeric, Value::Uint(number)) => SqlValue::Text(number.to_string()),
            (Kind::Small | Kind::Integer | Kind::Big, Value::Int(number)) => SqlValue::Integer(number),
            (Kind::Small | Kind::Integer | Kind::Big, Value::Uint(number)) => {
                SqlValue::Integer(number.try_into().ok()?)
            }
            (Kind::Real, Value::Real(number)) => SqlValue::Real(number),
            (Kind::Text, Value::Text(bytes)) => SqlValue::Text(text(bytes)),
            (Kind::Bytes, Value::Text(bytes)) => SqlValue::Bytes(bytes),
            _ => return None,
        })
    }
}

fn text(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') && !text.starts_with("\\x") => text,
        Ok(text) => format!("\\x{}", hex(text.as_bytes())),
        Err(error) => format!("\\x{}", hex(error.as_bytes())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use donet_dc::{Contract, Options, Source};

    #[test]
    fn values_keep_their_types_and_what_is_no_text_is_told_from_what_is() {
        let text = "dclass C { a(int8) db; b(uint8) db; c(uint16) db; d(uint32) db; e(int64) db; f(uint64) db;
            g(float64) db; h(int16/10) db; i(string) db; j(blob) db; k(int8, string) db; l() db; m(char) db;
            n(int8, float64) db; };";
        let contract = Contract::parse(&[Source::new("test.dc", text)], &Options::default());
        let contract = contract.unwrap_or_else(|error| panic!("{error}"));
        let integer = SqlValue::Integer;
        let text = |text: &str| SqlValue::Text(text.to_owned());
        let cases: [(&str, &[u8], Kind, SqlValue); 19] = [
            ("a", &[0xff], Kind::Small, integer(-1)),
            ("b", &[0xff], Kind::Small, integer(255)),
            ("c", &[0xff, 0xff], Kind::Integer, integer(65535)),
            ("d", &[0xff; 4], Kind::Big, integer(u32::MAX.into())),
            ("e", &[0xff; 8], Kind::Big, integer(-1)),
            ("f", &[0xff; 8], Kind::Numeric, text("18446744073709551615")),
            ("g", &0.1_f64.to_le_bytes(), Kind::Real, SqlValue::Real(0.1)),
            ("h", &[15, 0], Kind::Real, SqlValue::Real(1.5)),
            ("i", b"\x03\0a\xc3\xa9", Kind::Text, text("aé")),
            ("i", b"\x03\0a\0b", Kind::Text, text("\\x610062")),
            ("i", b"\x01\0\xff", Kind::Text, text("\\xff")),
            ("i", b"\x02\0\\x", Kind::Text, text("\\x5c78")),
            ("j", b"\x02\0\xff\0", Kind::Bytes, SqlValue::Bytes(vec![255, 0])),
            ("k", b"\xff\x01\0a", Kind::Json, text("[-1,\"a\"]")),
            ("k", b"\xff\x01\0\0", Kind::Json, text("[-1,{\"hex\":\"00\"}]")),
            ("l", b"", Kind::Json, text("[]")),
            ("m", b"a", Kind::Text, text("a")),
            // Not rounded, and what JSON cannot say.
            (
                "n",
                &[&[1], &426689173.26811963_f64.to_le_bytes()[..]].concat(),
                Kind::Json,
                text("[1,426689173.26811963]"),
            ),
            (
                "n",
                &[&[1], &f64::NAN.to_le_bytes()[..]].concat(),
                Kind::Json,
                text("{\"packed\":\"01000000000000f87f\"}"),
            ),
        ];
        for (name, packed, kind, expected) in cases {
            let field = contract.class_by_name("C").and_then(|class| class.field_by_name(name)).expect("declared");
            assert_eq!((Kind::of(field), kind.value(field, packed)), (kind, Some(expected)), "{name}");
        }
        let a = contract.class_by_name("C").and_then(|class| class.field_by_name("a")).expect("declared");
        assert_eq!(Kind::Small.value(a, &[1, 2]), None, "what is no value of the field");
        assert!(Kind::NAMES.iter().all(|(kind, name)| Kind::by_name(name) == Some(*kind) && kind.name() == *name));
    }
}
