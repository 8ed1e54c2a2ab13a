//! A `donetd` of the scenario's own: its configuration, its start, its end.
//!
//! Everything it writes lies in one temporary folder. The process is killed and the folder removed when the handles
//! drop, whatever happened before. It never touches a daemon that it did not start.

use crate::failure::{Failure, ensure};
use crate::wait::{self, PATIENCE};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of the log's end that a failure quotes.
const QUOTED_LOG_BYTES: usize = 4000;

/// The contract that scenarios play by.
pub const EXAMPLE_DC: &str = include_str!("../../config/example.dc");

/// The binary beside the running program: the same target folder.
///
/// # Errors
/// When there is none; the text says what to run.
pub fn find_donetd() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    // A test lies one folder deeper than a binary.
    for folder in own.ancestors().skip(1).take(2) {
        let candidate = folder.join("donetd");
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    Err(Failure::new(format!(
        "there is no donetd beside {}: run `cargo build --bin donetd` first, or name one with --donetd PATH",
        own.display()
    )))
}

/// What a daemon of a scenario is to be. [`Setup::new`] gives the usual one: all six roles, free ports, its own folder.
#[derive(Debug)]
pub struct Setup {
    folder: tempfile::TempDir,
    /// The number of executors.
    pub shards: usize,
    /// Where to listen. Port 0 lets the daemon choose; its banner says what it chose.
    pub message_director: String,
    pub client_agent: String,
    pub event_logger: String,
    /// The folder of the stored objects.
    pub database: PathBuf,
    /// The contract's text.
    pub contract: String,
    /// Passages of the configuration and what stands there instead, and lines behind everything: for configurations
    /// that are wrong on purpose.
    pub replace: Vec<(&'static str, String)>,
    pub after: String,
}

/// What both the configuration and the scenario must know.
pub mod numbers {
    use donet::wire::{Channel, Doid};
    use std::ops::RangeInclusive;

    pub const VERSION: &str = "session-1";
    pub const STATE_SERVER: Channel = 102_000;
    pub const DATABASE: Channel = 103_000;
    pub const LOGIN_MANAGER: Doid = 1234;
    pub const CLIENT_CHANNELS: RangeInclusive<Channel> = 1_000_000..=1_999_999;
    pub const STORED_DOIDS: RangeInclusive<Doid> = 100_000_000..=199_999_999;
}

/// An address for an Event Logger. It stands in the configuration twice, so it must be known before the start; and it
/// must still be free then, and once more when the daemon has been killed. So it comes from below the range that the
/// kernel hands out by itself, and from another part of that for every process and every call.
fn free_udp_address() -> Result<SocketAddr, Failure> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 10_000;
    static CALLS: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + std::process::id().wrapping_mul(61).wrapping_add(call) % COUNT;
        let port = u16::try_from(port).expect("ports below 30,000");
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            return Ok(socket.local_addr()?);
        }
    }
    Err(Failure::new(format!("no UDP port from {FIRST} on is free")))
}

impl Setup {
    /// # Errors
    /// When there is no temporary folder to be had.
    pub fn new(shards: usize) -> Result<Self, Failure> {
        let event_logger = free_udp_address()?;
        let folder = tempfile::Builder::new().prefix("donet-").tempdir()?;
        Ok(Self {
            database: folder.path().join("data"),
            folder,
            shards,
            message_director: "127.0.0.1:0".to_owned(),
            client_agent: "127.0.0.1:0".to_owned(),
            event_logger: event_logger.to_string(),
            contract: EXAMPLE_DC.to_owned(),
            replace: Vec::new(),
            after: String::new(),
        })
    }

    /// The folder that holds all of it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder().join("daemon.toml")
    }

    pub fn contract_path(&self) -> PathBuf {
        self.folder().join("example.dc")
    }

    pub fn database_path(&self) -> PathBuf {
        self.database.clone()
    }

    /// Where the Event Logger writes.
    pub fn events_path(&self) -> PathBuf {
        self.folder().join("events")
    }

    /// Where the daemon's standard error goes, over all its starts.
    pub fn log_path(&self) -> PathBuf {
        self.folder().join("donetd.log")
    }

    /// The text of the configuration.
    ///
    /// # Panics
    /// When a passage to be replaced is not there.
    pub fn config(&self) -> String {
        let Self { shards, message_director, client_agent, event_logger, replace, after, .. } = self;
        let (channel_min, channel_max) = numbers::CLIENT_CHANNELS.into_inner();
        let (generate_min, generate_max) = numbers::STORED_DOIDS.into_inner();
        let (version, uberdog) = (numbers::VERSION, numbers::LOGIN_MANAGER);
        let (state_server, database) = (numbers::STATE_SERVER, numbers::DATABASE);
        let directory = self.database.display();
        let config = format!(
            r#"[daemon]
name = "session"
log_level = "info"

[global]
eventlogger = "{event_logger}"
dc_files = ["example.dc"]

[shards]
count = {shards}
pin = false

[[uberdogs]]
id = {uberdog}
class = "LoginManager"
anonymous = true

[services.message_director]
bind = "{message_director}"

[services.client_agent]
bind = "{client_agent}"
version_string = "{version}"
channel_min = {channel_min}
channel_max = {channel_max}
relocate = true
interest_permission = "visible"
interest_timeout_ms = 20000

[services.state_server]
control_channel = {state_server}

[services.database_server]
control_channel = {database}
generate_min = {generate_min}
generate_max = {generate_max}
db_backend = "rocksdb"
[services.database_server.rocksdb]
directory = "{directory}"
durability = "sync"

[services.dbss]
db_channel = {database}
range_min = {generate_min}
range_max = {generate_max}

[services.event_logger]
bind = "{event_logger}"
output = "events"
{after}
"#
        );
        replace.iter().fold(config, |config, (passage, instead)| {
            assert!(config.contains(passage), "the configuration has no {passage:?}");
            config.replace(passage, instead)
        })
    }

    /// Writes configuration and contract into the folder.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn write(&self) -> Result<(), Failure> {
        fs::write(self.config_path(), self.config())?;
        fs::write(self.contract_path(), &self.contract)?;
        Ok(())
    }

    /// The command that starts a daemon with this setup: in the folder, nothing inherited but what it needs.
    ///
    /// # Errors
    /// When the log cannot be opened.
    pub fn command(&self, donetd: &Path) -> Result<Command, Failure> {
        // The command runs in another folder.
        let donetd = fs::canonicalize(donetd)
            .map_err(|error| Failure::new(format!("cannot start {}: {error}", donetd.display())))?;
        let mut command = Command::new(donetd);
        command.arg(self.config_path());
        self.prepare(&mut command)?;
        Ok(command)
    }

    /// Gives a command the folder, the log and the pipe that [`Daemon::wait_until_ready`] needs.
    ///
    /// # Errors
    /// As [`Setup::command`].
    pub fn prepare(&self, command: &mut Command) -> Result<(), Failure> {
        let log = File::options().create(true).append(true).open(self.log_path())?;
        command.current_dir(self.folder()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        Ok(())
    }

    /// Writes the files, starts the daemon and waits until it is ready.
    ///
    /// # Errors
    /// When it does not become ready; the text has the end of its log.
    pub fn start(&self, donetd: &Path) -> Result<Daemon, Failure> {
        self.write()?;
        let mut daemon = Daemon::spawn(self.command(donetd)?, self.log_path())?;
        daemon.wait_until_ready()?;
        Ok(daemon)
    }
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    /// The lines of its standard output; the sender is gone when the process is.
    output: Receiver<String>,
    /// What it has printed so far.
    banner: Vec<String>,
    addresses: BTreeMap<String, SocketAddr>,
    log: PathBuf,
}

impl Daemon {
    /// Starts a command made by [`Setup::command`] or [`Setup::prepare`].
    ///
    /// # Errors
    /// When there is no such program.
    pub fn spawn(mut command: Command, log: PathBuf) -> Result<Self, Failure> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command.spawn().map_err(|error| Failure::new(format!("cannot start {program}: {error}")))?;
        let pipe = child.stdout.take().ok_or_else(|| Failure::new("the standard output is not piped"))?;
        let (lines, output) = channel();
        // Ends with the pipe, which ends with the process.
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // Nobody listens any more when the handle has been dropped; reading on keeps the daemon unblocked.
                let _ = lines.send(line);
            }
        });
        Ok(Self { child, output, banner: Vec::new(), addresses: BTreeMap::new(), log })
    }

    /// Waits until the banner says `ready`, and learns the listeners' addresses from it.
    ///
    /// # Errors
    /// When the process ends before, or says nothing for too long.
    pub fn wait_until_ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    let mut words = line.split_whitespace();
                    match (words.next(), words.next(), words.next()) {
                        (Some("listening"), Some(role), Some(address)) => {
                            let address = address
                                .parse()
                                .map_err(|_| Failure::new(format!("the banner has no address here: {line}")))?;
                            // Several listeners of a role: the first is the one that scenarios use.
                            self.addresses.entry(role.to_owned()).or_insert(address);
                        }
                        (Some("ready"), ..) => return Ok(()),
                        _ => {}
                    }
                    self.banner.push(line);
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    return Err(self.failure(&format!("the daemon ended with {status} before it was ready")));
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(self.failure(&format!("the daemon was not ready within {PATIENCE:?}")));
                }
            }
        }
    }

    fn failure(&self, what: &str) -> Failure {
        Failure::new(format!("{what}\n  printed: {}\n  log:\n{}", self.banner.join(" | "), self.log_end()))
    }

    /// What it has logged so far, earlier lives in the same folder included.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of it, for failures.
    pub fn log_end(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(QUOTED_LOG_BYTES)..]).into_owned()
    }

    /// Waits until the log says something.
    ///
    /// # Errors
    /// When it does not; the text has its end.
    pub fn until_logged(&self, what: &str) -> Result<(), Failure> {
        let logged = wait::until(&format!("{what:?} in the log"), || Ok(self.log().contains(what)));
        logged.map_err(|failure| self.failure(&failure.to_string()))
    }

    /// Where a role listens, by its name in the configuration.
    ///
    /// # Errors
    /// When the banner did not name it.
    pub fn address(&self, role: &str) -> Result<SocketAddr, Failure> {
        let address = self.addresses.get(role).copied();
        address.ok_or_else(|| self.failure(&format!("the banner names no listener of {role}")))
    }

    /// The operating system's number of the process.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process still runs.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn is_running(&mut self) -> Result<bool, Failure> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).map_err(|error| Failure::new(format!("cannot signal the daemon: {error}")))
    }

    /// Waits for the end of the process. Its standard output ends with it.
    ///
    /// # Errors
    /// When it does not end in time; it is killed then.
    pub fn wait_for_end(&mut self, within: Duration) -> Result<ExitStatus, Failure> {
        let deadline = Instant::now() + within;
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => self.banner.push(line),
                Err(RecvTimeoutError::Disconnected) => return Ok(self.child.wait()?),
                Err(RecvTimeoutError::Timeout) => {
                    let failure = self.failure(&format!("the daemon did not end within {within:?}"));
                    self.child.kill()?;
                    self.child.wait()?;
                    return Err(failure);
                }
            }
        }
    }

    /// Ends the daemon in order: SIGTERM, then exit status 0.
    ///
    /// # Errors
    /// When it hangs or says that something went wrong.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.signal(Signal::TERM)?;
        let status = self.wait_for_end(PATIENCE)?;
        ensure(status.code() == Some(0), || {
            self.failure(&format!("the daemon ended with {status} after SIGTERM")).to_string()
        })
    }

    /// Kills the daemon where it stands: SIGKILL.
    ///
    /// # Errors
    /// When it was not running any more.
    pub fn kill(mut self) -> Result<(), Failure> {
        use std::os::unix::process::ExitStatusExt;
        self.child.kill()?;
        let status = self.wait_for_end(PATIENCE)?;
        ensure(status.signal() == Some(Signal::KILL.as_raw()), || {
            self.failure(&format!("the daemon had ended with {status} before it was killed")).to_string()
        })
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_one_that_the_daemon_accepts() {
        let setup = Setup::new(4).unwrap();
        setup.write().unwrap();
        let config = donet::config::parse(&setup.config_path(), &setup.config()).unwrap();
        assert_eq!(config.client_agents[0].version_string, numbers::VERSION);
        assert_eq!(config.database_servers[0].directory, setup.database_path());
        assert_eq!(config.event_loggers[0].output, setup.events_path());
    }
}
