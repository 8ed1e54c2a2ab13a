//! Whole daemons under the simulator: random but valid play, drawn from a seed, against a plain model of what must be seen
//! (guarantees G1, G3, G4, G5, G6, G9 of the design).
//!
//! One AI creates, moves, changes and deletes objects; clients open, alter and close interests meanwhile. Whatever the
//! interleaving of executors, rings and bytes: nobody hears of an object that it was not told of, no entry or leaving
//! comes twice, values of an object arrive in order, and at rest every client sees exactly what lies in its interests,
//! with its last value.

#[path = "simulation/stage.rs"]
mod stage;

use bytes::Bytes;
use donet::admin::{Answer, Inspection, Question};
use donet::daemon::{Daemon, External, LINK_ACCEPTOR, LINK_LISTENER, client_listener};
use donet::state_server::FanOutLimits;
use donet::wire::{Datagram, Encoder, MessageType, Reader, message_type as t, next_frame};
use donet_shards::sim::{Peer, Random, Shape, World};
use donet_shards::{ShardId, shard_of};
use stage::Stage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

const CONTRACT: &str = "dclass Thing { setValue(uint32 value) required broadcast ram; };";
const CONTROL_CHANNEL: u64 = 102_000;
const FIRST_SESSION: u64 = 1_000_000;
const AI: u64 = 500_000;
const PARENTS: [u32; 2] = [20_000, 20_001];
const ZONES: u32 = 4;
const VALUE: u16 = 0;
const CLASS: u16 = 0;

/// What a client has been told.
#[derive(Default)]
struct View {
    unread: Vec<u8>,
    /// Parent, zone and last value of what it sees.
    visible: BTreeMap<u32, (u32, u32, u32)>,
    done: BTreeSet<u32>,
}

struct Client {
    peer: Peer,
    view: View,
    /// By interest id.
    interests: BTreeMap<u16, (u32, BTreeSet<u32>)>,
    next_context: u32,
    asked: BTreeSet<u32>,
}

#[derive(Clone, Copy)]
struct Thing {
    parent: u32,
    zone: u32,
    value: u32,
}

struct Play {
    seed: u64,
    world: World<Daemon>,
    random: Random,
    ai: Peer,
    clients: Vec<Client>,
    things: BTreeMap<u32, Thing>,
    next_doid: u32,
}

fn frame(encoder: Encoder) -> Bytes {
    encoder.finish().expect("small")
}

impl Play {
    fn new(seed: u64, shards: usize, batches: usize) -> Self {
        let stage = Stage::whole(CONTRACT, "interest_timeout_ms = 60000\n");
        let (hash, home) = (stage.hash(), stage.home(shards));
        let mut world = stage.world(seed, Shape::new(shards, batches));
        let ai = world.connect(LINK_ACCEPTOR, LINK_LISTENER);
        let clients = (0..3).map(|_| Client {
            peer: world.connect(home, client_listener(0)),
            view: View::default(),
            interests: BTreeMap::new(),
            next_context: 0,
            asked: BTreeSet::new(),
        });
        let clients: Vec<Client> = clients.collect();
        let mut play = Self {
            seed,
            world,
            random: Random::new(seed ^ 0x5eed),
            ai,
            clients,
            things: BTreeMap::new(),
            next_doid: 30_000,
        };
        play.world.run();
        play.world.send(ai, &frame(Encoder::control(t::CONTROL_ADD_CHANNEL).channel(AI)));
        for client in &play.clients {
            play.world.send(client.peer, &frame(Encoder::client(t::CLIENT_HELLO).u32(hash).blob(b"sim")));
        }
        play.world.run();
        for number in 0..play.clients.len() as u64 {
            let established = Encoder::internal(&[FIRST_SESSION + number], AI, t::CLIENTAGENT_SET_STATE).u16(2);
            play.world.send(ai, &frame(established));
        }
        for parent in PARENTS {
            play.create(parent, 0, 0, 0);
        }
        play.world.run();
        play
    }

    fn create(&mut self, doid: u32, parent: u32, zone: u32, value: u32) {
        let create = Encoder::internal(&[CONTROL_CHANNEL], AI, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED)
            .doid(doid)
            .doid(parent)
            .zone(zone)
            .u16(CLASS)
            .u32(value);
        self.world.send(self.ai, &frame(create));
    }

    fn random_thing(&mut self) -> Option<u32> {
        if self.things.is_empty() {
            return None;
        }
        let index = self.random.below(self.things.len());
        self.things.keys().nth(index).copied()
    }

    /// One random act of the AI or of a client. Several go out before the world moves: bursts are the interesting case.
    fn act(&mut self) {
        match self.random.below(10) {
            0 | 1 => {
                let (parent, zone) = self.random_place();
                let doid = self.next_doid;
                self.next_doid += 1;
                self.create(doid, parent, zone, 0);
                self.things.insert(doid, Thing { parent, zone, value: 0 });
                self.set_value(doid); // In the same burst: it must find the object.
            }
            2..=4 => {
                if let Some(doid) = self.random_thing() {
                    self.set_value(doid);
                }
            }
            5 | 6 => {
                if let Some(doid) = self.random_thing() {
                    let (parent, zone) = self.random_place();
                    let moved = Encoder::internal(&[doid.into()], AI, t::STATESERVER_OBJECT_SET_LOCATION);
                    self.world.send(self.ai, &frame(moved.doid(parent).zone(zone)));
                    let thing = self.things.get_mut(&doid).expect("drawn from them");
                    (thing.parent, thing.zone) = (parent, zone);
                }
            }
            7 => {
                if let Some(doid) = self.random_thing() {
                    let delete = Encoder::internal(&[doid.into()], AI, t::STATESERVER_OBJECT_DELETE_RAM).doid(doid);
                    self.world.send(self.ai, &frame(delete));
                    self.things.remove(&doid);
                }
            }
            _ => self.change_interest(),
        }
    }

    fn random_place(&mut self) -> (u32, u32) {
        (PARENTS[self.random.below(PARENTS.len())], self.random.below(ZONES as usize) as u32)
    }

    fn set_value(&mut self, doid: u32) {
        let thing = self.things.get_mut(&doid).expect("only of existing things");
        thing.value += 1;
        let update = Encoder::internal(&[doid.into()], AI, t::STATESERVER_OBJECT_SET_FIELD)
            .doid(doid)
            .u16(VALUE)
            .u32(thing.value);
        self.world.send(self.ai, &frame(update));
    }

    fn change_interest(&mut self) {
        let who = self.random.below(self.clients.len());
        let id = self.random.below(2) as u16;
        let (parent, zone) = self.random_place();
        let other_zone = self.random.below(ZONES as usize) as u32;
        let close = self.random.below(3) == 0;
        let client = &mut self.clients[who];
        client.next_context += 1;
        let context = client.next_context;
        let message = if close {
            if client.interests.remove(&id).is_none() {
                return;
            }
            Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(context).u16(id)
        } else {
            let zones: BTreeSet<u32> = [zone, other_zone].into();
            let mut message = Encoder::client(t::CLIENT_ADD_INTEREST_MULTIPLE)
                .u32(context)
                .u16(id)
                .doid(parent)
                .u16(zones.len() as u16);
            for &zone in &zones {
                message = message.zone(zone);
            }
            client.interests.insert(id, (parent, zones));
            message
        };
        client.asked.insert(context);
        self.world.send(client.peer, &frame(message));
    }

    /// Reads what every client was sent, and checks each message against what it had been told before.
    fn check_messages(&mut self) {
        for number in 0..self.clients.len() {
            let bytes = self.world.received(self.clients[number].peer);
            let view = &mut self.clients[number].view;
            view.unread.extend(bytes);
            let unread = std::mem::take(&mut view.unread);
            let mut rest = &unread[..];
            while let Some((body, length)) = next_frame(rest) {
                view.read(body).unwrap_or_else(|error| panic!("seed {}, client {number}: {error}", self.seed));
                rest = &rest[length..];
            }
            view.unread = rest.to_vec();
        }
    }

    /// At rest: what a client sees is what lies in its interests.
    fn check_at_rest(&mut self) {
        self.world.run();
        self.check_messages();
        for (number, client) in self.clients.iter().enumerate() {
            let place = format!("seed {}, client {number}", self.seed);
            assert!(!self.world.is_closed(client.peer), "{place} was ejected");
            let expected: BTreeMap<u32, (u32, u32, u32)> = self
                .things
                .iter()
                .filter(|(_, thing)| {
                    client
                        .interests
                        .values()
                        .any(|(parent, zones)| *parent == thing.parent && zones.contains(&thing.zone))
                })
                .map(|(&doid, thing)| (doid, (thing.parent, thing.zone, thing.value)))
                .collect();
            assert_eq!(client.view.visible, expected, "{place}");
            assert_eq!(client.view.done, client.asked, "{place}: every interest is done, once");
        }
    }
}

impl View {
    fn read(&mut self, body: &[u8]) -> Result<(), String> {
        let mut reader = Reader::new(body);
        let short = |error: donet::wire::Truncated| error.to_string();
        let message_type = donet::wire::MessageType(reader.u16().map_err(short)?);
        match message_type {
            t::CLIENT_HELLO_RESP => {}
            t::CLIENT_ENTER_OBJECT_REQUIRED => {
                let doid = reader.doid().map_err(short)?;
                let (parent, zone) = (reader.doid().map_err(short)?, reader.zone().map_err(short)?);
                reader.u16().map_err(short)?;
                let value = reader.u32().map_err(short)?;
                if self.visible.insert(doid, (parent, zone, value)).is_some() {
                    return Err(format!("{doid} entered twice"));
                }
            }
            t::CLIENT_OBJECT_LEAVING => {
                let doid = reader.doid().map_err(short)?;
                self.visible.remove(&doid).ok_or(format!("{doid} left without having entered"))?;
            }
            t::CLIENT_OBJECT_LOCATION => {
                let doid = reader.doid().map_err(short)?;
                let entry = self.visible.get_mut(&doid).ok_or(format!("{doid} moved without having entered"))?;
                (entry.0, entry.1) = (reader.doid().map_err(short)?, reader.zone().map_err(short)?);
            }
            t::CLIENT_OBJECT_SET_FIELD => {
                let doid = reader.doid().map_err(short)?;
                reader.u16().map_err(short)?;
                let value = reader.u32().map_err(short)?;
                let entry = self.visible.get_mut(&doid).ok_or(format!("{doid} updated without having entered"))?;
                if value != entry.2 + 1 {
                    return Err(format!("{doid} went from {} to {value}", entry.2));
                }
                entry.2 = value;
            }
            t::CLIENT_DONE_INTEREST_RESP => {
                let context = reader.u32().map_err(short)?;
                if !self.done.insert(context) {
                    return Err(format!("interest {context} done twice"));
                }
            }
            other => return Err(format!("unexpected {other}")),
        }
        Ok(())
    }
}

fn play(seed: u64, shards: usize, batches: usize) {
    let mut play = Play::new(seed, shards, batches);
    for round in 0..60 {
        for _ in 0..1 + play.random.below(6) {
            play.act();
        }
        if play.random.below(3) == 0 {
            play.world.run();
        }
        play.check_messages();
        if round % 15 == 14 {
            play.check_at_rest();
        }
    }
}

/// O-8, O-10: a parent, its AI and its child in one burst. The child asks its parent for the AI on the way of the mesh, and
/// must find parent and AI there, on whatever executors the three are.
#[test]
fn a_child_created_right_behind_its_parent_inherits_the_ai() {
    for seed in 300..420 {
        let shards = 2 + (seed % 3) as usize;
        let mut play = Play::new(seed, shards, 1 + (seed % 2) as usize);
        let mut expected = BTreeSet::new();
        for family in 0..12 {
            let (parent, child) = (40_000 + family, 50_000 + family);
            play.create(parent, 0, 0, 1);
            let set_ai = Encoder::internal(&[parent.into()], AI, t::STATESERVER_OBJECT_SET_AI).channel(AI);
            play.world.send(play.ai, &frame(set_ai));
            play.create(child, parent, 7, 1);
            expected.extend([parent, child]);
        }
        play.world.run();
        let bytes = play.world.received(play.ai);
        let mut rest = &bytes[..];
        let mut entered = Vec::new();
        while let Some((body, length)) = next_frame(rest) {
            let datagram = donet::wire::Datagram::from_body(body).expect("the daemon's own");
            let (_, message_type, mut payload) = datagram.message().expect("whole");
            if message_type == t::STATESERVER_OBJECT_ENTER_AI_WITH_REQUIRED {
                entered.push(payload.doid().expect("whole"));
            }
            rest = &rest[length..];
        }
        assert_eq!(entered.len(), expected.len(), "seed {seed}: each once");
        assert_eq!(BTreeSet::from_iter(entered), expected, "seed {seed}");
    }
}

/// CA-11, CA-12 in one burst: what is sent to a channel right behind the message that made a session open it arrives, and so
/// does what others send there in consequence.
#[test]
fn what_follows_an_opened_channel_reaches_the_session() {
    for seed in 500..560 {
        for shards in [1, 2, 4] {
            let mut play = Play::new(seed, shards, 2);
            let opened = [(t::CLIENTAGENT_SET_CLIENT_ID, 880_001), (t::CLIENTAGENT_OPEN_CHANNEL, 7 << 40)];
            for (number, (message_type, channel)) in opened.into_iter().enumerate() {
                let note = frame(Encoder::client(t::CLIENT_DONE_INTEREST_RESP).u32(number as u32).u16(0));
                let open = Encoder::internal(&[FIRST_SESSION], AI, message_type).channel(channel);
                let send = Encoder::internal(&[channel], AI, t::CLIENTAGENT_SEND_DATAGRAM).blob(&note[2..]);
                play.world.send(play.ai, &frame(open));
                play.world.send(play.ai, &frame(send));
            }
            // The object answers on the channel that the session has just been given.
            let owner = 880_002;
            let open = Encoder::internal(&[FIRST_SESSION], AI, t::CLIENTAGENT_SET_CLIENT_ID).channel(owner);
            let own = Encoder::internal(&[PARENTS[0].into()], AI, t::STATESERVER_OBJECT_SET_OWNER).channel(owner);
            play.world.send(play.ai, &frame(open));
            play.world.send(play.ai, &frame(own));
            play.world.run();
            let bytes: Vec<Vec<u8>> = play.clients.iter().map(|client| play.world.received(client.peer)).collect();
            let told: Vec<u16> = bytes.iter().flat_map(|bytes| message_types(bytes)).collect();
            let count = |wanted: donet::wire::MessageType| told.iter().filter(|&&number| number == wanted.0).count();
            assert_eq!(count(t::CLIENT_DONE_INTEREST_RESP), 2, "seed {seed}, {shards} executors");
            assert_eq!(count(t::CLIENT_ENTER_OBJECT_REQUIRED_OWNER), 1, "seed {seed}, {shards} executors");
        }
    }
}

/// The same where the session hears it by another channel than its own: what an object is told right behind it on the one
/// executor does not overtake it, and a doid's executor, which alone knows who has subscribed there, is waited for.
#[test]
fn what_follows_a_channel_opened_by_way_of_another_reaches_the_session() {
    for seed in 600..660 {
        for shards in [1, 2, 4] {
            let mut play = Play::new(seed, shards, 2);
            let account = 7 << 40;
            let open = |to: u64, channel: u64| {
                frame(Encoder::internal(&[to], AI, t::CLIENTAGENT_OPEN_CHANNEL).channel(channel))
            };
            let become_owner =
                |to: u64, owner: u64| frame(Encoder::internal(&[to], AI, t::CLIENTAGENT_SET_CLIENT_ID).channel(owner));
            // A doid that nobody has, on the executor of each session.
            let sessions = (0..play.clients.len() as u64).map(|number| FIRST_SESSION + number);
            let doids: Vec<u64> = sessions
                .map(|session| {
                    let is_there = |doid: &u64| shard_of(*doid, shards) == shard_of(session, shards);
                    let doid = (60_000 + session % 1000 * 1000..).find(is_there).expect("some");
                    play.world.send(play.ai, &open(session, doid));
                    doid
                })
                .collect();
            play.world.send(play.ai, &open(FIRST_SESSION, account));
            play.world.run();
            // No doid: nothing is found there but subscribers.
            let owner = 10 << 40;
            let own = Encoder::internal(&[PARENTS[0].into()], AI, t::STATESERVER_OBJECT_SET_OWNER).channel(owner);
            for message in [open(account, 8 << 40), become_owner(account, owner), frame(own)] {
                play.world.send(play.ai, &message);
            }
            for (&doid, channel) in doids.iter().zip(9_u64 << 40..) {
                let note = frame(Encoder::client(t::CLIENT_DONE_INTEREST_RESP).u32(1).u16(0));
                let send = Encoder::internal(&[channel], AI, t::CLIENTAGENT_SEND_DATAGRAM).blob(&note[2..]);
                play.world.send(play.ai, &open(doid, channel));
                play.world.send(play.ai, &frame(send));
            }
            play.world.run();
            let bytes: Vec<Vec<u8>> = play.clients.iter().map(|client| play.world.received(client.peer)).collect();
            let told: Vec<u16> = bytes.iter().flat_map(|bytes| message_types(bytes)).collect();
            let count = |wanted: MessageType| told.iter().filter(|&&number| number == wanted.0).count();
            assert_eq!(count(t::CLIENT_DONE_INTEREST_RESP), doids.len(), "seed {seed}, {shards} executors");
            assert_eq!(count(t::CLIENT_ENTER_OBJECT_REQUIRED_OWNER), 1, "seed {seed}, {shards} executors");
        }
    }
}

fn message_types(mut bytes: &[u8]) -> Vec<u16> {
    let mut types = Vec::new();
    while let Some((body, length)) = next_frame(bytes) {
        types.push(Reader::new(body).u16().expect("whole"));
        bytes = &bytes[length..];
    }
    types
}

#[test]
fn one_executor() {
    for seed in 0..40 {
        play(seed, 1, 1);
    }
}

#[test]
fn two_executors() {
    for seed in 100..160 {
        play(seed, 2, 1 + (seed % 3) as usize);
    }
}

#[test]
fn four_executors_with_rings_of_one_to_three_batches() {
    for seed in 200..280 {
        play(seed, 4, 1 + (seed % 3) as usize);
    }
}

/// While an executor is behind, what is for many objects waits: it would only stand in the rings before whatever others
/// wait for there. Executors of a simulated world are slow for a while, at random.
#[test]
fn a_long_deletion_does_not_fill_the_ring_of_an_executor_that_is_behind() {
    const CHILDREN: u32 = 3000;
    let limits = FanOutLimits { slice_objects: 16, round_objects: 16, ..FanOutLimits::default() };
    let mut deepest = 0;
    for seed in 0..4 {
        let mut world =
            Stage::whole(CONTRACT, "interest_timeout_ms = 60000\n").sliced(limits).world(seed, Shape::new(4, 64));
        let ai = world.connect(LINK_ACCEPTOR, LINK_LISTENER);
        world.send(ai, &frame(Encoder::control(t::CONTROL_ADD_CHANNEL).channel(AI)));
        let create = |doid: u32, parent: u32| {
            let create = Encoder::internal(&[CONTROL_CHANNEL], AI, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED);
            frame(create.doid(doid).doid(parent).zone(doid % 10).u16(CLASS).u32(0))
        };
        world.send(ai, &create(PARENTS[0], 0));
        let set_ai = Encoder::internal(&[PARENTS[0].into()], AI, t::STATESERVER_OBJECT_SET_AI);
        world.send(ai, &frame(set_ai.channel(AI)));
        for child in 0..CHILDREN {
            world.send(ai, &create(100_000 + child, PARENTS[0]));
        }
        let now_us = world.now_us();
        world.run_until(now_us + 1_000_000);
        world.received(ai);
        let end = Encoder::internal(&[PARENTS[0].into()], AI, t::STATESERVER_OBJECT_DELETE_CHILDREN);
        world.send(ai, &frame(end.doid(PARENTS[0])));
        deepest = deepest.max(deepest_ring(&mut world));
        let ended = count(&world.received(ai), t::STATESERVER_OBJECT_DELETE_RAM);
        assert_eq!(ended, CHILDREN as usize, "seed {seed}");
    }
    println!("at most {deepest} batches in a ring");
    assert!(deepest <= 12, "{deepest} batches in a ring");
}

/// Runs to the end, and looks again and again how many batches wait in the fullest ring.
fn deepest_ring(world: &mut World<Daemon>) -> u64 {
    let (send, answers) = mpsc::channel();
    let mut deepest = 0;
    // Executors answer in a turn of theirs, so that there is always something to do: a rest is that nothing else is.
    for _ in 0..4000 {
        for shard in 0..4 {
            let send = send.clone();
            let reply = Box::new(move |answer| send.send(answer).expect("it is awaited"));
            world.inject(ShardId(shard), External::Inspect(Inspection { question: Question::Figures, reply }));
        }
        world.advance(100);
        let figures = answers.try_iter().filter_map(|answer| match answer {
            Answer::Figures(figures) => Some(figures.queues.ring_batches_max),
            _ => None,
        });
        deepest = deepest.max(figures.max().unwrap_or(0));
    }
    let now_us = world.now_us();
    world.run_until(now_us + 1_000_000);
    deepest
}

fn count(bytes: &[u8], message_type: MessageType) -> usize {
    let (mut used, mut found) = (0, 0);
    while let Some((body, length)) = next_frame(&bytes[used..]) {
        let datagram = Datagram::from_body(body).expect("a datagram");
        found += usize::from(datagram.message().is_ok_and(|(_, other, _)| other == message_type));
        used += length;
    }
    found
}
