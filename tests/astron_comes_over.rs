//! What Astron had comes over: its configuration, and the objects of its YAML database, or nothing of them.

#[path = "support/database.rs"]
#[allow(dead_code, reason = "other tests ask the database more")]
mod database;

use database::{DONETD, FIRST, Link, Setup, text};
use donet_perf::Failure;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// As Astron's own example: every kind of role.
const ASTROND: &str = r#"# Astron's daemon
daemon:
    name: Acme "one"
    url: http://example.com/
general:
    eventlogger: 127.0.0.1:7197
    dc_files:
        - game.dc
uberdogs:
    - class: Thing
      id: 4665
      anonymous: true
    - class: Thing
      id: 0x1234
messagedirector:
    bind: 127.0.0.1:7199
    threaded: true
roles:
    - type: clientagent
      bind: 127.0.0.1:7198
      version: "Sword v5.1"
      manual_dc_hash: 0xABCDEF12
      haproxy: no
      channels:
          min: 1000000
          max: 1009999
      client:
          type: libastron
          relocate: true
          add_interest: enabled
          heartbeat_timeout: 45000
          write_buffer_size: 131072
      tuning:
          interest_timeout: 700
          unheard_of: 3
    - type: stateserver
      control: 402000
    - type: database
      control: 403000
      broadcast: false
      generate:
          min: 100000000
          max: 399999999
      backend:
          type: yaml
          directory: ../databases/yaml_db
    - type: dbss
      database: 403000
      ranges:
          - min: 100000000
            max: 199999999
          - min: 300000000
            max: 399999999
    - type: eventlogger
      bind: 127.0.0.1:7197
      output: /var/log/astron/events-%y%m%d_%H%M%S.log
      rotate_interval: 1d
"#;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn convert(folder: &Path, text: &str) -> Output {
    fs::write(folder.join("astrond.yml"), text).expect("written");
    fs::write(folder.join("game.dc"), database::CONTRACT).expect("written");
    let command = ["import", "astron-config", "astrond.yml", "--output", "daemon.toml"];
    Command::new(DONETD).args(command).current_dir(folder).output().expect("it runs")
}

#[test]
fn a_configuration_becomes_one_that_loads() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = convert(folder.path(), ASTROND);
    assert!(output.status.success(), "{}", said(&output));
    let config = fs::read_to_string(folder.path().join("daemon.toml")).expect("the configuration");
    for line in [
        "name = 'Acme \"one\"'",
        "dc_files = [\"game.dc\"]",
        "id = 4660",
        "bind = \"127.0.0.1:7199\"",
        "version_string = \"Sword v5.1\"",
        "dc_file_hash = 2882400018",
        "haproxy = false",
        "channel_max = 1009999",
        "relocate = true",
        "interest_permission = \"enabled\"",
        "heartbeat_timeout_ms = 45000",
        "interest_timeout_ms = 700",
        "control_channel = 402000",
        "generate_max = 399999999",
        "broadcast = false",
        "db_channel = 403000",
        "min = 300000000",
        "output = \"/var/log/astron/\"",
        "log_format = \"events-%y%m%d_%H%M%S.log\"",
        "rotate_interval = \"1d\"",
    ] {
        assert!(config.lines().any(|found| found == line), "{line} is missing:\n{config}");
    }
    // What did not come over is said, and stands in the file with its place.
    for note in [
        "line 4: daemon.url",
        "line 17: messagedirector.threaded",
        "line 35: roles.tuning.unheard_of has no counterpart",
        "line 45: the backend yaml: objects are stored in RocksDB here; `donetd db import-astron FOLDER` takes its objects over",
    ] {
        assert!(config.contains(&format!("# Astron: {note}")), "{note}:\n{config}");
        assert!(said(&output).contains(note), "{note}: {}", said(&output));
    }
    let check =
        Command::new(DONETD).args(["--check", "daemon.toml"]).current_dir(folder.path()).output().expect("runs");
    assert!(check.status.success(), "{}\n{config}", said(&check));
    // What is there is not replaced.
    let again = convert(folder.path(), ASTROND);
    assert!(!again.status.success() && said(&again).contains("daemon.toml"), "{}", said(&again));
}

#[test]
fn a_configuration_that_is_not_understood_is_refused_with_its_place() {
    for (passage, instead, expected) in [
        ("roles:", "roles: [", "astrond.yml:19:5: this is no YAML"),
        ("type: stateserver", "type: webserver", "a role of the type \"webserver\""),
        ("min: 1000000\n", "min: many\n", "astrond.yml:25:16: roles.channels.min must be a whole number"),
        ("          min: 1000000\n", "", "astrond.yml:25:11: roles.channels.min is missing"),
        ("haproxy: no", "haproxy: perhaps", "must be true or false"),
        ("    name: Acme", "    name: *all", "astrond.yml:3:11: this is no YAML"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(ASTROND.contains(passage), "{passage}");
        let output = convert(folder.path(), &ASTROND.replace(passage, instead));
        assert!(!output.status.success() && said(&output).contains(expected), "{instead}: {}", said(&output));
        assert!(!folder.path().join("daemon.toml").exists(), "{instead}: nothing was written");
    }
}

#[test]
fn what_this_daemon_refuses_is_said_and_left_to_be_mended() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = convert(folder.path(), &ASTROND.replace("max: 1009999", "max: 100000005"));
    assert!(!output.status.success() && said(&output).contains("daemon.toml:"), "{}", said(&output));
    assert!(folder.path().join("daemon.toml").exists());
}

/// An Astron database of three objects.
fn astrons(setup: &Setup) -> PathBuf {
    let folder = setup.folder().join("yaml_db");
    fs::create_dir(&folder).expect("made");
    let object = |doid: u32, fields: &str| {
        let text = format!("id: {doid}\nclass: Thing\nfields:{fields}");
        fs::write(folder.join(format!("{doid}.yaml")), text).expect("written");
    };
    object(FIRST, "\n  name: (\"Flippy \\xc3\\xa9\")\n  level: 12\n  score: (7)");
    object(FIRST + 1, "\n  name: (\"\")\n  x: (-5)\n  score: (4294967295)");
    object(FIRST + 5, " {}");
    fs::write(folder.join("info.yaml"), format!("next: {}\nfree:\n  - {}\n", FIRST + 6, FIRST + 2)).expect("written");
    // Astron leaves none, editors do.
    fs::write(folder.join("100000000.yaml~"), "junk").expect("written");
    folder
}

#[test]
fn objects_come_over_and_a_daemon_has_them() -> Result<(), Failure> {
    let setup = Setup::new(2);
    let folder = astrons(&setup);
    let (done, _, said) = setup.tool(&["import-astron", &folder.display().to_string()]);
    assert!(done && said.contains("3 objects were imported"), "{said}");
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    assert_eq!(link.get(FIRST, database::NAME)?, Some(text("Flippy é")));
    assert_eq!(link.get(FIRST, database::LEVEL)?, Some(12_u16.to_le_bytes().to_vec()));
    assert_eq!(link.get(FIRST + 1, database::X)?, Some((-5_i32).to_le_bytes().to_vec()));
    assert_eq!(link.get(FIRST + 1, database::SCORE)?, Some(u32::MAX.to_le_bytes().to_vec()));
    assert_eq!(link.get(FIRST + 5, database::SCORE)?, None);
    // New objects get numbers that nobody has.
    let mut given = Vec::new();
    for _ in 0..5 {
        given.push(link.create(database::THING, &[(database::SCORE, vec![0; 4])])?);
    }
    assert_eq!(given, [2, 3, 4, 6, 7].map(|offset| FIRST + offset));
    daemon.stop()?;
    // Once more: what exists is not touched, unless that is asked for.
    let again = |more: &[&str]| {
        let folder = folder.display().to_string();
        setup.tool(&[&["import-astron", folder.as_str()], more].concat())
    };
    let (done, _, said) = again(&[]);
    assert!(!done && said.contains("exists already: nothing was imported"), "{said}");
    let (done, _, said) = again(&["--replace"]);
    assert!(done, "{said}");
    Ok(())
}

#[test]
fn one_bad_file_and_nothing_is_imported() {
    let bomb = "a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a]\nc: [*b,*b,*b,*b]\n";
    let head = "id: 100000003\nclass: Thing\nfields:\n";
    for (name, text, expected) in [
        ("100000003.yaml", "id: 100000003\n  class: [", "100000003.yaml:2:"),
        ("100000003.yaml", bomb, "100000003.yaml:2:8: an alias"),
        ("100000003.yaml", "id: 100000003\nclass: Nothing\n", "100000003.yaml:2:8: the DC files have no dclass"),
        ("100000003.yaml", &format!("{head}  named: (\"x\")\n"), "100000003.yaml:4:10: Thing has no field \"named\""),
        ("100000003.yaml", &format!("{head}  level: (65536)\n"), "100000003.yaml:4:10: field level"),
        ("100000003.yaml", &format!("{head}  name: (\"\\xff\")\n"), "100000003.yaml:4:9: field name"),
        ("100000003.yaml", "id: 100000004\nclass: Thing\n", "the id is not that of the file's name"),
        ("100000003.yaml", &"[".repeat(1 << 20), "100000003.yaml:1:"),
        ("100000003.yaml", "", "100000003.yaml:1:1: the file is empty"),
        ("flippy.yaml", head, "flippy.yaml: Astron calls its files by doids"),
        ("info.yaml", "next: soon\n", "info.yaml:1:7: next must be a whole number"),
    ] {
        let setup = Setup::new(1);
        let folder = astrons(&setup);
        fs::write(folder.join(name), text).expect("written");
        let (done, _, said) = setup.tool(&["import-astron", &folder.display().to_string()]);
        assert!(!done && said.contains(expected) && !said.contains("panicked"), "{expected}: {said}");
        assert!(!setup.database.exists(), "{expected}: there is no database now that was none before");
    }
}

#[test]
fn all_faults_are_said_at_once_up_to_a_page() {
    let setup = Setup::new(1);
    let folder = astrons(&setup);
    for doid in 0..30 {
        let doid = FIRST + 100 + doid;
        fs::write(folder.join(format!("{doid}.yaml")), format!("id: {doid}\nclass: Gone\n")).expect("written");
    }
    let (done, _, said) = setup.tool(&["import-astron", &folder.display().to_string()]);
    assert!(!done && said.contains("nothing was imported"), "{said}");
    assert_eq!(said.matches("no dclass").count(), 20, "{said}");
    assert!(said.contains("… and more"), "{said}");
}
