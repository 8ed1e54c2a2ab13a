//! The names of `config/example.dc` that the session uses, as numbers, and its values, packed and checked.

use crate::contract::{FieldId, Names};
use crate::failure::Failure;
use crate::message::Payload;
use donet::wire::{Channel, Doid, MessageType, Zone};
use std::ops::RangeInclusive;

/// The channel of the AI process, which plays the UberDOG too.
pub const AI: Channel = 3_000_000;
/// The channel of a second process that only watches.
pub const OBSERVER: Channel = 3_000_001;
/// The first of the channels that are opened for one player each.
pub const ACCOUNTS: Channel = 4_000_000;
pub const DISTRICT: Doid = 20_000_000;
pub const FIRST_OBJECT: Doid = 20_000_001;
pub const OBJECTS: u32 = 100;
pub const ZONES: RangeInclusive<Zone> = 1..=5;

/// Messages of the session's own, beyond the protocol's numbers. A session relays them untouched.
pub const MARKER: MessageType = MessageType(40_000);
/// What a player's session leaves behind.
pub const LOGOUT: MessageType = MessageType(40_001);
/// What a link leaves behind, and what it had left and taken back.
pub const LEGACY: MessageType = MessageType(40_002);
pub const REVOKED: MessageType = MessageType(40_003);

/// The fields, by the names of the contract.
#[derive(Clone, Debug)]
pub struct Cast {
    pub names: Names,
    pub avatar: u16,
    pub district: u16,
    pub name: FieldId,
    pub set_x: FieldId,
    pub set_y: FieldId,
    pub set_xyh: FieldId,
    pub set_health: FieldId,
    pub set_gold: FieldId,
    pub set_inventory: FieldId,
    pub emote: FieldId,
    pub say: FieldId,
    pub admin_only: FieldId,
    pub district_name: FieldId,
    pub login: FieldId,
    pub login_response: FieldId,
}

impl Cast {
    /// # Errors
    /// When the contract lacks a name.
    pub fn new(names: Names) -> Result<Self, Failure> {
        let avatar = |field| names.field("Avatar", field);
        Ok(Self {
            avatar: names.class("Avatar")?,
            district: names.class("District")?,
            name: avatar("name")?,
            set_x: avatar("setX")?,
            set_y: avatar("setY")?,
            set_xyh: avatar("setXYH")?,
            set_health: avatar("setHealth")?,
            set_gold: avatar("setGold")?,
            set_inventory: avatar("setInventory")?,
            emote: avatar("emote")?,
            say: avatar("say")?,
            admin_only: avatar("adminOnly")?,
            district_name: names.field("District", "name")?,
            login: names.field("LoginManager", "login")?,
            login_response: names.field("LoginManager", "loginResponse")?,
            names,
        })
    }

    /// One value of one field, checked: the session must not send what it does not mean to.
    ///
    /// # Errors
    /// When the contract does not allow it.
    pub fn value(&self, field: FieldId, value: Payload) -> Result<Vec<u8>, Failure> {
        self.names.check(field, &value)?;
        Ok(value.to_vec())
    }

    /// Tenths of a unit, as the contract has positions.
    pub fn number(&self, field: FieldId, tenths: i16) -> Result<Vec<u8>, Failure> {
        self.value(field, Payload::new().u16(tenths.cast_unsigned()))
    }

    pub fn place(&self, x: i16, y: i16, h: i16) -> Result<Vec<u8>, Failure> {
        let packed = [x, y, h].into_iter().fold(Payload::new(), |packed, part| packed.u16(part.cast_unsigned()));
        self.value(self.set_xyh, packed)
    }

    pub fn text(&self, field: FieldId, text: &str) -> Result<Vec<u8>, Failure> {
        self.value(field, Payload::new().blob(text.as_bytes()))
    }

    pub fn health(&self, health: u16) -> Result<Vec<u8>, Failure> {
        self.value(self.set_health, Payload::new().u16(health))
    }

    pub fn gold(&self, gold: u32) -> Result<Vec<u8>, Failure> {
        self.value(self.set_gold, Payload::new().u32(gold))
    }

    /// Items of `(kind, count)`.
    pub fn inventory(&self, items: &[(u16, u8)]) -> Result<Vec<u8>, Failure> {
        let packed = items.iter().fold(Payload::new(), |packed, &(kind, count)| packed.u16(kind).u8(count));
        self.value(self.set_inventory, Payload::new().blob(&packed))
    }

    pub fn login_request(&self, account: &str, token: &str) -> Result<Vec<u8>, Failure> {
        self.value(self.login, Payload::new().blob(account.as_bytes()).blob(token.as_bytes()))
    }

    pub fn welcome(&self) -> Result<Vec<u8>, Failure> {
        self.value(self.login_response, Payload::new().u8(1).blob(b"welcome"))
    }
}

/// The beginning of every field update: object, field, value.
pub fn update(doid: Doid, field: FieldId, value: &[u8]) -> Payload {
    Payload::new().u32(doid).u16(field.0).bytes(value)
}
