//! The engines under glommio: one pinned executor thread each, sockets at the rim.
//!
//! Decides where executors run, how they sleep and wake, and how they end. Handlers never see any of it.

mod doorbell;
mod executor;
mod injector;
mod ring;
mod sleeper;
mod sockets;
mod unsent;

pub use executor::{ExecutorError, Executors, Placed, Placement, start};
pub use injector::Injector;
