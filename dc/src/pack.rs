//! Values into bytes (spec 4.2, 4.6).
//!
//! Decides: how a written value becomes the bytes of a type, and why it cannot. Never reads bytes back.

use crate::code::Code;
use crate::limits::VALUE_BYTES_MAX;
use crate::literal::{Item, Node};
use crate::simple::{Simple, SimpleType};
use crate::types::{ArrayType, Members, Shape, SwitchType, TypeId, Types};
use std::borrow::Cow;

/// Why a value cannot be packed. `item` is the offending one, so that a text can point at it.
pub(crate) struct PackFault<'a, I> {
    pub code: Code,
    pub message: String,
    pub item: &'a I,
}

type Packed<'a, I> = Result<(), Box<PackFault<'a, I>>>;

fn fault<'a, I, T>(code: Code, item: &'a I, message: String) -> Result<T, Box<PackFault<'a, I>>> {
    Err(Box::new(PackFault { code, message, item }))
}

/// The items of a list one by one, repeated ones as often as they stand for.
fn unroll<I: Item>(items: &[I]) -> impl Iterator<Item = &I> {
    items.iter().flat_map(|item| std::iter::repeat_n(item, item.repeat().min(usize::MAX as u64) as usize))
}

fn count<I: Item>(items: &[I]) -> u64 {
    items.iter().fold(0u64, |sum, item| sum.saturating_add(item.repeat()))
}

impl Types {
    /// Packs a whole value: an item that stands for anything but one is refused.
    pub fn pack<'a, I: Item>(&self, id: TypeId, name: &str, item: &'a I, out: &mut Vec<u8>) -> Packed<'a, I> {
        if item.repeat() != 1 {
            let message = format!("{} values for one", item.repeat());
            return fault(Code::ValueCount, item, message);
        }
        self.pack_item(id, name, item, out)
    }

    fn pack_item<'a, I: Item>(&self, id: TypeId, name: &str, item: &'a I, out: &mut Vec<u8>) -> Packed<'a, I> {
        if let Some(label) = item.label()
            && label != name
        {
            let message = if name.is_empty() {
                format!("the label `{label}` names an item that has no name")
            } else {
                format!("the label `{label}` stands at the place of `{name}`")
            };
            return fault(Code::ValueLabel, item, message);
        }
        if let Node::Packed(bytes) = item.node() {
            out.extend_from_slice(bytes);
        } else {
            match self.shape(id) {
                // Unknown types were reported where they were used.
                Shape::Invalid => {}
                Shape::Simple(simple) => pack_simple(simple, name, item, out)?,
                Shape::Array(array) => self.pack_array(array, name, item, out)?,
                Shape::Record(record) => {
                    let Node::List(items) = item.node() else {
                        return wrong_kind(item, name, "a list with one item for each of its parts");
                    };
                    self.pack_members(record.members, name, item, items.len(), unroll(items), out)?;
                }
                Shape::Switch(switch) => self.pack_switch(switch, name, item, out)?,
            }
        }
        if out.len() > VALUE_BYTES_MAX {
            let message = format!("the value has more than {VALUE_BYTES_MAX} bytes");
            return fault(Code::Limit, item, message);
        }
        Ok(())
    }

    fn pack_members<'a, I: Item>(
        &self,
        members: Members,
        name: &str,
        list: &'a I,
        given: usize,
        mut items: impl Iterator<Item = &'a I>,
        out: &mut Vec<u8>,
    ) -> Packed<'a, I> {
        let members = self.members(members);
        for (index, member) in members.iter().enumerate() {
            let part = self.name(member.name);
            let Some(item) = items.next() else {
                let missing = if part.is_empty() { format!("item {}", index + 1) } else { format!("`{part}`") };
                let message = format!("{} takes {} items; {missing} is missing", called(name), members.len());
                return fault(Code::ValueCount, list, message);
            };
            self.pack_item(member.ty, part, item, out)?;
        }
        match items.next() {
            None => Ok(()),
            Some(item) => {
                let message = format!("{} takes {} items, and {given} are written", called(name), members.len());
                fault(Code::ValueCount, item, message)
            }
        }
    }

    fn pack_switch<'a, I: Item>(
        &self,
        switch: &SwitchType,
        name: &str,
        item: &'a I,
        out: &mut Vec<u8>,
    ) -> Packed<'a, I> {
        let Node::List(items) = item.node() else {
            return wrong_kind(item, name, "a list of the key and the members of its case");
        };
        let mut rest = unroll(items);
        let Some(key) = rest.next() else {
            return fault(Code::ValueCount, item, format!("{} needs its key", called(name)));
        };
        let start = out.len();
        self.pack_item(switch.key.ty, self.name(switch.key.name), key, out)?;
        let Some(members) = switch.members(&out[start..]) else {
            let message = format!("no case of {} has this key, and there is no default", called(name));
            return fault(Code::ValueOutOfRange, key, message);
        };
        self.pack_members(members, name, item, items.len(), rest, out)
    }

    fn pack_array<'a, I: Item>(&self, array: &ArrayType, name: &str, item: &'a I, out: &mut Vec<u8>) -> Packed<'a, I> {
        let start = out.len();
        if array.counted {
            out.extend_from_slice(&[0, 0]);
        }
        let element = match self.shape(array.element) {
            Shape::Simple(simple) => Some(simple),
            _ => None,
        };
        let check_count = |count: u64| {
            if array.allows(usize::try_from(count).unwrap_or(usize::MAX)) {
                return Ok(());
            }
            let message = format!("{} takes {} elements, not {count}", called(name), array.allowed());
            fault(Code::ValueCount, item, message)
        };
        match (item.node(), element) {
            (Node::List(items), _) => {
                check_count(count(items))?;
                for item in unroll(items) {
                    self.pack_item(array.element, "", item, out)?;
                }
            }
            (Node::Text(text), Some(simple)) if holds_characters(simple.simple) => {
                check_count(text.len() as u64)?;
                for byte in text {
                    check_character(simple, name, item, *byte)?;
                }
                out.extend_from_slice(text);
            }
            _ => return wrong_kind(item, name, "a list"),
        }
        finish_count(array.counted, start, name, item, out)
    }
}

/// Writes the byte count in front of what was packed since `start`.
fn finish_count<'a, I: Item>(counted: bool, start: usize, name: &str, item: &'a I, out: &mut [u8]) -> Packed<'a, I> {
    if !counted {
        return Ok(());
    }
    let bytes = out.len() - start - 2;
    let Ok(bytes) = u16::try_from(bytes) else {
        let message = format!("{} has {bytes} bytes, and its count holds at most 65535", called(name));
        return fault(Code::ValueOutOfRange, item, message);
    };
    out[start..start + 2].copy_from_slice(&bytes.to_le_bytes());
    Ok(())
}

fn called(name: &str) -> Cow<'_, str> {
    if name.is_empty() { "this value".into() } else { format!("`{name}`").into() }
}

fn wrong_kind<'a, I: Item, T>(item: &'a I, name: &str, expected: &str) -> Result<T, Box<PackFault<'a, I>>> {
    let message = format!("{} takes {expected}, not {}", called(name), item.node().describe());
    fault(Code::ValueKind, item, message)
}

fn holds_characters(simple: Simple) -> bool {
    matches!(simple, Simple::Char | Simple::Int8 | Simple::Uint8)
}

fn check_character<'a, I: Item>(simple: &SimpleType, name: &str, item: &'a I, byte: u8) -> Packed<'a, I> {
    let value = if simple.simple == Simple::Int8 { i128::from(byte as i8) } else { i128::from(byte) };
    if simple.allows(value) {
        return Ok(());
    }
    let message = format!("the character {value} is outside {}, which allows {}", called(name), simple.allowed());
    fault(Code::ValueOutOfRange, item, message)
}

fn pack_simple<'a, I: Item>(simple: &SimpleType, name: &str, item: &'a I, out: &mut Vec<u8>) -> Packed<'a, I> {
    if simple.simple.is_text() {
        return pack_text(simple, name, item, out);
    }
    if simple.simple.number_size().is_some() {
        return pack_number(simple, name, item, out);
    }
    let Node::List(items) = item.node() else {
        return wrong_kind(item, name, "a list");
    };
    // Range, divisor and modulus of a legacy array never reach its elements (spec 4.5).
    let element = simple.simple.legacy_element().map(SimpleType::new);
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    for item in unroll(items) {
        match &element {
            _ if matches!(item.node(), Node::Packed(_)) => pack_raw(item, out),
            Some(element) => pack_number(element, "", item, out)?,
            None => pack_pair(item, out)?,
        }
        if out.len() > VALUE_BYTES_MAX {
            let message = format!("the value has more than {VALUE_BYTES_MAX} bytes");
            return fault(Code::Limit, item, message);
        }
    }
    finish_count(true, start, name, item, out)
}

fn pack_raw<I: Item>(item: &I, out: &mut Vec<u8>) {
    if let Node::Packed(bytes) = item.node() {
        out.extend_from_slice(bytes);
    }
}

fn pack_pair<'a, I: Item>(item: &'a I, out: &mut Vec<u8>) -> Packed<'a, I> {
    let Node::List(items) = item.node() else {
        return wrong_kind(item, "", "a pair of two numbers");
    };
    if count(items) != 2 {
        let message = format!("a pair has two numbers, not {}", count(items));
        return fault(Code::ValueCount, item, message);
    }
    for (part, simple) in unroll(items).zip([Simple::Uint32, Simple::Uint8]) {
        match part.node() {
            Node::Packed(_) => pack_raw(part, out),
            _ => pack_number(&SimpleType::new(simple), "", part, out)?,
        }
    }
    Ok(())
}

fn pack_text<'a, I: Item>(simple: &SimpleType, name: &str, item: &'a I, out: &mut Vec<u8>) -> Packed<'a, I> {
    let start = out.len();
    let prefix = match (simple.fixed_length(), simple.simple) {
        (Some(_), _) => 0,
        (None, Simple::Blob32) => 4,
        (None, _) => 2,
    };
    out.resize(start + prefix, 0);
    match item.node() {
        Node::Text(text) => out.extend_from_slice(text),
        Node::List(items) => {
            let byte = SimpleType::new(Simple::Uint8);
            if count(items) > VALUE_BYTES_MAX as u64 {
                let message = format!("the value has more than {VALUE_BYTES_MAX} bytes");
                return fault(Code::Limit, item, message);
            }
            for item in unroll(items) {
                match item.node() {
                    Node::Packed(bytes) if bytes.len() != 1 => return wrong_kind(item, name, "single bytes"),
                    Node::Packed(_) => pack_raw(item, out),
                    _ => pack_number(&byte, "", item, out)?,
                }
            }
        }
        _ => return wrong_kind(item, name, "text or a list of bytes"),
    }
    let length = out.len() - start - prefix;
    let (_, greatest) = simple.simple.limits();
    if length as i128 > greatest || !simple.allows(length as i128) {
        let message = format!("{} takes {} bytes, not {length}", called(name), simple.allowed());
        return fault(Code::ValueOutOfRange, item, message);
    }
    let count = (length as u32).to_le_bytes();
    out[start..start + prefix].copy_from_slice(&count[..prefix]);
    Ok(())
}

pub(crate) fn pack_number<'a, I: Item>(
    simple: &SimpleType,
    name: &str,
    item: &'a I,
    out: &mut Vec<u8>,
) -> Packed<'a, I> {
    let refuse = |written: String| {
        let message = format!("{written} is outside {}, which allows {}", called(name), simple.allowed());
        fault(Code::ValueOutOfRange, item, message)
    };
    let size = simple.simple.number_size().unwrap_or(0);
    if simple.simple == Simple::Float64 {
        let value = match item.node() {
            Node::Int(value) => value as f64,
            Node::Real(value) => value,
            _ => return wrong_kind(item, name, "a number"),
        };
        let stored = wrap_real(simple, value * f64::from(simple.divisor));
        if !simple.allows_real(stored) {
            return refuse(value.to_string());
        }
        out.extend_from_slice(&stored.to_le_bytes());
        return Ok(());
    }
    let stored = match item.node() {
        Node::Int(value) => wrap_integer(simple, value.saturating_mul(simple.divisor.into())),
        Node::Real(value) => {
            let stored = (wrap_real(simple, value * f64::from(simple.divisor)) + 0.5).floor();
            if !stored.is_finite() {
                return refuse(value.to_string());
            }
            stored as i128
        }
        Node::Text([byte]) if holds_characters(simple.simple) => {
            check_character(simple, name, item, *byte)?;
            out.push(*byte);
            return Ok(());
        }
        Node::Text(_) if holds_characters(simple.simple) => {
            return wrong_kind(item, name, "a number or text of one byte");
        }
        _ => return wrong_kind(item, name, "a number"),
    };
    let (least, greatest) = simple.simple.limits();
    if stored < least || stored > greatest || !simple.allows(stored) {
        return match item.node() {
            Node::Int(value) => refuse(value.to_string()),
            Node::Real(value) => refuse(value.to_string()),
            _ => refuse(stored.to_string()),
        };
    }
    out.extend_from_slice(&stored.to_le_bytes()[..size]);
    Ok(())
}

fn wrap_integer(simple: &SimpleType, value: i128) -> i128 {
    let Some(modulus) = simple.modulus else { return value };
    let modulus = (modulus * f64::from(simple.divisor) + 0.5).floor() as i128;
    if modulus == 0 { value } else { value.rem_euclid(modulus) }
}

fn wrap_real(simple: &SimpleType, value: f64) -> f64 {
    let Some(modulus) = simple.modulus else { return value };
    let modulus = modulus * f64::from(simple.divisor);
    if value >= 0.0 {
        return value % modulus;
    }
    let wrapped = modulus - (-value) % modulus;
    if wrapped == modulus { 0.0 } else { wrapped }
}
