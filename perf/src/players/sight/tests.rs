//! Each rule, kept and broken.

use super::*;

/// Two zones; clients 0 and 1 are settled in zone 0, client 2 in zone 1; nobody has sent anything.
fn world() -> (Sight, [Avatar; 3]) {
    let mut sight = Sight::new(3, 2);
    let now = Instant::now();
    let avatars = [(0, 0), (1, 0), (2, 1)].map(|(client, zone)| {
        let avatar = sight.appears(client, zone, now).unwrap();
        if client == 1 {
            sight.entered(0, avatar, 0, None).unwrap();
            sight.entered(1, Avatar::new(0, 0), 0, None).unwrap();
        }
        sight.done(client).unwrap();
        avatar
    });
    assert_eq!(sight.missing(), None);
    (sight, avatars)
}

fn text<T>(outcome: Result<T, Failure>) -> String {
    outcome.err().expect("that is wrong").to_string()
}

#[test]
fn updates_come_once_each_and_in_order() {
    let (mut sight, [a, ..]) = world();
    assert_eq!((sight.updates(0), sight.updates(0), sight.updates(0)), (0, 1, 2));
    assert!(text(sight.updated(1, a, 1)).contains("where 0 was awaited"));
    sight.updated(1, a, 0).unwrap();
    assert!(text(sight.updated(1, a, 0)).contains("where 1 was awaited"));
    sight.updated(1, a, 1).unwrap();
    assert!(sight.missing().unwrap().contains("2 of 3 updates"));
    sight.updated(1, a, 2).unwrap();
    assert!(text(sight.updated(1, a, 3)).contains("never sent"));
    assert!(text(sight.updated(2, a, 0)).contains("does not see"));
    assert_eq!(sight.missing(), None);
}

#[test]
fn numbers_go_on_where_16_bits_end() {
    let (mut sight, [a, b, _]) = world();
    for number in 0..70_000_u32 {
        assert_eq!(sight.updates(0), number as u16);
        sight.updated(1, a, number as u16).unwrap();
    }
    // Somebody who comes then has the number of the last one.
    let now = Instant::now();
    sight.moves(2, 0, now);
    sight.entered(2, a, 0, Some(69_999_u32 as u16)).unwrap();
    sight.entered(2, b, 0, None).unwrap();
    sight.done(2).unwrap();
    sight.updates(0);
    sight.updated(2, a, 70_000_u32 as u16).unwrap();
}

#[test]
fn a_move_is_seen_by_all_there_once_and_by_nobody_who_was_left() {
    let (mut sight, [a, b, c]) = world();
    let now = Instant::now();
    // Client 0 joins client 2, and says where it is.
    assert_eq!(sight.moves(0, 1, now), 0);
    assert!(sight.missing().is_some());
    assert!(text(sight.left(2, a)).contains("did not see"));
    // Client 1 is told that it left; with the old zone's updates, of which there are none.
    assert_eq!(sight.left(1, a).unwrap(), Some(now));
    assert!(text(sight.entered(1, a, 0, None)).contains("after it had left"));
    assert!(text(sight.entered(1, a, 1, None)).contains("does not look at"));
    // Client 2 was settled there: it is owed the entry, once.
    assert!(text(sight.entered(2, a, 1, Some(7))).contains("never sent"));
    assert_eq!(sight.entered(2, a, 1, None).unwrap(), Some(now));
    assert!(text(sight.entered(2, a, 1, None)).contains("sees already"));
    sight.updated(2, a, 0).unwrap();
    // The mover leaves everything behind, and finds who was there.
    assert_eq!(sight.left(0, b).unwrap(), None);
    assert!(text(sight.done(0)).contains("without"));
    let (mut sight, _) = world();
    sight.moves(0, 1, now);
    sight.entered(0, c, 1, None).unwrap();
    assert!(text(sight.done(0)).contains("still sees"));
}

#[test]
fn a_missing_entry_is_noticed_when_the_next_one_comes_or_in_the_end() {
    let (mut sight, [a, b, c]) = world();
    let now = Instant::now();
    sight.moves(0, 1, now);
    sight.left(1, a).unwrap();
    sight.left(0, b).unwrap();
    sight.entered(0, c, 1, None).unwrap();
    sight.done(0).unwrap();
    assert!(sight.missing().unwrap().contains("has not been told of"));
    // Away and back, and only the second time is told.
    sight.moves(0, 0, now);
    sight.left(0, c).unwrap();
    sight.entered(0, b, 0, None).unwrap();
    sight.done(0).unwrap();
    sight.moves(0, 1, now);
    assert!(text(sight.entered(2, a, 1, Some(2))).contains("had been there before"));
}

#[test]
fn who_leaves_by_itself_has_sent_everything_and_who_is_left_may_miss_a_tail() {
    let (mut sight, [a, b, _]) = world();
    let now = Instant::now();
    sight.updates(0);
    sight.updates(1);
    sight.moves(0, 1, now);
    // Client 1 stays and has not had update 0 of client 0: that is lost.
    assert!(text(sight.left(1, a)).contains("0 of 1 updates"));
    // Client 0 went itself: update 0 of client 1 may come or not.
    assert_eq!(sight.left(0, b).unwrap(), None);
    // Leaving without a reason.
    let (mut sight, [a, ..]) = world();
    assert!(text(sight.left(1, a)).contains("still there"));
}

#[test]
fn an_update_of_another_zone_does_not_come_without_an_entry() {
    let (mut sight, [a, ..]) = world();
    sight.moves(0, 1, Instant::now());
    assert!(text(sight.updated(1, a, 0)).contains("moved on"));
}

#[test]
fn an_entry_shows_where_updates_go_on_and_to_which_stay_it_belongs() {
    let (mut sight, [a, b, c]) = world();
    let now = Instant::now();
    sight.updates(0);
    sight.updated(1, a, 0).unwrap();
    sight.moves(0, 1, now);
    assert!(text(sight.entered(2, a, 1, None)).contains("was not at that time"));
    sight.entered(2, a, 1, Some(1)).unwrap();
    assert!(text(sight.updated(2, a, 1)).contains("where 2 was awaited"));
    sight.left(0, b).unwrap();
    sight.entered(0, c, 1, None).unwrap();
    sight.done(0).unwrap();
    sight.left(1, a).unwrap();
    assert_eq!(sight.missing(), None);
}

#[test]
fn chat_has_its_place_between_updates() {
    let (mut sight, [a, ..]) = world();
    sight.updates(0);
    assert_eq!(sight.says(0), 0);
    sight.updates(0);
    assert!(text(sight.said(1, a, 0)).contains("it was said after 1"));
    sight.updated(1, a, 0).unwrap();
    assert!(text(sight.updated(1, a, 1)).contains("not what was said before"));
    assert!(text(sight.said(1, a, 1)).contains("never said"));
    sight.said(1, a, 0).unwrap();
    assert!(text(sight.said(1, a, 0)).contains("where 1 to 1 was awaited"));
    sight.updated(1, a, 1).unwrap();
    assert_eq!(sight.says(0), 1);
    assert!(sight.missing().unwrap().contains("1 of 2 words"));
}

#[test]
fn of_chat_only_what_was_said_before_the_entry_was_heard_may_be_missing() {
    let (mut sight, [a, b, _]) = world();
    let now = Instant::now();
    sight.updates(0);
    sight.says(0);
    sight.moves(2, 0, now);
    sight.says(0);
    // The entry is that of the time before the update.
    sight.entered(2, a, 0, None).unwrap();
    sight.entered(2, b, 0, None).unwrap();
    sight.done(2).unwrap();
    sight.says(0);
    sight.updated(2, a, 0).unwrap();
    // Number 0 and 1 may be missing, number 2 may not, and nothing that was said may come after what followed it.
    sight.said(2, a, 1).unwrap();
    assert!(text(sight.said(2, a, 0)).contains("awaited"));
    sight.updates(0);
    assert!(text(sight.updated(2, a, 1)).contains("number 2"));
    assert!(sight.missing_of(2).unwrap().contains("2 of 3 words"));
    sight.said(2, a, 2).unwrap();
    assert!(sight.missing_of(2).unwrap().contains("1 of 2 updates"));
    sight.updated(2, a, 1).unwrap();
    assert_eq!(sight.missing_of(2), None);
    assert!(text(sight.said(1, a, 1)).contains("where 0 to 0 was awaited"));
}

#[test]
fn a_polite_end_loses_nothing_a_reset_a_tail_and_both_are_seen() {
    for (how, is_lost) in [(Drop::Polite, true), (Drop::Reset, false)] {
        let (mut sight, [a, b, _]) = world();
        let (due, again) = (Instant::now(), Instant::now());
        sight.updates(0);
        sight.drops(0, how, due);
        assert_eq!((sight.zone_of(0), sight.last_zone_of(0)), (None, Some(0)));
        let anew = sight.appears(0, 0, again).unwrap();
        assert!(sight.appears(0, 0, again).is_err());
        // It may still see its old self, but never the present one.
        assert!(text(sight.entered(0, anew, 0, None)).contains("its own"));
        sight.entered(0, a, 0, None).unwrap();
        sight.entered(0, b, 0, None).unwrap();
        sight.done(0).unwrap();
        // The new avatar may come before the old one goes.
        assert_eq!(sight.entered(1, anew, 0, None).unwrap(), Some(again));
        assert!(sight.missing().is_some());
        let left = sight.left(1, a);
        if is_lost {
            assert!(text(left).contains("0 of 1 updates"));
            continue;
        }
        assert_eq!(left.unwrap(), Some(due));
        assert!(sight.missing().unwrap().contains("where 1 others are"));
        sight.left(0, a).unwrap();
        assert_eq!(sight.missing(), None);
    }
}

#[test]
fn interests_that_nobody_opened_are_not_done() {
    let (mut sight, _) = world();
    assert!(text(sight.done(0)).contains("never opened"));
}
