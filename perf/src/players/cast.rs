//! The game: its numbers, what a client says, and what the AI answers to who logs in.

use crate::contract::{FieldId, Names};
use crate::daemon::{EXAMPLE_DC, numbers};
use crate::failure::Failure;
use donet::wire::{Channel, Datagram, Doid, Encoder, MessageType, Zone, message_type as t};

pub(super) const AI: Channel = 3_000_000;
const DISTRICT: Doid = 20_000_000;
const FIRST_AVATAR: Doid = 20_000_001;
const FIRST_ZONE: Zone = 1000;
const INTEREST: u16 = 1;
/// What the AI sends each client that it has let in: of a type that no server knows.
pub(super) const WELCOME: MessageType = MessageType(40_000);

/// A frame, whole.
fn frame(message: Encoder) -> Vec<u8> {
    message.finish().expect("a short message").to_vec()
}

/// The numbers of the contract.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    hash: u32,
    district: u16,
    avatar: u16,
    login: FieldId,
    pub(super) position: FieldId,
    avatar_values: Vec<u8>,
    district_values: Vec<u8>,
}

impl Cast {
    pub(super) fn new() -> Result<Self, Failure> {
        let names = Names::parse("example.dc", EXAMPLE_DC)?;
        let defaults = |class: &str, fields: &[&str]| -> Result<Vec<u8>, Failure> {
            let values = fields.iter().map(|field| Ok(names.default_value(names.field(class, field)?)));
            Ok(values.collect::<Result<Vec<_>, Failure>>()?.concat())
        };
        Ok(Self {
            hash: names.hash(),
            district: names.class("District")?,
            avatar: names.class("Avatar")?,
            login: names.field("LoginManager", "login")?,
            position: names.field("Avatar", "setXYH")?,
            avatar_values: defaults("Avatar", &["name", "setHealth"])?,
            district_values: defaults("District", &["name"])?,
        })
    }

    pub(super) fn avatar_of(client: u32) -> Doid {
        FIRST_AVATAR + client
    }

    /// The client whose avatar this is.
    pub(super) fn client_of(avatar: Doid) -> Option<u32> {
        avatar.checked_sub(FIRST_AVATAR)
    }

    pub(super) fn hello(&self) -> Vec<u8> {
        frame(Encoder::client(t::CLIENT_HELLO).u32(self.hash).blob(numbers::VERSION.as_bytes()))
    }

    /// A client says which of them it is.
    pub(super) fn login(&self, client: u32) -> Vec<u8> {
        let login = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(numbers::LOGIN_MANAGER).u16(self.login.0);
        frame(login.blob(client.to_string().as_bytes()).blob(b""))
    }

    pub(super) fn heartbeat() -> Vec<u8> {
        frame(Encoder::client(t::CLIENT_HEARTBEAT))
    }

    /// A position that holds a number and a time: three numbers of 16 bits each.
    pub(super) fn update(&self, client: u32, number: u16, stamp_us: u32) -> Vec<u8> {
        let update = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(Self::avatar_of(client)).u16(self.position.0);
        frame(update.u16(number).u32(stamp_us))
    }

    /// What the AI does first.
    pub(super) fn opening(&self) -> Vec<u8> {
        let subscribe = |channel: Channel| frame(Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel));
        let create = Encoder::internal(&[numbers::STATE_SERVER], AI, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED);
        let create = create.doid(DISTRICT).doid(0).zone(0).u16(self.district).bytes(&self.district_values);
        let where_is = Encoder::internal(&[DISTRICT.into()], AI, t::STATESERVER_OBJECT_GET_LOCATION).u32(1);
        [subscribe(AI), subscribe(numbers::LOGIN_MANAGER.into()), frame(create), frame(where_is)].concat()
    }

    /// Who logs in by this message to the AI, and which client it is.
    pub(super) fn who_logs_in(&self, body: &[u8]) -> Option<(Channel, u32)> {
        let datagram = Datagram::from_body(body).ok()?;
        let (sender, message_type, mut payload) = datagram.message().ok()?;
        if message_type != t::STATESERVER_OBJECT_SET_FIELD {
            return None;
        }
        payload.doid().ok()?;
        payload.u16().ok()?;
        let account = payload.blob().ok()?;
        Some((sender, std::str::from_utf8(account).ok()?.parse().ok()?))
    }

    /// What the AI does about it: lets the client in and, if it has a zone, gives it an avatar and a view there.
    pub(super) fn let_in(&self, session: Channel, client: u32, zone: Option<u32>) -> Vec<u8> {
        let tell = |message_type| Encoder::internal(&[session], AI, message_type);
        let mut all = frame(tell(t::CLIENTAGENT_SET_STATE).u16(2));
        if let Some(zone) = zone {
            let (doid, zone) = (Self::avatar_of(client), FIRST_ZONE + zone);
            let create = Encoder::internal(&[numbers::STATE_SERVER], AI, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED);
            let create = create.doid(doid).doid(DISTRICT).zone(zone).u16(self.avatar).bytes(&self.avatar_values);
            let own = Encoder::internal(&[doid.into()], AI, t::STATESERVER_OBJECT_SET_OWNER).channel(session);
            all.extend(frame(create));
            all.extend(frame(own));
            all.extend(frame(tell(t::CLIENTAGENT_ADD_SESSION_OBJECT).doid(doid)));
            all.extend(frame(tell(t::CLIENTAGENT_ADD_INTEREST).u16(INTEREST).doid(DISTRICT).zone(zone)));
        }
        let welcome = frame(Encoder::client(WELCOME));
        all.extend(frame(tell(t::CLIENTAGENT_SEND_DATAGRAM).blob(&welcome[2..])));
        all
    }
}
