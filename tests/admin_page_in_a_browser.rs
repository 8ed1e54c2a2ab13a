//! The status page, used in a real Chromium: by mouse, by keyboard alone, on a phone; with the token and without.
//!
//! `DONET_SCREENSHOTS=docs/status-page cargo test --test admin_page_in_a_browser` takes the pictures of the
//! documentation.

#[path = "support/admin.rs"]
mod admin;
mod support;

use donet::wire::{Channel, Doid, Zone, message_type as t};
use donet_perf::Failure;
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{EXAMPLE_DC, Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::Payload;
use donet_perf::peer::Hub;
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Reached only by a failure, however slow the machine is.
const PATIENCE: Duration = Duration::from_secs(300);
const AI: Channel = 3_000_000;
const ROOT: Doid = 5000;
const LOOKED_UP: Doid = 5002;
const PLACES: [(Doid, Zone); 4] = [(5001, 7), (LOOKED_UP, 7), (5003, 8), (5004, 8)];
/// Markup in a name: the page must show it, not obey it.
const NAME: &str = "Inner <b>District</b>";
const TOKEN: &str = "0123456789abcdef-test";

/// Plays the page's user against a daemon with an AI, objects in two zones, and a client that looks at both.
fn play(test: &str, shards: usize, token: Option<&str>) -> Result<(), Failure> {
    let browser = ["chromium", "chromium-browser", "google-chrome"].iter().any(|name| support::has(name, "--version"));
    let Some(python) = support::installed("playwright").map(|folder| folder.join("bin/python")).filter(|_| browser)
    else {
        support::skip(test, "Chromium or Playwright");
        return Ok(());
    };
    let mut setup = Setup::new(shards)?;
    let configured = token.map_or(String::new(), |token| format!("token = \"{token}\"\n"));
    setup.replace = vec![("name = \"session\"", "name = \"Walkabout\"".to_owned())];
    setup.after = format!("[admin]\nbind = \"127.0.0.1:0\"\n{configured}");
    let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
    let url = format!("http://{}/", daemon.address("admin")?);
    let hub = Hub::new(PATIENCE)?;
    let names = Names::parse("example.dc", EXAMPLE_DC)?;
    let ai = Internal::connect(&hub, "ai", daemon.address("message_director")?, AI)?;
    ai.control(t::CONTROL_SET_CON_NAME, &Payload::new().blob(b"the AI of the test"));
    for (doid, parent, zone) in [(ROOT, 0, 0)].into_iter().chain(PLACES.map(|(doid, zone)| (doid, ROOT, zone))) {
        let create = Payload::new().u32(doid).u32(parent).u32(zone).u16(names.class("District")?);
        let create = create.blob(NAME.as_bytes());
        ai.publish(&[numbers::STATE_SERVER], t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, &create);
    }
    let client = Client::connect(&hub, "client", daemon.address("client_agent")?)?;
    client.hello(names.hash(), numbers::VERSION)?;
    let sessions = || admin::json(&daemon, "/api/sessions");
    let channel = sessions()?[0]["channel"].as_u64().expect("a channel");
    ai.publish(&[channel], t::CLIENTAGENT_SET_STATE, &Payload::new().u16(2));
    let interest = Payload::new().u16(9).u32(ROOT).u16(2).u32(7).u32(8);
    ai.publish(&[channel], t::CLIENTAGENT_ADD_INTEREST_MULTIPLE, &interest);
    // Its interest is complete when it has been told of everything there.
    while client.expect("the end of the interest", |_| true)?.message_type() != t::CLIENT_DONE_INTEREST_RESP {}
    assert_eq!(sessions()?[0]["visible"], PLACES.len());

    let in_zone = |zone| PLACES.iter().filter(|place| place.1 == zone).map(|place| place.0).collect::<Vec<_>>();
    let stage = json!({
        "url": url, "shards": shards, "channel": channel, "token": token, "parent": ROOT,
        "zones": { "7": in_zone(7), "8": in_zone(8) },
        "looked_up": LOOKED_UP, "value": format!("\"{NAME}\""), "missing": 4999,
    });
    let mut user = Command::new(python);
    user.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/admin_page.py")).arg(stage.to_string());
    if let Some(folder) = std::env::var_os("DONET_SCREENSHOTS").filter(|_| token.is_some()) {
        user.arg("--screenshots").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
    }
    let output = user.env("PYTHONDONTWRITEBYTECODE", "1").output()?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    println!("{said}");
    if token.is_some() {
        // What the client had been told of comes first.
        while client.expect("an entry or the eject", |_| true)?.message_type() != t::CLIENT_EJECT {}
    } else {
        assert_eq!(sessions()?.as_array().map(Vec::len), Some(1), "nobody was ejected");
    }
    daemon.stop()
}

#[test]
fn an_operator_looks_around_and_ejects_with_the_token() -> Result<(), Failure> {
    play("an_operator_looks_around_and_ejects_with_the_token", 2, Some(TOKEN))
}

#[test]
fn without_a_token_the_page_is_read_only() -> Result<(), Failure> {
    play("without_a_token_the_page_is_read_only", 1, None)
}
