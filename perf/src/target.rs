//! The server that a load drives: one that this program starts, the relay, or one that runs already.
//!
//! Decides where each side runs, so that the generator does not take the server's processor.

use crate::daemon::{Daemon, Setup, find_donetd};
use crate::failure::{Failure, ensure};
use crate::usage::{Usage, cpus_at_first, run_on};
use clap::Args;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Which server, and where it runs.
#[derive(Clone, Debug, Args)]
pub struct TargetArguments {
    /// A server that runs already: its Message Director.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["donetd", "shards", "relay"])]
    pub server: Option<String>,
    /// Its process on this machine, to sample what it uses; without it nothing is known of its processor time.
    #[arg(long, value_name = "PID", requires = "server")]
    pub pid: Option<u32>,
    /// The built-in relay, which only moves the bytes: the baseline.
    #[arg(long)]
    pub relay: bool,
    /// The daemon to start, instead of the one beside this program.
    #[arg(long, value_name = "PATH")]
    pub donetd: Option<PathBuf>,
    /// The number of its executors.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub shards: usize,
    /// The processor for a server that this program starts, or several (`0,1`); the generator takes the others. `none`
    /// binds neither.
    #[arg(long, value_name = "CPU", default_value = "first")]
    pub server_cpu: String,
}

impl Default for TargetArguments {
    fn default() -> Self {
        Self { server: None, pid: None, relay: false, donetd: None, shards: 1, server_cpu: "first".to_owned() }
    }
}

/// A server to drive. One that was started for it ends with it.
#[derive(Debug)]
pub struct Target {
    pub name: String,
    /// Of its Message Director.
    pub address: SocketAddr,
    /// Of its Client Agent, where that is known.
    pub client_agent: Option<SocketAddr>,
    /// How many executors it has, where that is known.
    pub shards: Option<usize>,
    /// The relay: there are no channels to subscribe to.
    pub is_relay: bool,
    process: Option<u32>,
    // Dropped in this order: the process before the folder that it writes to.
    _daemon: Option<Daemon>,
    _setup: Option<Setup>,
}

impl Target {
    /// Starts or names the server that the arguments say. `receivers` is what the relay must know.
    ///
    /// # Errors
    /// When it does not start, or its address cannot be resolved.
    pub fn start(arguments: &TargetArguments, receivers: usize) -> Result<Self, Failure> {
        Self::start_with(arguments, receivers, |_| ())
    }

    /// As [`Target::start`], with a change to the configuration of a daemon that it starts.
    ///
    /// # Errors
    /// As [`Target::start`].
    pub fn start_with(
        arguments: &TargetArguments,
        receivers: usize,
        change: impl FnOnce(&mut Setup),
    ) -> Result<Self, Failure> {
        if let Some(server) = &arguments.server {
            return Ok(Self {
                name: server.clone(),
                address: resolve(server)?,
                client_agent: None,
                shards: None,
                is_relay: false,
                process: arguments.pid,
                _daemon: None,
                _setup: None,
            });
        }
        let all = cpus_at_first()?;
        let split = split_cpus(&all, &arguments.server_cpu)?;
        // The child inherits what this thread is bound to.
        if let Some((server, _)) = &split {
            run_on(server)?;
        }
        let started = if arguments.relay { start_relay(receivers) } else { start_donetd(arguments, change) };
        run_on(split.as_ref().map_or(&all, |(_, own)| own))?;
        started
    }

    /// The address of its Message Director, for those who call the roles behind it.
    ///
    /// # Errors
    /// When there are none: it is the relay.
    pub(crate) fn with_roles(&self) -> Result<SocketAddr, Failure> {
        ensure(!self.is_relay, || "the relay has no roles to call".to_owned())?;
        Ok(self.address)
    }

    /// What the server's process has used so far; `None` where it is not known.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn usage(&self) -> Result<Option<Usage>, Failure> {
        self.process.map(Usage::of).transpose()
    }
}

/// An address for a name and a port.
///
/// # Errors
/// When there is none.
pub fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let addresses = address.to_socket_addrs();
    let mut addresses = addresses.map_err(|error| Failure::new(format!("{address}: {error}")))?;
    addresses.next().ok_or_else(|| Failure::new(format!("{address}: no address of that name")))
}

/// `(the server's processors, the generator's)`, or nothing to be bound.
type Split = Option<(Vec<usize>, Vec<usize>)>;

fn split_cpus(all: &[usize], server: &str) -> Result<Split, Failure> {
    let server: Vec<usize> = match server {
        "none" => return Ok(None),
        "first" => vec![*all.first().ok_or_else(|| Failure::new("there is no processor to run on"))?],
        numbers => numbers.split(',').map(|number| number.trim().parse()).collect::<Result<_, _>>().map_err(|_| {
            Failure::new(format!("--server-cpu takes numbers of processors, `first` or `none`, not {server:?}"))
        })?,
    };
    if let Some(foreign) = server.iter().find(|cpu| !all.contains(cpu)) {
        return Err(Failure::new(format!("processor {foreign} is none of those that this process may use: {all:?}")));
    }
    let own: Vec<usize> = all.iter().copied().filter(|cpu| !server.contains(cpu)).collect();
    // A single processor is shared.
    Ok((!own.is_empty()).then_some((server, own)))
}

fn start_donetd(arguments: &TargetArguments, change: impl FnOnce(&mut Setup)) -> Result<Target, Failure> {
    let donetd = arguments.donetd.clone().map_or_else(find_donetd, Ok)?;
    let mut setup = Setup::new(arguments.shards)?;
    // The load is the subject, not what it writes to the log.
    setup.replace.push(("log_level = \"info\"", "log_level = \"warn\"".to_owned()));
    change(&mut setup);
    let daemon = setup.start(&donetd)?;
    Ok(Target {
        name: "donetd".to_owned(),
        address: daemon.address("message_director")?,
        client_agent: Some(daemon.address("client_agent")?),
        shards: Some(arguments.shards),
        is_relay: false,
        process: Some(daemon.process_id()),
        _daemon: Some(daemon),
        _setup: Some(setup),
    })
}

fn start_relay(receivers: usize) -> Result<Target, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("relay").arg("--receivers").arg(receivers.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut daemon = Daemon::spawn(command, PathBuf::new())?;
    daemon.wait_until_ready()?;
    Ok(Target {
        name: "relay".to_owned(),
        address: daemon.address("relay")?,
        client_agent: None,
        shards: None,
        is_relay: true,
        process: Some(daemon.process_id()),
        _daemon: Some(daemon),
        _setup: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_has_its_processor_and_the_generator_the_rest() {
        assert_eq!(split_cpus(&[2, 3, 5], "first").unwrap(), Some((vec![2], vec![3, 5])));
        assert_eq!(split_cpus(&[2, 3, 5], "5").unwrap(), Some((vec![5], vec![2, 3])));
        assert_eq!(split_cpus(&[2, 3, 5, 6], "2,3").unwrap(), Some((vec![2, 3], vec![5, 6])));
        assert_eq!(split_cpus(&[2], "first").unwrap(), None);
        assert_eq!(split_cpus(&[2, 3], "none").unwrap(), None);
        assert!(split_cpus(&[2, 3], "4").is_err());
        assert!(split_cpus(&[2, 3], "all").is_err());
    }
}
