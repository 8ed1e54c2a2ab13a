//! Clients through TLS, WebSocket and proxies, each with a real counterpart at the other end: openssl, HAProxy, and a
//! WebSocket library of Python (`protocol-md-ca-el.md` §3.1, §3.3, §7).

#[path = "support/admin.rs"]
mod admin;
mod support;
#[path = "support/tls.rs"]
mod tls;

use donet::wire::{Encoder, message_type as t};
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use donet_perf::{Failure, wait};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tls::{Running, make_certificates, s_client};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// CLIENT_HELLO_RESP with its length.
const HELLO_RESP: [u8; 4] = [2, 0, 2, 0];

/// A daemon whose client agent has further keys and tables.
fn start(shards: usize, keys: &str, tables: &str) -> Result<(Setup, Daemon), Failure> {
    let mut setup = Setup::new(shards)?;
    setup.replace = vec![("relocate = true", format!("relocate = true\neject_linger_ms = 5000\n{keys}"))];
    setup.after = tables.to_owned();
    if tables.contains("tls") {
        make_certificates(setup.folder(), &["server", "client"]);
    }
    let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
    Ok((setup, daemon))
}

const TLS: &str = "[services.client_agent.tls]\ncertificate = \"server.crt\"\nkey_file = \"server.key\"\n";

fn hello() -> Vec<u8> {
    let hash = Names::parse("example.dc", EXAMPLE_DC).expect("the example's contract").hash();
    let hello = Encoder::client(t::CLIENT_HELLO).u32(hash).blob(numbers::VERSION.as_bytes());
    hello.finish().expect("fits").to_vec()
}

/// An interest is not for an anonymous client: eject 108.
fn forbidden() -> Vec<u8> {
    Encoder::client(t::CLIENT_ADD_INTEREST).u32(1).u16(1).u32(5000).u32(1).finish().expect("fits").to_vec()
}

/// Says hello, is answered, breaks a rule, and reads the eject and then the end.
fn play(mut into: impl Write, mut from: impl Read) {
    into.write_all(&hello()).and_then(|()| into.flush()).expect("sent");
    let mut answer = [0; 4];
    from.read_exact(&mut answer).expect("an answer to hello");
    assert_eq!(answer, HELLO_RESP);
    into.write_all(&forbidden()).and_then(|()| into.flush()).expect("sent");
    let mut rest = Vec::new();
    from.read_to_end(&mut rest).expect("the end in order");
    assert!(rest.len() > 8, "an eject with its reason: {rest:?}");
    assert_eq!(usize::from(u16::from_le_bytes([rest[0], rest[1]])), rest.len() - 2, "one frame and the end");
    assert_eq!(rest[2..6], [4, 0, 108, 0], "CLIENT_EJECT 108");
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the port listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// Waits for a condition, not for a time.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    wait::until(what, || Ok(is_so())).unwrap_or_else(|failure| panic!("{failure}"));
}

/// How many connections have ended, for whatever reason.
fn ended(daemon: &Daemon) -> u64 {
    admin::figure(daemon, "donet_closed_total", "").unwrap_or_else(|failure| panic!("{failure}"))
}

fn play_through(mut child: Running) {
    let (into, from) = (child.0.stdin.take().expect("piped"), child.0.stdout.take().expect("piped"));
    play(into, from);
}

#[test]
fn openssl_plays_over_tls_with_both_versions() -> Result<(), Failure> {
    if !support::has("openssl", "version") {
        support::skip("openssl_plays_over_tls_with_both_versions", "openssl");
        return Ok(());
    }
    let (setup, daemon) = start(2, "", TLS)?;
    let address = daemon.address("client_agent")?;
    for version in ["-tls1_2", "-tls1_3"] {
        play_through(s_client(setup.folder(), address, &[version]));
    }
    // What is no TLS costs its connection.
    let mut stream = connect(address);
    stream.write_all(&hello())?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(&HELLO_RESP));
    play_through(s_client(setup.folder(), address, &[]));
    daemon.stop()
}

#[test]
fn with_an_authority_only_its_clients_get_in() -> Result<(), Failure> {
    if !support::has("openssl", "version") {
        support::skip("with_an_authority_only_its_clients_get_in", "openssl");
        return Ok(());
    }
    let (setup, daemon) = start(2, "", &format!("{TLS}cert_authority = \"ca.crt\"\n"))?;
    let address = daemon.address("client_agent")?;
    for version in ["-tls1_2", "-tls1_3"] {
        let mut stranger = s_client(setup.folder(), address, &[version]);
        let mut into = stranger.0.stdin.take().expect("piped");
        let _ = into.write_all(&hello());
        let mut answer = Vec::new();
        stranger.0.stdout.take().expect("piped").read_to_end(&mut answer)?;
        assert!(answer.is_empty(), "a client without a certificate is told nothing: {answer:?}");
        play_through(s_client(setup.folder(), address, &[version, "-cert", "client.crt", "-key", "client.key"]));
    }
    let log = setup.log_path();
    daemon.stop()?;
    assert!(fs::read_to_string(log)?.contains("tls=2"), "counted by its reason");
    Ok(())
}

/// The name in the certificate that is shown.
fn shown_subject(folder: &Path, address: SocketAddr) -> String {
    let shown = Command::new("openssl")
        .current_dir(folder)
        .args(["s_client", "-connect", &address.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    text.lines().find(|line| line.starts_with("subject=")).unwrap_or_default().replace(' ', "")
}

#[test]
fn a_hangup_brings_new_certificates_and_bad_ones_change_nothing() -> Result<(), Failure> {
    if !support::has("openssl", "version") {
        support::skip("a_hangup_brings_new_certificates_and_bad_ones_change_nothing", "openssl");
        return Ok(());
    }
    let (setup, daemon) = start(2, "", TLS)?;
    let (folder, address) = (setup.folder(), daemon.address("client_agent")?);
    let hang_up = || {
        let status = Command::new("kill").args(["-HUP", &daemon.process_id().to_string()]).status();
        assert!(status.expect("kill runs").success());
    };
    assert_eq!(shown_subject(folder, address), "subject=CN=server");
    let mut before = s_client(folder, address, &[]);
    let mut into = before.0.stdin.take().expect("piped");
    into.write_all(&hello())?;
    let mut from = before.0.stdout.take().expect("piped");
    let mut answer = [0; 4];
    from.read_exact(&mut answer)?;

    for name in ["crt", "key"] {
        fs::copy(folder.join(format!("client.{name}")), folder.join(format!("server.{name}")))?;
    }
    hang_up();
    until("the new certificate", || shown_subject(folder, address) == "subject=CN=client");
    // Who was there stays.
    into.write_all(&forbidden())?;
    let mut rest = Vec::new();
    from.read_to_end(&mut rest)?;
    assert_eq!(rest[2..6], [4, 0, 108, 0]);

    fs::write(folder.join("server.crt"), "no certificate")?;
    hang_up();
    until("the refusal in the log", || {
        fs::read_to_string(setup.log_path()).is_ok_and(|log| log.contains("nothing was reloaded"))
    });
    assert_eq!(shown_subject(folder, address), "subject=CN=client");
    daemon.stop()
}

#[test]
fn a_certificate_that_cannot_be_used_stops_the_start() -> Result<(), Failure> {
    let mut setup = Setup::new(1)?;
    setup.after = TLS.to_owned();
    let failure =
        setup.start(Path::new(env!("CARGO_BIN_EXE_donetd"))).expect_err("there is no certificate").to_string();
    assert!(failure.contains("server.crt") && failure.contains("`certificate` names this file"), "{failure}");
    Ok(())
}

/// The Python that `make test-deps` puts into the target directory, with its WebSocket library.
fn python() -> Option<PathBuf> {
    // Tests run from `<target>/<profile>/deps/`.
    let test = std::env::current_exe().ok()?;
    let python = test.ancestors().nth(3)?.join("panda3d/bin/python");
    let found = Command::new(&python).args(["-c", "import websockets"]).output();
    found.is_ok_and(|output| output.status.success()).then_some(python)
}

const WEBSOCKET_CLIENT: &str = r#"
import ssl, sys
from websockets.sync.client import connect
from websockets.exceptions import ConnectionClosed
url, hello, forbidden = sys.argv[1], bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
context = ssl.create_default_context(cafile=sys.argv[4]) if url.startswith("wss") else None
def session(**more):
    return connect(url, ssl=context, open_timeout=120, close_timeout=120, compression=None, **more)
def closed_with(socket):
    try:
        while True:
            socket.recv(timeout=120)
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd else None

with session(subprotocols=["binary"]) as socket:
    assert socket.subprotocol == "binary", socket.subprotocol
    socket.send(hello)
    assert socket.recv(timeout=120) == b"\x02\x00"
    assert socket.ping(b"there?").wait(120), "no pong"
    socket.send([forbidden[:3], forbidden[3:]])   # fragments
    eject = socket.recv(timeout=120)
    assert eject[:4] == b"\x04\x00\x6c\x00", eject
    assert closed_with(socket) == 1000
with session() as socket:
    socket.send("text")
    assert closed_with(socket) == 1003
with session() as socket:
    socket.send(bytes(65536))
    assert closed_with(socket) == 1009
with session() as socket:
    socket.send(hello)
    assert socket.recv(timeout=120) == b"\x02\x00"
# The client has closed in order.
print("played")
"#;

fn play_websocket(python: &Path, url: &str, folder: &Path) {
    let hex = |frame: Vec<u8>| frame[2..].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let output = Command::new(python)
        .args(["-c", WEBSOCKET_CLIENT, url, &hex(hello()), &hex(forbidden())])
        .arg(folder.join("ca.crt"))
        .output()
        .expect("Python runs");
    assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_websocket_library_plays_with_and_without_tls() -> Result<(), Failure> {
    let Some(python) = python().filter(|_| support::has("openssl", "version")) else {
        support::skip("a_websocket_library_plays_with_and_without_tls", "Python with websockets, or openssl");
        return Ok(());
    };
    let (setup, daemon) = start(2, "transport = \"websocket\"", "")?;
    play_websocket(&python, &format!("ws://{}", daemon.address("client_agent")?), setup.folder());
    daemon.stop()?;
    let (setup, daemon) = start(2, "transport = \"websocket\"", TLS)?;
    let port = daemon.address("client_agent")?.port();
    play_websocket(&python, &format!("wss://localhost:{port}"), setup.folder());
    daemon.stop()
}

/// Lines of the Event Logger that hold all of these.
fn events_with(setup: &Setup, words: &[&str]) -> usize {
    let Ok(files) = fs::read_dir(setup.events_path()) else { return 0 };
    let text: String = files.flatten().filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
    text.lines().filter(|line| words.iter().all(|word| line.contains(word))).count()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn haproxy_tells_who_the_client_is_with_both_versions_and_ends_tls() -> Result<(), Failure> {
    if !(support::has("haproxy", "-v") && support::has("openssl", "version")) {
        support::skip("haproxy_tells_who_the_client_is_with_both_versions_and_ends_tls", "haproxy or openssl");
        return Ok(());
    }
    let (setup, daemon) = start(2, "haproxy = true", "[admin]\nbind = \"127.0.0.1:0\"\n")?;
    let (folder, address) = (setup.folder(), daemon.address("client_agent")?);
    make_certificates(folder, &["server"]);
    let pem = [fs::read(folder.join("server.crt"))?, fs::read(folder.join("server.key"))?].concat();
    fs::write(folder.join("server.pem"), pem)?;
    let ports: [u16; 3] = std::array::from_fn(|_| free_port());
    let [v1, v2, tls] = ports;
    let config = format!(
        "defaults\n mode tcp\n timeout connect 60s\n timeout client 120s\n timeout server 120s\n\
         listen v1\n bind 127.0.0.1:{v1}\n server donet {address} send-proxy\n\
         listen v2\n bind 127.0.0.1:{v2}\n server donet {address} send-proxy-v2 check inter 200ms\n\
         listen tls\n bind 127.0.0.1:{tls} ssl crt server.pem\n server donet {address} send-proxy-v2-ssl-cn\n"
    );
    fs::write(folder.join("haproxy.cfg"), config)?;
    let haproxy =
        Command::new("haproxy").current_dir(folder).args(["-db", "-f", "haproxy.cfg"]).stderr(Stdio::null()).spawn();
    let _haproxy = Running(haproxy?);
    for port in ports {
        until("HAProxy", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    for port in [v1, v2] {
        let stream = connect(([127, 0, 0, 1], port).into());
        let (own, reader) = (stream.local_addr()?, stream.try_clone()?);
        play(&stream, reader);
        let [remote, local] = [own.to_string(), format!("127.0.0.1:{port}")];
        until("the event with the client's own address", || {
            events_with(&setup, &["client-connected", &format!("\"{remote}\""), &format!("\"{local}\"")]) == 1
        });
    }
    play_through(s_client(folder, ([127, 0, 0, 1], tls).into(), &[]));
    // HAProxy looks again and again whether we are there (LOCAL): that is no client, and nobody is connected to our own
    // address.
    let before = ended(&daemon);
    until("three more looks of HAProxy", || ended(&daemon) >= before + 3);

    // Whoever comes without a header is no client of the proxy.
    let mut stream = connect(address);
    stream.write_all(&hello())?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{answer:?}");
    assert_eq!(events_with(&setup, &["client-connected", &format!("\"local_address\":\"{address}\"")]), 0);
    assert!(events_with(&setup, &["client-connected", "\"local_address\":"]) >= 3, "so events look");
    daemon.stop()
}

/// Waits for the end of a connection, and says something whenever it has not come for so long. What was read.
fn read_to_the_end<'a>(stream: &mut TcpStream, pace: Duration, mut say: impl FnMut() -> &'a [u8]) -> Vec<u8> {
    let (mut read, mut piece) = (Vec::new(), [0; 1024]);
    let begin = Instant::now();
    stream.set_read_timeout(Some(pace)).expect("not zero");
    while begin.elapsed() < PATIENCE {
        match stream.read(&mut piece) {
            Ok(0) => return read,
            Ok(bytes) => read.extend_from_slice(&piece[..bytes]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let _ = stream.write_all(say());
            }
            // A reset.
            Err(_) => return read,
        }
    }
    panic!("the connection goes on; so far it said {read:?}");
}

#[test]
fn who_is_slow_at_any_stage_is_let_go_and_costs_others_nothing() -> Result<(), Failure> {
    let slow = |keys: &str, tables: &str, begin: &[u8], reason: &str| -> Result<(), Failure> {
        let keys = format!("proxy_timeout_ms = 300\nhandshake_timeout_ms = 300\nauth_timeout_ms = 0\n{keys}");
        let (setup, daemon) = start(2, &keys, tables)?;
        let address = daemon.address("client_agent")?;
        let mut slow: Vec<TcpStream> = (0..20).map(|_| connect(address)).collect();
        // A byte now and then does not help.
        std::thread::scope(|scope| {
            for stream in &mut slow {
                let mut pieces = begin.chunks(1);
                let say = move || pieces.next().unwrap_or_default();
                scope.spawn(move || read_to_the_end(stream, Duration::from_millis(20), say));
            }
        });
        daemon.stop()?;
        let log = fs::read_to_string(setup.log_path())?;
        // Each executor's last line; it may have been asked for more than once.
        let of_shard = |shard: usize| log.lines().rfind(|line| line.ends_with(&format!(" shard={shard}")));
        let counted: usize = (0..2)
            .filter_map(of_shard)
            .flat_map(str::split_whitespace)
            .filter_map(|word| word.strip_prefix(&format!("{reason}=")))
            .filter_map(|number| number.parse::<usize>().ok())
            .sum();
        assert_eq!(counted, 20, "{reason} is not the reason:\n{log}");
        Ok(())
    };
    slow("haproxy = true", "", b"PROXY TCP4", "handshake_timeout")?;
    slow("transport = \"websocket\"", "", b"GET / HTTP/1.1\r\n", "handshake_timeout")?;
    slow("", "[services.client_agent.limits]\nhello_timeout_ms = 300\n", &[9, 0, 1], "hello_timeout")?;
    slow("", "[services.client_agent.limits]\nidle_timeout_ms = 300\n", &[], "idle")?;
    if support::has("openssl", "version") {
        slow("", TLS, &[0x16, 3, 1], "handshake_timeout")?;
    }
    // Logged in half: a hello, and then nothing but heartbeats.
    let (_setup, daemon) = start(2, "auth_timeout_ms = 300", "")?;
    let mut stream = connect(daemon.address("client_agent")?);
    stream.write_all(&hello())?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    let rest = read_to_the_end(&mut stream, Duration::from_millis(50), || &[2, 0, 5, 0]);
    assert_eq!(rest[2..6], [4, 0, 1, 0], "eject 1: {rest:?}");
    daemon.stop()
}

#[test]
fn limits_of_a_connection_and_of_an_address_end_it_with_a_reason() -> Result<(), Failure> {
    let limits = "[services.client_agent.limits]\nmessages_per_second = 100\nbytes_per_second = 100_000\n\
        connections_per_address = 4\n";
    let (setup, daemon) = start(2, "", limits)?;
    let address = daemon.address("client_agent")?;
    let ejected = |mut stream: TcpStream| {
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("the end in order");
        assert_eq!(said[2..6], [4, 0, 1, 0], "{said:?}");
        String::from_utf8_lossy(&said[8..]).into_owned()
    };
    let greeted = || {
        let mut stream = connect(address);
        stream.write_all(&hello()).expect("sent");
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).expect("an answer");
        stream
    };
    // Valid updates of an anonymous uberdog, faster than they may come.
    let names = Names::parse("example.dc", EXAMPLE_DC)?;
    let login = names.field("LoginManager", "login")?;
    let update = |text: &[u8]| {
        let message = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).u32(numbers::LOGIN_MANAGER).u16(login.0);
        message.blob(text).blob(b"").finish().expect("fits").to_vec()
    };
    let mut flood = greeted();
    let _ = flood.write_all(&update(b"x").repeat(5_000));
    assert!(ejected(flood).contains("messages per second"));
    let mut flood = greeted();
    let _ = flood.write_all(&update(&[b'x'; 30_000]).repeat(200));
    assert!(ejected(flood).contains("bytes per second"));
    // Heartbeats are no messages.
    let mut beating = greeted();
    beating.write_all(&[2, 0, 5, 0].repeat(20_000))?;
    beating.write_all(&forbidden())?;
    let mut said = Vec::new();
    beating.read_to_end(&mut said)?;
    assert_eq!(said[2..6], [4, 0, 108, 0]);
    drop(beating);

    let mut open = Vec::new();
    until("four connections", || {
        while open.len() < 4 {
            let mut stream = connect(address);
            stream.write_all(&hello()).expect("sent");
            let mut answer = [0; 4];
            match stream.read_exact(&mut answer) {
                Ok(()) if answer == HELLO_RESP => open.push(stream),
                _ => return false,
            }
        }
        true
    });
    assert!(ejected(connect(address)).contains("too many connections"));
    drop(open.pop());
    until("room for another", || {
        let mut stream = connect(address);
        let mut answer = [0; 4];
        stream.write_all(&hello()).is_ok() && stream.read_exact(&mut answer).is_ok() && answer == HELLO_RESP
    });
    daemon.stop()?;
    let log = fs::read_to_string(setup.log_path())?;
    for reason in ["too_many_messages=1", "too_many_bytes=1", "too_many_connections="] {
        assert!(log.contains(reason), "{reason} is not counted");
    }
    Ok(())
}

#[test]
fn connections_that_never_say_hello_are_bounded() -> Result<(), Failure> {
    let (_setup, daemon) = start(2, "", "[services.client_agent.limits]\nhandshakes = 10\n")?;
    let address = daemon.address("client_agent")?;
    let mut silent: Vec<TcpStream> = (0..10).map(|_| connect(address)).collect();
    let is_refused = || {
        let mut stream = connect(address);
        let _ = stream.write_all(&hello());
        // An answer, or the end.
        stream.read_exact(&mut [0; 4]).is_err()
    };
    until("the eleventh to be refused", is_refused);
    // One says hello and makes room.
    let mut first = silent.pop().expect("ten of them");
    first.write_all(&hello())?;
    let mut answer = [0; 4];
    first.read_exact(&mut answer)?;
    until("room for another", || !is_refused());
    daemon.stop()
}

fn resident_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its size");
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number")
}

#[test]
fn port_scans_and_drops_leave_nothing_behind() -> Result<(), Failure> {
    let (_setup, daemon) = start(2, "", "")?;
    let address = daemon.address("client_agent")?;
    let served = || {
        let stream = connect(address);
        let reader = stream.try_clone().expect("a handle");
        play(stream, reader);
    };
    let round = || {
        for number in 0..2000 {
            let mut stream = connect(address);
            match number % 4 {
                // A scan: connected and gone.
                0 => {}
                1 => {
                    let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
                }
                2 => {
                    let _ = stream.write_all(&hello());
                }
                // Gone with a reset.
                _ => {
                    let _ = stream.write_all(&[0xFF; 3]);
                    let socket = socket2::SockRef::from(&stream);
                    let _ = socket.set_linger(Some(Duration::ZERO));
                }
            }
        }
    };
    round();
    served();
    let before_kib = resident_kib(daemon.process_id());
    for _ in 0..4 {
        round();
    }
    served();
    let after_kib = resident_kib(daemon.process_id());
    // As much as 8,000 idle clients that were never let go.
    assert!(after_kib < before_kib + 32 * 1024, "{before_kib} KiB before, {after_kib} KiB after");
    daemon.stop()
}
