//! Loads on a Message Director, from outside: links that subscribe, send and receive.
//!
//! Each workload drives any server of the protocol, counts what arrives and looks at the order of every message, and
//! yields one [`Report`]. None of them looks into the server; what it uses is read from `/proc`.

mod connections;
mod fan_out;
mod ping_pong;
mod progress;
mod report;
mod subscribe;
pub mod table;

pub use fan_out::{Arrivals, FanOut};
pub use ping_pong::PingPong;
pub use report::Report;
pub use subscribe::{Kind, Subscribe};

use clap::Args;
use std::time::Duration;

/// How long a load may go without any progress before it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to measure.
#[derive(Clone, Copy, Debug, Args)]
pub struct Times {
    /// Seconds that are measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub seconds: f64,
    /// Seconds of the same load before, which are not.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub warm_up: f64,
}

impl Times {
    fn measured(self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or(Duration::from_secs(1))
    }

    fn warm_up(self) -> Duration {
        Duration::try_from_secs_f64(self.warm_up).unwrap_or_default()
    }
}
