//! Moving, leaving, ownership, session objects (§3.10, §3.12).

use super::*;

const PARENT: Doid = 2000;
const OTHER_PARENT: Doid = 2001;
const AVATAR: Doid = 3000;

fn owned_by(fixture: &mut Fixture, client: Client, owner: Channel) -> Vec<Seen> {
    fixture.deliver_from(AVATAR.into(), &[client], t::STATESERVER_OBJECT_CHANGING_OWNER, |message| {
        message.doid(AVATAR).channel(owner).channel(client.channel)
    })
}

fn owner_entered(client: Client, class: u16) -> Seen {
    to_client(client, t::CLIENT_ENTER_OBJECT_REQUIRED_OWNER, |message| entry(message, AVATAR, PARENT, 7, class))
}

/// A client with zones 7 and 8 of the parent open.
fn fixture_with_zones() -> (Fixture, Client) {
    let mut fixture = Fixture::with(|agent| agent.relocate = true);
    let client = fixture.established();
    fixture.open_interest(client, 1, PARENT, &[7, 8]);
    (fixture, client)
}

#[test]
fn entries_with_optional_fields_keep_their_form() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    for (doid, from, to) in [
        (3001, t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED_OTHER, t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER),
        (3002, t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED_OTHER, t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER_OWNER),
    ] {
        let seen = fixture.deliver(client, from, |message| entry(message, doid, PARENT, 7, class));
        assert_eq!(seen, [to_client(client, to, |message| entry(message, doid, PARENT, 7, class))]);
    }
    let context = fixture.begin_interest(client, 9, PARENT, &[7]);
    fixture.deliver(client, t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED_OTHER, |message| {
        entry(message.u32(context), 3003, PARENT, 7, class)
    });
    let seen = fixture.count(client, context, 1);
    let expected =
        to_client(client, t::CLIENT_ENTER_OBJECT_REQUIRED_OTHER, |message| entry(message, 3003, PARENT, 7, class));
    assert_eq!(seen[0], expected);
}

#[test]
fn ca_33_a_move_between_open_zones_is_140_and_its_entry_is_swallowed() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.enter(client, AVATAR, PARENT, 7);
    assert_eq!(fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7)), [location(client, AVATAR, PARENT, 8)]);
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 8), []);
}

#[test]
fn ca_34_a_move_out_of_the_open_zones_is_132() {
    let (mut fixture, client) = fixture_with_zones();
    for to in [(PARENT, 9), (OTHER_PARENT, 7)] {
        assert_eq!(fixture.enter(client, AVATAR, PARENT, 7).len(), 1);
        assert_eq!(fixture.moved(client, AVATAR, to, (PARENT, 7)), [leaving(client, AVATAR)]);
    }
    let say = fixture.avatar_field("say");
    assert_eq!(fixture.set_field(client, AVATAR, say, b"\x01\x00a"), [], "historical");
}

#[test]
fn moves_of_unknown_objects_are_ignored() {
    let (mut fixture, client) = fixture_with_zones();
    assert_eq!(fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7)), []);
    fixture.declare(client, AVATAR);
    assert_eq!(fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7)), []);
}

#[test]
fn ca_41_the_owner_is_told_each_time_and_of_moves_that_it_does_not_see() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    assert_eq!(fixture.enter_owner(client, AVATAR, PARENT, 7), [owner_entered(client, class)]);
    assert_eq!(fixture.enter_owner(client, AVATAR, PARENT, 7), [owner_entered(client, class)]);
    let seen = fixture.moved(client, AVATAR, (OTHER_PARENT, 9), (PARENT, 7));
    assert_eq!(seen, [location(client, AVATAR, OTHER_PARENT, 9)]);
}

#[test]
fn ca_42_an_owned_object_has_an_ordinary_view_besides() {
    let (mut fixture, client) = fixture_with_zones();
    let (class, position) = (fixture.class("Avatar"), fixture.avatar_field("setPosition"));
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 7), [entered(client, AVATAR, PARENT, 7, class)]);
    assert_eq!(fixture.moved(client, AVATAR, (PARENT, 9), (PARENT, 7)), [leaving(client, AVATAR)]);
    assert_eq!(fixture.set_field(client, AVATAR, position, &[0; 4]).len(), 1, "still owned");
}

#[test]
fn ca_43_losing_ownership_is_161_and_the_ordinary_view_stays() {
    let (mut fixture, client) = fixture_with_zones();
    let say = fixture.avatar_field("say");
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    fixture.enter(client, AVATAR, PARENT, 7);
    assert_eq!(owned_by(&mut fixture, client, client.channel), [], "it is the owner");
    assert_eq!(owned_by(&mut fixture, client, 88), [leaving_owner(client, AVATAR)]);
    assert_eq!(owned_by(&mut fixture, client, 99), [], "it was not");
    assert_eq!(fixture.update(client, AVATAR, say, b"\x01\x00a"), [updated(client, AVATAR, say, b"\x01\x00a")]);
}

#[test]
fn a14_an_invisible_object_that_was_owned_is_historical() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let position = fixture.avatar_field("setPosition");
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    owned_by(&mut fixture, client, 88);
    assert_eq!(fixture.set_field(client, AVATAR, position, &[0; 4]), []);
}

#[test]
fn ca_44_deletion_ends_each_view_the_ordinary_one_first() {
    for (is_visible, is_owned) in [(true, false), (false, true), (true, true)] {
        let (mut fixture, client) = fixture_with_zones();
        let mut expected = Vec::new();
        if is_visible {
            fixture.enter(client, AVATAR, PARENT, 7);
            expected.push(leaving(client, AVATAR));
        }
        if is_owned {
            fixture.enter_owner(client, AVATAR, PARENT, 7);
            expected.push(leaving_owner(client, AVATAR));
        }
        assert_eq!(fixture.delete(client, AVATAR), expected);
        assert_eq!(fixture.delete(client, AVATAR), [], "only what was announced is taken away");
    }
}

#[test]
fn clients_that_die_of_161_are_spared_it() {
    let mut fixture = Fixture::with(|agent| agent.leaving_owner = false);
    let client = fixture.established();
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    assert_eq!(owned_by(&mut fixture, client, 88), []);
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    assert_eq!(fixture.delete(client, AVATAR), []);
}

fn relocate(fixture: &mut Fixture, client: Client, doid: Doid, parent: Doid, zone: Zone) -> Vec<Seen> {
    fixture.send(client, Encoder::client(t::CLIENT_OBJECT_LOCATION).doid(doid).doid(parent).zone(zone))
}

#[test]
fn ca_45_owners_may_move_their_objects_where_that_is_allowed() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    let expected =
        published(client, AVATAR.into(), t::STATESERVER_OBJECT_SET_LOCATION, |message| message.doid(PARENT).zone(8));
    assert_eq!(relocate(&mut fixture, client, AVATAR, PARENT, 8), [expected]);
    let seen = relocate(&mut fixture, client, AVATAR, 999, 8);
    assert_eq!(ejected(&seen), (119, Reason::ForbiddenRelocate), "a reserved parent");

    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    let seen = relocate(&mut fixture, client, AVATAR, PARENT, 8);
    assert_eq!(ejected(&seen), (119, Reason::ForbiddenRelocate), "not allowed here");
}

#[test]
fn objects_that_are_not_owned_cannot_be_moved() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.enter(client, 3001, PARENT, 7);
    fixture.delete(client, 3001);
    assert_eq!(relocate(&mut fixture, client, 3001, PARENT, 8), [], "historical");
    fixture.enter(client, 3002, PARENT, 7);
    let seen = relocate(&mut fixture, client, 3002, PARENT, 8);
    assert_eq!(ejected(&seen), (119, Reason::ForbiddenRelocate), "visible");
    for doid in [WORLD, AVATAR, 4000] {
        let client = fixture.established();
        fixture.declare(client, AVATAR);
        let seen = relocate(&mut fixture, client, doid, PARENT, 8);
        assert_eq!(ejected(&seen), (117, Reason::MissingObject), "{doid}");
    }
}

#[test]
fn ca_46_the_clients_own_move_is_silent_and_a16_remembered() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.open_interest(client, 2, OTHER_PARENT, &[5]);
    fixture.enter(client, AVATAR, PARENT, 7);
    let seen = fixture.deliver_from(client.channel, &[client], t::STATESERVER_OBJECT_CHANGING_LOCATION, |message| {
        message.doid(AVATAR).doid(OTHER_PARENT).zone(5).doid(PARENT).zone(7)
    });
    assert_eq!(seen, []);
    let seen = fixture.remove_interest(client, 1);
    assert!(!seen.contains(&leaving(client, AVATAR)), "it is in the other zone: {seen:?}");
    let seen = fixture.remove_interest(client, 2);
    assert!(seen.contains(&leaving(client, AVATAR)), "{seen:?}");
}

#[test]
fn the_clients_own_move_out_of_its_interests_ends_with_the_zone_that_it_left() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.enter(client, AVATAR, PARENT, 7);
    let seen = fixture.deliver_from(client.channel, &[client], t::STATESERVER_OBJECT_CHANGING_LOCATION, |message| {
        message.doid(AVATAR).doid(OTHER_PARENT).zone(5).doid(PARENT).zone(7)
    });
    assert_eq!(seen, []);
    let seen = fixture.remove_interest(client, 1);
    assert!(seen.contains(&leaving(client, AVATAR)), "{seen:?}");
}

#[test]
fn strict_entrance_drops_what_no_interest_covers() {
    let mut fixture = Fixture::with(|agent| agent.strict_entrance = true);
    let client = fixture.established();
    fixture.open_interest(client, 1, PARENT, &[7]);
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 8), []);
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 7).len(), 1);
}

fn assert_ends_with_153(seen: &[Seen], client: Client, is_deleted: bool) {
    assert_eq!(ejected(seen), (153, Reason::SessionObjectDeleted));
    let deletion = published(client, AVATAR.into(), t::STATESERVER_OBJECT_DELETE_RAM, |message| message.doid(AVATAR));
    assert_eq!(seen.iter().filter(|&seen| *seen == deletion).count(), usize::from(is_deleted), "{seen:?}");
}

#[test]
fn ca_47_a_deleted_session_object_ends_the_session_and_is_not_deleted_again() {
    for is_owned in [true, false] {
        let (mut fixture, client) = fixture_with_zones();
        if is_owned {
            fixture.enter_owner(client, AVATAR, PARENT, 7);
        } else {
            fixture.enter(client, AVATAR, PARENT, 7);
        }
        fixture.add_session_object(client, AVATAR);
        assert_ends_with_153(&fixture.delete(client, AVATAR), client, false);
    }
}

#[test]
fn ca_47_an_unknown_session_object_may_be_deleted() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.add_session_object(client, AVATAR);
    assert_eq!(fixture.delete(client, AVATAR), []);
}

#[test]
fn ca_47_an_owned_session_object_may_leave_the_open_zones() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    fixture.add_session_object(client, AVATAR);
    assert_eq!(fixture.moved(client, AVATAR, (PARENT, 9), (PARENT, 7)), [location(client, AVATAR, PARENT, 9)]);
    let say = fixture.avatar_field("say");
    assert_eq!(fixture.update(client, AVATAR, say, b"\x01\x00a").len(), 1);
}

#[test]
fn ca_47_one_that_is_only_visible_ends_the_session() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.add_session_object(client, AVATAR);
    assert_ends_with_153(&fixture.moved(client, AVATAR, (PARENT, 9), (PARENT, 7)), client, true);
}

#[test]
fn ca_47_losing_the_ownership_of_one_ends_the_session() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    fixture.add_session_object(client, AVATAR);
    assert_ends_with_153(&owned_by(&mut fixture, client, 88), client, true);
}

#[test]
fn ca_47_an_owned_one_has_no_ordinary_view() {
    let (mut fixture, client) = fixture_with_zones();
    let (class, say) = (fixture.class("Avatar"), fixture.avatar_field("say"));
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    fixture.add_session_object(client, AVATAR);
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 7), []);
    let context = fixture.begin_interest(client, 2, PARENT, &[9]);
    fixture.snapshot(client, context, AVATAR, PARENT, 9);
    assert_eq!(fixture.update(client, AVATAR, say, b"\x01\x00a").len(), 1, "and nothing to wait for");
    assert_eq!(fixture.count(client, context, 1), [done(client, 2, 2)]);

    fixture.deliver(client, t::CLIENTAGENT_REMOVE_SESSION_OBJECT, |message| message.doid(AVATAR));
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 7), [entered(client, AVATAR, PARENT, 7, class)]);
}

#[test]
fn ca_47_one_that_was_removed_from_the_set_is_an_ordinary_object() {
    let (mut fixture, client) = fixture_with_zones();
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.add_session_object(client, AVATAR);
    fixture.deliver(client, t::CLIENTAGENT_REMOVE_SESSION_OBJECT, |message| message.doid(AVATAR));
    assert_eq!(fixture.delete(client, AVATAR), [leaving(client, AVATAR)]);
}
