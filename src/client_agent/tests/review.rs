//! Asking anew about open zones below other daemons (§3.11; design G5): what came before they had answered, answers that
//! come too late, and a link to them that was lost.

use super::*;
use crate::client_agent::TimerKind;
use crate::faults::{Fault, seed};

const PARENT: Doid = 2000;
const AVATAR: Doid = 3000;
const OTHER: Doid = 3001;
const THIRD: Doid = 3002;

fn below() -> (Fixture, Client, u16) {
    let mut fixture = Fixture::new();
    fixture.out.has_upstream = true;
    let client = fixture.established();
    let class = fixture.class("Avatar");
    (fixture, client, class)
}

fn asked(client: Client, context: u32, zones: &[Zone]) -> Seen {
    published(client, PARENT.into(), t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, |message| {
        let message = message.u32(context).doid(PARENT).u16(zones.len() as u16);
        zones.iter().fold(message, |message, &zone| message.zone(zone))
    })
}

impl Fixture {
    fn upstream_again(&mut self) -> Vec<Seen> {
        self.agents.on_upstream_again(&mut self.out);
        messages(self.seen())
    }

    fn time_out(&mut self, client: Client) -> Vec<Seen> {
        self.out.now_us += INTEREST_TIMEOUT_US;
        self.fire(ClientTimer { connection: client.connection, kind: TimerKind::Interest })
    }
}

#[test]
fn g5_what_came_before_the_first_answer_and_is_not_in_it_is_asked_for_again() {
    let (mut fixture, client, class) = below();
    let context = fixture.begin_interest(client, 1, PARENT, &[7, 8]);
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.update(client, AVATAR, fixture.avatar_field("say"), b"\x03\x00old");
    fixture.enter(client, OTHER, PARENT, 7);
    fixture.snapshot(client, context, OTHER, PARENT, 7);
    fixture.enter(client, THIRD, PARENT, 8);
    let told = [
        entered(client, OTHER, PARENT, 7, class),
        done(client, 1, 1),
        entered(client, THIRD, PARENT, 8, class),
        asked(client, context + 1, &[7]),
    ];
    assert_eq!(messages(fixture.count(client, context, 1)), told, "only what came before the first answer is doubtful");
    // It has come just behind the answer of its executor.
    let told = [entered(client, AVATAR, PARENT, 7, class)];
    assert_eq!(fixture.snapshot(client, context + 1, AVATAR, PARENT, 7), told);
    assert_eq!(fixture.snapshot(client, context + 1, OTHER, PARENT, 7), []);
    assert_eq!(fixture.count(client, context + 1, 2), []);
}

#[test]
fn g5_nothing_is_asked_again_for_a_zone_that_is_closed_by_then_or_without_daemons_above() {
    let (mut fixture, client, _) = below();
    let context = fixture.begin_interest(client, 1, PARENT, &[7, 8]);
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.begin_interest(client, 1, PARENT, &[8, 9]);
    assert_eq!(messages(fixture.count(client, context, 0)), [done(client, 1, 1)]);

    let mut fixture = Fixture::new();
    let client = fixture.established();
    let class = fixture.class("Avatar");
    let context = fixture.begin_interest(client, 1, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    assert_eq!(fixture.count(client, context, 0), [done(client, 1, 1), entered(client, AVATAR, PARENT, 7, class)]);
}

/// The switch of the broken rule breaks just that.
#[test]
fn g5_what_came_before_the_first_answer_shows_ghosts_where_it_is_believed() {
    let (mut fixture, client, class) = below();
    let context = fixture.begin_interest(client, 1, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    seed(Some(Fault::LateEntriesBelieved));
    let told = fixture.count(client, context, 0);
    seed(None);
    assert_eq!(told, [done(client, 1, 1), entered(client, AVATAR, PARENT, 7, class)]);
}

#[test]
fn g5_after_a_lost_link_who_answers_enters_anew_and_who_does_not_leaves() {
    let (mut fixture, client, class) = below();
    fixture.open_interest(client, 1, PARENT, &[7, 8]);
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.enter(client, OTHER, PARENT, 8);
    assert_eq!(fixture.upstream_again(), [asked(client, 2, &[7, 8])]);
    let anew = [leaving(client, AVATAR), entered(client, AVATAR, PARENT, 7, class)];
    assert_eq!(fixture.snapshot(client, 2, AVATAR, PARENT, 7), anew);
    assert_eq!(fixture.count(client, 2, 2), [], "one has not answered yet");
    let told = [entered(client, THIRD, PARENT, 7, class), leaving(client, OTHER)];
    assert_eq!(fixture.snapshot(client, 2, THIRD, PARENT, 7), told);
    assert_eq!(fixture.snapshot(client, 2, AVATAR, PARENT, 7), [], "late, and seen already");
}

#[test]
fn g5_after_a_lost_link_what_is_heard_of_an_object_settles_it() {
    let (mut fixture, client, class) = below();
    let say = fixture.avatar_field("say");
    fixture.open_interest(client, 1, PARENT, &[7, 8]);
    for doid in [AVATAR, OTHER, THIRD] {
        fixture.enter(client, doid, PARENT, 7);
    }
    fixture.upstream_again();
    let hi = b"\x02\x00hi";
    assert_eq!(fixture.update(client, AVATAR, say, hi), [updated(client, AVATAR, say, hi)], "what is said is told");
    assert_eq!(fixture.moved(client, AVATAR, (PARENT, 8), (PARENT, 7)), [leaving(client, AVATAR)]);
    assert_eq!(fixture.snapshot(client, 2, AVATAR, PARENT, 8), [entered(client, AVATAR, PARENT, 8, class)]);
    assert_eq!(fixture.delete(client, OTHER), [leaving(client, OTHER)]);
    let anew = [leaving(client, THIRD), entered(client, THIRD, PARENT, 7, class)];
    assert_eq!(fixture.enter(client, THIRD, PARENT, 7), anew, "perhaps another object of its doid");
    assert_eq!(fixture.count(client, 2, 1), []);
}

/// It may have been sent by a subscription of the link that was lost, or come just behind the answer of its executor.
#[test]
fn g5_after_a_lost_link_what_enters_before_the_first_answer_and_is_not_in_it_is_asked_for_again() {
    let (mut fixture, client, class) = below();
    fixture.open_interest(client, 1, PARENT, &[7]);
    fixture.upstream_again();
    assert_eq!(fixture.enter(client, AVATAR, PARENT, 7), [entered(client, AVATAR, PARENT, 7, class)]);
    assert_eq!(messages(fixture.count(client, 2, 0)), [leaving(client, AVATAR), asked(client, 3, &[7])]);
    assert_eq!(fixture.enter(client, OTHER, PARENT, 7), [entered(client, OTHER, PARENT, 7, class)]);
    assert_eq!(fixture.snapshot(client, 3, AVATAR, PARENT, 7), [entered(client, AVATAR, PARENT, 7, class)]);
    assert_eq!(fixture.snapshot(client, 3, OTHER, PARENT, 7), []);
}

#[test]
fn g5_after_a_lost_link_a_parent_that_does_not_answer_ends_no_view() {
    let (mut fixture, client, _) = below();
    fixture.open_interest(client, 1, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.upstream_again();
    // Asked again, with twice the patience.
    assert_eq!(messages(fixture.time_out(client)), [asked(client, 3, &[7])]);
    assert_eq!(messages(fixture.time_out(client)), []);
    assert_eq!(messages(fixture.time_out(client)), [asked(client, 4, &[7])]);
    assert_eq!(fixture.count(client, 3, 0), [], "too late");
    assert_eq!(fixture.count(client, 4, 0), [leaving(client, AVATAR)]);
}

#[test]
fn a_parent_that_is_asked_again_and_again_does_not_keep_an_interest_from_its_time_out() {
    let (mut fixture, client, _) = below();
    fixture.open_interest(client, 1, PARENT, &[7]);
    fixture.upstream_again();
    for _ in 0..12 {
        fixture.time_out(client);
    }
    let seen = fixture.send(client, add_interest(5, 2, PARENT, &[8]));
    let Some(Seen::Await(token)) = seen.last() else { panic!("{seen:?}") };
    fixture.agents.on_subscribed(client.channel, *token, &mut fixture.out);
    let deadline_us = fixture.out.now_us + INTEREST_TIMEOUT_US;
    let set: Vec<Seen> = fixture.seen().into_iter().filter(|seen| matches!(seen, Seen::Timer(..))).collect();
    assert!(matches!(set[..], [Seen::Timer(at_us, _)] if at_us == deadline_us), "{set:?}");
}

#[test]
fn g5_after_a_lost_link_a_count_that_is_never_reached_is_waited_for_no_longer_than_an_interest() {
    let (mut fixture, client, _) = below();
    fixture.open_interest(client, 1, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.upstream_again();
    assert_eq!(fixture.count(client, 2, 1), []);
    assert_eq!(fixture.time_out(client), [leaving(client, AVATAR)]);
    assert_eq!(fixture.time_out(client), []);
}

#[test]
fn g5_after_a_lost_link_an_interest_that_is_being_opened_asks_again_and_forgets_what_it_had() {
    let (mut fixture, client, class) = below();
    let context = fixture.begin_interest(client, 1, PARENT, &[7]);
    fixture.snapshot(client, context, AVATAR, PARENT, 7);
    fixture.enter(client, OTHER, PARENT, 7);
    assert_eq!(fixture.upstream_again(), [asked(client, context + 1, &[7])]);
    assert_eq!(fixture.count(client, context, 3), [], "of the link that was lost");
    fixture.snapshot(client, context + 1, THIRD, PARENT, 7);
    assert_eq!(fixture.count(client, context + 1, 1), [entered(client, THIRD, PARENT, 7, class), done(client, 1, 1)]);
}

#[test]
fn g5_after_a_lost_link_a_session_object_that_is_gone_ends_the_session() {
    let (mut fixture, client, _) = below();
    fixture.add_session_object(client, AVATAR);
    fixture.open_interest(client, 1, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    fixture.upstream_again();
    assert_eq!(ejected(&fixture.count(client, 2, 0)), (153, Reason::SessionObjectDeleted));
}

#[test]
fn g5_after_a_lost_link_what_no_interest_covers_stays() {
    let (mut fixture, client, _) = below();
    fixture.enter(client, AVATAR, PARENT, 7);
    assert_eq!(fixture.upstream_again(), []);
    fixture.open_interest(client, 1, PARENT, &[8]);
    assert_eq!(fixture.upstream_again(), [asked(client, 2, &[8])]);
    assert_eq!(fixture.count(client, 2, 0), []);
}

#[test]
fn g5_what_has_entered_before_an_answer_that_is_late_is_doubted_when_that_comes() {
    let (mut fixture, client, class) = below();
    let context = fixture.begin_interest(client, 1, PARENT, &[7]);
    fixture.enter(client, AVATAR, PARENT, 7);
    assert_eq!(fixture.time_out(client), [done(client, 1, 1), entered(client, AVATAR, PARENT, 7, class)]);
    fixture.enter(client, OTHER, PARENT, 7);
    let told = [asked(client, context + 1, &[7]), leaving(client, OTHER), entered(client, OTHER, PARENT, 7, class)];
    assert_eq!(messages(fixture.snapshot(client, context, OTHER, PARENT, 7)), told);
    assert_eq!(fixture.count(client, context, 1), []);
    assert_eq!(fixture.snapshot(client, context + 1, OTHER, PARENT, 7), []);
    assert_eq!(fixture.count(client, context + 1, 1), [leaving(client, AVATAR)]);
}
