//! The admin endpoint shows what the daemon really does, and lets nobody change anything without the token
//! (`spec/config.md`, `[admin]`).

#[path = "support/admin.rs"]
mod admin;

use donet::wire::{Channel, Doid, message_type as t};
use donet_perf::Failure;
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::Payload;
use donet_perf::peer::Hub;
use donet_perf::wait;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const AI: Channel = 3_000_000;
const DISTRICT: Doid = 5000;
const THING: Doid = 5001;
const TOKEN: &str = "0123456789abcdef-test";

/// A daemon with an admin endpoint, an AI with two objects, and a client that has said hello.
struct Stage {
    daemon: Daemon,
    _setup: Setup,
    _ai: Internal,
    client: Client,
    admin: SocketAddr,
}

impl Stage {
    fn open(shards: usize, admin: &str) -> Result<Self, Failure> {
        let mut setup = Setup::new(shards)?;
        setup.after = format!("[admin]\nbind = \"127.0.0.1:0\"\n{admin}");
        let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
        let hub = Hub::new(PATIENCE)?;
        let names = Names::parse("example.dc", EXAMPLE_DC)?;
        let ai = Internal::connect(&hub, "ai", daemon.address("message_director")?, AI)?;
        ai.control(t::CONTROL_SET_CON_NAME, &Payload::new().blob(b"the AI of the test"));
        for (doid, parent, zone, name) in [(DISTRICT, 0, 0, "Upper District"), (THING, DISTRICT, 7, "Inner District")] {
            let create = Payload::new().u32(doid).u32(parent).u32(zone).u16(names.class("District")?);
            let create = create.blob(name.as_bytes());
            ai.publish(&[numbers::STATE_SERVER], t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, &create);
        }
        let client = Client::connect(&hub, "client", daemon.address("client_agent")?)?;
        client.hello(names.hash(), numbers::VERSION)?;
        let admin = daemon.address("admin")?;
        let stage = Self { daemon, _setup: setup, _ai: ai, client, admin };
        stage.until("/api/overview", |overview| admin::sum(overview, "objects") == 2);
        Ok(stage)
    }

    fn get(&self, path: &str) -> (u16, String) {
        admin::get(&self.daemon, path).unwrap_or_else(|failure| panic!("{failure}"))
    }

    fn json(&self, path: &str) -> Value {
        admin::json(&self.daemon, path).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Asks until the answer is as it should be.
    fn until(&self, path: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait::for_some(path, || Ok(Some(self.json(path)).filter(&is_it))).unwrap_or_else(|failure| {
            let answer = self.json(path);
            panic!("{failure}; the last answer: {answer:#}")
        })
    }

    fn eject(&self, session: Channel, authorization: Option<&str>) -> (u16, String) {
        let url = format!("http://{}/api/sessions/{session}/eject", self.admin);
        let body = json!({ "code": 154, "text": "maintenance" }).to_string();
        let mut request = minreq::post(url).with_header("Content-Type", "application/json").with_body(body);
        if let Some(authorization) = authorization {
            request = request.with_header("Authorization", authorization);
        }
        admin::send(request).unwrap_or_else(|failure| panic!("{failure}"))
    }
}

fn shows_what_runs(shards: usize) -> Result<(), Failure> {
    let stage = Stage::open(shards, "")?;
    let overview = stage.json("/api/overview");
    assert_eq!(overview["executors"].as_array().map(Vec::len), Some(shards));
    assert_eq!((admin::sum(&overview, "sessions_open"), admin::sum(&overview, "links_open")), (1, 1), "{overview:#}");

    let links = stage.json("/api/links");
    assert_eq!(links[0]["name"], "the AI of the test");

    let sessions = stage.json("/api/sessions?search=");
    let channel = sessions[0]["channel"].as_u64().expect("a channel");
    assert!(numbers::CLIENT_CHANNELS.contains(&channel));
    let address = stage.client.local_address().expect("connected").to_string();
    assert_eq!(sessions[0]["peer"], address.as_str());
    assert_eq!(stage.json(&format!("/api/sessions?search={address}")), sessions);
    assert_eq!(stage.json("/api/sessions?search=no-such"), json!([]));
    assert_eq!(stage.json(&format!("/api/sessions/{channel}"))["state"], "anonymous");

    let object = stage.json(&format!("/api/objects/{THING}"));
    assert_eq!(
        (&object["class"], &object["parent"], &object["zone"]),
        (&json!("District"), &json!(DISTRICT), &json!(7))
    );
    assert_eq!(object["fields"], json!([["name", "\"Inner District\""]]));
    assert_eq!(stage.json("/api/parents"), json!([DISTRICT]));
    let children = json!([{ "doid": THING, "zone": 7, "class": "District" }]);
    assert_eq!(stage.json(&format!("/api/objects/{DISTRICT}/children")), children);
    assert_eq!(stage.json(&format!("/api/objects/{DISTRICT}/children?zone=8")), json!([]));
    assert_eq!(stage.get("/api/objects/4999").0, 404);
    assert_eq!(stage.get("/api/sessions/1").0, 404);

    for path in ["/healthz", "/readyz"] {
        assert_eq!(stage.get(path), (200, "ok\n".to_owned()), "{path}");
    }
    stage.daemon.stop()
}

#[test]
fn with_1_executor() -> Result<(), Failure> {
    shows_what_runs(1)
}

#[test]
fn with_2_executors() -> Result<(), Failure> {
    shows_what_runs(2)
}

#[test]
fn with_4_executors() -> Result<(), Failure> {
    shows_what_runs(4)
}

/// The samples of a Prometheus text: every line of it must be one that the format knows.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let mut typed = Vec::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.split(' ');
            match (words.next(), words.next(), words.next()) {
                (Some("HELP"), Some(_), Some(_)) => {}
                (Some("TYPE"), Some(name), Some("counter" | "gauge" | "histogram")) => typed.push(name.to_owned()),
                _ => panic!("{line}"),
            }
            continue;
        }
        let (name, value) = line.rsplit_once(' ').expect(line);
        let bare = name.split('{').next().expect("a name");
        let family = typed.last().expect("a family");
        let rest = bare.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} stands below {family}"));
        assert!(["", "_bucket", "_sum", "_count"].contains(&rest), "{line} stands below {family}");
        assert!(samples.insert(name.to_owned(), value.parse().expect(line)).is_none(), "{name} twice");
    }
    samples
}

#[test]
fn metrics_are_valid_and_count_what_happened() -> Result<(), Failure> {
    let stage = Stage::open(2, "")?;
    let (status, text) = stage.get("/metrics");
    assert_eq!(status, 200);
    let samples = samples(&text);
    let both = |name: &str| -> f64 { (0..2).map(|shard| samples[&format!("{name}{{shard=\"{shard}\"}}")]).sum() };
    assert_eq!(both("donet_objects"), 2.0);
    assert_eq!(both("donet_sessions_open"), 1.0);
    assert!(both("donet_turn_seconds_count") >= both("donet_turns_total"), "every turn that did something was timed");
    assert!(both("donet_bytes_received_total") > 0.0);
    assert!(samples["process_resident_memory_bytes"] > 1e6);
    assert!(samples["donet_up_seconds"] > 0.0);
    stage.daemon.stop()
}

#[test]
fn without_a_token_nothing_can_be_changed() -> Result<(), Failure> {
    let stage = Stage::open(2, "")?;
    let channel = stage.json("/api/sessions")[0]["channel"].as_u64().expect("a channel");
    let (status, body) = stage.eject(channel, Some("Bearer "));
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("token is not configured"), "{body}");
    assert_eq!(stage.json("/api/overview")["may_change"], false);
    assert_eq!(stage.json("/api/sessions").as_array().map(Vec::len), Some(1));
    stage.daemon.stop()
}

#[test]
fn the_token_ejects_with_code_and_reason_and_the_log_has_it() -> Result<(), Failure> {
    let stage = Stage::open(2, &format!("token = \"{TOKEN}\""))?;
    let channel = stage.json("/api/sessions")[0]["channel"].as_u64().expect("a channel");
    for wrong in [None, Some("Bearer 0123456789abcdef-tesT"), Some("Bearer"), Some(TOKEN)] {
        assert_eq!(stage.eject(channel, wrong).0, 401, "{wrong:?}");
    }
    let right = format!("Bearer {TOKEN}");
    assert_eq!(stage.eject(channel + 1, Some(&right)).0, 404);
    assert_eq!(stage.eject(channel, Some(&right)).0, 200);
    assert_eq!(stage.client.expect_eject(154)?, "maintenance");
    stage.until("/api/sessions", |sessions| sessions.as_array().is_some_and(Vec::is_empty));
    let log = std::fs::read_to_string(stage._setup.log_path())?;
    assert!(log.lines().any(|line| line.contains("admin: eject") && line.contains("maintenance")), "{log}");
    stage.daemon.stop()
}

#[test]
fn whoever_opens_connections_and_says_nothing_keeps_nobody_out_for_long() -> Result<(), Failure> {
    let stage = Stage::open(1, "")?;
    let mut silent: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(stage.admin)).collect::<Result<_, _>>()?;
    for stream in &mut silent {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:")?;
    }
    // Sixty-four of them fill the room until their heads are overdue.
    assert_eq!(stage.get("/healthz").0, 200);
    stage.daemon.stop()
}

#[test]
fn the_page_needs_nothing_from_elsewhere() -> Result<(), Failure> {
    let stage = Stage::open(1, "")?;
    let mut stream = TcpStream::connect(stage.admin)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    assert!(page.contains("content-security-policy: default-src 'self'"), "{page}");
    for path in ["/", "/admin.css", "/admin.js"] {
        let (status, text) = stage.get(path);
        assert_eq!(status, 200);
        assert!(!text.contains("http://") && !text.contains("https://"), "{path} names another place");
    }
    stage.daemon.stop()
}

#[test]
fn the_terminal_shows_the_same() -> Result<(), Failure> {
    let stage = Stage::open(2, "")?;
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_donetd")).args(arguments).output().expect("it starts");
        (
            output.status.success(),
            String::from_utf8(output.stdout).expect("text") + &String::from_utf8_lossy(&output.stderr),
        )
    };
    let admin = stage.admin.to_string();
    let (done, text) = run(&["ps", "--admin", &admin]);
    assert!(done && text.contains("1 clients, 1 links, 2 objects") && text.contains("the AI of the test"), "{text}");
    let (done, text) = run(&["top", "--admin", &admin, "--rounds", "2"]);
    assert!(done, "{text}");
    assert_eq!(text.matches("shard   busy").count(), 2, "{text}");
    stage.daemon.stop()?;
    let (done, text) = run(&["ps", "--admin", &admin]);
    assert!(!done && text.contains("Does the daemon run?"), "{text}");
    Ok(())
}
