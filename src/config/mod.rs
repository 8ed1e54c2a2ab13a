//! The configuration: one TOML file per daemon (`spec/config.md`).
//!
//! The schema stands in [`schema`]; reading, defaults and every refusal with file, line and column in [`load`].

mod changes;
mod client_agent;
mod diagnostic;
mod load;
mod references;
mod schema;
mod services;
mod table;
mod values;

#[cfg(test)]
mod tests;

pub use changes::{Changes, take_over};
pub use load::{ConfigError, load, parse};
pub use schema::*;
