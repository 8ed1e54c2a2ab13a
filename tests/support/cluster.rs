//! Several daemons of one test, joined by the tree of their Message Directors.

use donet_perf::daemon::{Daemon, Setup};
use donet_perf::{Failure, wait};
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

    /// Starts a daemon at the address of one that was killed. The system takes back what a killed process had in its rings
    /// after the process is gone, its listener included: until then the address is in use.
    #[allow(dead_code, reason = "not every test kills one")]
    pub fn start_again(shards: usize, services: &str) -> Result<Self, Failure> {
        wait::for_some("the address to be free", || {
            let setup = Setup::new(shards)?;
            let mut daemon = Self::spawn(&setup, services)?;
            match daemon.wait_until_ready() {
                Ok(()) => Ok(Some(Self { daemon, setup })),
                Err(failure) if failure.to_string().contains("the address is in use") => Ok(None),
                Err(failure) => Err(failure),
            }
        })
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
