//! The stored values of one object, in one buffer.
//!
//! Decides how bytes are found and replaced. It knows slots and no fields: what a value means, and whether it is
//! allowed, is settled before it comes here.

use super::layout::{ClassLayout, Filter};
use smallvec::SmallVec;
use std::ops::Range;

/// The most bytes of one object. A class of ordinary size cannot reach it: a field is at most a frame long.
const BYTES_MAX: usize = 1 << 30;
const _: () = assert!(BYTES_MAX < Width::Wide.mark() as usize, "an offset must leave the mark's bit alone");

/// How long an entry of the table is. Its highest bit marks a slot that has a value, since a value may be of no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// Two bytes, for a buffer of less than 32 KiB: nearly every object.
    Narrow = 2,
    Wide = 4,
}

impl Width {
    /// The width of the entries in a buffer of this length. A buffer that would be too long with narrow entries is
    /// longer still with wide ones, so that its length alone says which they are.
    const fn of_buffer(bytes: usize) -> Self {
        if bytes < Self::Narrow.mark() as usize { Self::Narrow } else { Self::Wide }
    }

    /// The width for so many slots and bytes of values.
    const fn needed(slots: usize, value_bytes: usize) -> Self {
        Self::of_buffer(slots * Self::Narrow as usize + value_bytes)
    }

    const fn mark(self) -> u32 {
        match self {
            Self::Narrow => 1 << 15,
            Self::Wide => 1 << 31,
        }
    }
}

/// Packed values by slot: a table with the start of each value, then the values in the order of their slots. The
/// required values are therefore one run of bytes. One allocation, without spare room: most values never change length.
#[derive(Debug)]
pub struct Values {
    buffer: Box<[u8]>,
}

impl Values {
    /// One entry for each slot of the class.
    pub fn new(values: &[Option<&[u8]>]) -> Self {
        let value_bytes = values.iter().flatten().map(|value| value.len()).sum::<usize>();
        let width = Width::needed(values.len(), value_bytes);
        let table_bytes = values.len() * width as usize;
        let bytes = table_bytes + value_bytes;
        assert!(bytes <= BYTES_MAX, "an object of {bytes} bytes");
        let mut buffer = Vec::with_capacity(bytes);
        let mut start = table_bytes as u32;
        for value in values {
            let mark = if value.is_some() { width.mark() } else { 0 };
            buffer.extend_from_slice(&(start | mark).to_le_bytes()[..width as usize]);
            start += value.map_or(0, <[u8]>::len) as u32;
        }
        for value in values.iter().flatten() {
            buffer.extend_from_slice(value);
        }
        Self { buffer: buffer.into_boxed_slice() }
    }

    fn width(&self) -> Width {
        Width::of_buffer(self.buffer.len())
    }

    /// Something of the buffer's beginning.
    pub fn touch(&self) -> u8 {
        self.buffer.first().copied().unwrap_or_default()
    }

    /// The start of a slot's value, and whether it has one.
    fn entry(&self, slot: usize) -> (usize, bool) {
        let width = self.width();
        let bytes = &self.buffer[slot * width as usize..][..width as usize];
        let entry = match width {
            Width::Narrow => u32::from(u16::from_le_bytes(bytes.try_into().expect("two bytes"))),
            Width::Wide => u32::from_le_bytes(bytes.try_into().expect("four bytes")),
        };
        ((entry & !width.mark()) as usize, entry & width.mark() != 0)
    }

    /// The number of slots: the first value begins where the table ends.
    fn slots(&self) -> usize {
        if self.buffer.is_empty() { 0 } else { self.entry(0).0 / self.width() as usize }
    }

    /// Where a slot's value begins and ends, and whether it has one.
    fn place(&self, slot: usize) -> (Range<usize>, bool) {
        let (start, is_set) = self.entry(slot);
        let end = if slot + 1 < self.slots() { self.entry(slot + 1).0 } else { self.buffer.len() };
        (start..end, is_set)
    }

    fn is_set(&self, slot: usize) -> bool {
        self.entry(slot).1
    }

    /// The value of a slot, if it has one.
    pub fn get(&self, slot: usize) -> Option<&[u8]> {
        let (range, is_set) = self.place(slot);
        is_set.then(|| &self.buffer[range])
    }

    /// Gives a slot a value.
    pub fn set(&mut self, slot: usize, value: &[u8]) {
        let (range, is_set) = self.place(slot);
        if is_set && range.len() == value.len() {
            self.buffer[range].copy_from_slice(value);
        } else {
            self.replace(slot, Some(value));
        }
    }

    /// Takes a slot's value away.
    pub fn unset(&mut self, slot: usize) {
        if self.is_set(slot) {
            self.replace(slot, None);
        }
    }

    /// Builds the buffer anew with another value in a slot's place.
    fn replace(&mut self, slot: usize, value: Option<&[u8]>) {
        let changed = {
            let mut values: SmallVec<[Option<&[u8]>; 32]> = (0..self.slots()).map(|slot| self.get(slot)).collect();
            values[slot] = value;
            Self::new(&values)
        };
        *self = changed;
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
            payload.extend_from_slice(&self.buffer[self.entry(0).0..self.place(required - 1).0.end]);
            return;
        }
        for (index, slot) in layout.required().iter().enumerate() {
            if slot.is_shown(filter) {
                payload.extend_from_slice(&self.buffer[self.place(index).0]);
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

    #[test]
    fn five_small_values_take_two_bytes_each_beside_their_own() {
        let values = Values::new(&[Some(&[1; 4]), Some(&[2; 4]), Some(&[3; 2]), Some(&[4; 1]), Some(&[5; 1])]);
        assert_eq!(values.buffer.len(), 12 + 5 * 2);
    }

    /// Around the length at which entries of two bytes no longer hold an offset.
    #[test]
    fn a_long_buffer_has_wide_entries_and_a_short_one_narrow_ones_again() {
        let limit = Width::Narrow.mark() as usize;
        let mut values = Values::new(&[Some(&[1]), Some(&[]), None, Some(&[9; 3])]);
        for bytes in (limit - 20..limit + 20).chain([3 * limit, 1, limit, 0]) {
            let long = vec![7; bytes];
            values.set(1, &long);
            assert_eq!((values.get(0), values.get(1)), (Some(&[1][..]), Some(&long[..])), "{bytes}");
            assert_eq!((values.get(2), values.get(3)), (None, Some(&[9; 3][..])), "{bytes}");
            let narrow = 4 * 2 + 4 + bytes;
            assert_eq!(values.buffer.len(), if narrow < limit { narrow } else { narrow + 4 * 2 }, "{bytes}");
        }
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
