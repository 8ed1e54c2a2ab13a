//! A role that keeps in memory what was read answers as one that asks its engine for everything.

use super::tests_world::*;
use super::{DatabaseRequest, engine::MemoryStorage};
use crate::config;
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, MessageType};
use donet_shards::ShardId;
use donet_shards::sim::Random;
use std::collections::{BTreeMap, VecDeque};

/// A role, its database, and what waits for it, each with the number of its message.
struct Side {
    world: World,
    waiting: VecDeque<(u32, DatabaseRequest)>,
    /// What each requester was answered, in order.
    replies: BTreeMap<Channel, Vec<(MessageType, Vec<u8>)>>,
    broadcasts: Vec<Sent>,
}

impl Side {
    fn new(cache_bytes: usize) -> Self {
        let settings = config::DatabaseServer { cache_bytes, ..settings(FIRST..=FIRST + 4) };
        let world = World::with(settings, MemoryStorage::default(), CONTRACT);
        world.storage.state().brings_back = true;
        Self { world, waiting: VecDeque::new(), replies: BTreeMap::new(), broadcasts: Vec::new() }
    }

    fn message(&mut self, number: u32, requester: Channel, message_type: MessageType, payload: Payload) {
        let requests = self.world.requests_of(requester, CONTROL, message_type, payload);
        self.waiting.extend(requests.into_iter().map(|request| (number, request)));
        let sent = self.world.sent();
        self.take(sent);
    }

    /// Carries out everything up to this message, in one batch.
    fn batch(&mut self, last: u32) {
        if self.world.database.is_broken() {
            self.world.database.recover();
        }
        while let Some((_, request)) = self.waiting.pop_front_if(|(number, _)| *number <= last) {
            self.world.database.execute(ShardId(0), request);
        }
        let sent = self.world.commit();
        self.take(sent);
    }

    fn take(&mut self, sent: Vec<Sent>) {
        for message in sent {
            let (recipient, _, message_type, payload) = &message;
            if REQUESTERS.contains(recipient) {
                self.replies.entry(*recipient).or_default().push((*message_type, payload.clone()));
            } else {
                self.broadcasts.push(message);
            }
        }
    }
}

const REQUESTERS: [Channel; 4] = [5, 6, 7, 8];
const CHANNEL_OF_AN_OBJECT: Channel = 2 << 32;

fn message(number: u32, random: &mut Random) -> (MessageType, Payload) {
    let doid: Doid = FIRST + random.below(5) as Doid;
    let value = random.below(3) as u8;
    let start = args().u32(number).u32(doid);
    match random.below(16) {
        0 | 1 => (t::DBSERVER_CREATE_OBJECT, args().u32(number).u16(AVATAR).u16(1).u16(LEVEL).u8(value)),
        2 | 3 => (t::DBSERVER_OBJECT_GET_ALL, start),
        4 | 5 => (t::DBSERVER_OBJECT_GET_FIELD, start.u16([LEVEL, COINS, NAME, XY, OTHER][random.below(5)])),
        6 | 7 => (t::DBSERVER_OBJECT_GET_FIELDS, start.u16(2).u16(LEVEL).u16([X, COINS, XY][random.below(3)])),
        8 => (t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(LEVEL).u8(value)),
        9 => (t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(XY).u16(1).u16(value.into())),
        10 => (t::DBSERVER_OBJECT_SET_FIELDS, args().u32(doid).u16(2).u16(COINS).u16(value.into()).u16(LEVEL).u8(9)),
        11 => (t::DBSERVER_OBJECT_SET_FIELD_IF_EQUALS, start.u16(LEVEL).u8(value).u8(value + 1)),
        12 => (t::DBSERVER_OBJECT_SET_FIELD_IF_EMPTY, start.u16(COINS).u16(value.into())),
        13 => (t::DBSERVER_OBJECT_DELETE_FIELD, args().u32(doid).u16([LEVEL, COINS, NAME][random.below(3)])),
        14 => (t::DBSERVER_OBJECT_SET_FIELD, args().u32(doid).u16(NAME).text(["a", "a longer one"][random.below(2)])),
        _ => (t::DBSERVER_OBJECT_DELETE, args().u32(doid)),
    }
}

/// Whatever is asked, however it falls into batches, and while the disk is full and comes back.
#[test]
fn reads_from_memory_say_what_the_engine_would_say() {
    let (mut from_memory, mut bytes_most) = (0, 0);
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let cache_bytes = [1 << 20, 1500, 700][random.below(3)];
        let (mut cached, mut plain) = (Side::new(cache_bytes), Side::new(0));
        let mut done = 0;
        for number in 1..400 {
            let (message_type, payload) = message(number, &mut random);
            let requester = REQUESTERS[random.below(REQUESTERS.len())];
            for side in [&mut cached, &mut plain] {
                side.message(number, requester, message_type, payload.clone());
            }
            if random.below(3) == 0 {
                done += random.below((number - done) as usize + 1) as u32;
                let disk_full = random.below(8) == 0;
                for side in [&mut cached, &mut plain] {
                    side.world.storage.state().disk_full = disk_full;
                    side.batch(done);
                }
            }
            let bytes = cached.world.role.cached_bytes();
            assert!(bytes <= cache_bytes, "{bytes} of {cache_bytes}");
            bytes_most = bytes_most.max(bytes);
        }
        for side in [&mut cached, &mut plain] {
            side.batch(u32::MAX);
        }
        for requester in REQUESTERS {
            let (cached, plain) = (&cached.replies[&requester], &plain.replies[&requester]);
            assert_eq!(cached.len(), plain.len(), "seed {seed}");
            for (cached, plain) in cached.iter().zip(plain) {
                assert_eq!(cached, plain, "seed {seed}: everybody is answered the same, in the same order");
            }
        }
        assert_eq!(cached.broadcasts, plain.broadcasts);
        assert!(plain.broadcasts.iter().all(|(channel, ..)| *channel > CHANNEL_OF_AN_OBJECT));
        assert_eq!(plain.world.out.metrics.database_reads_cached, 0);
        from_memory += cached.world.out.metrics.database_reads_cached;
    }
    assert!(from_memory > 2000, "{from_memory} of some 40,000 reads");
    assert!(bytes_most > 1500, "{bytes_most}");
}

#[test]
fn a_cache_that_is_switched_off_forgets_and_one_that_is_switched_on_learns() {
    let with = |cache_bytes| config::DatabaseServer { cache_bytes, ..settings(FIRST..=FIRST + 4) };
    let mut world = World::with(with(1 << 20), MemoryStorage::default(), CONTRACT);
    let doid = world.create(AVATAR, 0, args());
    let hits = |world: &mut World| {
        let before = world.out.metrics.database_reads_cached;
        (0..2).for_each(|_| drop(world.get_all(doid)));
        world.out.metrics.database_reads_cached - before
    };
    assert_eq!(hits(&mut world), 1);
    world.role.reload(with(0), 1);
    assert_eq!((hits(&mut world), world.role.cached_bytes()), (0, 0));
    world.role.reload(with(1 << 20), 1);
    assert_eq!(hits(&mut world), 1);
}

/// However the budget divides into objects: room is made by forgetting the older ones.
#[test]
fn what_was_read_last_is_answered_from_memory() {
    for cache_bytes in (500..3000).step_by(10) {
        let settings = config::DatabaseServer { cache_bytes, ..settings(FIRST..=FIRST + 4) };
        let mut world = World::with(settings, MemoryStorage::default(), CONTRACT);
        for number in 1..=5 {
            let doid = world.create(AVATAR, 0, args());
            (0..2).for_each(|_| drop(world.get_all(doid)));
            assert_eq!(world.out.metrics.database_reads_cached, number, "{cache_bytes} bytes");
        }
    }
}
