//! Fields that hold a single number, text or run of bytes: for whoever keeps values in columns of a table.
//!
//! Decides: which fields are so plain, and of which kind. Never reads a value.

use crate::contract::Field;
use crate::simple::{Simple, SimpleType};
use crate::types::Shape;

/// The kind of a single plain value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// A whole number of so many bytes.
    Signed(u8),
    /// A whole number from 0 on, of so many bytes.
    Unsigned(u8),
    /// A float, or a whole number with a divisor.
    Real,
    /// A string, or a single character.
    Text,
    Bytes,
}

impl Field {
    /// The kind of its value, if that is a single plain one: the field itself, or its only parameter. None for structs,
    /// arrays, switches, molecules, and methods with no parameter or several.
    pub fn scalar(&self) -> Option<Scalar> {
        match self.types().shape(self.ty) {
            Shape::Simple(simple) => kind(simple),
            Shape::Record(record) if record.class.is_none() && self.parts().is_empty() => {
                match self.types().members(record.members) {
                    [only] => match self.types().shape(only.ty) {
                        Shape::Simple(simple) => kind(simple),
                        _ => None,
                    },
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

fn kind(simple: &SimpleType) -> Option<Scalar> {
    Some(match simple.simple {
        Simple::String | Simple::Char => Scalar::Text,
        Simple::Blob | Simple::Blob32 => Scalar::Bytes,
        Simple::Float64 => Scalar::Real,
        word => {
            let bytes = word.number_size()? as u8;
            match (simple.divisor, word.is_signed()) {
                (2.., _) => Scalar::Real,
                (_, true) => Scalar::Signed(bytes),
                (_, false) => Scalar::Unsigned(bytes),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Contract, Options, Source};

    #[test]
    fn single_plain_values_are_told_from_composite_ones() {
        let cases = [
            ("f(int8)", Some(Scalar::Signed(1))),
            ("f(uint64(0-5))", Some(Scalar::Unsigned(8))),
            ("f(int16/10 x)", Some(Scalar::Real)),
            ("f(float64)", Some(Scalar::Real)),
            ("f(string(0-9) name)", Some(Scalar::Text)),
            ("f(char)", Some(Scalar::Text)),
            ("f(blob)", Some(Scalar::Bytes)),
            ("uint32 f", Some(Scalar::Unsigned(4))),
            ("f()", None),
            ("f(uint8, uint8)", None),
            ("f(uint8array)", None),
            ("f(uint8 x[])", None),
            ("f(S)", None),
            ("S f", None),
        ];
        for (declared, expected) in cases {
            let text = format!("struct S {{ uint8 a; }}; dclass C {{ {declared} db; }};");
            let contract = Contract::parse(&[Source::new("test.dc", text)], &Options::default());
            let contract = contract.unwrap_or_else(|error| panic!("{error}"));
            let field = contract.class_by_name("C").and_then(|class| class.field_by_name("f")).expect("declared");
            assert_eq!(field.scalar(), expected, "{declared}");
        }
    }
}
