//! Drives [`ClientAgents`] as the daemon does, and reads back what it asks for.
//!
//! One file per part of `protocol-md-ca-el.md` §3; tests are named after the statement that they check (§3.17).

mod field_updates;
mod handshake;
mod hostile;
mod identity;
mod interest;
mod interest_changes;
mod interest_properties;
mod limits;
mod objects;
mod pacing;
mod parenting;
mod review;
mod teardown;

use super::{ClientAgentMessage, ClientAgents, ClientTimer, Origin};
use crate::config::{self, InterestPermission};
use crate::event_logger::Event;
use crate::outbox::{Action, Outbox, Participant, RoleMessage, RoleTimer};
use crate::reason::Reason;
use crate::wire::{Channel, Datagram, Doid, Encoder, MessageType, Reader, Zone, message_type as t, next_frame};
use bytes::Bytes;
use donet_dc::{Contract, Options, Source, TextPolicy};
use donet_shards::{Close, CloseCause, ConnectionId, ShardId};
use std::sync::Arc;
use std::time::Duration;

const DC: &str = "
    dclass LoginManager {
        login(string) clsend;
        answer(uint8) airecv;
    };
    dclass District {
        setName(string) required broadcast ram;
    };
    dclass Avatar {
        setName(string(0-20)) required broadcast ram;
        setPosition(int16, int16) required broadcast ram ownsend;
        say(string(1-10)) broadcast clsend;
        setLevel(uint8(0-100)) clsend airecv;
        setGold(uint32) ownrecv;
        setPicture(blob) clsend;
        move(int16) broadcast ownsend;
        turn(int16) broadcast ownsend;
        moveTurn : move, turn;
    };
    dclass Follower {
        setParentingRules(string type = \"Follow\", string rule = \"\") broadcast ram;
    };
    dclass Grid {
        setParentingRules(string type = \"Cartesian\", string rule = \"1000:4:1\") broadcast ram;
    };
    dclass Automatic {
        setParentingRules(string type = \"Auto\", string rule = \"20:21|22\") broadcast ram;
    };
";

/// An uberdog that clients may use before they have logged in.
const LOGIN: Doid = 1001;
/// An uberdog for established clients only; it serves as a parent that everybody knows.
const WORLD: Doid = 1002;
const AI: Channel = 5_000_000;
const FIRST_CHANNEL: Channel = 1_000_000;
const VERSION: &str = "v1.0.0";
const INTEREST_TIMEOUT_US: u64 = 500_000;

fn contract() -> Arc<Contract> {
    let source = Source { name: "test.dc".to_owned(), text: DC.as_bytes().to_vec() };
    Arc::new(Contract::parse(&[source], &Options::default()).expect("the test contract is correct"))
}

fn config() -> config::ClientAgent {
    config::ClientAgent {
        bind: "127.0.0.1:7198".parse().unwrap(),
        websocket: false,
        haproxy: false,
        proxy_timeout: Duration::from_secs(5),
        handshake_timeout: Duration::from_secs(10),
        tls: None,
        limits: config::Limits { hello_timeout: None, ..config::Limits::default() },
        version_string: VERSION.to_owned(),
        dc_file_hash: None,
        channels: FIRST_CHANNEL..=FIRST_CHANNEL + 99,
        relocate: false,
        interest_permission: InterestPermission::Enabled,
        send_hash: true,
        send_version: true,
        write_buffer_bytes: 262_144,
        write_timeout: Some(Duration::from_secs(5)),
        heartbeat_timeout: None,
        interest_timeout: Duration::from_micros(INTEREST_TIMEOUT_US),
        auth_timeout: None,
        historical_ttl: None,
        interest_zones_allow: Vec::new(),
        interest_zones_deny: Vec::new(),
        avatar_class: None,
        leaving_owner: true,
        strict_entrance: false,
        eject_linger: Duration::from_secs(1),
        channel_quarantine: Duration::ZERO,
        flush_delay: Duration::ZERO,
    }
}

/// What the role asked for, in a form that tests can compare.
#[derive(Debug, PartialEq)]
enum Seen {
    /// To the client of this connection: type and payload.
    Client(ConnectionId, MessageType, Vec<u8>),
    Published {
        from: Participant,
        recipients: Vec<Channel>,
        sender: Channel,
        message_type: MessageType,
        payload: Vec<u8>,
    },
    Subscribe(Channel),
    Unsubscribe(Channel),
    Await(u64),
    AddPostRemove(Channel, Bytes),
    ClearPostRemoves(Channel),
    UnsubscribeAll(Participant),
    FirePostRemoves(Participant),
    Close(ConnectionId, Close, Reason),
    Adopt(u8, Channel),
    Refuse(Reason, Bytes),
    Timer(u64, ClientTimer),
    Event(Event),
    Release(u8, Channel),
}

/// A client as a test sees it.
#[derive(Clone, Copy, Debug)]
struct Client {
    channel: Channel,
    connection: ConnectionId,
}

struct Fixture {
    agents: ClientAgents,
    out: Outbox,
    contract: Arc<Contract>,
    next_connection: u64,
    /// Bytes that were allowed beside write budgets.
    allowed_bytes: usize,
    /// How often a session asked to be told when everything has left.
    questions: usize,
}

impl Fixture {
    fn new() -> Self {
        Self::with(|_| ())
    }

    fn with(change: impl FnOnce(&mut config::ClientAgent)) -> Self {
        let mut agent = config();
        change(&mut agent);
        Self::with_agents(&[agent])
    }

    fn with_agents(agents: &[config::ClientAgent]) -> Self {
        let uberdog = |id, class: &str, anonymous| config::Uberdog { id, class: class.to_owned(), anonymous };
        let uberdogs = [uberdog(LOGIN, "LoginManager", true), uberdog(WORLD, "LoginManager", false)];
        let contract = contract();
        let agents = ClientAgents::new(agents, &uberdogs, contract.clone(), TextPolicy::Utf8, ShardId(0), 1);
        Self { agents, out: Outbox::new(ShardId(0), 1), contract, next_connection: 1, allowed_bytes: 0, questions: 0 }
    }

    fn class(&self, name: &str) -> u16 {
        self.contract.class_by_name(name).expect("a class of the test contract").id()
    }

    fn field(&self, class: &str, name: &str) -> u16 {
        let class = self.contract.class_by_name(class).expect("a class of the test contract");
        class.field_by_name(name).expect("a field of the class").id()
    }

    fn avatar_field(&self, name: &str) -> u16 {
        self.field("Avatar", name)
    }

    /// A client that has connected and said nothing yet. What that caused is still in the outbox.
    fn connect_quietly(&mut self) -> Client {
        let connection = ConnectionId(self.next_connection);
        let channel = FIRST_CHANNEL + self.next_connection - 1;
        self.next_connection += 1;
        let (peer, local) = ("10.1.2.3:4567".parse().unwrap(), "10.0.0.1:7198".parse().unwrap());
        self.agents.adopt(0, channel, connection, Origin::direct(peer, local), &mut self.out);
        Client { channel, connection }
    }

    fn connect(&mut self) -> Client {
        let client = self.connect_quietly();
        self.seen();
        client
    }

    fn hello(&self) -> Encoder {
        Encoder::client(t::CLIENT_HELLO).u32(self.contract.hash()).blob(VERSION.as_bytes())
    }

    fn anonymous(&mut self) -> Client {
        let client = self.connect();
        let hello = self.hello();
        assert_eq!(self.send(client, hello), [Seen::Client(client.connection, t::CLIENT_HELLO_RESP, vec![])]);
        client
    }

    fn established(&mut self) -> Client {
        let client = self.anonymous();
        assert_eq!(self.set_state(client, 2), []);
        client
    }

    fn set_state(&mut self, client: Client, state: u16) -> Vec<Seen> {
        self.deliver(client, t::CLIENTAGENT_SET_STATE, |message| message.u16(state))
    }

    /// One message of a client.
    fn send(&mut self, client: Client, message: Encoder) -> Vec<Seen> {
        let frame = message.finish().expect("a client message fits a frame");
        self.receive(client, &frame)
    }

    fn receive(&mut self, client: Client, bytes: &[u8]) -> Vec<Seen> {
        assert_eq!(self.agents.on_received(client.connection, bytes, &mut self.out), bytes.len());
        self.seen()
    }

    /// A message of the AI to one client's channel.
    fn deliver(
        &mut self,
        client: Client,
        message_type: MessageType,
        payload: impl FnOnce(Encoder) -> Encoder,
    ) -> Vec<Seen> {
        self.deliver_from(AI, &[client], message_type, payload)
    }

    /// A message that the routing table found these clients for.
    fn deliver_from(
        &mut self,
        sender: Channel,
        clients: &[Client],
        message_type: MessageType,
        payload: impl FnOnce(Encoder) -> Encoder,
    ) -> Vec<Seen> {
        let channels: Vec<Channel> = clients.iter().map(|client| client.channel).collect();
        let datagram: Datagram = payload(Encoder::internal(&channels, sender, message_type)).datagram().unwrap();
        self.agents.on_datagram(&channels, &datagram, &mut self.out);
        self.seen()
    }

    fn enter(&mut self, client: Client, doid: Doid, parent: Doid, zone: Zone) -> Vec<Seen> {
        let class = self.class("Avatar");
        self.deliver_from(doid.into(), &[client], t::STATESERVER_OBJECT_ENTER_LOCATION_WITH_REQUIRED, |message| {
            entry(message, doid, parent, zone, class)
        })
    }

    fn enter_owner(&mut self, client: Client, doid: Doid, parent: Doid, zone: Zone) -> Vec<Seen> {
        let class = self.class("Avatar");
        self.deliver_from(doid.into(), &[client], t::STATESERVER_OBJECT_ENTER_OWNER_WITH_REQUIRED, |message| {
            entry(message, doid, parent, zone, class)
        })
    }

    fn snapshot(&mut self, client: Client, context: u32, doid: Doid, parent: Doid, zone: Zone) -> Vec<Seen> {
        let class = self.class("Avatar");
        self.deliver_from(doid.into(), &[client], t::STATESERVER_OBJECT_ENTER_INTEREST_WITH_REQUIRED, |message| {
            entry(message.u32(context), doid, parent, zone, class)
        })
    }

    fn count(&mut self, client: Client, context: u32, count: u32) -> Vec<Seen> {
        self.deliver(client, t::STATESERVER_OBJECT_GET_ZONES_COUNT_RESP, |message| message.u32(context).u32(count))
    }

    fn update(&mut self, client: Client, doid: Doid, field: u16, value: &[u8]) -> Vec<Seen> {
        self.deliver_from(doid.into(), &[client], t::STATESERVER_OBJECT_SET_FIELD, |message| {
            message.doid(doid).u16(field).bytes(value)
        })
    }

    fn moved(&mut self, client: Client, doid: Doid, to: (Doid, Zone), from: (Doid, Zone)) -> Vec<Seen> {
        self.deliver_from(doid.into(), &[client], t::STATESERVER_OBJECT_CHANGING_LOCATION, |message| {
            message.doid(doid).doid(to.0).zone(to.1).doid(from.0).zone(from.1)
        })
    }

    fn delete(&mut self, client: Client, doid: Doid) -> Vec<Seen> {
        self.deliver_from(doid.into(), &[client], t::STATESERVER_OBJECT_DELETE_RAM, |message| message.doid(doid))
    }

    fn set_field(&mut self, client: Client, doid: Doid, field: u16, value: &[u8]) -> Vec<Seen> {
        self.send(client, Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(doid).u16(field).bytes(value))
    }

    fn declare(&mut self, client: Client, doid: Doid) {
        let class = self.class("Avatar");
        let seen = self.deliver(client, t::CLIENTAGENT_DECLARE_OBJECT, |message| message.doid(doid).u16(class));
        assert_eq!(seen, []);
    }

    fn add_session_object(&mut self, client: Client, doid: Doid) {
        let seen = self.deliver(client, t::CLIENTAGENT_ADD_SESSION_OBJECT, |message| message.doid(doid));
        assert_eq!(seen, []);
    }

    /// Opens an interest without zones to query, or up to and including the query; returns its context.
    fn begin_interest(&mut self, client: Client, id: u16, parent: Doid, zones: &[Zone]) -> u32 {
        let seen = self.send(client, add_interest(u32::from(id), id, parent, zones));
        let token = seen.iter().find_map(|seen| match seen {
            Seen::Await(token) => Some(*token),
            _ => None,
        });
        self.agents.on_subscribed(client.channel, token.expect("there is something to open"), &mut self.out);
        let query = self.seen();
        let context = query.iter().find_map(|seen| match seen {
            Seen::Published { message_type: t::STATESERVER_OBJECT_GET_ZONES_OBJECTS, payload, .. } => {
                Some(Reader::new(payload).u32().unwrap())
            }
            _ => None,
        });
        context.expect("the parent is asked")
    }

    /// An interest that is open and empty.
    fn open_interest(&mut self, client: Client, id: u16, parent: Doid, zones: &[Zone]) {
        let context = self.begin_interest(client, id, parent, zones);
        assert_eq!(self.count(client, context, 0), [done(client, u32::from(id), id)]);
    }

    fn remove_interest(&mut self, client: Client, id: u16) -> Vec<Seen> {
        self.send(client, Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(99).u16(id))
    }

    fn fire(&mut self, timer: ClientTimer) -> Vec<Seen> {
        self.agents.on_timer(timer, &mut self.out);
        self.seen()
    }

    fn lose(&mut self, client: Client) -> Vec<Seen> {
        self.agents.on_closed(client.connection, CloseCause::EndOfFile, &mut self.out);
        self.seen()
    }

    /// Everything that was asked for since the last look.
    fn seen(&mut self) -> Vec<Seen> {
        let mut actions: Vec<Action> = self.out.drain().collect();
        actions.retain(|action| match action {
            Action::Allow { bytes, .. } => {
                self.allowed_bytes += bytes;
                false
            }
            Action::NotifySent { .. } => {
                self.questions += 1;
                false
            }
            // For the executor that accepts: tests of it look by themselves.
            Action::ToShard { message: RoleMessage::ClientAgent(ClientAgentMessage::Greeted { .. }), .. } => false,
            _ => true,
        });
        actions.into_iter().flat_map(to_each).map(seen).collect()
    }
}

/// What is for many connections, for each.
fn to_each(action: Action) -> Vec<Action> {
    match action {
        Action::WriteToAll { connections, frame } => {
            connections.into_iter().map(|connection| Action::Write { connection, frame: frame.clone() }).collect()
        }
        other => vec![other],
    }
}

fn seen(action: Action) -> Seen {
    match action {
        Action::Write { connection, frame } | Action::WriteWrapped { connection, frame } => {
            let (body, used) = next_frame(&frame).expect("one whole frame");
            assert_eq!(used, frame.len(), "one frame alone");
            let mut reader = Reader::new(body);
            let message_type = MessageType(reader.u16().unwrap());
            Seen::Client(connection, message_type, reader.rest().to_vec())
        }
        Action::Publish { from, datagram } => {
            let (sender, message_type, payload) = datagram.message().expect("a whole message");
            let (recipients, payload) = (datagram.recipients().collect(), payload.rest().to_vec());
            Seen::Published { from, recipients, sender, message_type, payload }
        }
        Action::Subscribe { channel, .. } => Seen::Subscribe(channel),
        Action::Unsubscribe { channel, .. } => Seen::Unsubscribe(channel),
        Action::AwaitSubscriptions { token, .. } => Seen::Await(token),
        Action::AddPostRemove { key, body, .. } => Seen::AddPostRemove(key, body),
        Action::ClearPostRemoves { key, .. } => Seen::ClearPostRemoves(key),
        Action::UnsubscribeAll { participant } => Seen::UnsubscribeAll(participant),
        Action::FirePostRemoves { participant } => Seen::FirePostRemoves(participant),
        Action::Close { connection, close, reason } => Seen::Close(connection, close, reason),
        Action::AdoptClient { agent, channel, .. } => Seen::Adopt(agent, channel),
        Action::RefuseClient { frame, reason, .. } => Seen::Refuse(reason, frame),
        Action::Timer { at_us, timer: RoleTimer::Client(timer) } => Seen::Timer(at_us, timer),
        Action::Event(event) => Seen::Event(event),
        Action::ToShard {
            message: RoleMessage::ClientAgent(ClientAgentMessage::ReleaseChannel { agent, channel }),
            ..
        } => Seen::Release(agent, channel),
        other => panic!("a Client Agent does not ask for {other:?}"),
    }
}

fn entry(message: Encoder, doid: Doid, parent: Doid, zone: Zone, class: u16) -> Encoder {
    message.doid(doid).doid(parent).zone(zone).u16(class).bytes(b"required")
}

fn add_interest(context: u32, id: u16, parent: Doid, zones: &[Zone]) -> Encoder {
    if let [zone] = zones {
        return Encoder::client(t::CLIENT_ADD_INTEREST).u32(context).u16(id).doid(parent).zone(*zone);
    }
    let message = Encoder::client(t::CLIENT_ADD_INTEREST_MULTIPLE).u32(context).u16(id).doid(parent);
    zones.iter().fold(message.u16(zones.len() as u16), |message, &zone| message.zone(zone))
}

/// The client is told that an interest is open, or closed.
fn done(client: Client, context: u32, id: u16) -> Seen {
    to_client(client, t::CLIENT_DONE_INTEREST_RESP, |message| message.u32(context).u16(id))
}

fn to_client(client: Client, message_type: MessageType, payload: impl FnOnce(Encoder) -> Encoder) -> Seen {
    let frame = payload(Encoder::client(message_type)).finish().unwrap();
    Seen::Client(client.connection, message_type, frame[4..].to_vec())
}

fn leaving(client: Client, doid: Doid) -> Seen {
    to_client(client, t::CLIENT_OBJECT_LEAVING, |message| message.doid(doid))
}

fn leaving_owner(client: Client, doid: Doid) -> Seen {
    to_client(client, t::CLIENT_OBJECT_LEAVING_OWNER, |message| message.doid(doid))
}

fn location(client: Client, doid: Doid, parent: Doid, zone: Zone) -> Seen {
    to_client(client, t::CLIENT_OBJECT_LOCATION, |message| message.doid(doid).doid(parent).zone(zone))
}

fn updated(client: Client, doid: Doid, field: u16, value: &[u8]) -> Seen {
    to_client(client, t::CLIENT_OBJECT_SET_FIELD, |message| message.doid(doid).u16(field).bytes(value))
}

fn entered(client: Client, doid: Doid, parent: Doid, zone: Zone, class: u16) -> Seen {
    to_client(client, t::CLIENT_ENTER_OBJECT_REQUIRED, |message| entry(message, doid, parent, zone, class))
}

/// What a session publishes, to one channel.
fn published(
    client: Client,
    recipient: Channel,
    message_type: MessageType,
    payload: impl FnOnce(Encoder) -> Encoder,
) -> Seen {
    let frame = payload(Encoder::client(message_type)).finish().unwrap();
    Seen::Published {
        from: Participant::Session(client.channel),
        recipients: vec![recipient],
        sender: client.channel,
        message_type,
        payload: frame[4..].to_vec(),
    }
}

/// The code of the only eject among these, and the reason with which the connection was closed. Nothing may be sent to
/// the client after it (CA-51).
fn ejected(seen: &[Seen]) -> (u16, Reason) {
    let mut codes = Vec::new();
    let mut closed = None;
    for action in seen {
        match action {
            Seen::Client(_, t::CLIENT_EJECT, payload) => {
                let mut reader = Reader::new(payload);
                codes.push(reader.u16().unwrap());
                assert!(!reader.blob().unwrap().is_empty(), "an eject says why");
                assert!(reader.is_empty());
            }
            Seen::Client(_, message_type, _) => assert!(codes.is_empty(), "{message_type} after CLIENT_EJECT"),
            Seen::Close(_, close, reason) => {
                assert_eq!(*close, Close::Linger { us: 1_000_000 });
                closed = Some(*reason);
            }
            _ => {}
        }
    }
    let [code] = codes[..] else { panic!("one eject expected: {seen:?}") };
    (code, closed.expect("the connection is closed"))
}

/// What went to clients and to the cluster.
fn messages(seen: Vec<Seen>) -> Vec<Seen> {
    seen.into_iter().filter(|seen| matches!(seen, Seen::Client(..) | Seen::Published { .. })).collect()
}

fn events(seen: &[Seen]) -> Vec<&Event> {
    let mut events = Vec::new();
    for action in seen {
        if let Seen::Event(event) = action {
            events.push(event);
        }
    }
    events
}
