use super::*;
use crate::event_logger::Event;
use crate::event_logger::log::Files;
use donet_perf::wait;
use std::cell::RefCell;
use std::sync::{Arc, Mutex};

fn config(output: &Path) -> config::EventLogger {
    config::EventLogger {
        bind: "127.0.0.1:0".parse().expect("an address"),
        output: output.to_owned(),
        log_format: "events.log".into(),
        rotate_interval: None,
        file_bytes_max: None,
    }
}

/// Sends the packets to a logger over UDP, stops it, and returns the lines of its file.
fn lines_after(folder: &Path, packets: &[&[u8]]) -> Vec<serde_json::Value> {
    let logger = EventLoggerServer::bind(&config(folder)).expect("binds").start().expect("starts");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    for packet in packets {
        socket.send_to(packet, logger.local_addr()).expect("sent");
    }
    logger.stop();
    lines_of(&folder.join("events.log"))
}

fn lines_of(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).expect("the file is there");
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

fn event(name: &str) -> bytes::Bytes {
    Event::of_application(name, "test".into()).encode()
}

#[test]
fn el_1_el_5_el_7_a_valid_map_adds_exactly_one_line_after_the_log_opened_event() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = lines_after(folder.path(), &[&event("one"), &event("two")]);
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["log-opened", "one", "two"]);
    assert!(lines.iter().all(|line| line["_time"].is_string()));
}

#[test]
fn el_2_el_3_el_4_refused_packets_add_nothing_and_stop_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let trailing = [&event("bad")[..], b"x"].concat();
    let truncated = event("bad");
    let truncated = &truncated[..truncated.len() - 1];
    let lines = lines_after(folder.path(), &[b"\x7b", b"123", &trailing, b"", truncated, &event("good")]);
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["log-opened", "good"]);
}

#[test]
fn el_9_a_packet_of_the_largest_size_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let length = 65_507 - 6;
    let mut packet = vec![0x81, 0xa1, b'v', 0xda, (length >> 8) as u8, length as u8];
    packet.resize(65_507, b'x');
    let lines = lines_after(folder.path(), &[&packet]);
    assert_eq!(lines[1]["v"].as_str().expect("a string").len(), length);
}

#[test]
fn a_second_start_appends_to_a_file_of_the_same_name() {
    let folder = tempfile::tempdir().expect("a folder");
    lines_after(folder.path(), &[&event("one")]);
    let lines = lines_after(folder.path(), &[&event("two")]);
    let types: Vec<_> = lines.iter().map(|line| line["type"].as_str().expect("a type")).collect();
    assert_eq!(types, ["log-opened", "one", "log-opened", "two"]);
}

#[test]
fn missing_folders_are_created() {
    let folder = tempfile::tempdir().expect("a folder");
    assert_eq!(lines_after(&folder.path().join("a/b"), &[&event("one")]).len(), 2);
}

#[test]
fn a_folder_that_cannot_be_created_costs_the_files_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let blocked = folder.path().join("blocked");
    std::fs::write(&blocked, "a file").expect("written");
    let logger = EventLoggerServer::bind(&config(&blocked)).expect("binds").start().expect("starts");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    socket.send_to(&event("one"), logger.local_addr()).expect("sent");
    logger.stop();
    assert_eq!(std::fs::read_to_string(&blocked).expect("still there"), "a file");
}

#[test]
fn a_taken_port_is_reported_with_the_remedy() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let mut config = config(Path::new("/nowhere"));
    config.bind = taken.local_addr().expect("bound");
    let error = EventLoggerServer::bind(&config).expect_err("taken").to_string();
    assert!(error.contains("Is another donetd running?"), "{error}");
    assert!(error.contains(&config.bind.to_string()), "{error}");
}

/// What the sinks of a test do, and what they got. Each test has a thread of its own.
#[derive(Clone, Default)]
struct Disk {
    files: Arc<Mutex<Vec<(PathBuf, String)>>>,
    full: Arc<Mutex<bool>>,
}

thread_local! {
    static DISK: RefCell<Disk> = RefCell::default();
}

struct DiskFile {
    disk: Disk,
    index: usize,
}

impl Sink for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if *self.disk.full.lock().expect("not poisoned") {
            return Err(ErrorKind::StorageFull.into());
        }
        let text = std::str::from_utf8(bytes).expect("lines are text");
        self.disk.files.lock().expect("not poisoned")[self.index].1.push_str(text);
        Ok(())
    }

    fn length(&self) -> u64 {
        self.disk.files.lock().expect("not poisoned")[self.index].1.len() as u64
    }
}

fn open_on_disk(path: &Path) -> io::Result<Box<dyn Sink>> {
    DISK.with_borrow(|disk| {
        let mut files = disk.files.lock().expect("not poisoned");
        files.push((path.to_owned(), String::new()));
        Ok(Box::new(DiskFile { disk: disk.clone(), index: files.len() - 1 }) as Box<dyn Sink>)
    })
}

fn at(seconds: i64) -> Zoned {
    jiff::Timestamp::from_second(1_795_336_414 + seconds).expect("in range").to_zoned(jiff::tz::TimeZone::UTC)
}

fn figures() -> Arc<EventLoggerFigures> {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    Arc::new(EventLoggerFigures::new(socket.local_addr().expect("bound"), &socket))
}

fn writer(rotate_interval: Option<Duration>) -> Writer {
    let files =
        Files { folder: "/logs".into(), name_template: "%H-%M-%S.log".into(), rotate_interval, bytes_max: None };
    let mut writer = Writer::new(Log::new(files), figures());
    writer.open = open_on_disk;
    writer
}

fn write(writer: &mut Writer, line: &str, seconds: i64) {
    let mut lines = Lines::default();
    lines.push(line);
    writer.write(lines, &at(seconds));
}

fn disk() -> Disk {
    DISK.with_borrow(Clone::clone)
}

#[test]
fn the_packet_that_triggers_a_rotation_stands_in_the_new_file() {
    let mut writer = writer(Some(Duration::from_secs(60)));
    write(&mut writer, "early\n", 0);
    write(&mut writer, "late\n", 60);
    let disk = disk();
    let files = disk.files.lock().expect("not poisoned");
    assert_eq!(files.len(), 2);
    assert_eq!(files[0].0, Path::new("/logs/08-33-34.log"));
    assert!(files[0].1.ends_with("}\nearly\n"), "{}", files[0].1);
    assert!(files[1].1.ends_with("Log cycled.\"}\nlate\n"), "{}", files[1].1);
}

#[test]
fn a_full_disk_costs_the_lines_of_that_time_and_is_reported_once() {
    let mut writer = writer(None);
    let disk = disk();
    write(&mut writer, "one\n", 0);
    *disk.full.lock().expect("not poisoned") = true;
    write(&mut writer, "two\n", 1);
    assert!(writer.failing);
    write(&mut writer, "three\n", 2);
    assert_eq!(writer.lost, 2);
    *disk.full.lock().expect("not poisoned") = false;
    write(&mut writer, "four\n", 3);
    assert!(!writer.failing);
    assert_eq!(writer.lost, 0);
    let counted: Vec<_> = writer.figures.figures().iter().map(|figure| (figure.name, figure.value)).collect();
    assert!(counted.contains(&("lines", 2)) && counted.contains(&("lines_lost", 2)), "{counted:?}");
    assert!(disk.files.lock().expect("not poisoned")[0].1.ends_with("}\none\nfour\n"));
}

/// `/dev/full` refuses every write with ENOSPC, as a real file does on a full disk.
#[test]
fn a_real_write_without_space_is_an_error_and_not_a_panic() {
    let mut full = OpenOptions::new().append(true).open("/dev/full").expect("Linux has it");
    assert!(full.append(b"line\n").is_err());
}

#[test]
fn no_file_grows_beyond_its_limit_and_no_line_is_lost_or_split() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config::EventLogger { file_bytes_max: Some(4096), ..config(folder.path()) };
    let events: Vec<bytes::Bytes> = (0..300).map(|number| event(&format!("number {number}"))).collect();
    // Two lives: the second goes on in the last file of the first.
    for events in events.chunks(150) {
        let logger = EventLoggerServer::bind(&config).expect("binds").start().expect("starts");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        for event in events {
            socket.send_to(event, logger.local_addr()).expect("sent");
        }
        logger.stop();
    }
    let mut seen = Vec::new();
    for number in 0.. {
        let name = if number == 0 { "events.log".to_owned() } else { format!("events.log.{number}") };
        let path = folder.path().join(name);
        let Ok(metadata) = path.metadata() else { break };
        assert!(metadata.len() <= 4096, "{number}");
        let lines = lines_of(&path);
        assert_eq!(lines[0]["type"], "log-opened");
        seen.extend(
            lines.iter().filter_map(|line| line["type"].as_str()?.strip_prefix("number ")?.parse::<u32>().ok()),
        );
    }
    assert_eq!(seen, (0..300).collect::<Vec<_>>());
}

#[test]
fn a_line_longer_than_a_file_may_be_gets_a_file_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config::EventLogger { file_bytes_max: Some(4096), ..config(folder.path()) };
    let logger = EventLoggerServer::bind(&config).expect("binds").start().expect("starts");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    for name in ["small", &"x".repeat(9000), "after"] {
        socket.send_to(&event(name), logger.local_addr()).expect("sent");
    }
    logger.stop();
    let last = lines_of(&folder.path().join("events.log.2"));
    assert_eq!(last.last().expect("a line")["type"], "after");
    assert_eq!(lines_of(&folder.path().join("events.log.1")).len(), 2);
}

#[test]
fn a_reload_goes_on_in_another_folder_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let logger = EventLoggerServer::bind(&config(folder.path())).expect("binds").start().expect("starts");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    socket.send_to(&event("before"), logger.local_addr()).expect("sent");
    // What had arrived before is written first.
    let other = folder.path().join("other");
    logger.reload(&config(&other));
    wait::until("the other folder's file", || Ok(other.join("events.log").exists())).expect("it is opened");
    socket.send_to(&event("after"), logger.local_addr()).expect("sent");
    logger.stop();
    let types = |lines: Vec<serde_json::Value>| {
        lines.iter().map(|line| line["type"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(types(lines_of(&folder.path().join("events.log"))).last(), Some(&Some("before".to_owned())));
    assert_eq!(types(lines_of(&other.join("events.log"))), [Some("log-opened".to_owned()), Some("after".to_owned())]);
}

/// Packets that come faster than they are read keep nobody from reloading or stopping it.
#[test]
fn a_flood_keeps_it_neither_from_other_settings_nor_from_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let logger = EventLoggerServer::bind(&config(folder.path())).expect("binds").start().expect("starts");
    let (address, figures) = (logger.local_addr(), logger.figures());
    let flooding = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let floods: Vec<_> = (0..2)
        .map(|_| {
            let flooding = flooding.clone();
            std::thread::spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
                while flooding.load(Ordering::Relaxed) {
                    // Refused, so that no line ever fills a batch.
                    let _ = socket.send_to(b"no event", address);
                }
            })
        })
        .collect();
    let refused = || Ok(figures.refused.load(Ordering::Relaxed) > 2 * BATCH_PACKETS as u64);
    wait::until("the flood", refused).expect("it comes");
    let other = folder.path().join("other");
    logger.reload(&config(&other));
    wait::until("the other folder's file", || Ok(other.join("events.log").exists())).expect("it is opened");
    logger.stop();
    flooding.store(false, Ordering::Relaxed);
    floods.into_iter().for_each(|flood| flood.join().expect("it ends"));
}
