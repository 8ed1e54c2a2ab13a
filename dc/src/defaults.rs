//! The packed default of every type (spec 5): explicit where one was given, implicit otherwise.
//!
//! Decides: which value a field has before anyone set it. Relies on the weight of the type having been checked, so that
//! what is written here stays small.

use crate::simple::{Simple, SimpleType};
use crate::types::{Parameter, Shape, SwitchType, TypeId, Types};

impl Types {
    pub fn write_parameter_default(&self, parameter: &Parameter, out: &mut Vec<u8>) {
        match parameter.default {
            Some(packed) => out.extend_from_slice(self.packed(packed)),
            None => self.write_default(parameter.ty, out),
        }
    }

    pub fn write_default(&self, id: TypeId, out: &mut Vec<u8>) {
        let node = self.node(id);
        if let Some(packed) = node.default {
            out.extend_from_slice(self.packed(packed));
            return;
        }
        match &node.shape {
            Shape::Invalid => {}
            Shape::Simple(simple) => write_simple_default(simple, out),
            Shape::Array(array) => {
                let start = out.len();
                if array.counted {
                    out.extend_from_slice(&[0, 0]);
                }
                for _ in 0..array.least_count() {
                    let before = out.len();
                    self.write_default(array.element, out);
                    // Elements of no bytes: one says as much as the rest.
                    if out.len() == before {
                        break;
                    }
                }
                if array.counted {
                    let bytes = (out.len() - start - 2) as u16;
                    out[start..start + 2].copy_from_slice(&bytes.to_le_bytes());
                }
            }
            Shape::Record(record) => {
                for member in self.members(record.members) {
                    self.write_parameter_default(member, out);
                }
            }
            Shape::Switch(switch) => self.write_switch_default(switch, node.has_default, out),
        }
    }

    fn write_switch_default(&self, switch: &SwitchType, has_default: bool, out: &mut Vec<u8>) {
        let first = switch.cases.first();
        let mut key = Vec::new();
        let mut members = None;
        if has_default || first.is_none() {
            self.write_parameter_default(&switch.key, &mut key);
            members = switch.members(&key);
        }
        // The first case as written, also where the key's own default has no case: any case is better than a value
        // that nobody may send.
        if members.is_none()
            && let Some(case) = first
        {
            key = case.value.to_vec();
            members = Some(case.members);
        }
        out.extend_from_slice(&key);
        for member in self.members(members.unwrap_or_default()) {
            self.write_parameter_default(member, out);
        }
    }
}

fn write_simple_default(simple: &SimpleType, out: &mut Vec<u8>) {
    let first = simple.ranges.first().map_or(0, |range| range.0);
    if simple.simple.is_text() {
        let length = first.max(0) as usize;
        if simple.fixed_length().is_none() {
            let count = (length as u32).to_le_bytes();
            out.extend_from_slice(if simple.simple == Simple::Blob32 { &count } else { &count[..2] });
        }
        out.resize(out.len() + length, 0);
        return;
    }
    if let Some(size) = simple.simple.number_size() {
        if simple.simple == Simple::Float64 {
            let value = if simple.allows_real(0.0) { 0.0 } else { simple.real_ranges[0].0 };
            out.extend_from_slice(&value.to_le_bytes());
            return;
        }
        let (least, greatest) = simple.simple.limits();
        let value = if simple.allows(0) { 0 } else { first.clamp(least, greatest) };
        out.extend_from_slice(&value.to_le_bytes()[..size]);
        return;
    }
    // Legacy arrays: for unsigned ones the first range minimum is a count of elements (spec 4.5).
    let element = simple.simple.legacy_element().filter(|element| !element.is_signed());
    let size = element.and_then(Simple::number_size).unwrap_or(0);
    let bytes = (first.max(0) as usize * size).min(u16::MAX.into());
    out.extend_from_slice(&(bytes as u16).to_le_bytes());
    out.resize(out.len() + bytes, 0);
}
