//! One avatar from its creation to its end: where it was when, and what it sent there.

use super::Drop;
use std::fmt;
use std::time::Instant;

/// Lives are that far apart in the numbers of avatars.
const CLIENTS: u32 = 1 << 16;

/// An avatar by its number: a client, and the how many-eth of its avatars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::players) struct Avatar(u32);

impl Avatar {
    /// So many of a client have different numbers.
    pub(super) const LIVES: u32 = 1000;

    pub(super) fn new(client: u32, life: usize) -> Self {
        Self(life as u32 * CLIENTS + client)
    }

    /// Its distance from the first avatar's doid.
    pub(in crate::players) const fn offset(self) -> u32 {
        self.0
    }

    /// The avatar with this distance from the first one's doid.
    pub(in crate::players) fn at(offset: u32) -> Option<Self> {
        (offset < Self::LIVES * CLIENTS).then_some(Self(offset))
    }

    pub(in crate::players) const fn client(self) -> u32 {
        self.0 % CLIENTS
    }

    pub(super) const fn life(self) -> usize {
        (self.0 / CLIENTS) as usize
    }
}

impl fmt::Display for Avatar {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "avatar {} of client {}", self.life() + 1, self.client())
    }
}

/// A time in one zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stay {
    zone: u32,
    /// How many updates, and how much chat, had been sent when it began.
    updates: u32,
    chats: u32,
    /// When it was to begin.
    pub(super) due: Instant,
}

#[derive(Debug)]
pub(super) struct Life {
    /// One at least; no two in a row have the same zone, and each but the first begins with an update.
    pub(super) stays: Vec<Stay>,
    /// How many were sent; the first has number 0.
    pub(super) updates: u32,
    /// For each thing said: how many updates had been sent before it.
    pub(super) chats: Vec<u32>,
    /// How its connection ended, and when that was due.
    pub(super) end: Option<(Drop, Instant)>,
}

impl Life {
    pub(super) fn new(zone: u32, due: Instant) -> Self {
        let first = Stay { zone, updates: 0, chats: 0, due };
        Self { stays: vec![first], updates: 0, chats: Vec::new(), end: None }
    }

    pub(super) fn begin_stay(&mut self, zone: u32, due: Instant) {
        self.stays.push(Stay { zone, updates: self.updates, chats: self.chats.len() as u32, due });
    }

    pub(super) fn zone(&self) -> u32 {
        self.stays[self.stays.len() - 1].zone
    }

    /// The number of the present stay.
    pub(super) fn stay(&self) -> u32 {
        (self.stays.len() - 1) as u32
    }

    /// How many updates and how much chat had been sent when a stay ended, or so far.
    pub(super) fn until(&self, stay: u32) -> (u32, u32) {
        let next = self.stays.get(stay as usize + 1);
        next.map_or((self.updates, self.chats.len() as u32), |next| (next.updates, next.chats))
    }

    /// The number behind the last one that an entry shows; none if that was never sent. Numbers on the wire have 16 bits:
    /// the latest that it can be is meant.
    pub(super) fn after(&self, last: Option<u16>) -> Option<u32> {
        match last {
            None => Some(0),
            Some(number) => latest(self.updates, number).map(|number| number + 1),
        }
    }

    /// A thing said, by its number on the wire.
    pub(super) fn chat(&self, number: u16) -> Option<u32> {
        latest(self.chats.len() as u32, number)
    }

    /// The stay in a zone in which `next` was the next update: one at most, as each begins with an update.
    pub(super) fn stay_with(&self, zone: u32, next: u32) -> Option<u32> {
        let is_it = |&stay: &u32| {
            let Stay { zone: there, updates, .. } = self.stays[stay as usize];
            there == zone && (updates..=self.until(stay).0).contains(&next)
        };
        (0..self.stays.len() as u32).rev().find(is_it)
    }

    /// The first thing that may have been said in a stay after the update before `next`.
    pub(super) fn first_chat(&self, stay: u32, next: u32) -> u32 {
        let first = self.chats.partition_point(|&behind| behind < next) as u32;
        first.max(self.stays[stay as usize].chats)
    }
}

/// Of `count` things that were numbered from 0 on, the last whose number ends in these 16 bits.
fn latest(count: u32, number: u16) -> Option<u32> {
    let last = count.checked_sub(1)?;
    last.checked_sub(u32::from((last as u16).wrapping_sub(number)))
}
