//! Walkabout, the game of `docs/walkabout`, played by bots: they see each other, their chat arrives, two cannot have one
//! name at a time, and a name is the same avatar after the daemon and the game's processes were killed. One test per
//! number of executors (guarantee G9).

#[path = "support/python.rs"]
mod python;
mod support;

use donet_perf::daemon::Daemon;
use python::Process;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The daemon of Walkabout with its own configuration, but for ports, executors and the folder of the data.
struct Server {
    folder: tempfile::TempDir,
    shards: usize,
}

impl Server {
    fn config(&self, message_director: &str, client_agent: &str) -> PathBuf {
        let walkabout = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/walkabout");
        let mut config = std::fs::read_to_string(walkabout.join("walkabout.toml")).expect("the configuration");
        for (passage, instead) in [
            ("127.0.0.1:7199", message_director),
            ("127.0.0.1:7198", client_agent),
            ("count = \"auto\"", &format!("count = {}", self.shards)),
            ("../../data/walkabout", "data"),
        ] {
            assert!(config.contains(passage), "{passage}");
            config = config.replace(passage, instead);
        }
        let path = self.folder.path().join("walkabout.toml");
        std::fs::write(&path, config).expect("a writable folder");
        std::fs::copy(walkabout.join("walkabout.dc"), self.folder.path().join("walkabout.dc")).expect("the contract");
        path
    }

    fn start(&self, message_director: &str, client_agent: &str) -> Daemon {
        let log = self.folder.path().join("donetd.log");
        let file = std::fs::File::options().create(true).append(true).open(&log).expect("a writable folder");
        let mut command = Command::new(env!("CARGO_BIN_EXE_donetd"));
        command.arg(self.config(message_director, client_agent)).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(file);
        let mut daemon = Daemon::spawn(command, log).unwrap_or_else(|failure| panic!("{failure}"));
        daemon.wait_until_ready().unwrap_or_else(|failure| panic!("{failure}"));
        daemon
    }
}

fn play(test: &str, shards: usize) {
    let Some(python) = support::panda3d_python() else {
        return support::skip(test, "Panda3D with panda3d-astron");
    };
    let server = Server { folder: tempfile::tempdir().expect("a temporary folder"), shards };
    let daemon = server.start("127.0.0.1:0", "127.0.0.1:0");
    let address = |role| daemon.address(role).expect("it listens").to_string();
    let (md, ca) = (address("message_director"), address("client_agent"));
    let serve = |name, script: &str| {
        let mut process = Process::start(name, &python, "walkabout", script, &["--md", &md]);
        process.wait_for("ready");
        process
    };
    let bot = |name: &'static str| {
        Process::start(name, &python, "walkabout", "client.py", &["--headless", "--bot", "--ca", &ca, "--name", name])
    };

    let mut uberdog = serve("uberdog", "uberdog.py");
    let mut ai = serve("ai", "ai.py");
    let (mut ann, mut zoe) = (bot("Ann"), bot("Zoë"));
    ann.wait_for("is Ann with 0 points");
    zoe.wait_for("is Zoë with 0 points");
    let avatar_of = |line: &str| line.split(' ').nth(2).expect("a number").to_owned();
    let made = [uberdog.wait_for("makes avatar"), uberdog.wait_for("makes avatar")];
    let numbers: Vec<String> = made.iter().map(|line| avatar_of(line)).collect();

    // They see each other and the AI's own, and hear each other's words, letters beyond ASCII included.
    ann.wait_for("sees come: Zoë");
    ann.wait_for("hears: Zoë: ");
    zoe.wait(|line| line == "sees come: Ann" || line.starts_with("hears: Ann: "), "Ann");
    zoe.wait_for("hears: Ann: ");
    ai.wait_for("hears Ann: ");
    // Those that nobody owns walk about too; sooner or later one comes by.
    let is_npc = |line: &str| {
        ["Ada", "Boris", "Chiyo", "Dunja", "Émile", "Fatima"]
            .map(|name| format!("sees come: {name}"))
            .contains(&line.to_owned())
    };
    if !ann.said.iter().any(|line| is_npc(line)) {
        ann.wait(is_npc, "an NPC");
    }

    // A name is one avatar's at a time.
    let mut twin = bot("ann");
    twin.wait_for("login: Ann is walking about already.");
    twin.kill();

    // A second AI waits for its turn, and its end costs nobody anything.
    let mut second = Process::start("second ai", &python, "walkabout", "ai.py", &["--md", &md]);
    second.wait_for("waits: the district has an AI");
    second.kill();
    ann.wait_for("hears: Ann: ");
    zoe.wait_for("hears: Ann: ");
    assert!(!ann.said.iter().chain(&zoe.said).any(|line| line.starts_with("ejected")), "nobody was ejected");

    // The AI is killed: its world goes, and the clients with it. They come back when it does.
    ai.kill();
    ann.wait_for("ejected: 153");
    ann.wait_for("login: The world is closed just now.");
    let mut ai = serve("ai", "ai.py");
    ann.wait_for("is Ann with");
    zoe.wait_for("is Zoë with");

    // The daemon is killed: the game's servers end, the clients wait, and with all of it started again the names are
    // those of the same avatars.
    let before = zoe.said.len();
    daemon.kill().unwrap_or_else(|failure| panic!("{failure}"));
    uberdog.wait_for_end();
    ai.wait_for_end();
    ann.wait_for("waits: ");
    let daemon = server.start(&md, &ca);
    let mut uberdog = Process::start("uberdog", &python, "walkabout", "uberdog.py", &["--md", &md]);
    uberdog.wait_for("knows 2 names");
    let mut ai = serve("ai", "ai.py");
    ann.wait_for("is Ann with");
    zoe.wait_for("is Zoë with");
    ai.wait(|line| line.starts_with("sees come: Ann with") || line.starts_with("sees come: Zoë with"), "an avatar");
    uberdog.wait_for("announces: ");
    assert!(!uberdog.said.iter().any(|line| line.starts_with("makes avatar")), "{numbers:?} {:?}", uberdog.said);

    // A client that is killed leaves at once, and its name is free. Only who has seen it come sees it leave.
    let is_ann = |line: &String| line.starts_with("sees come: Ann");
    if !zoe.said[before..].iter().any(is_ann) {
        zoe.wait_for("sees come: Ann");
    }
    if !ai.said.iter().any(is_ann) {
        ai.wait_for("sees come: Ann");
    }
    ann.kill();
    zoe.wait_for("sees leave: Ann");
    ai.wait_for("sees leave: Ann");
    let mut ann = bot("Ann");
    ann.wait_for("is Ann with");
    drop((ann, zoe));
    let log = std::fs::read_to_string(server.folder.path().join("donetd.log")).expect("the daemon's log");
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    daemon.stop().unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn bots_play_on_one_executor() {
    play("bots_play_on_one_executor", 1);
}

#[test]
fn bots_play_on_four_executors() {
    play("bots_play_on_four_executors", 4);
}
