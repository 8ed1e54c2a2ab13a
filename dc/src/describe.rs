//! Types in words, close to how a DC file writes them, and whether two types are packed and checked alike.

use crate::contract::Field;
use crate::simple::SimpleType;
use crate::types::{Parameter, Shape, TypeId, Types};
use hashbrown::HashSet;
use std::fmt::Write;

/// Text longer than this is cut: descriptions are for people.
const DESCRIPTION_BYTES_MAX: usize = 400;

impl Field {
    /// Its type as a DC file would write it, structs by their name; cut if it gets long.
    pub fn describe_type(&self) -> String {
        let mut out = String::new();
        describe(&self.types, self.ty, &mut out);
        if out.len() > DESCRIPTION_BYTES_MAX {
            let end = (0..=DESCRIPTION_BYTES_MAX).rev().find(|end| out.is_char_boundary(*end));
            out.truncate(end.unwrap_or(0));
            out.push('…');
        }
        out
    }

    /// Whether both are packed into the same bytes and checked alike.
    pub fn same_type(&self, other: &Field) -> bool {
        let mut seen = HashSet::new();
        same(&self.types, self.ty, &other.types, other.ty, &mut seen)
    }
}

fn describe(types: &Types, id: TypeId, out: &mut String) {
    if out.len() > DESCRIPTION_BYTES_MAX {
        return;
    }
    match types.shape(id) {
        Shape::Invalid => out.push_str("(unknown)"),
        Shape::Simple(simple) => describe_simple(simple, out),
        Shape::Array(_) => describe_array(types, id, out),
        Shape::Record(record) if record.class.is_some() => {
            let name = record.name.as_deref().unwrap_or("");
            if name.is_empty() {
                out.push_str("struct {");
                describe_members(types, &record.members, "; ", out);
                out.push('}');
            } else {
                out.push_str(name);
            }
        }
        Shape::Record(record) => {
            out.push('(');
            describe_members(types, &record.members, ", ", out);
            out.push(')');
        }
        Shape::Switch(switch) => {
            out.push_str("switch ");
            if switch.name.is_empty() {
                out.push('(');
                describe(types, switch.key.ty, out);
                let _ = write!(out, ") of {} cases", switch.cases.len());
            } else {
                out.push_str(&switch.name);
            }
        }
    }
}

fn describe_members(types: &Types, members: &[Parameter], separator: &str, out: &mut String) {
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            out.push_str(separator);
        }
        describe(types, member.ty, out);
        if !member.name.is_empty() {
            out.push(' ');
            out.push_str(&member.name);
        }
    }
}

/// Brackets are written outermost first.
fn describe_array(types: &Types, id: TypeId, out: &mut String) {
    let mut brackets = String::new();
    let mut element = id;
    while let Shape::Array(array) = types.shape(element) {
        brackets.push('[');
        for (index, (low, high)) in array.counts.iter().enumerate() {
            if index > 0 {
                brackets.push_str(", ");
            }
            let _ = if low == high { write!(brackets, "{low}") } else { write!(brackets, "{low}-{high}") };
        }
        brackets.push(']');
        element = array.element;
    }
    describe(types, element, out);
    out.push_str(&brackets);
}

fn describe_simple(simple: &SimpleType, out: &mut String) {
    out.push_str(simple.simple.name());
    let ranges = simple.written_ranges();
    if !ranges.is_empty() {
        out.push('(');
        for (index, (low, high)) in ranges.iter().enumerate() {
            if index > 0 {
                out.push_str(", ");
            }
            let _ = if low == high { write!(out, "{low}") } else { write!(out, "{low} - {high}") };
        }
        out.push(')');
    }
    if let Some(modulus) = simple.modulus {
        let _ = write!(out, "%{modulus}");
    }
    if simple.divisor != 1 {
        let _ = write!(out, "/{}", simple.divisor);
    }
}

/// Types nest without circles, so a pair seen before has been or is being compared in full.
fn same(left: &Types, a: TypeId, right: &Types, b: TypeId, seen: &mut HashSet<(TypeId, TypeId)>) -> bool {
    if !seen.insert((a, b)) {
        return true;
    }
    let mut members = |one: &[Parameter], other: &[Parameter]| {
        one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(left, one.ty, right, other.ty, seen))
    };
    match (left.shape(a), right.shape(b)) {
        (Shape::Simple(one), Shape::Simple(other)) => one == other,
        (Shape::Array(one), Shape::Array(other)) => {
            one.counted == other.counted
                && one.counts == other.counts
                && same(left, one.element, right, other.element, seen)
        }
        (Shape::Record(one), Shape::Record(other)) => members(&one.members, &other.members),
        (Shape::Switch(one), Shape::Switch(other)) => {
            let cases = one.cases.len() == other.cases.len()
                && one.cases.iter().all(|case| match other.by_value.get(&case.value) {
                    Some(index) => members(&case.members, &other.cases[*index as usize].members),
                    None => false,
                });
            let defaults = match (&one.default, &other.default) {
                (Some(one), Some(other)) => members(one, other),
                (None, None) => true,
                _ => false,
            };
            cases && defaults && members(std::slice::from_ref(&one.key), std::slice::from_ref(&other.key))
        }
        _ => false,
    }
}
