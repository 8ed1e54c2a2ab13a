//! Loads on a Message Director, from outside: links that subscribe, send and receive.
//!
//! Each workload drives any server of the protocol, counts what arrives and looks at the order of every message, and
//! yields one [`crate::report::Report`]. None of them looks into the server; what it uses is read from `/proc`.

mod connections;
mod fan_out;
mod ping_pong;
mod subscribe;
pub mod table;

pub use fan_out::{Arrivals, FanOut};
pub use ping_pong::PingPong;
pub use subscribe::{Kind, Subscribe};

pub use crate::report::Times;
use std::time::Duration;

/// How long a load may go without any progress before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);
