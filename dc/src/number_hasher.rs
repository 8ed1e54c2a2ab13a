//! Maps by small numbers that this crate has given out itself.
//!
//! Numbers need no better spreading than a multiplication: nobody outside chooses them.

use hashbrown::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

#[derive(Clone, Copy, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0 = mixed(self.0 ^ number);
    }
}

/// A hash of a number. Both the high and the low bits must vary: hashbrown takes its tag from the top and its slot from the bottom.
#[inline]
pub(crate) fn mixed(number: u64) -> u64 {
    let spread = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    spread ^ spread >> 32
}

pub(crate) type BuildNumberHasher = BuildHasherDefault<NumberHasher>;
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildNumberHasher>;
pub(crate) type NumberSet<K> = HashSet<K, BuildNumberHasher>;
