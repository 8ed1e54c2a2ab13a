//! The contract of simulated worlds.

use donet::wire::{Encoder, Reader, Truncated};

pub const SOURCE: &str = "dclass Thing {
    setValue(uint32 value) required broadcast ram;
    setSecret(uint16 secret) required ram airecv;
    setShared(uint32 writer, uint32 number) broadcast ram clsend;
    setOwn(uint32 writer, uint32 number) broadcast ram ownsend;
    setPaired(uint32 writer, uint32 number) broadcast ram airecv;
};";
pub const CLASS: u16 = 0;
/// Written by the keeper of an object, each time one more.
pub const VALUE: u16 = 0;
/// Written by the keeper, for AIs only.
pub const SECRET: u16 = 1;
/// Written by whoever sees it.
pub const SHARED: u16 = 2;
/// Written by the owner.
pub const OWN: u16 = 3;
/// Written together with the value, in one message.
pub const PAIRED: u16 = 4;

/// Who wrote a value, and the how manieth that was of it; writer 0 for what has none.
pub type Value = (u32, u32);

/// In a history: the field has no value any more.
pub const UNSET: Value = (0, 0);

/// A value of a field that clients are told of.
pub fn read(field: u16, reader: &mut Reader<'_>) -> Result<Value, Truncated> {
    match field {
        VALUE => Ok((0, reader.u32()?)),
        SECRET => Ok((0, reader.u16()?.into())),
        _ => Ok((reader.u32()?, reader.u32()?)),
    }
}

pub fn write(encoder: Encoder, value: Value) -> Encoder {
    encoder.u32(value.0).u32(value.1)
}
