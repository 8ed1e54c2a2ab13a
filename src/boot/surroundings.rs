//! Whether this machine lets the daemon run: kernel, io_uring, locked memory, open files, ports.
//!
//! To be asked before anything is started. Each refusal says what is wrong and what to do about it. It raises limits
//! of this process where it may, and starts nothing. What an answer of the operating system means is decided by pure
//! functions beside those that ask.

use crate::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

/// Why the daemon cannot run here: what is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub String);

/// The oldest kernel with what the runtime uses of io_uring.
const KERNEL_MIN: (u32, u32) = (5, 13);
/// What the runtime insists on, whatever it locks. (Rings are charged to the limit on locked memory up to Linux 5.11 only.)
const MEMLOCK_BYTES_MIN: u64 = 512 << 10;
/// Open files apart from connections: the database's tables, logs, rings, listeners.
const OPEN_FILES_OF_ITS_OWN: u64 = 2048;

/// Asks everything that does not depend on ports. Returns what is worth a line in the log.
///
/// # Errors
/// [`Unfit`] with the first thing that is wrong.
pub fn check(config: &Config) -> Result<Vec<String>, Unfit> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    check_kernel(&release)?;
    check_memlock(raise(Resource::Memlock, MEMLOCK_BYTES_MIN))?;
    probe_io_uring()?;
    let files = raise(Resource::Nofile, open_files_wanted(config));
    Ok(open_files_short(config, files).into_iter().collect())
}

/// Version of a kernel release such as `6.1.0-18-amd64`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|character: char| !character.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn check_kernel(release: &str) -> Result<(), Unfit> {
    let (major, minor) = KERNEL_MIN;
    match kernel_version(release) {
        Some(version) if version >= KERNEL_MIN => Ok(()),
        Some(_) => Err(Unfit(format!(
            "the kernel is Linux {release}, and io_uring as donetd uses it came with {major}.{minor}; \
             run it on Linux {major}.{minor} or later"
        ))),
        None => {
            Err(Unfit(format!("the kernel calls itself `{release}`, which is no version of Linux; donetd needs Linux")))
        }
    }
}

/// `limit` is the limit in force, `None` for no limit.
fn check_memlock(limit: Option<u64>) -> Result<(), Unfit> {
    match limit {
        Some(limit) if limit < MEMLOCK_BYTES_MIN => Err(Unfit(format!(
            "this process may lock {} KiB of memory, and io_uring's runtime asks for {} KiB; raise the limit: \
             `ulimit -l {}` as root, LimitMEMLOCK= in a systemd unit, `--ulimit memlock=-1` with Docker, \
             or memlock in /etc/security/limits.conf",
            limit >> 10,
            MEMLOCK_BYTES_MIN >> 10,
            MEMLOCK_BYTES_MIN >> 10,
        ))),
        _ => Ok(()),
    }
}

/// Raises a limit of this process to `wanted` as far as it may be raised, never lowers it. The limit in force
/// afterwards; `None` is no limit.
fn raise(resource: Resource, wanted: u64) -> Option<u64> {
    let limit = getrlimit(resource);
    let current = limit.current?;
    if current >= wanted {
        return Some(current);
    }
    // Root may go beyond the hard limit; others get what it allows.
    let beyond = Rlimit { current: Some(wanted), maximum: limit.maximum.map(|maximum| maximum.max(wanted)) };
    let up_to = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    if setrlimit(resource, beyond).is_err() {
        let within = Rlimit { current: Some(up_to), maximum: limit.maximum };
        if let Err(error) = setrlimit(resource, within) {
            tracing::debug!(%error, ?resource, up_to, "a limit of this process could not be raised");
        }
    }
    getrlimit(resource).current
}

/// Open files for every client that the configured channels allow.
fn open_files_wanted(config: &Config) -> u64 {
    clients_max(config).saturating_add(OPEN_FILES_OF_ITS_OWN)
}

/// Client agents that name the same range share its channels.
fn clients_max(config: &Config) -> u64 {
    let ranges: BTreeSet<(u64, u64)> =
        config.client_agents.iter().map(|role| (*role.channels.start(), *role.channels.end())).collect();
    ranges.into_iter().map(|(low, high)| (high - low).saturating_add(1)).fold(0, u64::saturating_add)
}

fn open_files_short(config: &Config, limit: Option<u64>) -> Option<String> {
    let limit = limit.filter(|&limit| limit < open_files_wanted(config))?;
    Some(format!(
        "this process may open {limit} files: about {} connections at once, while the client channels allow {}; \
         for more raise the limit: `ulimit -n`, LimitNOFILE= in a systemd unit, or nofile in /etc/security/limits.conf",
        limit.saturating_sub(OPEN_FILES_OF_ITS_OWN),
        clients_max(config),
    ))
}

/// What else is known when io_uring is refused.
#[derive(Clone, Copy, Debug, Default)]
struct IoUringFacts {
    /// `kernel.io_uring_disabled`: 1 = for all but a group, 2 = for all.
    disabled: Option<u8>,
    /// A seccomp filter is on this process.
    filtered: bool,
}

/// Sets up a ring, as every executor will, and gives it back.
fn probe_io_uring() -> Result<(), Unfit> {
    match io_uring::IoUring::new(8) {
        Ok(_) => Ok(()),
        Err(error) => {
            let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            let facts = IoUringFacts {
                disabled: read("/proc/sys/kernel/io_uring_disabled").trim().parse().ok(),
                filtered: read("/proc/self/status")
                    .lines()
                    .any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() != "0")),
            };
            Err(Unfit(io_uring_refusal(&error, facts)))
        }
    }
}

fn io_uring_refusal(error: &io::Error, facts: IoUringFacts) -> String {
    const SECCOMP: &str = "a seccomp filter forbids io_uring to this process: allow io_uring_setup, io_uring_enter and \
         io_uring_register (Docker's default profile forbids them: run with `--security-opt \
         seccomp=config/seccomp.json`, a profile that allows them; systemd: SystemCallFilter=)";
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => match facts.disabled {
            Some(2) => {
                "io_uring is switched off on this machine: `sysctl kernel.io_uring_disabled=0` switches it on".into()
            }
            Some(1) => "io_uring is reserved for the group of kernel.io_uring_group on this machine: add the user of \
                 donetd to it, or `sysctl kernel.io_uring_disabled=0`"
                .into(),
            _ if facts.filtered => SECCOMP.into(),
            _ => format!(
                "io_uring is not permitted to this process ({error}): look for a security module or sandbox that forbids it"
            ),
        },
        Some(libc::ENOSYS) if facts.filtered => SECCOMP.into(),
        Some(libc::ENOSYS) => {
            "this kernel has no io_uring: run donetd on Linux 5.13 or later, built with CONFIG_IO_URING; \
             inside gVisor and similar sandboxes it is missing too"
                .into()
        }
        Some(libc::ENOMEM) => "there is no memory to lock for io_uring: raise the limit with `ulimit -l` as root, \
             LimitMEMLOCK= in a systemd unit or `--ulimit memlock=-1` with Docker, or free memory"
            .into(),
        Some(libc::EMFILE | libc::ENFILE) => {
            "no file descriptor is left for io_uring: raise the limit with `ulimit -n` or LimitNOFILE=".into()
        }
        _ => format!("io_uring cannot be used: {error}"),
    }
}

/// Connections that wait to be accepted; the system's net.core.somaxconn may allow fewer.
const BACKLOG: i32 = 4096;

/// How long an address in use is tried again: within the second that a refusal may take.
const LISTEN_RETRY: Duration = Duration::from_millis(600);

/// A non-blocking listening socket that shares its address with nobody. The runtime's own listeners would share theirs
/// (SO_REUSEPORT), and a second daemon could join in silently and take a part of the connections.
///
/// # Errors
/// [`Unfit`] naming the address and the remedy.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Unfit> {
    let listening = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        // Connections of a former daemon that are still winding down do not count; one that listens does.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok::<TcpListener, io::Error>(socket.into())
    };
    // The kernel closes the sockets of a killed process that used io_uring a moment after it has reaped it: a
    // supervisor that starts the next one at once must not be refused for that.
    let deadline = Instant::now() + LISTEN_RETRY;
    loop {
        match listening() {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < deadline => {
                std::thread::sleep(LISTEN_RETRY / 20);
            }
            Err(error) => return Err(Unfit(listen_refusal(address, &error))),
        }
    }
}

fn listen_refusal(address: SocketAddr, error: &io::Error) -> String {
    let port = address.port();
    let why = match error.raw_os_error() {
        Some(libc::EADDRINUSE) => {
            format!("the address is in use. Is another donetd running? `ss -ltnp 'sport = :{port}'` shows who has it")
        }
        Some(libc::EADDRNOTAVAIL) => {
            "no interface of this machine has that address; `ip address` shows those there are".into()
        }
        Some(libc::EACCES) => {
            format!("ports below 1024 need a privilege: choose one above {port}, or grant CAP_NET_BIND_SERVICE")
        }
        Some(libc::EAFNOSUPPORT) => "this machine has no IPv6; give an IPv4 address".into(),
        _ => error.to_string(),
    };
    format!("cannot listen on {address}: {why}")
}

#[cfg(test)]
mod tests;
