//! Power cuts: what a process leaves behind that is killed, without whatever no sync had covered.
//!
//! A kill alone does not show a missing sync, because the system still has what the process wrote. So the process runs
//! with a recorder preloaded (`sync_recorder.c`) that notes the length of each file at each sync; afterwards every file
//! is cut at a random place at or beyond it. Whatever writes to the files between the cuts must be recorded too.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The recorder, and what it has noted.
pub struct Recorder {
    temporary: tempfile::TempDir,
}

impl Recorder {
    pub fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/sync_recorder.c");
        let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
        let compiled = Command::new(compiler)
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .args([&temporary.path().join("recorder.so"), &source])
            .arg("-ldl")
            .status()
            .expect("the C compiler that RocksDB was compiled with");
        assert!(compiled.success());
        Self { temporary }
    }

    fn log(&self) -> PathBuf {
        self.temporary.path().join("syncs")
    }

    /// For a process that is recorded.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("LD_PRELOAD", self.temporary.path().join("recorder.so")), ("DONET_TEST_SYNC_LOG", self.log())]
    }

    /// By device and inode the length that each file had when it was last synced.
    fn synced(&self) -> HashMap<(u64, u64), u64> {
        let mut synced = HashMap::new();
        for line in fs::read_to_string(self.log()).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let number = |index: usize| words[index].parse::<u64>().unwrap();
            let file = (number(1), number(2));
            match words[0] {
                "S" => drop(synced.insert(file, number(3))),
                "T" => drop(synced.entry(file).and_modify(|length| *length = number(3).min(*length))),
                _ => drop(synced.remove(&file)),
            }
        }
        synced
    }

    /// Every file of a folder with its length and how much of it was synced.
    pub fn files(&self, folder: &Path) -> Vec<(PathBuf, u64, u64)> {
        let synced = self.synced();
        let files = fs::read_dir(folder).unwrap().filter_map(|entry| {
            let path = entry.unwrap().path();
            let metadata = fs::metadata(&path).unwrap();
            let known = synced.get(&(metadata.dev(), metadata.ino())).copied().unwrap_or(0);
            metadata.is_file().then(|| (path, metadata.len(), known.min(metadata.len())))
        });
        files.collect()
    }

    /// A power cut: of every file of a folder at least what was synced stays, and by chance some of the rest. `roll` is a
    /// random number from one number up to and including another. Returns how many bytes are lost.
    pub fn cut_power(&self, folder: &Path, mut roll: impl FnMut(u64, u64) -> u64) -> u64 {
        let mut lost = 0;
        for (path, length, synced) in self.files(folder) {
            // Half of the cuts leave nothing but what was promised.
            let kept = if roll(0, 1) == 0 { synced } else { roll(synced, length) };
            cut(&path, kept);
            lost += length - kept;
        }
        lost
    }
}

/// Makes a file shorter.
pub fn cut(path: &Path, length: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}
