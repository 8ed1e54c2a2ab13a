//! What a process leaves behind that is killed, or whose disk refuses to write, while it works.
//!
//! Each test runs this test binary again as a child that does nothing but its part. The child prints a line for every
//! answer that it has got; the parent compares the lines with what it finds in the folder.

use super::super::operation::{DatabaseCompletion, FieldValues, Operation, Outcome};
use super::super::tests_world::{AVATAR, CONTRACT, FIRST, NAME, X, Y, contract, contract_text, settings};
use super::database::Database;
use super::rocks::RocksStorage;
use super::tests::{create, request};
use super::tests_folder::Folder;
use super::{Engine, EngineError};
use crate::config::{self, Durability};
use bytes::Bytes;
use donet_dc::TextPolicy;
use donet_shards::ShardId;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

/// Tells the child which folder is its own.
pub(super) const FOLDER: &str = "DONET_TEST_DATABASE_FOLDER";
/// Objects that the child keeps setting; it creates and deletes others besides.
pub(super) const OBJECTS: u32 = 16;

pub(super) fn child_folder() -> Option<OsString> {
    std::env::var_os(FOLDER)
}

fn this_test(name: &str) -> Vec<OsString> {
    test_of(module_path!(), name)
}

/// The command that runs one test of this binary.
pub(super) fn test_of(module: &str, name: &str) -> Vec<OsString> {
    let name = format!("{}::{name}", module.split_once("::").expect("a module of the crate").1);
    vec![std::env::current_exe().unwrap().into(), name.into(), "--exact".into(), "--nocapture".into()]
}

fn spawn(command: &[OsString], folder: &Path) -> (Child, Lines<BufReader<ChildStdout>>) {
    spawn_with(command, folder, &[])
}

pub(super) fn spawn_with(
    command: &[OsString],
    folder: &Path,
    variables: &[(&str, &OsStr)],
) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = Command::new(&command[0])
        .args(&command[1..])
        .env(FOLDER, folder)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

/// An engine on the child's folder, with the answers in order.
fn open(folder: &Path, durability: Durability) -> (super::EngineHandle, Receiver<DatabaseCompletion>) {
    let directory = folder.to_owned();
    let settings = config::DatabaseServer { directory, durability, ..settings(FIRST..=u32::MAX) };
    let (sender, completions) = channel();
    let on_completion = Box::new(move |_, completion| sender.send(completion).expect("the child listens"));
    (Engine::open(0, &settings, contract(CONTRACT), &contract_text(CONTRACT), on_completion).unwrap(), completions)
}

/// Both fields hold the same number, so that a half-written set shows.
pub(super) fn set_both(doid: u32, number: i16) -> Operation {
    let value = Bytes::copy_from_slice(&number.to_le_bytes());
    Operation::Set { doid, values: [(X, value.clone()), (Y, value)].into_iter().collect() }
}

/// Works until it is killed: sets a rising number on every object, creates and deletes, with many operations at once.
pub(super) fn work_until_killed(folder: &Path) -> ! {
    let (engine, completions) = open(folder, Durability::Sync);
    let mut out = std::io::stdout().lock();
    for number in 1.. {
        for doid in FIRST..FIRST + OBJECTS {
            engine.submit(ShardId(0), request(number, set_both(doid, number as i16)));
        }
        engine.submit(ShardId(0), create(0));
        for _ in 0..OBJECTS + 1 {
            let completion = completions.recv().unwrap();
            match completion.outcome {
                Outcome::Applied { .. } => writeln!(out, "@set {} {}", completion.doid, completion.context).unwrap(),
                Outcome::Created(doid) => {
                    writeln!(out, "@created {doid}").unwrap();
                    if doid % 2 == 0 {
                        engine.submit(ShardId(0), request(0, Operation::Delete { doid }));
                        assert_eq!(completions.recv().unwrap().outcome, Outcome::Deleted);
                        writeln!(out, "@deleted {doid}").unwrap();
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        out.flush().unwrap();
    }
    unreachable!("the numbers do not end")
}

#[test]
fn nothing_acknowledged_is_missing_after_sigkill() {
    if let Some(folder) = child_folder() {
        work_until_killed(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    {
        let first = Folder::open(folder.path(), FIRST..=u32::MAX).unwrap();
        for doid in FIRST..FIRST + OBJECTS {
            assert_eq!(first.ask_for(create(0)), Outcome::Created(doid));
        }
    }
    let mut acknowledged = Acknowledged::default();
    for round in 0..6 {
        let (mut child, lines) = spawn(&this_test("nothing_acknowledged_is_missing_after_sigkill"), folder.path());
        // Each round lets another number of answers pass.
        acknowledged.listen_until(&mut child, lines, 40 + round * 53);
        acknowledged.check(folder.path());
    }
}

/// What children have said was answered.
#[derive(Default)]
pub(super) struct Acknowledged {
    /// By object the last number that the last child set.
    sets: BTreeMap<u32, i16>,
    created: BTreeSet<u32>,
    deleted: BTreeSet<u32>,
    pub answers: usize,
}

impl Acknowledged {
    /// Kills the child after so many answers; those that are still in the pipe at the end count too.
    pub fn listen_until(&mut self, child: &mut Child, lines: Lines<BufReader<ChildStdout>>, answers: usize) {
        self.sets.clear();
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["@set", doid, number] => {
                    self.sets.insert(doid.parse().unwrap(), number.parse().unwrap());
                }
                ["@created", doid] => {
                    assert!(self.created.insert(doid.parse().unwrap()), "id {doid} was handed out twice");
                }
                ["@deleted", doid] => {
                    self.deleted.insert(doid.parse().unwrap());
                }
                _ => continue,
            }
            seen += 1;
            if seen == answers {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= answers, "the child ended by itself after {seen} answers");
        self.answers += seen;
    }

    /// Whether all of it is in the folder: else what is missing or half-written.
    pub fn missing(&self, folder: &Path) -> Result<(), String> {
        let again = Folder::open(folder, FIRST..=u32::MAX).map_err(|error| error.to_string())?;
        for (&doid, &number) in &self.sets {
            let Outcome::Object { values, .. } = again.ask(Operation::GetAll { doid }) else {
                return Err(format!("object {doid} is gone"));
            };
            let stored = |field| values.get(field).map(|value| i16::from_le_bytes(value[..].try_into().unwrap()));
            if stored(X) != stored(Y) {
                return Err(format!("object {doid} is half-written"));
            }
            if stored(X).is_none_or(|stored| stored < number) {
                return Err(format!("object {doid}: {number} was acknowledged, {:?} is there", stored(X)));
            }
        }
        for &doid in &self.created {
            let found = matches!(again.ask(Operation::GetAll { doid }), Outcome::Object { class: AVATAR, .. });
            // A delete may have been carried out without its line reaching us.
            if !found && doid % 2 != 0 {
                return Err(format!("object {doid} is gone"));
            }
            if found && self.deleted.contains(&doid) {
                return Err(format!("object {doid} is back"));
            }
        }
        let Outcome::Created(next) = again.ask_for(create(0)) else { return Err("no id is left".to_owned()) };
        if self.created.last().is_some_and(|&last| next <= last) {
            return Err(format!("id {next} is handed out again"));
        }
        again.ask(Operation::Delete { doid: next });
        drop(again);
        // Every freed id waits once and belongs to nobody, and every value is one.
        let storage = RocksStorage::open(folder).map_err(|error| error.to_string())?;
        let mut database =
            Database::open(storage, contract(CONTRACT), FIRST..=u32::MAX).map_err(|error| error.to_string())?;
        match database.verify(TextPolicy::Utf8, &mut |_| {}) {
            wrong if wrong.is_empty() => Ok(()),
            wrong => Err(wrong.join("; ")),
        }
    }

    fn check(&self, folder: &Path) {
        self.missing(folder).unwrap_or_else(|missing| panic!("{missing}"));
    }
}

/// Holds the folder until its input ends.
fn hold(folder: &Path) {
    let (engine, _completions) = open(folder, Durability::Sync);
    println!("@open");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    engine.shutdown();
}

#[test]
fn a_folder_held_by_another_process_is_refused_until_that_ends() {
    if let Some(folder) = child_folder() {
        return hold(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let command = this_test("a_folder_held_by_another_process_is_refused_until_that_ends");
    let (mut child, mut lines) = spawn(&command, folder.path());
    assert!(lines.any(|line| line.unwrap().ends_with("@open")), "the child did not open the folder");
    let error = Folder::open(folder.path(), FIRST..=FIRST).err().expect("the folder is in use");
    let text = error.to_string();
    let named = text.contains(&format!("by process {}", child.id())) || text.contains("`fuser`");
    assert!(matches!(error, EngineError::Locked { .. }) && named, "{text}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    drop(Folder::open(folder.path(), FIRST..=FIRST).unwrap());
}

/// Sets long values until a file has reached the size that the shell has allowed, so that the log cannot be written;
/// reports how it goes on.
fn work_against_a_full_disk(folder: &Path) {
    let (engine, completions) = open(folder, Durability::Sync);
    engine.submit(ShardId(0), create(0));
    assert_eq!(completions.recv().unwrap().outcome, Outcome::Created(FIRST));
    let mut state = 1_u32;
    let (mut failures, mut number, mut after_failure) = (0, 0_i16, 0);
    while after_failure < 20 {
        number += 1;
        assert!(number < 5000, "nothing failed");
        // Bytes that do not compress, from a linear congruential sequence.
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 25) as u8
        })
        .take(8000)
        .collect();
        let mut value = (noise.len() as u16).to_le_bytes().to_vec();
        value.extend(noise);
        let number_value = Bytes::copy_from_slice(&number.to_le_bytes());
        let values: FieldValues = [(NAME, value.into()), (X, number_value)].into_iter().collect();
        engine.submit(ShardId(0), request(0, Operation::Set { doid: FIRST, values }));
        match completions.recv().unwrap().outcome {
            Outcome::Applied { .. } => {
                after_failure += u32::from(failures > 0);
                println!("@set {number}");
            }
            Outcome::Failed => {
                failures += 1;
                println!("@failed {number}");
            }
            other => panic!("{other:?}"),
        }
    }
    engine.shutdown();
    println!("@done {failures}");
}

/// The storage refuses to write in the middle of the work, by a limit on the size of a file: the operation fails, the
/// engine lives on, recovers when it can, and has lost nothing that it had acknowledged.
#[test]
fn a_storage_that_refuses_to_write_fails_the_batch_and_recovers() {
    if let Some(folder) = child_folder() {
        return work_against_a_full_disk(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    // 4 MiB in blocks of 512 bytes; a refused write is an error and not a signal.
    let mut command: Vec<OsString> =
        ["sh", "-c", "trap '' XFSZ; ulimit -f 8192; exec \"$@\"", "sh"].map(Into::into).into();
    command.extend(this_test("a_storage_that_refuses_to_write_fails_the_batch_and_recovers"));
    let (mut child, lines) = spawn(&command, folder.path());
    let (mut acknowledged, mut failed, mut done) = (0_i16, 0, false);
    for line in lines {
        let line = line.unwrap();
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["@set", number] => acknowledged = number.parse().unwrap(),
            ["@failed", _] => failed += 1,
            ["@done", failures] => done = failures.parse() == Ok(failed),
            _ => {}
        }
    }
    assert!(child.wait().unwrap().success() && done && failed > 0, "{failed} failures");
    let again = Folder::open(folder.path(), FIRST..=u32::MAX).unwrap();
    let Outcome::Values(values) = again.ask(super::tests::get(FIRST, X)) else { panic!("the object is gone") };
    assert_eq!(values.get(X).map(|value| &value[..]), Some(&acknowledged.to_le_bytes()[..]));
}
