//! The end of a session, its channel, and panics (§3.13, §3.2 "Pool").

use super::*;
use crate::client_agent::session::End;
use donet_shards::{Socket, SocketKind};

const AVATAR: Doid = 3000;

fn deletion(client: Client, doid: Doid) -> Seen {
    published(client, doid.into(), t::STATESERVER_OBJECT_DELETE_RAM, |message| message.doid(doid))
}

fn teardown(client: Client, between: Vec<Seen>) -> Vec<Seen> {
    let participant = Participant::Session(client.channel);
    let mut expected = vec![Seen::UnsubscribeAll(participant)];
    expected.extend(between);
    expected.extend([Seen::FirePostRemoves(participant), Seen::Release(0, client.channel)]);
    expected
}

fn lost(client: Client, reason: &str) -> Seen {
    let event = Event::of_application("client-lost", format!("Client:{}", client.channel))
        .with("remote_address", "10.1.2.3:4567")
        .with("local_address", "10.0.0.1:7198")
        .with("reason", reason);
    Seen::Event(event)
}

#[test]
fn ca_48_the_order_of_a_teardown() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.add_session_object(client, 3002);
    fixture.add_session_object(client, 3001);
    let seen = fixture.deliver(client, t::CLIENTAGENT_ADD_INTEREST, |message| message.u16(9).doid(WORLD).zone(7));
    assert!(matches!(seen.last(), Some(Seen::Await(_))));
    let answer =
        published(client, AI, t::CLIENTAGENT_DONE_INTEREST_RESP, |message| message.channel(client.channel).u16(9));
    let mut expected = vec![lost(client, "end of file")];
    expected.extend(teardown(client, vec![deletion(client, 3001), deletion(client, 3002), answer]));
    assert_eq!(fixture.lose(client), expected);
    assert_eq!((fixture.out.metrics.sessions_open, fixture.out.metrics.closed(Reason::PeerClosed)), (0, 1));
    assert_eq!(fixture.lose(client), [], "once");
}

#[test]
fn ca_48_the_current_client_id_is_the_sender_of_the_deletions() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.add_session_object(client, AVATAR);
    fixture.deliver(client, t::CLIENTAGENT_SET_CLIENT_ID, |message| message.channel(555_000));
    let seen = messages(fixture.lose(client));
    assert!(matches!(seen[..], [Seen::Published { sender: 555_000, .. }]), "{seen:?}");
}

#[test]
fn disconnecting_closes_without_an_eject_and_cleans_up() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.add_session_object(client, AVATAR);
    let seen = fixture.send(client, Encoder::client(t::CLIENT_DISCONNECT));
    let event = Event::of_application("client-disconnected", format!("Client:{}", client.channel));
    let mut expected = vec![Seen::Event(event), Seen::Close(client.connection, Close::Now, Reason::Disconnected)];
    expected.extend(teardown(client, vec![deletion(client, AVATAR)]));
    assert_eq!(seen, expected);
}

#[test]
fn an_eject_says_so_to_the_logger_and_the_client_and_tears_down_at_once() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen = fixture.send(client, Encoder::client(MessageType(777)));
    let Seen::Event(event) = &seen[0] else { panic!("{seen:?}") };
    assert_eq!(event.get("type"), Some("client-ejected-security"));
    assert_eq!(event.get("sender"), Some(&*format!("Client:{}", client.channel)));
    assert_eq!(event.get("reason_code"), Some("108"));
    assert!(matches!(seen[1], Seen::Client(_, t::CLIENT_EJECT, _)));
    assert!(matches!(seen[2], Seen::Close(_, Close::Linger { us: 1_000_000 }, Reason::InvalidMessageType)));
    assert_eq!(seen[3..], teardown(client, vec![]));
    assert_eq!(fixture.out.metrics.closed(Reason::InvalidMessageType), 1);
}

#[test]
fn ca_51_nothing_follows_an_eject_whatever_comes() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let mut bytes = Encoder::client(MessageType(777)).finish().unwrap().to_vec();
    bytes.extend_from_slice(&Encoder::client(MessageType(778)).finish().unwrap());
    bytes.extend_from_slice(&[9]);
    assert_eq!(ejected(&fixture.receive(client, &bytes)), (108, Reason::InvalidMessageType));
    assert_eq!(fixture.receive(client, &bytes), []);
    assert_eq!(fixture.deliver(client, t::CLIENTAGENT_EJECT, |message| message.u16(1).blob(b"x")), []);
    assert_eq!(fixture.lose(client), []);
    fixture.agents.on_subscribed(client.channel, 1, &mut fixture.out);
    assert_eq!(fixture.seen(), []);
}

#[test]
fn every_cause_of_a_loss_has_its_reason() {
    for (cause, text, reason) in [
        (CloseCause::Error("connection reset by peer".to_owned()), "connection reset by peer", Reason::SocketError),
        (CloseCause::WriteBudget, "no buffer space available", Reason::WriteBudget),
        (CloseCause::WriteTimeout, "connection timed out", Reason::WriteTimeout),
    ] {
        let mut fixture = Fixture::new();
        let client = fixture.connect();
        fixture.agents.on_closed(client.connection, cause, &mut fixture.out);
        assert_eq!(fixture.seen()[0], lost(client, text));
        assert_eq!(fixture.out.metrics.closed(reason), 1);
    }
}

#[test]
fn a_panic_costs_its_session_alone_and_cleans_up_after_it() {
    let mut fixture = Fixture::new();
    let (client, other) = (fixture.established(), fixture.established());
    fixture.add_session_object(client, AVATAR);
    let goes_on = fixture.agents.run(client.channel, &mut fixture.out, |session, _, out| -> Result<(), End> {
        session.subscribe(4711, out);
        panic!("on purpose");
    });
    assert!(!goes_on);
    let mut expected =
        vec![lost(client, "internal error"), Seen::Close(client.connection, Close::Now, Reason::InternalError)];
    expected.extend(teardown(client, vec![deletion(client, AVATAR)]));
    assert_eq!(fixture.seen(), expected);
    assert_eq!(fixture.send(other, Encoder::client(t::CLIENT_HEARTBEAT)), []);
}

fn socket() -> Socket {
    let (peer, local) = ("10.1.2.3:4567".parse().unwrap(), "10.0.0.1:7198".parse().unwrap());
    Socket { kind: SocketKind::Simulated(1), peer, local }
}

fn accept(fixture: &mut Fixture, agent: u8) -> Vec<Seen> {
    fixture.agents.on_accepted(agent, socket(), &mut fixture.out);
    fixture.seen()
}

fn release(fixture: &mut Fixture, agent: u8, channel: Channel) {
    let message = ClientAgentMessage::ReleaseChannel { agent, channel };
    fixture.agents.on_message(ShardId(0), message, &mut fixture.out);
}

#[test]
fn an_exhausted_pool_turns_clients_away_with_eject_1() {
    let mut fixture = Fixture::with(|agent| agent.channels = FIRST_CHANNEL..=FIRST_CHANNEL);
    assert_eq!(accept(&mut fixture, 0), [Seen::Adopt(0, FIRST_CHANNEL)]);
    let seen = accept(&mut fixture, 0);
    let [Seen::Event(event), Seen::Refuse(Reason::ChannelsExhausted, frame)] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(event.get("reason_code"), Some("1"));
    assert_eq!(frame[2..6], [4, 0, 1, 0]);
    assert_eq!(fixture.out.metrics.closed(Reason::ChannelsExhausted), 1);
    release(&mut fixture, 0, FIRST_CHANNEL);
    assert_eq!(accept(&mut fixture, 0), [Seen::Adopt(0, FIRST_CHANNEL)]);
}

#[test]
fn agents_of_one_range_share_a_pool_with_the_longer_rest() {
    let mut first = config();
    first.channels = FIRST_CHANNEL..=FIRST_CHANNEL + 1;
    let mut second = first.clone();
    second.channel_quarantine = Duration::from_micros(50);
    let mut fixture = Fixture::with_agents(&[first, second]);
    assert_eq!(fixture.agents.pool_home(0), fixture.agents.pool_home(1));
    assert_eq!(accept(&mut fixture, 0), [Seen::Adopt(0, FIRST_CHANNEL)]);
    assert_eq!(accept(&mut fixture, 1), [Seen::Adopt(1, FIRST_CHANNEL + 1)]);
    release(&mut fixture, 1, FIRST_CHANNEL + 1);
    assert!(matches!(accept(&mut fixture, 0)[..], [_, Seen::Refuse(..)]));
    fixture.out.now_us = 50;
    assert_eq!(accept(&mut fixture, 0), [Seen::Adopt(0, FIRST_CHANNEL + 1)]);
}

#[test]
fn the_connections_limits_are_the_configured_ones() {
    let fixture = Fixture::with(|agent| agent.write_timeout = None);
    let options = fixture.agents.connection_options(0);
    assert_eq!((options.write_budget_bytes, options.write_timeout_us), (262_144, 0));
}
