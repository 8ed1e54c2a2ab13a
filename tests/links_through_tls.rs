//! Links of Message Directors through mutual TLS: daemons of a tree among themselves, and the `openssl` command as a peer
//! that does everything that one may do wrong.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/counted.rs"]
mod counted;
mod support;
#[path = "support/tls.rs"]
mod tls;

use cluster::Node;
use counted::counted;
use donet::wire::{Datagram, Encoder, MessageType, message_type as t, next_frame};
use donet_perf::daemon::Setup;
use donet_perf::internal::Internal;
use donet_perf::message::{Message, Payload};
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command};
use tls::{Running, make_certificates, s_client};

const NOTE: MessageType = MessageType(4321);
const LISTENER: u64 = 70_000;

/// Certificates of one authority for two names, and those of another authority below `other`.
struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// None where there is no `openssl`.
    fn new(test: &str) -> Option<Self> {
        if !support::has("openssl", "version") {
            support::skip(test, "openssl");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        make_certificates(folder.path(), &["daemon", "peer"]);
        fs::create_dir(folder.path().join("other")).expect("a folder");
        make_certificates(&folder.path().join("other"), &["peer"]);
        Some(Self { folder })
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The tables of a message director, with the files of one name.
    fn director(&self, upstream: Option<SocketAddr>, keys: &str, name: &str, tls: &str) -> String {
        let upstream = upstream.map_or(String::new(), |upstream| format!("upstream = \"{upstream}\"\n"));
        let path = |file: &str| self.folder().join(file).display().to_string();
        format!(
            "[services.message_director]\nbind = \"127.0.0.1:0\"\n{upstream}{keys}\n[services.message_director.tls]\n\
             certificate = \"{}\"\nkey_file = \"{}\"\ncert_authority = \"{}\"\n{tls}\n",
            path(&format!("{name}.crt")),
            path(&format!("{name}.key")),
            path("ca.crt"),
        )
    }

    /// A daemon that everybody must speak TLS to.
    fn root(&self, shards: usize, keys: &str, tls: &str) -> Result<Node, Failure> {
        Node::start(shards, &self.director(None, keys, "daemon", tls))
    }

    /// A daemon below it, to which this machine's processes speak plain TCP.
    fn leaf(&self, shards: usize, root: &Node, keys: &str) -> Result<Node, Failure> {
        let upstream = Some(root.director());
        Node::start(shards, &self.director(upstream, keys, "peer", "plain_from = [\"127.0.0.0/8\"]"))
    }

    /// A link with a good certificate.
    fn link(&self, address: SocketAddr) -> OpensslLink {
        OpensslLink::new(s_client(self.folder(), address, &["-cert", "peer.crt", "-key", "peer.key", "-nocommands"]))
    }
}

/// A link whose other end is the `openssl` command.
struct OpensslLink {
    into: Option<ChildStdin>,
    from: ChildStdout,
    bytes: Vec<u8>,
    _process: Running,
}

impl OpensslLink {
    fn new(mut process: Running) -> Self {
        let (into, from) = (process.0.stdin.take(), process.0.stdout.take().expect("piped"));
        Self { into, from, bytes: Vec::new(), _process: process }
    }

    fn send(&mut self, bytes: &[u8]) {
        let into = self.into.as_mut().expect("not ended");
        // Where the daemon has refused it, openssl has ended.
        let _ = into.write_all(bytes).and_then(|()| into.flush());
    }

    /// The numbers of the notes that come next.
    fn notes(&mut self, count: usize) -> Vec<u32> {
        let mut numbers = Vec::new();
        let mut chunk = vec![0; 1 << 16];
        while numbers.len() < count {
            if let Some((body, length)) = next_frame(&self.bytes) {
                let datagram = Datagram::from_body(body).expect("well-formed");
                let (_, message_type, mut payload) = datagram.message().expect("well-formed");
                if message_type == NOTE {
                    numbers.push(payload.u32().expect("a number"));
                }
                self.bytes.drain(..length);
                continue;
            }
            let read = self.from.read(&mut chunk).expect("it reads");
            assert!(read > 0, "the end came after {} of {count} notes", numbers.len());
            self.bytes.extend_from_slice(&chunk[..read]);
        }
        numbers
    }

    fn until_end(mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.bytes);
        self.from.read_to_end(&mut rest).expect("it reads");
        rest
    }
}

fn note(recipient: u64, number: u32, more: &[u8]) -> Vec<u8> {
    Encoder::internal(&[recipient], 9, NOTE).u32(number).bytes(more).finish().expect("it fits").to_vec()
}

fn subscription(channel: u64) -> Vec<u8> {
    Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel).finish().expect("it fits").to_vec()
}

fn log_of(node: Node) -> Result<String, Failure> {
    let path = node.setup.log_path();
    node.daemon.stop()?;
    Ok(fs::read_to_string(path)?)
}

#[test]
fn daemons_joined_by_mutual_tls_play_as_one() -> Result<(), Failure> {
    let Some(certificates) = Certificates::new("daemons_joined_by_mutual_tls_play_as_one") else { return Ok(()) };
    const NOTES: u32 = 20_000;
    for shards in [1, 4] {
        let root = certificates.root(shards, "", "")?;
        let left = certificates.leaf(shards, &root, "")?;
        let right = certificates.leaf(shards, &root, "")?;
        let hub = Hub::new(wait::PATIENCE)?;
        let here = Internal::connect(&hub, "left", left.director(), LISTENER)?;
        let there = Internal::connect(&hub, "right", right.director(), LISTENER + 1)?;
        here.until_heard(&there, LISTENER + 1)?;
        there.until_heard(&here, LISTENER)?;
        // Many small ones, and the largest that there are.
        for number in 0..NOTES {
            let more = if number % 1000 == 999 { vec![7; 65_000] } else { Vec::new() };
            for (speaker, listener) in [(&here, &there), (&there, &here)] {
                speaker.publish(&[listener.channel()], NOTE, &Payload::new().u32(number).bytes(&more));
            }
        }
        for number in 0..NOTES {
            for listener in [&here, &there] {
                let is_it = |message: &Message| message.payload()[..4] == number.to_le_bytes();
                let came = listener.expect(&format!("note {number}"), is_it)?;
                assert_eq!(came.payload().len(), if number % 1000 == 999 { 65_004 } else { 4 });
            }
        }
        // Whoever dies leaves its post-removes to the root.
        here.post_remove(LISTENER, &[there.channel()], NOTE, &Payload::new().u32(NOTES));
        here.publish(&[there.channel()], NOTE, &Payload::new().u32(NOTES + 1));
        there.expect("what follows the post-remove", |message| message.payload() == (NOTES + 1).to_le_bytes())?;
        left.daemon.kill()?;
        there.expect("the post-remove", |message| message.payload() == NOTES.to_le_bytes())?;
        right.daemon.stop()?;
        let log = log_of(root)?;
        assert_eq!(log.matches("link opened").count(), 2, "{log}");
        assert_eq!(log.matches("tls=true").count(), 2, "{log}");
    }
    Ok(())
}

#[test]
fn what_waits_behind_a_subscription_keeps_its_place_and_comes_before_the_end() -> Result<(), Failure> {
    let test = "what_waits_behind_a_subscription_keeps_its_place_and_comes_before_the_end";
    let Some(certificates) = Certificates::new(test) else { return Ok(()) };
    const NOTES: u32 = 2000;
    for shards in [1, 4] {
        let root = certificates.root(shards, "", "")?;
        let mut listener = certificates.link(root.director());
        listener.send(&subscription(LISTENER));
        // It says goodbye when it has been told everything.
        let arguments = ["-cert", "peer.crt", "-key", "peer.key", "-no_ign_eof", "-nocommands"];
        let mut speaker = OpensslLink::new(s_client(certificates.folder(), root.director(), &arguments));
        wait::until("the listener to be heard of", || {
            speaker.send(&note(LISTENER, u32::MAX, b""));
            // Its answer is what it hears: openssl's pipe is read without waiting for more.
            Ok(rustix::io::ioctl_fionread(&listener.from).map_err(std::io::Error::from)? > 0)
        })?;
        // All of it is in few reads of the daemon: every other frame is a subscription that the next waits for.
        let mut burst = Encoder::control(t::CONTROL_ADD_POST_REMOVE)
            .channel(1)
            .blob(&note(LISTENER, NOTES, b"")[2..])
            .finish()
            .expect("it fits")
            .to_vec();
        for number in 0..NOTES {
            burst.extend(subscription(100_000 + u64::from(number)));
            burst.extend(note(LISTENER, number, b""));
        }
        speaker.send(&burst);
        speaker.into = None;
        let mut came = Vec::new();
        while came.last() != Some(&NOTES) {
            came.extend(listener.notes(1));
        }
        came.retain(|&number| number != u32::MAX);
        assert_eq!(came, (0..=NOTES).collect::<Vec<u32>>(), "{shards} executors");
        drop(listener);
        root.daemon.stop()?;
    }
    Ok(())
}

#[test]
fn who_has_no_good_certificate_is_refused_with_a_reason_and_costs_nobody_else_anything() -> Result<(), Failure> {
    let test = "who_has_no_good_certificate_is_refused_with_a_reason_and_costs_nobody_else_anything";
    let Some(certificates) = Certificates::new(test) else { return Ok(()) };
    for shards in [1, 4] {
        // Long enough for whoever shakes hands on a busy machine.
        let root = certificates.root(shards, "", "handshake_timeout_ms = 8000")?;
        let address = root.director();
        let mut listener = certificates.link(address);
        listener.send(&subscription(LISTENER));
        let silent = TcpStream::connect(address)?;
        silent.set_read_timeout(Some(wait::PATIENCE))?;
        let strangers = ["-tls1_2", "-tls1_3"].map(|version| {
            let stranger = s_client(certificates.folder(), address, &[version]);
            let other = ["-cert", "other/peer.crt", "-key", "other/peer.key", version];
            [stranger, s_client(certificates.folder(), address, &other)]
        });
        for stranger in strangers.into_iter().flatten() {
            let mut stranger = OpensslLink::new(stranger);
            stranger.send(&note(LISTENER, 666, b""));
            assert_eq!(stranger.until_end(), b"", "a stranger is told nothing");
        }
        let mut plain = TcpStream::connect(address)?;
        plain.set_read_timeout(Some(wait::PATIENCE))?;
        plain.write_all(&note(LISTENER, 666, b""))?;
        // An alert, and the end.
        let _ = plain.read_to_end(&mut Vec::new());
        // Who says nothing at all is not waited for.
        let _ = (&silent).read_to_end(&mut Vec::new());
        // A good one that goes bad: noise instead of a record, behind a handshake.
        let mut speaker = certificates.link(address);
        wait::until("the listener to be heard of", || {
            speaker.send(&note(LISTENER, 1, b""));
            Ok(rustix::io::ioctl_fionread(&listener.from).map_err(std::io::Error::from)? > 0)
        })?;
        speaker.send(&note(LISTENER, 2, b""));
        while listener.notes(1) != [2] {}
        drop((listener, speaker));
        let log = log_of(root)?;
        assert_eq!((counted(&log, "tls"), counted(&log, "handshake_timeout")), (5, 1), "{log}");
        let refusals: Vec<&str> = log.lines().filter(|line| line.contains("link refused")).collect();
        assert_eq!(refusals.len(), 6, "{log}");
        for what in
            ["reason=\"tls\"", "reason=\"handshake_timeout\"", "peer sent no certificates", "invalid peer certificate"]
        {
            assert!(refusals.iter().any(|line| line.contains(what)), "{what}: {refusals:#?}");
        }
        assert_eq!(log.matches("link opened").count(), 2, "{log}");
        assert!(!log.contains("panicked"), "{log}");
    }
    Ok(())
}

#[test]
fn an_upstream_that_cannot_prove_its_name_is_not_believed() -> Result<(), Failure> {
    let Some(certificates) = Certificates::new("an_upstream_that_cannot_prove_its_name_is_not_believed") else {
        return Ok(());
    };
    let root = certificates.root(2, "", "")?;
    let plain = Node::start(1, "[services.message_director]\nbind = \"127.0.0.1:0\"\n")?;
    let refused = |services: &str, what: &[&str]| -> Result<(), Failure> {
        let setup = Setup::new(2)?;
        let mut leaf = Node::spawn(&setup, services)?;
        assert_eq!(leaf.wait_for_end(wait::PATIENCE)?.code(), Some(1));
        let log = fs::read_to_string(setup.log_path())?;
        what.iter().for_each(|what| assert!(log.contains(what), "{what}: {log}"));
        Ok(())
    };
    let upstream = Some(root.director());
    let named = |name: &str| certificates.director(upstream, "", "peer", &format!("upstream_name = \"{name}\""));
    refused(&named("world.example"), &["TLS: invalid peer certificate", "world.example"])?;
    let other = named("localhost").replace("/ca.crt", "/other/ca.crt");
    refused(&other, &["cannot be reached: TLS: invalid peer certificate"])?;
    // Its own certificate is not one of the root's.
    let other = named("localhost").replace("/peer.", "/other/peer.");
    refused(&other, &["TLS: received fatal alert"])?;
    let handshake = "handshake_timeout_ms = 500";
    let to_plain = certificates.director(Some(plain.director()), "", "peer", handshake);
    refused(&to_plain, &["no handshake within handshake_timeout_ms"])?;
    // And one that may: by its name, and by its address.
    for tls in ["upstream_name = \"localhost\"", ""] {
        let leaf = Node::start(2, &certificates.director(upstream, "", "peer", tls))?;
        leaf.daemon.until_logged("upstream link established")?;
        leaf.daemon.stop()?;
    }
    plain.daemon.stop()?;
    root.daemon.stop()
}

#[test]
fn a_link_through_tls_that_does_not_read_is_dropped_at_its_limits() -> Result<(), Failure> {
    let Some(certificates) = Certificates::new("a_link_through_tls_that_does_not_read_is_dropped_at_its_limits") else {
        return Ok(());
    };
    const BUDGET: usize = 1 << 20;
    const NOTES: u32 = 60_000;
    for shards in [1, 4] {
        let keys = format!("link_budget_bytes = {BUDGET}\nlink_stall_timeout_ms = 3000\n");
        let root = certificates.root(shards, &keys, "")?;
        let leaf = certificates.leaf(shards, &root, "")?;
        let hub = Hub::new(wait::PATIENCE)?;
        let speaker = Internal::connect(&hub, "the speaker", leaf.director(), LISTENER + 1)?;
        // Subscribed to what the speaker says, and read up to the first of it only.
        let mut stalled = certificates.link(root.director());
        stalled.send(&subscription(LISTENER));
        stalled.send(&Encoder::internal(&[LISTENER + 1], 9, NOTE).finish().expect("it fits"));
        speaker.next("word of the stalled one")?;
        for number in 0..NOTES {
            speaker.publish(&[LISTENER], NOTE, &Payload::new().u32(number).bytes(&[7; 1000]));
        }
        for what in ["the link is full; its sources wait", "reason=\"write_timeout\""] {
            wait::until(what, || {
                speaker.flush()?;
                Ok(root.daemon.log().contains(what))
            })?;
        }
        // The others go on.
        let other = Internal::connect(&hub, "another", leaf.director(), LISTENER + 2)?;
        other.until_heard(&speaker, LISTENER + 1)?;
        let mut link = certificates.link(root.director());
        link.send(&note(LISTENER + 1, 5, b""));
        speaker.until("word of a new link", |message| message.payload() == 5_u32.to_le_bytes())?;
        drop((stalled, link));
        leaf.daemon.stop()?;
        let log = log_of(root)?;
        assert!(!log.contains("room again"), "it never had: {log}");
    }
    Ok(())
}

/// The name in the certificate that is shown.
fn shown_subject(folder: &Path, address: SocketAddr) -> String {
    let shown = Command::new("openssl")
        .current_dir(folder)
        .args(["s_client", "-connect", &address.to_string(), "-cert", "peer.crt", "-key", "peer.key"])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl runs");
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    text.lines().find(|line| line.starts_with("subject=")).unwrap_or_default().replace(' ', "")
}

#[test]
fn a_hangup_brings_new_certificates_to_new_links() -> Result<(), Failure> {
    let Some(certificates) = Certificates::new("a_hangup_brings_new_certificates_to_new_links") else { return Ok(()) };
    let root = certificates.root(2, "", "")?;
    let address = root.director();
    let mut before = certificates.link(address);
    before.send(&subscription(LISTENER));
    assert_eq!(shown_subject(certificates.folder(), address), "subject=CN=daemon");
    for kind in ["crt", "key"] {
        let path = |name: &str| certificates.folder().join(format!("{name}.{kind}"));
        fs::copy(path("peer"), path("daemon"))?;
    }
    root.daemon.signal(rustix::process::Signal::HUP)?;
    wait::until("the new certificate", || Ok(shown_subject(certificates.folder(), address) == "subject=CN=peer"))?;
    // Who was there stays.
    let mut speaker = certificates.link(address);
    speaker.send(&note(LISTENER, 1, b""));
    assert_eq!(before.notes(1), [1]);
    drop((before, speaker));
    root.daemon.stop()
}

/// Writes other services into the file of a running daemon, and has it take them over; `reloads` are those before.
fn reload(node: &Node, services: &str, reloads: usize) -> Result<(), Failure> {
    let text = fs::read_to_string(node.setup.config_path())?;
    let head = text.split("[services.").next().expect("a beginning").to_owned();
    fs::write(node.setup.config_path(), head + services)?;
    node.daemon.signal(rustix::process::Signal::HUP)?;
    let taken_over = |log: &str| log.lines().filter(|line| line.contains("reloaded: certificates")).count();
    wait::until("the settings to be taken over", || Ok(taken_over(&node.daemon.log()) > reloads))
}

#[test]
fn a_hangup_switches_tls_on_and_off_for_new_links_and_leaves_those_there_are() -> Result<(), Failure> {
    let test = "a_hangup_switches_tls_on_and_off_for_new_links_and_leaves_those_there_are";
    let Some(certificates) = Certificates::new(test) else { return Ok(()) };
    let plainly = "[services.message_director]\nbind = \"127.0.0.1:0\"\n";
    let with_tls = certificates.director(None, "", "daemon", "");
    for shards in [1, 4] {
        let root = Node::start(shards, plainly)?;
        let address = root.director();
        let leaf = Node::start(shards, &format!("{plainly}upstream = \"{address}\"\n"))?;
        let hub = Hub::new(wait::PATIENCE)?;
        let plain = Internal::connect(&hub, "a plain link", address, LISTENER)?;
        let below = Internal::connect(&hub, "a link of the leaf", leaf.director(), LISTENER + 1)?;
        below.until_heard(&plain, LISTENER)?;
        let hears = |number: u32| {
            plain.until(&format!("note {number}"), move |message: &Message| message.payload() == number.to_le_bytes())
        };

        reload(&root, &with_tls, 0)?;
        assert_eq!(shown_subject(certificates.folder(), address), "subject=CN=daemon");
        let mut secure = certificates.link(address);
        secure.send(&subscription(LISTENER + 2));
        secure.send(&note(LISTENER, 1, b""));
        hears(1)?;
        let mut stranger = TcpStream::connect(address)?;
        stranger.set_read_timeout(Some(wait::PATIENCE))?;
        stranger.write_all(&note(LISTENER, 666, b""))?;
        let refused = |log: &str| log.lines().any(|line| line.contains("link refused") && line.contains("\"tls\""));
        wait::until("the refusal", || Ok(refused(&root.daemon.log())))?;
        // The daemon below has not dialled again: its link goes on as it is.
        below.publish(&[LISTENER], NOTE, &Payload::new().u32(2));
        hears(2)?;

        reload(&root, plainly, 1)?;
        let newcomer = Internal::connect(&hub, "a newcomer", address, LISTENER + 3)?;
        newcomer.publish(&[LISTENER, LISTENER + 2], NOTE, &Payload::new().u32(3));
        hears(3)?;
        assert_eq!(secure.notes(1), [3], "who came through TLS goes on through it");
        secure.send(&note(LISTENER, 4, b""));
        hears(4)?;
        drop((secure, newcomer, stranger));
        leaf.daemon.stop()?;
        let log = log_of(root)?;
        assert!(!log.contains("panicked"), "{log}");
    }
    Ok(())
}

/// As many connections as may shake hands at once say nothing: whoever comes then is refused by name, those there are go
/// on, and when one of the silent has gone there is room again.
#[test]
fn beyond_so_many_handshakes_links_are_refused_and_others_are_served() -> Result<(), Failure> {
    const HANDSHAKES_MAX: usize = 1024;
    const BEYOND: usize = 20;
    let Some(certificates) = Certificates::new("beyond_so_many_handshakes_links_are_refused_and_others_are_served")
    else {
        return Ok(());
    };
    let root = certificates.root(1, "", "handshake_timeout_ms = 3600000")?;
    let address = root.director();
    let mut listener = certificates.link(address);
    listener.send(&subscription(LISTENER));
    let mut speaker = certificates.link(address);
    let mut number = 0;
    wait::until("the listener to be heard of", || {
        number += 1;
        speaker.send(&note(LISTENER, number, b""));
        Ok(rustix::io::ioctl_fionread(&listener.from).map_err(std::io::Error::from)? > 0)
    })?;
    let mut silent = Vec::new();
    for _ in 0..HANDSHAKES_MAX + BEYOND {
        silent.push(TcpStream::connect(address)?);
    }
    let refusals = |log: &str| {
        let is_one = |line: &&str| line.contains("link refused") && line.contains("\"too_many_handshakes\"");
        log.lines().filter(is_one).count()
    };
    wait::until("those beyond to be refused", || Ok(refusals(&root.daemon.log()) >= BEYOND))?;
    // A good one comes too late, and is told nothing.
    assert_eq!(certificates.link(address).until_end(), b"");
    wait::until("the good one to be refused", || Ok(refusals(&root.daemon.log()) > BEYOND))?;
    speaker.send(&note(LISTENER, u32::MAX, b""));
    while listener.notes(1) != [u32::MAX] {}
    // Those who have gone leave room.
    silent.truncate(HANDSHAKES_MAX / 2);
    wait::until("room for another", || Ok(shown_subject(certificates.folder(), address) == "subject=CN=daemon"))?;
    let mut newcomer = certificates.link(address);
    newcomer.send(&note(LISTENER, 7, b""));
    while listener.notes(1) != [7] {}
    drop((listener, speaker, newcomer));
    drop(silent);
    let log = log_of(root)?;
    assert!(counted(&log, "too_many_handshakes") > BEYOND as u64 && !log.contains("panicked"), "{log}");
    Ok(())
}

/// An upstream that takes a connection and never shakes hands: what is to go up waits within the limits of a full link,
/// and its sources are not read meanwhile; when the handshake is given up they go on.
#[test]
fn what_waits_for_the_handshake_upstream_is_bounded() -> Result<(), Failure> {
    let Some(certificates) = Certificates::new("what_waits_for_the_handshake_upstream_is_bounded") else {
        return Ok(());
    };
    const BUDGET: usize = 1 << 20;
    for shards in [1, 4] {
        let silent = std::net::TcpListener::bind("127.0.0.1:0")?;
        let keys = format!("upstream_reconnect = true\nlink_budget_bytes = {BUDGET}\n");
        let tls = "plain_from = [\"127.0.0.0/8\"]\nhandshake_timeout_ms = 4000";
        let leaf = Node::start(shards, &certificates.director(Some(silent.local_addr()?), &keys, "peer", tls))?;
        let (taken, _) = silent.accept()?;
        let mut source = TcpStream::connect(leaf.director())?;
        let goes_on = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let flag = goes_on.clone();
        // More than may wait many times over.
        let writer = std::thread::spawn(move || {
            let mut written = 0_u64;
            while flag.load(std::sync::atomic::Ordering::Relaxed) {
                let note = note(LISTENER, 1, &[7; 10_000]);
                source.write_all(&note)?;
                written += note.len() as u64;
            }
            Ok::<u64, std::io::Error>(written)
        });
        leaf.daemon.until_logged("the link is full; its sources wait")?;
        let before = leaf.daemon.log();
        assert!(!before.contains("no handshake within"), "it is full before its time is over: {before}");
        leaf.daemon.until_logged("no handshake within handshake_timeout_ms")?;
        let reopened = silent.accept()?;
        goes_on.store(false, std::sync::atomic::Ordering::Relaxed);
        let written = writer.join().expect("no panic")?;
        drop((taken, reopened));
        let log = log_of(leaf)?;
        assert!(!log.contains("panicked") && !log.contains("write_budget"), "{log}");
        assert!(counted(&log, "handshake_timeout") >= 1, "{log}");
        println!("{shards} executors: {written} bytes written by the source");
    }
    Ok(())
}
