//! Why bytes are not a value of a field.

use std::fmt;

/// What the `string` type may hold. Blobs and `char` arrays hold any bytes under every policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TextPolicy {
    /// Any bytes, as Panda3D allows.
    Bytes,
    /// 7-bit characters.
    Ascii,
    /// Well-formed UTF-8.
    #[default]
    Utf8,
}

impl TextPolicy {
    pub(crate) fn allows(self, text: &[u8]) -> bool {
        match self {
            TextPolicy::Bytes => true,
            TextPolicy::Ascii => text.is_ascii(),
            TextPolicy::Utf8 => std::str::from_utf8(text).is_ok(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueErrorKind {
    /// The bytes end before the value does.
    Truncated,
    /// Bytes are left over.
    Trailing,
    /// A number, length, count, key or text is not allowed there.
    Constraint,
}

/// Why bytes are not a value of a field: which parameter, at which byte, what was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError(Box<Inner>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inner {
    kind: ValueErrorKind,
    parameter: String,
    offset: usize,
    message: String,
}

impl ValueError {
    #[cold]
    pub(crate) fn new(kind: ValueErrorKind, parameter: String, offset: usize, message: String) -> Self {
        ValueError(Box::new(Inner { kind, parameter, offset, message }))
    }

    pub fn kind(&self) -> ValueErrorKind {
        self.0.kind
    }

    /// The path to it, such as `setItems.items[2].count`.
    pub fn parameter(&self) -> &str {
        &self.0.parameter
    }

    /// The byte of the field's value at which it begins.
    pub fn offset(&self) -> usize {
        self.0.offset
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.0.parameter, self.0.offset, self.0.message)
    }
}

impl std::error::Error for ValueError {}
