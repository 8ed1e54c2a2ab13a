//! What goes wrong under a database: the daemon names it with a remedy, answers requests with failure, goes on, and has
//! lost nothing that it had acknowledged.

#[path = "support/database.rs"]
#[allow(dead_code)]
mod database;
mod support;

use database::{FIRST, Link, NAME, Setup, THING, text};
use donet_perf::{Failure, wait};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A small disk of its own. Unmounted when dropped.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user may not mount anything.
    fn mount(test: &str, megabytes: u32) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("donet-disk-").tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(folder.path())
            .output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            support::skip(test, "the right to mount a tmpfs (root)");
            return None;
        }
        Some(Self(folder))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, mode: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(self.path()).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(self.path()).status();
    }
}

/// A value that is large and does not compress, and different for every number.
fn noise(number: u32) -> Vec<u8> {
    let mut state = number.wrapping_mul(2_654_435_761) | 1;
    let next = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b' ' + (state >> 25) as u8 % 90
    });
    text(next.take(30_000).collect::<Vec<u8>>())
}

#[test]
fn a_full_disk_fails_writes_only_until_there_is_room() -> Result<(), Failure> {
    let Some(disk) = SmallDisk::mount("a_full_disk_fails_writes_only_until_there_is_room", 72) else { return Ok(()) };
    let mut setup = Setup::new(2);
    setup.database = disk.path().join("data");
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![1; 44 << 20])?;
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    let mut created = 0;
    loop {
        let doid = link.create(THING, &[(NAME, noise(created))])?;
        if doid == 0 {
            break;
        }
        assert_eq!(doid, FIRST + created);
        created += 1;
        assert!(created < 3000, "the disk never gets full");
    }
    assert!(created > 10, "full after {created} objects");
    // Writes fail, one after the other; reads show what was acknowledged, and no more.
    for _ in 0..5 {
        assert_eq!(link.create(THING, &[(NAME, noise(7))])?, 0, "it is still full");
        for number in (0..created).step_by(17) {
            assert_eq!(link.get(FIRST + number, NAME)?, Some(noise(number)), "object {number} while the disk is full");
        }
        assert_eq!(link.get(FIRST + created, NAME)?, None);
    }
    let log = setup.log();
    assert!(log.contains("the database cannot write") && log.contains("No space left"), "{log}");

    fs::remove_file(&ballast)?;
    // It comes back by itself, some seconds later; no id was lost.
    let again = wait::for_some("the database to write again", || {
        Ok(Some(link.create(THING, &[(NAME, noise(created))])?).filter(|&doid| doid != 0))
    })?;
    assert_eq!(again, FIRST + created, "{}", setup.log());
    assert!(setup.log().contains("the database can write again"));

    daemon.kill()?;
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    for number in 0..=created {
        assert_eq!(link.get(FIRST + number, NAME)?, Some(noise(number)), "object {number} after the restart");
    }
    daemon.stop()
}

#[test]
fn a_full_disk_at_start_is_named() -> Result<(), Failure> {
    let Some(disk) = SmallDisk::mount("a_full_disk_at_start_is_named", 4) else { return Ok(()) };
    let mut setup = Setup::new(1);
    setup.database = disk.path().join("data");
    // Fails at the last of it.
    let _ = fs::write(disk.path().join("ballast"), vec![1; 8 << 20]);
    let said = setup.refused();
    assert!(said.contains("is full") && said.contains("make room"), "{said}");
    fs::remove_file(disk.path().join("ballast"))?;
    setup.start().stop()
}

/// A disk that cannot be written any more while the daemon runs. To remount one takes more than a test may have, so every
/// call that would write there is refused as such a disk refuses it.
#[test]
fn a_folder_that_becomes_read_only_fails_writes_only_until_it_is_writable_again() -> Result<(), Failure> {
    let mut setup = Setup::new(2);
    let shim = setup.folder().join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/read_only_shim.c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let arguments = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"];
    let compiled = Command::new(compiler).args(arguments).args([&shim, &source]).arg("-ldl").status();
    assert!(compiled.expect("the C compiler that RocksDB was compiled with").success());
    let flag = setup.folder().join("read-only");
    setup.environment = vec![
        ("LD_PRELOAD", shim),
        ("DONET_TEST_READ_ONLY", flag.clone()),
        ("DONET_TEST_FOLDER", setup.database.clone()),
    ];
    let mut daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    for number in 0..20 {
        assert_eq!(link.create(THING, &[(NAME, noise(number))])?, FIRST + number);
    }
    fs::write(&flag, "")?;
    for _ in 0..5 {
        assert_eq!(link.create(THING, &[(NAME, text("refused"))])?, 0);
        link.set(FIRST, NAME, &text("refused"))?;
        for number in 0..20 {
            assert_eq!(link.get(FIRST + number, NAME)?, Some(noise(number)));
        }
    }
    assert!(daemon.is_running()?);
    let log = setup.log();
    assert!(log.contains("the database cannot write") && log.contains("Read-only file system"), "{log}");
    fs::remove_file(&flag)?;
    let again = wait::for_some("a write that succeeds again", || {
        let doid = link.create(THING, &[(NAME, text("again"))])?;
        Ok((doid != 0).then_some(doid))
    })?;
    assert_eq!(again, FIRST + 20, "{}", setup.log());
    daemon.kill()?;
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    for number in 0..20 {
        assert_eq!(link.get(FIRST + number, NAME)?, Some(noise(number)));
    }
    assert_eq!(link.get(again, NAME)?, Some(text("again")));
    daemon.stop()
}

/// The check of RocksDB's log records: CRC-32C, masked as they store it.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    let crc = !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    });
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Writes another format version into the log of a folder that was just made.
fn set_format_version(folder: &Path, version: u32) {
    const MAGIC: &[u8] = b"donet-db\r\n\x1a\n";
    const HEADER_BYTES: usize = 7;
    let logs = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    for log in logs.filter(|path| path.extension().is_some_and(|kind| kind == "log")) {
        let mut bytes = fs::read(&log).unwrap();
        let mut at = 0;
        // Records are far shorter than a block here: check (4 bytes), length (2), type (1), content.
        while at + HEADER_BYTES < bytes.len() {
            let length = usize::from(u16::from_le_bytes([bytes[at + 4], bytes[at + 5]]));
            let end = at + HEADER_BYTES + length;
            let record = &mut bytes[at..end];
            if let Some(place) = record.windows(MAGIC.len()).position(|window| window == MAGIC) {
                let number = place + MAGIC.len();
                assert_eq!(record[..4], masked_crc32c(&record[6..]).to_le_bytes(), "this is how a record is checked");
                record[number..number + 4].copy_from_slice(&version.to_le_bytes());
                let check = masked_crc32c(&record[6..]);
                record[..4].copy_from_slice(&check.to_le_bytes());
                fs::write(&log, bytes).unwrap();
                return;
            }
            at = end;
        }
    }
    panic!("no log of {} has a format record", folder.display());
}

#[test]
fn a_folder_of_a_newer_version_is_named_at_start_and_left_as_it_is() -> Result<(), Failure> {
    let setup = Setup::new(1);
    let daemon = setup.start();
    assert_eq!(Link::new(&daemon)?.create(THING, &[(NAME, text("kept"))])?, FIRST);
    // The record is in the log still, and not in a table.
    daemon.kill()?;
    set_format_version(&setup.database, 2);
    for _ in 0..2 {
        let said = setup.refused();
        assert!(said.contains("has format version 2, this program knows 1"), "{said}");
        assert!(said.contains("start the newer donetd"), "{said}");
        let (succeeded, _, error) = setup.tool(&["export"]);
        assert!(!succeeded && error.contains("format version 2"), "{error}");
    }
    Ok(())
}

#[test]
fn a_read_only_folder_is_named_at_start() -> Result<(), Failure> {
    let test = "a_read_only_folder_is_named_at_start";
    let Some(disk) = SmallDisk::mount(test, 96) else { return Ok(()) };
    let mut setup = Setup::new(1);
    setup.database = disk.path().join("data");
    let daemon = setup.start();
    assert_eq!(Link::new(&daemon)?.create(THING, &[(NAME, text("kept"))])?, FIRST);
    daemon.stop()?;
    disk.remount("ro");
    let said = setup.refused();
    assert!(said.contains("cannot be written") && said.contains("chown"), "{said}");
    disk.remount("rw");
    let daemon = setup.start();
    assert_eq!(Link::new(&daemon)?.get(FIRST, NAME)?, Some(text("kept")));
    daemon.stop()
}

/// The tables of a folder that hold some text, after the daemon has moved its log into them.
fn tables_with(folder: &Path, needle: &[u8]) -> Vec<(std::path::PathBuf, usize)> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|kind| kind == "sst"));
    tables
        .filter_map(|path| {
            let bytes = fs::read(&path).unwrap();
            let place = bytes.windows(needle.len()).position(|window| window == needle)?;
            Some((path, place))
        })
        .collect()
}

#[test]
fn a_damaged_table_fails_what_needs_it_and_nothing_else() -> Result<(), Failure> {
    const NEEDLE: &[u8] = b"a name that nothing else has: 7f3b09";
    let setup = Setup::new(2);
    let daemon = setup.start();
    assert_eq!(Link::new(&daemon)?.create(THING, &[(NAME, text(NEEDLE))])?, FIRST);
    daemon.stop()?;
    // The start moves the log into a table.
    setup.start().stop()?;
    let tables = tables_with(&setup.database, NEEDLE);
    assert_eq!(tables.len(), 1, "{tables:?}");
    let (path, place) = &tables[0];
    let mut bytes = fs::read(path)?;
    bytes[place + 3] ^= 0x20;
    fs::write(path, bytes)?;

    let mut daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    for _ in 0..3 {
        assert_eq!(link.get(FIRST, NAME)?, None, "what is damaged is never shown");
        let doid = link.create(THING, &[(NAME, text("another"))])?;
        assert!(doid > FIRST);
        assert_eq!(link.get(doid, NAME)?, Some(text("another")));
    }
    assert!(daemon.is_running()?);
    let log = setup.log();
    assert!(log.contains("damaged record") && log.contains("orruption"), "{log}");
    daemon.stop()
}

#[test]
fn a_log_that_lost_its_end_is_named_at_start() -> Result<(), Failure> {
    let setup = Setup::new(1);
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    for number in 0..50 {
        assert_eq!(link.create(THING, &[(NAME, text("kept"))])?, FIRST + number);
    }
    daemon.kill()?;
    let logs = fs::read_dir(&setup.database)?.map(|entry| entry.unwrap().path());
    let log = logs.filter(|path| path.extension().is_some_and(|kind| kind == "log")).max().expect("a log");
    let whole = fs::read(&log)?;
    fs::write(&log, &whole[..whole.len() / 2])?;
    for _ in 0..2 {
        let said = setup.refused();
        assert!(said.contains("has lost changes that were on disk") && said.contains("restore a backup"), "{said}");
    }
    fs::write(&log, whole)?;
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    for number in 0..50 {
        assert_eq!(link.get(FIRST + number, NAME)?, Some(text("kept")));
    }
    daemon.stop()
}
