//! The stored values of one object, in one buffer.
//!
//! Decides how bytes are found and replaced. It knows slots and no fields: what a value means, and whether it is
//! allowed, is settled before it comes here.

use super::layout::{ClassLayout, Filter};

/// Marks a slot that has a value; a value may be of no bytes.
const SET: u32 = 1 << 31;
const ENTRY_BYTES: usize = size_of::<u32>();
/// The most bytes of one object. A class of ordinary size cannot reach it: a field is at most a frame long.
const BYTES_MAX: usize = 1 << 30;
const _: () = assert!(BYTES_MAX < SET as usize, "an offset must leave the mark's bit alone");

/// Packed values by slot: a table with the start of each value, then the values in the order of their slots. The
/// required values are therefore one run of bytes.
#[derive(Debug)]
pub struct Values {
    buffer: Vec<u8>,
}

impl Values {
    /// One entry for each slot of the class.
    pub fn new(values: &[Option<&[u8]>]) -> Self {
        let table_bytes = values.len() * ENTRY_BYTES;
        let bytes = table_bytes + values.iter().flatten().map(|value| value.len()).sum::<usize>();
        assert!(bytes <= BYTES_MAX, "an object of {bytes} bytes");
        let mut buffer = Vec::with_capacity(bytes);
        let mut start = table_bytes as u32;
        for value in values {
            let mark = if value.is_some() { SET } else { 0 };
            buffer.extend_from_slice(&(start | mark).to_le_bytes());
            start += value.map_or(0, <[u8]>::len) as u32;
        }
        for value in values.iter().flatten() {
            buffer.extend_from_slice(value);
        }
        Self { buffer }
    }

    fn entry(&self, slot: usize) -> u32 {
        let bytes = &self.buffer[slot * ENTRY_BYTES..][..ENTRY_BYTES];
        u32::from_le_bytes(bytes.try_into().expect("an entry has four bytes"))
    }

    fn set_entry(&mut self, slot: usize, entry: u32) {
        self.buffer[slot * ENTRY_BYTES..][..ENTRY_BYTES].copy_from_slice(&entry.to_le_bytes());
    }

    fn is_set(&self, slot: usize) -> bool {
        self.entry(slot) & SET != 0
    }

    fn start(&self, slot: usize) -> usize {
        (self.entry(slot) & !SET) as usize
    }

    /// The number of slots: the first value begins where the table ends.
    fn slots(&self) -> usize {
        if self.buffer.is_empty() { 0 } else { self.start(0) / ENTRY_BYTES }
    }

    fn range(&self, slot: usize) -> std::ops::Range<usize> {
        let end = if slot + 1 < self.slots() { self.start(slot + 1) } else { self.buffer.len() };
        self.start(slot)..end
    }

    /// The value of a slot, if it has one.
    pub fn get(&self, slot: usize) -> Option<&[u8]> {
        self.is_set(slot).then(|| &self.buffer[self.range(slot)])
    }

    /// Gives a slot a value.
    pub fn set(&mut self, slot: usize, value: &[u8]) {
        let range = self.range(slot);
        if range.len() == value.len() {
            self.buffer[range].copy_from_slice(value);
        } else {
            self.replace(slot, value);
        }
        self.set_entry(slot, self.entry(slot) | SET);
    }

    /// Takes a slot's value away.
    pub fn unset(&mut self, slot: usize) {
        self.replace(slot, &[]);
        self.set_entry(slot, self.entry(slot) & !SET);
    }

    /// Puts other bytes in a slot's place and moves what follows.
    fn replace(&mut self, slot: usize, value: &[u8]) {
        let range = self.range(slot);
        let (old_bytes, slots) = (range.len(), self.slots());
        let bytes = self.buffer.len() - old_bytes + value.len();
        assert!(bytes <= BYTES_MAX, "an object of {bytes} bytes");
        self.buffer.splice(range, value.iter().copied());
        for later in slot + 1..slots {
            let entry = self.entry(later);
            let start = (entry & !SET) as usize - old_bytes + value.len();
            self.set_entry(later, start as u32 | (entry & SET));
        }
    }

    /// Whether any field that is not required has a value: what decides between a message and its `_OTHER` variant
    /// (§1.5 rule 1).
    pub fn has_other(&self, layout: &ClassLayout) -> bool {
        (layout.required().len()..layout.slots().len()).any(|slot| self.is_set(slot))
    }

    /// Appends the REQUIRED section (§1.5).
    pub fn write_required(&self, layout: &ClassLayout, filter: Filter, payload: &mut Vec<u8>) {
        let required = layout.required().len();
        if required == 0 {
            return;
        }
        if layout.shows_every_required(filter) {
            payload.extend_from_slice(&self.buffer[self.start(0)..self.range(required - 1).end]);
            return;
        }
        for (index, slot) in layout.required().iter().enumerate() {
            if slot.is_shown(filter) {
                payload.extend_from_slice(&self.buffer[self.range(index)]);
            }
        }
    }

    /// Appends the OTHER section (§1.5): a count, then field and value of what is set and shown.
    pub fn write_other(&self, layout: &ClassLayout, filter: Filter, payload: &mut Vec<u8>) {
        let count_at = payload.len();
        payload.extend_from_slice(&[0; 2]);
        let mut count = 0_u16;
        for (index, slot) in layout.ram().iter().enumerate() {
            let Some(value) = self.get(layout.required().len() + index).filter(|_| slot.is_shown(filter)) else {
                continue;
            };
            payload.extend_from_slice(&slot.field.to_le_bytes());
            payload.extend_from_slice(value);
            count += 1;
        }
        payload[count_at..count_at + 2].copy_from_slice(&count.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_of_no_bytes_is_a_value() {
        let mut values = Values::new(&[None, Some(&[]), Some(&[7])]);
        assert_eq!((values.get(0), values.get(1), values.get(2)), (None, Some(&[][..]), Some(&[7][..])));
        values.unset(1);
        values.set(0, &[]);
        assert_eq!((values.get(0), values.get(1), values.get(2)), (Some(&[][..]), None, Some(&[7][..])));
    }

    #[test]
    fn an_object_without_slots_has_no_bytes() {
        let values = Values::new(&[]);
        assert_eq!((values.slots(), values.buffer.len()), (0, 0));
    }

    proptest! {
        /// Any sequence of changes leaves what a plain list of optional values would hold.
        #[test]
        fn values_are_those_of_a_plain_list(
            first in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 1..9),
            changes in prop::collection::vec(
                (any::<prop::sample::Index>(), prop::option::of(prop::collection::vec(any::<u8>(), 0..9))), 0..40),
        ) {
            let mut expected = first.clone();
            let mut values = Values::new(&first.iter().map(Option::as_deref).collect::<Vec<_>>());
            for (index, change) in changes {
                let slot = index.index(expected.len());
                match &change {
                    Some(value) => values.set(slot, value),
                    None => values.unset(slot),
                }
                expected[slot] = change;
            }
            for (slot, value) in expected.iter().enumerate() {
                prop_assert_eq!(values.get(slot), value.as_deref());
            }
        }
    }
}
