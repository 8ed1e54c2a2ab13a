//! What one client may take: each limit ends its session with its own reason.

use super::*;

fn with_limits(change: impl FnOnce(&mut config::Limits)) -> Fixture {
    Fixture::with(|agent| change(&mut agent.limits))
}

fn heartbeat() -> Encoder {
    Encoder::client(t::CLIENT_HEARTBEAT)
}

#[test]
fn more_messages_than_allowed_end_the_session_and_heartbeats_are_no_messages() {
    let mut fixture = with_limits(|limits| limits.messages_per_second = 10);
    let client = fixture.established();
    for _ in 0..10_000 {
        assert_eq!(fixture.send(client, heartbeat()), []);
    }
    let field = fixture.field("LoginManager", "login");
    let update = |fixture: &mut Fixture| {
        let message = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(LOGIN).u16(field).blob(b"a");
        fixture.send(client, message)
    };
    // Ten seconds' worth, less the hello.
    for _ in 0..99 {
        assert_eq!(update(&mut fixture).len(), 1);
    }
    assert_eq!(ejected(&update(&mut fixture)), (1, Reason::TooManyMessages));
}

#[test]
fn more_bytes_than_allowed_end_the_session_heartbeats_included() {
    let mut fixture = with_limits(|limits| limits.bytes_per_second = 100);
    let client = fixture.established();
    let sent = (0..1000).map(|_| fixture.send(client, heartbeat())).find(|seen| !seen.is_empty());
    assert_eq!(ejected(&sent.expect("a flood of heartbeats ends")), (1, Reason::TooManyBytes));
}

#[test]
fn the_rate_is_forgiving_over_time() {
    let mut fixture = with_limits(|limits| limits.bytes_per_second = 100);
    let client = fixture.established();
    for _ in 0..1000 {
        fixture.out.now_us += 1_000_000;
        assert_eq!(fixture.receive(client, &[2, 0, 5, 0].repeat(25)), []);
    }
}

#[test]
fn interests_and_zones_are_limited() {
    let mut fixture = with_limits(|limits| (limits.interests, limits.zones) = (2, 5));
    let client = fixture.established();
    fixture.open_interest(client, 1, 5000, &[1, 2]);
    fixture.open_interest(client, 2, 5000, &[3, 4]);
    // Altered, it is no further one; and its old zones are given back.
    let altered = fixture.send(client, add_interest(9, 2, 5000, &[3, 4, 5]));
    assert!(altered.iter().any(|seen| matches!(seen, Seen::Await(_))), "{altered:?}");
    let third = fixture.send(client, add_interest(9, 3, 5000, &[1]));
    assert_eq!(ejected(&third), (115, Reason::TooManyInterests));

    let client = fixture.established();
    fixture.open_interest(client, 1, 5000, &[1, 2, 3]);
    let seen = fixture.send(client, add_interest(9, 2, 5000, &[4, 5, 6]));
    assert_eq!(ejected(&seen), (115, Reason::TooManyZones));
}

#[test]
fn objects_in_view_are_limited() {
    let mut fixture = with_limits(|limits| limits.visible_objects = 2);
    let client = fixture.established();
    fixture.open_interest(client, 1, 5000, &[1]);
    assert_eq!(fixture.enter(client, 7001, 5000, 1).len(), 1);
    assert_eq!(fixture.enter(client, 7002, 5000, 1).len(), 1);
    assert_eq!(fixture.delete(client, 7001), [leaving(client, 7001)]);
    assert_eq!(fixture.enter(client, 7003, 5000, 1).len(), 1, "one has left");
    assert_eq!(ejected(&fixture.enter(client, 7004, 5000, 1)), (1, Reason::TooManyObjects));
}

fn timers(seen: &[Seen]) -> Vec<(u64, ClientTimer)> {
    let timer = |seen: &Seen| match seen {
        Seen::Timer(at_us, timer) => Some((*at_us, *timer)),
        _ => None,
    };
    seen.iter().filter_map(timer).collect()
}

#[test]
fn hello_has_its_time() {
    let mut fixture = with_limits(|limits| limits.hello_timeout = Some(Duration::from_secs(3)));
    let slow = fixture.connect_quietly();
    let [(3_000_000, timer)] = timers(&fixture.seen())[..] else { panic!("one timer") };
    fixture.out.now_us = 3_000_000;
    assert_eq!(ejected(&fixture.fire(timer)), (1, Reason::HelloTimeout));
    let _ = slow;
    let quick = fixture.connect_quietly();
    let [(_, timer)] = timers(&fixture.seen())[..] else { panic!("one timer") };
    let hello = fixture.hello();
    fixture.send(quick, hello);
    fixture.set_state(quick, 0);
    fixture.out.now_us = 10_000_000;
    assert_eq!(fixture.fire(timer), [], "a second hello has no deadline");
}

#[test]
fn a_client_without_a_byte_is_idle() {
    let mut fixture = with_limits(|limits| limits.idle_timeout = Some(Duration::from_secs(3)));
    let client = fixture.connect_quietly();
    let [(3_000_000, timer)] = timers(&fixture.seen())[..] else { panic!("one timer") };
    fixture.out.now_us = 2_000_000;
    let hello = fixture.hello();
    fixture.send(client, hello);
    fixture.out.now_us = 3_000_000;
    let [(5_000_000, timer)] = timers(&fixture.fire(timer))[..] else { panic!("from the last byte on") };
    fixture.out.now_us = 5_000_000;
    assert_eq!(ejected(&fixture.fire(timer)), (1, Reason::Idle));
}

#[test]
fn ca_17_get_tlvs_answers_with_what_the_proxy_has_sent_and_a_health_check_makes_no_events() {
    let mut fixture = Fixture::new();
    let [peer, local] = ["192.0.2.7:4000", "198.51.100.1:7198"].map(|address| address.parse().unwrap());
    let origin = Origin { tlvs: Box::from(*b"anything"), is_proxied: true, ..Origin::direct(peer, local) };
    let client = Client { channel: FIRST_CHANNEL + 50, connection: ConnectionId(999) };
    fixture.agents.adopt(0, client.channel, client.connection, origin, &mut fixture.out);
    assert_eq!(events(&fixture.seen()).len(), 1);
    let seen = fixture.deliver(client, t::CLIENTAGENT_GET_TLVS, |message| message.u32(77));
    assert_eq!(
        seen,
        [published(client, AI, t::CLIENTAGENT_GET_TLVS_RESP, |message| message.u32(77).blob(b"anything"))]
    );
    let seen = fixture.deliver(client, t::CLIENTAGENT_GET_NETWORK_ADDRESS, |message| message.u32(78));
    let expected = published(client, AI, t::CLIENTAGENT_GET_NETWORK_ADDRESS_RESP, |message| {
        message.u32(78).blob(b"192.0.2.7").u16(4000).blob(b"198.51.100.1").u16(7198)
    });
    assert_eq!(seen, [expected]);

    let origin = Origin { is_health_check: true, ..Origin::direct(peer, local) };
    let check = Client { channel: FIRST_CHANNEL + 51, connection: ConnectionId(1000) };
    fixture.agents.adopt(0, check.channel, check.connection, origin, &mut fixture.out);
    assert_eq!(events(&fixture.seen()), Vec::<&Event>::new());
    assert_eq!(events(&fixture.lose(check)), Vec::<&Event>::new());
}
