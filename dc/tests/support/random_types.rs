//! Random types, how they are written, and random values of them, packed by rules of the tests' own.

use proptest::prelude::*;
use std::fmt::Write;

/// A type as the tests know it: how it is written, and how a value of it is packed from random numbers.
#[derive(Clone, Debug)]
pub enum Type {
    Number {
        word: &'static str,
        size: usize,
        signed: bool,
        decoration: &'static str,
    },
    /// `uint8(low-high)`
    Ranged(u8, u8),
    Real,
    Char,
    Text {
        word: &'static str,
        lengths: Option<(u8, u8)>,
    },
    List {
        element: Box<Type>,
        count: Option<u8>,
    },
    Record(Vec<Type>),
    /// Cases 0, 1, … and no default.
    Switch(Vec<Type>),
    Legacy,
}

/// Random numbers that never end.
pub struct Numbers<'a>(pub &'a [u64], pub usize);

impl Numbers<'_> {
    pub fn next(&mut self) -> u64 {
        self.1 += 1;
        let base = self.0.get(self.1 % self.0.len().max(1)).copied().unwrap_or(7);
        base.wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(self.1 as u64 * 0x1234_5677)
            .rotate_left(self.1 as u32 % 64)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

impl Type {
    pub fn write(&self, out: &mut String) {
        match self {
            Type::Number { word, decoration, .. } => {
                let _ = write!(out, "{word}{decoration}");
            }
            Type::Ranged(low, high) => {
                let _ = write!(out, "uint8({low} - {high})");
            }
            Type::Real => out.push_str("float64"),
            Type::Char => out.push_str("char"),
            Type::Text { word, lengths: None } => out.push_str(word),
            Type::Text { word, lengths: Some((low, high)) } => {
                let _ = write!(out, "{word}({low} - {high})");
            }
            // A struct around the element keeps brackets from meeting brackets.
            Type::List { element, count } => {
                out.push_str("struct { ");
                element.write(out);
                out.push_str(" e; }[");
                if let Some(count) = count {
                    let _ = write!(out, "{count}");
                }
                out.push(']');
            }
            Type::Record(parts) => {
                out.push_str("struct { ");
                for (index, part) in parts.iter().enumerate() {
                    part.write(out);
                    let _ = write!(out, " p{index}; ");
                }
                out.push('}');
            }
            Type::Switch(cases) => {
                out.push_str("switch (uint8 k) { ");
                for (index, case) in cases.iter().enumerate() {
                    let _ = write!(out, "case {index}: ");
                    case.write(out);
                    out.push_str(" m; break; ");
                }
                out.push('}');
            }
            Type::Legacy => out.push_str("uint32uint8array"),
        }
    }

    pub fn fixed(&self) -> bool {
        match self {
            Type::Number { .. } | Type::Ranged(..) | Type::Real | Type::Char => true,
            Type::Text { lengths, .. } => lengths.is_some_and(|(low, high)| low == high),
            Type::List { element, count } => count.is_some() && element.fixed(),
            Type::Record(parts) => parts.iter().all(Type::fixed),
            Type::Switch(cases) => {
                cases.iter().all(Type::fixed) && {
                    let size = |case: &Type| {
                        let mut out = Vec::new();
                        case.pack(&mut Numbers(&[1], 0), &mut out);
                        out.len()
                    };
                    cases.windows(2).all(|pair| size(&pair[0]) == size(&pair[1]))
                }
            }
            Type::Legacy => false,
        }
    }

    pub fn pack(&self, numbers: &mut Numbers, out: &mut Vec<u8>) {
        match self {
            Type::Number { size, signed, decoration, .. } => {
                let value = numbers.next();
                // Small numbers keep what is divided exact in a double, as real worlds have it.
                let value = if decoration.is_empty() { value } else { value % 100 };
                let value =
                    if *signed && value % 2 == 1 && decoration.is_empty() { value.wrapping_neg() } else { value };
                out.extend_from_slice(&value.to_le_bytes()[..*size]);
            }
            Type::Ranged(low, high) => out.push(low + numbers.below(u64::from(high - low) + 1) as u8),
            Type::Real => out.extend_from_slice(&f64::from_bits(numbers.next()).to_le_bytes()),
            Type::Char => out.push(numbers.next() as u8),
            Type::Text { word, lengths } => {
                let (low, high) = lengths.unwrap_or((0, 9));
                let length = low + numbers.below(u64::from(high - low) + 1) as u8;
                if lengths.is_none_or(|(low, high)| low != high) {
                    let prefix = if *word == "blob32" { 4 } else { 2 };
                    out.extend_from_slice(&u32::from(length).to_le_bytes()[..prefix]);
                }
                for _ in 0..length {
                    out.push(numbers.next() as u8);
                }
            }
            Type::List { element, count } => {
                let mut inside = Vec::new();
                let mut elements = count.map_or_else(|| numbers.below(4), u64::from);
                while elements > 0 {
                    element.pack(numbers, &mut inside);
                    elements -= 1;
                }
                if count.is_none() || !element.fixed() {
                    out.extend_from_slice(&(inside.len() as u16).to_le_bytes());
                }
                out.extend_from_slice(&inside);
            }
            Type::Record(parts) => parts.iter().for_each(|part| part.pack(numbers, out)),
            Type::Switch(cases) => {
                let case = numbers.below(cases.len() as u64);
                out.push(case as u8);
                cases[case as usize].pack(numbers, out);
            }
            Type::Legacy => {
                let pairs = numbers.below(3);
                out.extend_from_slice(&(5 * pairs as u16).to_le_bytes());
                for _ in 0..pairs {
                    out.extend_from_slice(&numbers.next().to_le_bytes()[..5]);
                }
            }
        }
    }
}

pub fn leaf() -> impl Strategy<Value = Type> {
    let number = prop::sample::select(vec![
        ("int8", 1, true, ""),
        ("int16", 2, true, ""),
        ("int32", 4, true, ""),
        ("int64", 8, true, ""),
        ("uint8", 1, false, ""),
        ("uint16", 2, false, ""),
        ("uint32", 4, false, ""),
        ("uint64", 8, false, ""),
        ("int16", 2, true, "/10"),
        ("uint32", 4, false, "/100"),
        ("int16", 2, true, "%360/10"),
        ("uint16", 2, false, "%500"),
    ]);
    let lengths = prop::option::of((0u8..5, 0u8..5).prop_map(|(low, more)| (low, low + more)));
    prop_oneof![
        number.prop_map(|(word, size, signed, decoration)| Type::Number { word, size, signed, decoration }),
        (0u8..100, 0u8..100).prop_map(|(low, more)| Type::Ranged(low, low + more)),
        Just(Type::Real),
        Just(Type::Char),
        (prop::sample::select(vec!["string", "blob", "blob32"]), lengths)
            .prop_map(|(word, lengths)| Type::Text { word, lengths }),
        Just(Type::Legacy),
    ]
}

pub fn any_type() -> impl Strategy<Value = Type> {
    leaf().prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            (inner.clone(), prop::option::of(0u8..4))
                .prop_filter("an element of no bytes cannot be counted", |(element, _)| {
                    let mut out = Vec::new();
                    element.pack(&mut Numbers(&[1], 0), &mut out);
                    !out.is_empty()
                })
                .prop_map(|(element, count)| Type::List { element: Box::new(element), count }),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Type::Record),
            prop::collection::vec(inner, 1..4).prop_map(Type::Switch),
        ]
    })
}
