//! Who is where, and what everybody must be told of it: every entry, leaving, update and word of chat is judged here.
//!
//! It knows the world only by what clients and their AI have *sent* and what clients have *heard*, in that order; that one
//! event came before another is known where the first was heard before the second was sent. From this follow exact
//! rules, so that nothing is let pass "because somebody was just moving":
//!
//! * An avatar's time in the world is a series of *stays*, one for each zone that it is in; each begins with an update.
//! * A viewer is *settled* in a zone from when it hears that its interest is done until it sends the next one. While it is
//!   settled, each stay that begins there must enter its view, once, and each one that ends must leave it, once.
//! * When its interest is done, it must see everybody who was settled there when it sent it and has sent no move since,
//!   and nobody of where it came from.
//! * An entry holds the last update before it. From there to the leaving, updates come without a gap; when an avatar
//!   leaves because it has moved, or has said goodbye, all updates of its stay have come. What a viewer misses by leaving
//!   itself, or because the mover's connection was reset, is a tail of the series and nothing else.
//! * Chat is kept nowhere, so an entry says nothing of it: what was said before the entry was heard may be missing; what
//!   was said later may not, and it stands between the same two updates for all who hear it.
//! * In the end, when all is quiet, everybody sees everybody in its zone, has all they ever sent, and sees nobody else.

mod life;
#[cfg(test)]
mod tests;
mod viewer;

use crate::failure::{Failure, ensure};
pub(super) use life::Avatar;
use life::Life;
use std::time::Instant;
use viewer::{Seen, Viewer};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drop {
    /// The end of the stream, behind everything that was sent.
    Polite,
    /// A reset: of what was sent, a tail may be lost.
    Reset,
}

/// A client: its avatars, one after the other, and what it sees.
#[derive(Debug, Default)]
struct Person {
    /// All its avatars; the last may be in the world.
    lives: Vec<Life>,
    viewer: Viewer,
}

impl Person {
    fn present(&self) -> Option<&Life> {
        self.lives.last().filter(|life| life.end.is_none())
    }
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Sight {
    people: Vec<Person>,
    /// By zone: the clients whose avatars are there.
    members: Vec<Vec<u32>>,
    /// Where the last look for something missing ended.
    looked: usize,
}

impl Sight {
    pub(super) fn new(clients: u32, zones: u32) -> Self {
        Self {
            people: (0..clients).map(|_| Person::default()).collect(),
            members: vec![Vec::new(); zones as usize],
            looked: 0,
        }
    }

    /// How many avatars are in a zone.
    pub(super) fn population(&self, zone: u32) -> usize {
        self.members[zone as usize].len()
    }

    /// The zone of a client's avatar; none while it has none.
    pub(super) fn zone_of(&self, client: u32) -> Option<u32> {
        Some(self.people[client as usize].present()?.zone())
    }

    /// The zone of the avatar that a client has, or had last.
    pub(super) fn last_zone_of(&self, client: u32) -> Option<u32> {
        Some(self.people[client as usize].lives.last()?.zone())
    }

    /// The avatar that a client has, or had last.
    fn avatar_of(&self, client: u32) -> Option<Avatar> {
        let lives = self.people[client as usize].lives.len();
        lives.checked_sub(1).map(|life| Avatar::new(client, life))
    }

    fn life(&self, avatar: Avatar) -> Option<&Life> {
        self.people.get(avatar.client() as usize)?.lives.get(avatar.life())
    }

    /// The AI sends an avatar of a client's into a zone, and the client a view of it.
    pub(super) fn appears(&mut self, client: u32, zone: u32, due: Instant) -> Result<Avatar, Failure> {
        ensure(self.zone_of(client).is_none(), || format!("client {client} is let in twice"))?;
        let lives = &mut self.people[client as usize].lives;
        ensure(lives.len() < Avatar::LIVES as usize, || {
            format!("client {client} has had {} avatars, and there are no numbers for more", Avatar::LIVES)
        })?;
        lives.push(Life::new(zone, due));
        let avatar = Avatar::new(client, lives.len() - 1);
        self.begins_stay(client, avatar, zone);
        Ok(avatar)
    }

    /// A client sends its avatar, and its view with it, to another zone. The number of the update that must follow at once.
    pub(super) fn moves(&mut self, client: u32, zone: u32, due: Instant) -> u16 {
        let Some(old) = self.zone_of(client) else { return 0 };
        let avatar = self.avatar_of(client).expect("who is in a zone has an avatar");
        self.members[old as usize].retain(|&member| member != client);
        let person = &mut self.people[client as usize];
        person.lives[avatar.life()].begin_stay(zone, due);
        self.begins_stay(client, avatar, zone);
        self.updates(client)
    }

    /// Whoever is settled in the zone is owed the entry; the client itself is on its way.
    fn begins_stay(&mut self, client: u32, avatar: Avatar, zone: u32) {
        let stay = self.people[client as usize].lives[avatar.life()].stay();
        let mut certain = Vec::new();
        for &other in &self.members[zone as usize] {
            let Some(there) = self.avatar_of(other) else { continue };
            let their_stay = self.people[other as usize].lives[there.life()].stay();
            let viewer = &mut self.people[other as usize].viewer;
            if viewer.settled == Some(zone) {
                viewer.owed.push((avatar, stay));
                certain.push((there, their_stay));
            }
        }
        self.members[zone as usize].push(client);
        self.people[client as usize].viewer.goes_to(zone, certain);
    }

    /// A client sends an update: its number.
    pub(super) fn updates(&mut self, client: u32) -> u16 {
        let life = self.people[client as usize].lives.last_mut().expect("who updates has an avatar");
        life.updates += 1;
        (life.updates - 1) as u16
    }

    /// A client says something: its number.
    pub(super) fn says(&mut self, client: u32) -> u16 {
        let life = self.people[client as usize].lives.last_mut().expect("who speaks has an avatar");
        life.chats.push(life.updates);
        (life.chats.len() - 1) as u16
    }

    /// A client breaks off its connection.
    pub(super) fn drops(&mut self, client: u32, how: Drop, due: Instant) {
        if let Some(zone) = self.zone_of(client) {
            self.members[zone as usize].retain(|&member| member != client);
        }
        let person = &mut self.people[client as usize];
        if let Some(life) = person.lives.last_mut() {
            life.end.get_or_insert((how, due));
        }
        person.viewer = Viewer::default();
    }

    /// A client hears that its interest is done.
    pub(super) fn done(&mut self, client: u32) -> Result<(), Failure> {
        let viewer = &mut self.people[client as usize].viewer;
        let Some(zone) = viewer.going_to.take() else {
            return Err(Failure::new(format!(
                "client {client} was told that an interest is done that it never opened"
            )));
        };
        viewer.settled = Some(zone);
        viewer.gone.clear();
        let certain = std::mem::take(&mut viewer.certain);
        let viewer = &self.people[client as usize].viewer;
        if let Some((avatar, seen)) = viewer.seen.iter().find(|(_, seen)| seen.zone != zone) {
            return Err(Failure::new(format!(
                "client {client} has come to zone {zone} and still sees {avatar} of zone {}",
                seen.zone
            )));
        }
        for (avatar, stay) in certain {
            let is_there =
                self.life(avatar).is_some_and(|life| life.end.is_none() && life.stay() == stay && life.zone() == zone);
            ensure(!is_there || viewer.seen.contains_key(&avatar), || {
                format!("the interest of client {client} in zone {zone} is done without {avatar}, who was there before")
            })?;
        }
        Ok(())
    }

    /// A viewer is told that an avatar enters, with the number of its last update if there is one. When the stay was due,
    /// if the viewer was settled when it began.
    pub(super) fn entered(
        &mut self,
        viewer: u32,
        avatar: Avatar,
        zone: u32,
        last: Option<u16>,
    ) -> Result<Option<Instant>, Failure> {
        let wrong =
            |what: &str| Failure::new(format!("client {viewer} was told that {avatar} enters zone {zone}, {what}"));
        let life = self.life(avatar).ok_or_else(|| wrong("who never was"))?;
        ensure(self.avatar_of(viewer) != Some(avatar), || wrong("its own").to_string())?;
        let next = life.after(last).ok_or_else(|| wrong("with an update that was never sent"))?;
        let stay = life.stay_with(zone, next).ok_or_else(|| wrong("where it was not at that time"))?;
        let seen =
            Seen { zone, stay, next, chat_from: life.first_chat(stay, next), chat_owed: life.chats.len() as u32 };
        let due = life.stays[stay as usize].due;
        let state = &mut self.people[viewer as usize].viewer;
        ensure(state.covers(zone), || wrong("which it does not look at").to_string())?;
        ensure(!state.seen.contains_key(&avatar), || wrong("whom it sees already").to_string())?;
        ensure(state.gone.get(&avatar).is_none_or(|&gone| gone < stay), || wrong("after it had left").to_string())?;
        let owed = state.pay(avatar, stay).ok_or_else(|| wrong("and not that it had been there before"))?;
        state.seen.insert(avatar, seen);
        Ok(owed.then_some(due))
    }

    /// A viewer is told that an avatar leaves. When that was due, if the viewer itself stays.
    pub(super) fn left(&mut self, viewer: u32, avatar: Avatar) -> Result<Option<Instant>, Failure> {
        let wrong = |what: String| Failure::new(format!("client {viewer} was told that {avatar} leaves, {what}"));
        let state = &mut self.people[viewer as usize].viewer;
        let seen = state.seen.remove(&avatar).ok_or_else(|| wrong("whom it did not see".to_owned()))?;
        state.gone.insert(avatar, seen.stay);
        if state.is_leaving(seen.zone) {
            // Its own doing; what it misses from now on is not for it any more.
            return Ok(None);
        }
        let life = self.life(avatar).ok_or_else(|| wrong("who never was".to_owned()))?;
        let (updates, chats) = life.until(seen.stay);
        let (due, is_whole) = match (life.stays.get(seen.stay as usize + 1), life.end) {
            (Some(next), _) => (next.due, true),
            (None, Some((how, due))) => (due, how == Drop::Polite),
            (None, None) => return Err(wrong("who is still there".to_owned())),
        };
        ensure(!is_whole || (seen.next == updates && seen.chat_owed >= chats), || {
            let Seen { next, chat_owed, .. } = seen;
            wrong(format!("and had {next} of {updates} updates and {chat_owed} of {chats} words of it")).to_string()
        })?;
        Ok(Some(due))
    }

    /// What a viewer has seen of an avatar that is in its view.
    fn seen_by(&self, viewer: u32, avatar: Avatar) -> Option<Seen> {
        self.people[viewer as usize].viewer.seen.get(&avatar).copied()
    }

    /// A viewer gets an update.
    pub(super) fn updated(&mut self, viewer: u32, avatar: Avatar, number: u16) -> Result<(), Failure> {
        let wrong = |what: String| Failure::new(format!("client {viewer} got update {number} of {avatar}{what}"));
        // Two people at once: the viewer's table is taken by itself.
        let mut seen = self.seen_by(viewer, avatar).ok_or_else(|| wrong(", whom it does not see".to_owned()))?;
        let life = self.life(avatar).ok_or_else(|| wrong(", who never was".to_owned()))?;
        ensure(seen.next as u16 == number, || wrong(format!(" where {} was awaited", seen.next as u16)).to_string())?;
        let (until, _) = life.until(seen.stay);
        ensure(seen.next < until, || wrong(", who has moved on or never sent it".to_owned()).to_string())?;
        let said = life.chats.get(seen.chat_owed as usize).is_none_or(|&behind| behind > seen.next);
        ensure(said, || wrong(format!(" and not what was said before, number {}", seen.chat_owed)).to_string())?;
        seen.next += 1;
        self.people[viewer as usize].viewer.seen.insert(avatar, seen);
        Ok(())
    }

    /// A viewer hears what somebody says.
    pub(super) fn said(&mut self, viewer: u32, avatar: Avatar, number: u16) -> Result<(), Failure> {
        let wrong = |what: String| Failure::new(format!("client {viewer} heard {avatar} say number {number}{what}"));
        let mut seen = self.seen_by(viewer, avatar).ok_or_else(|| wrong(", whom it does not see".to_owned()))?;
        let life = self.life(avatar).ok_or_else(|| wrong(", who never was".to_owned()))?;
        let chat = life.chat(number).ok_or_else(|| wrong(", which was never said".to_owned()))?;
        let (_, until) = life.until(seen.stay);
        ensure((seen.chat_from..=seen.chat_owed.max(seen.chat_from)).contains(&chat) && chat < until, || {
            wrong(format!(" where {} to {} was awaited", seen.chat_from, seen.chat_owed)).to_string()
        })?;
        let behind = life.chats[chat as usize];
        ensure(behind == seen.next, || {
            wrong(format!(" after {} updates; it was said after {behind}", seen.next)).to_string()
        })?;
        (seen.chat_from, seen.chat_owed) = (chat + 1, chat + 1);
        self.people[viewer as usize].viewer.seen.insert(avatar, seen);
        Ok(())
    }

    /// Whether everybody sees everybody who is there, and has all that they have sent. `None` when it is so; else what is
    /// missing. Cheap while the same is missing as the last time.
    pub(super) fn missing(&mut self) -> Option<String> {
        let count = self.people.len();
        for step in 0..count {
            let viewer = (self.looked + step) % count;
            if let Some(missing) = self.missing_of(viewer as u32) {
                self.looked = viewer;
                return Some(missing);
            }
        }
        None
    }

    fn missing_of(&self, client: u32) -> Option<String> {
        let person = &self.people[client as usize];
        let Some(zone) = self.zone_of(client) else { return Some(format!("client {client} has no avatar")) };
        let viewer = &person.viewer;
        if viewer.settled != Some(zone) {
            return Some(format!("client {client} is on its way to zone {zone}"));
        }
        if let Some((avatar, _)) = viewer.owed.first() {
            return Some(format!("client {client} has not been told of {avatar}, who came to zone {zone}"));
        }
        for &other in self.members[zone as usize].iter().filter(|&&other| other != client) {
            let avatar = self.avatar_of(other)?;
            let life = self.life(avatar)?;
            let Some(seen) = viewer.seen.get(&avatar) else {
                return Some(format!("client {client} does not see {avatar} in zone {zone}"));
            };
            let (updates, chats) = (life.updates, life.chats.len() as u32);
            if seen.stay != life.stay() || seen.next != updates || seen.chat_owed != chats {
                let Seen { next, chat_owed, .. } = seen;
                return Some(format!(
                    "client {client} has {next} of {updates} updates and {chat_owed} of {chats} words of {avatar}"
                ));
            }
        }
        let others = self.members[zone as usize].len() - 1;
        (viewer.seen.len() != others)
            .then(|| format!("client {client} sees {} in zone {zone}, where {others} others are", viewer.seen.len()))
    }
}
