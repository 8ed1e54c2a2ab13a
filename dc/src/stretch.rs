//! Where a list lies in a vector that holds many: one allocation for all of them, and eight bytes to point at each.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    start: u32,
    end: u32,
}

impl Stretch {
    /// Appends the items to the vector.
    #[inline]
    pub fn append<T>(all: &mut Vec<T>, items: impl IntoIterator<Item = T>) -> Self {
        let start = all.len();
        all.extend(items);
        Stretch::since(start, all)
    }

    /// What was appended since the vector had that length.
    #[inline]
    pub fn since<T>(start: usize, all: &[T]) -> Self {
        // No contract gets here: its limits and the size of its sources keep every table below four billion entries.
        assert!(u32::try_from(all.len()).is_ok(), "a table of a contract has more than 4,294,967,295 entries");
        Stretch { start: start as u32, end: all.len() as u32 }
    }

    #[inline]
    pub fn of<T>(self, all: &[T]) -> &[T] {
        &all[self.range()]
    }

    #[inline]
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Whether the other one begins where this one ends.
    pub fn is_before(self, other: Stretch) -> bool {
        self.end == other.start
    }

    /// This one and the one behind it, as one.
    pub fn and(self, behind: Stretch) -> Stretch {
        Stretch { start: self.start, end: behind.end }
    }

    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }
}
