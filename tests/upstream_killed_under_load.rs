//! The upstream daemon is killed (SIGKILL) while links and clients of a leaf send through it: with `upstream_reconnect` the
//! leaf goes on, and everything is in place again when another one listens at the same address; without, it ends in order.

#[path = "support/admin.rs"]
mod admin;
#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/counted.rs"]
mod counted;

use cluster::Node;
use counted::counted;
use donet::wire::{Encoder, MessageType, message_type as t};
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::{Message, Payload};
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

const NOTE: MessageType = MessageType(4321);
const SINK: u64 = 80_000;
const SOURCES: u64 = 3;
const LISTENER: u64 = 70_000;
const CHANNELS: std::ops::Range<u64> = 1_500_000_000..1_500_002_000;
const RANGE: (u64, u64) = (1_600_000_000, 1_600_999_999);
const LEFT_BEHIND: u32 = 77;
const BUDGET: usize = 1 << 20;
/// What may wait for a link, at most.
const LIMIT: u64 = 2 * BUDGET as u64 + (32 << 20);

fn director(bind: &str, more: &str) -> String {
    format!("[services.message_director]\nbind = \"{bind}\"\nlink_budget_bytes = {BUDGET}\n{more}")
}

fn clients() -> String {
    format!(
        "[services.client_agent]\nbind = \"127.0.0.1:0\"\nversion_string = \"{}\"\nchannel_min = 1000000\n\
         channel_max = 1000999\n[[uberdogs]]\nid = {}\nclass = \"LoginManager\"\nanonymous = true\n\
         [admin]\nbind = \"127.0.0.1:0\"\n",
        numbers::VERSION,
        numbers::LOGIN_MANAGER
    )
}

/// What speaks until it is told to stop.
struct Load {
    goes_on: Arc<AtomicBool>,
    threads: Vec<JoinHandle<std::io::Result<()>>>,
}

impl Load {
    /// Links that send numbered notes to the sink, and a client that sends updates to an UberDOG, all without a pause that
    /// would let anything drain.
    fn on(leaf: &Node) -> Result<Self, Failure> {
        let goes_on = Arc::new(AtomicBool::new(true));
        let mut threads = Vec::new();
        for source in 0..SOURCES {
            let (mut stream, goes_on) = (TcpStream::connect(leaf.director())?, goes_on.clone());
            threads.push(thread::spawn(move || {
                let mut number = 0;
                while goes_on.load(Ordering::Relaxed) {
                    let mut notes = Vec::new();
                    for _ in 0..50 {
                        let note = Encoder::internal(&[SINK], source, NOTE).u32(number).bytes(&[7; 100]).finish();
                        notes.extend_from_slice(&note.expect("it fits"));
                        number += 1;
                    }
                    stream.write_all(&notes)?;
                    thread::sleep(Duration::from_millis(1));
                }
                Ok(())
            }));
        }
        threads.push(client(leaf.daemon.address("client_agent")?, goes_on.clone())?);
        Ok(Self { goes_on, threads })
    }

    fn end(self) {
        self.goes_on.store(false, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("no panic").expect("its connection stayed");
        }
    }
}

fn client(address: SocketAddr, goes_on: Arc<AtomicBool>) -> Result<JoinHandle<std::io::Result<()>>, Failure> {
    let contract = Names::parse("example.dc", EXAMPLE_DC)?;
    let hello = Encoder::client(t::CLIENT_HELLO).u32(contract.hash()).blob(numbers::VERSION.as_bytes());
    let login = contract.field("LoginManager", "login")?;
    let update =
        Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(numbers::LOGIN_MANAGER).u16(login.0).blob(b"").blob(b"");
    let (hello, update) = (hello.finish().expect("it fits"), update.finish().expect("it fits"));
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(&hello)?;
    stream.read_exact(&mut [0; 4])?;
    Ok(thread::spawn(move || {
        while goes_on.load(Ordering::Relaxed) {
            stream.write_all(&update)?;
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }))
}

/// Hears the sources and the client at the root until each has been heard often enough; the notes of each source in order.
fn hear_all(sink: &Internal) -> Result<(), Failure> {
    let mut heard: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
    let mut updates = 0;
    while updates < 20 || heard.len() < SOURCES as usize || heard.values().any(|&(_, count)| count < 500) {
        let message = sink.next("the load")?;
        if !message.is(NOTE) {
            updates += u32::from(message.recipients() == [u64::from(numbers::LOGIN_MANAGER)]);
            continue;
        }
        let number = u32::from_le_bytes(message.payload()[..4].try_into().expect("a number"));
        let (next, count) = heard.entry(message.sender()).or_insert((number, 0));
        assert_eq!(number, *next, "source {}", message.sender());
        (*next, *count) = (number + 1, *count + 1);
    }
    Ok(())
}

/// Resident memory of a process at its highest, in bytes.
fn peak_bytes(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.process_id())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Datagrams that did not go up, by the leaf's metrics.
fn lost(leaf: &Node) -> Result<u64, Failure> {
    admin::figure(&leaf.daemon, "donet_upstream_datagrams_lost_total", "")
}

/// A process at the root that hears the load.
fn sink(hub: &Hub, root: &Node) -> Result<Internal, Failure> {
    let sink = Internal::connect(hub, "the sink", root.director(), SINK)?;
    sink.subscribe(numbers::LOGIN_MANAGER.into());
    Ok(sink)
}

#[test]
fn with_reconnect_everything_is_in_place_again_behind_a_killed_upstream() -> Result<(), Failure> {
    for shards in [1, 4] {
        let mut root = Node::start(shards, &director("127.77.2.1:0", ""))?;
        let address = root.director().to_string();
        let upstream = format!("upstream = \"{address}\"\nupstream_reconnect = true\n{}", clients());
        let leaf = Node::start(shards, &director("127.0.0.1:0", &upstream))?;
        let hub = Hub::new(wait::PATIENCE)?;
        let listener = Internal::connect(&hub, "the listener", leaf.director(), LISTENER)?;
        CHANNELS.for_each(|channel| listener.subscribe(channel));
        listener.control(t::CONTROL_ADD_RANGE, &Payload::new().u64(RANGE.0).u64(RANGE.1));
        listener.post_remove(LISTENER, &[SINK + 1], NOTE, &Payload::new().u32(LEFT_BEHIND));
        listener.flush()?;
        let load = Load::on(&leaf)?;
        hear_all(&sink(&hub, &root)?)?;
        let before = peak_bytes(&leaf.daemon);
        for round in 1..=3_u32 {
            let lost_before = lost(&leaf)?;
            root.daemon.kill()?;
            wait::until("some thousand datagrams to be lost", || Ok(lost(&leaf)? > lost_before + 5000))?;
            root = Node::start_again(shards, &director(&address, ""))?;
            hear_all(&sink(&hub, &root)?)?;
            // What is down there is reached as before: its channels, the first and the last, and its range.
            let asker = Internal::connect(&hub, "the asker", root.director(), SINK + 2)?;
            asker.until_heard(&listener, LISTENER)?;
            for channel in [CHANNELS.start, CHANNELS.end - 1, RANGE.0, RANGE.1] {
                asker.publish(&[channel], NOTE, &Payload::new().u32(round));
                let expected = Message::internal(&[channel], asker.channel(), NOTE, &Payload::new().u32(round));
                listener.expect_message("the question", &expected)?;
            }
        }
        let grown = peak_bytes(&leaf.daemon) - before;
        assert!(grown < LIMIT, "{shards} executors: {grown} bytes more");
        load.end();
        // The post-removes are with the new root as well: the leaf dies without a word.
        let heir = Internal::connect(&hub, "the heir", root.director(), SINK + 1)?;
        let asker = Internal::connect(&hub, "another asker", root.director(), SINK + 3)?;
        asker.until_heard(&heir, SINK + 1)?;
        let log = leaf.daemon.log();
        // At least: a killed listener may still take a connection, and end it.
        assert!(!log.contains("panicked") && log.matches("upstream link established").count() >= 4, "{log}");
        leaf.daemon.kill()?;
        heir.expect("the post-remove", |message| message.payload() == LEFT_BEHIND.to_le_bytes())?;
        root.daemon.stop()?;
    }
    Ok(())
}

#[test]
fn without_reconnect_a_busy_daemon_ends_in_order_with_its_upstream() -> Result<(), Failure> {
    for shards in [1, 4] {
        let root = Node::start(shards, &director("127.77.2.2:0", ""))?;
        let upstream = format!("upstream = \"{}\"\n{}", root.director(), clients());
        let mut leaf = Node::start(shards, &director("127.0.0.1:0", &upstream))?;
        let hub = Hub::new(wait::PATIENCE)?;
        let load = Load::on(&leaf)?;
        hear_all(&sink(&hub, &root)?)?;
        root.daemon.kill()?;
        assert_eq!(leaf.daemon.wait_for_end(wait::PATIENCE)?.code(), Some(1));
        // Its connections end with it.
        load.goes_on.store(false, Ordering::Relaxed);
        load.threads.into_iter().for_each(|thread| drop(thread.join().expect("no panic")));
        let log = leaf.daemon.log();
        assert!(log.contains("is lost") && !log.contains("panicked"), "{log}");
        assert_eq!(log.matches("counted: ").count(), shards, "each executor has ended in order: {log}");
        assert!(counted(&log, "datagrams_published") > 1500, "{log}");
    }
    Ok(())
}
