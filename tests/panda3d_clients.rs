//! Real Panda3D clients and AIs (the packages `panda3d` and `panda3d-astron`, unmodified) play against the daemon that
//! was just built: one test for each scene of `tests/panda3d/scenes.py` and number of executors, because an outside
//! observer must not see the difference (guarantee G9). A scene ends with the first claim that does not hold; its
//! output says which, with the last reports of every participant.

mod support;

use donet_perf::daemon::Setup;
use std::path::Path;
use std::process::{Command, Stdio};

/// The keys that a scene needs beside the usual ones, each at the end of its table; and what the daemon must have warned
/// of in the end.
#[derive(Clone, Copy, Default)]
struct Keys {
    global: &'static str,
    client_agent: &'static str,
    warnings: &'static [&'static str],
}

/// These libraries die of message 161, so most scenes use the configuration that spares them.
const STOCK: Keys = Keys { global: "", client_agent: "leaving_owner = false", warnings: &[] };

fn play(test: &str, scene: &str, shards: usize, keys: Keys) {
    let Some(python) = support::panda3d_python() else {
        return support::skip(&format!("{test} (on {shards})"), "Panda3D with panda3d-astron");
    };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/panda3d");
    let mut setup = Setup::new(shards).expect("a temporary folder");
    setup.contract = std::fs::read_to_string(sources.join("play.dc")).expect("the contract");
    let dc_files = "dc_files = [\"example.dc\"]";
    setup.replace.push((dc_files, format!("{dc_files}\n{}", keys.global)));
    setup.replace.push(("relocate = true", format!("relocate = true\n{}", keys.client_agent)));
    let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd"))).unwrap_or_else(|failure| panic!("{failure}"));
    let address = |role| daemon.address(role).expect("it listens").to_string();
    let output = Command::new(python)
        .arg(sources.join("scenes.py"))
        .arg(scene)
        .arg(setup.contract_path())
        .arg(address("message_director"))
        .arg(address("client_agent"))
        .arg(setup.folder())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .output()
        .expect("Python starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n--- the daemon's log ends so\n{}", daemon.log_end());
    // Whatever happened, the daemon lives and ends in order.
    let log = std::fs::read_to_string(setup.log_path()).expect("the daemon's log");
    assert!(!log.contains("panicked") && !log.contains("ERROR"), "{log}");
    for warning in keys.warnings {
        assert!(log.lines().any(|line| line.contains("WARN") && line.contains(warning)), "no {warning:?} in\n{log}");
    }
    daemon.stop().unwrap_or_else(|failure| panic!("{failure}"));
}

macro_rules! scenes {
    ($($name:ident: $scene:literal, $keys:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn on_one_executor() {
                play(stringify!($name), $scene, 1, $keys);
            }

            #[test]
            fn on_four_executors() {
                play(stringify!($name), $scene, 4, $keys);
            }
        }
    )*};
}

scenes! {
    clients_log_in_or_are_refused: "login_and_refusals", STOCK;
    interests_show_exactly_their_zones: "interests", STOCK;
    owners_have_a_view_of_their_own: "ownership", STOCK;
    with_leaving_owner_these_clients_die_of_161: "leaving_owner_kills", Keys::default();
    each_keyword_reaches_its_audience_alone: "keywords", STOCK;
    each_keyword_reaches_its_audience_in_c_too: "keywords_decoded_in_c", STOCK;
    big_values_pass_and_wrong_ones_do_not: "big_and_wrong_values",
        Keys { warnings: &["setLevel", "setHealth", "setName", "setBlob"], ..STOCK };
    moves_and_deletion_are_seen_once: "moves_and_deletion",
        Keys {
            warnings: &[
                "object 3000 exists",
                "message type 19999 of 600000 to object 3000",
                "message type 19999 of 600000 to client sessions",
                "message type 19999 of 600000 is none that the State Server knows",
                "message type 19999 requester=600000",
            ],
            ..STOCK
        };
    who_vanishes_leaves_nothing_behind: "endings", STOCK;
    silence_is_ejected_and_a_flood_of_heartbeats_is_not: "heartbeats",
        Keys { client_agent: "leaving_owner = false\nheartbeat_timeout_ms = 8000", ..STOCK };
    heartbeats_are_no_abuse_under_a_rate_limit: "heartbeats_under_a_limit",
        Keys { client_agent: "leaving_owner = false\nlimits = { messages_per_second = 1 }", ..STOCK };
    stored_objects_are_read_changed_and_made_live: "database", STOCK;
    text_may_be_utf8: "text_utf8", Keys { global: "text = \"utf8\"", ..STOCK };
    text_may_be_bytes: "text_bytes", Keys { global: "text = \"bytes\"", ..STOCK };
    text_may_be_7_bits: "text_ascii", Keys { global: "text = \"ascii\"", ..STOCK };
}
