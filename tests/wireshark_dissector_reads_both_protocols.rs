//! `docs/wireshark/donet.lua` knows every message number, and reads what the daemon's own encoder writes.

mod support;

use donet::wire::{Encoder, MessageType, message_type as t};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

const DISSECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/wireshark/donet.lua");

#[test]
fn its_table_is_that_of_the_daemon() {
    let lua = std::fs::read_to_string(DISSECTOR).expect("the dissector");
    let (_, table) = lua.split_once("-- begin of the table\n").expect("a beginning");
    let (table, _) = table.split_once("-- end of the table\n").expect("an end");
    let mut expected = String::new();
    for number in 0..=u16::MAX {
        if let Some(name) = MessageType(number).name() {
            let _ = writeln!(expected, "  [{number}] = \"{name}\",");
        }
    }
    assert_eq!(table, expected, "the table between the marks must be this:\n{expected}");
}

/// A hex dump of one TCP segment, as text2pcap reads it.
fn hex_dump(bytes: &[u8]) -> String {
    let mut dump = String::new();
    for (index, line) in bytes.chunks(16).enumerate() {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = writeln!(dump, "{:06x} {}", index * 16, hex.join(" "));
    }
    dump
}

/// What tshark shows of these segments, sent to this port.
fn shown(folder: &Path, port: u16, segments: &[&[u8]]) -> String {
    let (dump, capture) = (folder.join("dump.txt"), folder.join("capture.pcap"));
    let text: String = segments.iter().map(|segment| hex_dump(segment)).collect();
    std::fs::write(&dump, text).expect("written");
    let made = Command::new("text2pcap").args(["-q", "-T", &format!("40000,{port}")]).args([&dump, &capture]).status();
    assert!(made.expect("text2pcap runs").success());
    let output = Command::new("tshark")
        .env("HOME", folder)
        .args(["-X", &format!("lua_script:{DISSECTOR}"), "-V", "-r"])
        .arg(&capture)
        .output()
        .expect("tshark runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !errors.contains("Lua"), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

fn has_tshark() -> bool {
    ["tshark", "text2pcap"].iter().all(|program| Command::new(program).arg("--version").output().is_ok())
}

#[track_caller]
fn assert_shows(text: &str, lines: &[&str]) {
    let mut rest = text.lines().map(str::trim);
    for line in lines {
        assert!(rest.any(|found| found == *line), "{line} is missing, or not in its place, in\n{text}");
    }
}

#[test]
fn it_reads_links() {
    if !has_tshark() {
        return support::skip("wireshark_dissector_reads_both_protocols::it_reads_links", "tshark");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let subscribe = Encoder::control(t::CONTROL_ADD_CHANNEL).u64(4000).finish().expect("short");
    let create = Encoder::internal(&[102_000], 3_000_000, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED);
    let create = create.u32(5000).u32(0).u32(7).u16(3).blob(b"hi").finish().expect("short");
    let update = Encoder::internal(&[1, 2], 7, t::STATESERVER_OBJECT_SET_FIELD).u32(5000).u16(9).u8(1);
    let update = update.finish().expect("short");
    // A frame that two segments share.
    let (head, tail) = create.split_at(9);
    let text = shown(folder.path(), 7199, &[&[&subscribe[..], head].concat(), &[tail, &update[..]].concat()]);
    assert_shows(
        &text,
        &[
            "DoNet, Message Director, CONTROL_ADD_CHANNEL",
            "Channel: 4000",
            "DoNet, Message Director, STATESERVER_CREATE_OBJECT_WITH_REQUIRED",
            "Recipient: 102000",
            "Sender: 3000000",
            "DoId: 5000",
            "Zone: 7",
            "Class: 3",
            "DoNet, Message Director, STATESERVER_OBJECT_SET_FIELD",
            "Recipients: 2",
            "Field: 9",
        ],
    );
    assert!(!text.contains("ends early"), "{text}");
}

#[test]
fn it_reads_clients_and_marks_what_is_cut_short() {
    if !has_tshark() {
        let test = "wireshark_dissector_reads_both_protocols::it_reads_clients_and_marks_what_is_cut_short";
        return support::skip(test, "tshark");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let hello = Encoder::client(t::CLIENT_HELLO).u32(43_981).blob(b"v1").finish().expect("short");
    let heartbeat = Encoder::client(t::CLIENT_HEARTBEAT).finish().expect("short");
    let cut = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).u32(9).finish().expect("short");
    let text = shown(folder.path(), 7198, &[&[&hello[..], &heartbeat[..], &cut[..]].concat()]);
    assert_shows(
        &text,
        &[
            "DoNet, Client Agent, CLIENT_HELLO",
            "DC hash: 43981",
            "Version: v1",
            "DoNet, Client Agent, CLIENT_HEARTBEAT",
            "DoNet, Client Agent, CLIENT_OBJECT_SET_FIELD",
            "DoId: 9",
            "[Expert Info (Error/Malformed): The message ends early]",
        ],
    );
}
