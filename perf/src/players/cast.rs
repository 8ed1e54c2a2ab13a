//! The game: its numbers, what a client says, and what the AI answers to who logs in.

use super::sight::Avatar;
use crate::contract::{FieldId, Names};
use crate::daemon::numbers;
use crate::failure::{Failure, ensure};
use donet::wire::{Channel, Datagram, Doid, Encoder, MessageType, Reader, Zone, message_type as t};

pub(super) const AI: Channel = 3_000_000;
const DISTRICT: Doid = 20_000_000;
const FIRST_AVATAR: Doid = 20_000_001;
const FIRST_ZONE: Zone = 1000;
const INTEREST: u16 = 1;
/// What the AI sends each client that it has let in: of a type that no server knows.
pub(super) const WELCOME: MessageType = MessageType(40_000);
/// Who logs in by this number only looks around, and has a guide of its own.
pub(super) const TOURIST: u32 = 999_999_999;
const GUIDE: Channel = 3_000_009;
/// Bytes of a chat's text that hold its number and its time, in hexadecimal digits.
pub(super) const CHAT_BYTES_MIN: u32 = 12;
/// What the contract allows.
pub(super) const CHAT_BYTES_MAX: u32 = 200;

/// A frame, whole.
fn frame(message: Encoder) -> Vec<u8> {
    message.finish().expect("a short message").to_vec()
}

/// An update or something said: its number, and the microseconds at which it was due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) number: u16,
    pub(super) due_us: u32,
}

/// What a client is told of an avatar by a field.
pub(super) enum Field {
    Position,
    Chat,
}

/// The numbers of the contract.
#[derive(Clone, Debug)]
pub(super) struct Cast {
    hash: u32,
    district: u16,
    avatar: u16,
    login: FieldId,
    position: FieldId,
    /// What the position is kept as: the first of its parts holds the number.
    position_parts: [FieldId; 3],
    chat: FieldId,
    avatar_values: Vec<u8>,
    district_values: Vec<u8>,
}

impl Cast {
    /// Of a contract that begins with `config/example.dc`.
    pub(super) fn new(contract: &str) -> Result<Self, Failure> {
        let names = Names::parse("example.dc", contract)?;
        let defaults = |class: &str, fields: &[&str]| -> Result<Vec<u8>, Failure> {
            let values = fields.iter().map(|field| Ok(names.default_value(names.field(class, field)?)));
            Ok(values.collect::<Result<Vec<_>, Failure>>()?.concat())
        };
        let field = |name| names.field("Avatar", name);
        Ok(Self {
            hash: names.hash(),
            district: names.class("District")?,
            avatar: names.class("Avatar")?,
            login: names.field("LoginManager", "login")?,
            position: field("setXYH")?,
            position_parts: [field("setX")?, field("setY")?, field("setH")?],
            chat: field("say")?,
            avatar_values: defaults("Avatar", &["name", "setHealth"])?,
            district_values: defaults("District", &["name"])?,
        })
    }

    /// The avatar of this number.
    pub(super) fn avatar(doid: Doid) -> Result<Avatar, Failure> {
        let avatar = doid.checked_sub(FIRST_AVATAR).and_then(Avatar::at);
        avatar.ok_or_else(|| Failure::new(format!("a client was told of {doid}, which is no avatar")))
    }

    fn doid(avatar: Avatar) -> Doid {
        FIRST_AVATAR + avatar.offset()
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
    pub(super) fn update(&self, avatar: Avatar, stamp: Stamp) -> Vec<u8> {
        let update = Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(Self::doid(avatar)).u16(self.position.0);
        frame(update.u16(stamp.number).u32(stamp.due_us))
    }

    /// A text of so many bytes that holds a number and a time.
    pub(super) fn chat(&self, avatar: Avatar, stamp: Stamp, bytes: u32) -> Vec<u8> {
        let mut text = format!("{:04x}{:08x}", stamp.number, stamp.due_us);
        text.extend((CHAT_BYTES_MIN..bytes).map(|_| '.'));
        frame(
            Encoder::client(t::CLIENT_OBJECT_SET_FIELD).doid(Self::doid(avatar)).u16(self.chat.0).blob(text.as_bytes()),
        )
    }

    /// A client takes its avatar to another zone, and its interest with it.
    pub(super) fn move_to(&self, avatar: Avatar, zone: u32, context: u32) -> Vec<u8> {
        let (doid, zone) = (Self::doid(avatar), FIRST_ZONE + zone);
        let place = Encoder::client(t::CLIENT_OBJECT_LOCATION).doid(doid).doid(DISTRICT).zone(zone);
        let interest = Encoder::client(t::CLIENT_ADD_INTEREST).u32(context).u16(INTEREST).doid(DISTRICT).zone(zone);
        [frame(place), frame(interest)].concat()
    }

    /// What the AI does first.
    pub(super) fn opening(&self) -> Vec<u8> {
        let subscribe = |channel: Channel| frame(Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel));
        let create = Encoder::internal(&[numbers::STATE_SERVER], AI, t::STATESERVER_CREATE_OBJECT_WITH_REQUIRED);
        let create = create.doid(DISTRICT).doid(0).zone(0).u16(self.district).bytes(&self.district_values);
        let where_is = Encoder::internal(&[DISTRICT.into()], AI, t::STATESERVER_OBJECT_GET_LOCATION).u32(1);
        [subscribe(AI), subscribe(numbers::LOGIN_MANAGER.into()), frame(create), frame(where_is)].concat()
    }

    /// What the guide does first.
    pub(super) fn guide(&self) -> Vec<u8> {
        let subscribe = |channel: Channel| frame(Encoder::control(t::CONTROL_ADD_CHANNEL).channel(channel));
        let where_is = Encoder::internal(&[DISTRICT.into()], GUIDE, t::STATESERVER_OBJECT_GET_LOCATION).u32(1);
        [subscribe(GUIDE), subscribe(numbers::LOGIN_MANAGER.into()), frame(where_is)].concat()
    }

    /// A client opens a zone besides those that it has open.
    pub(super) fn look(&self, zone: u32) -> Vec<u8> {
        let look = Encoder::client(t::CLIENT_ADD_INTEREST).u32(zone).u16(INTEREST + 1 + zone as u16);
        frame(look.doid(DISTRICT).zone(FIRST_ZONE + zone))
    }

    pub(super) fn look_away(&self, zone: u32) -> Vec<u8> {
        frame(Encoder::client(t::CLIENT_REMOVE_INTEREST).u32(zone).u16(INTEREST + 1 + zone as u16))
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
    /// `is_mobile`: the client may open zones of the district by itself.
    pub(super) fn let_in(&self, session: Channel, place: Option<(Avatar, u32)>, is_mobile: bool) -> Vec<u8> {
        let tell = |message_type| Encoder::internal(&[session], AI, message_type);
        let mut all = frame(tell(t::CLIENTAGENT_SET_STATE).u16(2));
        if is_mobile {
            all.extend(frame(tell(t::CLIENTAGENT_DECLARE_OBJECT).doid(DISTRICT).u16(self.district)));
        }
        if let Some((avatar, zone)) = place {
            let (doid, zone) = (Self::doid(avatar), FIRST_ZONE + zone);
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

    /// Which field of an avatar this is, if a client may be told of it.
    pub(super) fn field(&self, field: u16) -> Option<Field> {
        match field {
            _ if field == self.position.0 => Some(Field::Position),
            _ if field == self.chat.0 => Some(Field::Chat),
            _ => None,
        }
    }

    /// Reads what an update or a chat holds.
    pub(super) fn stamp(field: &Field, reader: &mut Reader<'_>) -> Result<Stamp, Failure> {
        if let Field::Position = field {
            return Ok(Stamp { number: reader.u16()?, due_us: reader.u32()? });
        }
        let text = std::str::from_utf8(reader.blob()?).unwrap_or_default();
        let number = |digits| text.get(digits).and_then(|digits: &str| u32::from_str_radix(digits, 16).ok());
        let stamp = number(0..4).zip(number(4..12));
        let (number, due_us) =
            stamp.ok_or_else(|| Failure::new(format!("somebody has said what nobody said: {text:?}")))?;
        Ok(Stamp { number: number as u16, due_us })
    }

    /// Reads an entry: who, in which zone, and the number of its last update if it has sent any.
    pub(super) fn entry(&self, mut reader: Reader<'_>, has_other: bool) -> Result<(Avatar, u32, Option<u16>), Failure> {
        let (doid, parent, zone, class) = (reader.doid()?, reader.doid()?, reader.zone()?, reader.u16()?);
        let zone = zone.checked_sub(FIRST_ZONE).filter(|_| parent == DISTRICT && class == self.avatar);
        let zone = zone.ok_or_else(|| Failure::new(format!("{doid} has entered where no avatar is, or is none")))?;
        let avatar = Self::avatar(doid)?;
        let values = reader.take(self.avatar_values.len())?;
        ensure(values == self.avatar_values, || format!("{avatar} enters with other values than it was given"))?;
        let mut last = None;
        for _ in 0..if has_other { reader.u16()? } else { 0 } {
            let field = reader.u16()?;
            let part = self.position_parts.iter().position(|part| part.0 == field);
            let part = part.ok_or_else(|| Failure::new(format!("{avatar} enters with field {field}")))?;
            let value = reader.u16()?;
            if part == 0 {
                last = Some(value);
            }
        }
        ensure(reader.is_empty(), || format!("an entry of {avatar} has bytes too many"))?;
        Ok((avatar, zone, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::EXAMPLE_DC;

    #[test]
    fn what_is_said_and_sent_can_be_read_again() {
        let cast = Cast::new(EXAMPLE_DC).unwrap();
        let (avatar, stamp) = (Avatar::at(65_536 + 7).unwrap(), Stamp { number: 60_000, due_us: 4_000_000_000 });
        for (frame, bytes) in [(cast.update(avatar, stamp), 6), (cast.chat(avatar, stamp, 40), 42)] {
            let mut reader = Reader::new(&frame[4..]);
            assert_eq!(Cast::avatar(reader.doid().unwrap()).unwrap(), avatar);
            let field = cast.field(reader.u16().unwrap()).unwrap();
            assert_eq!(reader.left(), bytes);
            assert_eq!(Cast::stamp(&field, &mut reader).unwrap(), stamp);
        }
        let mut foreign = Reader::new(b"\x05\x00hello");
        assert!(Cast::stamp(&Field::Chat, &mut foreign).is_err());
    }

    #[test]
    fn entries_show_the_last_update() {
        let cast = Cast::new(EXAMPLE_DC).unwrap();
        let entry = |other: &[u8], zone: Zone| {
            let head = Encoder::client(t::CLIENT_HEARTBEAT).doid(FIRST_AVATAR + 9).doid(DISTRICT).zone(zone);
            frame(head.u16(cast.avatar).bytes(&cast.avatar_values).bytes(other))[4..].to_vec()
        };
        let avatar = Avatar::at(9).unwrap();
        assert_eq!(cast.entry(Reader::new(&entry(b"", 1002)), false).unwrap(), (avatar, 2, None));
        let [x, y, h] = cast.position_parts.map(|part| part.0.to_le_bytes());
        let other = [&[3, 0], &x[..], &[5, 0], &y[..], &[1, 1], &h[..], &[2, 2]].concat();
        assert_eq!(cast.entry(Reader::new(&entry(&other, 1000)), true).unwrap(), (avatar, 0, Some(5)));
        for wrong in [entry(&other, 999), entry(&other[..6], 1000), entry(&[1, 0, 255, 255, 0, 0], 1000)] {
            assert!(cast.entry(Reader::new(&wrong), true).is_err());
        }
    }
}
