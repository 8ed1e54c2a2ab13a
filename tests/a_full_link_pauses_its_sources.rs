//! Back-pressure between daemons (design G8): a daemon that is stopped under load costs its neighbours a pause and no
//! message; one that is stopped for too long is dropped with a reason, and the others go on as configured.

#[path = "support/admin.rs"]
mod admin;
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/counted.rs"]
mod counted;

use cluster::Node;
use counted::counted;
use donet::wire::{Encoder, MessageType, message_type as t, next_frame};
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::Payload;
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const NOTE: MessageType = MessageType(4321);
const SINK: u64 = 80_000;
const BUDGET: usize = 1 << 20;
/// What may wait for a link, at most: twice the budget, and what is under way.
const LIMIT: u64 = 2 * BUDGET as u64 + (32 << 20);
const PAYLOAD: [u8; 1000] = [7; 1000];
const SOURCES: u32 = 3;
/// Of each source: together four times what may wait for a link.
const NOTES: u32 = 48_000;
/// Of clients that are paused for longer.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(6);
const _: () = assert!(SOURCES as u64 * NOTES as u64 * 1000 > 4 * LIMIT);

fn director(upstream: Option<SocketAddr>, more: &str) -> String {
    let upstream = upstream.map_or(String::new(), |upstream| format!("upstream = \"{upstream}\"\n"));
    format!("[services.message_director]\nbind = \"127.0.0.1:0\"\nlink_budget_bytes = {BUDGET}\n{upstream}{more}")
}

fn signal(daemon: &Daemon, signal: Signal) {
    let pid = Pid::from_raw(daemon.process_id().cast_signed()).expect("a process");
    kill_process(pid, signal).expect("our own daemon");
}

/// Resident memory of a process at its highest, in bytes.
fn peak_bytes(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process_id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Sends numbered notes as fast as they are taken; `sent` counts what the socket has taken.
fn source(address: SocketAddr, sender: u64, notes: u32, sent: Arc<AtomicU64>) -> JoinHandle<std::io::Result<()>> {
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address)?;
        for number in 0..notes {
            let note = Encoder::internal(&[SINK], sender, NOTE).u32(number).bytes(&PAYLOAD).finish().unwrap();
            stream.write_all(&note)?;
            sent.fetch_add(1, Ordering::Relaxed);
        }
        stream.shutdown(std::net::Shutdown::Write)?;
        // Until the daemon has read all of it.
        stream.read_to_end(&mut Vec::new()).map(|_| ())
    })
}

/// A subscriber of the sink, subscribed when this returns, that checks the order of each source.
fn sink(address: SocketAddr, sources: u32, notes: u32) -> std::io::Result<JoinHandle<std::io::Result<()>>> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&Encoder::control(t::CONTROL_ADD_CHANNEL).channel(SINK).finish().unwrap())?;
    let mut asker = TcpStream::connect(address)?;
    stream.set_nonblocking(true)?;
    wait::until("the sink to hear somebody", || {
        asker.write_all(&Encoder::internal(&[SINK], 1, MessageType(4322)).finish().unwrap())?;
        Ok(stream.peek(&mut [0; 1]).is_ok())
    })
    .map_err(std::io::Error::other)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(2 * wait::PATIENCE))?;
    Ok(thread::spawn(move || {
        let mut next = vec![0; sources as usize];
        let mut bytes = Vec::new();
        let mut chunk = vec![0; 1 << 18];
        while next.iter().any(|&next| next < notes) {
            let count = stream.read(&mut chunk)?;
            assert!(count > 0, "the end came after {next:?}");
            bytes.extend_from_slice(&chunk[..count]);
            let mut used = 0;
            while let Some((body, length)) = next_frame(&bytes[used..]) {
                let datagram = donet::wire::Datagram::from_body(body).unwrap();
                let (sender, message_type, mut payload) = datagram.message().unwrap();
                if message_type == NOTE {
                    let number = payload.u32().unwrap();
                    assert_eq!(number, next[sender as usize], "source {sender}");
                    next[sender as usize] += 1;
                }
                used += length;
            }
            bytes.drain(..used);
        }
        Ok(())
    }))
}

fn hello(contract: &Names) -> Vec<u8> {
    let hello = Encoder::client(t::CLIENT_HELLO).u32(contract.hash()).blob(numbers::VERSION.as_bytes());
    hello.finish().expect("it fits a frame").to_vec()
}

/// A client that sends an update and then heartbeats. Its thread returns the frame that follows the answer to its hello.
fn client(address: SocketAddr) -> Result<JoinHandle<std::io::Result<Vec<u8>>>, Failure> {
    let contract = Names::parse("example.dc", EXAMPLE_DC)?;
    let login = contract.field("LoginManager", "login")?;
    let update =
        Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(numbers::LOGIN_MANAGER).u16(login.0).blob(b"").blob(b"");
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&hello(&contract))?;
    stream.write_all(&update.finish().unwrap())?;
    Ok(thread::spawn(move || {
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        let mut bytes = Vec::new();
        loop {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(count) => bytes.extend_from_slice(&chunk[..count]),
                Err(_) => stream.write_all(&Encoder::client(t::CLIENT_HEARTBEAT).finish().unwrap())?,
            }
            let Some((_, hello_bytes)) = next_frame(&bytes) else { continue };
            if let Some((_, length)) = next_frame(&bytes[hello_bytes..]) {
                return Ok(bytes[hello_bytes..hello_bytes + length].to_vec());
            }
        }
    }))
}

/// Says hello and nothing more, until the daemon ends the connection.
fn until_ejected_for_silence(address: SocketAddr) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(wait::PATIENCE))?;
    stream.write_all(&hello(&Names::parse("example.dc", EXAMPLE_DC)?))?;
    let mut said = Vec::new();
    stream.read_to_end(&mut said)?;
    let (_, answer_bytes) = next_frame(&said).expect("the answer to the hello");
    let (eject, _) = next_frame(&said[answer_bytes..]).expect("an eject");
    assert_eq!(eject[..4], [t::CLIENT_EJECT.0.to_le_bytes(), 345_u16.to_le_bytes()].concat(), "for silence");
    Ok(())
}

/// Waits until the daemon does not read this many connections, because they fill a link.
fn until_paused(daemon: &Daemon, count: u64) -> Result<(), Failure> {
    wait::until(&format!("{count} sources to be paused"), || {
        Ok(admin::sum(&admin::json(daemon, "/api/overview")?, "sources_paused") == count)
    })
}

#[test]
fn a_short_stall_upstream_pauses_the_sources_and_loses_nothing() -> Result<(), Failure> {
    for shards in [1, 2, 4] {
        let root = Node::start(shards, &director(None, ""))?;
        let clients = format!(
            "[services.client_agent]\nbind = \"127.0.0.1:0\"\nversion_string = \"{}\"\nchannel_min = 1000000\n\
             channel_max = 1000999\nheartbeat_timeout_ms = {}\n\
             [[uberdogs]]\nid = {}\nclass = \"LoginManager\"\nanonymous = true\n\
             [admin]\nbind = \"127.0.0.1:0\"\n",
            numbers::VERSION,
            HEARTBEAT_TIMEOUT.as_millis(),
            numbers::LOGIN_MANAGER
        );
        let leaf = Node::start(shards, &director(Some(root.director()), &clients))?;
        let sink = sink(root.director(), SOURCES, NOTES)?;
        let peak = peak_bytes(&leaf.daemon);
        signal(&root.daemon, Signal::STOP);
        let sent = Arc::new(AtomicU64::new(0));
        let sources: Vec<_> =
            (0..SOURCES).map(|number| source(leaf.director(), number.into(), NOTES, sent.clone())).collect();
        leaf.daemon.until_logged("the link is full")?;
        until_paused(&leaf.daemon, SOURCES.into())?;
        // A client whose updates go up is paused too; its clock stands still for longer than its heartbeat may take: for
        // as long as it takes the daemon to eject somebody who comes later and is only silent.
        let client = client(leaf.daemon.address("client_agent")?)?;
        until_paused(&leaf.daemon, u64::from(SOURCES) + 1)?;
        until_ejected_for_silence(leaf.daemon.address("client_agent")?)?;
        assert!(sent.load(Ordering::Relaxed) < (SOURCES * NOTES).into(), "somebody was not paused");
        let grown = peak_bytes(&leaf.daemon) - peak;
        assert!(grown < LIMIT + (16 << 20), "{shards} executors: {grown} bytes more");
        signal(&root.daemon, Signal::CONT);
        sink.join().expect("every note in order")?;
        for source in sources {
            source.join().expect("sent")?;
        }
        // The client is still there: an AI of the root reaches it.
        let hub = Hub::new(wait::PATIENCE)?;
        let ai = Internal::connect(&hub, "the AI", root.director(), 70_000)?;
        let nested = Encoder::client(MessageType(40_000)).u32(5).finish().unwrap();
        for channel in 1_000_000..1_001_000_u64 {
            ai.publish(&[channel], t::CLIENTAGENT_SEND_DATAGRAM, &Payload::new().blob(&nested[2..]));
        }
        ai.flush()?;
        assert_eq!(client.join().expect("no panic")?, nested, "the AI's word, and no eject");
        assert!(leaf.daemon.log().contains("has room again"));
        let log_path = leaf.setup.log_path();
        leaf.daemon.stop()?;
        let log = std::fs::read_to_string(log_path)?;
        assert_eq!((counted(&log, "write_budget"), counted(&log, "sources_paused")), (0, 0), "{log}");
        assert!(counted(&log, "links_congested") > 0, "{log}");
        root.daemon.stop()?;
    }
    Ok(())
}

#[test]
fn a_long_stall_upstream_ends_the_link_and_the_daemon_or_not_as_configured() -> Result<(), Failure> {
    let stall = "link_stall_timeout_ms = 700\n";
    let root = Node::start(2, &director(None, ""))?;
    let mut fragile = Node::start(2, &director(Some(root.director()), stall))?;
    let lasting = Node::start(2, &director(Some(root.director()), &format!("{stall}upstream_reconnect = true\n")))?;
    signal(&root.daemon, Signal::STOP);
    let sent = Arc::new(AtomicU64::new(0));
    let sources = [fragile.director(), lasting.director()].map(|address| source(address, 0, NOTES, sent.clone()));
    assert_eq!(fragile.daemon.wait_for_end(wait::PATIENCE)?.code(), Some(1));
    assert!(fragile.daemon.log().contains("for link_stall_timeout_ms (write_timeout)"), "{}", fragile.daemon.log());
    lasting.daemon.until_logged(
        "upstream link lost: it has not read what it is sent for link_stall_timeout_ms (write_timeout)",
    )?;
    let [first, second] = sources;
    assert!(first.join().expect("no panic").is_err(), "its daemon has ended");
    second.join().expect("no panic")?;
    signal(&root.daemon, Signal::CONT);
    let hub = Hub::new(wait::PATIENCE)?;
    let listener = Internal::connect(&hub, "the listener", root.director(), SINK + 1)?;
    let link = Internal::connect(&hub, "the link", lasting.director(), 70_000)?;
    link.until_heard(&listener, SINK + 1)?;
    lasting.daemon.stop()?;
    root.daemon.stop()
}

#[test]
fn a_stalled_daemon_below_is_dropped_and_the_others_go_on() -> Result<(), Failure> {
    for shards in [1, 2, 4] {
        let root = Node::start(shards, &director(None, "link_stall_timeout_ms = 5000\n"))?;
        let mut leaf = Node::start(shards, &director(Some(root.director()), ""))?;
        let hub = Hub::new(wait::PATIENCE)?;
        let below = Internal::connect(&hub, "a subscriber below", leaf.director(), SINK)?;
        let speaker = Internal::connect(&hub, "a speaker", root.director(), 70_000)?;
        speaker.until_heard(&below, SINK)?;
        signal(&leaf.daemon, Signal::STOP);
        let all = sink(root.director(), 1, NOTES)?;
        let bystander = Internal::connect(&hub, "a bystander", root.director(), 70_001)?;
        let source = source(root.director(), 0, NOTES, Arc::default());
        root.daemon.until_logged("the link is full")?;
        speaker.until_heard(&bystander, 70_001)?;
        root.daemon.until_logged("reason=\"write_timeout\"")?;
        // It ended as it was, full. Numbers of connections are each executor's own.
        let log = root.daemon.log();
        let ended = log.lines().find(|line| line.contains("write_timeout")).expect("just seen");
        let number = ended.split_whitespace().find(|word| word.starts_with("connection=")).expect("it is named");
        let has_room = |line: &str| line.contains("room again") && line.split_whitespace().any(|word| word == number);
        assert!(shards > 1 || !log.lines().any(has_room), "{log}");
        source.join().expect("no panic")?;
        all.join().expect("every note in order")?;
        signal(&leaf.daemon, Signal::CONT);
        assert_eq!(leaf.daemon.wait_for_end(wait::PATIENCE)?.code(), Some(1));
        root.daemon.stop()?;
    }
    Ok(())
}
