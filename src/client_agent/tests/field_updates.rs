//! What a client may set (§3.7).

use super::*;

const AVATAR: Doid = 3000;

fn forwarded(client: Client, doid: Doid, field: u16, value: &[u8]) -> Seen {
    published(client, doid.into(), t::STATESERVER_OBJECT_SET_FIELD, |message| {
        message.doid(doid).u16(field).bytes(value)
    })
}

#[test]
fn ca_6_an_anonymous_client_may_update_an_anonymous_uberdog() {
    let mut fixture = Fixture::new();
    let client = fixture.anonymous();
    let login = fixture.field("LoginManager", "login");
    let value = b"\x02\x00ok";
    assert_eq!(fixture.set_field(client, LOGIN, login, value), [forwarded(client, LOGIN, login, value)]);
}

#[test]
fn ca_7_an_anonymous_client_may_not_update_anything_else() {
    let mut fixture = Fixture::new();
    let (login, say) = (fixture.field("LoginManager", "login"), fixture.avatar_field("say"));
    let client = fixture.anonymous();
    let seen = fixture.set_field(client, WORLD, login, b"\x02\x00ok");
    assert_eq!(ejected(&seen), (113, Reason::AnonymousViolation));
    let client = fixture.anonymous();
    fixture.declare(client, AVATAR);
    let seen = fixture.set_field(client, AVATAR, say, b"\x02\x00ok");
    assert_eq!(ejected(&seen), (113, Reason::AnonymousViolation));
    assert!(!seen.iter().any(|seen| matches!(seen, Seen::Published { .. })));
    let client = fixture.anonymous();
    let seen = fixture.set_field(client, 4000, say, b"\x02\x00ok");
    assert_eq!(ejected(&seen), (117, Reason::MissingObject), "unknown comes before the sandbox (A8)");
}

#[test]
fn ca_8_establishing_lifts_the_sandbox_and_lowering_restores_it() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let login = fixture.field("LoginManager", "login");
    assert_eq!(fixture.set_field(client, WORLD, login, &[0, 0]), [forwarded(client, WORLD, login, &[0, 0])]);
    fixture.set_state(client, 1);
    assert_eq!(ejected(&fixture.set_field(client, WORLD, login, &[0, 0])), (113, Reason::AnonymousViolation));
}

#[test]
fn ca_19_an_unknown_doid_is_117_one_that_left_is_swallowed() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let say = fixture.avatar_field("say");
    fixture.enter(client, AVATAR, WORLD, 7);
    assert_eq!(fixture.delete(client, AVATAR), [leaving(client, AVATAR)]);
    assert_eq!(fixture.set_field(client, AVATAR, say, b"\x02\x00hi"), []);
    assert_eq!(fixture.out.metrics.historical_updates_swallowed, 1);
    let seen = fixture.set_field(client, AVATAR + 1, say, b"\x02\x00hi");
    assert_eq!(ejected(&seen), (117, Reason::MissingObject));
}

#[test]
fn the_grace_for_objects_that_left_ends_with_its_time_to_live() {
    let mut fixture = Fixture::with(|agent| agent.historical_ttl = Some(Duration::from_secs(3)));
    let client = fixture.established();
    let say = fixture.avatar_field("say");
    fixture.enter(client, AVATAR, WORLD, 7);
    fixture.delete(client, AVATAR);
    fixture.out.now_us = 2_999_999;
    assert_eq!(fixture.set_field(client, AVATAR, say, &[]), []);
    fixture.out.now_us = 3_000_000;
    assert_eq!(ejected(&fixture.set_field(client, AVATAR, say, &[])), (117, Reason::MissingObject));
}

#[test]
fn ca_20_a_foreign_field_and_one_without_clsend_are_118() {
    let mut fixture = Fixture::new();
    let fields = [
        fixture.field("LoginManager", "login"),
        fixture.avatar_field("setName"),
        fixture.avatar_field("setGold"),
        fixture.avatar_field("setPosition"),
        60_000,
    ];
    for field in fields {
        let client = fixture.established();
        fixture.enter(client, AVATAR, WORLD, 7);
        let seen = fixture.set_field(client, AVATAR, field, &[0; 4]);
        assert_eq!(ejected(&seen), (118, Reason::ForbiddenField), "field {field}");
    }
}

#[test]
fn ca_21_ownsend_works_while_owned_and_clsend_always() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let (position, say) = (fixture.avatar_field("setPosition"), fixture.avatar_field("say"));
    fixture.enter(client, AVATAR, WORLD, 7);
    assert_eq!(fixture.set_field(client, AVATAR, say, b"\x01\x00a").len(), 1);
    fixture.enter_owner(client, AVATAR, WORLD, 7);
    let value = [1, 0, 2, 0];
    assert_eq!(fixture.set_field(client, AVATAR, position, &value), [forwarded(client, AVATAR, position, &value)]);
    assert_eq!(fixture.set_field(client, AVATAR, say, b"\x01\x00a").len(), 1);
    fixture.deliver(client, t::STATESERVER_OBJECT_CHANGING_OWNER, |message| {
        message.doid(AVATAR).channel(0).channel(client.channel)
    });
    assert_eq!(fixture.set_field(client, AVATAR, say, b"\x01\x00a").len(), 1);
    assert_eq!(ejected(&fixture.set_field(client, AVATAR, position, &value)), (118, Reason::ForbiddenField));
}

#[test]
fn ca_22_declared_objects_accept_clsend_until_they_are_undeclared() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let say = fixture.avatar_field("say");
    fixture.declare(client, AVATAR);
    assert_eq!(fixture.set_field(client, AVATAR, say, b"\x01\x00a"), [forwarded(client, AVATAR, say, b"\x01\x00a")]);
    fixture.deliver(client, t::CLIENTAGENT_UNDECLARE_OBJECT, |message| message.doid(AVATAR));
    let seen = fixture.set_field(client, AVATAR, say, b"\x01\x00a");
    assert_eq!(ejected(&seen), (117, Reason::MissingObject));
}

#[test]
fn an_object_of_an_unknown_class_is_not_declared() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.deliver(client, t::CLIENTAGENT_DECLARE_OBJECT, |message| message.doid(AVATAR).u16(999));
    fixture.declare(client, AVATAR);
    let say = fixture.avatar_field("say");
    assert_eq!(fixture.set_field(client, AVATAR, say, b"\x01\x00a").len(), 1);
}

#[test]
fn ca_23_sendable_fields_are_replaced_and_cleared() {
    let mut fixture = Fixture::new();
    let (name, gold) = (fixture.avatar_field("setName"), fixture.avatar_field("setGold"));
    let grant = |fixture: &mut Fixture, client, doid, fields: &[u16]| {
        let seen = fixture.deliver(client, t::CLIENTAGENT_SET_FIELDS_SENDABLE, |message| {
            let message = message.doid(doid).u16(fields.len() as u16);
            fields.iter().fold(message, |message, &field| message.u16(field))
        });
        assert_eq!(seen, []);
    };
    let client = fixture.established();
    fixture.declare(client, AVATAR);
    grant(&mut fixture, client, AVATAR, &[name]);
    assert_eq!(fixture.set_field(client, AVATAR, name, b"\x01\x00a").len(), 1);
    grant(&mut fixture, client, AVATAR, &[gold]);
    assert_eq!(fixture.set_field(client, AVATAR, gold, &[0; 4]).len(), 1);
    assert_eq!(ejected(&fixture.set_field(client, AVATAR, name, b"\x01\x00a")), (118, Reason::ForbiddenField));

    let answer = fixture.field("LoginManager", "answer");
    let client = fixture.established();
    grant(&mut fixture, client, LOGIN, &[answer]);
    assert_eq!(fixture.set_field(client, LOGIN, answer, &[1]).len(), 1, "of an uberdog");
    grant(&mut fixture, client, LOGIN, &[]);
    assert_eq!(ejected(&fixture.set_field(client, LOGIN, answer, &[1])), (118, Reason::ForbiddenField));
}

#[test]
fn ca_24_values_are_checked_to_their_bounds() {
    let mut fixture = Fixture::new();
    let (level, say) = (fixture.avatar_field("setLevel"), fixture.avatar_field("say"));
    type Refusal = Option<(u16, Reason)>;
    let cases: [(u16, &[u8], Refusal); 10] = [
        (level, &[0], None),
        (level, &[100], None),
        (level, &[101], Some((127, Reason::FieldConstraint))),
        (level, &[], Some((109, Reason::Truncated))),
        (level, &[1, 1], Some((106, Reason::InvalidSize))),
        (say, b"\x01\x00a", None),
        (say, b"\x0a\x000123456789", None),
        (say, b"\x0b\x000123456789a", Some((127, Reason::FieldConstraint))),
        (say, b"\x02\x00\xff\xff", Some((127, Reason::FieldConstraint))),
        (say, b"\x05\x00abc", Some((109, Reason::Truncated))),
    ];
    for (field, value, expected) in cases {
        let client = fixture.established();
        fixture.declare(client, AVATAR);
        let seen = fixture.set_field(client, AVATAR, field, value);
        match expected {
            None => assert_eq!(seen, [forwarded(client, AVATAR, field, value)]),
            Some(expected) => assert_eq!(ejected(&seen), expected, "{value:?}"),
        }
    }
}

#[test]
fn ca_24_an_update_that_does_not_fit_the_internal_header_is_106() {
    let mut fixture = Fixture::new();
    let picture = fixture.avatar_field("setPicture");
    // Type, doid, field and the blob's length: 10 bytes; the internal header is 17 longer.
    for (body_bytes, fits) in [(65_518, true), (65_519, false)] {
        let client = fixture.established();
        fixture.declare(client, AVATAR);
        let blob = vec![0; body_bytes - 10];
        let message = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(AVATAR).u16(picture).blob(&blob);
        let seen = fixture.send(client, message);
        if fits {
            assert_eq!(seen.len(), 1);
        } else {
            assert_eq!(ejected(&seen), (106, Reason::InvalidSize));
        }
    }
}

#[test]
fn a_molecular_update_is_forwarded_under_its_own_number() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let both = fixture.avatar_field("moveTurn");
    fixture.enter_owner(client, AVATAR, WORLD, 7);
    let value = [1, 0, 2, 0];
    assert_eq!(fixture.set_field(client, AVATAR, both, &value), [forwarded(client, AVATAR, both, &value)]);
}

#[test]
fn ca_25_updates_of_known_objects_reach_the_client_in_any_state() {
    let mut fixture = Fixture::new();
    let client = fixture.connect();
    let gold = fixture.avatar_field("setGold");
    assert_eq!(fixture.update(client, AVATAR, gold, &[1, 0, 0, 0]), [], "unknown");
    fixture.enter(client, AVATAR, WORLD, 7);
    assert_eq!(fixture.update(client, AVATAR, gold, &[1, 0, 0, 0]), [updated(client, AVATAR, gold, &[1, 0, 0, 0])]);
    let answer = fixture.field("LoginManager", "answer");
    assert_eq!(fixture.update(client, LOGIN, answer, &[1]), [updated(client, LOGIN, answer, &[1])], "an uberdog");
    let seen = fixture.deliver_from(AVATAR.into(), &[client], t::STATESERVER_OBJECT_SET_FIELDS, |message| {
        message.doid(AVATAR).u16(1).u16(gold).u32(9)
    });
    let fields = |message: Encoder| message.doid(AVATAR).u16(1).u16(gold).u32(9);
    assert_eq!(seen, [to_client(client, t::CLIENT_OBJECT_SET_FIELDS, fields)]);
}
