//! `donetd db …` as a process, on real folders.

#[path = "support/database.rs"]
#[allow(dead_code)]
mod database;

use database::{FIRST, LEVEL, Link, NAME, Setup, THING, X, text};
use donet_perf::{Failure, wait};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A folder with some objects, made by a daemon that has ended.
fn stored(objects: u32) -> Result<Setup, Failure> {
    let setup = Setup::new(1);
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    for number in 0..objects {
        let name = text(format!("thing {number} \"é\""));
        let doid = link.create(THING, &[(NAME, name), (X, (number as i32 - 5).to_le_bytes().to_vec())])?;
        assert_eq!(doid, FIRST + number);
    }
    daemon.stop()?;
    Ok(setup)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn get_set_list_and_stats() -> Result<(), Failure> {
    let setup = stored(3)?;
    let doid = (FIRST + 1).to_string();
    let object = json!({
        "doid": FIRST + 1, "class": "Thing", "fields": { "name": ["thing 1 \"é\""], "level": [7], "x": [-4] }
    });
    assert_eq!(lines(&setup.tool_says(&["get", &doid])), [object]);
    setup.tool_says(&["set", &doid, "x=[2147483647]", "name=[\"new\"]"]);
    let fields = json!({ "name": ["new"], "x": [2_147_483_647] });
    assert_eq!(lines(&setup.tool_says(&["get", &doid, "x", "name"]))[0]["fields"], fields);
    for (arguments, expected) in [
        (&["get", "5"][..], "there is no object 5"),
        (&["get", &doid, "nose"], "no field \"nose\""),
        (&["set", &doid, "x=[2147483648]"], "field x"),
        (&["set", &doid, "x=[1]", "level=[\"many\"]"], "field level"),
        (&["set", &doid, "x"], "no `=`"),
        (&["list", "--class", "Nothing"], "no dclass \"Nothing\""),
    ] {
        let (succeeded, _, error) = setup.tool(arguments);
        assert!(!succeeded && error.contains(expected), "{arguments:?}: {error}");
    }
    assert_eq!(lines(&setup.tool_says(&["get", &doid, "x", "name"]))[0]["fields"], fields, "all or none");
    let list = lines(&setup.tool_says(&["list"]));
    assert_eq!(list, (0..3).map(|number| json!({ "doid": FIRST + number, "class": "Thing" })).collect::<Vec<_>>());
    let stats = &lines(&setup.tool_says(&["stats"]))[0];
    assert_eq!((&stats["objects"], &stats["classes"]["Thing"]), (&json!(3), &json!(3)));
    assert_eq!((&stats["next_doid"], &stats["values"]), (&json!(FIRST + 3), &json!(9)));
    setup.tool_says(&["verify"]);
    Ok(())
}

#[test]
fn what_is_exported_is_imported_with_its_doids() -> Result<(), Failure> {
    let from = stored(1200)?;
    let exported = from.tool_says(&["export"]);
    assert_eq!(exported.lines().count(), 1200);
    let to = Setup::new(1);
    let file = to.folder().join("objects.jsonl");
    fs::write(&file, &exported)?;
    let file = file.to_str().expect("a temporary folder is UTF-8");
    to.tool_says(&["import", file]);
    assert_eq!(to.tool_says(&["export"]), exported);
    let (succeeded, _, error) = to.tool(&["import", file]);
    assert!(!succeeded && error.contains("exists already") && error.contains("--replace"), "{error}");
    to.tool_says(&["import", "--replace", file]);
    assert_eq!(to.tool_says(&["export"]), exported);
    fs::write(
        file,
        format!(
            "{}\n{{\"doid\":1000,\"class\":\"Thing\",\"fields\":{{\"x\":[\"a\"]}}}}\n",
            exported.lines().next().unwrap()
        ),
    )?;
    let (succeeded, _, error) = to.tool(&["import", "--replace", file]);
    assert!(!succeeded && error.contains("line 2") && error.contains("field x"), "{error}");
    to.tool_says(&["verify"]);
    // A daemon hands out the ids behind them.
    let daemon = to.start();
    let mut link = Link::new(&daemon)?;
    assert_eq!(link.create(THING, &[])?, FIRST + 1200);
    assert_eq!(link.get(FIRST + 7, X)?, Some(2_i32.to_le_bytes().to_vec()));
    daemon.stop()
}

#[test]
fn a_folder_that_a_daemon_holds_is_refused_but_for_a_backup_which_can_be_restored() -> Result<(), Failure> {
    let setup = stored(50)?;
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    for arguments in [&["get", "1"][..], &["export"], &["verify"], &["migrate"], &["stats"]] {
        let (succeeded, _, error) = setup.tool(arguments);
        let names = error.contains(&format!("by process {}", daemon.process_id()));
        assert!(!succeeded && error.contains("already open") && names, "{arguments:?}: {error}");
    }
    // While it is written to: what was acknowledged before the backup is in it.
    assert_eq!(link.create(THING, &[(NAME, text("just before"))])?, FIRST + 50);
    let backup = setup.folder().join("backup");
    let target = backup.to_str().expect("a temporary folder is UTF-8");
    setup.tool_says(&["backup", target]);
    assert_eq!(link.create(THING, &[(NAME, text("just after"))])?, FIRST + 51);
    let (succeeded, _, error) = setup.tool(&["backup", target]);
    assert!(!succeeded && error.contains("exists already"), "{error}");
    daemon.stop()?;
    assert!(!setup.database.join("donet.socket").exists());

    let (succeeded, _, error) = setup.tool(&["restore", target]);
    assert!(!succeeded && error.contains("not empty"), "{error}");
    fs::remove_dir_all(&setup.database)?;
    setup.tool_says(&["restore", target]);
    setup.tool_says(&["verify"]);
    let daemon = setup.start();
    let mut link = Link::new(&daemon)?;
    assert_eq!(link.get(FIRST + 50, NAME)?, Some(text("just before")));
    assert_eq!(link.get(FIRST + 51, NAME)?, None);
    assert_eq!(link.create(THING, &[])?, FIRST + 51);
    daemon.stop()?;
    // And one without a daemon.
    let second = setup.folder().join("second");
    setup.tool_says(&["backup", second.to_str().expect("UTF-8")]);
    assert!(second.join("CURRENT").exists());
    Ok(())
}

/// `donetd db migrate`, killed again and again: what it removes is in its file, what it converts is converted once.
#[test]
fn a_migration_that_is_killed_goes_on_and_loses_nothing() -> Result<(), Failure> {
    const OBJECTS: u32 = 20_000;
    let mut setup = Setup::new(1);
    let object = |number: u32| json!({ "doid": FIRST + number, "class": "Thing", "fields": { "level": [number % 7], "x": [number], "y": [number] } });
    let objects: Vec<String> = (0..OBJECTS).map(|number| object(number).to_string()).collect();
    let file = setup.folder().join("objects.jsonl");
    fs::write(&file, objects.join("\n"))?;
    setup.tool_says(&["import", file.to_str().expect("UTF-8")]);
    // One number becomes a smaller type, which some values do not fit; one becomes text; one is gone.
    setup.contract = setup.contract.replace("  x(int32) db;\n", "").replace("y(int32)", "y(uint8)");
    setup.contract = setup.contract.replace("level(uint16 = 7)", "level(string = \"7\")");
    setup.refused();
    let mut kills = 0;
    // Each time when it has removed more than before its last kill, until it comes to its end before.
    let removed_bytes = || fs::metadata(setup.folder().join("removed.jsonl")).map_or(0, |file| file.len());
    loop {
        let enough = removed_bytes() + 1 + 30_000 * kills;
        let mut child = command(&setup, &["migrate"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let mut ended = None;
        wait::until("a migration that gets somewhere", || {
            ended = child.try_wait()?;
            Ok(ended.is_some() || removed_bytes() >= enough)
        })?;
        if let Some(status) = ended {
            assert!(status.success(), "{status}");
            break;
        }
        child.kill()?;
        child.wait()?;
        kills += 1;
    }
    eprintln!("{kills} kills");
    assert!(kills > 1, "it was killed while it worked");
    let exported = lines(&setup.tool_says(&["export"]));
    assert_eq!(exported.len(), OBJECTS as usize);
    // What was exported twice, because a kill came between file and database, is the same both times. A kill may cut a
    // line; it is written again.
    let mut removed = std::collections::BTreeMap::<u64, serde_json::Map<String, Value>>::new();
    for line in fs::read_to_string(setup.folder().join("removed.jsonl"))?.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let fields = line["fields"].as_object().expect("fields").clone();
        removed.entry(line["doid"].as_u64().expect("a doid")).or_default().extend(fields);
    }
    for (number, object) in (0..OBJECTS).zip(&exported) {
        let (fields, gone) = (&object["fields"], &removed[&u64::from(FIRST + number)]);
        assert_eq!(fields["level"], json!([(number % 7).to_string()]), "{object}");
        assert_eq!(gone["x"], json!([number]));
        match number {
            0..256 => assert_eq!((&fields["y"], gone.get("y")), (&json!([number]), None), "{object}"),
            _ => assert_eq!((fields.get("y"), &gone["y"]), (None, &json!([number])), "{object}"),
        }
    }
    setup.start().stop()
}

#[test]
fn a_dropped_field_is_refused_at_start_until_it_is_migrated() -> Result<(), Failure> {
    let mut setup = stored(4)?;
    setup.contract = setup.contract.replace("  x(int32) db;\n", "").replace("level(uint16 = 7)", "level(uint32 = 7)");
    let said = setup.refused();
    for part in ["Thing.x is gone: 4 values stored", "donetd db migrate --dry-run", "renames"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!said.contains("level"), "that is only wider: {said}");
    let (succeeded, _, error) = setup.tool(&["export"]);
    assert!(!succeeded && error.contains("Thing.x is gone"), "{error}");
    let rehearsal = setup.tool_says(&["migrate", "--dry-run"]);
    assert!(rehearsal.contains("4 values would be removed"), "{rehearsal}");
    setup.refused();
    let done = setup.tool_says(&["migrate"]);
    assert!(done.contains("4 values were removed") && done.contains("removed.jsonl"), "{done}");
    let removed = lines(&fs::read_to_string(setup.folder().join("removed.jsonl"))?);
    assert_eq!(removed[3], json!({ "doid": FIRST + 3, "class": "Thing", "fields": { "x": [-2] } }));
    let daemon = setup.start();
    assert_eq!(Link::new(&daemon)?.get(FIRST, LEVEL)?, Some(vec![7, 0, 0, 0]));
    daemon.stop()
}

/// A terminal without a person: what is written to the second half is read from the first.
fn terminal() -> (fs::File, OwnedFd) {
    let (mut ours, mut theirs) = (-1, -1);
    let size = libc::winsize { ws_row: 24, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the two numbers are written to, the size is read, and no name or settings are given.
    let made = unsafe { libc::openpty(&mut ours, &mut theirs, std::ptr::null_mut(), std::ptr::null(), &size) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: both are open and nobody else's.
    unsafe { (fs::File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) }
}

/// What a command shows a person; its results go elsewhere.
fn shown_on_a_terminal(setup: &Setup, arguments: &[&str]) -> String {
    let (mut screen, terminal) = terminal();
    let mut command = command(setup, arguments);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(terminal).spawn();
    let mut child = child.expect("it starts");
    // This process's own copy of the terminal, which would keep the screen from ending.
    drop(command);
    let mut shown = Vec::new();
    // A screen ends with an error.
    let _ = screen.read_to_end(&mut shown);
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(child.wait().expect("it ran").success(), "{arguments:?}: {shown}");
    shown
}

fn command(setup: &Setup, arguments: &[&str]) -> Command {
    setup.write();
    let mut command = Command::new(database::DONETD);
    command.args(["db", "--config"]).arg(setup.config_path()).args(arguments).current_dir(setup.folder());
    command
}

fn many(objects: std::ops::Range<u32>) -> String {
    let line = |number| json!({ "doid": FIRST + number, "class": "Thing", "fields": { "x": [number], "y": [1] } });
    objects.map(|number| format!("{}\n", line(number))).collect()
}

#[test]
fn long_commands_show_a_bar_on_a_terminal() -> Result<(), Failure> {
    let mut setup = Setup::new(1);
    let file = setup.folder().join("objects.jsonl");
    fs::write(&file, many(0..20_000))?;
    let path = |name: &str| setup.folder().join(name).to_str().expect("a temporary folder is UTF-8").to_owned();
    let (file, backup, exported) = (path("objects.jsonl"), path("backup"), path("exported.jsonl"));
    let is_bar = |shown: &str, what: &str| {
        // The bar, its share, what is counted; and it is gone in the end: the line is cleared.
        let has_bar = shown.contains('[') && shown.contains(" % ") && shown.contains(what);
        assert!(has_bar && shown.trim_end().ends_with("\u{1b}[2K"), "{what}: {shown:?}");
    };
    is_bar(&shown_on_a_terminal(&setup, &["import", &file]), "objects imported");
    is_bar(&shown_on_a_terminal(&setup, &["export", &exported]), "objects exported");
    is_bar(&shown_on_a_terminal(&setup, &["stats"]), "objects counted");
    is_bar(&shown_on_a_terminal(&setup, &["list"]), "objects listed");
    // It says a word in the end.
    assert!(shown_on_a_terminal(&setup, &["verify"]).contains("objects read"));
    let shown = shown_on_a_terminal(&setup, &["backup", &backup]);
    assert!(shown.contains("copied"), "{shown:?}");
    fs::remove_dir_all(&setup.database)?;
    is_bar(&shown_on_a_terminal(&setup, &["restore", &backup]), "copied");
    setup.contract = setup.contract.replace("  x(int32) db;\n", "");
    is_bar(&shown_on_a_terminal(&setup, &["migrate"]), "objects looked at");
    Ok(())
}

/// A log file gets no bars: nothing of a short command, and of a long one a line every ten seconds.
#[test]
fn without_a_terminal_long_commands_tell_lines() -> Result<(), Failure> {
    let setup = Setup::new(1);
    let mut child = command(&setup, &["import"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let (mut input, errors) = (child.stdin.take().expect("a pipe"), child.stderr.take().expect("a pipe"));
    let (told, lines) = std::sync::mpsc::channel();
    let listener = std::thread::spawn(move || {
        BufReader::new(errors).lines().map_while(Result::ok).try_for_each(|line| told.send(line))
    });
    // An import that somebody else's program feeds slowly.
    let mut next = 0;
    let line = wait::for_some("a line about the import", || {
        let until = next + 500;
        input.write_all(many(next..until).as_bytes())?;
        next = until;
        Ok(lines.recv_timeout(Duration::from_millis(250)).ok())
    });
    drop(input);
    assert!(child.wait()?.success());
    let line = line?;
    assert!(line.contains(" objects imported after 1") && !line.contains('\u{1b}'), "{line:?}");
    listener.join().expect("no panic").expect("it is listened to");
    for arguments in [&["export"][..], &["verify"], &["stats"], &["list"]] {
        let (succeeded, _, error) = setup.tool(arguments);
        assert!(succeeded && (error.is_empty() || error == "no fault found\n"), "{arguments:?}: {error:?}");
    }
    Ok(())
}
