//! Altering, overlapping and closing interests, and those that servers open (§3.11; A10, A11, A18, A25).

use super::*;
use crate::client_agent::TimerKind;
use crate::wire::location_channel;

const PARENT: Doid = 2000;
const AVATAR: Doid = 3000;
const OTHER: Doid = 3001;

fn zone_7_closed() -> Seen {
    Seen::Unsubscribe(location_channel(PARENT, 7))
}

#[test]
fn ca_35_closing_removes_what_was_seen_through_it_alone() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.open_interest(client, 1, PARENT, &[7]);
    fixture.open_interest(client, 2, PARENT, &[8]);
    fixture.enter(client, 3002, PARENT, 7);
    fixture.enter(client, 3001, PARENT, 7);
    fixture.enter(client, 3003, PARENT, 8);
    let expected = [leaving(client, 3001), leaving(client, 3002), zone_7_closed(), done(client, 99, 1)];
    assert_eq!(fixture.remove_interest(client, 1), expected);
}

#[test]
fn an_unknown_interest_cannot_be_closed() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    assert_eq!(ejected(&fixture.remove_interest(client, 1)), (1, Reason::UnknownInterest));
}

#[test]
fn ca_36_an_overlapping_interest_is_done_at_once_and_the_last_one_closes() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.open_interest(client, 1, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    assert_eq!(fixture.send(client, add_interest(5, 2, PARENT, &[7])), [done(client, 5, 2)]);
    assert_eq!(fixture.remove_interest(client, 1), [done(client, 99, 1)]);
    let expected = [leaving(client, AVATAR), zone_7_closed(), done(client, 99, 2)];
    assert_eq!(fixture.remove_interest(client, 2), expected);
}

#[test]
fn a11_an_interest_over_a_zone_that_is_being_opened_is_done_with_it() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let first = fixture.begin_interest(client, 1, PARENT, &[7]);
    assert_eq!(fixture.send(client, add_interest(5, 2, PARENT, &[7])), []);
    let second = fixture.begin_interest(client, 3, PARENT, &[7, 8]);
    fixture.snapshot(client, first, AVATAR, PARENT, 7);
    let expected = [entered(client, AVATAR, PARENT, 7, class), done(client, 1, 1), done(client, 5, 2)];
    assert_eq!(fixture.count(client, first, 1), expected);
    assert_eq!(fixture.count(client, second, 0), [done(client, 3, 3)]);
}

#[test]
fn a11_an_interest_that_joins_waits_for_both_operations() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let first = fixture.begin_interest(client, 1, PARENT, &[7]);
    let second = fixture.begin_interest(client, 2, PARENT, &[7, 8]);
    assert_eq!(fixture.count(client, second, 0), [], "zone 7 is not complete");
    assert_eq!(fixture.count(client, first, 0), [done(client, 1, 1), done(client, 2, 2)]);
}

#[test]
fn ca_37_altering_asks_for_added_zones_only_and_closes_dropped_ones() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.open_interest(client, 1, PARENT, &[7, 8]);
    fixture.enter(client, 3001, PARENT, 7);
    fixture.enter(client, 3002, PARENT, 8);
    let seen = fixture.send(client, add_interest(5, 1, PARENT, &[8, 9]));
    let [.., Seen::Await(token)] = seen[..] else { panic!("{seen:?}") };
    let expected =
        [leaving(client, 3001), zone_7_closed(), Seen::Subscribe(location_channel(PARENT, 9)), Seen::Await(token)];
    assert_eq!(seen, expected);
    fixture.agents.on_subscribed(client.channel, token, &mut fixture.out);
    let query = published(client, PARENT.into(), t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, |message| {
        message.u32(2).doid(PARENT).u16(1).zone(9)
    });
    assert_eq!(messages(fixture.seen()), [query]);
}

#[test]
fn ca_37_another_parent_closes_all_zones_of_the_old_one() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.open_interest(client, 1, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    let seen = fixture.send(client, add_interest(5, 1, PARENT + 1, &[7]));
    assert_eq!(seen[..2], [leaving(client, AVATAR), zone_7_closed()]);
}

#[test]
fn a10_closing_while_it_opens_trims_but_still_says_done() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let context = fixture.begin_interest(client, 1, PARENT, &[7]);
    fixture.snapshot(client, context, 3001, PARENT, 7);
    fixture.enter(client, 3002, PARENT, 7);
    assert_eq!(fixture.remove_interest(client, 1), [zone_7_closed(), done(client, 99, 1)]);
    fixture.snapshot(client, context, 3003, PARENT, 7);
    assert_eq!(fixture.count(client, context, 2), [done(client, 1, 1)]);
}

#[test]
fn a_zone_that_is_opened_again_while_it_opens_shows_the_new_snapshot_only() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let (class, say) = (fixture.class("Avatar"), fixture.avatar_field("say"));
    let first = fixture.begin_interest(client, 1, PARENT, &[7]);
    fixture.snapshot(client, first, AVATAR, PARENT, 7);
    fixture.update(client, AVATAR, say, b"\x03\x00old");
    fixture.remove_interest(client, 1);
    let second = fixture.begin_interest(client, 2, PARENT, &[7]);
    assert_eq!(fixture.count(client, first, 1), [done(client, 1, 1)]);
    fixture.snapshot(client, second, AVATAR, PARENT, 7);
    let expected = [entered(client, AVATAR, PARENT, 7, class), done(client, 2, 2)];
    assert_eq!(fixture.count(client, second, 1), expected);
}

#[test]
fn g5_a_held_move_to_where_nothing_was_heard_yet_ends_the_view() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let first = fixture.begin_interest(client, 1, PARENT, &[7]);
    fixture.snapshot(client, first, AVATAR, PARENT, 7);
    fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7));
    // That it went on from zone 8 was said before this was in effect, so nobody tells this client.
    fixture.open_interest(client, 2, PARENT, &[8]);
    let expected = [entered(client, AVATAR, PARENT, 7, class), done(client, 1, 1), leaving(client, AVATAR)];
    assert_eq!(fixture.count(client, first, 1), expected);
}

impl Fixture {
    /// Two objects that the client sees in zone 7, and an interest in zone 8 that waits for its answers: its context.
    fn two_in_view_and_another_zone(&mut self, client: Client) -> u32 {
        self.open_interest(client, 1, PARENT, &[7]);
        self.enter(client, AVATAR, PARENT, 7);
        self.enter(client, OTHER, PARENT, 7);
        self.begin_interest(client, 2, PARENT, &[8])
    }
}

/// Where there are daemons above, only an answer to the query shows that they know of the subscription: what is seen and
/// moves there before that leaves the view, and comes back with the snapshot.
#[test]
fn g5_a_move_to_where_daemons_above_may_not_listen_yet_ends_the_view() {
    for has_upstream in [false, true] {
        let mut fixture = Fixture::new();
        fixture.out.has_upstream = has_upstream;
        let client = fixture.established();
        let class = fixture.class("Avatar");
        let context = fixture.two_in_view_and_another_zone(client);
        let moved = fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7));
        let told = if has_upstream { leaving(client, AVATAR) } else { location(client, AVATAR, PARENT, 8) };
        assert_eq!(moved, [told]);
        fixture.snapshot(client, context, AVATAR, PARENT, 8);
        let moved = fixture.moved(client, OTHER, (PARENT, 8), (PARENT, 7));
        assert_eq!(moved, [location(client, OTHER, PARENT, 8)], "an answer has come");
        let mut expected = vec![done(client, 2, 2)];
        if has_upstream {
            expected.insert(0, entered(client, AVATAR, PARENT, 8, class));
        }
        assert_eq!(fixture.count(client, context, 1), expected);
    }
}

/// The same when the interest has run into its time-out meanwhile.
#[test]
fn g5_a_move_to_where_no_answer_has_come_in_time_ends_the_view() {
    let mut fixture = Fixture::new();
    fixture.out.has_upstream = true;
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let context = fixture.two_in_view_and_another_zone(client);
    fixture.out.now_us += 60_000_000;
    let timer = ClientTimer { connection: client.connection, kind: TimerKind::Interest };
    assert_eq!(fixture.fire(timer), [done(client, 2, 2)]);
    assert_eq!(fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7)), [leaving(client, AVATAR)]);
    assert_eq!(fixture.snapshot(client, context, AVATAR, PARENT, 8), [entered(client, AVATAR, PARENT, 8, class)]);
    assert_eq!(fixture.moved(client, OTHER, (PARENT, 8), (PARENT, 7)), [location(client, OTHER, PARENT, 8)]);
}

#[test]
fn an_interest_that_is_closed_before_its_subscriptions_are_in_effect_asks_nothing() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen = fixture.send(client, add_interest(5, 1, PARENT, &[7]));
    let [.., Seen::Await(token)] = seen[..] else { panic!("{seen:?}") };
    fixture.remove_interest(client, 1);
    fixture.agents.on_subscribed(client.channel, token, &mut fixture.out);
    assert_eq!(fixture.seen(), [done(client, 5, 1)]);
}

fn done_for_caller(client: Client, id: u16) -> Seen {
    published(client, AI, t::CLIENTAGENT_DONE_INTEREST_RESP, |message| message.channel(client.channel).u16(id))
}

#[test]
fn ca_38_an_interest_of_a_server_is_announced_and_answered_to_both() {
    let mut fixture = Fixture::new();
    let client = fixture.anonymous();
    let seen = fixture.deliver(client, t::CLIENTAGENT_ADD_INTEREST, |message| message.u16(9).doid(PARENT).zone(7));
    let announced = to_client(client, t::CLIENT_ADD_INTEREST, |message| message.u32(1).u16(9).doid(PARENT).zone(7));
    assert_eq!(seen[..2], [announced, Seen::Subscribe(location_channel(PARENT, 7))]);
    let [.., Seen::Await(token)] = seen[..] else { panic!("{seen:?}") };
    fixture.agents.on_subscribed(client.channel, token, &mut fixture.out);
    fixture.seen();
    assert_eq!(fixture.count(client, 2, 0), [done_for_caller(client, 9), done(client, 1, 9)]);

    fixture.enter(client, AVATAR, PARENT, 7);
    let seen = fixture.deliver(client, t::CLIENTAGENT_REMOVE_INTEREST, |message| message.u16(9));
    let expected = [
        to_client(client, t::CLIENT_REMOVE_INTEREST, |message| message.u32(3).u16(9)),
        leaving(client, AVATAR),
        zone_7_closed(),
        done_for_caller(client, 9),
        done(client, 3, 9),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn ca_38_several_zones_are_announced_with_201_each_once() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let add = |zones: &'static [Zone]| {
        move |message: Encoder| {
            zones.iter().fold(message.u16(9).doid(PARENT).u16(zones.len() as u16), |m, &zone| m.zone(zone))
        }
    };
    let seen = fixture.deliver(client, t::CLIENTAGENT_ADD_INTEREST_MULTIPLE, add(&[8, 7, 8]));
    let announced = to_client(client, t::CLIENT_ADD_INTEREST_MULTIPLE, |message| {
        message.u32(1).u16(9).doid(PARENT).u16(2).zone(7).zone(8)
    });
    assert_eq!(seen[0], announced);
    let seen = fixture.deliver(client, t::CLIENTAGENT_ADD_INTEREST_MULTIPLE, add(&[7, 7]));
    let announced = to_client(client, t::CLIENT_ADD_INTEREST, |message| message.u32(3).u16(9).doid(PARENT).zone(7));
    assert_eq!(seen[0], announced, "one zone after duplicates");
}

#[test]
fn a25_an_empty_interest_of_a_server_is_announced_and_done() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen =
        fixture.deliver(client, t::CLIENTAGENT_ADD_INTEREST_MULTIPLE, |message| message.u16(9).doid(PARENT).u16(0));
    let expected = [
        to_client(client, t::CLIENT_ADD_INTEREST_MULTIPLE, |message| message.u32(1).u16(9).doid(PARENT).u16(0)),
        done_for_caller(client, 9),
        done(client, 1, 9),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a18_an_unknown_interest_of_a_server_is_answered_to_it_alone() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let seen = fixture.deliver(client, t::CLIENTAGENT_REMOVE_INTEREST, |message| message.u16(9));
    assert_eq!(seen, [done_for_caller(client, 9)]);
}

#[test]
fn a_server_may_close_what_the_client_opened() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.open_interest(client, 9, PARENT, &[7]);
    let seen = fixture.deliver(client, t::CLIENTAGENT_REMOVE_INTEREST, |message| message.u16(9));
    let announced = to_client(client, t::CLIENT_REMOVE_INTEREST, |message| message.u32(2).u16(9));
    assert_eq!(seen, [announced, zone_7_closed(), done_for_caller(client, 9), done(client, 2, 9)]);
}

#[test]
fn a_session_object_in_a_zone_that_closes_ends_the_session() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.open_interest(client, 1, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.add_session_object(client, AVATAR);
    let seen = fixture.remove_interest(client, 1);
    assert_eq!(ejected(&seen), (153, Reason::SessionObjectDeleted));
}

#[test]
fn a_reopened_zone_belongs_to_the_new_operation_while_the_old_one_goes_on() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let first = fixture.begin_interest(client, 1, PARENT, &[7, 8, 9]);
    fixture.send(client, add_interest(5, 2, PARENT, &[8, 9]));
    fixture.remove_interest(client, 1);
    let second = fixture.begin_interest(client, 3, PARENT, &[7]);
    fixture.snapshot(client, first, 3001, PARENT, 7);
    assert_eq!(fixture.count(client, first, 1), [done(client, 1, 1), done(client, 5, 2)], "what was asked before");
    assert_eq!(fixture.enter(client, 3002, PARENT, 7), [], "zone 7 is still being opened");
    let expected = [done(client, 3, 3), entered(client, 3002, PARENT, 7, class)];
    assert_eq!(fixture.count(client, second, 0), expected);
}

#[test]
fn a10_an_object_that_moved_on_from_a_closed_zone_does_not_enter_there() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let context = fixture.begin_interest(client, 1, PARENT, &[7, 8]);
    fixture.snapshot(client, context, AVATAR, PARENT, 7);
    fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7));
    fixture.enter(client, AVATAR, PARENT, 8);
    fixture.send(client, add_interest(5, 1, PARENT, &[8]));
    let expected = [done(client, 1, 1), done(client, 5, 1), entered(client, AVATAR, PARENT, 8, class)];
    assert_eq!(fixture.count(client, context, 1), expected);
}

#[test]
fn a_snapshot_entry_of_a_visible_object_is_counted_and_corrects_its_location() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    fixture.enter(client, AVATAR, PARENT, 6);
    let context = fixture.begin_interest(client, 1, PARENT, &[7]);
    fixture.snapshot(client, context, AVATAR, PARENT, 7);
    assert_eq!(fixture.count(client, context, 1), [done(client, 1, 1)]);
    assert_eq!(fixture.remove_interest(client, 1), [leaving(client, AVATAR), zone_7_closed(), done(client, 99, 1)]);
}
