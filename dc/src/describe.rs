//! Types in words, close to how a DC file writes them: for people, and cut if long. For machines there is `crate::field_type`.

use crate::contract::Field;
use crate::simple::SimpleType;
use crate::types::{Parameter, Shape, TypeId, Types};
use std::fmt::Write;

/// Text longer than this is cut: descriptions are for people.
const DESCRIPTION_BYTES_MAX: usize = 400;

impl Field {
    /// Its type as a DC file would write it, structs by their name; cut if it gets long.
    pub fn describe_type(&self) -> String {
        let mut out = String::new();
        describe(self.types(), self.ty, &mut out);
        if out.len() > DESCRIPTION_BYTES_MAX {
            let end = (0..=DESCRIPTION_BYTES_MAX).rev().find(|end| out.is_char_boundary(*end));
            out.truncate(end.unwrap_or(0));
            out.push('…');
        }
        out
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
            let name = types.name(record.name);
            if name.is_empty() {
                out.push_str("struct {");
                describe_members(types, types.members(record.members), "; ", out);
                out.push('}');
            } else {
                out.push_str(name);
            }
        }
        Shape::Record(record) => {
            out.push('(');
            describe_members(types, types.members(record.members), ", ", out);
            out.push(')');
        }
        Shape::Switch(switch) => {
            out.push_str("switch ");
            if switch.name.is_empty() {
                out.push('(');
                describe(types, switch.key.ty, out);
                let _ = write!(out, ") of {} cases", switch.cases.len());
            } else {
                out.push_str(types.name(switch.name));
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
            out.push_str(types.name(member.name));
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
