//! What the tests of this role stand on: the contract of Appendix A, and a role with its database, without threads.

use super::engine::{Database, MemoryStorage};
use super::*;
use crate::config::{self, Durability};
use crate::outbox::{Action, Outbox, Participant};
use crate::wire::message_type as t;
use crate::wire::{Channel, Doid, Encoder, MessageType};
use donet_dc::{Contract, Options, Source, TextPolicy};
use donet_shards::ShardId;
use std::sync::Arc;

pub(super) const CONTROL: Channel = 1200;
pub(super) const REQUESTER: Channel = 5;
pub(super) const FIRST: Doid = 1_000_000;

/// The contract of Appendix A, with more behind its last field.
pub(super) const CONTRACT: &str = "
dclass Base {
    setRequired1(uint32 = 78) required broadcast ram;
    setB1(uint8) broadcast;
    setBA1(uint16) broadcast airecv;
    setBR1(string) broadcast ram;
    setBRA1(uint32) broadcast ram airecv;
    setBRO1(uint32) broadcast ram ownrecv;
};
dclass Other {
    setOther(uint8 = 7) db;
    setPlain(uint16) broadcast;
};
dclass Stored : Base {
    setName(string) ram db;
    setScore(uint32) required broadcast db;
    setTitle(string) ram db airecv;
};
struct Nine {
    uint8 a; uint8 b; uint8 c; uint8 d; uint8 e; uint8 f; uint8 g; uint8 h; uint8 i;
};
dclass Avatar : Stored {
    setLevel(uint8 = 20) required db;
    setCoins(uint16) db;
    setX(int16) db;
    setY(int16) db;
    setXY : setX, setY;
    setPercent(uint8(0-100)) db;
    setMet() db;
    setNine(Nine) db;
};
";
pub(super) const STORED: u16 = 2;
pub(super) const NINE: u16 = 3;
pub(super) const AVATAR: u16 = 4;
pub(super) const B1: u16 = 1;
pub(super) const OTHER: u16 = 6;
pub(super) const PLAIN: u16 = 7;
pub(super) const NAME: u16 = 8;
pub(super) const SCORE: u16 = 9;
pub(super) const LEVEL: u16 = 20;
pub(super) const COINS: u16 = 21;
pub(super) const X: u16 = 22;
pub(super) const Y: u16 = 23;
pub(super) const XY: u16 = 24;
pub(super) const PERCENT: u16 = 25;
pub(super) const MET: u16 = 26;
pub(super) const UNKNOWN: u16 = 999;

pub(super) fn contract(text: &str) -> Arc<Contract> {
    let sources = [Source { name: "test.dc".to_owned(), text: text.as_bytes().to_vec() }];
    Arc::new(Contract::parse(&sources, &Options::default()).unwrap_or_else(|error| panic!("{error}")))
}

pub(super) fn contract_text(text: &str) -> ContractText {
    ContractText {
        sources: vec![Source::new("test.dc", text)],
        options: Options::default(),
        renames: Renames::default(),
    }
}

pub(super) fn settings(pool: std::ops::RangeInclusive<Doid>) -> config::DatabaseServer {
    config::DatabaseServer {
        control_channel: CONTROL,
        generate: pool,
        broadcast: true,
        directory: "unused".into(),
        durability: Durability::Sync,
        cache_bytes: 0,
        renames: Renames::default(),
        sql_sink: None,
    }
}

/// A message that left: recipient, sender, type, payload.
pub(super) type Sent = (Channel, Channel, MessageType, Vec<u8>);

/// A payload under construction.
#[derive(Clone, Default)]
pub(super) struct Payload(pub Vec<u8>);

impl Payload {
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }
    pub fn text(self, value: &str) -> Self {
        let mut payload = self.u16(value.len() as u16);
        payload.0.extend(value.as_bytes());
        payload
    }
    pub fn bytes(mut self, value: &[u8]) -> Self {
        self.0.extend(value);
        self
    }
    pub fn append(self, more: Payload) -> Self {
        self.bytes(&more.0)
    }
}

pub(super) fn args() -> Payload {
    Payload::default()
}

/// One role and its database, without threads: every request is a batch of its own unless it is said otherwise.
pub(super) struct World {
    pub role: DatabaseServer,
    pub database: Database<MemoryStorage>,
    pub storage: MemoryStorage,
    pub out: Outbox,
}

impl World {
    pub fn new() -> Self {
        Self::with(settings(FIRST..=FIRST + 10), MemoryStorage::default(), CONTRACT)
    }

    pub fn with(settings: config::DatabaseServer, storage: MemoryStorage, text: &str) -> Self {
        let contract = contract(text);
        let database = Database::open(storage.clone(), contract.clone(), settings.generate.clone()).unwrap();
        let role = DatabaseServer::new(0, settings, contract, TextPolicy::Utf8, 1);
        Self { role, database, storage, out: Outbox::new(ShardId(0), 1) }
    }

    /// The same files under another contract or pool.
    pub fn restarted(&self, settings: config::DatabaseServer, text: &str) -> Self {
        Self::with(settings, self.storage.clone(), text)
    }

    /// The requests that a message becomes; what is answered at once stays in the outbox.
    pub fn requests(&mut self, channel: Channel, message_type: MessageType, payload: Payload) -> Vec<DatabaseRequest> {
        self.requests_of(REQUESTER, channel, message_type, payload)
    }

    pub fn requests_of(
        &mut self,
        requester: Channel,
        channel: Channel,
        message_type: MessageType,
        payload: Payload,
    ) -> Vec<DatabaseRequest> {
        let datagram = Encoder::internal(&[channel], requester, message_type).bytes(&payload.0).datagram().unwrap();
        self.role.on_datagram(&datagram, &mut self.out);
        let mut requests = Vec::new();
        for action in self.out.drain().collect::<Vec<_>>() {
            match action {
                Action::Database { server: 0, request } => requests.push(request),
                other => self.out.push(other),
            }
        }
        requests
    }

    pub fn commit(&mut self) -> Vec<Sent> {
        let (_, completions) = self.database.commit(true);
        for (shard, completion) in completions {
            assert_eq!(shard, ShardId(0));
            self.role.on_completion(completion, &mut self.out);
        }
        self.sent()
    }

    pub fn sent(&mut self) -> Vec<Sent> {
        self.out.drain().map(published).collect()
    }

    pub fn send_to(&mut self, channel: Channel, message_type: MessageType, payload: Payload) -> Vec<Sent> {
        for request in self.requests(channel, message_type, payload) {
            // As the engine's thread does between two batches.
            if self.database.is_broken() {
                self.database.recover();
            }
            self.database.execute(ShardId(0), request);
        }
        self.commit()
    }

    pub fn send(&mut self, message_type: MessageType, payload: Payload) -> Vec<Sent> {
        self.send_to(CONTROL, message_type, payload)
    }

    /// Sends, expects exactly one reply and nothing else, and returns its payload.
    pub fn ask(&mut self, message_type: MessageType, payload: Payload) -> Vec<u8> {
        let mut sent = self.send(message_type, payload);
        assert_eq!(sent.len(), 1, "{sent:?}");
        let (recipient, sender, reply_type, payload) = sent.remove(0);
        assert_eq!((recipient, sender), (REQUESTER, CONTROL));
        assert_eq!(reply_type.0, message_type.0 + 1);
        payload
    }

    /// CREATE with `fields` as (id, value) pairs already packed; returns the doid, 0 for a failure.
    pub fn create(&mut self, class: u16, count: u16, fields: Payload) -> Doid {
        let reply = self.ask(t::DBSERVER_CREATE_OBJECT, args().u32(77).u16(class).u16(count).append(fields));
        assert_eq!((reply.len(), &reply[..4]), (8, &77_u32.to_le_bytes()[..]));
        u32::from_le_bytes(reply[4..].try_into().unwrap())
    }

    /// The reply to GET_ALL, without its context.
    pub fn get_all(&mut self, doid: Doid) -> Vec<u8> {
        let reply = self.ask(t::DBSERVER_OBJECT_GET_ALL, args().u32(78).u32(doid));
        assert_eq!(&reply[..4], &78_u32.to_le_bytes());
        reply[4..].to_vec()
    }

    /// The reply to GET_FIELD, without its context.
    pub fn get(&mut self, doid: Doid, field: u16) -> Vec<u8> {
        let reply = self.ask(t::DBSERVER_OBJECT_GET_FIELD, args().u32(79).u32(doid).u16(field));
        reply[4..].to_vec()
    }
}

fn published(action: Action) -> Sent {
    let Action::Publish { from: Participant::DatabaseServer(0), datagram } = action else { panic!("{action:?}") };
    let (sender, message_type, payload) = datagram.message().unwrap();
    assert_eq!(datagram.recipients().len(), 1);
    (datagram.recipients().next().unwrap(), sender, message_type, payload.rest().to_vec())
}

pub(super) fn broadcast(doid: Doid, message_type: MessageType, payload: Payload) -> Sent {
    (2 << 32 | u64::from(doid), REQUESTER, message_type, args().u32(doid).append(payload).0)
}

pub(super) fn reply(message_type: MessageType, payload: Payload) -> Sent {
    (REQUESTER, CONTROL, message_type, payload.0)
}
