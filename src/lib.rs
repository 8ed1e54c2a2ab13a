//! Donet: a thread-per-core server for massively multiplayer worlds that speaks DoNet.
//!
//! `docs/ARCHITECTURE.md` has the map and the invariants; each module's header says what it decides and what it must
//! never do.

pub mod admin;
pub mod astron;
pub mod boot;
pub mod cli;
pub mod client_agent;
pub mod config;
pub mod control;
pub mod daemon;
pub mod database_server;
pub mod database_state_server;
pub mod db_tool;
pub mod event_logger;
pub mod faults;
mod field_json;
pub mod message_director;
pub mod metrics;
pub mod outbox;
mod progress_lines;
pub mod reason;
pub mod reload;
#[cfg(feature = "sql")]
pub mod sql_sink;
pub mod state_server;
pub mod transport;
pub mod wire;
