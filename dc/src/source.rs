//! What a DC text is and where a byte of it stands.
//!
//! Decides: how byte offsets become lines and columns. Never reads a file: whoever uses the crate brings the bytes.

/// One DC file. Several are read in order, as if they were one text, but each must be complete in itself.
#[derive(Clone, Debug)]
pub struct Source {
    /// How diagnostics call it, usually its path.
    pub name: String,
    /// Bytes, not characters: quoted text and comments may hold anything.
    pub text: Vec<u8>,
}

impl Source {
    pub fn new(name: impl Into<String>, text: impl Into<Vec<u8>>) -> Self {
        Source { name: name.into(), text: text.into() }
    }
}

/// A stretch of bytes of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Span {
    /// Index into the list of sources that was parsed.
    pub file: u32,
    pub start: u32,
    pub end: u32,
}

impl Span {
    pub(crate) fn to(self, other: Span) -> Span {
        Span { file: self.file, start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Line and column, both from 1; the column counts bytes, as compilers and editors do for ASCII.
pub(crate) fn line_and_column(text: &[u8], offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before.iter().rev().take_while(|byte| **byte != b'\n').count();
    (line, column)
}
