//! Every figure that an operator is promised is exported by a working daemon, and those that count work move with it.

#[path = "support/admin.rs"]
mod admin;

use donet::wire::{Channel, Doid, MessageType, message_type as t};
use donet_perf::client::Client;
use donet_perf::contract::Names;
use donet_perf::daemon::{Daemon, EXAMPLE_DC, Setup, numbers};
use donet_perf::internal::Internal;
use donet_perf::message::Payload;
use donet_perf::peer::Hub;
use donet_perf::{Failure, wait};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const AI: Channel = 3_000_000;
const DISTRICT: Doid = 5000;

/// What one round of work moves: a name, with labels where only these are meant.
const MOVING: &[&str] = &[
    // Executors.
    "donet_turns_total",
    "donet_handlers_total",
    "donet_messages_taken_total",
    "donet_bytes_received_total",
    "donet_bytes_sent_total",
    "donet_sends_total",
    "donet_receives_total",
    "donet_packets_sent_total",
    "donet_turn_seconds_sum",
    "donet_turn_seconds_count",
    "donet_turn_seconds_bucket{le=\"+Inf\"}",
    // Message Director.
    "donet_datagrams_published_total",
    "donet_datagrams_delivered_total",
    "donet_datagrams_crossed_total",
    "donet_link_bytes_received_total",
    "donet_link_bytes_sent_total",
    "donet_links_open",
    "donet_subscriptions_requested_total",
    "donet_subscribed_channels",
    // Client Agent.
    "donet_client_messages_total",
    "donet_client_bytes_received_total",
    "donet_client_frames_sent_total",
    "donet_client_bytes_sent_total",
    "donet_client_agent_messages_total",
    "donet_sessions_open",
    "donet_sessions_new",
    "donet_sessions_anonymous",
    "donet_sessions_established",
    "donet_interests_opened_total",
    "donet_interests_completed_total",
    "donet_interests_closed_total",
    "donet_closed_total{eject_code=\"108\",reason=\"invalid_message_type\"}",
    "donet_closed_total{reason=\"disconnected\"}",
    "donet_ejects_total{code=\"108\"}",
    "donet_ejects_total{code=\"777\"}",
    // State Server.
    "donet_objects",
    "donet_object_messages_total",
    "donet_state_server_messages_total",
    "donet_children_visited_total",
    "donet_object_messages_refused_total",
    // Database.
    "donet_database_server_messages_total",
    "donet_dbss_messages_total",
    "donet_database_requests_total",
    "donet_database_latency_seconds_count",
    "donet_database_latency_seconds_sum",
    "donet_database_commit_seconds_count",
    "donet_database_batch_operations_count",
    "donet_database_batch_operations_sum",
    // Events, and what was dropped.
    "donet_events_sent_total",
    "donet_event_logger_lines_total",
    "donet_event_logger_bytes_total",
    "donet_event_logger_packets_refused_total",
    "donet_unknown_messages_total",
    "donet_drops_total{reason=\"unknown_message\"}",
    "donet_drops_total{reason=\"refused_by_object\"}",
    "process_cpu_seconds_total",
    "donet_up_seconds",
];

/// What is exported whether or not it moves.
const THERE: &[&str] = &[
    "donet_build_info",
    "donet_ready",
    "donet_executors",
    "donet_executors_silent",
    "donet_slow_turns_total",
    "donet_turns_cut_short_total",
    "donet_clogged_turns_total",
    "donet_congestions_total",
    "donet_packets_failed_total",
    "donet_uncontained_panics_total",
    "donet_queue_work",
    "donet_queue_held_effects",
    "donet_queue_batches_waiting",
    "donet_queue_ring_batches_max",
    "donet_queue_ring_batches_limit",
    "donet_timers",
    "donet_connections",
    "donet_links_congested_total",
    "donet_sources_paused",
    "donet_upstream_datagrams_lost_total",
    "donet_upstream_redials_total",
    "donet_datagrams_malformed_total",
    "donet_oversized_messages_dropped_total",
    "donet_unknown_control_messages_total",
    "donet_historical_updates_swallowed_total",
    "donet_interests_timed_out_total",
    "donet_fan_outs_waiting",
    "donet_fan_outs_waiting_limit",
    "donet_fan_outs_deferred_total",
    "donet_database_failures_total",
    "donet_database_refused_total",
    "donet_database_queue_bytes",
    "donet_database_queue_bytes_limit",
    "donet_sql_sink_lag_entries",
    "donet_sql_sink_lag_bytes",
    "donet_sql_sink_lag_seconds",
    "donet_sql_sink_rows_total",
    "donet_sql_sink_errors_total",
    "donet_sql_sinks_copying",
    "donet_sql_sinks_connected",
    "donet_events_dropped_total",
    "donet_event_logger_files_total",
    "donet_event_logger_lines_lost_total",
    "donet_event_logger_packets_overflowed_total",
    "donet_panics_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
];

/// A scrape: each sample by its name, with its labels.
struct Scrape(Vec<(String, BTreeMap<String, String>, f64)>);

impl Scrape {
    fn of(daemon: &Daemon) -> Result<Self, Failure> {
        let text = admin::metrics(daemon)?;
        Ok(Self(text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()))
    }

    /// The sum of what has this name and these labels; `None` where there is nothing.
    fn sum(&self, wanted: &str) -> Option<f64> {
        let (name, labels) = named(wanted);
        let is_wanted = |sample: &&(String, BTreeMap<String, String>, f64)| {
            sample.0 == name && labels.iter().all(|(key, value)| sample.1.get(key) == Some(value))
        };
        self.0.iter().filter(is_wanted).map(|sample| sample.2).reduce(|sum, value| sum + value)
    }
}

/// A name, and its labels where it has some.
fn named(text: &str) -> (String, BTreeMap<String, String>) {
    let Some((name, labels)) = text.split_once('{') else { return (text.to_owned(), BTreeMap::new()) };
    let labels = labels.trim_end_matches('}').split(',').map(|label| {
        let (key, value) = label.split_once('=').expect("a label has a value");
        (key.to_owned(), value.trim_matches('"').to_owned())
    });
    (name.to_owned(), labels.collect())
}

fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (name, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = named(name);
    (name, labels, value.parse().expect("a number"))
}

/// Something of everything, and whoever has to stay connected for the gauges to stand above what they were.
struct Work {
    _ai: Internal,
    _clients: Vec<Client>,
}

fn work(daemon: &Daemon, hub: &Hub) -> Result<Work, Failure> {
    let names = Names::parse("example.dc", EXAMPLE_DC)?;
    let (hash, login) = (names.hash(), names.field("LoginManager", "login")?.0);
    let ai = Internal::connect(hub, "the AI", daemon.address("message_director")?, AI)?;
    ai.subscribe(numbers::LOGIN_MANAGER.into());
    let prober = Internal::connect(hub, "a prober", daemon.address("message_director")?, AI + 1)?;
    prober.until_heard(&ai, numbers::LOGIN_MANAGER.into())?;
    let create = |doid: Doid, parent: Doid| -> Result<Payload, Failure> {
        Ok(Payload::new().u32(doid).u32(parent).u32(7).u16(names.class("District")?).blob(b"a name"))
    };
    // Children on every executor.
    for doid in DISTRICT..DISTRICT + 8 {
        let parent = if doid == DISTRICT { 0 } else { DISTRICT };
        ai.publish(&[numbers::STATE_SERVER], t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, &create(doid, parent)?);
    }
    // A field that no class has, and a message that nobody knows.
    let unknown = Payload::new().u32(DISTRICT).u16(60_000);
    ai.publish(&[DISTRICT.into()], t::STATESERVER_OBJECT_SET_FIELD, &unknown);
    ai.publish(&[DISTRICT.into()], MessageType(2999), &Payload::new());
    let stored = Payload::new().u32(77).u16(names.class("Avatar")?).u16(0);
    ai.publish(&[numbers::DATABASE], t::DBSERVER_CREATE_OBJECT, &stored);
    ai.until("the stored object", |message| message.is(t::DBSERVER_CREATE_OBJECT_RESP))?;

    let connect = || Client::connect(hub, "a client", daemon.address("client_agent")?);
    let anonymous = || -> Result<Client, Failure> {
        let client = connect()?;
        client.hello(hash, numbers::VERSION)?;
        Ok(client)
    };
    let channel_of = |client: &Client| -> Result<Channel, Failure> {
        client.set_field(numbers::LOGIN_MANAGER, login, &Payload::new().blob(b"me").blob(b"secret"));
        let (_, login) = ai.until("the login", |message| message.is(t::STATESERVER_OBJECT_SET_FIELD))?;
        Ok(login.sender())
    };
    let (new, still_anonymous, established, thrown_out) = (connect()?, anonymous()?, anonymous()?, anonymous()?);
    let channel = channel_of(&established)?;
    ai.publish(&[channel], t::CLIENTAGENT_SET_STATE, &Payload::new().u16(2));
    let interest = Payload::new().u16(5).u32(DISTRICT).u32(7);
    ai.publish(&[channel], t::CLIENTAGENT_ADD_INTEREST, &interest);
    established.until("the interest", |message| message.is(t::CLIENT_DONE_INTEREST_RESP))?;
    ai.publish(&[channel], t::CLIENTAGENT_REMOVE_INTEREST, &Payload::new().u16(5));
    established.until("its end", |message| message.is(t::CLIENT_DONE_INTEREST_RESP))?;
    let eject = Payload::new().u16(777).blob(b"for the test");
    ai.publish(&[channel_of(&thrown_out)?], t::CLIENTAGENT_EJECT, &eject);
    thrown_out.expect_eject(777)?;
    let hostile = anonymous()?;
    hostile.tell(MessageType(9999), &[]);
    hostile.expect_eject(108)?;
    let leaving = anonymous()?;
    leaving.disconnect();
    leaving.flush()?;
    ai.log(b"no event");
    ai.flush()?;
    Ok(Work { _ai: ai, _clients: vec![new, still_anonymous, established] })
}

#[test]
fn every_figure_is_there_and_what_counts_work_moves() -> Result<(), Failure> {
    for shards in [2, 4] {
        let mut setup = Setup::new(shards)?;
        setup.after = "[admin]\nbind = \"127.0.0.1:0\"".to_owned();
        let daemon = setup.start(Path::new(env!("CARGO_BIN_EXE_donetd")))?;
        let before = Scrape::of(&daemon)?;
        for name in THERE {
            assert!(before.sum(name).is_some(), "nobody exports {name}");
        }
        let hub = Hub::new(PATIENCE)?;
        let _work = work(&daemon, &hub)?;
        let mut still = Vec::new();
        let moved = wait::until("every figure moves", || {
            let after = Scrape::of(&daemon)?;
            still = MOVING
                .iter()
                .filter(|name| after.sum(name).unwrap_or(0.0) <= before.sum(name).unwrap_or(0.0))
                .collect();
            Ok(still.is_empty())
        });
        moved.map_err(|failure| Failure::new(format!("{failure}: these do not: {still:?}")))?;
        let after = Scrape::of(&daemon)?;
        let of_state = ["new", "anonymous", "established"].map(|state| after.sum(&format!("donet_sessions_{state}")));
        assert_eq!(of_state, [Some(1.0); 3]);
        assert_eq!(after.sum("donet_sessions_open"), Some(3.0));
        daemon.stop()?;
    }
    Ok(())
}
