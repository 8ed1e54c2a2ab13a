//! Reads a configuration file and refuses what cannot work, with the place and the remedy.

use super::Config;
use std::path::Path;

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// Reads and checks a file.
///
/// # Errors
/// [`ConfigError`], which names file, line, column, the offending text and what is expected.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|error| ConfigError(format!("{}: {error}", path.display())))?;
    parse(path, &text)
}

/// Checks the text of a file; relative paths start at the folder of `path`.
///
/// # Errors
/// As [`load`].
pub fn parse(path: &Path, _text: &str) -> Result<Config, ConfigError> {
    Err(ConfigError(format!("{}: not implemented", path.display())))
}
