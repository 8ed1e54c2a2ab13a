//! How much went over connections: counted where it is read and written.

use std::ops::Sub;

/// What all connections of a network have moved so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Reads and writes that moved something: about as many as there were segments, of whatever size.
    pub reads: u64,
    pub writes: u64,
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            bytes_in: self.bytes_in - earlier.bytes_in,
            bytes_out: self.bytes_out - earlier.bytes_out,
            reads: self.reads - earlier.reads,
            writes: self.writes - earlier.writes,
        }
    }
}
