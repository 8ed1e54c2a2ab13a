//! The contract of simulated worlds.

use donet::wire::{Encoder, Reader, Truncated};

pub const SOURCE: &str = "dclass Thing {
    setValue(uint32 value) required broadcast ram;
    setSecret(uint16(0-60000) secret) required ram airecv;
    setShared(uint32 writer, uint32 number) broadcast ram clsend;
    setOwn(uint32 writer, uint32 number) broadcast ram ownsend;
    setPaired(uint32 writer, uint32 number) broadcast ram airecv;
    setHead(uint32 writer, uint32 number) broadcast ram;
    setTail(uint32 writer, uint32 number) broadcast ram;
    setWhole : setHead, setTail;
    ping(uint32 writer, uint32 number) broadcast;
    setBanner(blob) broadcast ram;
    setBulk(blob) ram;
};
struct Crumb { uint8 size; };
dclass Keepsake {
    setRank(uint32 = 5) required broadcast db;
    setTitle(uint32 writer, uint32 number) broadcast ram db;
    setPurse(uint32) db;
    setMood(uint32) broadcast ram;
};";
pub const CLASS: u16 = 0;
/// The struct: no class, though it has a number like one.
pub const STRUCT: u16 = 1;
/// What is stored.
pub const CLASS_STORED: u16 = 2;
/// Written by the keeper of an object, each time one more.
pub const VALUE: u16 = 0;
/// Written by the keeper, for AIs only.
pub const SECRET: u16 = 1;
pub const SECRET_MAX: u16 = 60_000;
/// Written by whoever sees it.
pub const SHARED: u16 = 2;
/// Written by the owner.
pub const OWN: u16 = 3;
/// Written by the keeper, often together with the value, in one message.
pub const PAIRED: u16 = 4;
/// Written by the keeper.
pub const HEAD: u16 = 5;
pub const TAIL: u16 = 6;
/// Both of them.
pub const WHOLE: u16 = 7;
/// Written by the keeper, and not kept.
pub const PING: u16 = 8;
/// With it, an object is too large to be shown.
pub const BANNER: u16 = 9;
/// Never set.
pub const BULK: u16 = 10;
/// The struct's field: no class has it.
pub const OF_STRUCT: u16 = 11;
/// Of what is stored: shown, shown if it is there, only stored, never stored.
pub const RANK: u16 = 12;
pub const TITLE: u16 = 13;
pub const PURSE: u16 = 14;
pub const MOOD: u16 = 15;
pub const RANK_DEFAULT: u32 = 5;
/// What keepers write as they like.
pub const KEPT: [u16; 3] = [PAIRED, HEAD, TAIL];

/// Who wrote a value, and the how manieth that was of it; writer 0 for what has none.
pub type Value = (u32, u32);

/// In a history: the field has no value any more.
pub const UNSET: Value = (0, 0);

/// The value of a field that others are told of; of a molecular field, those of its parts.
pub fn read(field: u16, reader: &mut Reader<'_>) -> Result<Vec<(u16, Value)>, Truncated> {
    let mut pair = |field: u16| Ok((field, (reader.u32()?, reader.u32()?)));
    match field {
        VALUE => Ok(vec![(VALUE, (0, reader.u32()?))]),
        WHOLE => Ok(vec![pair(HEAD)?, pair(TAIL)?]),
        BANNER => Ok(vec![(BANNER, (0, reader.blob()?.len() as u32))]),
        _ => Ok(vec![pair(field)?]),
    }
}

pub fn write(encoder: Encoder, value: Value) -> Encoder {
    encoder.u32(value.0).u32(value.1)
}
