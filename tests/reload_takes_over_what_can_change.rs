//! A running daemon takes over what has changed in its files (SIGHUP, `POST /api/reload`, `donetd reload`): what can change
//! while it runs changes for everybody concerned, the rest is named, and a file that cannot be used changes nothing.

#[path = "support/admin.rs"]
mod admin;

use donet::wire::{Channel, message_type as t};
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::Payload;
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const AI: Channel = 3_000_000;
const TOKEN: &str = "0123456789abcdef-test";
const NEXT_TOKEN: &str = "fedcba9876543210-test";

struct Stage {
    daemon: Daemon,
    setup: Setup,
    hub: Hub,
    names: Names,
    ai: Internal,
}

impl Stage {
    fn open(shards: usize) -> Result<Self, Failure> {
        let mut setup = Setup::new(shards)?;
        setup.after = format!("[admin]\nbind = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n");
        let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
        let hub = Hub::new(PATIENCE)?;
        let names = Names::parse("example.dc", EXAMPLE_DC)?;
        let ai = Internal::connect(&hub, "the AI", daemon.address("message_director")?, AI)?;
        ai.subscribe(numbers::LOGIN_MANAGER.into());
        let prober = Internal::connect(&hub, "a prober", daemon.address("message_director")?, AI + 1)?;
        prober.until_heard(&ai, numbers::LOGIN_MANAGER.into())?;
        Ok(Self { daemon, setup, hub, names, ai })
    }

    fn says_hello(&self, version: &str) -> Result<Client, Failure> {
        let client = Client::connect(&self.hub, "a client", self.daemon.address("client_agent")?)?;
        client.say_hello(self.names.hash(), version);
        Ok(client)
    }

    fn client(&self) -> Result<Client, Failure> {
        let client = self.says_hello(numbers::VERSION)?;
        client.expect("the answer to hello", |message| message.is(t::CLIENT_HELLO_RESP))?;
        Ok(client)
    }

    fn is_served(&self, client: &Client) -> Result<(), Failure> {
        let login = self.names.field("LoginManager", "login")?;
        client.set_field(numbers::LOGIN_MANAGER, login.0, &Payload::new().blob(b"me").blob(b"secret"));
        self.ai.next("the login").map(drop)
    }

    fn reload(&self, token: &str) -> Result<(u16, Value), Failure> {
        admin::order(&self.daemon, "/api/reload", token)
    }

    /// What the file says from now on.
    fn write(&mut self, replace: &[(&'static str, &str)]) -> Result<(), Failure> {
        self.setup.replace = replace.iter().map(|&(passage, instead)| (passage, instead.to_owned())).collect();
        self.setup.write()
    }
}

const VERSION_LINE: &str = "version_string = \"session-1\"";

fn reloads(shards: usize) -> Result<(), Failure> {
    let mut stage = Stage::open(shards)?;
    let before = stage.client()?;
    stage.is_served(&before)?;

    stage.setup.after = format!("[admin]\nbind = \"127.0.0.1:0\"\ntoken = \"{NEXT_TOKEN}\"\n");
    stage.setup.contract = format!("{EXAMPLE_DC}\ndclass Later {{ later(uint8) ram; }};\n");
    stage.write(&[
        (VERSION_LINE, "version_string = \"session-2\"\ndc_file_hash = 0xABCDEF12"),
        ("log_level = \"info\"", "log_level = \"debug\"\nid = 5"),
        ("output = \"events\"", "output = \"more events\""),
        ("[services.state_server]", "[services.client_agent.limits]\nmessages_per_second = 1\n[services.state_server]"),
        ("[services.client_agent]", "allow = [\"10.0.0.0/8\"]\n[services.client_agent]"),
        ("control_channel = 102000", "control_channel = 102001"),
    ])?;
    assert_eq!(stage.reload("wrong")?.0, 401);
    assert!(!stage.daemon.log().contains("reloaded"), "{}", stage.daemon.log());
    let (status, report) = stage.reload(TOKEN)?;
    assert_eq!(status, 200, "{report}");
    let applied = [
        "[daemon] log_level",
        "[admin] token",
        "[services.message_director] allow",
        "[services.client_agent] version_string",
        "[services.client_agent] dc_file_hash",
        "[services.client_agent] limits messages_per_second",
        "[services.event_logger] output",
    ];
    let restart = ["[daemon] id", "[services.state_server] control_channel", "[global] dc_files (what stands in them)"];
    assert_eq!((&report["applied"], &report["needs_restart"]), (&json!(applied), &json!(restart)), "{report:#}");
    assert_eq!(stage.reload(TOKEN)?.0, 401, "the token has changed");
    assert_eq!(stage.reload(NEXT_TOKEN)?.1["applied"], json!([]), "the same file again");

    // The executors take it over one by one.
    wait::until("the new version", || {
        let client = stage.says_hello(numbers::VERSION)?;
        Ok(client.next("an answer")?.is(t::CLIENT_EJECT))
    })?;
    wait::until("the new version and hash on every executor", || {
        let clients: Vec<Client> = (0..2 * shards)
            .map(|_| {
                let client = Client::connect(&stage.hub, "a client", stage.daemon.address("client_agent")?)?;
                client.say_hello(0xABCD_EF12, "session-2");
                Ok(client)
            })
            .collect::<Result<_, Failure>>()?;
        let answers: Vec<_> = clients.iter().map(|client| client.next("an answer")).collect::<Result<_, _>>()?;
        Ok(answers.iter().all(|answer| answer.is(t::CLIENT_HELLO_RESP)))
    })?;
    // Who was there is served as before, within the new limits.
    stage.is_served(&before)?;
    let login = stage.names.field("LoginManager", "login")?.0;
    for _ in 0..200 {
        before.set_field(numbers::LOGIN_MANAGER, login, &Payload::new().blob(b"me").blob(b"secret"));
    }
    let (_, eject) = before.until("an eject", |message| message.is(t::CLIENT_EJECT))?;
    assert!(String::from_utf8_lossy(eject.payload()).contains("messages per second"), "{eject:?}");

    let stranger = Internal::connect(&stage.hub, "a stranger", stage.daemon.address("message_director")?, AI + 2)?;
    stranger.expect_end("the address is not on the list any more")?;
    wait::until("events in the new folder", || {
        let files = std::fs::read_dir(stage.setup.folder().join("more events")).into_iter().flatten().flatten();
        let texts: Vec<String> = files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
        Ok(texts.iter().any(|text| text.contains("log-opened") && text.contains("client-ejected")))
    })?;
    stage.daemon.until_logged("DEBUG")?;
    stage.daemon.stop()
}

#[test]
fn with_1_executor() -> Result<(), Failure> {
    reloads(1)
}

#[test]
fn with_2_executors() -> Result<(), Failure> {
    reloads(2)
}

#[test]
fn with_4_executors() -> Result<(), Failure> {
    reloads(4)
}

#[test]
fn a_file_that_cannot_be_used_changes_nothing_and_says_why() -> Result<(), Failure> {
    let mut stage = Stage::open(2)?;
    stage.write(&[(VERSION_LINE, "version_string = 5"), ("log_level = \"info\"", "log_level = \"debug\"")])?;
    let (status, answer) = stage.reload(TOKEN)?;
    let error = answer["error"].as_str().expect("a text");
    assert!(
        status == 422 && error.contains("`version_string` in [services.client_agent]: this is the number 5"),
        "{status} {error}"
    );
    stage.daemon.signal(Signal::HUP)?;
    stage.daemon.until_logged("nothing was reloaded")?;

    // A contract that cannot be read, and classes that are not in it, are faults of the files as well.
    stage.setup.contract = "dclass {".to_owned();
    stage.write(&[(VERSION_LINE, "version_string = \"session-2\"")])?;
    assert_eq!(stage.reload(TOKEN)?.0, 422);
    stage.setup.contract = EXAMPLE_DC.to_owned();
    stage.write(&[("class = \"LoginManager\"", "class = \"LogoutManager\"")])?;
    let (status, answer) = stage.reload(TOKEN)?;
    assert!(status == 422 && answer["error"].as_str().is_some_and(|error| error.contains("LogoutManager")), "{answer}");

    let client = stage.client()?;
    stage.is_served(&client)?;
    assert!(!stage.daemon.log().contains("DEBUG"), "{}", stage.daemon.log());
    stage.daemon.stop()
}

#[test]
fn sighup_reloads_and_a_deadline_that_was_off_begins_for_those_who_are_there() -> Result<(), Failure> {
    let mut stage = Stage::open(2)?;
    let client = stage.client()?;
    stage.is_served(&client)?;
    stage.write(&[(VERSION_LINE, "version_string = \"session-1\"\nheartbeat_timeout_ms = 50")])?;
    stage.daemon.signal(Signal::HUP)?;
    client.expect_eject(345)?;
    stage.daemon.until_logged("heartbeat_timeout_ms")?;

    // And it can be switched off again. That it ends nobody then: `client_agent::tests::handshake`, on a simulated clock.
    stage.write(&[])?;
    stage.daemon.signal(Signal::HUP)?;
    wait::until("the second change of heartbeat_timeout_ms in the log", || {
        Ok(stage.daemon.log().matches("heartbeat_timeout_ms").count() == 2)
    })?;
    stage.daemon.stop()
}

#[test]
fn the_command_line_says_what_has_changed() -> Result<(), Failure> {
    let mut stage = Stage::open(1)?;
    stage.write(&[(VERSION_LINE, "version_string = \"session-2\""), ("relocate = true", "haproxy = true")])?;
    let run = || -> Result<(bool, String), Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_donetd"));
        command.args(["reload", "--admin", &stage.daemon.address("admin")?.to_string()]);
        let output = command.env("DONET_ADMIN_TOKEN", TOKEN).output()?;
        Ok((output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()))
    };
    let (done, text) = run()?;
    assert!(done && text.contains("changed: [services.client_agent] version_string"), "{text}");
    assert!(text.contains("changed: [services.client_agent] relocate"), "{text}");
    assert!(text.contains("needs a restart: [services.client_agent] haproxy"), "{text}");
    std::fs::write(stage.setup.config_path(), "[daemon]\nname = 5\n")?;
    let (done, text) = run()?;
    assert!(!done && text.contains("\n2 | name = 5\n"), "{text}");
    stage.daemon.stop()
}
