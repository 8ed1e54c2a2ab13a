//! Several daemons of one test, joined by the tree of their Message Directors.

use donet_perf::Failure;
use donet_perf::daemon::{Daemon, Setup};
use std::net::SocketAddr;
use std::path::Path;

/// The daemon that is tested.
pub fn donetd() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_donetd"))
}

/// One daemon with its folder; killed and removed when dropped.
pub struct Node {
    pub daemon: Daemon,
    #[allow(dead_code, reason = "not every test looks into its log")]
    pub setup: Setup,
}

impl Node {
    /// Starts a daemon with the services that `services` describes, and waits until it is ready.
    pub fn start(shards: usize, services: &str) -> Result<Self, Failure> {
        let setup = Setup::new(shards)?;
        let mut daemon = Self::spawn(&setup, services)?;
        daemon.wait_until_ready()?;
        Ok(Self { daemon, setup })
    }

    /// Writes the files of a daemon and starts it, without waiting for anything.
    pub fn spawn(setup: &Setup, services: &str) -> Result<Daemon, Failure> {
        setup.write()?;
        let text = format!(
            "[global]\ndc_files = [\"example.dc\"]\n[shards]\ncount = {}\npin = false\n{services}",
            setup.shards
        );
        std::fs::write(setup.config_path(), text)?;
        Daemon::spawn(setup.command(donetd())?, setup.log_path())
    }

    /// Where its Message Director listens.
    pub fn director(&self) -> SocketAddr {
        self.daemon.address("message_director").unwrap_or_else(|failure| panic!("{failure}"))
    }
}
