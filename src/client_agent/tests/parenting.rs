//! Parenting rules (§7): what a session keeps open around its client's avatars, and that the client hears nothing of it but
//! the objects.

use super::*;

const AVATAR: Doid = 4000;
const PLACE: Doid = 6000;
const OTHER_PLACE: Doid = 6001;

/// An established client of an agent that follows avatars.
fn followed() -> (Fixture, Client) {
    let mut fixture = Fixture::with(|agent| agent.avatar_class = Some("Avatar".to_owned()));
    let client = fixture.established();
    (fixture, client)
}

/// The question for the class of a parent: its context.
fn asked(seen: &[Seen], parent: Doid) -> u32 {
    let context = seen.iter().find_map(|seen| match seen {
        Seen::Published { message_type: t::STATESERVER_OBJECT_GET_CLASS, recipients, payload, .. } => {
            assert_eq!(recipients, &[Channel::from(parent)]);
            Some(Reader::new(payload).u32().unwrap())
        }
        _ => None,
    });
    context.unwrap_or_else(|| panic!("the class of {parent} is asked for: {seen:?}"))
}

fn answer(fixture: &mut Fixture, client: Client, context: u32, parent: Doid, class: &str) -> Vec<Seen> {
    let class = fixture.class(class);
    fixture.deliver_from(parent.into(), &[client], t::STATESERVER_OBJECT_GET_CLASS_RESP, |message| {
        message.u32(context).doid(parent).u16(class)
    })
}

/// The zones that are subscribed to and left.
fn zones(seen: &[Seen], parent: Doid) -> (Vec<Zone>, Vec<Zone>) {
    let zone = |channel: &Channel| (channel >> 32 == u64::from(parent)).then_some(*channel as Zone);
    let opened = seen.iter().filter_map(|seen| if let Seen::Subscribe(channel) = seen { zone(channel) } else { None });
    let closed =
        seen.iter().filter_map(|seen| if let Seen::Unsubscribe(channel) = seen { zone(channel) } else { None });
    (opened.collect(), closed.collect())
}

/// Lets what is being opened be complete, empty. Nothing is said to the client.
fn complete(fixture: &mut Fixture, client: Client, seen: &[Seen]) {
    let token = seen.iter().find_map(|seen| if let Seen::Await(token) = seen { Some(*token) } else { None });
    fixture.agents.on_subscribed(client.channel, token.expect("something is opened"), &mut fixture.out);
    let context = fixture.seen().iter().find_map(|seen| match seen {
        Seen::Published { message_type: t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, payload, .. } => {
            Some(Reader::new(payload).u32().unwrap())
        }
        _ => None,
    });
    assert_eq!(fixture.count(client, context.expect("the parent is asked"), 0), []);
}

#[test]
fn follow_keeps_the_avatars_zone_open_wherever_it_goes() {
    let (mut fixture, client) = followed();
    let seen = fixture.enter_owner(client, AVATAR, PLACE, 5);
    let context = asked(&seen, PLACE);
    let seen = answer(&mut fixture, client, context, PLACE, "Follower");
    assert_eq!(zones(&seen, PLACE), (vec![5], vec![]));
    complete(&mut fixture, client, &seen);

    let seen = fixture.moved(client, AVATAR, (PLACE, 6), (PLACE, 5));
    assert_eq!(zones(&seen, PLACE), (vec![6], vec![5]));
    complete(&mut fixture, client, &seen);
    // Its own move, too.
    let seen = fixture.deliver_from(client.channel, &[client], t::STATESERVER_OBJECT_CHANGING_LOCATION, |message| {
        message.doid(AVATAR).doid(PLACE).zone(7).doid(PLACE).zone(6)
    });
    assert_eq!(zones(&seen, PLACE), (vec![7], vec![6]));
    // Another parent, which says nothing.
    let seen = fixture.moved(client, AVATAR, (OTHER_PLACE, 7), (PLACE, 7));
    assert_eq!(zones(&seen, PLACE), (vec![], vec![7]));
    let context = asked(&seen, OTHER_PLACE);
    assert_eq!(answer(&mut fixture, client, context, OTHER_PLACE, "District"), []);
}

#[test]
fn cartesian_keeps_the_square_around_the_avatar_open() {
    let (mut fixture, client) = followed();
    let seen = fixture.enter_owner(client, AVATAR, PLACE, 1000);
    let context = asked(&seen, PLACE);
    let seen = answer(&mut fixture, client, context, PLACE, "Grid");
    assert_eq!(zones(&seen, PLACE), (vec![1000, 1001, 1004, 1005], vec![]));
    complete(&mut fixture, client, &seen);
    let seen = fixture.moved(client, AVATAR, (PLACE, 1001), (PLACE, 1000));
    assert_eq!(zones(&seen, PLACE), (vec![1002, 1006], vec![]));
    complete(&mut fixture, client, &seen);
    // Off the grid there is nothing to see.
    let seen = fixture.moved(client, AVATAR, (PLACE, 5), (PLACE, 1001));
    assert_eq!(zones(&seen, PLACE), (vec![], vec![1000, 1001, 1002, 1004, 1005, 1006]));
}

#[test]
fn auto_adds_zones_to_whoever_asks_for_the_origin() {
    let (mut fixture, client) = followed();
    let auto = fixture.class("Automatic");
    let seen = fixture.deliver(client, t::CLIENTAGENT_DECLARE_OBJECT, |message| message.doid(PLACE).u16(auto));
    assert_eq!(seen, []);
    let seen = fixture.send(client, add_interest(1, 1, PLACE, &[20]));
    assert_eq!(zones(&seen, PLACE), (vec![20, 21, 22], vec![]));
    let seen = fixture.send(client, add_interest(2, 2, PLACE, &[30]));
    assert_eq!(zones(&seen, PLACE), (vec![30], vec![]));
    // Where the class is not known, nothing is added.
    let seen = fixture.send(client, add_interest(3, 3, OTHER_PLACE, &[20]));
    assert_eq!(zones(&seen, OTHER_PLACE), (vec![20], vec![]));
}

#[test]
fn stale_answers_and_lost_avatars_open_nothing() {
    let (mut fixture, client) = followed();
    let seen = fixture.enter_owner(client, AVATAR, PLACE, 5);
    let context = asked(&seen, PLACE);
    assert_eq!(answer(&mut fixture, client, context + 1, PLACE, "Follower"), [], "another question's");
    assert_eq!(answer(&mut fixture, client, context, OTHER_PLACE, "Follower"), [], "another parent's");
    fixture.out.now_us += INTEREST_TIMEOUT_US + 1;
    assert_eq!(answer(&mut fixture, client, context, PLACE, "Follower"), [], "too late");

    let seen = fixture.moved(client, AVATAR, (OTHER_PLACE, 7), (PLACE, 5));
    let context = asked(&seen, OTHER_PLACE);
    let seen = answer(&mut fixture, client, context, OTHER_PLACE, "Follower");
    complete(&mut fixture, client, &seen);
    let seen = fixture.deliver(client, t::STATESERVER_OBJECT_CHANGING_OWNER, |message| {
        message.doid(AVATAR).channel(0).channel(client.channel)
    });
    assert_eq!(zones(&seen, OTHER_PLACE), (vec![], vec![7]));
}

#[test]
fn an_interest_of_the_sessions_own_gives_way_to_anybodys_of_its_id() {
    let (mut fixture, client) = followed();
    let seen = fixture.enter_owner(client, AVATAR, PLACE, 5);
    let context = asked(&seen, PLACE);
    let seen = answer(&mut fixture, client, context, PLACE, "Follower");
    complete(&mut fixture, client, &seen);
    fixture.open_interest(client, 0xF000, WORLD, &[8]);
    assert_eq!(fixture.remove_interest(client, 0xF000).last(), Some(&done(client, 99, 0xF000)));
    // The avatar's is there still, and not the client's to remove.
    let seen = fixture.moved(client, AVATAR, (PLACE, 6), (PLACE, 5));
    assert_eq!(zones(&seen, PLACE), (vec![6], vec![5]));
    assert_eq!(ejected(&fixture.remove_interest(client, 0xF001)), (1, Reason::UnknownInterest));
}

#[test]
fn without_an_avatar_class_and_for_other_objects_nothing_is_asked() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let is_question =
        |seen: &Seen| matches!(seen, Seen::Published { message_type: t::STATESERVER_OBJECT_GET_CLASS, .. });
    assert!(!fixture.enter_owner(client, AVATAR, PLACE, 5).iter().any(is_question));
    let mut fixture = Fixture::with(|agent| agent.avatar_class = Some("District".to_owned()));
    let client = fixture.established();
    assert!(!fixture.enter_owner(client, AVATAR, PLACE, 5).iter().any(is_question));
}
