//! Who takes part in a play, and what the model knows of objects and of who hears of them.

use crate::simulation::contract::{self, Value};
use crate::simulation::view::{Place, View};
use crate::simulation::wire::{Answer, bodies};
use donet::daemon::Daemon;
use donet::wire::{Channel, Doid, MessageType, Zone};
use donet_shards::sim::{Peer, World};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Keepers create objects and write what is not the clients'.
pub const KEEPERS: usize = 3;
pub const LINKS_MAX: usize = 9;
/// The keeper that hears of the ends of clients.
pub const FAREWELL_KEEPER: usize = 0;
/// What may wait for a client that does not read: what nobody reaches, or some messages.
pub const LARGE_BUDGET: usize = 256 << 10;
pub const SMALL_BUDGET: usize = 100;
pub const KEEPER_CHANNEL: Channel = 500_000;
/// AIs: those of many objects first, then those that a single object is given, and whoever inherits them; each once.
pub const AI_CHANNELS: Channel = 10_000_000;
pub const AI_CHANNELS_END: Channel = AI_CHANNELS + 100_000;
pub const SINGLE_AIS: Channel = AI_CHANNELS + 100;
/// AIs of many objects: one for each keeper, and behind them one that whole families are given to.
pub const CREWS: Channel = AI_CHANNELS;
pub const PRESS: Channel = CREWS + KEEPERS as Channel;
pub const FAREWELLS: Channel = 910_000;
pub const FAREWELL: MessageType = MessageType(60_001);
pub const BUS_CHANNELS: Channel = 900_000;
/// Every link has this one.
pub const HALL: Channel = BUS_CHANNELS + 30;
/// Parents that never move or end.
pub const ROOTS: [Doid; 2] = [20_000, 20_001];
/// Parents that are moved between zones of the roots, with their children.
pub const WANDERERS: [Doid; 2] = [20_002, 20_003];
/// Parents that are moved and end like other objects.
pub const GROVES: Range<Doid> = 21_000..22_000;
/// Objects that are too large to be shown.
pub const GIANTS: Range<Doid> = 22_000..23_000;
/// Anything else that keepers make.
pub const ORDINARY: Range<Doid> = 30_000..60_000;
/// No object.
pub const NOBODY: Doid = 77_777;
pub const ZONES: usize = 4;
/// Where session objects are; no client looks there.
pub const BACKSTAGE: Place = (ROOTS[1], 99);
/// Interests that the AI opens for clients.
pub const SERVER_INTEREST: u16 = 100;

/// The secret that objects are created with.
pub const SECRET: u16 = 7;

/// A live object.
#[derive(Clone, Debug)]
pub struct Thing {
    pub place: Place,
    pub value: u32,
    pub secret: u16,
    /// The State Server that has it.
    pub server: usize,
    /// What its keeper has set of [`contract::KEPT`].
    pub set: BTreeMap<u16, Value>,
    pub keeper: usize,
    /// Set explicitly; otherwise the parent's.
    pub ai: Option<Channel>,
    pub owner: Channel,
    /// Since the last rest.
    pub owner_changed: bool,
    /// By its owner, since the last rest.
    pub used: bool,
    /// At the last rest it was there.
    pub is_settled: bool,
    /// Somebody else than its keeper relies on it until the next rest.
    pub is_pinned: bool,
    pub is_session_object: bool,
}

impl Default for Thing {
    fn default() -> Self {
        Self {
            place: (0, 0),
            value: 0,
            secret: SECRET,
            server: 0,
            set: BTreeMap::new(),
            keeper: 0,
            ai: None,
            owner: 0,
            owner_changed: false,
            used: false,
            is_settled: false,
            is_pinned: false,
            is_session_object: false,
        }
    }
}

/// What the recorder, who covers every location, has heard of an object.
#[derive(Debug, Default)]
pub struct Record {
    pub place: Place,
    pub value: u32,
    pub history: Vec<(u16, Value)>,
    /// It has ended; another one of its doid may come.
    pub is_over: bool,
    /// The histories of those that had its doid before.
    pub former: Vec<Vec<(u16, Value)>>,
}

impl Record {
    /// The last value of each field that is set.
    pub fn set_fields(&self) -> BTreeMap<u16, Value> {
        let mut set: BTreeMap<u16, Value> = self.history.iter().copied().collect();
        set.retain(|field, value| *value != contract::UNSET && *field != contract::PING);
        set
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// HELLO is sent.
    Greeting,
    Established,
    /// Sends no heartbeats any more.
    Silent,
    /// Does not read either, since so long.
    Stuck {
        rounds: u32,
    },
    Gone,
}

impl Phase {
    /// Whether there is a message for its end.
    pub fn has_farewell(self) -> bool {
        matches!(self, Self::Established | Self::Silent | Self::Stuck { .. })
    }
}

pub struct Client {
    pub peer: Peer,
    /// The daemon that it is connected to.
    pub node: usize,
    pub channel: Channel,
    pub stage: Phase,
    pub unread: Vec<u8>,
    pub view: View,
    pub interests: BTreeMap<u16, (Doid, BTreeSet<Zone>)>,
    pub next_context: u32,
    pub asked: BTreeSet<u32>,
    pub written: u32,
}

pub struct Link {
    pub peer: Peer,
    /// The daemon that it is connected to.
    pub node: usize,
    /// What it has sent, in bytes.
    pub sent_bytes: usize,
    pub unread: Vec<u8>,
    /// Answers to queries, until they are looked at.
    pub answers: Vec<Vec<u8>>,
    /// The answers that must have come by the next rest, to what was asked since the last.
    pub expected: Vec<Answer>,
}

impl Link {
    pub fn new(node: usize, peer: Peer) -> Self {
        Self { peer, node, sent_bytes: 0, unread: Vec::new(), answers: Vec::new(), expected: Vec::new() }
    }

    pub fn bodies(&mut self, world: &mut World<Daemon>) -> Vec<Vec<u8>> {
        self.unread.extend(world.received(self.peer));
        bodies(&mut self.unread)
    }
}
