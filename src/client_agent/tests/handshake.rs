//! Hello, states, heartbeats and the events of a session's beginning (§3.4, §3.5, §3.16).

use super::*;
use crate::client_agent::TimerKind;

#[test]
fn a_session_begins_with_its_two_channels_and_an_event() {
    let mut fixture = Fixture::new();
    let client = fixture.connect_quietly();
    let connected = Event::of_application("client-connected", format!("Client:{}", client.channel))
        .with("remote_address", "10.1.2.3:4567")
        .with("local_address", "10.0.0.1:7198");
    let expected = [Seen::Subscribe(client.channel), Seen::Subscribe(10), Seen::Event(connected)];
    assert_eq!(fixture.seen(), expected);
    assert_eq!(fixture.out.metrics.sessions_open, 1);
}

#[test]
fn ca_1_anything_before_hello_is_107() {
    for message_type in [t::CLIENT_HEARTBEAT, t::CLIENT_DISCONNECT, t::CLIENT_OBJECT_SET_FIELD, MessageType(777)] {
        let mut fixture = Fixture::new();
        let client = fixture.connect();
        let seen = fixture.send(client, Encoder::client(message_type));
        assert_eq!(ejected(&seen), (107, Reason::NoHello), "{message_type}");
    }
}

#[test]
fn ca_2_wrong_version_is_124_wrong_hash_125_both_124() {
    for (hash_is_right, version, expected) in [
        (true, "v2", (124, Reason::BadVersion)),
        (false, VERSION, (125, Reason::BadDcHash)),
        (false, "v2", (124, Reason::BadVersion)),
    ] {
        let mut fixture = Fixture::new();
        let client = fixture.connect();
        let hash = fixture.contract.hash() ^ u32::from(!hash_is_right);
        let hello = Encoder::client(t::CLIENT_HELLO).u32(hash).blob(version.as_bytes());
        let seen = fixture.send(client, hello);
        assert_eq!(ejected(&seen), expected);
    }
}

#[test]
fn the_text_of_a_mismatch_names_the_servers_value_only_where_configured() {
    for shown in [true, false] {
        let mut fixture = Fixture::with(|agent| (agent.send_hash, agent.send_version) = (shown, shown));
        let client = fixture.connect();
        let seen = fixture.send(client, Encoder::client(t::CLIENT_HELLO).u32(0).blob(b"other"));
        assert_eq!(events(&seen)[0].get("reason_msg").unwrap().contains(VERSION), shown);
        let client = fixture.connect();
        let hash = fixture.contract.hash();
        let seen = fixture.send(client, Encoder::client(t::CLIENT_HELLO).u32(hash ^ 1).blob(VERSION.as_bytes()));
        assert_eq!(events(&seen)[0].get("reason_msg").unwrap().contains(&format!("{hash:#010x}")), shown);
    }
}

#[test]
fn a_configured_hash_replaces_the_computed_one() {
    let mut fixture = Fixture::with(|agent| agent.dc_file_hash = Some(0xABCD_EF12));
    let client = fixture.connect();
    let hello = Encoder::client(t::CLIENT_HELLO).u32(0xABCD_EF12).blob(VERSION.as_bytes());
    assert_eq!(fixture.send(client, hello), [Seen::Client(client.connection, t::CLIENT_HELLO_RESP, vec![])]);
}

#[test]
fn ca_3_a_good_hello_gets_one_response_and_the_anonymous_state() {
    let mut fixture = Fixture::new();
    let client = fixture.anonymous();
    let again = fixture.hello();
    let seen = fixture.send(client, again);
    assert_eq!(ejected(&seen), (108, Reason::InvalidMessageType), "a second hello");
}

#[test]
fn ca_4_an_empty_body_and_a_single_byte_are_109() {
    for bytes in [&[0, 0][..], &[1, 0, 5]] {
        let mut fixture = Fixture::new();
        let client = fixture.anonymous();
        let seen = fixture.receive(client, bytes);
        assert_eq!(ejected(&seen), (109, Reason::Truncated));
    }
}

#[test]
fn ca_5_an_unaccepted_type_after_hello_is_108() {
    let server_only = [t::CLIENT_OBJECT_SET_FIELDS, t::CLIENT_HELLO_RESP, t::CLIENT_DONE_INTEREST_RESP];
    for message_type in server_only.into_iter().chain([MessageType(0), MessageType(60_000)]) {
        for state in [1, 2] {
            let mut fixture = Fixture::new();
            let client = fixture.anonymous();
            fixture.set_state(client, state);
            let seen = fixture.send(client, Encoder::client(message_type));
            assert_eq!(ejected(&seen), (108, Reason::InvalidMessageType), "{message_type}");
        }
    }
}

#[test]
fn an_anonymous_client_may_not_open_interests_nor_move_objects() {
    for message_type in [t::CLIENT_ADD_INTEREST, t::CLIENT_REMOVE_INTEREST, t::CLIENT_OBJECT_LOCATION] {
        let mut fixture = Fixture::new();
        let client = fixture.anonymous();
        let seen = fixture.send(client, Encoder::client(message_type));
        assert_eq!(ejected(&seen), (108, Reason::InvalidMessageType), "{message_type}");
    }
}

#[test]
fn ca_8_state_0_asks_for_another_hello() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.set_state(client, 0);
    let hello = fixture.hello();
    assert_eq!(fixture.send(client, hello), [Seen::Client(client.connection, t::CLIENT_HELLO_RESP, vec![])]);
    fixture.set_state(client, 0);
    let seen = fixture.send(client, Encoder::client(t::CLIENT_HEARTBEAT));
    assert_eq!(ejected(&seen), (107, Reason::NoHello));
}

#[test]
fn a_state_that_does_not_exist_changes_nothing() {
    let mut fixture = Fixture::new();
    let client = fixture.anonymous();
    assert_eq!(fixture.set_state(client, 3), []);
    assert_eq!(fixture.send(client, Encoder::client(t::CLIENT_HEARTBEAT)), []);
}

#[test]
fn ca_9_trailing_bytes_are_106_and_nothing_is_done() {
    let mut fixture = Fixture::new();
    let hello = fixture.hello().u8(0);
    let client = fixture.connect();
    assert_eq!(ejected(&fixture.send(client, hello)), (106, Reason::InvalidSize));
    let say = fixture.avatar_field("say");
    let messages_with_junk = [
        Encoder::client(t::CLIENT_HEARTBEAT).u8(0),
        Encoder::client(t::CLIENT_DISCONNECT).u8(0),
        add_interest(1, 1, WORLD, &[7]).u8(0),
        add_interest(1, 1, WORLD, &[7, 8]).u8(0),
        Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(3000).u16(say).blob(b"hi").u8(0),
    ];
    for message in messages_with_junk {
        let client = fixture.established();
        fixture.declare(client, 3000);
        let seen = fixture.send(client, message);
        assert_eq!(ejected(&seen), (106, Reason::InvalidSize));
        assert!(!seen.iter().any(|seen| matches!(seen, Seen::Published { .. } | Seen::Subscribe(_))), "{seen:?}");
    }
}

fn heartbeat_fixture() -> Fixture {
    Fixture::with(|agent| agent.heartbeat_timeout = Some(Duration::from_millis(1000)))
}

fn timers(seen: Vec<Seen>) -> Vec<(u64, ClientTimer)> {
    let timer = |seen| match seen {
        Seen::Timer(at_us, timer) => Some((at_us, timer)),
        _ => None,
    };
    seen.into_iter().filter_map(timer).collect()
}

#[test]
fn ca_10_silence_longer_than_the_timeout_is_345_and_it_begins_with_the_connection() {
    let mut fixture = heartbeat_fixture();
    fixture.connect_quietly();
    let [(at_us, timer)] = timers(fixture.seen())[..] else { panic!("one timer") };
    assert_eq!((at_us, timer.kind), (1_000_000, TimerKind::Heartbeat));
    fixture.out.now_us = at_us;
    let seen = fixture.fire(timer);
    assert_eq!(ejected(&seen), (345, Reason::NoHeartbeat));
}

#[test]
fn ca_10_heartbeats_and_hello_keep_a_client_and_set_no_further_timer() {
    let mut fixture = heartbeat_fixture();
    let client = fixture.connect_quietly();
    let [(_, timer)] = timers(fixture.seen())[..] else { panic!("one timer") };
    fixture.out.now_us = 400_000;
    let hello = fixture.hello();
    assert_eq!(fixture.send(client, hello), [Seen::Client(client.connection, t::CLIENT_HELLO_RESP, vec![])]);
    fixture.out.now_us = 900_000;
    for _ in 0..3 {
        assert_eq!(fixture.send(client, Encoder::client(t::CLIENT_HEARTBEAT)), []);
    }
    fixture.out.now_us = 1_000_000;
    assert_eq!(fixture.fire(timer), [Seen::Timer(1_900_000, timer)], "set again where it really ends");
    fixture.out.now_us = 1_900_000;
    assert_eq!(ejected(&fixture.fire(timer)), (345, Reason::NoHeartbeat));
}

#[test]
fn ca_10_other_messages_are_no_heartbeat() {
    let mut fixture = heartbeat_fixture();
    let client = fixture.established();
    let timer = ClientTimer { connection: client.connection, kind: TimerKind::Heartbeat };
    fixture.out.now_us = 900_000;
    let login = fixture.field("LoginManager", "login");
    assert_eq!(messages(fixture.set_field(client, LOGIN, login, &[1, 0, b'x'])).len(), 1);
    fixture.out.now_us = 1_000_000;
    assert_eq!(ejected(&fixture.fire(timer)), (345, Reason::NoHeartbeat));
}

#[test]
fn heartbeats_that_a_reload_asks_for_are_due_from_then_on_and_one_that_asks_for_none_ends_nobody() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let timer = ClientTimer { connection: client.connection, kind: TimerKind::Heartbeat };
    let reload = |fixture: &mut Fixture, now_us: u64, timeout: Option<Duration>| {
        fixture.out.now_us = now_us;
        fixture.agents.reload(&[config::ClientAgent { heartbeat_timeout: timeout, ..config() }], &mut fixture.out);
        fixture.seen()
    };
    let second = Some(Duration::from_secs(1));
    assert_eq!(reload(&mut fixture, 5_000_000, second), [Seen::Timer(6_000_000, timer)]);
    assert_eq!(reload(&mut fixture, 5_500_000, None), []);
    fixture.out.now_us = 6_000_000;
    assert_eq!(fixture.fire(timer), [], "nobody waits for it any more");
    assert_eq!(reload(&mut fixture, 9_000_000, second), [Seen::Timer(10_000_000, timer)]);
    // Off and on again before it fires: still one timer, and a whole second from then on.
    assert_eq!(reload(&mut fixture, 9_300_000, None), []);
    assert_eq!(reload(&mut fixture, 9_500_000, second), []);
    fixture.out.now_us = 10_000_000;
    assert_eq!(fixture.fire(timer), [Seen::Timer(10_500_000, timer)]);
    fixture.out.now_us = 10_500_000;
    assert_eq!(ejected(&fixture.fire(timer)), (345, Reason::NoHeartbeat));
}

#[test]
fn deadlines_for_hello_and_login_that_a_reload_asks_for_begin_with_it() {
    let mut fixture = Fixture::new();
    let client = fixture.connect_quietly();
    fixture.seen();
    fixture.out.now_us = 5_000_000;
    let limits = config::Limits { hello_timeout: Some(Duration::from_secs(1)), ..config().limits };
    let settings = config::ClientAgent { auth_timeout: Some(Duration::from_secs(2)), limits, ..config() };
    fixture.agents.reload(&[settings], &mut fixture.out);
    let timer = |kind| ClientTimer { connection: client.connection, kind };
    let expected = [(7_000_000, timer(TimerKind::Authentication)), (6_000_000, timer(TimerKind::Hello))];
    assert_eq!(timers(fixture.seen()), expected);
    fixture.out.now_us = 6_000_000;
    assert_eq!(ejected(&fixture.fire(timer(TimerKind::Hello))).1, Reason::HelloTimeout);
}

#[test]
fn a_client_that_does_not_log_in_is_ejected_once_established_it_stays() {
    let mut fixture = Fixture::with(|agent| agent.auth_timeout = Some(Duration::from_millis(2000)));
    let idle = fixture.connect_quietly();
    let [(at_us, timer)] = timers(fixture.seen())[..] else { panic!("one timer") };
    assert_eq!((at_us, timer.kind), (2_000_000, TimerKind::Authentication));
    let established = fixture.established();
    fixture.set_state(established, 1);
    fixture.out.now_us = at_us;
    assert_eq!(fixture.fire(ClientTimer { connection: established.connection, ..timer }), []);
    let seen = fixture.fire(ClientTimer { connection: idle.connection, ..timer });
    assert_eq!(ejected(&seen), (1, Reason::AuthenticationTimeout));
}

#[test]
fn frames_are_used_only_when_complete_and_several_at_once() {
    let mut fixture = Fixture::new();
    let client = fixture.connect();
    let hello = fixture.hello().finish().unwrap();
    let mut bytes = hello.to_vec();
    bytes.extend_from_slice(&Encoder::client(t::CLIENT_HEARTBEAT).finish().unwrap());
    bytes.extend_from_slice(&[2, 0, 5]);
    let agents = &mut fixture.agents;
    assert_eq!(agents.on_received(client.connection, &bytes[..5], &mut fixture.out), 0);
    assert_eq!(agents.on_received(client.connection, &bytes, &mut fixture.out), bytes.len() - 3);
    assert_eq!(fixture.seen(), [Seen::Client(client.connection, t::CLIENT_HELLO_RESP, vec![])]);
    assert_eq!(fixture.out.metrics.client_messages, 2);
}
