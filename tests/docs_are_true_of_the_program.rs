//! What the documentation says of the program, tried: its commands run, the tutorial plays as shown, the figures that it
//! names exist.

#[path = "support/admin.rs"]
mod admin;
#[path = "support/database.rs"]
#[allow(dead_code, reason = "other tests ask the database more")]
mod database;
#[path = "support/python.rs"]
mod python;
mod support;

use database::{DONETD, Setup};
use donet_perf::daemon::Daemon;
use python::Process;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn page(name: &str) -> String {
    fs::read_to_string(docs().join(name)).expect("a page")
}

/// The fenced blocks below the comment `<!-- MARK -->`.
fn marked(page: &str, mark: &str) -> Vec<String> {
    let begin = format!("<!-- {mark} -->\n```");
    page.split(&begin)
        .skip(1)
        .map(|part| part.split_once('\n').and_then(|(_, rest)| rest.split_once("```")).expect("a block").0.to_owned())
        .collect()
}

/// Runs commands of a page, as a shell does that finds donetd.
fn run(commands: &str, folder: &Path) -> String {
    let programs = Path::new(DONETD).parent().expect("it is in a folder").display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
    let output =
        Command::new("sh").args(["-euc", commands]).current_dir(folder).env("PATH", path).output().expect("sh");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{commands}\n{said}");
    said
}

#[test]
fn commands_on_the_tutorials_contract_run() {
    let mut said = String::new();
    for name in ["getting-started.md", "dc-language.md"] {
        let blocks = marked(&page(name), "run");
        assert!(!blocks.is_empty(), "{name}");
        for block in blocks {
            said += &run(&block, &docs().join("tutorial"));
        }
    }
    assert!(said.contains("02004869") && said.contains("\"Hi\""), "packed and unpacked: {said}");
}

#[test]
fn the_language_page_shows_a_sound_contract() {
    let page = page("dc-language.md");
    let (_, block) = page.split_once("```c\n").expect("a contract");
    let (contract, _) = block.split_once("```").expect("its end");
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("page.dc"), contract).expect("written");
    run("donetd dc check --deny-warnings page.dc", folder.path());
}

#[test]
fn backup_and_restore_go_as_shown() {
    let setup = Setup::new(1);
    let operating = page("operating.md");
    let daemon = setup.start();
    let doid = database::Link::new(&daemon)
        .and_then(|mut link| link.create(database::THING, &[(database::SCORE, 7_u32.to_le_bytes().to_vec())]))
        .expect("created");
    for block in marked(&operating, "run in setup") {
        run(&block, setup.folder());
    }
    daemon.stop().unwrap_or_else(|failure| panic!("{failure}"));
    let blocks = marked(&operating, "run in setup after the daemon");
    assert!(!blocks.is_empty());
    for block in blocks {
        run(&block, setup.folder());
    }
    assert!(setup.tool_says(&["get", &doid.to_string()]).contains("[7]"), "what was stored is back");
}

/// `donet_…` in code.
fn figures(page: &str) -> BTreeSet<String> {
    let words = page.split(|letter: char| !(letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_'));
    words.filter(|word| word.starts_with("donet_") && !word.ends_with('_')).map(str::to_owned).collect()
}

#[test]
fn the_figures_that_pages_name_exist() {
    let mut setup = donet_perf::daemon::Setup::new(1).expect("a configuration");
    setup.after = "[admin]\nbind = \"127.0.0.1:0\"\n".to_owned();
    let daemon = setup.start(Path::new(DONETD)).unwrap_or_else(|failure| panic!("{failure}"));
    let shown = admin::metrics(&daemon).unwrap_or_else(|failure| panic!("{failure}"));
    let mut named = BTreeSet::new();
    for name in ["operating.md", "troubleshooting.md", "tuning.md", "security-model.md"] {
        named.extend(figures(&page(name)));
    }
    assert!(named.len() >= 8, "{named:?}");
    let missing: Vec<_> = named.iter().filter(|name| !shown.contains(&format!("# TYPE {name} "))).collect();
    assert!(missing.is_empty(), "{missing:?}");
    daemon.stop().unwrap_or_else(|failure| panic!("{failure}"));
}

/// The tutorial's daemon, on free ports.
fn tutorial(folder: &Path) -> Daemon {
    let tutorial = docs().join("tutorial");
    let mut config = fs::read_to_string(tutorial.join("hello.toml")).expect("a configuration");
    for address in ["127.0.0.1:7199", "127.0.0.1:7198"] {
        assert!(config.contains(address), "{address}");
        config = config.replace(address, "127.0.0.1:0");
    }
    fs::write(folder.join("hello.toml"), config).expect("written");
    fs::copy(tutorial.join("hello.dc"), folder.join("hello.dc")).expect("copied");
    let log = folder.join("log");
    let mut command = Command::new(DONETD);
    command.arg(folder.join("hello.toml")).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(fs::File::create(&log).expect("a log"));
    let mut daemon = Daemon::spawn(command, log).unwrap_or_else(|failure| panic!("{failure}"));
    daemon.wait_until_ready().unwrap_or_else(|failure| panic!("{failure}"));
    daemon
}

#[test]
fn the_tutorial_plays_as_shown() {
    let Some(python) = support::panda3d_python() else {
        return support::skip("the_tutorial_plays_as_shown", "Panda3D with panda3d-astron");
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let daemon = tutorial(folder.path());
    let address = |role| daemon.address(role).expect("it listens").to_string();
    let (md, ca) = (address("message_director"), address("client_agent"));
    let shown = page("getting-started.md");
    let lines = |mark: &str| {
        let blocks = marked(&shown, &format!("said by {mark}"));
        assert_eq!(blocks.len(), 1, "{mark}");
        blocks[0].lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let (hosted, ann_said, zoe_said) = (lines("server.py"), lines("client.py Ann"), lines("client.py Zoë"));

    // The terminals as they are opened, and every line of them as shown.
    let mut server = Process::start("server", &python, "tutorial", "server.py", &[&md]);
    server.wait_for(&hosted[0]);
    let mut ann = Process::start("Ann", &python, "tutorial", "client.py", &["Ann", &ca]);
    ann.wait_for(&ann_said[0]);
    let mut zoe = Process::start("Zoë", &python, "tutorial", "client.py", &["Zoë", &ca]);
    let rest = |process: &mut Process, lines: &[String]| {
        for line in lines {
            // The other's greeting may come in between.
            process.wait(|said| said == line, line);
        }
    };
    rest(&mut ann, &ann_said[1..]);
    rest(&mut zoe, &zoe_said);
    rest(&mut server, &hosted[1..]);
    drop((ann, zoe, server));
    daemon.stop().unwrap_or_else(|failure| panic!("{failure}"));
}
