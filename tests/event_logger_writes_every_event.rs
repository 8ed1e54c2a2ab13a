//! The Event Logger of a daemon, over real sockets (`protocol-md-ca-el.md` §4.5): what adds a line, what does not, what a
//! full disk costs, and which events the other roles send.

#[path = "support/admin.rs"]
mod admin;
mod support;

use donet::event_logger::{Event, EventType};
use donet::wire::{Channel, MessageType};
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use serde_json::{Map, Value};
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const AI: Channel = 3_000_000;

struct Stage {
    daemon: Daemon,
    setup: Setup,
    hub: Hub,
    socket: UdpSocket,
}

impl Stage {
    fn open(setup: Setup) -> Result<Self, Failure> {
        let mut setup = setup;
        setup.after = format!("log_format = \"events.log\"\n{}\n[admin]\nbind = \"127.0.0.1:0\"", setup.after);
        let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(daemon.address("event_logger")?)?;
        Ok(Self { daemon, setup, hub: Hub::new(PATIENCE)?, socket })
    }

    fn file(&self) -> PathBuf {
        self.setup.events_path().join("events.log")
    }

    /// The whole lines of the file, each of which must be JSON.
    fn lines(&self) -> Vec<Map<String, Value>> {
        let text = fs::read_to_string(self.file()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
    }

    fn send(&self, packet: &[u8]) -> Result<(), Failure> {
        assert_eq!(self.socket.send(packet)?, packet.len());
        Ok(())
    }

    /// Sends a last event, and waits for its line: what was sent before has been read then. Lines before it may have
    /// members of any name.
    fn until_read(&self, mark: &str) -> Result<Vec<Map<String, Value>>, Failure> {
        self.send(&event(mark))?;
        wait::for_some(mark, || {
            let lines = self.lines();
            Ok(lines.last().is_some_and(|line| line.get("type").is_some_and(|name| name == mark)).then_some(lines))
        })
    }

    fn figure(&self, name: &str) -> Result<u64, Failure> {
        admin::figure(&self.daemon, &format!("donet_event_logger_{name}_total"), "")
    }
}

fn event(name: &str) -> bytes::Bytes {
    Event::of_application(name, "test".to_owned()).encode()
}

#[test]
fn el_1_to_el_5_and_el_8_to_el_10_over_udp() -> Result<(), Failure> {
    let stage = Stage::open(Setup::new(1)?)?;
    let before = stage.until_read("before")?;
    assert_eq!(before[0]["type"], "log-opened", "EL-7");
    assert_eq!(before[0]["sender"], "EventLogger");
    // EL-2, EL-3, EL-4: no map, something behind it, cut off, nothing at all.
    let whole = event("whole");
    let refused: [&[u8]; 6] = [b"\x7b", b"123", b"\x91\x01", &[&whole[..], b"x"].concat(), &whole[..9], b""];
    for packet in refused {
        stage.send(packet)?;
    }
    assert_eq!(stage.until_read("after")?.len(), before.len() + 1);
    assert_eq!(stage.figure("packets_refused")?, refused.len() as u64);

    // EL-1, EL-5, EL-8, EL-10: one line with every member, however many and long they are.
    let mut wide = Event::of_application("wide", "a sender of thirty-two bytes and more".to_owned());
    const KEYS: [&str; 16] = [
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "g",
        "h",
        "i",
        "j",
        "k",
        "l",
        "m",
        "n",
        "o",
        "a key of thirty-two bytes and more",
    ];
    for key in KEYS {
        wide = wide.with(key, "one\ntwo\r\n\"three\"\u{2028}");
    }
    stage.send(&wide.encode())?;
    // EL-9: the largest packet.
    let length = 65_507 - 6;
    let mut largest = vec![0x81, 0xa1, b'v', 0xda, (length >> 8) as u8, length as u8];
    largest.resize(65_507, b'x');
    stage.send(&largest)?;
    let lines = stage.until_read("the end")?;
    assert_eq!(lines.len(), before.len() + 4);
    let line = &lines[lines.len() - 3];
    assert!(line["_time"].is_string());
    assert!(KEYS.iter().all(|&key| line[key] == "one\ntwo\r\n\"three\"\u{2028}"), "{line:?}");
    assert_eq!(lines[lines.len() - 2]["v"].as_str().map(str::len), Some(length));
    stage.daemon.stop()
}

fn el_6(shards: usize) -> Result<(), Failure> {
    let stage = Stage::open(Setup::new(shards)?)?;
    let ai = Internal::connect(&stage.hub, "the AI", stage.daemon.address("message_director")?, AI)?;
    let both = event("both ways");
    stage.send(&both)?;
    ai.log(&both);
    ai.flush()?;
    let lines = wait::for_some("both lines", || {
        let lines: Vec<_> = stage.lines().into_iter().filter(|line| line["type"] == "both ways").collect();
        Ok((lines.len() == 2).then_some(lines))
    })?;
    let without_time = |line: &Map<String, Value>| line.iter().skip(1).map(|(k, v)| (k.clone(), v.clone())).collect();
    let [by_udp, by_link]: [Vec<(String, Value)>; 2] = [without_time(&lines[0]), without_time(&lines[1])];
    assert_eq!(by_udp, by_link);
    stage.daemon.stop()
}

#[test]
fn el_6_what_a_link_logs_is_what_the_packet_would_have_been_with_1_executor() -> Result<(), Failure> {
    el_6(1)
}

#[test]
fn el_6_with_2_executors() -> Result<(), Failure> {
    el_6(2)
}

#[test]
fn el_6_with_4_executors() -> Result<(), Failure> {
    el_6(4)
}

#[test]
fn el_7_each_start_opens_its_log_and_appends_to_a_file_of_the_same_name() -> Result<(), Failure> {
    let stage = Stage::open(Setup::new(1)?)?;
    stage.until_read("first life")?;
    let Stage { daemon, setup, .. } = stage;
    daemon.stop()?;
    let again = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
    let text = wait::for_some("the second life", || {
        let text = fs::read_to_string(setup.events_path().join("events.log"))?;
        Ok((text.matches("log-opened").count() == 2).then_some(text))
    })?;
    assert!(text.contains("first life"), "{text}");
    again.stop()
}

/// Every burst fits the socket's buffer, and is read before the next one comes.
#[test]
fn fifty_thousand_events_in_bursts_all_arrive() -> Result<(), Failure> {
    const EVENTS: usize = 50_000;
    const BURST: usize = 100;
    let stage = Stage::open(Setup::new(1)?)?;
    let start = stage.until_read("the start")?.len();
    let opened = fs::metadata(stage.file())?.len();
    let packets: Vec<_> = (0..EVENTS).map(|number| event(&format!("number {number:06}"))).collect();
    stage.send(&packets[0])?;
    wait::until("the first", || Ok(stage.lines().len() == start + 1))?;
    let line_bytes = fs::metadata(stage.file())?.len() - opened;
    for (burst, packets) in packets[1..].chunks(BURST).enumerate() {
        for packet in packets {
            stage.send(packet)?;
        }
        let expected = opened + line_bytes * (1 + burst * BURST + packets.len()) as u64;
        wait::until("a burst", || Ok(fs::metadata(stage.file())?.len() == expected))?;
    }
    let lines = stage.lines();
    assert_eq!(lines.len(), start + EVENTS);
    for (number, line) in lines[start..].iter().enumerate() {
        assert_eq!(line["type"], format!("number {number:06}"));
    }
    assert_eq!(stage.figure("packets_overflowed")?, 0);
    assert_eq!(stage.figure("lines_lost")?, 0);
    stage.daemon.stop()
}

#[test]
fn every_event_type_is_sent_with_its_members_in_their_order() -> Result<(), Failure> {
    for shards in [1, 4] {
        let stage = Stage::open(Setup::new(shards)?)?;
        let hash = Names::parse("example.dc", EXAMPLE_DC)?.hash();
        let connect = || Client::connect(&stage.hub, "a client", stage.daemon.address("client_agent")?);
        let client = connect()?;
        client.say_hello(hash, "another version");
        client.expect_eject(124)?;
        let client = connect()?;
        client.hello(hash, numbers::VERSION)?;
        client.tell(MessageType(9999), &[]);
        client.expect_eject(108)?;
        let client = connect()?;
        client.hello(hash, numbers::VERSION)?;
        client.disconnect();
        client.flush()?;
        let client = connect()?;
        client.hello(hash, numbers::VERSION)?;
        client.reset();
        for expected in EventType::ALL {
            let line = wait::for_some(expected.name(), || {
                Ok(stage.lines().into_iter().find(|line| line["type"] == expected.name()))
            })?;
            let keys: Vec<&str> = line.keys().map(String::as_str).collect();
            assert_eq!(keys, [&["_time", "type", "sender"], expected.keys()].concat(), "{line:?}");
        }
        stage.daemon.stop()?;
    }
    Ok(())
}

/// A file system of so many KiB, unmounted when it goes out of scope.
struct Mounted(PathBuf);

impl Mounted {
    fn new(folder: PathBuf, kib: u32) -> Option<Self> {
        fs::create_dir_all(&folder).expect("a folder");
        let size = format!("size={kib}k");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&folder).output();
        mount.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the daemon may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_costs_whole_lines_that_are_counted_and_ends_when_there_is_room() -> Result<(), Failure> {
    let setup = Setup::new(1)?;
    let Some(disk) = Mounted::new(setup.events_path(), 64) else {
        support::skip("a_full_disk_costs_whole_lines_that_are_counted_and_ends_when_there_is_room", "mount, as root");
        return Ok(());
    };
    let ballast = disk.0.join("ballast");
    fs::write(&ballast, vec![0; 32 << 10])?;
    let stage = Stage::open(setup)?;
    stage.until_read("with room")?;
    let text = "x".repeat(1000);
    wait::until("the disk is full", || {
        stage.send(&event(&text))?;
        Ok(stage.figure("lines_lost")? > 0)
    })?;
    stage.daemon.until_logged("events cannot be written")?;
    let kept = stage.lines().len();
    assert!(kept > 10, "what fitted is there, in whole lines: {kept}");
    fs::remove_file(&ballast)?;
    wait::until("there is room again", || {
        stage.send(&event("room again"))?;
        Ok(stage.lines().last().is_some_and(|line| line["type"] == "room again"))
    })?;
    stage.daemon.until_logged("events are written again")?;
    stage.daemon.stop()
}
