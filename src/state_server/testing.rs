//! A daemon in miniature for tests: partitions of the State Server and of Database State Servers in one thread, joined by
//! one queue that is worked off breadth first, and links that record what reaches their channels.

use super::{FanOutLimits, StateServer, StateServerMessage};
use crate::config;
use crate::database_state_server::DatabaseStateServer;
use crate::outbox::{Action, Outbox, Participant, RoleMessage, RoleTimer};
use crate::wire::message_type as t;
use crate::wire::{ALL_STATE_SERVERS, Channel, Datagram, Doid, Encoder, MessageType, Zone};
use donet_dc::{Contract, Options, Source, TextPolicy};
use donet_shards::{ConnectionId, ShardId, shard_of};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// The State Server's control channel.
pub const CONTROL: Channel = 100_100;
/// The Database Server that the DBSS asks; a link plays it.
pub const DATABASE: Channel = 1200;

/// Classes 0, 2 and 4 are those of the golden vectors (`protocol-ss-dbss-db.md`, appendix A); 1 is a struct.
const SCHEMA: &str = "
    dclass Object1 {
        setRequired1(uint32 = 78) required broadcast ram;
        setB1(uint8) broadcast;
        setBA1(uint16) broadcast airecv;
        setBR1(string) broadcast ram;
        setBRA1(uint32) broadcast ram airecv;
        setBRO1(uint32) broadcast ram ownrecv;
    };
    struct Pair { uint8 first; uint8 second; };
    dclass Object3 : Object1 {
        setDb3(string) ram db;
        setRDB3(uint32) required broadcast db;
        setADb3(string) ram db airecv;
    };
    dclass Walker {
        setX(int16) broadcast ram;
        setY(int16) broadcast ram;
        setXY : setX, setY;
        setClRecv(uint8) clrecv ram;
        setOwn(uint8) ownrecv ram;
        setSecret(uint8) ram;
        setRange(uint8(0-100)) required broadcast;
        setFlash(uint8) broadcast;
        setRequiredSecret(uint8) required;
    };
    dclass Object5 : Object3 {
        setRDbD5(uint8 = 20) required db;
        setDb5(uint16) db;
        setLeft5(uint8) ram db;
        setRight5(uint8) ram db;
        setBoth5 : setRight5, setLeft5;
    };
";

/// Ids of the schema.
pub mod id {
    pub const OBJECT1: u16 = 0;
    pub const PAIR: u16 = 1;
    pub const OBJECT3: u16 = 2;
    pub const WALKER: u16 = 3;
    pub const OBJECT5: u16 = 4;
    pub const REQUIRED1: u16 = 0;
    pub const B1: u16 = 1;
    pub const BA1: u16 = 2;
    pub const BR1: u16 = 3;
    pub const BRA1: u16 = 4;
    pub const BRO1: u16 = 5;
    pub const DB3: u16 = 8;
    pub const RDB3: u16 = 9;
    pub const ADB3: u16 = 10;
    pub const X: u16 = 11;
    pub const Y: u16 = 12;
    pub const XY: u16 = 13;
    pub const CL_RECV: u16 = 14;
    pub const OWN: u16 = 15;
    pub const SECRET: u16 = 16;
    pub const RANGE: u16 = 17;
    pub const RDBD5: u16 = 20;
    pub const DB5: u16 = 21;
    pub const LEFT5: u16 = 22;
    pub const RIGHT5: u16 = 23;
    pub const BOTH5: u16 = 24;
    /// No field has it.
    pub const NONE: u16 = 999;
}

pub fn contract() -> Arc<Contract> {
    let source = Source::new("test.dc", SCHEMA);
    Arc::new(Contract::parse(&[source], &Options::default()).unwrap_or_else(|errors| panic!("{errors}")))
}

/// A payload under construction.
#[derive(Clone, Debug, Default)]
pub struct Payload(pub Vec<u8>);

impl Payload {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn u8(self, value: u8) -> Self {
        self.bytes(&[value])
    }

    pub fn u16(self, value: u16) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_le_bytes())
    }

    pub fn text(self, value: &str) -> Self {
        self.u16(value.len() as u16).bytes(value.as_bytes())
    }

    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

pub fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// A message as a link sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub to: Vec<Channel>,
    pub from: Channel,
    pub message_type: MessageType,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "\n  {} from {:#x} to {:x?}:", self.message_type, self.from, self.to)?;
        self.body.chunks(4).try_for_each(|chunk| {
            write!(formatter, " ")?;
            chunk.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
        })
    }
}

/// A message that is expected; recipients in any order.
pub fn seen(to: &[Channel], from: Channel, message_type: MessageType, payload: Payload) -> Seen {
    let mut to = to.to_vec();
    to.sort_unstable();
    Seen { to, from, message_type, body: payload.0 }
}

struct Shard {
    state_server: StateServer,
    database_state_servers: Vec<DatabaseStateServer>,
    out: Outbox,
}

struct Link {
    participant: Participant,
    channels: BTreeSet<Channel>,
    sees_all: bool,
    seen: Vec<Seen>,
}

/// Names a link of a [`World`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkId(usize);

enum Work {
    Datagram { shard: usize, from: Participant, datagram: Datagram },
    Control { shard: usize, datagram: Datagram },
    Message { shard: usize, from: ShardId, message: StateServerMessage },
}

/// More than any test handles at once, and few enough to fit into memory with what an eavesdropper has seen of them.
const RUN_MESSAGES_MAX: usize = 2_000_000;

/// The daemon.
pub struct World {
    shards: Vec<Shard>,
    links: Vec<Link>,
    queue: VecDeque<Work>,
    timers: Vec<(u64, usize, RoleTimer)>,
    pub now_us: u64,
    /// How many messages the executors have handled.
    pub handled: usize,
}

/// Runs a test with one executor and with more.
pub fn everywhere(test: impl Fn(&mut World)) {
    for shards in [1, 2, 4] {
        test(&mut World::new(shards, Vec::new()));
    }
}

impl World {
    pub fn new(shards: usize, database_state_servers: Vec<config::DatabaseStateServer>) -> Self {
        let contract = contract();
        let roles = || {
            let settings = database_state_servers.iter().cloned().enumerate();
            settings
                .map(|(index, settings)| {
                    DatabaseStateServer::new(index as u8, settings, contract.clone(), TextPolicy::Utf8)
                })
                .collect()
        };
        let shard = |shard| Shard {
            state_server: StateServer::new(contract.clone(), TextPolicy::Utf8, FanOutLimits::default()),
            database_state_servers: roles(),
            out: Outbox::new(ShardId(shard as u16), shards),
        };
        Self {
            shards: (0..shards).map(shard).collect(),
            links: Vec::new(),
            queue: VecDeque::new(),
            timers: Vec::new(),
            now_us: 0,
            handled: 0,
        }
    }

    /// A new link that is subscribed to these channels.
    pub fn link(&mut self, channels: &[Channel]) -> LinkId {
        let connection = ConnectionId(self.links.len() as u64);
        let participant = Participant::Link { shard: ShardId(0), connection };
        self.links.push(Link {
            participant,
            channels: channels.iter().copied().collect(),
            sees_all: false,
            seen: Vec::new(),
        });
        LinkId(self.links.len() - 1)
    }

    /// A new link that sees every datagram.
    pub fn eavesdropper(&mut self) -> LinkId {
        let link = self.link(&[]);
        self.links[link.0].sees_all = true;
        link
    }

    pub fn subscribe(&mut self, link: LinkId, channel: Channel) {
        self.links[link.0].channels.insert(channel);
    }

    /// Sends and lets the daemon come to rest.
    pub fn send(&mut self, link: LinkId, to: &[Channel], from: Channel, message_type: MessageType, payload: Payload) {
        self.post(link, to, from, message_type, payload);
        self.run();
    }

    /// Sends as part of a burst: nothing is handled before [`World::run`].
    pub fn post(&mut self, link: LinkId, to: &[Channel], from: Channel, message_type: MessageType, payload: Payload) {
        let datagram = Encoder::internal(to, from, message_type).bytes(&payload.0).datagram().unwrap();
        self.post_datagram(link, datagram);
    }

    /// As [`World::post`], whatever the datagram holds.
    pub fn post_datagram(&mut self, link: LinkId, datagram: Datagram) {
        self.route(self.links[link.0].participant, datagram);
    }

    /// What reached a link since the last look.
    pub fn take(&mut self, link: LinkId) -> Vec<Seen> {
        std::mem::take(&mut self.links[link.0].seen)
    }

    /// Asserts that exactly these have reached a link since the last look, in this order.
    #[track_caller]
    pub fn expect(&mut self, link: LinkId, expected: &[Seen]) {
        assert_eq!(self.take(link), expected);
    }

    /// Asserts that exactly these have reached a link since the last look, in any order.
    #[track_caller]
    pub fn expect_unordered(&mut self, link: LinkId, expected: &[Seen]) {
        let sorted = |mut messages: Vec<Seen>| {
            messages.sort_by_key(|message| (message.message_type.0, message.from, message.body.clone()));
            messages
        };
        assert_eq!(sorted(self.take(link)), sorted(expected.to_vec()));
    }

    pub fn is_live(&self, doid: Doid) -> bool {
        self.shards[shard_of(doid.into(), self.shards.len()).index()].state_server.is_live(doid)
    }

    /// Live objects on all executors.
    pub fn live_objects(&self) -> usize {
        self.shards.iter().map(|shard| shard.state_server.live_objects()).sum()
    }

    /// The sum of a counter over all executors.
    pub fn metric(&self, metric: impl Fn(&crate::metrics::Metrics) -> u64) -> u64 {
        self.shards.iter().map(|shard| metric(&shard.out.metrics)).fold(0, u64::wrapping_add)
    }

    /// The partition that a doid belongs to.
    pub fn state_server(&mut self, doid: Doid) -> &mut StateServer {
        let shard = shard_of(doid.into(), self.shards.len()).index();
        &mut self.shards[shard].state_server
    }

    fn route(&mut self, from: Participant, datagram: Datagram) {
        let shards = self.shards.len();
        let mut reached = BTreeSet::new();
        let mut is_control = false;
        for recipient in datagram.recipients() {
            match recipient {
                CONTROL | ALL_STATE_SERVERS => is_control = true,
                0..=0xffff_ffff => {
                    reached.insert(shard_of(recipient, shards).index());
                }
                0x1_0000_0000..=0x1_ffff_ffff => reached.extend(0..shards),
                0x2_0000_0000..=0x2_ffff_ffff => {
                    reached.insert(shard_of(recipient & 0xffff_ffff, shards).index());
                }
                _ => {}
            }
        }
        let message = datagram.message();
        for link in &mut self.links {
            let is_for_it =
                || link.sees_all || datagram.recipients().any(|recipient| link.channels.contains(&recipient));
            if let Ok((sender, message_type, payload)) = message
                && link.participant != from
                && is_for_it()
            {
                let mut to: Vec<Channel> = datagram.recipients().collect();
                to.sort_unstable();
                link.seen.push(Seen { to, from: sender, message_type, body: payload.rest().to_vec() });
            }
        }
        if let Ok((_, message_type, mut payload)) = message
            && is_control
        {
            let homes = match (message_type, payload.doid()) {
                (t::STATESERVER_DELETE_AI_OBJECTS, _) | (_, Err(_)) => 0..shards,
                (_, Ok(doid)) => {
                    let home = shard_of(doid.into(), shards).index();
                    home..home + 1
                }
            };
            for shard in homes {
                self.queue.push_back(Work::Control { shard, datagram: datagram.clone() });
            }
        }
        for shard in reached {
            self.queue.push_back(Work::Datagram { shard, from, datagram: datagram.clone() });
        }
    }

    /// Works until nothing is left.
    pub fn run(&mut self) {
        assert!(self.run_at_most(RUN_MESSAGES_MAX), "messages cause each other without an end");
    }

    /// Works until nothing is left, or so many messages were handled. Returns whether nothing is left.
    pub fn run_at_most(&mut self, messages: usize) -> bool {
        let most = self.handled + messages;
        while self.handled <= most {
            self.run_turn();
            if !self.begin_slices() {
                return true;
            }
        }
        false
    }

    /// Begins the next slice of what was too long for one turn, on every executor that has such. Returns whether any has.
    /// What is sent to others before it, an executor takes first.
    pub fn begin_slices(&mut self) -> bool {
        let is_slice = |timer: &(u64, usize, RoleTimer)| timer.2 == RoleTimer::StateServerSlice;
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.timers).into_iter().partition(is_slice);
        self.timers = later;
        for &(_, index, _) in &due {
            let shard = self.at(index);
            shard.state_server.on_slice(&mut shard.out);
            self.carry_out(index);
        }
        !due.is_empty()
    }

    /// Cuts what is for many objects into slices of this size.
    pub fn slice(&mut self, objects: usize) {
        for shard in &mut self.shards {
            let fan_outs = &mut shard.state_server.partition.fan_outs;
            fan_outs.limit(FanOutLimits { slice_objects: objects, round_objects: objects, ..fan_outs.limits() });
        }
    }

    /// Lets only so much of what is for many objects wait.
    pub fn let_wait(&mut self, fan_outs: usize, bytes: usize) {
        for shard in &mut self.shards {
            let waits = &mut shard.state_server.partition.fan_outs;
            waits.limit(FanOutLimits { waiting: fan_outs, waiting_bytes: bytes, ..waits.limits() });
        }
    }

    /// Works off what is in the queues: what executors do between two intakes.
    pub fn run_turn(&mut self) {
        let most = self.handled + RUN_MESSAGES_MAX;
        while let Some(work) = self.queue.pop_front() {
            self.handled += 1;
            assert!(self.handled <= most, "messages cause each other without an end");
            let index = match work {
                Work::Datagram { shard: index, from, datagram } => {
                    let shard = self.at(index);
                    shard.state_server.on_datagram(&datagram, from, &mut shard.out);
                    for role in &mut shard.database_state_servers {
                        role.on_datagram(&datagram, from, &mut shard.state_server, &mut shard.out);
                    }
                    index
                }
                Work::Control { shard: index, datagram } => {
                    let shard = self.at(index);
                    shard.state_server.on_control(&datagram, &mut shard.out);
                    index
                }
                Work::Message { shard: index, from, message } => {
                    let shard = self.at(index);
                    shard.state_server.on_message(from, message, &mut shard.out);
                    index
                }
            };
            self.carry_out(index);
        }
    }

    fn at(&mut self, index: usize) -> &mut Shard {
        let shard = &mut self.shards[index];
        shard.out.now_us = self.now_us;
        shard
    }

    fn carry_out(&mut self, index: usize) {
        let from_shard = ShardId(index as u16);
        let actions: Vec<Action> = self.shards[index].out.drain().collect();
        for action in actions {
            match action {
                Action::Publish { from, datagram } => self.route(from, datagram),
                Action::ToShard { shard, message: RoleMessage::StateServer(message) } => {
                    self.queue.push_back(Work::Message { shard: shard.index(), from: from_shard, message });
                }
                Action::Timer { at_us, timer } => self.timers.push((at_us, index, timer)),
                other => panic!("not an action of these roles: {other:?}"),
            }
        }
    }

    /// Lets time pass, with the timers that fall due.
    pub fn pass(&mut self, us: u64) {
        self.now_us += us;
        let is_due = |timer: &(u64, usize, RoleTimer)| timer.0 <= self.now_us;
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.timers).into_iter().partition(is_due);
        self.timers = later;
        for (_, index, timer) in due {
            let shard = self.at(index);
            match timer {
                RoleTimer::Dbss(timer) => {
                    let role = &mut shard.database_state_servers[timer.role as usize];
                    role.on_timer(timer, &mut shard.state_server, &mut shard.out);
                }
                RoleTimer::StateServerAiChanges => shard.state_server.on_ai_period(&mut shard.out),
                other => panic!("not a timer of these roles: {other:?}"),
            }
            self.carry_out(index);
        }
        self.run();
    }

    /// Asserts what must hold whenever nothing is on its way: the indexes agree with the objects, no query is open, nothing
    /// has panicked.
    #[track_caller]
    pub fn assert_consistent(&self) {
        assert_eq!(self.metric(|metrics| metrics.panics), 0);
        assert_eq!(self.metric(|metrics| metrics.objects), self.live_objects() as u64);
        for shard in &self.shards {
            shard.state_server.assert_consistent();
        }
    }

    /// Asserts what must hold after every turn.
    #[track_caller]
    pub fn assert_indexes(&self) {
        assert_eq!(self.metric(|metrics| metrics.panics), 0);
        assert_eq!(self.metric(|metrics| metrics.objects), self.live_objects() as u64);
        for shard in &self.shards {
            shard.state_server.assert_indexes();
        }
    }

    /// Asserts that every live parent knows its live children and nothing else.
    #[track_caller]
    pub fn assert_parents_know_their_children(&self) {
        let children: Vec<(Doid, Zone, Doid)> =
            self.shards.iter().flat_map(|shard| shard.state_server.places()).collect();
        for shard in &self.shards {
            for object in shard.state_server.objects.iter() {
                let parent = object.doid;
                let known = object.children.as_ref().map_or_else(Vec::new, |known| {
                    known.active_zones().map(|zone| (zone, known.count_in(zone))).collect()
                });
                let mut expected: Vec<(Zone, u32)> = Vec::new();
                let mut zones: Vec<Zone> = children.iter().filter(|c| c.0 == parent).map(|c| c.1).collect();
                zones.sort_unstable();
                for zone in zones {
                    match expected.last_mut() {
                        Some((last, count)) if *last == zone => *count += 1,
                        _ => expected.push((zone, 1)),
                    }
                }
                assert_eq!(known, expected, "the children of {parent}");
            }
        }
    }

    /// Creates an object with the given required values; sender 5.
    pub fn create(&mut self, link: LinkId, doid: Doid, location: (Doid, Zone), class: u16, required: Payload) {
        let payload = Payload::new().u32(doid).u32(location.0).u32(location.1).u16(class).bytes(&required.0);
        self.send(link, &[CONTROL], 5, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED, payload);
    }

    /// Creates an object of class 0 with a required value of 6789; sender 5.
    pub fn create1(&mut self, link: LinkId, doid: Doid, location: (Doid, Zone)) {
        self.create(link, doid, location, id::OBJECT1, Payload::new().u32(6789));
    }

    /// Sets one field; sender 5.
    pub fn set(&mut self, link: LinkId, doid: Doid, field: u16, value: Payload) {
        let payload = Payload::new().u32(doid).u16(field).bytes(&value.0);
        self.send(link, &[doid.into()], 5, t::STATESERVER_OBJECT_SET_FIELD, payload);
    }

    /// Asks for everything of an object on a link of its own, and returns the answer's body behind context and doid.
    pub fn get_all(&mut self, doid: Doid) -> Option<Vec<u8>> {
        let asker = self.link(&[0xffff_fff0_0000_0001]);
        let payload = Payload::new().u32(77).u32(doid);
        self.send(asker, &[doid.into()], 0xffff_fff0_0000_0001, t::STATESERVER_OBJECT_GET_ALL, payload);
        let mut answers = self.take(asker);
        assert!(answers.len() <= 1, "{answers:?}");
        answers.pop().map(|answer| {
            assert_eq!((answer.message_type, answer.from), (t::STATESERVER_OBJECT_GET_ALL_RESP, doid.into()));
            answer.body[8..].to_vec()
        })
    }
}

impl StateServer {
    /// Asserts what must hold whenever nothing is on its way: [`StateServer::assert_indexes`], no query open, nothing
    /// half handed out.
    #[track_caller]
    fn assert_consistent(&self) {
        self.assert_indexes();
        assert!(self.partition.queries.is_empty());
        assert!(self.partition.fan_outs.is_idle() && self.partition.fan_outs.waiting() == 0);
        for object in self.objects.iter() {
            assert_eq!(object.open_queries, 0, "{}", object.doid);
        }
    }

    /// Asserts what must hold after every turn: the indexes agree with the objects, and every stored value is one that the
    /// contract allows.
    #[track_caller]
    fn assert_indexes(&self) {
        let partition = &self.partition;
        let places: BTreeSet<(Doid, Zone, Doid)> = self.places().collect();
        for object in self.objects.iter() {
            let doid = object.doid;
            let is_indexed = places.contains(&(object.parent, object.zone, doid));
            assert_eq!(is_indexed, object.parent != 0, "{doid}");
            let (class, layout) = (partition.class(object.class), partition.layout(object.class));
            for (index, slot) in layout.slots().iter().enumerate() {
                let field = class.field(slot.field).unwrap();
                match object.values.get(index) {
                    Some(value) => {
                        field.validate(value, TextPolicy::Utf8).unwrap_or_else(|error| panic!("{doid}: {error}"))
                    }
                    None => assert!(!layout.is_required(index), "{doid} has no {}", field.name()),
                }
            }
        }
        for (parent, zone, doid) in places {
            let object = self.objects.get(doid).unwrap_or_else(|| panic!("a place of {doid}, which is not live"));
            assert_eq!((object.parent, object.zone), (parent, zone), "{doid}");
        }
        let mut explicit: Vec<(Channel, Doid)> =
            self.objects.iter().filter(|object| object.ai_is_explicit).map(|object| (object.ai, object.doid)).collect();
        explicit.sort_unstable();
        let mut indexed = partition.explicit_ais();
        indexed.extend(partition.fan_outs.ending_with_ai());
        indexed.sort_unstable();
        assert_eq!(indexed, explicit);
    }

    /// Parent, zone and doid of every object that has a parent, out of the index.
    fn places(&self) -> impl Iterator<Item = (Doid, Zone, Doid)> + '_ {
        self.partition.children.places()
    }
}
