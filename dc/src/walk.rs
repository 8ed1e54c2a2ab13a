//! One value's bytes from front to back, with names: what is wrong with them, or what they hold.
//!
//! Decides: everything a receiver must refuse (spec 4.7), in words. The quick answer without words is `crate::check`;
//! the two must agree, and a property test holds them to it. Never recurses deeper than types nest, and never visits
//! more items than the limit, however the type multiplies them.

use crate::limits::VALUE_ITEMS_MAX;
use crate::simple::{Simple, SimpleType};
use crate::types::{ArrayType, Members, Shape, SwitchType, TypeId, Types};
use crate::value_error::{TextPolicy, ValueError, ValueErrorKind};

/// A number as it was stored, before the divisor.
#[derive(Clone, Copy)]
pub(crate) enum Stored {
    Signed(i64),
    Unsigned(u64),
    Real(f64),
}

/// What is told of the items found.
pub(crate) trait Visitor {
    /// A number and its packed bytes.
    fn number(&mut self, simple: &SimpleType, stored: Stored, bytes: &[u8]);
    fn text(&mut self, bytes: &[u8]);
    fn open(&mut self, list: List);
    fn close(&mut self, list: List);
}

/// What kind of list opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Array,
    Struct,
    /// A method, a molecule, or a switch.
    Parameters,
}

/// Wants to know nothing.
pub(crate) struct Nobody;

impl Visitor for Nobody {
    fn number(&mut self, _: &SimpleType, _: Stored, _: &[u8]) {}
    fn text(&mut self, _: &[u8]) {}
    fn open(&mut self, _: List) {}
    fn close(&mut self, _: List) {}
}

pub(crate) struct Walk<'a, V> {
    pub types: &'a Types,
    pub policy: TextPolicy,
    pub visitor: V,
    path: Vec<Step<'a>>,
    items: usize,
}

enum Step<'a> {
    Name(&'a str),
    Element(usize),
}

type Walked = Result<usize, ValueError>;

impl<'a, V: Visitor> Walk<'a, V> {
    pub fn new(types: &'a Types, field: &'a str, policy: TextPolicy, visitor: V) -> Self {
        Walk { types, policy, visitor, path: vec![Step::Name(field)], items: 0 }
    }

    #[cold]
    fn error<T>(&self, kind: ValueErrorKind, offset: usize, message: String) -> Result<T, ValueError> {
        let mut path = String::new();
        for step in &self.path {
            match step {
                Step::Name("") => path.push_str(".(unnamed)"),
                Step::Name(name) if path.is_empty() => path.push_str(name),
                Step::Name(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Element(index) => path.push_str(&format!("[{index}]")),
            }
        }
        Err(ValueError::new(kind, path, offset, message))
    }

    fn constraint<T>(&self, offset: usize, message: String) -> Result<T, ValueError> {
        self.error(ValueErrorKind::Constraint, offset, message)
    }

    /// A value that must be all of the bytes.
    pub fn whole(&mut self, id: TypeId, bytes: &[u8]) -> Result<(), ValueError> {
        let end = self.value(id, bytes, 0)?;
        if end == bytes.len() {
            return Ok(());
        }
        self.path.truncate(1);
        let left = bytes.len() - end;
        self.error(ValueErrorKind::Trailing, end, format!("{left} bytes are left over after the value"))
    }

    /// One value at `at`; answers where it ends.
    pub fn value(&mut self, id: TypeId, bytes: &[u8], at: usize) -> Walked {
        self.items += 1;
        if self.items > VALUE_ITEMS_MAX {
            return self.constraint(at, format!("the value has more than {VALUE_ITEMS_MAX} items"));
        }
        match self.types.shape(id) {
            Shape::Invalid => self.constraint(at, "its type is not known".to_owned()),
            Shape::Simple(simple) if simple.simple.is_text() => self.text(simple, bytes, at),
            Shape::Simple(simple) if simple.simple.number_size().is_some() => self.number(simple, bytes, at),
            Shape::Simple(simple) => self.legacy(simple, bytes, at),
            Shape::Array(array) => self.array(array, bytes, at),
            Shape::Record(record) => {
                let list = if record.class.is_some() { List::Struct } else { List::Parameters };
                self.visitor.open(list);
                let end = self.members(record.members, bytes, at)?;
                self.visitor.close(list);
                Ok(end)
            }
            Shape::Switch(switch) => self.switch(switch, bytes, at),
        }
    }

    fn members(&mut self, members: Members, bytes: &[u8], mut at: usize) -> Walked {
        let types = self.types;
        for member in types.members(members) {
            self.path.push(Step::Name(types.name(member.name)));
            at = self.value(member.ty, bytes, at)?;
            self.path.pop();
        }
        Ok(at)
    }

    fn take<'b>(&self, bytes: &'b [u8], at: usize, length: usize) -> Result<&'b [u8], ValueError> {
        let left = bytes.len() - at;
        if length > left {
            let message = format!("needs {length} bytes, and {left} are left");
            return self.error(ValueErrorKind::Truncated, at, message);
        }
        Ok(&bytes[at..at + length])
    }

    fn number(&mut self, simple: &SimpleType, bytes: &[u8], at: usize) -> Walked {
        let size = simple.simple.number_size().unwrap_or(0);
        let stored = stored(simple.simple, self.take(bytes, at, size)?);
        let allowed = match stored {
            Stored::Signed(value) => simple.allows(value.into()),
            Stored::Unsigned(value) => simple.allows(value.into()),
            Stored::Real(value) => simple.allows_real(value),
        };
        if !allowed {
            let divisor = f64::from(simple.divisor);
            let written = match stored {
                Stored::Signed(value) if simple.divisor == 1 => value.to_string(),
                Stored::Unsigned(value) if simple.divisor == 1 => value.to_string(),
                Stored::Signed(value) => (value as f64 / divisor).to_string(),
                Stored::Unsigned(value) => (value as f64 / divisor).to_string(),
                Stored::Real(value) => (value / divisor).to_string(),
            };
            return self.constraint(at, format!("{written} is not allowed; {} is", simple.allowed()));
        }
        if simple.simple == Simple::Char {
            self.visitor.text(&bytes[at..at + 1]);
        } else {
            self.visitor.number(simple, stored, &bytes[at..at + size]);
        }
        Ok(at + size)
    }

    fn text(&mut self, simple: &SimpleType, bytes: &[u8], at: usize) -> Walked {
        let (start, length) = match simple.fixed_length() {
            Some(length) => (at, length as usize),
            None => {
                let size = if simple.simple == Simple::Blob32 { 4 } else { 2 };
                let length = little_endian(self.take(bytes, at, size)?) as usize;
                (at + size, length)
            }
        };
        // The length before the bytes: a length that is not allowed is the nearer cause.
        if !simple.allows(length as i128) {
            return self.constraint(at, format!("a length of {length} is not allowed; {} is", simple.allowed()));
        }
        let text = self.take(bytes, start, length)?;
        if simple.simple == Simple::String && !self.policy.allows(text) {
            let wanted = if self.policy == TextPolicy::Ascii { "7-bit characters" } else { "well-formed UTF-8" };
            return self.constraint(at, format!("the text is not {wanted}"));
        }
        self.visitor.text(text);
        Ok(start + length)
    }

    fn counted<'b>(&self, bytes: &'b [u8], at: usize) -> Result<&'b [u8], ValueError> {
        let length = little_endian(self.take(bytes, at, 2)?) as usize;
        self.take(bytes, at + 2, length)?;
        Ok(&bytes[..at + 2 + length])
    }

    fn legacy(&mut self, simple: &SimpleType, bytes: &[u8], at: usize) -> Walked {
        let inside = self.counted(bytes, at)?;
        let element = simple.simple.legacy_element();
        let size = element.and_then(Simple::number_size).unwrap_or(5);
        if !(inside.len() - at - 2).is_multiple_of(size) {
            let message = format!("{} bytes are no whole number of {size}-byte elements", inside.len() - at - 2);
            return self.constraint(at, message);
        }
        self.visitor.open(List::Array);
        for item in inside[at + 2..].chunks_exact(size) {
            match element {
                Some(element) => self.plain_number(element, item),
                None => {
                    self.visitor.open(List::Parameters);
                    self.plain_number(Simple::Uint32, &item[..4]);
                    self.plain_number(Simple::Uint8, &item[4..]);
                    self.visitor.close(List::Parameters);
                }
            }
        }
        self.visitor.close(List::Array);
        Ok(inside.len())
    }

    fn plain_number(&mut self, simple: Simple, bytes: &[u8]) {
        self.visitor.number(&SimpleType::new(simple), stored(simple, bytes), bytes);
    }

    fn array(&mut self, array: &'a ArrayType, bytes: &[u8], at: usize) -> Walked {
        if let Shape::Simple(simple) = self.types.shape(array.element)
            && simple.simple == Simple::Char
        {
            return self.characters(array, simple, bytes, at);
        }
        self.visitor.open(List::Array);
        let end = if array.counted {
            self.counted_array(array, bytes, at)?
        } else {
            let mut end = at;
            for index in 0..array.least_count() as usize {
                end = self.element(array, index, bytes, end)?;
            }
            end
        };
        self.visitor.close(List::Array);
        Ok(end)
    }

    fn element(&mut self, array: &'a ArrayType, index: usize, bytes: &[u8], at: usize) -> Walked {
        self.path.push(Step::Element(index));
        let end = self.value(array.element, bytes, at)?;
        self.path.pop();
        Ok(end)
    }

    fn counted_array(&mut self, array: &'a ArrayType, bytes: &[u8], at: usize) -> Walked {
        let inside = self.counted(bytes, at)?;
        let mut end = at + 2;
        let mut count = 0;
        while end < inside.len() {
            let next = self.element(array, count, inside, end)?;
            if next == end {
                return self.constraint(at, "its elements have no bytes, so it can have none either".to_owned());
            }
            end = next;
            count += 1;
        }
        if !array.allows(count) {
            return self.constraint(at, format!("{count} elements are not allowed; {} are", array.allowed()));
        }
        Ok(end)
    }

    /// Characters in a row are told as text.
    fn characters(&mut self, array: &ArrayType, simple: &SimpleType, bytes: &[u8], at: usize) -> Walked {
        let text = if array.counted {
            &self.counted(bytes, at)?[at + 2..]
        } else {
            self.take(bytes, at, array.least_count() as usize)?
        };
        if !array.allows(text.len()) {
            return self.constraint(at, format!("{} elements are not allowed; {} are", text.len(), array.allowed()));
        }
        if let Some(wrong) = text.iter().position(|byte| !simple.allows((*byte).into())) {
            self.path.push(Step::Element(wrong));
            let message = format!("{} is not allowed; {} is", text[wrong], simple.allowed());
            return self.constraint(at, message);
        }
        self.visitor.text(text);
        Ok(at + text.len() + if array.counted { 2 } else { 0 })
    }

    fn switch(&mut self, switch: &'a SwitchType, bytes: &[u8], at: usize) -> Walked {
        self.visitor.open(List::Parameters);
        self.path.push(Step::Name(self.types.name(switch.key.name)));
        let end = self.value(switch.key.ty, bytes, at)?;
        let Some(members) = switch.members(&bytes[at..end]) else {
            return self.constraint(at, "this key has no case, and there is no default".to_owned());
        };
        self.path.pop();
        let end = self.members(members, bytes, end)?;
        self.visitor.close(List::Parameters);
        Ok(end)
    }
}

pub(crate) fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn stored(simple: Simple, bytes: &[u8]) -> Stored {
    let unsigned = little_endian(bytes);
    match simple {
        Simple::Float64 => Stored::Real(f64::from_bits(unsigned)),
        simple if simple.is_signed() => {
            let unused = 64 - 8 * bytes.len() as u32;
            Stored::Signed((unsigned << unused) as i64 >> unused)
        }
        _ => Stored::Unsigned(unsigned),
    }
}
