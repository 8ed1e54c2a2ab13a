//! Entries of interests being opened leave as the client takes them, in order, and nothing is missed meanwhile (G5).

use super::*;
use crate::client_agent::settings::PACE_BYTES;

const PARENT: Doid = 5000;
/// Bytes of the field values of one object.
const LARGE: usize = 20_000;

impl Fixture {
    fn large_snapshot(&mut self, client: Client, context: u32, doid: Doid, zone: Zone) -> Vec<Seen> {
        let class = self.class("Avatar");
        self.deliver_from(doid.into(), &[client], t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED, |message| {
            message.u32(context).doid(doid).doid(PARENT).zone(zone).u16(class).bytes(&[7; LARGE])
        })
    }

    fn sent(&mut self, client: Client) -> Vec<Seen> {
        self.agents.on_sent(client.connection, &mut self.out);
        self.seen()
    }

    /// An interest with so many large objects, complete but for what has not left. Returns what the client got.
    fn open_large(&mut self, client: Client, id: u16, zones: &[Zone], first: Doid, count: u32) -> Vec<Seen> {
        let context = self.begin_interest(client, id, PARENT, zones);
        for index in 0..count {
            let zone = zones[index as usize % zones.len()];
            assert_eq!(self.large_snapshot(client, context, first + index, zone), []);
        }
        self.count(client, context, count)
    }
}

fn entries(seen: &[Seen]) -> Vec<Doid> {
    let entry = |seen: &Seen| match seen {
        Seen::Client(_, t::CLIENT_ENTER_OBJECT_REQUIRED, payload) => Some(Reader::new(payload).doid().unwrap()),
        _ => None,
    };
    seen.iter().filter_map(entry).collect()
}

#[test]
fn many_bytes_of_entries_leave_in_parts_each_when_the_last_has_left() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let mut seen = fixture.open_large(client, 1, &[1], 7000, 30);
    let mut entered = Vec::new();
    let mut parts = 0;
    loop {
        let part = entries(&seen);
        assert!(part.len() * LARGE <= PACE_BYTES + LARGE, "{} entries at once", part.len());
        assert!(fixture.allowed_bytes >= part.len() * LARGE, "they do not count against the budget");
        fixture.allowed_bytes = 0;
        entered.extend(part);
        parts += 1;
        if seen.contains(&done(client, 1, 1)) {
            assert_eq!(seen.last(), Some(&done(client, 1, 1)), "the answer comes behind the last entry");
            break;
        }
        assert_eq!(fixture.questions, 1, "it waits to be told");
        fixture.questions = 0;
        seen = fixture.sent(client);
    }
    assert_eq!(entered, (7000..7030).collect::<Vec<Doid>>());
    assert!(parts >= 30 * LARGE / (PACE_BYTES + LARGE), "{parts} parts");
}

#[test]
fn few_bytes_leave_at_once_and_nothing_is_asked() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let context = fixture.begin_interest(client, 1, PARENT, &[1]);
    for doid in 7000..7010 {
        fixture.snapshot(client, context, doid, PARENT, 1);
    }
    let seen = fixture.count(client, context, 10);
    assert_eq!((entries(&seen).len(), seen.last()), (10, Some(&done(client, 1, 1))));
    assert_eq!(fixture.questions, 0);
}

#[test]
fn many_small_interests_together_are_paced_too() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let mut at_once = 0;
    for index in 0..20 {
        let seen = fixture.open_large(client, index, &[u32::from(index) + 1], 7000 + u32::from(index), 1);
        at_once += entries(&seen).len();
    }
    assert!(at_once * LARGE <= PACE_BYTES + LARGE, "{at_once} entries without waiting");
    let mut entered = at_once;
    while entered < 20 {
        let more = entries(&fixture.sent(client)).len();
        assert!(more > 0);
        entered += more;
    }
}

#[test]
fn what_happens_to_an_object_meanwhile_follows_its_entry_once() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let first = fixture.open_large(client, 1, &[1, 2], 7000, 12);
    let shown = entries(&first).len() as u32;
    assert!((1..12).contains(&shown));
    let field = fixture.avatar_field("setPosition");
    let (told, waiting, deleted, moved_on, moved_away) = (7000, 7007, 7008, 7009, 7010);
    assert_eq!(fixture.update(client, told, field, b"now"), [updated(client, told, field, b"now")]);
    for doid in [waiting, deleted] {
        assert_eq!(fixture.update(client, doid, field, b"held"), []);
    }
    assert_eq!(fixture.delete(client, deleted), []);
    assert_eq!(fixture.moved(client, moved_on, (PARENT, 1), (PARENT, 2)), []);
    assert_eq!(fixture.moved(client, moved_away, (PARENT, 3), (PARENT, 1)), []);
    // An object that comes in meanwhile is told behind the answer.
    assert_eq!(fixture.enter(client, 9000, PARENT, 1), []);
    let mut rest = Vec::new();
    while !rest.contains(&done(client, 1, 1)) {
        let part = fixture.sent(client);
        assert!(!part.is_empty());
        rest.extend(part);
    }
    let place = |wanted: &Seen| {
        let places: Vec<usize> = (0..rest.len()).filter(|&index| rest[index] == *wanted).collect();
        let [place] = places[..] else { panic!("{wanted:?} is told once, not {} times", places.len()) };
        place
    };
    let entry = |doid: Doid| rest.iter().position(|seen| entries(std::slice::from_ref(seen)) == [doid]).unwrap();
    assert!(entry(waiting) < place(&updated(client, waiting, field, b"held")));
    assert!(entry(deleted) < place(&leaving(client, deleted)));
    assert!(entry(moved_on) < place(&location(client, moved_on, PARENT, 1)));
    assert!(entry(moved_away) < place(&leaving(client, moved_away)));
    assert!(entry(9000) > place(&done(client, 1, 1)));
    assert_eq!(entries(&rest).len(), 12 - shown as usize + 1, "each enters once");
}

#[test]
fn an_interest_that_is_closed_meanwhile_ends_what_it_has_shown_and_shows_no_more() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let shown = entries(&fixture.open_large(client, 1, &[1], 7000, 12));
    let seen = fixture.remove_interest(client, 1);
    let left: Vec<Seen> = shown.iter().map(|&doid| leaving(client, doid)).collect();
    assert_eq!(seen[..left.len()], left);
    assert_eq!(entries(&seen), [] as [Doid; 0]);
    let mut after = Vec::new();
    for _ in 0..12 {
        after.extend(fixture.sent(client));
    }
    assert_eq!(messages(after), [done(client, 1, 1)], "the answer still comes (A10)");
}

#[test]
fn who_takes_nothing_is_let_go_when_too_much_waits() {
    let mut fixture = Fixture::new();
    let client = fixture.established();
    let mut ended = None;
    for index in 0..5000_u32 {
        let context = match index % 50 {
            0 => fixture.begin_interest(client, (index / 50) as u16, PARENT, &[index + 1]),
            _ => continue,
        };
        for object in 0..60 {
            let doid = 100_000 + index * 100 + object;
            let seen = fixture.large_snapshot(client, context, doid, index + 1);
            if let Some(Seen::Close(_, close, reason)) = seen.iter().find(|seen| matches!(seen, Seen::Close(..))) {
                ended = Some((*close, *reason));
                break;
            }
        }
        if ended.is_some() {
            break;
        }
        fixture.count(client, context, 60);
    }
    assert_eq!(ended, Some((Close::Now, Reason::WriteBudget)));
}
