//! Opening an interest (§3.11; design §3 rules 7 and 8).

use super::*;
use crate::client_agent::TimerKind;
use crate::client_agent::settings::MAX_ZONES;
use crate::wire::location_channel;

const PARENT: Doid = 2000;
const AVATAR: Doid = 3000;

#[test]
fn ca_26_zones_are_subscribed_and_the_parent_is_asked_only_when_that_is_in_effect() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen = fixture.send(client, add_interest(77, 9, PARENT, &[8, 7, 8]));
    let [Seen::Subscribe(first), Seen::Subscribe(second), Seen::Await(token)] = seen[..] else { panic!("{seen:?}") };
    assert_eq!([first, second], [location_channel(PARENT, 7), location_channel(PARENT, 8)]);
    fixture.agents.on_subscribed(client.channel, token, &mut fixture.out);
    let seen = fixture.seen();
    let query = published(client, PARENT.into(), t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, |message| {
        message.u32(1).doid(PARENT).u16(2).zone(7).zone(8)
    });
    assert_eq!(seen[0], query);
    let Seen::Timer(at_us, ClientTimer { kind: TimerKind::Interest, .. }) = seen[1] else { panic!("{seen:?}") };
    assert_eq!(at_us, INTEREST_TIMEOUT_US);
}

#[test]
fn an_acknowledgement_for_an_earlier_session_of_the_channel_asks_nothing() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen = fixture.send(client, add_interest(77, 9, PARENT, &[7]));
    let Some(Seen::Await(token)) = seen.last() else { panic!("{seen:?}") };
    fixture.agents.on_subscribed(client.channel, token ^ 1 << 32, &mut fixture.out);
    assert_eq!(fixture.seen(), []);
}

#[test]
fn ca_27_entries_are_withheld_until_the_count_is_reached_then_come_in_order() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let context = fixture.begin_interest(client, 9, PARENT, &[7, 8]);
    assert_eq!(fixture.count(client, context, 2), []);
    assert_eq!(fixture.snapshot(client, context, 3005, PARENT, 8), []);
    let expected =
        [entered(client, 3005, PARENT, 8, class), entered(client, 3001, PARENT, 7, class), done(client, 9, 9)];
    assert_eq!(fixture.snapshot(client, context, 3001, PARENT, 7), expected);
}

#[test]
fn an_interest_that_is_open_keeps_no_memory_of_its_opening() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let first = fixture.begin_interest(client, 9, PARENT, &[7]);
    let second = fixture.begin_interest(client, 10, PARENT, &[8]);
    (0..20).for_each(|number| drop(fixture.snapshot(client, first, 3000 + number, PARENT, 7)));
    fixture.count(client, first, 20);
    let held = |fixture: &Fixture| {
        let interests = &fixture.agents.sessions[&client.channel].interests;
        assert_eq!(interests.operations.len(), interests.opening.len());
        interests.pending.capacity() + interests.opening.capacity()
    };
    assert!(held(&fixture) > 0, "another interest is being opened still");
    fixture.count(client, second, 0);
    assert_eq!(held(&fixture), 0);
}

#[test]
fn entries_of_an_interest_leave_beside_the_write_budget() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let context = fixture.begin_interest(client, 9, PARENT, &[7]);
    fixture.snapshot(client, context, 3005, PARENT, 7);
    fixture.snapshot(client, context, 3001, PARENT, 7);
    assert_eq!(fixture.allowed_bytes, 0);
    let written = fixture.count(client, context, 2);
    let entries = written.iter().filter_map(|seen| match seen {
        Seen::Client(_, t::CLIENT_ENTER_OBJECT_REQUIRED, body) => Some(2 + 2 + body.len()),
        _ => None,
    });
    assert_eq!(fixture.allowed_bytes, entries.sum::<usize>());
    assert!(fixture.allowed_bytes > 0);
}

#[test]
fn ca_28_entries_may_come_before_the_count() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let context = fixture.begin_interest(client, 9, PARENT, &[7]);
    assert_eq!(fixture.snapshot(client, context, AVATAR, PARENT, 7), []);
    assert_eq!(fixture.count(client, context, 1), [entered(client, AVATAR, PARENT, 7, class), done(client, 9, 9)]);
}

#[test]
fn the_first_count_wins() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let context = fixture.begin_interest(client, 9, PARENT, &[7]);
    assert_eq!(fixture.count(client, context, 1), []);
    assert_eq!(fixture.count(client, context, 0), []);
}

#[test]
fn ca_29_entries_of_the_location_are_not_counted_and_follow_the_done_message() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let context = fixture.begin_interest(client, 9, PARENT, &[7]);
    assert_eq!(fixture.count(client, context, 1), []);
    assert_eq!(fixture.enter(client, 3001, PARENT, 7), []);
    assert_eq!(fixture.enter(client, 3001, PARENT, 7), []);
    let seen = fixture.snapshot(client, context, 3002, PARENT, 7);
    let expected =
        [entered(client, 3002, PARENT, 7, class), done(client, 9, 9), entered(client, 3001, PARENT, 7, class)];
    assert_eq!(seen, expected);
}

#[test]
fn ca_29_an_entry_of_the_location_for_a_snapshot_object_is_swallowed() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let context = fixture.begin_interest(client, 9, PARENT, &[7]);
    fixture.snapshot(client, context, AVATAR, PARENT, 7);
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 7), []);
    assert_eq!(fixture.count(client, context, 1), [entered(client, AVATAR, PARENT, 7, class), done(client, 9, 9)]);
}

#[test]
fn ca_30_a_count_of_none_completes_at_once() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let context = fixture.begin_interest(client, 9, PARENT, &[7]);
    assert_eq!(fixture.count(client, context, 0), [done(client, 9, 9)]);
}

#[test]
fn ca_31_after_the_timeout_the_client_gets_what_has_come() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let context = fixture.begin_interest(client, 9, PARENT, &[7]);
    fixture.count(client, context, 2);
    fixture.snapshot(client, context, 3001, PARENT, 7);
    fixture.out.now_us = INTEREST_TIMEOUT_US;
    let timer = ClientTimer { connection: client.connection, kind: TimerKind::Interest };
    assert_eq!(fixture.fire(timer), [entered(client, 3001, PARENT, 7, class), done(client, 9, 9)]);
    assert_eq!(fixture.out.metrics.interests_timed_out, 1);
    // CA-40, A12: late answers are no part of the operation; the object enters all the same, its zone is open.
    assert_eq!(fixture.count(client, context, 2), []);
    assert_eq!(fixture.snapshot(client, context, 3002, PARENT, 7), [entered(client, 3002, PARENT, 7, class)]);
}

#[test]
fn one_timer_serves_all_operations() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let timer = ClientTimer { connection: client.connection, kind: TimerKind::Interest };
    fixture.begin_interest(client, 1, PARENT, &[7]);
    fixture.out.now_us = 100;
    let seen = fixture.send(client, add_interest(2, 2, PARENT, &[8]));
    let Some(Seen::Await(token)) = seen.last() else { panic!("{seen:?}") };
    fixture.agents.on_subscribed(client.channel, *token, &mut fixture.out);
    assert!(fixture.seen().iter().all(|seen| !matches!(seen, Seen::Timer(..))), "the first is still to come");
    fixture.out.now_us = INTEREST_TIMEOUT_US;
    assert_eq!(fixture.fire(timer), [done(client, 1, 1), Seen::Timer(INTEREST_TIMEOUT_US + 100, timer)]);
    fixture.out.now_us += 100;
    assert_eq!(fixture.fire(timer), [done(client, 2, 2)]);
}

#[test]
fn ca_40_answers_of_contexts_that_never_were_change_nothing() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.open_interest(client, 9, PARENT, &[7]);
    for context in [0, 2, u32::MAX] {
        assert_eq!(fixture.snapshot(client, context, AVATAR, PARENT, 7), []);
        assert_eq!(fixture.count(client, context, 0), []);
    }
    assert_eq!(fixture.snapshot(client, 1, AVATAR, PARENT, 8), [], "late, and its zone is not open");
}

#[test]
fn what_happens_to_a_pending_object_follows_its_entry() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let (class, say) = (fixture.class("Avatar"), fixture.avatar_field("say"));
    let context = fixture.begin_interest(client, 9, PARENT, &[7, 8]);
    assert_eq!(fixture.update(client, AVATAR, say, b"\x01\x000"), [], "not pending yet: the snapshot will hold it");
    fixture.snapshot(client, context, AVATAR, PARENT, 7);
    assert_eq!(fixture.update(client, AVATAR, say, b"\x01\x001"), []);
    assert_eq!(fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7)), []);
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 8), []);
    assert_eq!(fixture.update(client, AVATAR, say, b"\x01\x002"), []);
    assert_eq!(fixture.delete(client, AVATAR), []);
    let expected = [
        entered(client, AVATAR, PARENT, 7, class),
        done(client, 9, 9),
        updated(client, AVATAR, say, b"\x01\x001"),
        location(client, AVATAR, PARENT, 8),
        updated(client, AVATAR, say, b"\x01\x002"),
        leaving(client, AVATAR),
    ];
    assert_eq!(fixture.count(client, context, 1), expected);
}

#[test]
fn a_snapshot_entry_replaces_what_was_held_back_before_it() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let (class, say) = (fixture.class("Avatar"), fixture.avatar_field("say"));
    let context = fixture.begin_interest(client, 9, PARENT, &[7, 8]);
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.update(client, AVATAR, say, b"\x03\x00old");
    fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7));
    fixture.snapshot(client, context, AVATAR, PARENT, 8);
    fixture.update(client, AVATAR, say, b"\x03\x00new");
    let expected =
        [entered(client, AVATAR, PARENT, 8, class), done(client, 9, 9), updated(client, AVATAR, say, b"\x03\x00new")];
    assert_eq!(fixture.count(client, context, 1), expected);
}

#[test]
fn a_snapshot_entry_replaces_what_another_operation_held_back() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let (class, say) = (fixture.class("Avatar"), fixture.avatar_field("say"));
    let first = fixture.begin_interest(client, 1, PARENT, &[7]);
    let second = fixture.begin_interest(client, 2, PARENT, &[8]);
    fixture.snapshot(client, first, AVATAR, PARENT, 7);
    fixture.update(client, AVATAR, say, b"\x03\x00old");
    fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7));
    fixture.snapshot(client, second, AVATAR, PARENT, 8);
    fixture.update(client, AVATAR, say, b"\x03\x00new");
    assert_eq!(fixture.count(client, first, 1), [done(client, 1, 1)], "counted, but it is in the second now");
    let expected =
        [entered(client, AVATAR, PARENT, 8, class), done(client, 2, 2), updated(client, AVATAR, say, b"\x03\x00new")];
    assert_eq!(fixture.count(client, second, 1), expected);
}

#[test]
fn a_pending_object_that_enters_an_open_zone_enters_at_once_and_only_once() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let (class, say) = (fixture.class("Avatar"), fixture.avatar_field("say"));
    fixture.open_interest(client, 1, PARENT, &[8]);
    let context = fixture.begin_interest(client, 2, PARENT, &[7]);
    fixture.snapshot(client, context, AVATAR, PARENT, 7);
    fixture.update(client, AVATAR, say, b"\x03\x00old");
    fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7));
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 8), [entered(client, AVATAR, PARENT, 8, class)]);
    assert_eq!(fixture.count(client, context, 1), [done(client, 2, 2)]);
}

#[test]
fn updates_of_an_owned_pending_object_do_not_overtake_its_entry() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let (class, say) = (fixture.class("Avatar"), fixture.avatar_field("say"));
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    let context = fixture.begin_interest(client, 2, PARENT, &[7]);
    assert_eq!(fixture.update(client, AVATAR, say, b"\x01\x001").len(), 1, "not pending");
    fixture.snapshot(client, context, AVATAR, PARENT, 7);
    assert_eq!(fixture.update(client, AVATAR, say, b"\x01\x002"), []);
    let expected =
        [entered(client, AVATAR, PARENT, 7, class), done(client, 2, 2), updated(client, AVATAR, say, b"\x01\x002")];
    assert_eq!(fixture.count(client, context, 1), expected);
}

#[test]
fn an_owned_pending_object_that_is_deleted_does_not_enter_afterwards() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.enter_owner(client, AVATAR, PARENT, 7);
    let context = fixture.begin_interest(client, 2, PARENT, &[7]);
    fixture.snapshot(client, context, AVATAR, PARENT, 7);
    assert_eq!(fixture.delete(client, AVATAR), [leaving_owner(client, AVATAR)]);
    assert_eq!(fixture.count(client, context, 1), [done(client, 2, 2)]);
}

/// Found by the simulated play: the deletion is told last, and what it is about is long another object.
#[test]
fn a_deletion_that_is_held_back_does_not_end_the_ownership_of_another_object_of_its_doid() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let context = fixture.begin_interest(client, 2, PARENT, &[7]);
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 7), []);
    assert_eq!(fixture.delete(client, AVATAR), []);
    assert_eq!(fixture.enter_owner(client, AVATAR, PARENT, 8).len(), 1);
    assert_eq!(fixture.count(client, context, 0), [done(client, 2, 2)]);
    assert_eq!(fixture.delete(client, AVATAR), [leaving_owner(client, AVATAR)]);
}

#[test]
fn ca_32_broadcasts_of_an_open_location_reach_the_client() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let say = fixture.avatar_field("say");
    fixture.open_interest(client, 9, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    let seen = fixture.update(client, AVATAR, say, b"\x02\x00hi");
    assert_eq!(seen, [updated(client, AVATAR, say, b"\x02\x00hi")]);
}

#[test]
fn an_empty_interest_is_done_at_once() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    assert_eq!(fixture.send(client, add_interest(5, 9, PARENT, &[])), [done(client, 5, 9)]);
}

#[test]
fn ca_39_disabled_refuses_everything_with_115() {
    for message in [
        add_interest(1, 9, PARENT, &[7]),
        add_interest(1, 9, PARENT, &[7, 8]),
        Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(1).u16(9),
    ] {
        let mut fixture = Fixture::with(|agent| agent.interest_permission = InterestPermission::Disabled);
        let client = fixture.established();
        assert_eq!(ejected(&fixture.send(client, message)), (115, Reason::ForbiddenInterest));
    }
}

#[test]
fn ca_39_visible_wants_a_known_parent_for_opening_but_not_for_closing() {
    let mut fixture = Fixture::with(|agent| agent.interest_permission = InterestPermission::Visible);
    let client = fixture.established();
    fixture.open_interest(client, 9, WORLD, &[7]);
    fixture.enter(client, PARENT, WORLD, 7);
    fixture.open_interest(client, 10, PARENT, &[7]);
    fixture.delete(client, PARENT);
    assert_eq!(messages(fixture.remove_interest(client, 10)), [done(client, 99, 10)]);
    let seen = fixture.send(client, add_interest(1, 11, PARENT, &[7]));
    assert_eq!(ejected(&seen), (115, Reason::ForbiddenInterest));
}

#[test]
fn ca_sec_1_reserved_parents_are_115_for_clients_and_ignored_for_servers() {
    for parent in [0, 1, 2, 999] {
        let mut fixture = Fixture::new();
        let client = fixture.established();
        let seen = fixture.deliver(client, t::CLIENTAGENT_ADD_INTEREST, |message| {
            message.u16(9).doid(parent).zone(client.channel as u32)
        });
        assert_eq!(seen, []);
        let seen = fixture.send(client, add_interest(1, 9, parent, &[client.channel as u32]));
        assert_eq!(ejected(&seen), (115, Reason::ForbiddenInterest));
        assert!(!seen.iter().any(|seen| matches!(seen, Seen::Subscribe(_))));
    }
}

#[test]
fn zones_may_be_allowed_and_denied() {
    for (zone, is_allowed) in [(10, true), (19, true), (15, false), (20, false), (9, false)] {
        let mut fixture = Fixture::with(|agent| {
            agent.interest_zones_allow = vec![10..=19];
            agent.interest_zones_deny = vec![15..=15];
        });
        let client = fixture.established();
        let seen = fixture.send(client, add_interest(1, 9, PARENT, &[10, zone]));
        if is_allowed {
            assert!(matches!(seen.last(), Some(Seen::Await(_))), "{seen:?}");
        } else {
            assert_eq!(ejected(&seen), (115, Reason::ForbiddenInterest), "zone {zone}");
        }
    }
}

#[test]
fn ca_sec_3_interests_and_zones_are_bounded() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let half: Vec<Zone> = (0..MAX_ZONES as u32 / 2).collect();
    fixture.begin_interest(client, 1, PARENT, &half);
    fixture.begin_interest(client, 2, PARENT + 1, &half);
    // The same interest again replaces its zones and stays within the limit.
    fixture.send(client, add_interest(1, 2, PARENT + 1, &half));
    let seen = fixture.send(client, add_interest(1, 3, PARENT + 2, &half));
    assert_eq!(ejected(&seen), (115, Reason::TooManyZones));

    let client = fixture.established();
    let most = config::Limits::default().interests as u16;
    for id in 0..most {
        assert_eq!(fixture.send(client, add_interest(1, id, PARENT, &[])).len(), 1);
    }
    let seen = fixture.send(client, add_interest(1, most, PARENT, &[]));
    assert_eq!(ejected(&seen), (115, Reason::TooManyInterests));
}

#[test]
fn the_longest_query_fits_a_frame() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let zones: Vec<Zone> = (0..MAX_ZONES as u32).collect();
    fixture.begin_interest(client, 1, PARENT, &zones);
}

#[test]
fn ca_sec_3_what_an_operation_holds_back_is_bounded() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let context = fixture.begin_interest(client, 1, PARENT, &[7]);
    let state = vec![0; 60_000];
    let mut finished_after = None;
    for index in 0..400 {
        let seen = fixture.deliver(client, t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED, |message| {
            message.u32(context).doid(3000 + index).doid(PARENT).zone(7).u16(class).bytes(&state)
        });
        if !seen.is_empty() {
            let mut told = seen.len();
            while told < index as usize + 2 {
                fixture.agents.on_sent(client.connection, &mut fixture.out);
                let part = fixture.seen();
                assert!(!part.is_empty(), "all that was held back, and the done message");
                told += part.len();
            }
            assert_eq!(told, index as usize + 2);
            finished_after = Some(index);
            break;
        }
    }
    assert!(finished_after.is_some_and(|index| (270..290).contains(&index)), "{finished_after:?}");
}
