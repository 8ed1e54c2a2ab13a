//! The twenty type words and what may decorate them: ranges, divisor, modulus (spec 3.6).
//!
//! Decides: which decorations fit which type, and how bounds are scaled. Never packs or reads a value.

use crate::code::Code;
use crate::number_hasher::mixed;

/// A type word. The discriminant is the type code of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Simple {
    Int8 = 0,
    Int16 = 1,
    Int32 = 2,
    Int64 = 3,
    Uint8 = 4,
    Uint16 = 5,
    Uint32 = 6,
    Uint64 = 7,
    Float64 = 8,
    String = 9,
    Blob = 10,
    Blob32 = 11,
    Int16Array = 12,
    Int32Array = 13,
    Uint16Array = 14,
    Uint32Array = 15,
    Int8Array = 16,
    Uint8Array = 17,
    Uint32Uint8Array = 18,
    Char = 19,
}

impl Simple {
    pub const ALL: [Simple; 20] = [
        Simple::Int8,
        Simple::Int16,
        Simple::Int32,
        Simple::Int64,
        Simple::Uint8,
        Simple::Uint16,
        Simple::Uint32,
        Simple::Uint64,
        Simple::Float64,
        Simple::String,
        Simple::Blob,
        Simple::Blob32,
        Simple::Int16Array,
        Simple::Int32Array,
        Simple::Uint16Array,
        Simple::Uint32Array,
        Simple::Int8Array,
        Simple::Uint8Array,
        Simple::Uint32Uint8Array,
        Simple::Char,
    ];

    pub fn name(self) -> &'static str {
        const NAMES: [&str; 20] = [
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "float64",
            "string",
            "blob",
            "blob32",
            "int16array",
            "int32array",
            "uint16array",
            "uint32array",
            "int8array",
            "uint8array",
            "uint32uint8array",
            "char",
        ];
        NAMES[self as usize]
    }

    /// Bytes of a number, none for anything else.
    pub fn number_size(self) -> Option<usize> {
        match self {
            Simple::Int8 | Simple::Uint8 | Simple::Char => Some(1),
            Simple::Int16 | Simple::Uint16 => Some(2),
            Simple::Int32 | Simple::Uint32 => Some(4),
            Simple::Int64 | Simple::Uint64 | Simple::Float64 => Some(8),
            _ => None,
        }
    }

    pub fn is_text(self) -> bool {
        matches!(self, Simple::String | Simple::Blob | Simple::Blob32)
    }

    /// The element of a legacy array, as its own type word; the pair array has none of the twenty.
    pub fn legacy_element(self) -> Option<Simple> {
        match self {
            Simple::Int8Array => Some(Simple::Int8),
            Simple::Int16Array => Some(Simple::Int16),
            Simple::Int32Array => Some(Simple::Int32),
            Simple::Uint8Array => Some(Simple::Uint8),
            Simple::Uint16Array => Some(Simple::Uint16),
            Simple::Uint32Array => Some(Simple::Uint32),
            _ => None,
        }
    }

    pub fn is_signed(self) -> bool {
        matches!(self, Simple::Int8 | Simple::Int16 | Simple::Int32 | Simple::Int64)
    }

    /// Least and greatest of what a range of this type bounds: the number itself, or the length of text.
    pub fn limits(self) -> (i128, i128) {
        match self.legacy_element().unwrap_or(self) {
            Simple::Int8 => (i8::MIN.into(), i8::MAX.into()),
            Simple::Int16 => (i16::MIN.into(), i16::MAX.into()),
            Simple::Int32 => (i32::MIN.into(), i32::MAX.into()),
            Simple::Int64 => (i64::MIN.into(), i64::MAX.into()),
            Simple::Uint8 | Simple::Char => (0, u8::MAX.into()),
            Simple::Uint16 | Simple::String | Simple::Blob => (0, u16::MAX.into()),
            Simple::Uint32 | Simple::Blob32 => (0, u32::MAX.into()),
            _ => (0, u64::MAX.into()),
        }
    }
}

/// A number as it was written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i128),
    Real(f64),
}

impl Number {
    pub fn as_real(self) -> f64 {
        match self {
            Number::Int(value) => value as f64,
            Number::Real(value) => value,
        }
    }

    pub fn less_than(self, other: Number) -> bool {
        match (self, other) {
            (Number::Int(left), Number::Int(right)) => left < right,
            _ => self.as_real() < other.as_real(),
        }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Int(value) => write!(f, "{value}"),
            Number::Real(value) => write!(f, "{value}"),
        }
    }
}

/// Why a decoration is refused: code, message, hint.
pub(crate) type Refusal = (Code, String, Option<String>);

/// A type word with its decorations.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SimpleType {
    pub simple: Simple,
    pub divisor: u32,
    /// In user units, as written.
    pub modulus: Option<f64>,
    /// In user units, as written.
    written: Vec<(Number, Number)>,
    /// Scaled; for every type but float64.
    pub ranges: Vec<(i128, i128)>,
    /// Scaled; for float64 alone.
    pub real_ranges: Vec<(f64, f64)>,
}

impl SimpleType {
    pub fn new(simple: Simple) -> Self {
        SimpleType {
            simple,
            divisor: 1,
            modulus: None,
            written: Vec::new(),
            ranges: Vec::new(),
            real_ranges: Vec::new(),
        }
    }

    /// A hash: of what most differ in.
    pub fn spread(&self) -> u64 {
        let start = mixed(u64::from(self.divisor) << 8 | self.simple as u64) ^ self.modulus.map_or(0, f64::to_bits);
        let ranges = self.ranges.iter().map(|(low, high)| (*low as u64).rotate_left(32) ^ *high as u64);
        let real_ranges = self.real_ranges.iter().map(|(low, high)| low.to_bits().rotate_left(32) ^ high.to_bits());
        ranges.chain(real_ranges).fold(mixed(start), |spread, range| mixed(spread ^ range))
    }

    /// As [`SimpleType::new`], in the memory of this one.
    pub fn reset(&mut self, simple: Simple) {
        (self.simple, self.divisor, self.modulus) = (simple, 1, None);
        self.written.clear();
        self.ranges.clear();
        self.real_ranges.clear();
    }

    pub fn is_plain(&self) -> bool {
        self.divisor == 1 && self.modulus.is_none() && self.written.is_empty()
    }

    pub fn written_ranges(&self) -> &[(Number, Number)] {
        &self.written
    }

    /// Decorations with ranges in stored units already, as a canonical type text holds them.
    pub fn set_stored(
        &mut self,
        divisor: u32,
        modulus: Option<f64>,
        ranges: Vec<(i128, i128)>,
        real_ranges: Vec<(f64, f64)>,
    ) {
        let user = |value: f64| Number::Real(value / f64::from(divisor));
        let whole = |value: i128| if divisor == 1 { Number::Int(value) } else { user(value as f64) };
        self.written = ranges.iter().map(|(low, high)| (whole(*low), whole(*high))).collect();
        self.written.extend(real_ranges.iter().map(|(low, high)| (user(*low), user(*high))));
        (self.divisor, self.modulus, self.ranges, self.real_ranges) = (divisor, modulus, ranges, real_ranges);
    }

    /// A range list was written. Its bounds must fit the type now; a divisor that follows is not held against it.
    pub fn set_ranges(&mut self, written: &[(Number, Number)]) -> Result<(), Refusal> {
        let name = self.simple.name();
        if self.simple == Simple::Uint32Uint8Array {
            return Err((Code::Decoration, format!("{name} takes no range"), None));
        }
        self.written.clear();
        self.written.extend_from_slice(written);
        self.scale_ranges();
        let (least, greatest) = self.simple.limits();
        if self.simple != Simple::Float64 {
            // Checked on the bounds as written: scaling may have dropped one.
            for (low, high) in &self.written {
                for bound in [*low, *high] {
                    let scaled = scale(bound, self.divisor);
                    if scaled < least || scaled > greatest {
                        return Err((
                            Code::BoundDoesNotFit,
                            self.does_not_fit("bound", &bound.to_string(), scaled, least, greatest),
                            None,
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// A divisor was written; before the name the modulus is checked again, after it is not (spec 3.6).
    pub fn set_divisor(&mut self, divisor: u64, before_name: bool) -> Result<(), Refusal> {
        let name = self.simple.name();
        if self.simple.is_text() || self.simple == Simple::Char {
            return Err((Code::Decoration, format!("{name} takes no divisor"), None));
        }
        if divisor == 0 || divisor > u32::MAX.into() {
            let message = format!("a divisor is a whole number from 1 to 4294967295, not {divisor}");
            return Err((Code::Divisor, message, None));
        }
        self.divisor = divisor as u32;
        self.scale_ranges();
        if before_name { self.check_modulus() } else { Ok(()) }
    }

    pub fn set_modulus(&mut self, modulus: Number) -> Result<(), Refusal> {
        let name = self.simple.name();
        if self.simple.is_text() || matches!(self.simple, Simple::Char | Simple::Uint32Uint8Array) {
            return Err((Code::Decoration, format!("{name} takes no modulus"), None));
        }
        if modulus.as_real().is_nan() || modulus.as_real() <= 0.0 {
            return Err((Code::Modulus, format!("a modulus is above zero, not {modulus}"), None));
        }
        self.modulus = Some(modulus.as_real());
        self.check_modulus()
    }

    fn check_modulus(&self) -> Result<(), Refusal> {
        let Some(modulus) = self.modulus else { return Ok(()) };
        if matches!(self.simple, Simple::Float64 | Simple::Uint64) {
            return Ok(());
        }
        let scaled = (modulus * f64::from(self.divisor) + 0.5).floor() as i128;
        let greatest = self.simple.limits().1 + 1;
        if scaled < 1 || scaled > greatest {
            let message = self.does_not_fit("modulus", &modulus.to_string(), scaled, 1, greatest);
            return Err((Code::Modulus, message, None));
        }
        Ok(())
    }

    fn does_not_fit(&self, what: &str, written: &str, scaled: i128, least: i128, greatest: i128) -> String {
        let name = self.simple.name();
        let stored = if self.divisor == 1 { String::new() } else { format!(" (stored as {scaled})") };
        let subject = if self.simple.is_text() { "a length of " } else { "" };
        format!("{what} {written}{stored} does not fit {subject}{name}, which holds {least} to {greatest}")
    }

    fn scale_ranges(&mut self) {
        self.ranges.clear();
        self.real_ranges.clear();
        for (low, high) in &self.written {
            if self.simple == Simple::Float64 {
                let divisor = f64::from(self.divisor);
                let range = (low.as_real() * divisor, high.as_real() * divisor);
                if !self.real_ranges.iter().any(|other| range.0 <= other.1 && other.0 <= range.1) {
                    self.real_ranges.push(range);
                }
            } else {
                let range = (scale(*low, self.divisor), scale(*high, self.divisor));
                if !self.ranges.iter().any(|other| range.0 <= other.1 && other.0 <= range.1) {
                    self.ranges.push(range);
                }
            }
        }
    }

    /// The one length that text always has, and therefore does not carry.
    pub fn fixed_length(&self) -> Option<u32> {
        match self.ranges[..] {
            [(low, high)] if self.simple.is_text() && low == high => Some(low as u32),
            _ => None,
        }
    }

    /// Integers, lengths and characters alike.
    pub fn allows(&self, value: i128) -> bool {
        self.ranges.is_empty() || self.ranges.iter().any(|(low, high)| *low <= value && value <= *high)
    }

    /// A range keeps NaN out, as it compares with nothing.
    pub fn allows_real(&self, value: f64) -> bool {
        self.real_ranges.is_empty() || self.real_ranges.iter().any(|(low, high)| *low <= value && value <= *high)
    }

    /// What the range says, for messages.
    pub fn allowed(&self) -> String {
        let mut out = String::new();
        for (index, (low, high)) in self.written.iter().enumerate() {
            if index > 0 {
                out.push_str(" or ");
            }
            if low == high {
                out.push_str(&low.to_string());
            } else {
                out.push_str(&format!("{low} to {high}"));
            }
        }
        if out.is_empty() {
            let (least, greatest) = self.simple.limits();
            out = format!("{least} to {greatest}");
        }
        out
    }
}

fn scale(bound: Number, divisor: u32) -> i128 {
    match bound {
        Number::Int(value) => value * i128::from(divisor),
        Number::Real(value) => (value * f64::from(divisor) + 0.5).floor() as i128,
    }
}

/// Whether a further range may stand beside the earlier ones: no two may share a value.
pub(crate) fn overlapping(ranges: &[(Number, Number)], low: Number, high: Number) -> Option<(Number, Number)> {
    ranges.iter().copied().find(|(other_low, other_high)| !high.less_than(*other_low) && !other_high.less_than(low))
}
