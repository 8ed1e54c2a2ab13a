//! What the nine historical keywords mean, as a set of bits.
//!
//! Decides: meaning alone. What of a keyword enters the hash is kept apart (`crate::hash`), since declaring a historical
//! keyword again changes the hash but not the meaning.

use std::ops::{BitOr, BitOrAssign};

/// A set of the nine historical keywords.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Keywords(pub(crate) u16);

impl Keywords {
    pub const NONE: Keywords = Keywords(0);
    pub const REQUIRED: Keywords = Keywords(0x001);
    pub const BROADCAST: Keywords = Keywords(0x002);
    pub const OWNRECV: Keywords = Keywords(0x004);
    pub const RAM: Keywords = Keywords(0x008);
    pub const DB: Keywords = Keywords(0x010);
    pub const CLSEND: Keywords = Keywords(0x020);
    pub const CLRECV: Keywords = Keywords(0x040);
    pub const OWNSEND: Keywords = Keywords(0x080);
    pub const AIRECV: Keywords = Keywords(0x100);

    /// Whether all of the other set are in this one.
    pub const fn contains(self, other: Keywords) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of the other set is in this one.
    pub const fn intersects(self, other: Keywords) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The names, in the order of their bits.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        (0..9).filter(move |bit| self.0 >> bit & 1 == 1).map(|bit| crate::names::HISTORICAL[bit])
    }
}

impl BitOr for Keywords {
    type Output = Keywords;

    fn bitor(self, other: Keywords) -> Keywords {
        Keywords(self.0 | other.0)
    }
}

impl BitOrAssign for Keywords {
    fn bitor_assign(&mut self, other: Keywords) {
        self.0 |= other.0;
    }
}
