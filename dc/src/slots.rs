//! Small hash tables side by side in one vector: a class has two or three, and a contract thousands of classes.
//!
//! Decides: where an entry lies. What an entry is, and when two are one, the caller says: entries are numbers.

/// No entry is this.
const EMPTY: u32 = u32::MAX;

#[derive(Clone, Default)]
pub(crate) struct Slots(Vec<u32>);

/// One of the tables; at least one of its slots is empty, which ends every search.
#[derive(Clone, Copy)]
pub(crate) struct Table {
    first: usize,
    slots: u32,
}

impl Table {
    /// Entries that it has room for.
    pub fn capacity(self) -> usize {
        (self.slots as usize - 1) * 2 / 3
    }
}

impl Slots {
    /// A new table with room for so many entries.
    pub fn table(&mut self, entries: usize) -> Table {
        let first = self.0.len();
        let slots = entries + entries / 2 + 1;
        self.0.resize(first + slots, EMPTY);
        Table { first, slots: slots as u32 }
    }

    /// The entry of that key that is the one looked for.
    #[inline]
    pub fn find(&self, table: Table, key: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        let slots = &self.0[table.first..table.first + table.slots as usize];
        Some(slots[slot(slots, key, is)]).filter(|entry| *entry != EMPTY)
    }

    /// Puts an entry in; of several that are the one looked for, the first to come is found.
    #[inline]
    pub fn insert(&mut self, table: Table, key: u32, entry: u32) {
        let slots = &mut self.0[table.first..table.first + table.slots as usize];
        let free = slot(slots, key, |_| false);
        slots[free] = entry;
    }
}

/// The slot that holds what is looked for, or where it would be.
#[inline]
fn slot(slots: &[u32], key: u32, is: impl Fn(u32) -> bool) -> usize {
    // The high half of a product is spread evenly over any number of slots.
    let spread = u64::from(key.wrapping_mul(0x9e37_79b1));
    let mut at = ((spread * slots.len() as u64) >> 32) as usize;
    while slots[at] != EMPTY && !is(slots[at]) {
        at = if at + 1 == slots.len() { 0 } else { at + 1 };
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_found_in_its_own_table_and_nowhere_else() {
        let mut slots = Slots::default();
        let tables: Vec<Table> = (0..50u32)
            .map(|count| {
                let table = slots.table(count as usize);
                for entry in 0..count {
                    let key = entry * 7 + count;
                    slots.insert(table, key, key);
                }
                table
            })
            .collect();
        for (count, table) in (0..50u32).zip(tables) {
            for key in 0..500 {
                let is_there = (0..count).any(|entry| entry * 7 + count == key);
                assert_eq!(slots.find(table, key, |other| other == key), is_there.then_some(key), "{count} {key}");
            }
        }
    }

    #[test]
    fn the_first_of_one_key_is_found_and_each_by_itself() {
        let mut slots = Slots::default();
        let table = slots.table(3);
        for entry in [10, 20, 30] {
            slots.insert(table, 5, entry);
            assert_eq!(slots.find(table, 5, |_| true), Some(10));
            assert_eq!(slots.find(table, 5, |other| other == entry), Some(entry));
        }
    }
}
