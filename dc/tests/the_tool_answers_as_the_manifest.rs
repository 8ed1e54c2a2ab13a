//! The binary: `show --json`, `hash`, `check`, `pack`, `unpack`, `--batch`, `diff`, and their exit codes.
#![cfg(feature = "cli")]

mod support;

use serde_json::{Value as Json, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use support::{entries, folder};

fn tool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_donet-dc"))
        .args(arguments)
        .current_dir(folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn files(entry: &Json) -> Vec<&str> {
    entry["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

/// Everything the manifest says is in the answer; the answer may say more, and a default the oracle lacks.
fn assert_within(expected: &Json, answer: &Json, place: &str) {
    match (expected, answer) {
        (Json::Object(expected), Json::Object(answer)) => {
            for (key, expected) in expected.iter().filter(|(key, _)| *key != "hash_variants" && *key != "packings") {
                assert_within(expected, &answer[key], &format!("{place}.{key}"));
            }
        }
        (Json::Array(expected), Json::Array(answer)) => {
            assert_eq!(expected.len(), answer.len(), "{place}");
            for (expected, answer) in expected.iter().zip(answer) {
                assert_within(expected, answer, place);
            }
        }
        (Json::Null, _) if place.ends_with("default") => {}
        _ => assert_eq!(expected, answer, "{place}"),
    }
}

#[test]
fn show_json_is_an_entry_of_the_manifest() {
    for entry in entries() {
        let output = tool(&[&["show", "--json"], &files(&entry)[..]].concat(), "");
        assert!(output.status.success(), "{}", complaint(&output));
        assert_within(&entry, &serde_json::from_str(&text(&output)).unwrap(), "");
    }
}

#[test]
fn hash_prints_the_hash_under_the_switches_given() {
    for entry in entries() {
        let off = ["--no-virtual-inheritance"];
        let plain = tool(&[&["hash"], &files(&entry)[..]].concat(), "");
        assert_eq!(text(&plain).trim(), entry["hash_hex"].as_str().unwrap());
        let other = tool(&[&["hash"], &off[..], &files(&entry)[..]].concat(), "");
        let expected = entry["hash_variants"]["multiple=1 virtual=0 sort=1"].as_u64().unwrap();
        assert_eq!(text(&other).trim(), format!("{expected:#010x}"));
    }
}

#[test]
fn a_batch_packs_and_unpacks_every_value_of_the_manifest() {
    for entry in entries() {
        let mut requests = String::new();
        let mut expected = Vec::new();
        for (name, rows) in entry["packings"].as_object().unwrap() {
            let (class, field) = name.split_once('.').unwrap();
            for row in rows["pack"].as_array().unwrap() {
                let request = json!({"op": "pack", "class": class, "field": field, "literal": row["literal"]});
                requests.push_str(&format!("{request}\n"));
                expected.push(row);
            }
            for row in rows["unpack"].as_array().unwrap() {
                let request = json!({"op": "unpack", "class": class, "field": field, "hex": row["hex"]});
                requests.push_str(&format!("{request}\n"));
                expected.push(row);
            }
        }
        let output = tool(&[&["pack", "--batch"], &files(&entry)[..]].concat(), &requests);
        assert!(output.status.success(), "{}", complaint(&output));
        let answers = text(&output);
        let mut answers = answers.lines();
        for row in expected {
            let answer: Json = serde_json::from_str(answers.next().unwrap()).unwrap();
            assert_eq!(answer["ok"], row["accept"], "{row} {answer}");
            if answer["ok"] == false {
                assert!(!answer["error"].as_str().unwrap().is_empty());
            } else if row["literal"].is_string() {
                assert!(row["length"].is_u64() || answer["hex"] == row["hex"], "{row} {answer}");
            } else {
                assert!(same_number(&answer["value"], &row["value"]), "{row} {answer}");
            }
        }
        assert_eq!(answers.next(), None);
    }
}

/// JSON of another writer: 1 and 1.0 are the same.
fn same_number(left: &Json, right: &Json) -> bool {
    match (left, right) {
        (Json::Array(left), Json::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| same_number(left, right))
        }
        (Json::Number(left), Json::Number(right)) => left == right || left.as_f64() == right.as_f64(),
        _ => left == right,
    }
}

#[test]
fn a_batch_answers_nonsense_and_goes_on() {
    let requests = "nonsense\n{}\n{\"op\":\"eat\",\"class\":\"Ints\",\"field\":\"i8\"}\n\n\
        {\"op\":\"pack\",\"class\":\"Int\",\"field\":\"i8\",\"literal\":\"1\"}\n\
        {\"op\":\"unpack\",\"class\":\"Ints\",\"field\":\"i8\",\"hex\":\"zz\"}\n\
        {\"op\":\"pack\",\"class\":\"Ints\",\"field\":\"i8\",\"literal\":\"-1\"}";
    let output = tool(&["unpack", "--batch", "03_integers.dc"], requests);
    let answers = text(&output);
    let lines: Vec<Json> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert!(lines[..5].iter().all(|line| line["ok"] == false), "{answers}");
    assert!(lines[3]["error"].as_str().unwrap().contains("did you mean `Ints`"), "{answers}");
    assert_eq!(lines[5], json!({"ok": true, "hex": "ff"}));
}

#[test]
fn one_value_is_packed_and_unpacked() {
    let packed = tool(&["pack", "15_structs.dc", "--field", "Holder.p", "{x = 1.5, -2}"], "");
    assert_eq!((text(&packed).trim(), packed.status.code()), ("0f00ecff", Some(0)));
    let unpacked = tool(&["unpack", "15_structs.dc", "--field", "Holder.p", "0f00ecff"], "");
    assert_eq!((text(&unpacked).trim(), unpacked.status.code()), ("{1.5, -2.0}", Some(0)));
    let negative = tool(&["pack", "03_integers.dc", "--field", "Ints.i8", "-1"], "");
    assert_eq!(text(&negative).trim(), "ff");
}

#[test]
fn exit_codes_tell_refusal_from_wrong_usage() {
    let code = |arguments: &[&str]| tool(arguments, "").status.code();
    assert_eq!(code(&["check", "41_contract.dc"]), Some(0));
    assert_eq!(code(&["check", "39_forward_references.dc"]), Some(1), "refused");
    assert_eq!(code(&["check", "no_such_file.dc"]), Some(2));
    assert_eq!(code(&["check"]), Some(2));
    assert_eq!(code(&["pack", "03_integers.dc", "--field", "Ints.i8", "300"]), Some(1));
    assert_eq!(code(&["unpack", "03_integers.dc", "--field", "Ints.i8", "0000"]), Some(1));
    assert_eq!(code(&["unpack", "03_integers.dc", "--field", "Ints.nothing", "00"]), Some(2));
    assert_eq!(code(&["diff", "03_integers.dc", "03_integers.dc"]), Some(0));
    assert_eq!(code(&["diff", "03_integers.dc", "41_contract.dc"]), Some(1), "they differ");
    assert_eq!(code(&["diff", "03_integers.dc"]), Some(2));
    assert_eq!(code(&["diff", "03_integers.dc", "39_forward_references.dc"]), Some(2));
    assert_eq!(code(&["diff", "42_sequence_a.dc", "--new", "42_sequence_a.dc", "43_sequence_b.dc"]), Some(1));
    assert_eq!(code(&["--help"]), Some(0));
}

#[test]
fn mistakes_are_drawn_with_their_line_and_a_caret() {
    let folder = tempfile();
    let path = folder.join("wrong.dc");
    let source = "dclass Avatar {\n  setX(int61/10 x) requird;\n  caf\u{e9}();\n};\n";
    std::fs::write(&path, source).unwrap();
    let output = tool(&["check", path.to_str().unwrap()], "");
    let drawn = complaint(&output);
    for part in
        ["DC110", "DC030", "DC001", "setX(int61/10 x) requird;", "^^^^^", "did you mean `int16`?", "wrong.dc:2:8"]
    {
        assert!(drawn.contains(part), "{part} is missing in:\n{drawn}");
    }
    let plain = complaint(&tool(&["check", "--plain", path.to_str().unwrap()], ""));
    assert!(plain.contains("wrong.dc:2:8: error[DC110]: the type `int61` is not declared\n"), "{plain}");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn warnings_are_drawn_and_change_the_exit_code_only_when_denied() {
    let folder = tempfile();
    let path = folder.join("warned.dc");
    std::fs::write(&path, "dclass Avatar {\n  setGold(uint32 gold) required ownrecv;\n  say() broadcast;\n};\n")
        .unwrap();
    let path = path.to_str().unwrap();
    let warned = tool(&["check", path], "");
    assert_eq!(warned.status.code(), Some(0));
    assert!(text(&warned).starts_with("ok: 1 classes"), "{}", text(&warned));
    let drawn = complaint(&warned);
    for part in [
        "warning[DC200]",
        "warned.dc:2:3",
        "setGold(uint32 gold) required ownrecv;",
        "^^^^^^^",
        "warning[DC202]",
        "2 warnings",
    ] {
        assert!(drawn.contains(part), "{part} is missing in:\n{drawn}");
    }
    let denied = tool(&["check", "--deny-warnings", "--plain", path], "");
    assert_eq!(denied.status.code(), Some(1));
    assert_eq!(text(&denied), "", "no ok");
    assert!(complaint(&denied).contains("warned.dc:2:3: warning[DC200]: "), "{}", complaint(&denied));
    let named = tool(&["check", "--plain", "--parent", "Avatar", path], "");
    assert!(complaint(&named).contains("1:8: warning[DC202]: `Avatar` has no field"), "{}", complaint(&named));
    // Only `check` warns: what others print is what was asked for.
    assert_eq!(complaint(&tool(&["hash", path], "")), "");
    assert_eq!(
        tool(&["check", "--deny-warnings", "15_structs.dc"], "").status.code(),
        Some(1),
        "no class can be a parent"
    );
    std::fs::remove_dir_all(folder).unwrap();
}

/// A folder of this test alone.
fn tempfile() -> PathBuf {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("donet-dc-test-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
