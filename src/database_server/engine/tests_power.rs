//! What a power cut leaves behind: a process is killed under load, and then every file loses what no sync had covered
//! ([`power`]).

use super::super::tests_world::FIRST;
use super::tests_crash::{Acknowledged, OBJECTS, child_folder, spawn_with, test_of, work_until_killed};
use super::tests_folder::Folder;
use super::{EngineError, tests::create};
use power::{Recorder, cut};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../../tests/support/power.rs"]
mod power;

/// How often the child is killed; the environment variable `DONET_TEST_KILLS` asks for another number.
const KILLS: usize = 25;

fn kills() -> usize {
    std::env::var("DONET_TEST_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number of kills"))
}

/// Numbers that only look random; the seed of a failing run is in its output, and `DONET_TEST_SEED` repeats it.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let seed = std::env::var("DONET_TEST_SEED").map_or_else(
            |_| std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into(),
            |seed| seed.parse().expect("a seed"),
        );
        eprintln!("DONET_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number from `from` up to and including `to` (SplitMix64).
    fn roll(&mut self, from: u64, to: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        from + (mixed ^ (mixed >> 31)) % (to - from + 1)
    }
}

/// A database folder whose child's syncs are recorded.
struct Recorded {
    temporary: tempfile::TempDir,
    recorder: Recorder,
}

impl Recorded {
    fn new() -> Self {
        Self { temporary: tempfile::tempdir().unwrap(), recorder: Recorder::new() }
    }

    fn folder(&self) -> PathBuf {
        self.temporary.path().join("database")
    }

    fn child(
        &self,
        test: &str,
        further: &[(&str, &OsStr)],
    ) -> (std::process::Child, std::io::Lines<std::io::BufReader<std::process::ChildStdout>>) {
        let recorder = self.recorder.environment();
        let mut variables: Vec<(&str, &OsStr)> =
            recorder.iter().map(|(name, value)| (*name, value.as_os_str())).collect();
        variables.extend(further);
        spawn_with(&test_of(module_path!(), test), &self.folder(), &variables)
    }

    fn files(&self) -> Vec<(PathBuf, u64, u64)> {
        self.recorder.files(&self.folder())
    }

    fn cut_power(&self, dice: &mut Dice) -> u64 {
        self.recorder.cut_power(&self.folder(), |from, to| dice.roll(from, to))
    }

    fn copy(&self) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        for (path, ..) in self.files() {
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        copy
    }
}

/// The child's part, in a folder that it makes itself: what the parent writes there is not recorded.
fn child_works(folder: &OsStr) -> ! {
    let folder = Path::new(folder);
    let fresh = !folder.exists();
    let engine = Folder::open(folder, FIRST..=u32::MAX).unwrap();
    if fresh {
        for _ in 0..OBJECTS {
            engine.ask_for(create(0));
        }
    }
    drop(engine);
    work_until_killed(folder)
}

#[test]
fn nothing_acknowledged_is_missing_after_a_power_cut() {
    if let Some(folder) = child_folder() {
        child_works(&folder);
    }
    let test = "nothing_acknowledged_is_missing_after_a_power_cut";
    let (recorded, mut dice) = (Recorded::new(), Dice::new());
    let mut acknowledged = Acknowledged::default();
    let mut lost = 0;
    for round in 0..kills() {
        let (mut child, lines) = recorded.child(test, &[]);
        acknowledged.listen_until(&mut child, lines, dice.roll(1, 500) as usize);
        lost += recorded.cut_power(&mut dice);
        // A copy is looked at: what the next child finds was written by children alone.
        let copy = recorded.copy();
        acknowledged.missing(copy.path()).unwrap_or_else(|missing| panic!("after kill {}: {missing}", round + 1));
    }
    eprintln!("{} kills, {} answers, {lost} bytes cut away", kills(), acknowledged.answers);
    assert!(lost > 0, "the cuts took nothing away: the recorder does not record");
}

/// The test above can fail: without syncs it finds something missing.
#[test]
fn without_syncs_a_power_cut_takes_what_was_acknowledged() {
    if let Some(folder) = child_folder() {
        child_works(&folder);
    }
    let test = "without_syncs_a_power_cut_takes_what_was_acknowledged";
    let (recorded, mut dice) = (Recorded::new(), Dice::new());
    let mut acknowledged = Acknowledged::default();
    for _ in 0..KILLS {
        let (mut child, lines) = recorded.child(test, &[("DONET_TEST_LEAVE_SYNCS_OUT", OsStr::new("1"))]);
        acknowledged.listen_until(&mut child, lines, dice.roll(100, 500) as usize);
        recorded.cut_power(&mut dice);
        if acknowledged.missing(recorded.copy().path()).is_err() {
            return;
        }
    }
    panic!("syncs were left out, and nobody noticed");
}

/// What was synced and is gone is named at the start, or was not needed: it is never served as if it had not been.
#[test]
fn a_file_cut_before_its_last_sync_is_named_at_start() {
    if let Some(folder) = child_folder() {
        child_works(&folder);
    }
    let test = "a_file_cut_before_its_last_sync_is_named_at_start";
    let (recorded, mut dice) = (Recorded::new(), Dice::new());
    let mut acknowledged = Acknowledged::default();
    let (mut child, lines) = recorded.child(test, &[]);
    acknowledged.listen_until(&mut child, lines, 300);
    let whole = recorded.copy();
    acknowledged.missing(whole.path()).expect("before any cut");

    let mut named = HashMap::new();
    for (path, _, synced) in recorded.files() {
        if synced == 0 {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        for _ in 0..6 {
            let copy = recorded.copy();
            let left = dice.roll(0, synced - 1);
            cut(&copy.path().join(&name), left);
            let kind = name.split_once('.').map_or_else(|| name.split('-').next().unwrap(), |(_, kind)| kind);
            match Folder::open(copy.path(), FIRST..=u32::MAX) {
                Err(error @ (EngineError::LostChanges { .. } | EngineError::Corrupt { .. })) => {
                    assert!(error.to_string().contains("restore a backup"), "{error}");
                    *named.entry(kind.to_owned()).or_insert(0) += 1;
                }
                Err(error) => panic!("{name} cut to {left} of {synced}: {error}"),
                Ok(folder) => {
                    drop(folder);
                    let missing = acknowledged.missing(copy.path());
                    assert_eq!(missing, Ok(()), "{name} cut to {left} of {synced} was not noticed");
                }
            }
        }
    }
    eprintln!("refusals by kind of file: {named:?}");
    for kind in ["log", "MANIFEST", "CURRENT"] {
        assert!(named.contains_key(kind), "no cut of a {kind} file was named: {named:?}");
    }
}

#[test]
fn a_damaged_log_is_named_at_start() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::open(temporary.path(), FIRST..=u32::MAX).unwrap();
    for number in 0..200 {
        folder.ask_for(create(number));
    }
    drop(folder);
    let logs = fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().path());
    let log = logs.filter(|path| path.extension().is_some_and(|kind| kind == "log")).max().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    fs::write(&log, &bytes).unwrap();
    for _ in 0..2 {
        let error = Folder::open(temporary.path(), FIRST..=u32::MAX).err().expect("half of the log is lost");
        assert!(matches!(error, EngineError::LostChanges { .. } | EngineError::Corrupt { .. }), "{error}");
    }
    bytes[middle] ^= 0x40;
    fs::write(&log, &bytes).unwrap();
    let folder = Folder::open(temporary.path(), FIRST..=u32::MAX).expect("the refusals have changed nothing");
    assert_eq!(folder.ask_for(create(0)), super::super::operation::Outcome::Created(FIRST + 200));
}
