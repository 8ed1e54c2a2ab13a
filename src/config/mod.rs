//! The configuration: one TOML file per daemon (`spec/config.md`).
//!
//! The schema stands in [`schema`]; reading, defaults and every refusal with file, line and column in [`load`].

mod load;
mod schema;

pub use load::{ConfigError, load, parse};
pub use schema::*;
