//! Surroundings in which the daemon cannot work: it says what is wrong and where, ends by itself, and with a status
//! that a service manager takes for a failure.

mod support;

use donet_perf::daemon::{Daemon, Setup};
use donet_perf::{Failure, wait};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DONETD: &str = env!("CARGO_BIN_EXE_donetd");

/// Ends what hangs, on however busy a machine.
const REFUSED_WITHIN: Duration = wait::PATIENCE;

/// Runs a command that must refuse to start, and returns what it says.
fn refusal(setup: &Setup, command: Command) -> Result<String, Failure> {
    // The handle kills what hangs, and says so.
    let mut daemon = Daemon::spawn(command, setup.log_path())?;
    let status = daemon.wait_for_end(REFUSED_WITHIN)?;
    let text = std::fs::read_to_string(setup.log_path())?;
    assert_eq!(status.signal(), None, "it was killed by a signal; it says: {text}");
    assert!(!status.success(), "it ended with {status}; it says: {text}");
    assert!(!text.contains("panicked"), "a refusal is no panic: {text}");
    Ok(text)
}

/// Writes the setup and runs the daemon on it, which must refuse and name all of this.
fn is_refused(setup: &Setup, names: &[&str]) -> Result<(), Failure> {
    setup.write()?;
    let text = refusal(setup, setup.command(Path::new(DONETD))?)?;
    assert_names(&text, names);
    Ok(())
}

fn assert_names(text: &str, names: &[&str]) {
    for name in names {
        assert!(text.to_lowercase().contains(&name.to_lowercase()), "{name:?} is missing in: {text}");
    }
}

/// The line on which a text stands in another, from 1.
fn line_of(text: &str, part: &str) -> String {
    let (before, _) = text.split_once(part).unwrap_or_else(|| panic!("{part:?} is not there"));
    (before.matches('\n').count() + 1).to_string()
}

#[test]
fn when_the_port_of_links_is_taken() -> Result<(), Failure> {
    let taken = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let _holder = TcpListener::bind(taken)?;
    let mut setup = Setup::new(2)?;
    setup.message_director = taken.to_string();
    is_refused(&setup, &[&taken.to_string(), "in use", "message_director"])
}

#[test]
fn when_the_port_of_clients_is_taken() -> Result<(), Failure> {
    let holder = TcpListener::bind("127.0.0.1:0")?;
    let taken = holder.local_addr()?;
    let mut setup = Setup::new(1)?;
    setup.client_agent = taken.to_string();
    is_refused(&setup, &[&taken.to_string(), "in use", "client_agent"])
}

#[test]
fn when_the_port_of_events_is_taken() -> Result<(), Failure> {
    let holder = UdpSocket::bind("127.0.0.1:0")?;
    let taken = holder.local_addr()?;
    let mut setup = Setup::new(1)?;
    setup.event_logger = taken.to_string();
    is_refused(&setup, &[&taken.to_string(), "in use", "event_logger"])
}

#[test]
fn when_another_daemon_has_the_database() -> Result<(), Failure> {
    let first = Setup::new(1)?;
    let daemon = first.start(Path::new(DONETD))?;
    let mut second = Setup::new(1)?;
    second.database = first.database_path();
    let holder = format!("process {}", daemon.process_id());
    is_refused(&second, &[&first.database_path().to_string_lossy(), "already open", &holder, "stop that process"])?;
    // The first one is not disturbed by it.
    daemon.stop()
}

#[test]
fn when_a_key_is_misspelt() -> Result<(), Failure> {
    let mut setup = Setup::new(1)?;
    setup.replace.push(("log_level", "log_levle".to_owned()));
    let line = line_of(&setup.config(), "log_levle");
    is_refused(&setup, &[&format!("daemon.toml:{line}:"), "log_levle", "log_level"])
}

#[test]
fn when_a_table_is_misspelt() -> Result<(), Failure> {
    let mut setup = Setup::new(1)?;
    setup.after = "[services.clientagent]\nbind = \"127.0.0.1:0\"".to_owned();
    let line = line_of(&setup.config(), "clientagent");
    is_refused(&setup, &[&format!("daemon.toml:{line}:"), "clientagent", "client_agent"])
}

#[test]
fn when_a_value_is_out_of_range() -> Result<(), Failure> {
    let mut setup = Setup::new(1)?;
    setup.after = "[[uberdogs]]\nid = 999\nclass = \"LoginManager\"".to_owned();
    is_refused(&setup, &["daemon.toml", "999"])
}

#[test]
fn when_the_contract_has_a_syntax_error() -> Result<(), Failure> {
    let mut setup = Setup::new(1)?;
    setup.contract.push_str("\ndclass Broken {\n  setIt(uint8) oops;\n};\n");
    let line = line_of(&setup.contract, "oops");
    is_refused(&setup, &[&format!("example.dc:{line}:"), "oops"])
}

#[test]
fn when_an_uberdog_has_an_unknown_class() -> Result<(), Failure> {
    let mut setup = Setup::new(1)?;
    setup.after = "[[uberdogs]]\nid = 4242\nclass = \"Nobody\"".to_owned();
    is_refused(&setup, &["4242", "Nobody"])
}

#[test]
fn when_the_contract_is_missing() -> Result<(), Failure> {
    let setup = Setup::new(1)?;
    setup.write()?;
    std::fs::remove_file(setup.contract_path())?;
    let text = refusal(&setup, setup.command(Path::new(DONETD))?)?;
    assert_names(&text, &["example.dc", "no such file"]);
    Ok(())
}

#[test]
fn when_the_configuration_is_missing() -> Result<(), Failure> {
    let setup = Setup::new(1)?;
    let text = refusal(&setup, setup.command(Path::new(DONETD))?)?;
    assert_names(&text, &["daemon.toml", "no such file"]);
    Ok(())
}

#[test]
fn when_a_name_does_not_resolve() -> Result<(), Failure> {
    let mut setup = Setup::new(1)?;
    // Reserved for names that never exist (RFC 6761).
    setup.message_director = "no-such-host.invalid:7199".to_owned();
    is_refused(&setup, &["no-such-host.invalid", "message_director"])
}

/// Starts what follows it on the command line in a process that gets EPERM from io_uring_setup: as in a container
/// with the usual seccomp profile.
const WITHOUT_IO_URING: &str = r#"
import ctypes, os, struct, sys
SYSCALL, ERRNO_EPERM, ALLOW = 425, 0x00050001, 0x7fff0000
def step(code, k, jump_true=0, jump_false=0):
    return struct.pack("HBBI", code, jump_true, jump_false, k)
program = (step(0x20, 0)                      # load the number of the system call
           + step(0x15, SYSCALL, 0, 1)        # another one? skip the next
           + step(0x06, ERRNO_EPERM) + step(0x06, ALLOW))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
steps = ctypes.create_string_buffer(program, len(program))
filter = Program(len(program) // 8, ctypes.cast(steps, ctypes.c_void_p))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter), 0, 0):
    sys.stderr.write("no filter: errno %d\n" % ctypes.get_errno())
    sys.exit(99)
os.execv(sys.argv[1], sys.argv[1:])
"#;

fn is_there(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn when_io_uring_is_not_permitted() -> Result<(), Failure> {
    if !is_there("python3") {
        support::skip("when_io_uring_is_not_permitted", "python3");
        return Ok(());
    }
    let setup = Setup::new(2)?;
    setup.write()?;
    let mut command = Command::new("python3");
    command.args(["-c", WITHOUT_IO_URING, DONETD]).arg(setup.config_path());
    setup.prepare(&mut command)?;
    let text = refusal(&setup, command)?;
    assert!(!text.contains("no filter"), "the filter could not be installed: {text}");
    assert_names(&text, &["io_uring", "seccomp"]);
    Ok(())
}

#[test]
fn when_memlock_is_too_low() -> Result<(), Failure> {
    if !is_there("prlimit") || !is_there("setpriv") {
        support::skip("when_memlock_is_too_low", "prlimit or setpriv");
        return Ok(());
    }
    let setup = Setup::new(2)?;
    setup.write()?;
    // Without the capabilities that lift the limit.
    let mut command = Command::new("setpriv");
    let without = "-ipc_lock,-sys_resource";
    command.args(["--no-new-privs", "--bounding-set", without, "--inh-caps", without]);
    command.args(["prlimit", "--memlock=4096:4096", DONETD]).arg(setup.config_path());
    setup.prepare(&mut command)?;
    let text = refusal(&setup, command)?;
    assert_names(&text, &["memlock"]);
    Ok(())
}
