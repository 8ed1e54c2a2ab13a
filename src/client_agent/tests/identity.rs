//! What the cluster may do with a session itself (§3.8).

use super::*;

#[test]
fn ca_11_the_client_id_is_the_sender_and_the_allocated_channel_stays() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let set = |fixture: &mut Fixture, id| fixture.deliver(client, t::CLIENTAGENT_SET_CLIENT_ID, |m| m.channel(id));
    assert_eq!(set(&mut fixture, 555_000), [Seen::Subscribe(555_000)]);
    let login = fixture.field("LoginManager", "login");
    let seen = fixture.set_field(client, LOGIN, login, &[0, 0]);
    assert!(matches!(seen[..], [Seen::Published { sender: 555_000, .. }]), "{seen:?}");
    assert_eq!(set(&mut fixture, 666_000), [Seen::Unsubscribe(555_000), Seen::Subscribe(666_000)]);
}

#[test]
fn ca_12_channels_are_opened_and_closed_even_the_allocated_one() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen = fixture.deliver(client, t::CLIENTAGENT_OPEN_CHANNEL, |message| message.channel(77_000));
    assert_eq!(seen, [Seen::Subscribe(77_000)]);
    let seen = fixture.deliver(client, t::CLIENTAGENT_CLOSE_CHANNEL, |message| message.channel(client.channel));
    assert_eq!(seen, [Seen::Unsubscribe(client.channel)]);
}

#[test]
fn ca_13_eject_is_passed_on_byte_for_byte() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen = fixture.deliver(client, t::CLIENTAGENT_EJECT, |message| message.u16(151).blob(b"by\xffe"));
    let event = Event::of_application("client-ejected", format!("Client:{}", client.channel));
    let event = event.with("reason_code", "151").with("reason_msg", "by\u{fffd}e");
    assert_eq!(seen[0], Seen::Event(event));
    assert_eq!(seen[1], to_client(client, t::CLIENT_EJECT, |message| message.u16(151).blob(b"by\xffe")));
    assert_eq!(ejected(&seen), (151, Reason::EjectedByApplication));
}

#[test]
fn ca_13_drop_closes_without_bytes_and_without_events() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen = fixture.deliver(client, t::CLIENTAGENT_DROP, |message| message);
    assert!(matches!(seen[0], Seen::Close(_, Close::Linger { .. }, Reason::Dropped)), "{seen:?}");
    assert!(messages(seen).is_empty());
}

#[test]
fn ca_14_send_datagram_is_one_frame_of_just_these_bytes() {
    let mut fixture = Fixture::new();
    let client = fixture.connect();
    fixture.agents.on_datagram(
        &[client.channel],
        &Encoder::internal(&[client.channel], AI, t::CLIENTAGENT_SEND_DATAGRAM).blob(b"anything").datagram().unwrap(),
        &mut fixture.out,
    );
    let Some(Action::Write { frame, .. }) = fixture.out.drain().next() else { panic!("a frame") };
    assert_eq!(frame[..], *b"\x08\x00anything");
}

#[test]
fn ca_16_the_network_address_goes_to_the_asker() {
    let mut fixture = Fixture::new();
    let client = fixture.anonymous();
    let seen = fixture.deliver(client, t::CLIENTAGENT_GET_NETWORK_ADDRESS, |message| message.u32(42));
    let expected = published(client, AI, t::CLIENTAGENT_GET_NETWORK_ADDRESS_RESP, |message| {
        message.u32(42).blob(b"10.1.2.3").u16(4567).blob(b"10.0.0.1").u16(7198)
    });
    assert_eq!(seen, [expected]);
}

#[test]
fn tlvs_are_empty_without_a_proxy_header() {
    let mut fixture = Fixture::new();
    let client = fixture.anonymous();
    let seen = fixture.deliver(client, t::CLIENTAGENT_GET_TLVS, |message| message.u32(42));
    assert_eq!(seen, [published(client, AI, t::CLIENTAGENT_GET_TLVS_RESP, |message| message.u32(42).u16(0))]);
}

#[test]
fn ca_18_messages_of_the_session_itself_are_ignored() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen = fixture.deliver_from(client.channel, &[client], t::CLIENTAGENT_DROP, |message| message);
    assert_eq!(seen, []);
}

#[test]
fn a_message_to_many_sessions_reaches_each_with_the_same_bytes() {
    let mut fixture = Fixture::new();
    let (class, field) = (fixture.class("Avatar"), fixture.avatar_field("say"));
    let clients = [fixture.established(), fixture.anonymous(), fixture.established()];
    let seen = fixture.deliver_from(3000, &clients, t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, |message| {
        entry(message, 3000, WORLD, 7, class)
    });
    assert_eq!(seen, clients.map(|client| entered(client, 3000, WORLD, 7, class)));
    let channels = clients.map(|client| client.channel);
    let frames_before = fixture.out.metrics.client_frames_sent;
    let update = Encoder::internal(&channels, 3000, t::STATESERVER_OBJECT_SET_FIELD).doid(3000).u16(field).blob(b"hi");
    fixture.agents.on_datagram(&channels, &update.datagram().unwrap(), &mut fixture.out);
    let actions: Vec<Action> = fixture.out.drain().collect();
    let [Action::WriteToAll { connections, .. }] = &actions[..] else { panic!("one action: {actions:?}") };
    assert_eq!(connections[..], clients.map(|client| client.connection));
    assert_eq!(fixture.out.metrics.client_frames_sent, frames_before + 3);
}

#[test]
fn an_update_to_many_sessions_is_passed_on_by_those_alone_that_see_the_object() {
    let mut fixture = Fixture::new();
    let (class, field) = (fixture.class("Avatar"), fixture.avatar_field("say"));
    let clients = [fixture.established(), fixture.established(), fixture.established()];
    let [sees, sends, sees_not] = clients;
    fixture.deliver_from(3000, &[sees, sends], t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, |message| {
        entry(message, 3000, WORLD, 7, class)
    });
    let say = |message: Encoder| message.doid(3000).u16(field).blob(b"hi");
    let seen = fixture.deliver_from(sends.channel, &clients, t::STATESERVER_OBJECT_SET_FIELD, say);
    let told = |client: Client| {
        let body = say(Encoder::client(t::CLIENT_OBJECT_SET_FIELD)).finish().unwrap();
        Seen::Client(client.connection, t::CLIENT_OBJECT_SET_FIELD, body[4..].to_vec())
    };
    assert_eq!(seen, [told(sees)], "nobody hears himself, nor of what is not in view");
    fixture.deliver(sees_not, t::CLIENTAGENT_DECLARE_OBJECT, |message| message.doid(3000).u16(class));
    let mut seen = fixture.deliver_from(sends.channel, &clients, t::STATESERVER_OBJECT_SET_FIELD, say);
    seen.sort_by_key(|seen| matches!(seen, Seen::Client(connection, ..) if *connection == sees_not.connection));
    assert_eq!(seen, [told(sees), told(sees_not)], "what is declared is heard of without a view");
}

#[test]
fn messages_that_are_cut_short_or_unknown_cost_the_client_nothing() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    for (message_type, payload) in [
        (t::CLIENTAGENT_SET_CLIENT_ID, &[1, 2, 3][..]),
        (t::CLIENTAGENT_ADD_POST_REMOVE, &[200, 0, 1]),
        (t::CLIENTAGENT_SET_FIELDS_SENDABLE, &[1, 0, 0, 0, 255, 255, 1]),
        (t::CLIENTAGENT_ADD_INTEREST_MULTIPLE, &[1, 0, 1, 0, 0, 0, 255, 255, 1]),
        (t::STATESERVER_OBJECT_SET_FIELD, &[1, 0, 0, 0, 1]),
        (t::STATESERVER_OBJECT_DELETE_FIELD_RAM, &[1, 0, 0, 0, 1, 0]),
        (MessageType(20_000), &[]),
    ] {
        assert_eq!(fixture.deliver(client, message_type, |message| message.bytes(payload)), [], "{message_type}");
    }
    assert_eq!((fixture.out.metrics.datagrams_malformed, fixture.out.metrics.unknown_messages), (5, 2));
    assert_eq!(fixture.send(client, Encoder::client(t::CLIENT_HEARTBEAT)), []);
}

#[test]
fn ca_49_post_removes_are_kept_under_the_allocated_channel() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.deliver(client, t::CLIENTAGENT_SET_CLIENT_ID, |message| message.channel(555_000));
    let body = Encoder::internal(&[5000], 0, MessageType(60)).datagram().unwrap().body().to_vec();
    let seen = fixture.deliver(client, t::CLIENTAGENT_ADD_POST_REMOVE, |message| message.blob(&body));
    assert_eq!(seen, [Seen::AddPostRemove(client.channel, Bytes::from(body))]);
    let seen = fixture.deliver(client, t::CLIENTAGENT_CLEAR_POST_REMOVES, |message| message);
    assert_eq!(seen, [Seen::ClearPostRemoves(client.channel)]);
}

#[test]
fn a_post_remove_that_would_be_a_control_message_is_refused() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let control = Encoder::control(t::CONTROL_REMOVE_CHANNEL).channel(5000).datagram().unwrap().body().to_vec();
    assert_eq!(fixture.deliver(client, t::CLIENTAGENT_ADD_POST_REMOVE, |message| message.blob(&control)), []);
}

#[test]
fn ca_15_a_message_to_channel_10_reaches_every_session_once() {
    let mut fixture = Fixture::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let client = fixture.connect_quietly();
        let subscribed = fixture.seen().into_iter().filter(|seen| *seen == Seen::Subscribe(10)).count();
        assert_eq!(subscribed, 1, "each subscribes to it, in any state");
        clients.push(client);
    }
    let body = [0x40, 0x9C, 7];
    let seen = fixture.deliver_from(AI, &clients, t::CLIENTAGENT_SEND_DATAGRAM, |message| message.blob(&body));
    let each: Vec<Seen> =
        clients.iter().map(|client| Seen::Client(client.connection, MessageType(0x9C40), vec![7])).collect();
    assert_eq!(seen, each);
}
