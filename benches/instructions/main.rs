//! Instructions for each operation of the hot paths, counted by callgrind: the same on a busy machine as on a quiet one.
//!
//! `cargo bench --bench instructions --profile dev` prints them against the record beside this file;
//! `… -- --record` makes them the record. Each is the difference of two runs of this program with different numbers of
//! repetitions, so that its start does not count. Without valgrind it says so and counts nothing.

#[path = "../hot_paths/work.rs"]
mod work;

use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Repetitions of the two runs.
const FEW: u64 = 100;
const MANY: u64 = 400;
/// Below this a change is the noise of hash seeds and addresses.
const NOISE: f64 = 0.02;

fn record_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/record.json")
}

/// This program again, repeating one hot path under callgrind: all its instructions.
fn count(name: &str, repetitions: u64) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["repeat", name, &repetitions.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :"));
    let number = collected.and_then(|(_, number)| number.trim().parse().ok());
    number.ok_or_else(|| format!("valgrind has counted nothing for {name:?}:\n{text}"))
}

fn instructions_per_operation(name: &str, operations: u64) -> Result<f64, String> {
    let instructions = count(name, MANY)?.saturating_sub(count(name, FEW)?);
    Ok(instructions as f64 / ((MANY - FEW) * operations) as f64)
}

fn commit() -> String {
    let output = Command::new("git").args(["describe", "--always", "--dirty"]).output();
    output.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn run(record: bool) -> Result<(), String> {
    let text = std::fs::read_to_string(record_path()).unwrap_or_default();
    let last: Value = serde_json::from_str(&text).unwrap_or_default();
    println!("instructions per operation, against {}", last["commit"].as_str().unwrap_or("nothing"));
    let mut counted = Map::new();
    for work in work::all() {
        let now = instructions_per_operation(&work.name, work.operations)?;
        let change = last["instructions_per_operation"][&work.name].as_f64().map(|then| now / then - 1.0);
        let remark = match change {
            None => "new".to_owned(),
            Some(change) if change.abs() < NOISE => "same".to_owned(),
            Some(change) => format!("{:+.1} %", change * 100.0),
        };
        println!("{:<50} {now:>10.0}   {remark}", work.name);
        counted.insert(work.name, json!(now.round() as u64));
    }
    if record {
        let record = json!({ "commit": commit(), "instructions_per_operation": counted });
        let text = serde_json::to_string_pretty(&record).map_err(|error| error.to_string())?;
        std::fs::write(record_path(), text + "\n").map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, name, repetitions] = &arguments[..]
        && what == "repeat"
    {
        let repetitions: u64 = repetitions.parse().expect("a number of repetitions");
        let mut work = work::all().into_iter().find(|work| work.name == *name).expect("a known hot path");
        (0..repetitions).for_each(|_| (work.repeat)());
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("valgrind is not installed: no instructions counted");
        return ExitCode::SUCCESS;
    }
    match run(arguments.iter().any(|argument| argument == "--record")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
