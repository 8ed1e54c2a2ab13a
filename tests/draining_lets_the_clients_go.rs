//! A daemon that is drained admits no new clients, serves those it has, and ends in order when the last one has gone, or
//! at the deadline, at which it ejects the rest (`spec/config.md`, `drain_deadline_s`).

#[path = "support/admin.rs"]
mod admin;

use donet::wire::{Channel, Encoder, MessageType, message_type as t};
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::Payload;
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use rustix::process::Signal;
use serde_json::Value;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const AI: Channel = 3_000_000;
const GOODBYE: MessageType = MessageType(30_001);
const TOKEN: &str = "0123456789abcdef-test";

struct Stage {
    daemon: Daemon,
    _setup: Setup,
    hub: Hub,
    names: Names,
    ai: Internal,
}

impl Stage {
    fn open(shards: usize, admin: &str, agent: &str) -> Result<Self, Failure> {
        let mut setup = Setup::new(shards)?;
        setup.after = format!("[admin]\nbind = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n{admin}");
        setup.replace = vec![("relocate = true", format!("relocate = true\n{agent}"))];
        let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
        let hub = Hub::new(PATIENCE)?;
        let names = Names::parse("example.dc", EXAMPLE_DC)?;
        let ai = Internal::connect(&hub, "the AI", daemon.address("message_director")?, AI)?;
        ai.subscribe(numbers::LOGIN_MANAGER.into());
        let prober = Internal::connect(&hub, "a prober", daemon.address("message_director")?, AI + 1)?;
        prober.until_heard(&ai, numbers::LOGIN_MANAGER.into())?;
        Ok(Self { daemon, _setup: setup, hub, names, ai })
    }

    fn connect(&self) -> Result<Client, Failure> {
        Client::connect(&self.hub, "a client", self.daemon.address("client_agent")?)
    }

    fn client(&self) -> Result<Client, Failure> {
        let client = self.connect()?;
        client.hello(self.names.hash(), numbers::VERSION)?;
        Ok(client)
    }

    /// A client's request reaches the AI: it is served. Its channel.
    fn is_served(&self, client: &Client) -> Result<Channel, Failure> {
        let login = self.names.field("LoginManager", "login")?;
        client.set_field(numbers::LOGIN_MANAGER, login.0, &Payload::new().blob(b"me").blob(b"secret"));
        Ok(self.ai.next("the login")?.sender())
    }

    fn get(&self, path: &str) -> Result<(u16, String), Failure> {
        admin::get(&self.daemon, path)
    }

    fn drain(&self, token: &str) -> Result<(u16, Value), Failure> {
        admin::order(&self.daemon, "/api/drain", token)
    }

    fn clients(&self) -> Result<u64, Failure> {
        Ok(admin::sum(&admin::json(&self.daemon, "/api/overview")?, "sessions_open"))
    }

    fn ends_in_order(mut self) -> Result<(), Failure> {
        let status = self.daemon.wait_for_end(PATIENCE)?;
        assert_eq!(status.code(), Some(0), "{}", self.daemon.log_end());
        let log = self.daemon.log();
        assert!(log.contains("drained") && log.contains("ended in order"), "{log}");
        Ok(())
    }
}

fn ends_with_the_last_client(shards: usize) -> Result<(), Failure> {
    let stage = Stage::open(shards, "drain_deadline_s = 600", "")?;
    let (first, last) = (stage.client()?, stage.client()?);
    stage.is_served(&first)?;
    let channel = stage.is_served(&last)?;
    // What the end of the last client causes is heard by others before the daemon ends.
    let goodbye = Encoder::internal(&[AI], channel, GOODBYE).datagram().expect("it fits");
    stage.ai.publish(&[channel], t::CLIENTAGENT_ADD_POST_REMOVE, &Payload::new().blob(goodbye.body()));

    assert_eq!(stage.drain("0123456789abcdef-tesT")?.0, 401);
    assert_eq!(stage.get("/readyz")?, (200, "ok\n".to_owned()), "nothing has happened without the token");
    let (status, answer) = stage.drain(TOKEN)?;
    assert_eq!((status, &answer["was_draining"]), (202, &Value::Bool(false)), "{answer}");
    assert!(answer["seconds_left"].as_u64().is_some_and(|seconds| (1..=600).contains(&seconds)), "{answer}");
    assert_eq!(stage.drain(TOKEN)?.1["was_draining"], true, "a second call changes nothing");

    assert_eq!(stage.get("/readyz")?, (503, "draining\n".to_owned()));
    assert_eq!(stage.get("/healthz")?.0, 200, "it is as healthy as ever");
    // The admin thread knows of the drain before the executor that accepts does.
    wait::until("the executors drain", || {
        let stranger = stage.connect()?;
        stranger.say_hello(stage.names.hash(), numbers::VERSION);
        let answer = stranger.next("an answer")?;
        if answer.is(t::CLIENT_EJECT) {
            assert_eq!(answer.reader().u16().ok(), Some(154));
            assert!(String::from_utf8_lossy(answer.payload()).contains("maintenance"), "{answer:?}");
            return Ok(true);
        }
        stranger.disconnect();
        Ok(false)
    })?;
    stage.is_served(&first)?;
    first.disconnect();
    first.flush()?;
    wait::until("one client is left", || Ok(stage.clients()? == 1))?;
    stage.is_served(&last)?;
    assert!(stage.daemon.log().contains("admin: drain"), "{}", stage.daemon.log());
    last.disconnect();
    assert!(stage.ai.next("the post-remove")?.is(GOODBYE));
    stage.ends_in_order()
}

#[test]
fn with_1_executor() -> Result<(), Failure> {
    ends_with_the_last_client(1)
}

#[test]
fn with_2_executors() -> Result<(), Failure> {
    ends_with_the_last_client(2)
}

#[test]
fn with_4_executors() -> Result<(), Failure> {
    ends_with_the_last_client(4)
}

#[test]
fn with_the_key_sigterm_drains_and_the_deadline_ejects_the_rest_with_154() -> Result<(), Failure> {
    for shards in [1, 4] {
        let stage = Stage::open(shards, "drain_deadline_s = 1", "")?;
        let clients: Vec<Client> = (0..5).map(|_| stage.client()).collect::<Result<_, _>>()?;
        stage.daemon.signal(Signal::TERM)?;
        for client in &clients {
            assert!(client.expect_eject(154)?.contains("maintenance"));
        }
        stage.ends_in_order()?;
    }
    Ok(())
}

#[test]
fn a_handshake_that_never_ends_does_not_keep_the_daemon() -> Result<(), Failure> {
    let agent = "transport = \"websocket\"\nhandshake_timeout_ms = 600_000";
    let stage = Stage::open(2, "drain_deadline_s = 1", agent)?;
    let address = stage.daemon.address("client_agent")?;
    let silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address)).collect::<Result<_, _>>()?;
    wait::until("the daemon has accepted them", || {
        let overview = admin::json(&stage.daemon, "/api/overview")?;
        let executors = overview["executors"].as_array().expect("a list");
        // Two links and three clients.
        Ok(executors.iter().filter_map(|executor| executor["connections"].as_u64()).sum::<u64>() == 5)
    })?;
    stage.daemon.signal(Signal::TERM)?;
    stage.ends_in_order()?;
    drop(silent);
    Ok(())
}

#[test]
fn without_clients_it_ends_at_once_and_the_command_line_can_ask_for_it() -> Result<(), Failure> {
    let stage = Stage::open(2, "drain_deadline_s = 600", "")?;
    let run = |token: Option<&str>| -> Result<(bool, String), Failure> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_donetd"));
        command.args(["drain", "--admin", &stage.daemon.address("admin")?.to_string()]).env_remove("DONET_ADMIN_TOKEN");
        if let Some(token) = token {
            command.env("DONET_ADMIN_TOKEN", token);
        }
        let output = command.output()?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        Ok((output.status.success(), text))
    };
    let (done, text) = run(None)?;
    assert!(!done && text.contains("the token is missing or wrong"), "{text}");
    let (done, text) = run(Some(TOKEN))?;
    assert!(done && text.contains("the drain begins"), "{text}");
    stage.ends_in_order()
}

#[test]
fn sigusr1_drains_and_the_next_sigterm_waits_no_longer() -> Result<(), Failure> {
    let mut stage = Stage::open(2, "", "")?;
    let client = stage.client()?;
    stage.is_served(&client)?;
    stage.daemon.signal(Signal::USR1)?;
    wait::until("it drains", || Ok(stage.get("/readyz")?.1 == "draining\n"))?;
    stage.is_served(&client)?;
    stage.daemon.signal(Signal::TERM)?;
    let status = stage.daemon.wait_for_end(PATIENCE)?;
    assert_eq!(status.code(), Some(0), "{}", stage.daemon.log_end());
    assert!(stage.daemon.log().contains("without waiting for clients any longer"));
    Ok(())
}

#[test]
fn without_the_key_sigterm_waits_for_nobody() -> Result<(), Failure> {
    let stage = Stage::open(2, "", "")?;
    let _client = stage.client()?;
    stage.daemon.stop()
}
