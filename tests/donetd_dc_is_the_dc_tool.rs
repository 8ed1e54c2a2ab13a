//! `donetd dc` is the same tool as `donet-dc`, so that a machine which has the daemon needs nothing else.

use std::process::{Command, Output};

fn donetd(arguments: &[&str]) -> Output {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/dc/tests/vectors");
    Command::new(env!("CARGO_BIN_EXE_donetd"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the built daemon runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the tool writes text")
}

#[test]
fn it_checks_hashes_shows_packs_unpacks_and_compares() {
    let file = "41_contract.dc";
    let manifest = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/dc/tests/vectors/manifest.json"));
    let manifest: serde_json::Value = serde_json::from_str(&manifest.expect("the vectors")).expect("JSON");
    let entries = manifest["entries"].as_array().expect("entries");
    let entry = entries.iter().find(|entry| entry["files"] == serde_json::json!([file])).expect("the contract's entry");
    let hash = entry["hash_hex"].as_str().expect("a hash");

    let check = donetd(&["dc", "check", file]);
    assert_eq!(check.status.code(), Some(0), "{}", text(&check.stderr));
    assert!(text(&check.stdout).contains(hash), "{}", text(&check.stdout));
    assert_eq!(text(&donetd(&["dc", "hash", file]).stdout).trim(), hash);
    let show: serde_json::Value =
        serde_json::from_slice(&donetd(&["dc", "show", "--json", file]).stdout).expect("JSON");
    assert_eq!(show["hash"], entry["hash"]);
    let classes = show["classes"].as_array().expect("classes").len();
    assert_eq!(classes, entry["classes"].as_array().expect("classes").len());

    let same = donetd(&["dc", "diff", file, file]);
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stdout));
    let other = donetd(&["dc", "diff", file, "03_integers.dc"]);
    assert_eq!(other.status.code(), Some(1), "{}{}", text(&other.stdout), text(&other.stderr));
}

#[test]
fn it_packs_and_unpacks_a_value() {
    let file = "15_structs.dc";
    let show: serde_json::Value =
        serde_json::from_slice(&donetd(&["dc", "show", "--json", file]).stdout).expect("JSON");
    let class =
        show["classes"].as_array().expect("classes").iter().find(|class| class["struct"] == false).expect("a dclass");
    let field = &class["fields"][0];
    let name = format!("{}.{}", class["name"].as_str().expect("a name"), field["name"].as_str().expect("a name"));
    let default = field["default"].as_str().expect("packed");
    let unpacked = donetd(&["dc", "unpack", file, "--field", &name, default]);
    assert_eq!(unpacked.status.code(), Some(0), "{}", text(&unpacked.stderr));
    let packed = donetd(&["dc", "pack", file, "--field", &name, text(&unpacked.stdout).trim()]);
    assert_eq!(text(&packed.stdout).trim(), default);
}

#[test]
fn mistakes_are_drawn_where_they_are_and_usage_is_told_from_refusal() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wrong.dc");
    std::fs::write(&file, "dclass Avatar {\n  setX(int61 x) required;\n  setY(int16 y) requird;\n};\n")
        .expect("written");
    let refused = donetd(&["dc", "check", file.to_str().expect("UTF-8")]);
    assert_eq!(refused.status.code(), Some(1));
    let complaint = text(&refused.stderr);
    for part in [
        "error[DC110]",
        "wrong.dc:2:8",
        "setX(int61 x) required;",
        "^^^^^",
        "did you mean `int16`?",
        "error[DC030]",
        "did you mean `required`?",
        "2 errors",
    ] {
        assert!(complaint.contains(part), "{part} is not in:\n{complaint}");
    }
    assert_eq!(donetd(&["dc", "check", "no-such-file.dc"]).status.code(), Some(2));
    assert_eq!(donetd(&["dc", "chek", "41_contract.dc"]).status.code(), Some(2));
    assert_eq!(donetd(&["dc", "--help"]).status.code(), Some(0));
}
