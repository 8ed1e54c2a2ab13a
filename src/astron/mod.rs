//! What comes over from Astron: its configuration, and the objects of its YAML database.
//!
//! Reads files and says what they mean here; writes nothing but text. Files are read once, whole and bounded, and
//! whatever is wrong is named with file, line and column.

pub mod config;
pub mod objects;
mod yaml;

use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// No configuration, and no object whose fields fit messages, is nearly as large.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AstronError {
    pub file: PathBuf,
    /// Line and column from 1, where there is a place.
    pub place: Option<(usize, usize)>,
    pub what: String,
}

impl fmt::Display for AstronError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file.display(), self.what),
            None => write!(f, "{}: {}", self.file.display(), self.what),
        }
    }
}

impl std::error::Error for AstronError {}

impl AstronError {
    fn new(file: &Path, what: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), place: None, what: what.to_string() }
    }
}

impl yaml::Fault {
    fn of(self, file: &Path) -> AstronError {
        AstronError { file: file.to_owned(), place: Some((self.line, self.column)), what: self.what }
    }
}

/// The tree of a file.
fn read(file: &Path) -> Result<yaml::Node, AstronError> {
    let mut text = Vec::new();
    let opened = std::fs::File::open(file).map_err(|error| AstronError::new(file, error))?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| AstronError::new(file, error))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(AstronError::new(file, format_args!("it is larger than {} MiB", FILE_BYTES_MAX >> 20)));
    }
    let text = String::from_utf8(text).map_err(|_| AstronError::new(file, "it is not UTF-8; YAML files are"))?;
    yaml::parse(&text).map_err(|fault| fault.of(file))
}
